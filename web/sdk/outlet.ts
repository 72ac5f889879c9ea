// Fits the own picture to the way out: asks the browser what it can send, holds the camera back for the sake of the voice, and
// has the browser make the whole size where there is room for it.

import { arrivedOf, Jam } from './jam';
import type { MediaLink } from './media';
import { Stretch, type Making } from './stretch';
import { Uplink } from './uplink';

/** A limit is felt within a second; a look costs little. */
const LOOK_EVERY_MS = 500;

type Stat = Readonly<Record<string, unknown>>;

export class Outlet {
  readonly #uplink = new Uplink();
  readonly #stretch = new Stretch();
  readonly #jam = new Jam();
  readonly #timer: ReturnType<typeof setInterval>;
  #sentBytes: number | null = null;
  #busy = false;

  constructor(
    private readonly media: MediaLink,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#timer = setInterval(() => void this.#look(), LOOK_EVERY_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  async #look(): Promise<void> {
    const { media } = this;
    const sender = media.pictureSender;
    if (this.#busy || !sender || media.state !== 'connected') return;
    this.#busy = true;
    try {
      const { sentBytes, reportedAt, ...making } = outgoingOf((await sender.getStats()) as never);
      const sends = this.#sentBytes !== null && sentBytes > this.#sentBytes;
      this.#sentBytes = sentBytes;
      const now = this.now();
      this.#jam.noteReport(now, reportedAt);
      const isJammed = sends && !this.#jam.isHeard(now) && this.#jam.look(now, arrivedOf((await media.peer.getStats()) as never));
      this.#uplink.look(now, making.availableBps, sends, isJammed);
      media.setPicture(this.#uplink.picture, this.#uplink.isTight);
      if (!sends || this.#uplink.isTight) this.#stretch.forget();
      else if (this.#stretch.look(now, making)) await media.stretchPicture();
    } catch {
      // A connection that closes has nothing more to say.
    } finally {
      this.#busy = false;
    }
  }
}

const NOTHING: Making & { sentBytes: number; reportedAt: number | null } = {
  availableBps: null, limit: null, pixels: null, cameraPixels: null, lost: 0, sentBytes: 0, reportedAt: null,
};

/**
 * What the path in use can carry by the browser's reckoning, what a sender has sent so far and when the server
 * told of it, and what it makes of the camera.
 */
export function outgoingOf(report: Iterable<readonly [string, Stat]>): Making & { sentBytes: number; reportedAt: number | null } {
  const found = { ...NOTHING };
  for (const [, stat] of report) {
    const { type, bytesSent, availableOutgoingBitrate: available, fractionLost } = stat;
    if (type === 'outbound-rtp') {
      if (typeof bytesSent === 'number') found.sentBytes += bytesSent;
      const pixels = stat['active'] === false ? null : pixelsOf(stat['frameWidth'], stat['frameHeight']);
      if (pixels !== null && pixels > (found.pixels ?? 0)) {
        found.pixels = pixels;
        found.limit = String(stat['qualityLimitationReason']);
      }
    }
    if (type === 'media-source') found.cameraPixels = pixelsOf(stat['width'], stat['height']);
    if (type === 'remote-inbound-rtp') {
      if (typeof fractionLost === 'number') found.lost = Math.max(found.lost, fractionLost);
      if (typeof stat['timestamp'] === 'number') found.reportedAt = Math.max(found.reportedAt ?? 0, stat['timestamp']);
    }
    // Only the path in use has one.
    if (type === 'candidate-pair' && typeof available === 'number' && available > 0) found.availableBps = available;
  }
  return found;
}

function pixelsOf(width: unknown, height: unknown): number | null {
  return typeof width === 'number' && typeof height === 'number' && width * height > 0 ? width * height : null;
}
