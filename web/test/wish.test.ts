// What the server wishes of a client's encoders, and what a client says about its tiles.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { boundedBudget, withPtime } from '../sdk/sender';
import { ViewTable } from '../sdk/view';
import { viewOf } from '../src/part/view';
import { FakePeer, FakeSocket } from './fake';
import { answerOffer, HIM, next, settle, start, welcome } from './scene';

const SDP = [
  'v=0', 's=-', 'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=mid:0', 'a=ptime:20', 'm=video 9 UDP/TLS/RTP/SAVPF 96', 'a=mid:1',
  'm=audio 9 UDP/TLS/RTP/SAVPF 111', 'a=mid:2', '',
].join('\r\n');

const views = () => FakeSocket.last().sent.filter((message) => message['type'] === 'view').map(({ mid, view }) => `${String(mid)} ${String(view)}`);

describe('withPtime', () => {
  it('sets the packet time of the own section alone, once', () => {
    const told = withPtime(withPtime(SDP, 60), 40);
    const [, own, video, slot] = told.split(/^(?=m=)/m);
    expect(own).toBe('m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=ptime:40\r\n');
    expect(video).toBe('m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n');
    expect(slot).toBe('m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:2\r\n');
  });

  it('leaves an answer without sound as it is', () => {
    const silent = 'v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n';
    expect(withPtime(silent, 60)).toBe(silent);
  });

  it('ends a text that had no line end', () => {
    expect(withPtime('v=0\r\nm=audio 9 X 1', 60)).toBe('v=0\r\nm=audio 9 X 1\r\na=ptime:60\r\n');
  });
});

describe('boundedBudget', () => {
  it('keeps to what an encoder can do', () => {
    expect(boundedBudget({ bitrate: 16_000, ptimeMs: 60 })).toEqual({ bitrate: 16_000, ptimeMs: 60 });
    expect(boundedBudget({ bitrate: 1, ptimeMs: 50 })).toEqual({ bitrate: 6_000, ptimeMs: 60 });
    expect(boundedBudget({ bitrate: 1e9, ptimeMs: 255 })).toEqual({ bitrate: 510_000, ptimeMs: 20 });
    expect(boundedBudget({ bitrate: Number.NaN, ptimeMs: 0 })).toEqual({ bitrate: 510_000, ptimeMs: 10 });
  });
});

describe('viewOf', () => {
  it('asks for as much as the tile can show', () => {
    expect(viewOf(true, 640, 1)).toBe('full');
    expect(viewOf(true, 160, 1)).toBe('thumbnail');
    expect(viewOf(true, 200, 2)).toBe('full');
    expect(viewOf(false, 640, 1)).toBe('hidden');
  });
});

describe('ViewTable', () => {
  it('says each change once, and says all again when in doubt', () => {
    const table = new ViewTable();
    const slots = new Map([['0', { participantId: 'a', source: 'microphone' as const }], ['1', { participantId: 'a', source: 'camera' as const }]]);
    const say = () => {
      const news = table.news(slots);
      for (const { mid, view } of news) table.told(mid, view);
      return news;
    };
    expect(say()).toEqual([]);
    table.want('a', 'camera', 'thumbnail');
    expect(say()).toEqual([{ mid: '1', view: 'thumbnail' }]);
    expect(say()).toEqual([]);
    table.doubt();
    expect(say()).toEqual([{ mid: '1', view: 'thumbnail' }]);
    table.clear();
    table.want('a', 'camera', 'full');
    expect(say()).toEqual([]);
  });
});

describe('Visit and what the server wishes', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all = [];
    FakePeer.all = [];
  });
  afterEach(() => vi.useRealTimers());

  const seen = async (mid = '1', participantId = HIM) => {
    FakeSocket.last().tell({ type: 'slot', seq: next(), mid, carries: { participantId, source: 'camera' } });
    await settle();
  };

  it('says how a person is shown in whatever slot carries them', async () => {
    const { visit } = await start('admitted');
    await answerOffer();
    visit.setView(HIM, 'camera', 'thumbnail');
    expect(views()).toEqual([]);
    await seen('1');
    expect(views()).toEqual(['1 thumbnail']);
    visit.setPageVisible(false);
    visit.setPageVisible(false);
    expect(views()).toEqual(['1 thumbnail', '1 hidden']);
    visit.setPageVisible(true);
    FakeSocket.last().tell({ type: 'slot', seq: next(), mid: '1', carries: null });
    expect(views().slice(2)).toEqual(['1 thumbnail', '1 full']);
    await seen('4');
    expect(views().slice(4)).toEqual(['4 thumbnail']);
  });

  it('says it again after a break and on a new connection', async () => {
    const { visit } = await start('admitted');
    await answerOffer();
    await seen();
    visit.setView(HIM, 'camera', 'hidden');
    FakeSocket.last().break();
    visit.setView(HIM, 'camera', 'thumbnail');
    vi.advanceTimersByTime(300);
    FakeSocket.last().open();
    FakeSocket.last().tell({ type: 'pong', seq: next(), id: 'x', serverTime: '2026-11-21T10:00:05Z' });
    expect(views()).toEqual(['1 thumbnail']);
    FakeSocket.last().tell(welcome('admitted'));
    await answerOffer();
    await seen();
    expect(views()).toEqual(['1 thumbnail', '1 thumbnail']);
  });

  it('shows a picture that the network holds back as paused, until it flows or another takes its place', async () => {
    const { visit } = await start('admitted');
    await answerOffer();
    await seen();
    const paused = () => visit.state.remotes[0]?.cameraPaused;
    const tell = (on: boolean) => FakeSocket.last().tell({ type: 'paused', seq: next(), mid: '1', paused: on });
    expect(paused()).toBe(false);
    tell(true);
    expect(paused()).toBe(true);
    tell(false);
    expect(paused()).toBe(false);
    tell(true);
    await seen('1', 'another');
    expect(paused()).toBe(false);
  });

  it('lets the voice cost what it may, with the packet time in the answer it has', async () => {
    await start('admitted');
    await answerOffer(SDP);
    // As many sections as were answered.
    const renewed = { type: 'offer' as const, sdp: SDP };
    FakePeer.last().createOffer = async () => renewed;
    const wire = FakeSocket.last();
    wire.tell({ type: 'audio_budget', seq: next(), bitrate: 16_000, ptimeMs: 60 });
    await settle();
    const own = FakePeer.last().transceivers[0]?.sender;
    expect(own?.parameters.encodings).toEqual([{ maxBitrate: 16_000 }]);
    expect(FakePeer.last().answers.at(-1)).toContain('a=mid:0\r\na=ptime:60\r\n');
    const offers = () => wire.sent.filter((message) => message['type'] === 'offer').length;
    const before = offers();
    expect(before, 'the server need not know').toBe(1);
    wire.tell({ type: 'audio_budget', seq: next(), bitrate: 24_000, ptimeMs: 60 });
    await settle();
    expect(own?.parameters.encodings).toEqual([{ maxBitrate: 24_000 }]);
    expect(offers()).toBe(before);
  });

  it('makes the best size alone, all sizes, or none, as the server asks', async () => {
    await start('admitted');
    await answerOffer();
    const active = () => {
      const encodings = FakePeer.last().transceivers[1]?.sender.parameters.encodings ?? [];
      return encodings.filter((one) => one['active']).map((one) => String(one['rid'])).join('');
    };
    expect(active()).toBe('f');
    for (const [encoding, rids] of [['asleep', ''], ['layers', 'qhf'], ['asleep', ''], ['single', 'f']] as const) {
      FakeSocket.last().tell({ type: 'encode', seq: next(), source: 'camera', encoding });
      await settle();
      expect(active()).toBe(rids);
    }
  });

  it('restarts ICE when the server hears nothing', async () => {
    await start('admitted');
    await answerOffer();
    const wire = FakeSocket.last();
    wire.tell({ type: 'restart_ice', seq: next() });
    await settle();
    expect(FakePeer.last().restarts).toBe(1);
    expect(wire.sent.filter((message) => message['type'] === 'offer')).toHaveLength(2);
  });
});
