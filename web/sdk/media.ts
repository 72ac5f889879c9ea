// One RTCPeerConnection to the media server: we always offer, it always answers, and slots carry the others.

import { ApiError } from './api';
import { Emitter } from './emitter';
import type { LocalMedia } from './local';
import type { Encoding, Source } from './message';
import { boundedBudget, cameraLayers, limitVoice, setEncoding, withPtime, type AudioBudget } from './sender';
import { SlotTable, type Carried, type Remote } from './slot';

/** `shaky` for a moment, which nobody need be told of; `searching` when it lasts: another path is looked for. */
export type MediaState = 'connecting' | 'connected' | 'shaky' | 'searching' | 'failed';

export interface MediaEvents {
  state: MediaState;
  remotes: Remote[];
}

export interface MediaOptions {
  iceServers: RTCIceServer[];
  local: LocalMedia;
  slots: SlotTable;
  /** Takes our offer to the server and brings back its answer. */
  exchange: (sdp: string) => Promise<string>;
  /** Whether an exchange could work just now. */
  canExchange: () => boolean;
  createPeer?: (config: RTCConfiguration) => RTCPeerConnection;
}

/** ICE mends short breaks by itself; after this it looks for another path. */
const RESTART_AFTER_MS = 1_000;
/** How often it looks anew: a restart through a relay takes a few round trips. */
const RESTART_EVERY_MS = 4_000;
/** After this nothing is left to mend: the server gives the connection up after 30 s. */
const SEARCH_FOR_MS = 25_000;
/** From the first offer to a connected transport. */
const CONNECT_WITHIN_MS = 15_000;
/** Errors of an exchange that say nothing of the connection. */
const OFFLINE: ReadonlySet<string> = new Set(['OFFLINE', 'TIMEOUT']);
/** More m-lines than this are refused, so that a confused server cannot make us grow without end. */
const MAX_SLOTS = 64;

export class MediaLink extends Emitter<MediaEvents> {
  readonly peer: RTCPeerConnection;
  readonly #options: MediaOptions;
  readonly #stopListening: () => void;
  #state: MediaState = 'connecting';
  #timer: ReturnType<typeof setTimeout> | undefined;
  #negotiating = false;
  #again = false;
  #closed = false;
  #wanted = { audio: 1, video: 1 };
  #restarted: number | null = null;
  #budget: AudioBudget | null = null;
  readonly #encodings = new Map<Source, Encoding>([['camera', 'single']]);

  constructor(options: MediaOptions) {
    super();
    this.#options = options;
    const create = options.createPeer ?? ((config) => new RTCPeerConnection(config));
    this.peer = create({ iceServers: options.iceServers, bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    this.peer.addEventListener('connectionstatechange', () => this.#handleConnection());
    const { local } = options;
    this.peer.addTransceiver(local.microphone ?? 'audio', { direction: 'sendrecv' });
    this.peer.addTransceiver(local.camera ?? 'video', {
      direction: 'sendrecv',
      sendEncodings: cameraLayers(),
    });
    this.#stopListening = local.on('track', (kind) => void this.#takeTrack(kind));
    this.#timer = setTimeout(() => this.#fail(), CONNECT_WITHIN_MS);
  }

  get state(): MediaState {
    return this.#state;
  }

  /** Offers, and again for whatever changed meanwhile: one exchange at a time. */
  async negotiate(): Promise<void> {
    if (this.#closed) return;
    if (this.#negotiating) {
      this.#again = true;
      return;
    }
    this.#negotiating = true;
    try {
      do {
        this.#again = false;
        this.#addSlots();
        await this.peer.setLocalDescription(await this.peer.createOffer());
        const sdp = this.peer.localDescription?.sdp;
        if (!sdp) throw new Error('an offer was set');
        const answer = await this.#options.exchange(sdp);
        if (this.#closed) return;
        const sdpWithBudget = this.#budget ? withPtime(answer, this.#budget.ptimeMs) : answer;
        await this.peer.setRemoteDescription({ type: 'answer', sdp: sdpWithBudget });
        this.#applyWishes();
        this.refresh();
      } while (this.#again);
    } catch (error) {
      // With the socket away the search waits for it. Refused, a new connection starts from a clean state.
      if (!(this.#isSearching && error instanceof ApiError && OFFLINE.has(error.code))) this.#fail();
    } finally {
      this.#negotiating = false;
    }
  }

  /** The server wants this many receiving m-lines in all. They are never taken away, only left empty. */
  wantSlots(audio: number, video: number): void {
    this.#wanted = {
      audio: Math.max(this.#wanted.audio, Math.min(audio, MAX_SLOTS)),
      video: Math.max(this.#wanted.video, Math.min(video, MAX_SLOTS)),
    };
    if (this.#missing('audio') > 0 || this.#missing('video') > 0) void this.negotiate();
  }

  setSlot(mid: string, carries: Carried | null): void {
    this.#options.slots.set(mid, carries);
    this.refresh();
  }

  /** The picture in a slot is held back by the network, or flows again. */
  setPaused(mid: string, paused: boolean): void {
    this.#options.slots.setPaused(mid, paused);
    this.refresh();
  }

  /** What the server wants encoded of an own picture. */
  setEncoding(source: Source, encoding: Encoding): void {
    this.#encodings.set(source, encoding);
    this.#applyWishes();
  }

  /** What the own voice may cost. Another packet time needs another answer, because browsers read it there. */
  setAudioBudget(wanted: AudioBudget): void {
    const before = this.#budget?.ptimeMs ?? 20;
    this.#budget = boundedBudget(wanted);
    this.#applyWishes();
    if (this.#budget.ptimeMs !== before) void this.negotiate();
  }

  /** Other credentials for the relay: they count from the next ICE restart on. */
  setIceServers(iceServers: RTCIceServer[]): void {
    if (this.#closed) return;
    try {
      this.peer.setConfiguration({ ...this.peer.getConfiguration(), iceServers });
    } catch {
      // Refused as they are: those of before stay.
    }
  }

  /** The server hears nothing of us, or we nothing of it: looks for a path anew, on the same connection. */
  restartIce(): void {
    if (this.#closed || this.#state === 'failed' || !this.#options.canExchange()) return;
    // Two of them at once would be one: the second would throw away what the first has found.
    if (this.#restarted !== null && Date.now() - this.#restarted < RESTART_EVERY_MS) return;
    this.#restarted = Date.now();
    this.peer.restartIce();
    void this.negotiate();
  }

  /** Tells again who is to be seen and heard. */
  refresh(): void {
    const transceivers = this.peer.getTransceivers();
    const trackOf = (mid: string) => transceivers.find((one) => one.mid === mid)?.receiver.track ?? null;
    this.emit('remotes', this.#options.slots.apply(trackOf));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#stopListening();
    this.peer.close();
  }

  #missing(kind: 'audio' | 'video'): number {
    const receiving = this.peer
      .getTransceivers()
      .filter((one) => one.receiver.track.kind === kind && /recv/.test(one.direction)).length;
    return this.#wanted[kind] - receiving;
  }

  #addSlots(): void {
    for (const kind of ['audio', 'video'] as const) {
      for (let n = this.#missing(kind); n > 0; n -= 1) this.peer.addTransceiver(kind, { direction: 'recvonly' });
    }
  }

  /** Wishes of the server hold through every negotiation; a browser that refuses one now gets it again after the next. */
  #applyWishes(): void {
    const sender = (kind: 'audio' | 'video') => this.peer.getTransceivers().find((one) => one.receiver.track.kind === kind)?.sender;
    const voice = sender('audio');
    if (this.#budget && voice) void limitVoice(voice, this.#budget.bitrate);
    const picture = sender('video');
    const encoding = this.#encodings.get('camera');
    if (encoding && picture) void setEncoding(picture, encoding);
  }

  async #takeTrack(kind: 'audio' | 'video'): Promise<void> {
    const { local } = this.#options;
    const own = this.peer.getTransceivers().find((one) => one.receiver.track.kind === kind);
    try {
      await own?.sender.replaceTrack(kind === 'audio' ? local.microphone : local.camera);
    } catch {
      // The connection is closing, and the next one takes the track from the start.
    }
  }

  #handleConnection(): void {
    if (this.#closed) return;
    const now = this.peer.connectionState;
    if (now === 'connected') {
      clearTimeout(this.#timer);
      this.#setState('connected');
    } else if (now === 'disconnected' || (now === 'failed' && this.#state !== 'connecting')) {
      this.#search();
    } else if (now === 'failed' || now === 'closed') {
      this.#fail();
    }
  }

  get #isSearching(): boolean {
    return this.#state === 'shaky' || this.#state === 'searching';
  }

  /** Restarts ICE until there is a path again or the time is over. DTLS and what flows in the slots outlive it. */
  #search(): void {
    if (this.#isSearching) return;
    clearTimeout(this.#timer);
    this.#setState('shaky');
    const since = Date.now();
    let tries = 0;
    const again = () => {
      if (Date.now() - since >= SEARCH_FOR_MS) return this.#fail();
      this.restartIce();
      tries += 1;
      if (tries > 1) this.#setState('searching');
      this.#timer = setTimeout(again, RESTART_EVERY_MS);
    };
    this.#timer = setTimeout(again, RESTART_AFTER_MS);
  }

  #fail(): void {
    if (this.#closed) return;
    clearTimeout(this.#timer);
    this.#setState('failed');
  }

  #setState(state: MediaState): void {
    if (this.#state === state) return;
    this.#state = state;
    this.emit('state', state);
  }
}
