// Keeps the own picture from taking the voice's room: asks the browser what it can send, and holds the camera back.

import type { MediaLink } from './media';
import { Uplink } from './uplink';

/** A limit is felt within a second; a look costs little. */
const LOOK_EVERY_MS = 500;

type Stat = Readonly<Record<string, unknown>>;

export class Outlet {
  readonly #uplink = new Uplink();
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
      const { availableBps, sentBytes } = outgoingOf((await sender.getStats()) as never);
      const sends = this.#sentBytes !== null && sentBytes > this.#sentBytes;
      this.#sentBytes = sentBytes;
      this.#uplink.look(this.now(), availableBps, sends);
      media.setPicture(this.#uplink.picture);
    } catch {
      // A connection that closes has nothing more to say.
    } finally {
      this.#busy = false;
    }
  }
}

/** What the path in use can carry by the browser's reckoning, and what a sender has sent so far. */
export function outgoingOf(report: Iterable<readonly [string, Stat]>): { availableBps: number | null; sentBytes: number } {
  let availableBps: number | null = null;
  let sentBytes = 0;
  for (const [, stat] of report) {
    const bytes = stat['bytesSent'];
    const available = stat['availableOutgoingBitrate'];
    if (stat['type'] === 'outbound-rtp' && typeof bytes === 'number') sentBytes += bytes;
    // Only the path in use has one.
    if (stat['type'] === 'candidate-pair' && typeof available === 'number' && available > 0) availableBps = available;
  }
  return { availableBps, sentBytes };
}
