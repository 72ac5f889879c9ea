// Redundant sound: which browsers are asked for it, and where the way out has no room for it.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MediaLink } from '../sdk/media';
import { soundCodecs } from '../sdk/redundancy';
import { SlotTable } from '../sdk/slot';

const codec = (mimeType: string): RTCRtpCodec => ({ mimeType, clockRate: 48_000, channels: 2 });
const OPUS = codec('audio/opus');
const RED = codec('audio/red');
const PCMU = codec('audio/PCMU');
const CHROMIUM = { getCapabilities: () => ({ codecs: [OPUS, RED, PCMU] }) };

describe('the order of codecs', () => {
  it('has redundancy first where the browser has it, and last on a narrow way', () => {
    expect(soundCodecs(true, CHROMIUM)).toEqual([RED, OPUS, PCMU]);
    expect(soundCodecs(false, CHROMIUM)).toEqual([OPUS, PCMU, RED]);
  });

  it('is left to a browser without redundancy', () => {
    expect(soundCodecs(true, { getCapabilities: () => ({ codecs: [OPUS, PCMU] }) })).toBeNull();
    expect(soundCodecs(true, { getCapabilities: () => null })).toBeNull();
    expect(soundCodecs(true, {})).toBeNull();
    expect(soundCodecs(true, undefined)).toBeNull();
  });
});

describe('a connection', () => {
  const orders: string[][] = [];
  let offers = 0;

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal('RTCRtpReceiver', CHROMIUM);
    orders.length = 0;
    offers = 0;
  });
  afterEach(() => {
    vi.unstubAllGlobals();
    vi.useRealTimers();
  });

  const start = () => {
    const transceivers: unknown[] = [];
    const peer = {
      addEventListener: () => undefined,
      addTransceiver: (what: string | { kind: string }) => {
        const kind = typeof what === 'string' ? what : what.kind;
        const one = {
          direction: 'sendrecv',
          receiver: { track: { kind } },
          sender: { getParameters: () => ({ encodings: [] }) },
          setCodecPreferences: (codecs: RTCRtpCodec[]) => orders.push(codecs.map((each) => each.mimeType)),
        };
        transceivers.push(one);
        return one;
      },
      getTransceivers: () => transceivers,
      createOffer: async () => ({ type: 'offer', sdp: 'offer' }),
      setLocalDescription: async () => undefined,
      setRemoteDescription: async () => undefined,
      localDescription: { sdp: 'offer' },
      close: () => undefined,
    };
    return new MediaLink({
      iceServers: [],
      local: { microphone: null, camera: null, on: () => () => undefined } as never,
      slots: new SlotTable(),
      exchange: async () => {
        offers += 1;
        return 'answer';
      },
      canExchange: () => true,
      createPeer: () => peer as never,
    });
  };

  it('asks for it from the start, gives it up where the picture has no room, and has it again when that is past', async () => {
    const link = start();
    expect(orders).toEqual([['audio/red', 'audio/opus', 'audio/PCMU']]);
    link.setPicture('none');
    await vi.advanceTimersByTimeAsync(10);
    expect(orders.at(-1)).toEqual(['audio/opus', 'audio/PCMU', 'audio/red']);
    expect(offers).toBe(1);
    link.setPicture('little');
    link.setPicture('all');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(offers).toBe(1);
    await vi.advanceTimersByTimeAsync(6_000);
    expect(orders.at(-1)?.[0]).toBe('audio/red');
    expect(offers).toBe(2);
    link.setPicture('none');
    link.setPicture('all');
    link.close();
    const before = offers;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(offers).toBeLessThanOrEqual(before + 1);
  });
});
