// Whether a way is so full that even what is known of it stands still: counts of what came and when the server reported last, in.

/** The server reports once a second; a browser that has heard nothing for so long reckons with what was. */
const UNHEARD_MS = 1_200;
/** Of so much in a second nearly nothing has come: no loss that a way has by nature. */
const LEAST_PACKETS = 15;
const MOST_LOST = 0.6;
const WINDOW_MS = 1_000;

/** Totals so far of what was sent to us. */
export interface Arrived {
  received: number;
  lost: number;
}

export class Jam {
  #report: number | null = null;
  #reportedAt: number | null = null;
  #points: (Arrived & { at: number })[] = [];

  /** `report` is anything that changes with each report of the server about what we send; null while none has come. */
  noteReport(now: number, report: number | null): void {
    if (report === null || report === this.#report) return;
    this.#report = report;
    this.#reportedAt = now;
  }

  /** No report is overdue: how much arrives need not be looked at. */
  isHeard(now: number): boolean {
    const isHeard = this.#reportedAt === null || now - this.#reportedAt < UNHEARD_MS;
    if (isHeard) this.#points = [];
    return isHeard;
  }

  /** True when hardly anything comes of what is sent. */
  look(now: number, arrived: Arrived): boolean {
    this.#points = this.#points.filter((one) => now - one.at <= WINDOW_MS);
    const before = this.#points[0];
    this.#points.push({ at: now, ...arrived });
    if (!before) return false;
    const lost = arrived.lost - before.lost;
    const all = lost + arrived.received - before.received;
    return all >= LEAST_PACKETS && lost >= MOST_LOST * all;
  }
}

/** Sums over all that comes. */
export function arrivedOf(report: Iterable<readonly [string, Readonly<Record<string, unknown>>]>): Arrived {
  const sum = { received: 0, lost: 0 };
  for (const [, stat] of report) {
    if (stat['type'] !== 'inbound-rtp') continue;
    sum.received += Number(stat['packetsReceived'] ?? 0);
    sum.lost += Number(stat['packetsLost'] ?? 0);
  }
  return sum;
}
