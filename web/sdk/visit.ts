// A visit as a client sees it: one state to show, and the few things one can do in it.

import { ApiError, proveSeat } from './api';
import { Backoff } from './backoff';
import { ServerClock } from './clock';
import { Emitter } from './emitter';
import type { LocalMedia } from './local';
import { MediaLink, type MediaState } from './media';
import type { EndReason, RecordingSign, RosterEntry, ServerMessage, Source, View, VisitInfo, WaitingEntry, You } from './message';
import { Outlet } from './outlet';
import { Rescue } from './rescue';
import { addressesIn, hostAddresses, isElsewhere, openFrame, type Frame } from './scout';
import { SlotTable, type Remote } from './slot';
import { VisitSocket, type LinkState } from './socket';
import { countersOf, sampleOf, type MediaCounters, type MediaSample } from './stats';
import { ViewTable } from './view';

export type Phase = 'connecting' | 'waiting' | 'inside' | 'ended';

export interface ConsentRequest {
  version: number;
  locale: string;
  body: string;
  requestedBy: string;
}

export interface Quality {
  bars: number;
  rttMs: number | null;
  lossUp: number;
  lossDown: number;
}

export interface VisitState {
  phase: Phase;
  link: LinkState;
  media: MediaState | 'none';
  /** Local time in ms since which socket or media are broken, else null. */
  brokenSince: number | null;
  you: You | null;
  info: VisitInfo | null;
  waiting: { since: string; position: number } | null;
  waitingList: WaitingEntry[];
  roster: RosterEntry[];
  remotes: Remote[];
  recording: { state: RecordingSign; recordingId: string | null; since: string | null };
  consentRequest: ConsentRequest | null;
  /** Recordings that can be played, newest last. */
  stored: { recordingId: string; status: string }[];
  speaking: string | null;
  quality: ReadonlyMap<string, Quality>;
  own: MediaSample | null;
  /** The own picture is held back, because the way out carries no more than the voice. */
  pictureHeld: boolean;
  ended: EndReason | 'unauthenticated' | null;
  /** The service restarts at this time; a visit that goes on longer is connected anew by itself. */
  restartsAt: string | null;
}

export interface VisitEvents {
  change: VisitState;
  admitted: undefined;
  recording: RecordingSign;
  arrived: WaitingEntry;
  problem: ApiError;
}

export interface VisitOptions {
  /** Staff name the visit; a participant's cookie names it for them. */
  visitId?: string;
  local: LocalMedia;
  url?: string;
  /** The key's proof over the server's nonce; the browser's own key unless given. */
  prove?: (nonce: string) => Promise<string | null>;
  createSocket?: (url: string, protocol: string) => WebSocket;
  createPeer?: (config: RTCConfiguration) => RTCPeerConnection;
  createStream?: () => MediaStream;
  createFrame?: () => Frame | null;
}

/** Often enough for the bars to follow a failing network, rare enough to cost nothing. */
const STATS_EVERY_MS = 3_000;

const START: VisitState = {
  phase: 'connecting', link: 'connecting', media: 'none', brokenSince: null, you: null, info: null, waiting: null,
  waitingList: [], roster: [], remotes: [], recording: { state: 'off', recordingId: null, since: null },
  consentRequest: null, stored: [], speaking: null, quality: new Map(), own: null, pictureHeld: false, ended: null,
  restartsAt: null,
};

export class Visit extends Emitter<VisitEvents> {
  readonly clock = new ServerClock();
  readonly local: LocalMedia;
  readonly #options: VisitOptions;
  readonly #socket: VisitSocket;
  readonly #mediaBackoff = new Backoff({ firstMs: 300, maxMs: 8000, jitter: 0.3 });
  readonly #stops: (() => void)[] = [];
  readonly #views = new ViewTable();
  #media: MediaLink | null = null;
  #rescue: Rescue | null = null;
  #outlet: Outlet | null = null;
  /** What the connection lives in, if not in the page; and what the next one shall live in, as the device has moved. */
  #frame: Frame | null = null;
  #nextFrame: Frame | null = null;
  #isScouting = false;
  #slots = new SlotTable();
  /** What was answered last, so that a yes can be taken back. */
  #lastConsent: ConsentRequest | null = null;
  #iceServers: RTCIceServer[] = [];
  #counters: MediaCounters | null = null;
  #mediaTimer: ReturnType<typeof setTimeout> | undefined;
  #statsTimer: ReturnType<typeof setInterval> | undefined;
  #state: VisitState = START;

  constructor(options: VisitOptions) {
    super();
    this.#options = options;
    this.local = options.local;
    this.#socket = new VisitSocket({
      url: options.url ?? socketUrl(options.visitId),
      clock: this.clock,
      ...(options.visitId === undefined ? { prove: options.prove ?? proveSeat } : {}),
      ...(options.createSocket ? { createSocket: options.createSocket } : {}),
    });
    this.#socket.on('message', (message) => this.#handleMessage(message));
    this.#socket.on('link', (link) => this.#handleLink(link));
    this.#socket.on('resumed', () => {
      this.#tellDevices();
      this.#views.doubt();
      this.#tellViews();
      // The path of the media may be gone with that of the socket, and the server's word about it with it.
      this.#handleServer();
    });
    this.#socket.on('alive', () => this.#handleServer());
    this.#socket.on('final', (why) => {
      if (why === 'unauthenticated') this.#finish('unauthenticated');
      else this.#finish(why === 'superseded' ? 'superseded' : (this.#state.ended ?? 'left'));
    });
    this.#stops.push(
      this.local.on('change', () => {
        this.#rescue?.expectOther();
        this.#tellDevices();
      }),
    );
  }

  get state(): VisitState {
    return this.#state;
  }

  /** The connection under the visit, for measurements. */
  get peer(): RTCPeerConnection | null {
    return this.#media?.peer ?? null;
  }

  start(): void {
    this.#socket.connect();
    this.#statsTimer = setInterval(() => void this.#measure(), STATS_EVERY_MS);
    if (typeof window !== 'undefined') {
      const retry = () => this.#socket.retryNow();
      // Some browsers tell of another network here; none of them must.
      const { connection } = navigator as { connection?: EventTarget };
      for (const [target, event] of [[window, 'online'], [connection, 'change']] as const) {
        target?.addEventListener(event, retry);
        this.#stops.push(() => target?.removeEventListener(event, retry));
      }
      const look = () => this.setPageVisible(document.visibilityState === 'visible' || document.pictureInPictureElement !== null);
      document.addEventListener('visibilitychange', look);
      this.#stops.push(() => document.removeEventListener('visibilitychange', look));
      look();
    }
  }

  /** Leaves for good: the seat is given up. */
  leave(): void {
    this.#socket.leave();
  }

  async admit(participantId: string): Promise<void> {
    await this.#socket.request({ type: 'admit', participantId });
  }

  async deny(participantId: string): Promise<void> {
    await this.#socket.request({ type: 'deny', participantId });
  }

  async sendBack(participantId: string): Promise<void> {
    await this.#socket.request({ type: 'send_back', participantId });
  }

  async remove(participantId: string): Promise<void> {
    await this.#socket.request({ type: 'remove', participantId });
  }

  async mute(participantId: string, source: Source, muted: boolean): Promise<void> {
    await this.#socket.request({ type: 'mute', participantId, source, muted });
  }

  /** Says how a person's picture is shown here, so that no larger one is sent than is looked at. */
  setView(participantId: string, source: Source, view: View): void {
    this.#views.want(participantId, source, view);
    this.#tellViews();
  }

  /** A page that nobody sees gets no pictures, only sound. Called by itself where there is a document. */
  setPageVisible(visible: boolean): void {
    this.#views.setPageVisible(visible);
    this.#tellViews();
  }

  async requestConsent(): Promise<void> {
    await this.#socket.request({ type: 'request_consent' });
  }

  /** Answers the open consent request; `REVOKE` takes back an earlier yes and stops a recording. */
  async consent(decision: 'SIGN' | 'DECLINE' | 'REVOKE'): Promise<void> {
    const request = this.#state.consentRequest ?? this.#lastConsent;
    if (!request) throw new ApiError('CONSENT_OUTDATED', 0, 'There is nothing to answer.');
    await this.#socket.request({ type: 'consent', version: request.version, decision });
    this.#lastConsent = request;
    this.#set({ consentRequest: null });
  }

  async startRecording(): Promise<void> {
    await this.#socket.request({ type: 'recording_start' });
  }

  async stopRecording(): Promise<void> {
    await this.#socket.request({ type: 'recording_stop' });
  }

  #handleMessage(message: ServerMessage): void {
    switch (message.type) {
      case 'welcome':
        this.#iceServers = message.iceServers;
        this.#set({
          ...START,
          link: this.#socket.link,
          stored: this.#state.stored,
          consentRequest: this.#state.consentRequest,
          you: message.you,
          info: message.visit,
          phase: message.you.door === 'admitted' ? 'inside' : 'waiting',
        });
        this.#tellDevices();
        this.#connectMedia();
        break;
      case 'waiting':
        this.clock.learn(message.serverTime);
        this.#set({ phase: 'waiting', waiting: { since: message.since, position: message.position } });
        break;
      case 'waiting_list': {
        this.clock.learn(message.serverTime);
        const known = new Set(this.#state.waitingList.map((entry) => entry.participantId));
        this.#set({ waitingList: message.entries });
        for (const entry of message.entries) if (!known.has(entry.participantId)) this.emit('arrived', entry);
        break;
      }
      case 'admitted':
        mark('anteroom:admitted');
        this.#set({ phase: 'inside', waiting: null });
        this.emit('admitted', undefined);
        break;
      case 'sent_back':
        this.#set({ phase: 'waiting', remotes: [], consentRequest: null });
        break;
      case 'slot':
        this.#rescue?.expectOther();
        this.#media?.setSlot(message.mid, message.carries);
        this.#tellViews();
        break;
      case 'slots_wanted':
        this.#media?.wantSlots(message.audio, message.video);
        break;
      case 'roster':
        this.#set({ roster: message.participants });
        break;
      case 'consent_request':
        this.#set({ consentRequest: pickConsent(message) });
        break;
      case 'recording': {
        const before = this.#state.recording.state;
        this.#set({
          recording: { state: message.state, recordingId: message.recordingId ?? null, since: message.since ?? null },
        });
        if (before !== message.state) this.emit('recording', message.state);
        break;
      }
      case 'recording_stored': {
        const others = this.#state.stored.filter((one) => one.recordingId !== message.recordingId);
        this.#set({ stored: [...others, { recordingId: message.recordingId, status: message.status }] });
        break;
      }
      case 'speaking':
        this.#set({ speaking: message.participantId });
        break;
      case 'quality': {
        const quality = new Map(this.#state.quality);
        const { bars, rttMs, lossUp, lossDown } = message;
        quality.set(message.participantId, { bars, rttMs: rttMs ?? null, lossUp, lossDown });
        this.#set({ quality });
        break;
      }
      case 'paused':
        this.#media?.setPaused(message.mid, message.paused);
        break;
      case 'encode':
        this.#media?.setEncoding(message.source, message.encoding);
        break;
      case 'audio_budget':
        this.#media?.setAudioBudget(message);
        break;
      case 'draining':
        this.#set({ restartsAt: message.deadline });
        break;
      case 'ice_servers':
        this.#iceServers = message.iceServers;
        this.#media?.setIceServers(message.iceServers);
        break;
      case 'restart_ice':
        this.#media?.restartIce();
        break;
      case 'error':
        // Errors that answer a request reach the one who asked.
        if (message.id === undefined) this.emit('problem', new ApiError(message.code, 0, message.detail));
        break;
      case 'ended':
        if (message.reason !== 'failed') this.#finish(message.reason);
        break;
      case 'answer':
      case 'ok':
      case 'pong':
        break;
    }
  }

  #handleLink(link: LinkState): void {
    this.#set({ link });
    this.#noteTrouble();
  }

  /** The way to the server works. */
  #handleServer(): void {
    if (this.#nextFrame) this.#move();
    else this.#media?.handleServer();
  }

  /** The connection hears nothing just now: finds out whether that is because its addresses are gone. */
  async #scout(): Promise<void> {
    const media = this.#media;
    const before = hostAddresses(media?.peer.localDescription?.sdp ?? '');
    if (!media || before.size === 0 || this.#isScouting || this.#nextFrame) return;
    const frame = (this.#options.createFrame ?? openFrame)();
    if (!frame) return;
    this.#isScouting = true;
    const now = await addressesIn(frame);
    this.#isScouting = false;
    const isNeeded = media === this.#media && this.#state.phase !== 'ended';
    if (!isNeeded || !isElsewhere(before, now)) return frame.close();
    this.#nextFrame = frame;
    this.#move();
  }

  /** A new connection where the new addresses are known, as soon as the server can be asked for it. */
  #move(): void {
    if (this.#nextFrame && this.#socket.isSure) this.#connectMedia();
  }

  #connectMedia(): void {
    clearTimeout(this.#mediaTimer);
    this.#closeMedia();
    this.#counters = null;
    this.#frame = this.#nextFrame;
    this.#nextFrame = null;
    const { createStream } = this.#options;
    const createPeer = this.#frame?.createPeer ?? this.#options.createPeer;
    this.#slots = new SlotTable(createStream);
    this.#views.clear();
    const media = new MediaLink({
      iceServers: this.#iceServers,
      local: this.local,
      slots: this.#slots,
      exchange: async (sdp) => {
        const answer = await this.#socket.request({ type: 'offer', sdp });
        if (answer.type !== 'answer') throw new ApiError('MALFORMED', 0, 'No answer to the offer.');
        return answer.sdp;
      },
      canExchange: () => this.#socket.isSure,
      tripMs: () => this.#socket.tripMs,
      ...(createPeer ? { createPeer } : {}),
    });
    this.#media = media;
    this.#rescue = new Rescue(media, this.#socket, () => void this.#scout());
    this.#outlet = new Outlet(media);
    if (this.#state.pictureHeld) {
      this.#set({ pictureHeld: false });
      this.#tellDevices();
    }
    this.#set({ media: media.state });
    media.on('remotes', (remotes) => {
      if (media === this.#media) this.#set({ remotes });
    });
    media.on('starved', (starved) => {
      if (media !== this.#media) return;
      this.#set({ pictureHeld: starved });
      this.#tellDevices();
    });
    media.on('state', (state) => {
      if (media !== this.#media) return;
      this.#set({ media: state });
      if (state === 'connected') {
        // The old path has come back.
        this.#nextFrame?.close();
        this.#nextFrame = null;
        mark('anteroom:media-connected');
        this.#mediaBackoff.reset();
      }
      if (state === 'failed') this.#retryMedia();
      this.#noteTrouble();
    });
    void media.negotiate();
  }

  #closeMedia(): void {
    this.#rescue?.stop();
    this.#outlet?.stop();
    this.#media?.close();
    this.#frame?.close();
    this.#rescue = this.#outlet = this.#media = this.#frame = null;
  }

  /** A new connection on the socket we have; with a broken socket, `welcome` or a later try starts it. */
  #retryMedia(): void {
    clearTimeout(this.#mediaTimer);
    this.#mediaTimer = setTimeout(() => {
      if (this.#state.phase === 'ended') return;
      if (this.#socket.link === 'open') this.#connectMedia();
      else this.#retryMedia();
    }, this.#mediaBackoff.next());
  }

  #noteTrouble(): void {
    const { link, media, phase, brokenSince } = this.#state;
    const trouble = phase !== 'ended' && (link === 'broken' || media === 'failed' || media === 'searching' || (brokenSince !== null && media !== 'connected'));
    if (!trouble && brokenSince !== null) this.#set({ brokenSince: null });
    if (trouble && brokenSince === null) this.#set({ brokenSince: Date.now() });
  }

  #tellViews(): void {
    for (const { mid, view } of this.#views.news(this.#slots.carried)) {
      if (this.#socket.send({ type: 'view', mid, view })) this.#views.told(mid, view);
    }
  }

  #tellDevices(): void {
    const { local } = this;
    if (this.#state.phase === 'waiting') {
      this.#socket.send({ type: 'device_check', camera: local.camera !== null, microphone: local.microphone !== null });
    }
    const held = this.#state.pictureHeld ? { cameraHeld: true as const } : {};
    this.#socket.send({ type: 'state', microphone: local.microphoneOn, camera: local.cameraOn, ...held });
    this.#set({});
  }

  async #measure(): Promise<void> {
    const peer = this.#media?.peer;
    if (!peer || this.#state.media !== 'connected') return;
    const after = countersOf((await peer.getStats()) as never, performance.now());
    if (peer !== this.#media?.peer) return;
    const before = this.#counters;
    this.#counters = after;
    if (!before) return;
    const own = sampleOf(before, after);
    this.#set({ own });
    this.#socket.send({
      type: 'stats',
      ...(own.rttMs === null ? {} : { rttMs: own.rttMs }),
      lossDown: own.lossDown,
      framesDecoded: own.framesDecoded,
      freezes: own.freezes,
    });
  }

  #finish(reason: VisitState['ended']): void {
    if (this.#state.phase === 'ended') return;
    clearTimeout(this.#mediaTimer);
    clearInterval(this.#statsTimer);
    for (const stop of this.#stops) stop();
    this.#closeMedia();
    this.#nextFrame?.close();
    this.#nextFrame = null;
    this.#set({ phase: 'ended', ended: reason, remotes: [], brokenSince: null, consentRequest: null, media: 'none' });
  }

  #set(change: Partial<VisitState>): void {
    this.#state = { ...this.#state, ...change };
    this.emit('change', this.#state);
  }
}

function pickConsent(message: ConsentRequest): ConsentRequest {
  return { version: message.version, locale: message.locale, body: message.body, requestedBy: message.requestedBy };
}

function mark(name: string): void {
  globalThis.performance?.mark?.(name);
}

function socketUrl(visitId: string | undefined): string {
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const query = visitId === undefined ? '' : `?visit=${encodeURIComponent(visitId)}`;
  return `${scheme}//${location.host}/ws${query}`;
}
