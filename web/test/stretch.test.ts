// When the browser is asked to make the whole size of a picture.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { outgoingOf } from '../sdk/outlet';
import { Stretch, type Making } from '../sdk/stretch';
import { FakePeer, FakeSocket } from './fake';
import { answerOffer, settle, start } from './scene';

const SMALL: Making = { availableBps: 3_000_000, limit: 'bandwidth', pixels: 640 * 360, cameraPixels: 1280 * 720, lost: 0 };

/** Looks twice a second; answers at which seconds it nudged. */
function nudges(stretch: Stretch, seconds: [number, number], making: (second: number) => Making) {
  const found: number[] = [];
  for (let second = seconds[0]; second <= seconds[1]; second += 0.5) {
    if (stretch.look(second * 1000, making(second))) found.push(second);
  }
  return found;
}

describe('Stretch', () => {
  it('nudges after a second, ever more seldom, and not for ever', () => {
    expect(nudges(new Stretch(), [0, 300], () => SMALL)).toEqual([1, 4, 13, 40]);
  });

  it('leaves a picture alone that is whole, small for another reason, or small because the way is narrow', () => {
    for (const other of [
      { pixels: 1280 * 720 }, { pixels: 1280 * 704 }, { pixels: null }, { limit: 'none' }, { limit: 'cpu' }, { limit: null },
      { availableBps: 1_100_000 }, { availableBps: null }, { lost: 0.05 },
    ]) {
      expect(nudges(new Stretch(), [0, 60], () => ({ ...SMALL, ...other })), JSON.stringify(other)).toEqual([]);
    }
  });

  it('wants room for the size of the camera, whatever that is', () => {
    const vga = { ...SMALL, pixels: 320 * 240, cameraPixels: 640 * 480 };
    expect(nudges(new Stretch(), [0, 2], () => ({ ...vga, availableBps: 500_000 }))).toEqual([1]);
    expect(nudges(new Stretch(), [0, 2], () => ({ ...vga, availableBps: 430_000 }))).toEqual([]);
    expect(nudges(new Stretch(), [0, 2], () => ({ ...SMALL, cameraPixels: null, availableBps: 1_100_000 }))).toEqual([]);
  });

  it('waits until what is reckoned has lasted', () => {
    const dips = (second: number) => ({ ...SMALL, availableBps: second % 1 === 0 ? 3_000_000 : 300_000 });
    expect(nudges(new Stretch(), [0, 60], dips)).toEqual([]);
    const stretch = new Stretch();
    expect(nudges(stretch, [0, 0.5], () => SMALL)).toEqual([]);
    stretch.forget();
    expect(nudges(stretch, [1, 2], () => SMALL)).toEqual([2]);
  });

  it('begins anew after the picture was whole for long', () => {
    const stretch = new Stretch();
    expect(nudges(stretch, [0, 60], () => SMALL)).toHaveLength(4);
    nudges(stretch, [60.5, 80], () => ({ ...SMALL, pixels: 1280 * 720 }));
    expect(nudges(stretch, [80.5, 90], () => SMALL)).toEqual([]);
    nudges(stretch, [90.5, 121], () => ({ ...SMALL, pixels: 1280 * 720 }));
    expect(nudges(stretch, [121.5, 126], () => SMALL)).toEqual([122.5, 125.5]);
  });
});

describe('outgoingOf', () => {
  it('reads the largest size that is made, and no other', () => {
    const report = [
      { type: 'outbound-rtp', rid: 'q', active: false, bytesSent: 10, frameWidth: 1920, frameHeight: 1080, qualityLimitationReason: 'cpu' },
      { type: 'outbound-rtp', rid: 'f', active: true, bytesSent: 5, frameWidth: 640, frameHeight: 360, qualityLimitationReason: 'bandwidth' },
      { type: 'media-source', width: 1280, height: 720 },
      { type: 'remote-inbound-rtp', fractionLost: 0.1, timestamp: 7 },
      { type: 'candidate-pair', availableOutgoingBitrate: 2e6 },
      { type: 'candidate-pair' },
    ].map((stat, index) => [String(index), stat] as const);
    expect(outgoingOf(report)).toEqual({ availableBps: 2e6, limit: 'bandwidth', pixels: 640 * 360, cameraPixels: 1280 * 720, lost: 0.1, sentBytes: 15, reportedAt: 7 });
  });
});

describe('Visit with a picture that is kept small', () => {
  beforeEach(() => {
    vi.useFakeTimers();
    FakeSocket.all = [];
    FakePeer.all = [];
  });
  afterEach(() => vi.useRealTimers());

  it('has the browser forget its limits, and leaves its preference and encodings as they were', async () => {
    await start('admitted');
    await answerOffer();
    FakePeer.last().become('connected');
    const sender = FakePeer.last().transceivers[1]?.sender;
    if (!sender) throw new Error('a sender of pictures');
    const set = vi.spyOn(sender, 'setParameters');
    const encodings = JSON.stringify(sender.parameters.encodings);
    for (let sent = 1; sent <= 5; sent += 1) {
      sender.stats = [
        { type: 'outbound-rtp', bytesSent: sent * 1000, frameWidth: 640, frameHeight: 360, qualityLimitationReason: 'bandwidth' },
        { type: 'media-source', width: 1280, height: 720 }, { type: 'candidate-pair', availableOutgoingBitrate: 3e6 },
      ];
      vi.advanceTimersByTime(500);
      await settle();
    }
    const preferences = set.mock.calls.map(([parameters]) => (parameters as { degradationPreference?: string }).degradationPreference);
    expect(preferences).toEqual(['maintain-resolution', undefined, undefined]);
    expect(JSON.stringify(sender.parameters.encodings)).toBe(encodings);
  });
});
