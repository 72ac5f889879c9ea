import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Backoff } from '../sdk/backoff';
import { ServerClock } from '../sdk/clock';
import { VisitSocket, type FinalClose } from '../sdk/socket';
import { FakeSocket } from './fake';

const WELCOME = {
  type: 'welcome' as const,
  resumeToken: 'resume-me',
  serverTime: '2026-11-21T10:00:00Z',
  iceServers: [],
};

function make() {
  const socket = new VisitSocket({
    url: 'ws://test/ws',
    clock: new ServerClock(),
    createSocket: (url, protocol) => new FakeSocket(url, protocol) as unknown as WebSocket,
    backoff: new Backoff({ firstMs: 100, maxMs: 1000, jitter: 0 }),
  });
  socket.connect();
  return socket;
}

describe('VisitSocket', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all = [];
  });
  afterEach(() => vi.useRealTimers());

  it('says hello first and opens with welcome', () => {
    const socket = make();
    const wire = FakeSocket.last();
    expect(wire.protocol).toBe('anteroom.v1');
    wire.open();
    expect(wire.sent).toEqual([{ type: 'hello', protocol: 1 }]);
    expect(socket.link).toBe('connecting');
    wire.tell({ ...WELCOME, seq: 1 });
    expect(socket.link).toBe('open');
  });

  it('says hello with a proof over the nonce where a key is asked for, and counts no word before the seat', async () => {
    const socket = new VisitSocket({
      url: 'ws://test/ws',
      clock: new ServerClock(),
      createSocket: (url, protocol) => new FakeSocket(url, protocol) as unknown as WebSocket,
      backoff: new Backoff({ firstMs: 100, maxMs: 1000, jitter: 0 }),
      prove: async (nonce) => (nonce === 'none' ? null : `proof of ${nonce}`),
    });
    socket.connect();
    const wire = FakeSocket.last();
    wire.open();
    expect(wire.sent).toEqual([]);
    wire.tell({ type: 'challenge', nonce: 'abc', seq: 0 });
    await vi.advanceTimersByTimeAsync(0);
    expect(wire.sent).toEqual([{ type: 'hello', protocol: 1, proof: 'proof of abc' }]);
    expect(socket.link).toBe('connecting');
    wire.tell({ ...WELCOME, seq: 1 });
    expect(socket.link).toBe('open');
    // After a break the new socket is asked anew, and resumes.
    wire.break();
    await vi.advanceTimersByTimeAsync(150);
    const again = FakeSocket.last();
    again.open();
    again.tell({ type: 'challenge', nonce: 'none', seq: 0 });
    await vi.advanceTimersByTimeAsync(0);
    expect(again.sent[0]).toEqual({ type: 'hello', protocol: 1, resume: { token: 'resume-me', seq: 1 } });
  });

  it('gives an answer to the one who asked, and an error as a refusal', async () => {
    const socket = make();
    const wire = FakeSocket.last();
    wire.open();
    wire.tell({ ...WELCOME, seq: 1 });
    const good = socket.request({ type: 'admit', participantId: 'p' });
    const bad = socket.request({ type: 'deny', participantId: 'q' });
    const [first, second] = wire.sent.slice(1);
    wire.tell({ type: 'ok', seq: 2, id: first?.['id'] as string });
    wire.tell({ type: 'error', seq: 3, id: second?.['id'] as string, code: 'NOT_WAITING', detail: 'gone' });
    await expect(good).resolves.toMatchObject({ type: 'ok' });
    await expect(bad).rejects.toMatchObject({ code: 'NOT_WAITING', detail: 'gone' });
  });

  it('resumes after a break with the last seq it saw, and does not repeat what it knows', () => {
    const socket = make();
    const seen: string[] = [];
    socket.on('message', (message) => seen.push(message.type));
    let resumed = 0;
    socket.on('resumed', () => (resumed += 1));
    FakeSocket.last().open();
    FakeSocket.last().tell({ ...WELCOME, seq: 1 });
    FakeSocket.last().tell({ type: 'admitted', seq: 2 });
    FakeSocket.last().break();
    expect(socket.link).toBe('broken');
    vi.advanceTimersByTime(100);
    const again = FakeSocket.last();
    again.open();
    expect(again.sent[0]).toEqual({ type: 'hello', protocol: 1, resume: { token: 'resume-me', seq: 2 } });
    expect(again.types()).toEqual(['hello', 'ping']);
    again.tell({ type: 'admitted', seq: 2 });
    expect(socket.link).toBe('broken');
    again.tell({ type: 'pong', seq: 3, id: 'resume-1', serverTime: WELCOME.serverTime });
    expect(socket.link).toBe('open');
    expect(resumed).toBe(1);
    expect(seen).toEqual(['welcome', 'admitted', 'pong']);
  });

  it('keeps a request alive over a resume, because its answer is sent again', async () => {
    const socket = make();
    FakeSocket.last().open();
    FakeSocket.last().tell({ ...WELCOME, seq: 1 });
    const offer = socket.request({ type: 'offer', sdp: 'v=0' });
    const id = FakeSocket.last().sent.at(-1)?.['id'] as string;
    FakeSocket.last().break();
    vi.advanceTimersByTime(100);
    FakeSocket.last().open();
    FakeSocket.last().tell({ type: 'answer', seq: 2, id, sdp: 'answer' });
    await expect(offer).resolves.toMatchObject({ sdp: 'answer' });
  });

  it('starts anew without resume after the room failed', () => {
    make();
    FakeSocket.last().open();
    FakeSocket.last().tell({ ...WELCOME, seq: 1 });
    FakeSocket.last().tell({ type: 'ended', reason: 'failed', seq: 2 });
    FakeSocket.last().break(4500);
    vi.advanceTimersByTime(100);
    FakeSocket.last().open();
    expect(FakeSocket.last().sent).toEqual([{ type: 'hello', protocol: 1 }]);
  });

  it.each([
    [4401, 'unauthenticated'],
    [4409, 'superseded'],
    [1000, 'done'],
  ] as const)('does not come back after close code %i', (code, why) => {
    const socket = make();
    const ends: FinalClose[] = [];
    socket.on('final', (end) => ends.push(end));
    FakeSocket.last().open();
    FakeSocket.last().break(code);
    vi.advanceTimersByTime(60_000);
    expect(ends).toEqual([why]);
    expect(FakeSocket.all).toHaveLength(1);
  });

  it('comes back when a server that restarts said to, and not before', () => {
    const socket = make();
    FakeSocket.last().open();
    FakeSocket.last().tell({ type: 'error', seq: 1, code: 'DRAINING', detail: 'We are about to restart.', retryAfterSeconds: 10 });
    FakeSocket.last().break(4503);
    expect(socket.link).toBe('broken');
    vi.advanceTimersByTime(9_999);
    expect(FakeSocket.all).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(FakeSocket.all).toHaveLength(2);
    FakeSocket.last().open();
    expect(FakeSocket.last().sent[0]).toEqual({ type: 'hello', protocol: 1 });
  });

  it('notices a path that died in silence', () => {
    const socket = make();
    FakeSocket.last().open();
    FakeSocket.last().tell({ ...WELCOME, seq: 1 });
    vi.advanceTimersByTime(12_000);
    expect(FakeSocket.last().types().at(-1)).toBe('ping');
    vi.advanceTimersByTime(8_000);
    expect(socket.link).toBe('broken');
    vi.advanceTimersByTime(100);
    expect(FakeSocket.all).toHaveLength(2);
  });

  it('waits longer from try to try, and not at all when the network comes back', () => {
    const socket = make();
    for (const wait of [100, 200, 400]) {
      const before = FakeSocket.all.length;
      FakeSocket.last().break();
      vi.advanceTimersByTime(wait - 1);
      expect(FakeSocket.all).toHaveLength(before);
      vi.advanceTimersByTime(1);
      expect(FakeSocket.all).toHaveLength(before + 1);
    }
    FakeSocket.last().break();
    const before = FakeSocket.all.length;
    socket.retryNow();
    expect(FakeSocket.all).toHaveLength(before + 1);
  });

  it('ignores frames that are no messages, and types of later versions', () => {
    const socket = make();
    const seen: string[] = [];
    socket.on('message', (message) => seen.push(message.type));
    const wire = FakeSocket.last();
    wire.open();
    wire.tell({ ...WELCOME, seq: 1 });
    for (const text of ['', '{', '[]', 'null', '{"type":7,"seq":2}', '{"type":"later","seq":2}']) wire.tellText(text);
    wire.tell({ type: 'sent_back', seq: 3 });
    expect(seen).toEqual(['welcome', 'sent_back']);
    expect(socket.link).toBe('open');
  });

  it('refuses a request while the link is broken', async () => {
    const socket = make();
    await expect(socket.request({ type: 'ping' })).rejects.toMatchObject({ code: 'OFFLINE' });
  });
});
