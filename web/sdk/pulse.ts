// Whether anything came from the media server: cheap while there is sound, by the transport's counters otherwise.

import { TICK_MS } from './path';

/** Without sound for so long, the counters are asked. */
const COUNT_AFTER_MS = 2 * TICK_MS;

type Stat = Readonly<Record<string, unknown>>;

export class Pulse {
  readonly #voices = new Map<RTCRtpReceiver, number>();
  #heardAt = Number.NEGATIVE_INFINITY;
  /** The counters, and whether they are those of the silence that goes on now. */
  #count: Map<string, number> | null = null;

  constructor(private readonly peer: RTCPeerConnection) {}

  /** True when something came since the last call. */
  async beat(now: number): Promise<boolean> {
    if (this.#hearsVoice()) {
      this.#heardAt = now;
      this.#count = null;
      return true;
    }
    if (now - this.#heardAt < COUNT_AFTER_MS) return false;
    const before = this.#count;
    const after = countersOf((await this.peer.getStats()) as never);
    this.#count = after;
    // What came before the silence is in the counters too: the first look is what the next ones compare with.
    if (!before) return false;
    const heard = Array.from(after).some(([name, count]) => count > (before.get(name) ?? 0));
    if (heard) this.#heardAt = now;
    return heard;
  }

  #hearsVoice(): boolean {
    let heard = false;
    for (const receiver of this.peer.getReceivers()) {
      if (receiver.track.kind !== 'audio') continue;
      const newest = (receiver.getSynchronizationSources?.() ?? []).reduce((most, one) => Math.max(most, one.timestamp), 0);
      if (newest > (this.#voices.get(receiver) ?? 0)) heard = true;
      this.#voices.set(receiver, newest);
    }
    return heard;
  }
}

/** Bytes of the transport, and answers to checks of the path in use: those of another say nothing of it. */
export function countersOf(report: Iterable<readonly [string, Stat]>): Map<string, number> {
  const counters = new Map<string, number>();
  const pairs: Stat[] = [];
  let selected: unknown = null;
  for (const [id, stat] of report) {
    if (stat['type'] === 'candidate-pair') pairs.push(stat);
    if (stat['type'] !== 'transport') continue;
    selected = stat['selectedCandidatePairId'] ?? selected;
    if (typeof stat['bytesReceived'] === 'number') counters.set(id, stat['bytesReceived']);
  }
  const hasTransport = counters.size > 0;
  for (const pair of pairs) {
    const id = String(pair['id']);
    if (!hasTransport && typeof pair['bytesReceived'] === 'number') counters.set(`${id} bytes`, pair['bytesReceived']);
    const inUse = selected === null ? pair['selected'] === true || pair['nominated'] === true : pair['id'] === selected;
    if (inUse && typeof pair['responsesReceived'] === 'number') counters.set(`${id} answers`, pair['responsesReceived']);
  }
  return counters;
}
