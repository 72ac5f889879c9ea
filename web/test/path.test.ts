// When silence means that the path is gone, on virtual time; and what a visit does about it.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { PathWatch, type PathVerdict } from '../sdk/path';
import { countersOf } from '../sdk/pulse';
import { FakePeer, FakeSocket } from './fake';
import { answerOffer, next, settle, start } from './scene';

/** Looks every `step` ms from `from` to `to`; answers the times at which the verdict changed. */
function looks(watch: PathWatch, { from, to, step = 100, heard }: { from: number; to: number; step?: number; heard: (now: number) => boolean }) {
  const changes: [number, PathVerdict][] = [];
  for (let now = from; now <= to; now += step) {
    const before = watch.verdict;
    const verdict = watch.look(now, heard(now));
    if (verdict !== before) changes.push([now, verdict]);
  }
  return changes;
}
const always = () => true;
const never = () => false;

describe('PathWatch', () => {
  it('doubts after a third of a second, and gives up after two thirds', () => {
    const watch = new PathWatch();
    expect(looks(watch, { from: 0, to: 3_000, heard: always })).toEqual([]);
    expect(looks(watch, { from: 3_100, to: 5_000, heard: never })).toEqual([[3_400, 'doubt'], [3_700, 'lost']]);
    expect(watch.look(5_100, true)).toBe('fine');
  });

  it('says nothing before it knows what is usual', () => {
    expect(looks(new PathWatch(), { from: 0, to: 5_000, heard: (now) => now < 700 })).toEqual([]);
  });

  it('waits longer where pauses are usual, and does not judge who seldom sends', () => {
    const every = (ms: number) => (now: number) => now % ms === 0;
    const slow = new PathWatch();
    expect(looks(slow, { from: 0, to: 6_000, heard: every(300) })).toEqual([]);
    expect(looks(slow, { from: 6_100, to: 8_000, heard: never })).toEqual([[6_600, 'doubt'], [6_900, 'lost']]);
    const rare = new PathWatch();
    expect(looks(rare, { from: 0, to: 20_000, heard: every(1_000) })).toEqual([]);
    expect(looks(rare, { from: 20_100, to: 40_000, heard: never })).toEqual([]);
  });

  it('is not misled by a page that looks once a second only', () => {
    const watch = new PathWatch();
    expect(looks(watch, { from: 0, to: 30_000, step: 1_000, heard: always })).toEqual([]);
    expect(looks(watch, { from: 31_000, to: 33_000, step: 1_000, heard: never })).toEqual([[31_000, 'lost']]);
  });

  it('does not blame the path for what a sleeping machine missed', () => {
    const watch = new PathWatch();
    looks(watch, { from: 0, to: 3_000, heard: always });
    expect(watch.look(3_600_000, false)).toBe('fine');
    expect(looks(watch, { from: 3_600_100, to: 3_601_000, heard: always })).toEqual([]);
    expect(watch.look(7_200_000, false)).toBe('fine');
    expect(looks(watch, { from: 7_200_100, to: 7_201_000, heard: never }).at(-1)).toEqual([7_200_700, 'lost']);
  });

  it('bears a silence as long as one that ended by itself, for a minute', () => {
    const watch = new PathWatch();
    looks(watch, { from: 0, to: 3_000, heard: always });
    expect(looks(watch, { from: 3_100, to: 3_900, heard: never }).at(-1)).toEqual([3_700, 'lost']);
    watch.bear(watch.quietMs(4_000), 4_000);
    looks(watch, { from: 4_000, to: 8_000, heard: always });
    expect(looks(watch, { from: 8_100, to: 9_300, heard: never })).toEqual([[8_800, 'doubt']]);
    looks(watch, { from: 9_400, to: 70_000, heard: always });
    expect(looks(watch, { from: 70_100, to: 71_000, heard: never }).at(-1)).toEqual([70_700, 'lost']);
  });
});

describe('countersOf', () => {
  it('takes bytes of the transport, and answers on the path in use alone', () => {
    const pair = (id: string, values: object) => [id, { id, type: 'candidate-pair', ...values }] as const;
    const chromium = countersOf([
      pair('a', { bytesReceived: 5, responsesReceived: 2, nominated: true }),
      pair('b', { bytesReceived: 9, responsesReceived: 7, nominated: true }),
      ['t', { type: 'transport', bytesReceived: 14, selectedCandidatePairId: 'b' }],
    ]);
    expect(Array.from(chromium)).toEqual([['t', 14], ['b answers', 7]]);
    const firefox = countersOf([pair('a', { bytesReceived: 5, responsesReceived: 2 }), pair('b', { bytesReceived: 9, responsesReceived: 7, selected: true })]);
    expect(Array.from(firefox)).toEqual([['a bytes', 5], ['b bytes', 9], ['b answers', 7]]);
  });
});

describe('Visit on a path that is gone', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all = [];
    FakePeer.all = [];
  });
  afterEach(() => vi.useRealTimers());

  /** Lets time pass in steps of the watch; with a voice there is always something to hear. */
  const pass = async (ms: number, voice: boolean) => {
    for (let past = 0; past < ms; past += 50) {
      if (voice) FakePeer.last().voiceAt += 50;
      vi.advanceTimersByTime(50);
      await settle();
    }
  };
  const inCall = async (more: Parameters<typeof start>[2] = {}) => {
    const { visit } = await start('admitted', 'patient', more);
    await answerOffer();
    FakePeer.last().become('connected');
    await pass(2_500, true);
    return { visit, peer: FakePeer.last(), wire: FakeSocket.last() };
  };
  const resume = (wire: FakeSocket) => {
    wire.open();
    const ping = wire.sent.find((message) => message['type'] === 'ping');
    wire.tell({ type: 'pong', seq: next(), id: ping?.['id'] as string, serverTime: '2026-11-21T10:00:05Z' });
  };

  it('restarts ICE over a new socket within a second when neither says anything', async () => {
    const { visit, peer, wire } = await inCall();
    await pass(500, false);
    expect(wire.types().at(-1)).toBe('ping');
    expect(FakeSocket.all).toHaveLength(1);
    await pass(300, false);
    expect(FakeSocket.all).toHaveLength(2);
    expect(wire.closedWith).toBeNull();
    resume(FakeSocket.last());
    await settle();
    expect(FakeSocket.last().sent[0]).toMatchObject({ type: 'hello', resume: { token: 'r' } });
    expect(wire.closedWith).not.toBeNull();
    expect(peer.restarts).toBe(1);
    expect(FakeSocket.last().types()).toContain('offer');
    // The server closes the old one as taken over, which ends nothing here.
    wire.break(4409);
    await answerOffer();
    await pass(300, true);
    expect(visit.state).toMatchObject({ phase: 'inside', link: 'open', media: 'connected', brokenSince: null });
    expect(FakePeer.all).toHaveLength(1);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it('keeps the socket that answers, and restarts ICE on it at once', async () => {
    const { visit, peer, wire } = await inCall();
    await pass(500, false);
    wire.tell({ type: 'pong', seq: next(), id: wire.sent.at(-1)?.['id'] as string, serverTime: '2026-11-21T10:00:05Z' });
    await pass(300, false);
    expect(peer.restarts).toBe(1);
    expect(FakeSocket.all).toHaveLength(1);
    await answerOffer();
    await pass(300, true);
    expect(visit.state.media).toBe('connected');
  });

  /** A frame in which a connection has these addresses; what became of it. */
  const frameWith = (address: string) => {
    const frame = { closed: false, peers: [] as FakePeer[] };
    const createPeer = () => {
      const peer = new FakePeer();
      frame.peers.push(peer);
      const candidate = { candidate: `candidate:1 1 udp 2122194687 ${address} 50226 typ host generation 0` };
      const listen = peer.addEventListener.bind(peer);
      peer.addEventListener = (type: string, handler: (event?: unknown) => void) => {
        if (type === 'icecandidate') [{ candidate }, { candidate: null }].forEach((event) => setTimeout(() => handler(event), 20));
        else listen(type, handler as () => void);
      };
      return peer as unknown as RTCPeerConnection;
    };
    return { frame, createFrame: () => ({ createPeer, close: () => void (frame.closed = true) }) };
  };

  it('connects anew in a frame that knows the new addresses, once there is a way to ask for it', async () => {
    const { frame, createFrame } = frameWith('10.0.0.3');
    const { visit, peer } = await inCall({ createFrame });
    peer.localDescription = { sdp: 'a=candidate:1 1 udp 2122194687 10.0.0.2 40000 typ host\r\n' };
    await pass(900, false);
    expect(frame.peers, 'one that looks').toHaveLength(1);
    resume(FakeSocket.last());
    await settle();
    expect([peer.closed, frame.closed]).toEqual([true, false]);
    const fresh = frame.peers.at(-1);
    expect(visit.peer).toBe(fresh);
    expect(FakeSocket.last().types().at(-1)).toBe('offer');
    await answerOffer();
    fresh?.become('connected');
    expect(visit.state).toMatchObject({ phase: 'inside', link: 'open', media: 'connected', brokenSince: null });
    visit.leave();
    FakeSocket.last().tell({ type: 'ended', seq: next(), reason: 'left' });
    expect(frame.closed).toBe(true);
  });

  it('stays with the connection it has where the addresses are the same, or nobody tells them', async () => {
    for (const [before, now] of [['10.0.0.2', '10.0.0.2'], ['a-b.local', '10.0.0.3'], ['10.0.0.2', 'c-d.local']] as const) {
      FakeSocket.all = [];
      FakePeer.all = [];
      const { frame, createFrame } = frameWith(now);
      const { visit, peer } = await inCall({ createFrame });
      peer.localDescription = { sdp: `a=candidate:1 1 udp 2122194687 ${before} 40000 typ host\r\n` };
      await pass(1_000, false);
      resume(FakeSocket.last());
      await pass(500, false);
      expect([visit.peer === (peer as never), peer.closed]).toEqual([true, false]);
      expect(frame.peers.every((one) => one.closed) && (frame.closed || frame.peers.length === 0)).toBe(true);
      visit.leave();
    }
  });

  it('asks again, but neither often nor for ever', async () => {
    const { visit, peer, wire } = await inCall();
    for (let past = 0; past < 24_000; past += 250) {
      await pass(250, false);
      const last = wire.sent.at(-1);
      if (last?.['type'] === 'ping') wire.tell({ type: 'pong', seq: next(), id: last['id'] as string, serverTime: '2026-11-21T10:00:05Z' });
      else if (last?.['type'] === 'offer') await answerOffer();
    }
    expect(visit.state.media).toBe('searching');
    expect(peer.restarts).toBeGreaterThanOrEqual(5);
    expect(peer.restarts).toBeLessThanOrEqual(8);
    expect(FakeSocket.all).toHaveLength(1);
    expect(wire.types().filter((type) => type === 'ping').length).toBeLessThanOrEqual(28);
  });

  it('says again on the new socket what died with the old one, and only that', async () => {
    const { visit, wire } = await inCall();
    const offer = wire.types().filter((type) => type === 'offer').length;
    await pass(400, false);
    const answered = visit.requestConsent();
    const dead = visit.startRecording();
    const [first, second] = wire.sent.slice(-2);
    await pass(400, false);
    const fresh = FakeSocket.last();
    fresh.open();
    fresh.tell({ type: 'ok', seq: next(), id: first?.['id'] as string });
    const ping = fresh.sent.find((message) => message['type'] === 'ping');
    fresh.tell({ type: 'pong', seq: next(), id: ping?.['id'] as string, serverTime: '2026-11-21T10:00:05Z' });
    await answered;
    const again = fresh.sent.filter((message) => message['type'] === 'recording_start' || message['type'] === 'request_consent');
    expect(again).toEqual([second]);
    fresh.tell({ type: 'ok', seq: next(), id: second?.['id'] as string });
    await dead;
    expect(offer).toBe(1);
  });

  it('drops the second socket when the first one speaks after all', async () => {
    const { wire } = await inCall();
    await pass(800, false);
    const fresh = FakeSocket.last();
    expect(fresh).not.toBe(wire);
    wire.tell({ type: 'speaking', seq: next(), participantId: null });
    expect(fresh.closedWith).not.toBeNull();
    fresh.break();
    await pass(200, true);
    expect(wire.closedWith).toBeNull();
    expect(FakeSocket.all).toHaveLength(2);
  });

  it('takes a second socket that fails too for an ordinary break', async () => {
    const { visit } = await inCall();
    await pass(800, false);
    expect(visit.state.link).toBe('open');
    FakeSocket.last().break();
    expect(visit.state.link).toBe('broken');
    await pass(300, false);
    expect(FakeSocket.all).toHaveLength(3);
    resume(FakeSocket.last());
    expect(visit.state.link).toBe('open');
  });
});
