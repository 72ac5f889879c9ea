// What a page really receives, measured in the page: packets, frames, colours and tones.

/** Sums of getStats over the page's media connection; `?debug=1` makes it reachable. */
export function inbound(page) {
  return page.evaluate(async () => {
    const sum = { connected: false, packets: 0, frames: 0, audioPackets: 0, energy: 0, lost: 0, cipher: null };
    const peer = window.__anteroom?.visit?.peer;
    if (!peer) return sum;
    sum.connected = peer.connectionState === 'connected';
    for (const [, stat] of await peer.getStats()) {
      if (stat.type === 'inbound-rtp') {
        sum.packets += stat.packetsReceived ?? 0;
        sum.lost += stat.packetsLost ?? 0;
        sum.frames += stat.framesDecoded ?? 0;
        sum.energy += stat.totalAudioEnergy ?? 0;
        if (stat.kind === 'audio') sum.audioPackets += stat.packetsReceived ?? 0;
      }
      if (stat.type === 'transport') sum.cipher = stat.srtpCipher ?? null;
    }
    return sum;
  });
}

/**
 * Bytes of sound in a packet, sent and received. Browsers name the codec inside redundant packets, so that only their size tells:
 * a frame of Opus at 32 kbit/s has about 80.
 */
export function soundBytes(page) {
  return page.evaluate(async () => {
    const found = { sent: 0, heard: 0 };
    for (const stat of new Map(await window.__anteroom.visit.peer.getStats()).values()) {
      if (stat.kind !== 'audio') continue;
      if (stat.type === 'outbound-rtp' && stat.packetsSent > 0) found.sent = stat.bytesSent / stat.packetsSent;
      if (stat.type === 'inbound-rtp' && stat.packetsReceived > 0) found.heard = stat.bytesReceived / stat.packetsReceived;
    }
    return found;
  });
}

/** Waits until `test(inbound)` holds. */
export async function untilInbound(page, test, what, withinMs = 20_000) {
  const until = Date.now() + withinMs;
  let last;
  for (;;) {
    last = await inbound(page);
    if (test(last)) return last;
    if (Date.now() > until) throw new Error(`${what}: ${JSON.stringify(last)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Mean colour of the middle of the other person's picture. */
export function remoteColour(page) {
  return page.evaluate(() => {
    const video = document.querySelector('[data-testid="remote-video"]');
    const canvas = document.createElement('canvas');
    canvas.width = canvas.height = 1;
    const paint = canvas.getContext('2d');
    const { videoWidth: w, videoHeight: h } = video;
    paint.drawImage(video, w / 3, h / 3, w / 3, h / 3, 0, 0, 1, 1);
    return Array.from(paint.getImageData(0, 0, 1, 1).data).slice(0, 3);
  });
}

/** The loudest frequency in what the other person's stream carries now, in Hz. */
export function remoteTone(page, withinMs = 15_000) {
  return page.evaluate(async (limit) => {
    const stream = document.querySelector('[data-testid="remote-video"]').srcObject;
    const context = new AudioContext();
    await context.resume();
    const analyser = context.createAnalyser();
    analyser.fftSize = 32768;
    analyser.smoothingTimeConstant = 0;
    context.createMediaStreamSource(new MediaStream(stream.getAudioTracks())).connect(analyser);
    const bins = new Float32Array(analyser.frequencyBinCount);
    const until = performance.now() + limit;
    let found = { hz: 0, decibels: -200 };
    while (performance.now() < until) {
      await new Promise((resolve) => setTimeout(resolve, 250));
      analyser.getFloatFrequencyData(bins);
      let at = 1;
      for (let index = 1; index < bins.length; index += 1) if (bins[index] > bins[at]) at = index;
      found = { hz: (at * context.sampleRate) / analyser.fftSize, decibels: bins[at] };
      // The window must have filled with sound first.
      if (found.decibels > -50 && context.currentTime > 1.5) break;
    }
    await context.close();
    return found;
  }, withinMs);
}

/** When the page saw something, by the machine's clock in ms. */
export function markAt(page, name) {
  return page.evaluate((wanted) => {
    const mark = performance.getEntriesByName(wanted)[0];
    return mark ? performance.timeOrigin + mark.startTime : null;
  }, name);
}
