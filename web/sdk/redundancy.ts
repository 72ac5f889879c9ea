// Sound that says each frame again in the next packet (RFC 2198), where the browser can.

interface Capable {
  getCapabilities?: (kind: string) => { codecs: RTCRtpCodec[] } | null;
}

/**
 * The order of codecs that offers sound with redundancy first, or last; null where the browser has none. Whoever stands
 * first is what it sends.
 */
export function soundCodecs(redundant: boolean, capable: Capable | undefined = globalThis.RTCRtpReceiver): RTCRtpCodec[] | null {
  const codecs = capable?.getCapabilities?.('audio')?.codecs ?? [];
  const isRed = (codec: RTCRtpCodec) => codec.mimeType.toLowerCase() === 'audio/red';
  const red = codecs.filter(isRed);
  if (red.length === 0) return null;
  const others = codecs.filter((codec) => !isRed(codec));
  return redundant ? [...red, ...others] : [...others, ...red];
}

/** Puts it into the next offer. A browser that refuses sends what it would have sent anyway. */
export function preferSound(transceiver: RTCRtpTransceiver, redundant: boolean): void {
  const codecs = soundCodecs(redundant);
  if (!codecs) return;
  try {
    transceiver.setCodecPreferences(codecs);
  } catch {
    // Not in this browser.
  }
}

/** The answer with redundant sound first or last in its first audio section, the one we send on. */
export function withSoundOrder(answer: string, redundant: boolean): string {
  return inOwnSound(answer, (section) => {
    const red = new Set(Array.from(section.matchAll(/^a=rtpmap:(\d+) red\//gim), ([, type]) => type));
    return section.replace(/^(m=audio \S+ \S+) (.*?)(\r?)$/m, (_, head: string, types: string, end: string) => {
      const all = types.split(' ');
      const [first, others] = [all.filter((type) => red.has(type)), all.filter((type) => !red.has(type))];
      return [head, ...(redundant ? [...first, ...others] : [...others, ...first])].join(' ') + end;
    });
  });
}

/** Edits the first audio section of a description. */
export function inOwnSound(sdp: string, edit: (section: string) => string): string {
  const [session, ...sections] = sdp.split(/^(?=m=)/m);
  const own = sections.findIndex((section) => section.startsWith('m=audio '));
  if (own < 0) return sdp;
  sections[own] = edit(sections[own] ?? '');
  return [session, ...sections].join('');
}
