import { describe, expect, it } from 'vitest';
import { Api, ApiError, proveSeat } from '../sdk/api';
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

/** Header and claims of a proof whose signature is good. */
async function read(proof: string): Promise<[Record<string, unknown>, Record<string, unknown>]> {
  const [head = '', body = '', signature = ''] = proof.split('.');
  const header = JSON.parse(Buffer.from(head, 'base64url').toString()) as { jwk: JsonWebKey };
  const key = await crypto.subtle.importKey('jwk', header.jwk, { name: 'ECDSA', namedCurve: 'P-256' }, false, ['verify']);
  const text = new TextEncoder().encode(`${head}.${body}`);
  const good = await crypto.subtle.verify({ name: 'ECDSA', hash: 'SHA-256' }, key, Buffer.from(signature, 'base64url'), text);
  expect(good).toBe(true);
  return [{ ...header }, JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>];
}

describe('Api', () => {
  const answering = (status: number, body: unknown) => {
    const calls: { url: string; init: RequestInit }[] = [];
    const fetcher = (async (url: string, init: RequestInit) => {
      calls.push({ url, init });
      return new Response(body === undefined ? null : JSON.stringify(body), { status });
    }) as unknown as typeof fetch;
    return { api: new Api('', fetcher), calls };
  };

  it('looks without a key, and takes a link by a proof that is for this link alone', async () => {
    const { api, calls } = answering(200, { valid: true });
    await api.validate('abc');
    expect(new Headers(calls[0]?.init.headers).has('dpop')).toBe(false);
    await api.claim('a.b.c');
    const [look, claim] = calls.map((call) => JSON.parse(String(call.init.body)) as Record<string, string>);
    expect(look).toEqual({ shortCode: 'abc', mode: 'validate' });
    expect(claim).toMatchObject({ token: 'a.b.c', mode: 'redeem', publicKey: { kty: 'EC', crv: 'P-256' } });
    const [header, claims] = await read(claim?.['proof'] ?? '');
    expect(header).toMatchObject({ typ: 'dpop+jwt', alg: 'ES256', jwk: claim?.['publicKey'] });
    const hash = Buffer.from(await crypto.subtle.digest('SHA-256', new TextEncoder().encode('a.b.c'))).toString('base64url');
    expect(claims).toMatchObject({ htm: 'POST', ath: hash });
    expect(new URL(String(claims['htu'])).pathname).toBe('/api/token/redeem');
    expect(new Headers(calls[0]?.init.headers).get('x-anteroom')).toBe('1');
    // From now on this browser has a key, and shows it with each request.
    await api.staff();
    expect((await read(new Headers(calls[2]?.init.headers).get('dpop') ?? ''))[1]).toMatchObject({ htm: 'GET' });
    // A seat is proved over the server's nonce.
    expect((await read((await proveSeat('n1')) ?? ''))[1]).toMatchObject({ htm: 'GET', nonce: 'n1' });
  });

  it('dates its proofs by the clock of the server', async () => {
    const headers = { date: 'Tue, 24 Nov 2026 08:00:00 GMT' };
    const proofs: string[] = [];
    const api = new Api('', (async (_: string, init: RequestInit) => {
      proofs.push((JSON.parse(String(init.body)) as { proof?: string }).proof ?? '');
      return new Response('{}', { status: 200, headers });
    }) as unknown as typeof fetch);
    await api.validate('abc');
    await api.claim('abc');
    const claims = (await read(proofs[1] ?? ''))[1];
    expect(Math.abs(Number(claims['iat']) - Date.parse(headers.date) / 1000)).toBeLessThan(5);
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
    expect(routeOf('/m/AbCdEfGhJkL', '')).toEqual({ screen: 'get-link', handle: 'AbCdEfGhJkL' });
    expect(routeOf('/m/short', '')).toEqual({ screen: 'home' });
    expect(routeOf('/visit', '?id=7')).toEqual({ screen: 'visit', visitId: '7' });
    expect(routeOf('/visit', '?debug=1')).toEqual({ screen: 'seat' });
    expect(routeOf('/desk', '')).toEqual({ screen: 'desk' });
    expect(routeOf('/', '')).toEqual({ screen: 'home' });
    expect(routeOf('/j/', '')).toEqual({ screen: 'home' });
  });
});
