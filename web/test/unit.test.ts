import { describe, expect, it } from 'vitest';
import { Api, ApiError } from '../sdk/api';
import { Backoff } from '../sdk/backoff';
import { ServerClock } from '../sdk/clock';
import { barsOf, countersOf, sampleOf } from '../sdk/stats';
import { routeOf } from '../src/route';
import { elapsed, initials, patience, waited, waitedWords } from '../src/words';

describe('ServerClock', () => {
  it('shows waits by the server, whatever the phone believes', () => {
    const phone = Date.parse('2026-11-21T12:34:00Z');
    const clock = new ServerClock(() => phone);
    clock.learn('2026-11-21T10:00:00Z', 100);
    expect(clock.secondsSince('2026-11-21T09:56:00Z')).toBe(240);
    expect(clock.secondsSince('2026-11-21T10:05:00Z')).toBe(0);
    expect(clock.secondsSince('nonsense')).toBe(0);
  });

  it('keeps the sample with the shortest way', () => {
    const clock = new ServerClock(() => 0);
    clock.learn('1970-01-01T00:00:10Z', 20);
    clock.learn('1970-01-01T00:00:30Z', 4000);
    expect(clock.now()).toBe(10_010);
  });
});

describe('Backoff', () => {
  it('doubles up to its bound and starts anew', () => {
    const backoff = new Backoff({ firstMs: 100, maxMs: 500, jitter: 0.5 }, () => 0);
    expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([100, 200, 400, 500, 500]);
    backoff.reset();
    expect(backoff.next()).toBe(100);
  });
});

describe('stats', () => {
  it('turns two reports into loss, rates and bars', () => {
    const report = (n: number) =>
      new Map<string, Record<string, unknown>>([
        ['a', { type: 'inbound-rtp', packetsReceived: 950 * n, packetsLost: 50 * n, bytesReceived: 125_000 * n, framesDecoded: 30 * n }],
        ['b', { type: 'outbound-rtp', bytesSent: 250_000 * n }],
        ['c', { type: 'candidate-pair', nominated: true, currentRoundTripTime: 0.042 }],
        ['d', { type: 'candidate-pair', nominated: false, currentRoundTripTime: 9 }],
      ]);
    const sample = sampleOf(countersOf(report(1), 0), countersOf(report(2), 1000));
    expect(sample).toMatchObject({ lossDown: 50, downKbps: 1000, upKbps: 2000, rttMs: 42, framesDecoded: 60, bars: 2 });
  });

  it('gives the worse of loss and delay', () => {
    expect(barsOf(0, 20)).toBe(4);
    expect(barsOf(0, 700)).toBe(1);
    expect(barsOf(100, 20)).toBe(1);
    expect(barsOf(20, null)).toBe(3);
  });
});

describe('Api', () => {
  const answering = (status: number, body: unknown) => {
    const calls: { url: string; init: RequestInit }[] = [];
    const fetcher = (async (url: string, init: RequestInit) => {
      calls.push({ url, init });
      return new Response(body === undefined ? null : JSON.stringify(body), { status });
    }) as unknown as typeof fetch;
    return { api: new Api('', fetcher), calls };
  };

  it('looks without spending, and spends by its own mode', async () => {
    const { api, calls } = answering(200, { valid: true });
    await api.validate('abc');
    await api.redeem('a.b.c');
    expect(calls.map((call) => JSON.parse(String(call.init.body)) as unknown)).toEqual([
      { shortCode: 'abc', mode: 'validate' },
      { token: 'a.b.c', mode: 'redeem' },
    ]);
    expect(new Headers(calls[0]?.init.headers).get('x-anteroom')).toBe('1');
  });

  it('reads problems, also those that are no JSON', async () => {
    const refused = answering(403, { code: 'TOKEN_NOT_YET_VALID', detail: 'early', retryAfterMinutes: 7 });
    await expect(refused.api.validate('x')).rejects.toMatchObject({ code: 'TOKEN_NOT_YET_VALID', extra: { retryAfterMinutes: 7 } });
    const proxy = new Api('', (async () => new Response('<html>', { status: 502 })) as unknown as typeof fetch);
    await expect(proxy.staff()).rejects.toMatchObject({ code: 'HTTP_502' });
    const offline = new Api('', (async () => Promise.reject(new TypeError('no network'))) as unknown as typeof fetch);
    await expect(offline.staff()).rejects.toBeInstanceOf(ApiError);
  });

  it('takes a 204 as done', async () => {
    await expect(answering(204, undefined).api.signIn('t')).resolves.toBeUndefined();
  });
});

describe('words', () => {
  it('tells waits in minutes, and never by colour alone', () => {
    expect([0, 59, 60, 3599, 3900].map(waited)).toEqual(['less than a minute', 'less than a minute', '1 min', '59 min', '1 h 5 min']);
    expect([179, 180, 299, 300].map(patience)).toEqual(['calm', 'soon', 'soon', 'late']);
    expect(waitedWords(540)).toBe('9 min, late');
  });

  it('tells elapsed time and initials', () => {
    expect([0, 724, 3661].map(elapsed)).toEqual(['00:00', '12:04', '1:01:01']);
    expect(['Dr. Maria Alvarez', 'Osei', ''].map(initials)).toEqual(['DA', 'O', '?']);
  });
});

describe('routeOf', () => {
  it('knows every address, and leads the rest home', () => {
    expect(routeOf('/j/AbC123', '')).toEqual({ screen: 'join', code: 'AbC123' });
    expect(routeOf('/j/%zz', '')).toEqual({ screen: 'join', code: '%zz' });
    expect(routeOf('/visit', '?id=7')).toEqual({ screen: 'visit', visitId: '7' });
    expect(routeOf('/visit', '?debug=1')).toEqual({ screen: 'seat' });
    expect(routeOf('/desk', '')).toEqual({ screen: 'desk' });
    expect(routeOf('/', '')).toEqual({ screen: 'home' });
    expect(routeOf('/j/', '')).toEqual({ screen: 'home' });
  });
});
