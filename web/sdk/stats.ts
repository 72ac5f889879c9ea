// What getStats says, reduced to the few numbers that people and the server care about.

export interface MediaCounters {
  atMs: number;
  rttMs: number | null;
  packetsReceived: number;
  packetsLost: number;
  bytesReceived: number;
  bytesSent: number;
  framesDecoded: number;
  freezes: number;
}

export interface MediaSample {
  rttMs: number | null;
  /** Of a thousand packets sent to us in the last interval, how many were lost. */
  lossDown: number;
  downKbps: number;
  upKbps: number;
  framesDecoded: number;
  freezes: number;
  /** 0 (nothing comes through) to 4 (good). */
  bars: number;
}

type Report = Iterable<readonly [string, Record<string, unknown>]>;

/** Sums over all streams of one connection. */
export function countersOf(report: Report, atMs: number): MediaCounters {
  const sum: MediaCounters = {
    atMs, rttMs: null, packetsReceived: 0, packetsLost: 0, bytesReceived: 0, bytesSent: 0, framesDecoded: 0, freezes: 0,
  };
  const number = (value: unknown) => (typeof value === 'number' && Number.isFinite(value) ? value : 0);
  for (const [, stat] of report) {
    if (stat['type'] === 'inbound-rtp') {
      sum.packetsReceived += number(stat['packetsReceived']);
      sum.packetsLost += number(stat['packetsLost']);
      sum.bytesReceived += number(stat['bytesReceived']);
      sum.framesDecoded += number(stat['framesDecoded']);
      sum.freezes += number(stat['freezeCount']);
    } else if (stat['type'] === 'outbound-rtp') {
      sum.bytesSent += number(stat['bytesSent']);
    } else if (stat['type'] === 'candidate-pair' && stat['nominated'] === true) {
      const seconds = stat['currentRoundTripTime'];
      if (typeof seconds === 'number') sum.rttMs = Math.round(seconds * 1000);
    }
  }
  return sum;
}

export function sampleOf(before: MediaCounters, after: MediaCounters): MediaSample {
  const seconds = Math.max(0.001, (after.atMs - before.atMs) / 1000);
  const lost = Math.max(0, after.packetsLost - before.packetsLost);
  const received = Math.max(0, after.packetsReceived - before.packetsReceived);
  const lossDown = lost + received === 0 ? 0 : Math.round((1000 * lost) / (lost + received));
  const kbps = (bytes: number) => Math.max(0, Math.round((bytes * 8) / 1000 / seconds));
  return {
    rttMs: after.rttMs,
    lossDown,
    downKbps: kbps(after.bytesReceived - before.bytesReceived),
    upKbps: kbps(after.bytesSent - before.bytesSent),
    framesDecoded: after.framesDecoded,
    freezes: after.freezes,
    bars: barsOf(lossDown, after.rttMs),
  };
}

/** Bars from loss (per mille) and round trip (ms): the worse of the two counts. */
export function barsOf(lossDown: number, rttMs: number | null): number {
  const byLoss = lossDown < 10 ? 4 : lossDown < 30 ? 3 : lossDown < 80 ? 2 : 1;
  const rtt = rttMs ?? 0;
  const byRtt = rtt < 150 ? 4 : rtt < 300 ? 3 : rtt < 600 ? 2 : 1;
  return Math.min(byLoss, byRtt);
}
