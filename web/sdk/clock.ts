// The server's clock: waits are shown by it, because a patient's phone may be minutes off.

export class ServerClock {
  #offsetMs = 0;
  #bestRttMs = Number.POSITIVE_INFINITY;

  constructor(private readonly localNow: () => number = Date.now) {}

  /** Learns from a time the server stated; a sample with a shorter round trip is the truer one. */
  learn(serverTime: string, rttMs = 1000): void {
    const stated = Date.parse(serverTime);
    if (Number.isNaN(stated) || rttMs > this.#bestRttMs) return;
    this.#bestRttMs = rttMs;
    this.#offsetMs = stated + rttMs / 2 - this.localNow();
  }

  /** Milliseconds since the epoch, by the server's clock. */
  now(): number {
    return this.localNow() + this.#offsetMs;
  }

  /** Whole seconds since `instant`, never negative. */
  secondsSince(instant: string): number {
    const then = Date.parse(instant);
    return Number.isNaN(then) ? 0 : Math.max(0, Math.floor((this.now() - then) / 1000));
  }
}
