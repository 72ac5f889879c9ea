// What a call is like on one side, second by second: sums of getStats that survive a new connection.

/** Runs in the page. Numbers of one connection, which is told apart from the one before it. */
async function readPage() {
  const peer = window.__anteroom?.visit?.peer;
  if (!peer) return null;
  window.__peers ??= new WeakMap();
  window.__peerCount ??= 0;
  if (!window.__peers.has(peer)) window.__peers.set(peer, (window.__peerCount += 1));
  const sum = {
    frames: 0, freezes: 0, freezeSeconds: 0, packets: 0, lost: 0, bytes: 0, sentBytes: 0,
    audioPackets: 0, energy: 0, concealed: 0, samples: 0, nacks: 0,
  };
  const now = { rttMs: null, path: null, height: 0, limit: null, sentFrames: 0 };
  const pairs = new Map();
  const candidates = new Map();
  let selected = null;
  for (const [, stat] of await peer.getStats()) {
    if (stat.type === 'inbound-rtp') {
      sum.packets += stat.packetsReceived ?? 0;
      sum.lost += stat.packetsLost ?? 0;
      sum.bytes += stat.bytesReceived ?? 0;
      if (stat.kind === 'video') {
        sum.frames += stat.framesDecoded ?? 0;
        sum.freezes += stat.freezeCount ?? 0;
        sum.freezeSeconds += stat.totalFreezesDuration ?? 0;
        now.height = Math.max(now.height, stat.frameHeight ?? 0);
      } else {
        sum.audioPackets += stat.packetsReceived ?? 0;
        sum.energy += stat.totalAudioEnergy ?? 0;
        sum.concealed += stat.concealedSamples ?? 0;
        sum.samples += stat.totalSamplesReceived ?? 0;
      }
    } else if (stat.type === 'outbound-rtp') {
      sum.sentBytes += stat.bytesSent ?? 0;
      sum.nacks += stat.nackCount ?? 0;
      if (stat.kind === 'video') now.limit = stat.qualityLimitationReason ?? null;
    } else if (stat.type === 'candidate-pair') {
      pairs.set(stat.id, stat);
      if (stat.selected || (stat.nominated && stat.state === 'succeeded')) selected ??= stat.id;
    } else if (stat.type === 'transport') {
      selected = stat.selectedCandidatePairId ?? selected;
    } else if (stat.type === 'local-candidate') {
      candidates.set(stat.id, stat);
    }
  }
  const pair = pairs.get(selected);
  if (pair) {
    const local = candidates.get(pair.localCandidateId);
    if (typeof pair.currentRoundTripTime === 'number') now.rttMs = pair.currentRoundTripTime * 1000;
    if (local) now.path = `${local.candidateType}/${local.relayProtocol ?? local.protocol}`;
  }
  return { peer: window.__peers.get(peer), at: performance.timeOrigin + performance.now(), sum, now };
}

const EVERY_MS = 500;

/** Watches one page until stopped; `total()` is what was counted since the watch began, over all its connections. */
export function watch(page) {
  const total = { seconds: 0, connections: 0, stillSeconds: 0 };
  const rtts = [];
  let last = null;
  let stopped = false;
  let began = null;
  const take = async () => {
    const next = await page.evaluate(readPage).catch(() => null);
    if (!next) return;
    began ??= next.at;
    total.seconds = (next.at - began) / 1000;
    if (next.now.rttMs !== null) rtts.push(next.now.rttMs);
    if (last === null || last.peer !== next.peer) total.connections += 1;
    // Browsers count a freeze when it ends; one that lasts shows here alone.
    if (last?.peer === next.peer && last.sum.frames === next.sum.frames) total.stillSeconds += (next.at - last.at) / 1000;
    for (const [name, value] of Object.entries(next.sum)) {
      const before = last === null ? value : last.peer === next.peer ? last.sum[name] : 0;
      // A stream that ended takes its numbers with it.
      total[name] = (total[name] ?? 0) + Math.max(0, value - before);
    }
    last = next;
  };
  const running = (async () => {
    while (!stopped) {
      await take();
      await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    }
  })();
  return {
    stop: async () => {
      stopped = true;
      await running;
      await take();
      rtts.sort((a, b) => a - b);
      return { ...total, ...(last?.now ?? {}), rttMs: rtts.length ? Math.round(rtts[rtts.length >> 1]) : null };
    },
  };
}

/** Ten times a second in the page: the picture and the sound that have come so far, and when. Begins at once. */
export function beginTimeline(page) {
  return page.evaluate(() => {
    const points = [];
    const line = { stop: false, points };
    window.__timeline = line;
    void (async () => {
      while (!line.stop) {
        const peer = window.__anteroom?.visit?.peer;
        let [frames, packets] = [0, 0];
        for (const [, stat] of peer ? await peer.getStats() : []) {
          if (stat.type !== 'inbound-rtp') continue;
          if (stat.kind === 'video') frames += stat.framesDecoded ?? 0;
          else packets += stat.packetsReceived ?? 0;
        }
        points.push({ at: performance.timeOrigin + performance.now(), peer, frames, packets });
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    })();
  });
}

/** For how long each kind stayed away at a time after `since`, in ms; null where it had not come back. Ends the timeline. */
export function endTimeline(page, since) {
  return page.evaluate((from) => {
    const { points } = window.__timeline;
    window.__timeline.stop = true;
    const back = (kind) => {
      let [quietSince, longest] = [from, 0];
      for (let n = 1; n < points.length; n += 1) {
        const [before, now] = [points[n - 1], points[n]];
        if (now.at <= from) continue;
        const fresh = before.peer === now.peer ? now[kind] > before[kind] : now[kind] > 0;
        if (!fresh) continue;
        longest = Math.max(longest, now.at - quietSince);
        quietSince = now.at;
      }
      const quietNow = (points.at(-1)?.at ?? from) - quietSince;
      return quietNow > Math.max(longest, 500) ? null : longest;
    };
    return { picture: back('frames'), sound: back('packets') };
  }, since);
}

/** The numbers that people read. */
export function summary(side) {
  const seconds = Math.max(side.seconds, 0.001);
  return {
    seconds: round(seconds, 1),
    frames: side.frames ?? 0,
    fps: round((side.frames ?? 0) / seconds, 1),
    height: side.height ?? 0,
    freezes: side.freezes ?? 0,
    freezeSeconds: round(side.freezeSeconds ?? 0, 1),
    stillSeconds: round(side.stillSeconds, 1),
    kbpsIn: Math.round(((side.bytes ?? 0) * 8) / 1000 / seconds),
    kbpsOut: Math.round(((side.sentBytes ?? 0) * 8) / 1000 / seconds),
    lossPercent: round((100 * (side.lost ?? 0)) / Math.max(1, (side.lost ?? 0) + (side.packets ?? 0)), 1),
    audioEnergy: round(side.energy ?? 0, 4),
    concealedPercent: round((100 * (side.concealed ?? 0)) / Math.max(1, side.samples ?? 0), 1),
    rttMs: side.rttMs,
    path: side.path ?? null,
    limit: side.limit ?? null,
    connections: side.connections,
  };
}

export const round = (value, digits) => Number(value.toFixed(digits));
