// Waiting times between attempts: doubling, bounded, and spread so that a restarted server is not met by everyone at once.

export interface BackoffOptions {
  firstMs: number;
  maxMs: number;
  /** 0 to 1: how much of each wait is left to chance. */
  jitter: number;
}

export class Backoff {
  #attempt = 0;

  constructor(
    private readonly options: BackoffOptions = { firstMs: 250, maxMs: 8000, jitter: 0.3 },
    private readonly random: () => number = Math.random,
  ) {}

  get attempt(): number {
    return this.#attempt;
  }

  /** Milliseconds to wait before the next attempt. */
  next(): number {
    const { firstMs, maxMs, jitter } = this.options;
    const full = Math.min(maxMs, firstMs * 2 ** Math.min(this.#attempt, 16));
    this.#attempt += 1;
    return full * (1 - jitter * this.random());
  }

  reset(): void {
    this.#attempt = 0;
  }
}
