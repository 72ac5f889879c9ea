import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { FakePeer, FakeSocket, FakeTrack } from './fake';
import { answerOffer, HIM, next, refuseOffer, settle, start, welcome } from './scene';

describe('Visit', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all = [];
    FakePeer.all = [];
  });
  afterEach(() => vi.useRealTimers());

  it('offers one audio and one video section while still waiting, so that admission is instant', async () => {
    const { visit } = await start('waiting');
    expect(visit.state.phase).toBe('waiting');
    const offers = FakeSocket.last().sent.filter((message) => message['type'] === 'offer');
    expect(offers.map((offer) => offer['sdp'])).toEqual(['offer with audio:sendrecv video:sendrecv']);
    expect(FakeSocket.last().sent).toContainEqual({ type: 'device_check', camera: true, microphone: true });
    await answerOffer();
    expect(FakePeer.last().answers).toHaveLength(1);
  });

  it('needs no negotiation to be admitted, and shows whom the slots carry', async () => {
    const { visit } = await start('waiting');
    await answerOffer();
    const wire = FakeSocket.last();
    const admitted = vi.fn();
    visit.on('admitted', admitted);
    const before = wire.sent.length;
    wire.tell({ type: 'admitted', seq: next() });
    wire.tell({ type: 'slot', seq: next(), mid: '0', carries: { participantId: HIM, source: 'microphone' } });
    wire.tell({ type: 'slot', seq: next(), mid: '1', carries: { participantId: HIM, source: 'camera' } });
    expect(admitted).toHaveBeenCalledOnce();
    expect(visit.state.phase).toBe('inside');
    const [remote] = visit.state.remotes;
    expect(remote).toMatchObject({ participantId: HIM, hasCamera: true, hasMicrophone: true, hasScreen: false });
    expect(remote?.face.getTracks()).toHaveLength(2);
    expect(wire.sent.length).toBe(before);
    wire.tell({ type: 'slot', seq: next(), mid: '1', carries: null });
    expect(visit.state.remotes[0]).toMatchObject({ hasCamera: false, hasMicrophone: true });
    wire.tell({ type: 'slot', seq: next(), mid: '0', carries: null });
    expect(visit.state.remotes).toEqual([]);
  });

  it('adds receiving sections when more slots are wanted, one exchange at a time', async () => {
    await start('admitted', 'clinician');
    const wire = FakeSocket.last();
    wire.tell({ type: 'slots_wanted', seq: next(), audio: 2, video: 3 });
    await settle();
    expect(wire.sent.filter((message) => message['type'] === 'offer')).toHaveLength(1);
    await answerOffer();
    const offers = wire.sent.filter((message) => message['type'] === 'offer');
    expect(offers).toHaveLength(2);
    expect(offers[1]?.['sdp']).toBe('offer with audio:sendrecv video:sendrecv audio:recvonly video:recvonly video:recvonly');
    await answerOffer();
    wire.tell({ type: 'slots_wanted', seq: next(), audio: 1, video: 1 });
    await settle();
    expect(wire.sent.filter((message) => message['type'] === 'offer')).toHaveLength(2);
  });

  it('makes a new connection after the media failed, on the same socket', async () => {
    const { visit } = await start('admitted');
    await answerOffer();
    const first = FakePeer.last();
    first.become('connected');
    expect(visit.state.media).toBe('connected');
    first.become('disconnected');
    vi.advanceTimersByTime(1_000);
    await settle();
    await refuseOffer();
    expect(visit.state.media).toBe('failed');
    expect(visit.state.brokenSince).not.toBeNull();
    vi.advanceTimersByTime(300);
    await settle();
    expect(FakePeer.all).toHaveLength(2);
    expect(first.closed).toBe(true);
    await answerOffer();
    FakePeer.last().become('connected');
    expect(visit.state.brokenSince).toBeNull();
    expect(FakeSocket.all).toHaveLength(1);
  });

  it('looks for another path on the same connection, and gives up when the server would', async () => {
    const { visit } = await start('admitted');
    await answerOffer();
    const peer = FakePeer.last();
    peer.become('connected');
    peer.become('disconnected');
    expect(visit.state).toMatchObject({ media: 'shaky', brokenSince: null });
    vi.advanceTimersByTime(1_000);
    await settle();
    expect(peer.restarts).toBe(1);
    await answerOffer();
    peer.become('failed');
    vi.advanceTimersByTime(4_000);
    await settle();
    await answerOffer();
    expect(visit.state.media).toBe('searching');
    expect(visit.state.brokenSince).not.toBeNull();
    expect(peer.restarts).toBe(2);
    peer.become('connected');
    expect(visit.state).toMatchObject({ media: 'connected', brokenSince: null });
    peer.become('disconnected');
    for (let second = 0; second < 26; second += 1) {
      vi.advanceTimersByTime(1_000);
      await settle();
      if (peer.restarts > 2) await answerOffer();
    }
    expect(visit.state.media).not.toBe('searching');
    vi.advanceTimersByTime(2_000);
    await settle();
    expect(FakePeer.all).toHaveLength(2);
  });

  it('waits for the socket before it restarts ICE, and takes other credentials for the relay', async () => {
    const { visit } = await start('admitted');
    await answerOffer();
    const peer = FakePeer.last();
    peer.become('connected');
    FakeSocket.last().break();
    peer.become('disconnected');
    vi.advanceTimersByTime(200);
    expect(peer.restarts).toBe(0);
    vi.advanceTimersByTime(100);
    FakeSocket.last().open();
    const iceServers = [{ urls: ['turn:turn.example.org'], username: '1:a', credential: 'b' }];
    FakeSocket.last().tell({ type: 'ice_servers', seq: next(), iceServers });
    await settle();
    expect(peer.configuration.iceServers).toEqual(iceServers);
    expect(peer.restarts).toBe(1);
    await answerOffer();
    peer.become('connected');
    expect(visit.state.media).toBe('connected');
    expect(FakePeer.all).toHaveLength(1);
  });

  it('forgives a short break of the network path', async () => {
    await start('admitted');
    await answerOffer();
    FakePeer.last().become('connected');
    FakePeer.last().become('disconnected');
    vi.advanceTimersByTime(4_000);
    FakePeer.last().become('connected');
    vi.advanceTimersByTime(60_000);
    expect(FakePeer.all).toHaveLength(1);
  });

  it('keeps the media over a resumed socket, and rebuilds it when it is welcomed anew', async () => {
    const { visit } = await start('admitted');
    await answerOffer();
    FakePeer.last().become('connected');
    FakeSocket.last().break();
    expect(visit.state.brokenSince).not.toBeNull();
    vi.advanceTimersByTime(300);
    FakeSocket.last().open();
    FakeSocket.last().tell({ type: 'pong', seq: next(), id: 'x', serverTime: '2026-11-21T10:00:05Z' });
    expect(visit.state.brokenSince).toBeNull();
    expect(FakePeer.all).toHaveLength(1);
    FakeSocket.last().break();
    vi.advanceTimersByTime(300);
    FakeSocket.last().open();
    FakeSocket.last().tell(welcome('admitted'));
    await settle();
    expect(FakePeer.all).toHaveLength(2);
  });

  it('gives a replaced camera to the sender and tells the mute state', async () => {
    const { local } = await start('admitted');
    await answerOffer();
    const camera = new FakeTrack('video');
    local.cameraOn = false;
    local.replace('video', null);
    local.replace('video', camera);
    await settle();
    expect(FakePeer.last().transceivers[1]?.sender.replaced.at(-1)).toBe(camera);
    expect(FakeSocket.last().sent.at(-1)).toEqual({ type: 'state', microphone: true, camera: false });
  });

  it('answers consent with the version it was asked for, and can take it back', async () => {
    const { visit } = await start('admitted');
    const wire = FakeSocket.last();
    wire.tell({ type: 'consent_request', seq: next(), version: 1, locale: 'en', body: 'text', requestedBy: 'c' });
    expect(visit.state.consentRequest?.body).toBe('text');
    const signed = visit.consent('SIGN');
    expect(wire.sent.at(-1)).toMatchObject({ type: 'consent', version: 1, decision: 'SIGN' });
    wire.tell({ type: 'ok', seq: next(), id: wire.sent.at(-1)?.['id'] as string });
    await signed;
    expect(visit.state.consentRequest).toBeNull();
    const revoked = visit.consent('REVOKE');
    expect(wire.sent.at(-1)).toMatchObject({ version: 1, decision: 'REVOKE' });
    wire.tell({ type: 'ok', seq: next(), id: wire.sent.at(-1)?.['id'] as string });
    await revoked;
  });

  it('ends once, with its reason, and lets go of the media', async () => {
    const { visit } = await start('waiting');
    FakeSocket.last().tell({ type: 'ended', seq: next(), reason: 'denied' });
    FakeSocket.last().break(1000);
    expect(visit.state).toMatchObject({ phase: 'ended', ended: 'denied', remotes: [] });
    expect(FakePeer.last().closed).toBe(true);
    vi.advanceTimersByTime(60_000);
    expect(FakeSocket.all).toHaveLength(1);
  });

  it('announces each arrival once', async () => {
    const { visit } = await start('admitted', 'clinician');
    const arrived = vi.fn();
    visit.on('arrived', arrived);
    const entry = { participantId: HIM, name: 'A. Rivera', role: 'patient', since: '2026-11-21T09:56:00Z', camera: true, microphone: true };
    for (let n = 0; n < 3; n += 1) {
      FakeSocket.last().tell({ type: 'waiting_list', seq: next(), entries: [entry], serverTime: '2026-11-21T10:00:00Z' });
    }
    expect(arrived).toHaveBeenCalledOnce();
  });
});
