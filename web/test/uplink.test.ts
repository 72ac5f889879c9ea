// When the own picture yields to the voice, and comes back.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Uplink } from '../sdk/uplink';
import { FakePeer, FakeSocket } from './fake';
import { answerOffer, next, settle, start } from './scene';

/** Looks twice a second until `to`; answers when the amount changed, in seconds. */
function looks(uplink: Uplink, { from, to, bps, sends = () => true }: { from: number; to: number; bps: (second: number) => number | null; sends?: (second: number) => boolean }) {
  const changes: string[] = [];
  for (let second = from; second <= to; second += 0.5) {
    const before = uplink.picture;
    uplink.look(second * 1000, bps(second), sends(second));
    if (uplink.picture !== before) changes.push(`${second} ${uplink.picture}`);
  }
  return changes;
}

describe('Uplink', () => {
  it('leaves a way alone that carries both, one that dips, and one of which the browser says nothing', () => {
    expect(looks(new Uplink(), { from: 0, to: 60, bps: () => 110_000 })).toEqual([]);
    expect(looks(new Uplink(), { from: 0, to: 60, bps: (second) => (second % 3 < 2 ? 50_000 : 110_000) })).toEqual([]);
    expect(looks(new Uplink(), { from: 0, to: 60, bps: () => null })).toEqual([]);
    expect(looks(new Uplink(), { from: 0, to: 60, bps: () => 50_000, sends: () => false })).toEqual([]);
  });

  it('gives the way to the voice, and tries seldom and little whether it has widened', () => {
    const changes = looks(new Uplink(), { from: 0, to: 60, bps: () => 60_000 });
    expect(changes).toEqual(['2 none', '10 little', '11.5 none', '23.5 little', '25 none', '37 little', '38.5 none', '50.5 little', '52 none']);
  });

  it('does not believe what a browser guesses when a picture begins or the path changes', () => {
    const uplink = new Uplink();
    const guess = (second: number) => (second % 9 < 2 ? 300_000 : 60_000);
    const changes = looks(uplink, { from: 0, to: 120, bps: guess });
    expect(changes.filter((change) => change.endsWith('all'))).toEqual([]);
    expect(changes[0]).toBe('4 none');
  });

  it('keeps the picture once a try shows that the way is wide', () => {
    const uplink = new Uplink();
    looks(uplink, { from: 0, to: 34, bps: () => 60_000 });
    // A voice alone does not show that the way is wide; a picture does within a second.
    let triedSince = Number.POSITIVE_INFINITY;
    const wide = (second: number) => {
      triedSince = uplink.picture === 'none' ? Number.POSITIVE_INFINITY : Math.min(triedSince, second);
      return second - triedSince >= 0.5 ? 220_000 : 60_000;
    };
    expect(looks(uplink, { from: 34.5, to: 100, bps: wide })).toEqual(['37 little', '41 all']);
  });

  it('begins with short waits again after it sent for long', () => {
    const uplink = new Uplink();
    looks(uplink, { from: 0, to: 47.5, bps: () => 60_000 });
    looks(uplink, { from: 48, to: 100, bps: () => 400_000 });
    expect(looks(uplink, { from: 100.5, to: 113, bps: () => 60_000 })).toEqual(['102.5 none', '110.5 little', '112 none']);
  });
});

describe('Visit on a narrow way out', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all = [];
    FakePeer.all = [];
  });
  afterEach(() => vi.useRealTimers());

  it('turns the camera off for the sake of sound, says so, and obeys the server again afterwards', async () => {
    const { visit } = await start('admitted');
    const sections = 'v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n';
    await answerOffer(sections);
    FakePeer.last().createOffer = async () => ({ type: 'offer', sdp: sections });
    FakePeer.last().become('connected');
    const sender = FakePeer.last().transceivers[1]?.sender;
    let sent = 0;
    const pass = async (seconds: number, bps: number) => {
      for (let past = 0; past < seconds; past += 0.5) {
        sent += 1_000;
        if (sender) sender.stats = [{ type: 'outbound-rtp', bytesSent: sent }, { type: 'candidate-pair', availableOutgoingBitrate: bps }];
        vi.advanceTimersByTime(500);
        await settle();
      }
    };
    const voice = () => FakePeer.last().transceivers[0]?.sender.parameters.encodings[0]?.['maxBitrate'];
    const active = () => sender?.parameters.encodings.filter((one) => one['active']).map((one) => String(one['rid'])).join('');
    const best = () => sender?.parameters.encodings.at(-1);
    await pass(1, 60_000);
    expect(voice()).toBe(undefined);
    await pass(1, 60_000);
    // The voice makes room first.
    expect(voice()).toBe(16_000);
    expect(FakePeer.last().answers.at(-1)).toContain('a=ptime:60');
    expect([active(), visit.state.pictureHeld]).toEqual(['f', false]);
    await pass(1, 60_000);
    expect([active(), visit.state.pictureHeld]).toEqual(['', true]);
    expect(voice()).toBe(16_000);
    expect(FakeSocket.last().sent.at(-1)).toMatchObject({ type: 'state', cameraHeld: true });
    FakeSocket.last().tell({ type: 'encode', seq: next(), source: 'camera', encoding: 'layers' });
    await settle();
    expect(active()).toBe('');
    await pass(8, 60_000);
    expect([active(), visit.state.pictureHeld]).toEqual(['f', true]);
    expect(best()).toMatchObject({ maxBitrate: 110_000, scaleResolutionDownBy: 4 });
    await pass(4, 200_000);
    expect([active(), visit.state.pictureHeld]).toEqual(['qhf', false]);
    expect(best()).toMatchObject({ maxBitrate: 1_500_000, scaleResolutionDownBy: 1 });
    expect(voice()).toBe(32_000);
    expect(FakePeer.last().answers.at(-1)).toContain('a=ptime:20');
    expect(FakeSocket.last().sent.at(-1)).not.toHaveProperty('cameraHeld');
  });
});
