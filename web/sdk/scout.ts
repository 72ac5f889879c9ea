// Whether this device has moved to other addresses. A page learns late of its networks: Chromium waits until they have been quiet, two
// seconds on Linux, one on Android, half a one on macOS. A frame that is new asks for them itself, and a connection made in it has them
// within some hundredths of a second.

/** Gathering on the devices' own addresses takes a few milliseconds; what has not come by then does not come soon. */
const GATHER_FOR_MS = 400;
/** Further networks follow the first one at once. */
const REST_MS = 40;

/** A hidden frame with what it takes to make connections; they live no longer than it. */
export interface Frame {
  createPeer: (configuration?: RTCConfiguration) => RTCPeerConnection;
  close: () => void;
}

export function openFrame(): Frame | null {
  if (typeof document === 'undefined') return null;
  const element = document.createElement('iframe');
  element.hidden = true;
  element.tabIndex = -1;
  element.ariaHidden = 'true';
  element.allow = 'camera; microphone';
  document.body.append(element);
  const inside = element.contentWindow as (Window & { RTCPeerConnection?: typeof RTCPeerConnection }) | null;
  const Peer = inside?.RTCPeerConnection;
  const close = () => element.remove();
  if (Peer) return { createPeer: (configuration) => new Peer(configuration), close };
  close();
  return null;
}

/** This device's own addresses, in a description or a candidate; none where the browser hides them. */
export function hostAddresses(text: string): Set<string> {
  const found = Array.from(text.matchAll(/candidate:\S+ \d+ udp \d+ (\S+) \d+ typ host/gi), ([, address]) => address ?? '');
  return new Set(found.filter((address) => address !== '' && !address.endsWith('.local')));
}

/** True when none of the addresses of before is left. Where one side is not known nothing is. */
export function isElsewhere(before: ReadonlySet<string>, now: ReadonlySet<string>): boolean {
  return before.size > 0 && now.size > 0 && !Array.from(now).some((address) => before.has(address));
}

/** The addresses that a connection in this frame would have. */
export async function addressesIn(frame: Frame): Promise<Set<string>> {
  const peer = frame.createPeer();
  const found = new Set<string>();
  try {
    peer.addTransceiver('audio', { direction: 'recvonly' });
    await new Promise<void>((done) => {
      let rest: ReturnType<typeof setTimeout> | undefined;
      setTimeout(done, GATHER_FOR_MS);
      peer.addEventListener('icecandidate', ({ candidate }) => {
        if (!candidate) return done();
        for (const address of hostAddresses(candidate.candidate)) found.add(address);
        if (found.size > 0) rest ??= setTimeout(done, REST_MS);
      });
      peer.setLocalDescription().catch(() => done());
    });
  } catch {
    // A browser that refuses knows nothing more than the page does.
  }
  peer.close();
  return found;
}
