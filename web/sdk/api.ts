// The HTTP half of docs/protocol.md: requests, views and problems.

import { findKey, ownKey, prove, type Pair } from './key';
import type { Practice, Role } from './message';

/** A refusal of the server (RFC 9457), or `OFFLINE` when it was not reached at all. */
export class ApiError extends Error {
  constructor(
    readonly code: string,
    readonly status: number,
    readonly detail: string,
    readonly extra: Readonly<Record<string, unknown>> = {},
  ) {
    super(code);
    this.name = 'ApiError';
  }
}

export interface LinkPreview {
  valid: boolean;
  role: Role;
  scheduledAt: string;
  clinicianFirstName: string;
  practice: Practice;
  /** Proofs are dated by the server's clock. */
  serverTime?: string;
}

/** A link that this browser's key holds: it is spent when the visit's socket opens. */
export interface Claimed extends LinkPreview {
  visitId: string;
  participantId: string;
  /** This browser had spent the link before: its session goes on. */
  confirmed: boolean;
  confirmUntil?: string;
}

export interface Staff {
  sub: string;
  role: string;
  name: string;
}

export interface Person {
  participantId: string;
  id?: string;
  name: string;
}

export interface VisitView {
  visitId: string;
  status: string;
  scheduledAt: string;
  duration: number;
  visitType: string | null;
  patient: Person;
  clinician: Person;
  startedAt: string | null;
  endedAt: string | null;
  recordingPolicy: string;
  waiting: { participantId: string; name: string; since: string; cameraOk: boolean | null; micOk: boolean | null }[];
  recordings: number;
  rowVersion: number;
  serverTime: string;
}

export interface JoinLink {
  url: string;
  shortCode: string;
  token: string;
  expiresAt: string;
}

export interface Artefact {
  name: string;
  content: string;
  participantId?: string | null;
  mime: string;
  durationMs: number;
  bytes: number;
}

export interface RecordingView {
  recordingId: string;
  status: string;
  requestedAt: string;
  startedAt: string | null;
  stoppedAt: string | null;
  durationMs: number | null;
  stopReason: string | null;
  artefacts?: Artefact[];
}

export interface NewVisit {
  patientId: string;
  clinicianId: string;
  scheduledAt: string;
  /** Minutes. */
  duration: number;
  visitType?: string;
  patientName?: string;
  clinicianName?: string;
  recordingPolicy?: 'NEVER' | 'OPT_IN';
}

/** A text that the practice asks a patient to sign before the visit. */
export interface DueConsent {
  type: string;
  stateCode: string | null;
  text: { body: string; version: number; locale: string } | null;
}

/** What a patient still has to do before they can be let in. */
export interface Requirements {
  isComplete: boolean;
  isLocationDue: boolean;
  consents: DueConsent[];
}

/** How long a request may take before we say that the server is not reachable. */
const TIMEOUT_MS = 15_000;

export class Api {
  /** How much the server's clock is ahead of ours, in ms. */
  #aheadMs = 0;

  constructor(
    private readonly base = '',
    private readonly fetcher: typeof fetch = (input, init) => fetch(input, init),
    private readonly keys: { find: () => Promise<Pair | null>; own: () => Promise<Pair> } = { find: findKey, own: ownKey },
  ) {}

  validate(code: string): Promise<LinkPreview> {
    return this.#post('/api/token/redeem', { ...tokenOrCode(code), mode: 'validate' });
  }

  /** Keeps the link for this browser's key; the session cookie comes with the answer, and holds once the socket has proved the key. */
  async claim(code: string): Promise<Claimed> {
    const path = '/api/token/redeem';
    const pair = await this.keys.own();
    const proof = await prove(pair, { method: 'POST', path, at: this.#serverTime(), secret: code });
    return this.#post(path, { ...tokenOrCode(code), mode: 'redeem', publicKey: pair.publicKey, proof });
  }

  /** Asks for the link of the visit behind a message's page; it goes to the contact on file, and the answer tells nothing. */
  requestLink(handle: string): Promise<void> {
    return this.#post('/api/link-request', { handle });
  }

  /** Whether the practice has a sign-in service; `/auth/login` leads there. */
  async hasProvider(): Promise<boolean> {
    return (await this.#send<{ provider: boolean }>('GET', '/auth/ways')).provider;
  }

  staff(): Promise<Staff> {
    return this.#send('GET', '/api/session');
  }

  signIn(accessToken: string): Promise<void> {
    return this.#post('/api/session', { accessToken });
  }

  /** Ends the session here. Where the sign-in service has a page that ends its own, that address comes back. */
  async signOut(): Promise<string | null> {
    return (await this.#post<{ endSessionUrl: string | null }>('/auth/logout', {})).endSessionUrl;
  }

  /** People of the demonstration organisation; the route exists in development only. */
  async demoUsers(): Promise<Staff[]> {
    const answer = await this.#send<Staff[] | { users: Staff[] }>('GET', '/dev/users');
    return Array.isArray(answer) ? answer : answer.users;
  }

  demoSignIn(role: string, sub: string): Promise<void> {
    return this.#post('/dev/login', { role, sub });
  }

  /** At most 100 visits that start in `[from, to)`, by start time. A page that asks `byItself` does not keep its session alive. */
  async visits(from: Date, to: Date, byItself = false): Promise<VisitView[]> {
    const query = new URLSearchParams({ from: from.toISOString(), to: to.toISOString() });
    return (await this.#send<{ visits: VisitView[] }>('GET', `/api/visits?${query}`, undefined, byItself)).visits;
  }

  visit(visitId: string): Promise<VisitView> {
    return this.#send('GET', `/api/visits/${encodeURIComponent(visitId)}`);
  }

  createVisit(visit: NewVisit): Promise<VisitView> {
    return this.#post('/api/visits', visit);
  }

  async patientLink(visitId: string): Promise<JoinLink> {
    const path = `/api/visits/${encodeURIComponent(visitId)}/links`;
    const answer = await this.#post<{ patient?: JoinLink }>(path, { roles: ['patient'] });
    if (!answer.patient) throw new ApiError('MALFORMED', 200, 'The server gave no link.');
    return answer.patient;
  }

  endVisit(visitId: string): Promise<unknown> {
    return this.#post(`/api/visits/${encodeURIComponent(visitId)}/end`, {});
  }

  /** Any participant may stop the recording of their own visit. */
  stopRecording(visitId: string): Promise<unknown> {
    return this.#post(`/api/visits/${encodeURIComponent(visitId)}/recording/stop`, {});
  }

  /** What the patient of the visit still has to do before they can be let in. */
  requirements(visitId: string): Promise<Requirements> {
    return this.#send('GET', `/api/v1/telehealth/sessions/${encodeURIComponent(visitId)}/requirements`);
  }

  /** Says where the patient is. */
  attestLocation(visitId: string, place: { stateCode: string; kind: string; address?: string }): Promise<unknown> {
    return this.#post(`/api/v1/telehealth/sessions/${encodeURIComponent(visitId)}/location`, place);
  }

  /** The patient's own answer to one text; yes says that its points were understood. */
  answerConsent(due: DueConsent, given: boolean): Promise<unknown> {
    return this.#post('/api/v1/telehealth/consent', {
      consentType: due.type,
      consentGiven: given,
      ...(due.stateCode === null ? {} : { stateCode: due.stateCode }),
      ...(due.text === null ? {} : { consentVersion: due.text.version, locale: due.text.locale }),
      patientRightsAcknowledged: given,
      emergencyProtocolsUnderstood: given,
      privacyRisksAcknowledged: given,
    });
  }

  async recordings(visitId: string): Promise<RecordingView[]> {
    const path = `/api/visits/${encodeURIComponent(visitId)}/recordings`;
    return (await this.#send<{ recordings: RecordingView[] }>('GET', path)).recordings;
  }

  /** A short-lived URL of one artefact; each call is audited. */
  playback(recordingId: string, artefact: string): Promise<{ url: string; expiresAt: string }> {
    return this.#post(`/api/recordings/${encodeURIComponent(recordingId)}/playback`, { artefact });
  }

  #serverTime(): number {
    return Date.now() + this.#aheadMs;
  }

  #post<T>(path: string, body: unknown): Promise<T> {
    return this.#send('POST', path, body);
  }

  async #send<T>(method: string, path: string, body?: unknown, byItself = false): Promise<T> {
    const headers: Record<string, string> = { accept: 'application/json' };
    if (byItself) headers['x-anteroom-background'] = '1';
    if (method !== 'GET') headers['x-anteroom'] = '1';
    if (body !== undefined) headers['content-type'] = 'application/json';
    // Only a session asks for it, and a page cannot see whether it has one.
    const pair = path.startsWith('/api/') ? await this.keys.find().catch(() => null) : null;
    if (pair) headers['dpop'] = await prove(pair, { method, path: path.split('?')[0] ?? path, at: this.#serverTime() });
    let response: Response;
    try {
      response = await this.fetcher(this.base + path, {
        method,
        headers,
        body: body === undefined ? null : JSON.stringify(body),
        credentials: 'same-origin',
        cache: 'no-store',
        signal: AbortSignal.timeout(TIMEOUT_MS),
      });
    } catch {
      throw new ApiError('OFFLINE', 0, 'We could not reach the practice.');
    }
    const date = Date.parse(response.headers.get('date') ?? '');
    // The header tells whole seconds: half of one is the best guess.
    if (Number.isFinite(date)) this.#aheadMs = date + 500 - Date.now();
    if (!response.ok) throw await problemOf(response);
    if (response.status === 204) return undefined as T;
    const text = await response.text();
    return (text === '' ? undefined : JSON.parse(text)) as T;
  }
}

/** A session's own challenge is answered with this: the key over the nonce. `null` where this browser has no key. */
export async function proveSeat(nonce: string): Promise<string | null> {
  const pair = await findKey();
  return pair && prove(pair, { method: 'GET', path: '/ws', at: Date.now(), nonce });
}

async function problemOf(response: Response): Promise<ApiError> {
  let body: Record<string, unknown> = {};
  try {
    const value: unknown = await response.json();
    if (typeof value === 'object' && value !== null) body = value as Record<string, unknown>;
  } catch {
    // A proxy's page, perhaps: the status has to do.
  }
  const code = typeof body['code'] === 'string' ? body['code'] : `HTTP_${response.status}`;
  const detail = typeof body['detail'] === 'string' ? body['detail'] : 'Something went wrong.';
  return new ApiError(code, response.status, detail, body);
}

/** A JWT has two dots; everything else is a short code. */
function tokenOrCode(code: string): { token: string } | { shortCode: string } {
  return code.split('.').length === 3 ? { token: code } : { shortCode: code };
}
