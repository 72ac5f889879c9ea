// One RTCPeerConnection to the media server: we always offer, it always answers, and slots carry the others.

import { ApiError } from './api';
import { Backoff } from './backoff';
import { Emitter } from './emitter';
import type { LocalMedia } from './local';
import type { Encoding, Source } from './message';
import { preferSound, soundCodecs, withSoundOrder } from './redundancy';
import { boundedBudget, forgetLimits, limitVoice, NARROW_PTIME_MS, NARROW_VOICE, setEncoding, cameraLayers, USUAL_PTIME_MS, USUAL_VOICE, withPtime, type AudioBudget } from './sender';
import { SlotTable, type Carried, type Remote } from './slot';
import type { Amount } from './uplink';

/** `shaky` for a moment, which nobody need be told of; `searching` when it lasts: another path is looked for. */
export type MediaState = 'connecting' | 'connected' | 'shaky' | 'searching' | 'failed';

export interface MediaEvents {
  state: MediaState;
  remotes: Remote[];
  /** The own picture is held back for the sake of sound, or flows again. */
  starved: boolean;
}

export interface MediaOptions {
  iceServers: RTCIceServer[];
  local: LocalMedia;
  slots: SlotTable;
  /** Takes our offer to the server and brings back its answer. */
  exchange: (sdp: string) => Promise<string>;
  /** Whether an exchange could work just now. */
  canExchange: () => boolean;
  /** Round trip to the server in ms, 0 while unknown. */
  tripMs?: () => number;
  createPeer?: (config: RTCConfiguration) => RTCPeerConnection;
}

/** ICE mends short breaks by itself; after this it looks for another path. */
const RESTART_AFTER_MS = 1_000;
/** How often it looks anew, longer from time to time, and never before the last restart had these round trips. */
const RESTART_EVERY = { firstMs: 1_500, maxMs: 4_000, jitter: 0 };
const RESTART_TRIPS = 8;
/** After so long without a restart the next breaks begin anew with short waits. */
const RESTARTS_FORGOTTEN_MS = 20_000;
/** A search this long is told to people. */
const TELL_AFTER_MS = 4_000;
/** How often a search looks whether it may restart. */
const SEARCH_STEP_MS = 250;
/** After this nothing is left to mend: the server gives the connection up after 30 s. */
const SEARCH_FOR_MS = 25_000;
/** From the first offer to a connected transport. */
const CONNECT_WITHIN_MS = 15_000;
/** A picture that was held back flows this long before sound is sent with redundancy again. */
const REDUNDANT_AFTER_MS = 15_000;
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
  /** The last answer as it came, and whether it was applied with what sound is to be now. */
  #answer: string | null = null;
  #isSoundApplied = true;
  #closed = false;
  #wanted = { audio: 1, video: 1 };
  #restartedAt = Number.NEGATIVE_INFINITY;
  #restartSpacingMs = 0;
  readonly #restarts = new Backoff(RESTART_EVERY);
  /** The offer that is on its way restarts ICE. */
  #restarting = false;
  #restartsAnswered = 0;
  /** An exchange did not reach the server: it is owed one. */
  #owed = false;
  #budget: AudioBudget | null = null;
  #picture: Amount = 'all';
  /** The own way out is narrow for picture and voice, and whether the voice was ever asked to be small for it. */
  #isNarrow = false;
  #isVoiceNarrow = false;
  #isRedundant = true;
  /** Left to the browser until something else was asked for. */
  #usualPtimeMs: number | null = null;
  #soundTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #encodings = new Map<Source, Encoding>([['camera', 'single']]);

  constructor(options: MediaOptions) {
    super();
    this.#options = options;
    const create = options.createPeer ?? ((config) => new RTCPeerConnection(config));
    this.peer = create({ iceServers: options.iceServers, bundlePolicy: 'max-bundle', rtcpMuxPolicy: 'require' });
    this.peer.addEventListener('connectionstatechange', () => this.#handleConnection());
    const { local } = options;
    preferSound(this.peer.addTransceiver(local.microphone ?? 'audio', { direction: 'sendrecv' }), true);
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
        this.#owed = false;
        const restarts = this.#restarting;
        this.#addSlots();
        await this.peer.setLocalDescription(await this.peer.createOffer());
        const sdp = this.peer.localDescription?.sdp;
        if (!sdp) throw new Error('an offer was set');
        const answer = await this.#options.exchange(sdp);
        if (this.#closed) return;
        this.#answer = answer;
        await this.#takeAnswer(answer);
        if (restarts) {
          this.#restarting = false;
          this.#restartsAnswered += 1;
        }
        this.#applyWishes();
        this.refresh();
      } while (this.#again);
    } catch (error) {
      this.#restarting = false;
      // With the socket away it waits for that; a search tries again. Refused, a new connection starts from a clean state.
      const code = error instanceof ApiError ? error.code : null;
      if (code === 'OFFLINE' && this.#state !== 'connecting') this.#owed = true;
      else if (!(code === 'TIMEOUT' && this.#isSearching)) this.#fail();
    } finally {
      this.#negotiating = false;
    }
    if (!this.#isSoundApplied) void this.#renewSound();
  }

  async #takeAnswer(answer: string): Promise<void> {
    this.#isSoundApplied = true;
    const ptimeMs = Math.max(this.#budget?.ptimeMs ?? 0, this.#isNarrow ? NARROW_PTIME_MS : 0) || this.#usualPtimeMs;
    if (ptimeMs !== null) this.#usualPtimeMs = USUAL_PTIME_MS;
    const ordered = withSoundOrder(answer, this.#isRedundant);
    await this.peer.setRemoteDescription({ type: 'answer', sdp: ptimeMs === null ? ordered : withPtime(ordered, ptimeMs) });
  }

  /**
   * How sound is sent is for this side alone: browsers read it from the answer, and the server takes what comes. So the last answer is
   * given to the browser once more, and nothing crosses a way that may be too narrow for it: offer and answer are 10 kB.
   */
  async #renewSound(): Promise<void> {
    this.#isSoundApplied = false;
    if (this.#closed || this.#negotiating || this.#answer === null) return;
    this.#negotiating = true;
    let isRenewed = false;
    try {
      const offer = await this.peer.createOffer();
      // What else is to be negotiated takes sound along.
      if (!this.#restarting && !this.#owed && sections(offer.sdp) === sections(this.#answer)) {
        await this.peer.setLocalDescription(offer);
        await this.#takeAnswer(this.#answer);
        this.#applyWishes();
        isRenewed = true;
      }
    } catch {
      // The server is asked, as for anything else.
    }
    this.#negotiating = false;
    if (!isRenewed || this.#again) void this.negotiate();
    else if (!this.#isSoundApplied) void this.#renewSound();
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

  /** What sends the own camera. */
  get pictureSender(): RTCRtpSender | null {
    return this.#sender('video') ?? null;
  }

  /** How much of a picture the own way out carries beside the voice; `isTight` where it may soon be too narrow for both. */
  setPicture(amount: Amount, isTight = false): void {
    const isNarrow = isTight || amount !== 'all';
    if (amount === this.#picture && isNarrow === this.#isNarrow) return;
    const wasHeld = this.#picture !== 'all';
    this.#picture = amount;
    if (isNarrow !== this.#isNarrow) {
      this.#isNarrow = isNarrow;
      // Where a picture has no room, sound has none to be said twice, nor for many headers.
      clearTimeout(this.#soundTimer);
      if (isNarrow) this.#setRedundant(false);
      else this.#soundTimer = setTimeout(() => this.#setRedundant(true), REDUNDANT_AFTER_MS);
      void this.#renewSound();
    }
    this.#applyWishes();
    // People are told of a picture that is off, not of each try.
    if ((amount !== 'all') !== wasHeld) this.emit('starved', amount !== 'all');
  }

  /** Has the browser make the whole size of the picture at once. */
  async stretchPicture(): Promise<void> {
    const picture = this.#sender('video');
    if (!picture || this.#closed) return;
    await forgetLimits(picture);
    // A wish of the server that came between was refused.
    if (!this.#closed) this.#applyWishes();
  }

  /** Browsers send what stands first in the answer, which repeats the order of the offer. */
  #setRedundant(redundant: boolean): void {
    if (this.#closed || redundant === this.#isRedundant || !soundCodecs(redundant)) return;
    this.#isRedundant = redundant;
    const own = this.peer.getTransceivers().find((one) => one.receiver.track.kind === 'audio');
    if (own) preferSound(own, redundant);
    void this.#renewSound();
  }

  /** What the own voice may cost. Another packet time needs another answer, because browsers read it there. */
  setAudioBudget(wanted: AudioBudget): void {
    const before = this.#budget?.ptimeMs ?? USUAL_PTIME_MS;
    this.#budget = boundedBudget(wanted);
    this.#applyWishes();
    if (this.#budget.ptimeMs !== before) void this.#renewSound();
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
    if (this.#closed || this.#state === 'failed' || this.#restarting || !this.#options.canExchange()) return;
    const now = performance.now();
    const since = now - this.#restartedAt;
    // Two of them at once would be one: the second would throw away what the first has found.
    if (since < Math.max(this.#restartSpacingMs, RESTART_TRIPS * (this.#options.tripMs?.() ?? 0))) return;
    if (since > RESTARTS_FORGOTTEN_MS) this.#restarts.reset();
    this.#restartSpacingMs = this.#restarts.next();
    this.#restartedAt = now;
    this.#restarting = true;
    this.peer.restartIce();
    void this.negotiate();
  }

  /** How many restarts of ICE the server has answered. */
  get restartsAnswered(): number {
    return this.#restartsAnswered;
  }

  /** Nothing comes any more, whatever the browser thinks of the connection. */
  search(): void {
    if (this.#closed || this.#state !== 'connected') return;
    this.#search(0);
  }

  /** Something came. */
  notePath(): void {
    if (!this.#isSearching || this.peer.connectionState !== 'connected') return;
    clearTimeout(this.#timer);
    this.#setState('connected');
  }

  /** The way to the server works: what waited for it is done now. */
  handleServer(): void {
    if (this.#isSearching) this.restartIce();
    if (this.#owed && !this.#negotiating) void this.negotiate();
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
    clearTimeout(this.#soundTimer);
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
    const voice = this.#sender('audio');
    const most = this.#budget?.bitrate ?? USUAL_VOICE;
    const narrow = this.#isNarrow;
    if (voice && (this.#budget || narrow || this.#isVoiceNarrow)) void limitVoice(voice, narrow ? Math.min(most, NARROW_VOICE) : most);
    this.#isVoiceNarrow = narrow;
    const picture = this.#sender('video');
    const encoding = this.#encodings.get('camera');
    if (encoding && picture) void setEncoding(picture, encoding, this.#picture);
  }

  #sender(kind: 'audio' | 'video'): RTCRtpSender | undefined {
    return this.peer.getTransceivers().find((one) => one.receiver.track.kind === kind)?.sender;
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
      this.#search(RESTART_AFTER_MS);
    } else if (now === 'failed' || now === 'closed') {
      this.#fail();
    }
  }

  get #isSearching(): boolean {
    return this.#state === 'shaky' || this.#state === 'searching';
  }

  /** Restarts ICE until there is a path again or the time is over. DTLS and what flows in the slots outlive it. */
  #search(afterMs: number): void {
    if (this.#isSearching) return;
    clearTimeout(this.#timer);
    this.#setState('shaky');
    const since = performance.now();
    const again = () => {
      const past = performance.now() - since;
      if (past >= SEARCH_FOR_MS) return this.#fail();
      if (past >= TELL_AFTER_MS) this.#setState('searching');
      // Often asked, seldom done: it keeps its own spacing, and the socket may be away.
      this.restartIce();
      this.#timer = setTimeout(again, SEARCH_STEP_MS);
    };
    if (afterMs === 0) again();
    else this.#timer = setTimeout(again, afterMs);
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

/** How many media sections a description has. */
function sections(sdp: string | undefined): number {
  return sdp?.match(/^m=/gm)?.length ?? 0;
}
