// Whether the own way out carries a picture: what the browser reckons it has, and moments, in; how much of a picture out.

/** Below this a picture gets the least that browsers make, and leaves no room for the voice. The server's own limits stay above it. */
const STARVED_BPS = 105_000;
/** A picture that is tried has shown what it must when the way carries this. */
const ENOUGH_BPS = 140_000;
/** A dip is no famine: new limits overshoot for a moment. */
const STARVED_FOR_MS = 2_000;
/** The voice makes itself small sooner: that costs nobody anything. */
const TIGHT_FOR_MS = 500;
/** What browsers reckon at the start of a try, or after a change of path, is a guess; after this it is measured. */
const TRY_FOR_MS = 4_000;
/** A try that starves for so long is over. */
const FAILED_FOR_MS = 1_000;
/** The first try comes soon, for most famines are short; each costs some sound, so later ones wait longer. */
const WAIT = { firstMs: 8_000, factor: 1.5, mostMs: 12_000 };
/** A picture that went on this long was no failed try. */
const STEADY_MS = 20_000;

/** `little` while it is found out whether the way is wide again. */
export type Amount = 'all' | 'little' | 'none';

type Phase = { is: 'sending' } | { is: 'resting'; until: number } | { is: 'trying'; until: number };

export class Uplink {
  #phase: Phase = { is: 'sending' };
  #starvedSince: number | null = null;
  #starvedMs = 0;
  #waitMs = WAIT.firstMs;
  #sendingSince = Number.NEGATIVE_INFINITY;

  get picture(): Amount {
    return ({ sending: 'all', trying: 'little', resting: 'none' } as const)[this.#phase.is];
  }

  /** There may soon be too little room for a picture, or there is. */
  get isTight(): boolean {
    return this.#phase.is !== 'sending' || this.#starvedMs >= TIGHT_FOR_MS;
  }

  /**
   * One look; `null` where the browser does not say. Without a picture on its way nothing is learned. `isJammed` when there are other
   * signs that nothing gets through: what browsers reckon stands still where the server's reports are lost as well.
   */
  look(now: number, availableBps: number | null, sendsPicture: boolean, isJammed = false): void {
    const phase = this.#phase;
    // What is reckoned while sound alone flows says nothing of a picture.
    if (phase.is === 'resting') {
      if (now >= phase.until) this.#enter({ is: 'trying', until: now + TRY_FOR_MS });
      return;
    }
    const starves = sendsPicture && (isJammed || (availableBps !== null && availableBps < STARVED_BPS));
    this.#starvedSince = starves ? (this.#starvedSince ?? now) : null;
    const starvedMs = this.#starvedSince === null ? 0 : now - this.#starvedSince;
    this.#starvedMs = starvedMs;
    if (phase.is === 'sending') {
      if (isJammed || starvedMs >= STARVED_FOR_MS) this.#rest(now);
    } else if (starvedMs >= FAILED_FOR_MS) {
      this.#rest(now);
    } else if (now >= phase.until) {
      if (availableBps !== null && availableBps < ENOUGH_BPS) return this.#rest(now);
      this.#sendingSince = now;
      this.#enter({ is: 'sending' });
    }
  }

  #rest(now: number): void {
    if (this.#phase.is === 'sending' && now - this.#sendingSince > STEADY_MS) this.#waitMs = WAIT.firstMs;
    this.#enter({ is: 'resting', until: now + this.#waitMs });
    this.#waitMs = Math.min(WAIT.mostMs, this.#waitMs * WAIT.factor);
  }

  #enter(phase: Phase): void {
    this.#phase = phase;
    this.#starvedSince = null;
    this.#starvedMs = 0;
  }
}
