// Whether the way to the media server still carries anything: moments and what was heard in, a verdict out.

/** `doubt` is worth a question on the socket, `lost` another path. */
export type PathVerdict = 'fine' | 'doubt' | 'lost';

/** What the clocks of tabs in front keep. */
export const TICK_MS = 100;
/** Sound comes fifty times a second and feedback about what we send ten times; this much of nothing is not their jitter. */
const DOUBT_MS = 350;
const LOST_MS = 650;
/** Silence counts only where it is unusual: this many times the longest pause of late. */
const DOUBT_PAUSES = 2;
const LOST_PAUSES = 3;
/** For how long pauses are remembered, and how long one must have listened before silence says anything. */
const MEMORY_MS = 5_000;
const LEARN_MS = 1_000;
/** Who pauses for longer than this sends too rarely for its silence to tell anything. */
const MAX_PAUSE_MS = 800;
/** Nobody looked for so long: the machine slept, and what it missed says nothing of the path. */
const SLEPT_MS = 3_000;
/** A silence that ended by itself was none of the path's: for a while one as long is borne. */
const BEAR_FOR_MS = 60_000;
const MAX_BORNE_MS = 3_000;

export class PathWatch {
  #pauses: { at: number; ms: number }[] = [];
  #since: number | null = null;
  #lookedAt = 0;
  #heardAt = 0;
  #verdict: PathVerdict = 'fine';
  #borne = { ms: 0, until: 0 };

  get verdict(): PathVerdict {
    return this.#verdict;
  }

  /** What is usual has to be learned anew. */
  reset(): void {
    this.#since = null;
    this.#pauses = [];
    this.#verdict = 'fine';
  }

  /** One look at `now` (monotonic, in ms): `heard` when anything came since the look before. */
  look(now: number, heard: boolean): PathVerdict {
    if (this.#since === null) {
      this.#since = this.#lookedAt = this.#heardAt = now;
      return this.#verdict;
    }
    const step = now - this.#lookedAt;
    this.#lookedAt = now;
    if (heard) this.#hear(now, step);
    else if (step > SLEPT_MS) this.#heardAt = now;
    this.#verdict = heard ? 'fine' : this.#judge(now);
    return this.#verdict;
  }

  /** The silence ended although nothing was done about it: this long is usual here. */
  bear(ms: number, now: number): void {
    this.#borne = { ms: Math.min(MAX_BORNE_MS, ms * 1.5), until: now + BEAR_FOR_MS };
  }

  /** How long nothing has come. */
  quietMs(now: number): number {
    return this.#since === null ? 0 : now - this.#heardAt;
  }

  #hear(now: number, step: number): void {
    if (this.#verdict === 'lost') {
      // What was usual on the old path says nothing of this one.
      this.#since = now;
      this.#pauses = [];
    } else {
      // Between two late looks it may have come at any time.
      const ms = now - this.#heardAt - Math.max(0, step - TICK_MS);
      this.#pauses = this.#pauses.filter((one) => now - one.at < MEMORY_MS);
      this.#pauses.push({ at: now, ms });
    }
    this.#heardAt = now;
  }

  #judge(now: number): PathVerdict {
    if (this.#verdict === 'lost') return 'lost';
    if (this.#heardAt - (this.#since ?? now) < LEARN_MS) return 'fine';
    const longest = this.#pauses.reduce((most, one) => Math.max(most, one.ms), 0);
    if (longest > MAX_PAUSE_MS) return 'fine';
    const quiet = now - this.#heardAt;
    const borne = now < this.#borne.until ? this.#borne.ms : 0;
    if (quiet >= Math.max(LOST_MS, LOST_PAUSES * longest, borne)) return 'lost';
    return quiet >= Math.max(DOUBT_MS, DOUBT_PAUSES * longest, borne / 2) ? 'doubt' : 'fine';
  }
}
