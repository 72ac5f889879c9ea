// Redundant sound: which browsers are asked for it, and where the way out has no room for it.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { MediaLink } from '../sdk/media';
import { soundCodecs, withSoundOrder } from '../sdk/redundancy';
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

const ANSWER = ['v=0', 'm=audio 9 UDP/TLS/RTP/SAVPF 63 111', 'a=rtpmap:63 red/48000/2', 'a=rtpmap:111 opus/48000/2', 'm=video 9 UDP/TLS/RTP/SAVPF 63', ''].join('\r\n');

describe('an answer', () => {
  it('has redundant sound where it is wanted, and is else as it was', () => {
    expect(withSoundOrder(ANSWER, true)).toBe(ANSWER);
    const plain = withSoundOrder(ANSWER, false);
    expect(plain).toBe(ANSWER.replace('63 111', '111 63'));
    expect(withSoundOrder(plain, true)).toBe(ANSWER);
    for (const other of ['', 'v=0', ANSWER.replace('red/', 'pcmu/')]) expect(withSoundOrder(other, false)).toBe(other);
  });
});

describe('a connection', () => {
  const orders: string[][] = [];
  const answers: string[] = [];
  let offers = 0;

  beforeEach(() => {
    vi.useFakeTimers();
    vi.stubGlobal('RTCRtpReceiver', CHROMIUM);
    orders.length = answers.length = 0;
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
      createOffer: async () => ({ type: 'offer', sdp: ANSWER }),
      setLocalDescription: async () => undefined,
      setRemoteDescription: async ({ sdp }: { sdp: string }) => void answers.push(sdp),
      localDescription: { sdp: 'offer' },
      close: () => undefined,
    };
    return new MediaLink({
      iceServers: [],
      local: { microphone: null, camera: null, on: () => () => undefined } as never,
      slots: new SlotTable(),
      exchange: async () => {
        offers += 1;
        return ANSWER;
      },
      canExchange: () => true,
      createPeer: () => peer as never,
    });
  };

  it('asks for it from the start, gives it up where the picture has no room, and has it again when that is past', async () => {
    const link = start();
    expect(orders).toEqual([['audio/red', 'audio/opus', 'audio/PCMU']]);
    await link.negotiate();
    expect([offers, answers.at(-1)]).toEqual([1, ANSWER]);
    link.setPicture('none');
    await vi.advanceTimersByTimeAsync(10);
    expect(orders.at(-1)).toEqual(['audio/opus', 'audio/PCMU', 'audio/red']);
    expect(answers.at(-1)).toContain('SAVPF 111 63');
    expect(answers.at(-1)).toContain('a=ptime:60');
    link.setPicture('little');
    link.setPicture('all');
    await vi.advanceTimersByTimeAsync(10_000);
    expect(answers.at(-1)).toContain('SAVPF 111 63');
    expect(answers.at(-1)).toContain('a=ptime:20');
    await vi.advanceTimersByTimeAsync(6_000);
    expect(orders.at(-1)?.[0]).toBe('audio/red');
    expect(answers.at(-1)).toContain('SAVPF 63 111');
    expect(offers, 'the server is not asked').toBe(1);
    link.setPicture('none');
    link.setPicture('all');
    link.close();
    const before = answers.length;
    await vi.advanceTimersByTimeAsync(60_000);
    expect(answers.length).toBeLessThanOrEqual(before + 1);
  });

  it('changes sound while something else is negotiated, and asks the server when an answer no longer fits', async () => {
    const link = start();
    const first = link.negotiate();
    link.setPicture('none');
    await first;
    await vi.advanceTimersByTimeAsync(10);
    expect(offers).toBe(1);
    expect(answers.at(-1)).toContain('SAVPF 111 63');
    link.wantSlots(2, 1);
    link.setAudioBudget({ bitrate: 16_000, ptimeMs: 60 });
    await vi.advanceTimersByTimeAsync(10);
    expect(offers).toBe(2);
    expect(answers.at(-1)).toContain('a=ptime:60');
    expect(answers.at(-1)).toContain('SAVPF 111 63');
  });
});
