// The WebSocket of one visit: hello, resume, requests with answers, and coming back after a break.

import { ApiError } from './api';
import { Backoff } from './backoff';
import { ServerClock } from './clock';
import { Emitter } from './emitter';
import { parseServerMessage, type ClientMessage, type ServerMessage } from './message';

export type LinkState = 'connecting' | 'open' | 'broken' | 'closed';

/** Why a socket will not come back. */
export type FinalClose = 'done' | 'unauthenticated' | 'superseded';

export interface SocketEvents {
  message: ServerMessage;
  link: LinkState;
  /** The server knows us still, and has sent what we missed. */
  resumed: undefined;
  /** The socket we have was in doubt, and works. */
  alive: undefined;
  final: FinalClose;
}

export interface SocketOptions {
  url: string;
  clock: ServerClock;
  createSocket?: (url: string, protocol: string) => WebSocket;
  backoff?: Backoff;
  /** A participant's session is bound to a key: the server asks for a proof over its nonce before `hello`. Staff are not asked. */
  prove?: (nonce: string) => Promise<string | null>;
}

const SUBPROTOCOL = 'anteroom.v1';
/** A session lives on at least one message every 30 s; half of that leaves room for one lost round. */
const PING_EVERY_MS = 12_000;
/** No word from the server for this long after a ping: the path is gone although no one told us. */
const PONG_WITHIN_MS = 8_000;
/** A request that has no answer by then is reported as failed. */
const REQUEST_WITHIN_MS = 15_000;
/** Time for the TCP, TLS and WebSocket handshakes. */
const OPEN_WITHIN_MS = 10_000;
/** When we come back: a new attempt asks at once, where one that waits repeats itself at longer and longer intervals. */
const REOPEN_WITHIN_MS = 4_000;
/** How long a socket in doubt may take to answer: a few round trips. */
const ANSWER_TRIPS = 3;
const ANSWER_WITHIN_MS = { least: 300, most: 2_000 };
/** A doubt that lasts is asked about no more often than this. */
const PROBE_EVERY_MS = 1_000;

/** A server that restarts names a few seconds; one that names more is not believed. */
const MAX_COME_BACK_MS = 60_000;

interface Pending {
  text: string;
  /** Where it was sent. */
  socket: WebSocket | null;
  resolve: (message: ServerMessage) => void;
  reject: (error: ApiError) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class VisitSocket extends Emitter<SocketEvents> {
  readonly #options: SocketOptions;
  readonly #backoff: Backoff;
  readonly #pending = new Map<string, Pending>();
  #socket: WebSocket | null = null;
  /** Opened beside one in doubt; takes its place with its first word. */
  #fresh: WebSocket | null = null;
  #freshTimer: ReturnType<typeof setTimeout> | undefined;
  #probeTimer: ReturnType<typeof setTimeout> | undefined;
  /** A new socket has our seat, and nothing is known yet of what we missed. */
  #resuming = false;
  #asked: { id: string; at: number } | null = null;
  #tripMs = 0;
  #probedAt = Number.NEGATIVE_INFINITY;
  #link: LinkState = 'connecting';
  #resume: { token: string; seq: number } | null = null;
  #nextId = 1;
  #pingTimer: ReturnType<typeof setTimeout> | undefined;
  #deadTimer: ReturnType<typeof setTimeout> | undefined;
  #retryTimer: ReturnType<typeof setTimeout> | undefined;
  #ended = false;
  /** The server asked to be left alone for so long. */
  #comeBackMs: number | null = null;

  constructor(options: SocketOptions) {
    super();
    this.#options = options;
    this.#backoff = options.backoff ?? new Backoff();
  }

  get link(): LinkState {
    return this.#link;
  }

  /** Open, and nothing speaks against it. */
  get isSure(): boolean {
    return this.#link === 'open' && this.#probeTimer === undefined && this.#fresh === null;
  }

  /** Round trip to the server and back, as measured last; 0 while unknown. */
  get tripMs(): number {
    return this.#tripMs;
  }

  connect(): void {
    if (this.#ended || this.#socket) return;
    clearTimeout(this.#retryTimer);
    this.#socket = this.#create();
    this.#expectWordWithin(this.#resume ? REOPEN_WITHIN_MS : OPEN_WITHIN_MS);
  }

  /** A doubt about the path: asks the server for a word, and without one in time opens another socket beside this one. */
  probe(): void {
    const now = performance.now();
    if (!this.isSure || now - this.#probedAt < PROBE_EVERY_MS) return;
    this.#probedAt = now;
    this.#ping('probe');
    const within = ANSWER_TRIPS * this.#tripMs;
    this.#probeTimer = setTimeout(() => {
      this.#probeTimer = undefined;
      this.#openFresh();
    }, Math.min(ANSWER_WITHIN_MS.most, Math.max(ANSWER_WITHIN_MS.least, within)));
  }

  /** The network came back or changed: do not sit out the rest of a wait, and do not trust what is open. */
  retryNow(): void {
    this.probe();
    if (this.#link !== 'broken' || this.#socket) return;
    this.#backoff.reset();
    this.connect();
  }

  /** Sends if the socket is open; answers whether it was. What must survive a break is told again after `welcome`. */
  send(message: ClientMessage & { id?: string }): boolean {
    if (this.#link !== 'open' || this.#socket?.readyState !== 1) return false;
    this.#socket.send(JSON.stringify(message));
    return true;
  }

  /** Sends a message that is answered, and waits for `ok`, `answer`, `pong` or `error` with its id. */
  request(message: ClientMessage): Promise<ServerMessage> {
    const id = String(this.#nextId++);
    const named = { ...message, id };
    if (!this.send(named)) return Promise.reject(new ApiError('OFFLINE', 0, 'Not connected right now.'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new ApiError('TIMEOUT', 0, 'The practice did not answer in time.'));
      }, REQUEST_WITHIN_MS);
      this.#pending.set(id, { text: JSON.stringify(named), socket: this.#socket, resolve, reject, timer });
    });
  }

  /** Says goodbye and never comes back. */
  leave(): void {
    if (this.#ended) return;
    this.send({ type: 'leave' });
    this.#finish('done', 1000);
  }

  #create(): WebSocket {
    const create = this.#options.createSocket ?? ((url, protocol) => new WebSocket(url, protocol));
    const socket = create(this.#options.url, SUBPROTOCOL);
    socket.addEventListener('open', () => this.#handleOpen(socket));
    socket.addEventListener('message', (event) => this.#handleFrame(socket, event.data));
    socket.addEventListener('close', (event) => this.#handleClose(socket, event.code));
    return socket;
  }

  #openFresh(): void {
    if (this.#ended || this.#fresh || !this.#resume || this.#link !== 'open') return;
    const fresh = this.#create();
    this.#fresh = fresh;
    this.#freshTimer = setTimeout(() => {
      fresh.close();
      this.#handleClose(fresh, 1006);
    }, REOPEN_WITHIN_MS);
  }

  #dropFresh(): void {
    clearTimeout(this.#freshTimer);
    const fresh = this.#fresh;
    this.#fresh = null;
    fresh?.close();
  }

  /** The new one spoke, so it has our seat: what the old one may still say comes again on this. */
  #promote(fresh: WebSocket): void {
    clearTimeout(this.#freshTimer);
    this.#fresh = null;
    const old = this.#socket;
    this.#socket = fresh;
    this.#resuming = true;
    old?.close();
  }

  #handleOpen(socket: WebSocket): void {
    // Who is to prove a key says hello when asked.
    if (!this.#options.prove) this.#greet(socket, null);
  }

  async #answerChallenge(socket: WebSocket, nonce: string): Promise<void> {
    const proof = await this.#options.prove?.(nonce).catch(() => null);
    this.#greet(socket, proof ?? null);
  }

  #greet(socket: WebSocket, proof: string | null): void {
    if ((socket !== this.#socket && socket !== this.#fresh) || socket.readyState !== 1) return;
    const hello: ClientMessage = {
      type: 'hello',
      protocol: 1,
      ...(this.#resume ? { resume: this.#resume } : {}),
      ...(proof === null ? {} : { proof }),
    };
    socket.send(JSON.stringify(hello));
    // A resumed session may have nothing to say: the answer to a ping shows that it was resumed.
    if (this.#resume) socket.send(JSON.stringify({ type: 'ping', id: this.#ask('resume') }));
  }

  #handleFrame(socket: WebSocket, data: unknown): void {
    if ((socket !== this.#socket && socket !== this.#fresh) || typeof data !== 'string') return;
    let message: ReturnType<typeof parseServerMessage>;
    try {
      message = parseServerMessage(data);
    } catch {
      return;
    }
    if (message.type === 'challenge') {
      // Not a word about the seat yet: that comes after the proof.
      void this.#answerChallenge(socket, message.nonce);
      return;
    }
    if (socket === this.#fresh) this.#promote(socket);
    this.#noteWord();
    this.#schedulePing();
    if (message.type === 'welcome') {
      this.#resume = { token: message.resumeToken, seq: message.seq };
      this.#resuming = false;
      this.#failPending();
      this.#opened();
      this.#options.clock.learn(message.serverTime);
    } else {
      if (this.#resume && message.seq <= this.#resume.seq) return;
      if (this.#resume) this.#resume = { token: this.#resume.token, seq: message.seq };
      if ((this.#link !== 'open' || this.#resuming) && this.#resume) {
        this.#resuming = false;
        this.#opened();
        this.emit('resumed', undefined);
      }
    }
    if (message.type === 'unknown') return;
    if (message.type === 'pong') this.#handlePong(message);
    if ('id' in message && message.id !== undefined) this.#settle(message.id, message);
    if (message.type === 'error' && message.retryAfterSeconds !== undefined) {
      this.#comeBackMs = Math.min(MAX_COME_BACK_MS, Math.max(0, message.retryAfterSeconds * 1000));
    }
    if (message.type === 'ended') {
      if (message.reason === 'failed') this.#resume = null;
      else this.#ended = true;
    }
    this.emit('message', message);
  }

  #handlePong({ id, serverTime }: { id: string; serverTime: string }): void {
    if (this.#asked?.id === id) {
      this.#tripMs = Math.round(performance.now() - this.#asked.at);
      this.#asked = null;
      this.#options.clock.learn(serverTime, this.#tripMs);
      // All that was answered before has come again by now. What has no answer died with the old socket, for a Room hears
      // nothing of a socket that lost its seat: saying it again says it once.
      if (id.startsWith('resume-')) this.#sendAgain();
    } else {
      this.#options.clock.learn(serverTime);
    }
  }

  #sendAgain(): void {
    const socket = this.#socket;
    for (const pending of this.#pending.values()) {
      if (pending.socket === socket) continue;
      pending.socket = socket;
      socket?.send(pending.text);
    }
  }

  /** The socket in use works. */
  #noteWord(): void {
    const isEarly = this.#fresh !== null && this.#fresh.readyState === 0;
    const wasDoubted = this.#probeTimer !== undefined || isEarly;
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
    // One that said hello already has taken the seat: then it is the other that goes on.
    if (isEarly) this.#dropFresh();
    if (wasDoubted && this.isSure) this.emit('alive', undefined);
  }

  #handleClose(socket: WebSocket, code: number): void {
    if (socket === this.#fresh) {
      // Neither of the two works: what follows is an ordinary break.
      this.#fresh = null;
      this.#socket?.close();
    } else if (socket !== this.#socket) {
      return;
    } else if (this.#fresh && !this.#ended && code !== 4401) {
      // The other one is on its way, and the seat is kept for it.
      this.#socket = null;
      return;
    }
    this.#dropFresh();
    this.#socket = null;
    this.#resuming = false;
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
    clearTimeout(this.#pingTimer);
    clearTimeout(this.#deadTimer);
    if (this.#ended || code === 1000) return this.#finish('done');
    if (code === 4401) return this.#finish('unauthenticated');
    if (code === 4409) return this.#finish('superseded');
    // The room failed, or the server could not read us: what we knew of the session is of no use.
    if (code === 4500 || code === 4503 || code === 4400) this.#resume = null;
    this.#setLink('broken');
    const wait = code === 4503 && this.#comeBackMs !== null ? this.#comeBackMs : this.#backoff.next();
    this.#comeBackMs = null;
    this.#retryTimer = setTimeout(() => this.connect(), wait);
  }

  #opened(): void {
    this.#backoff.reset();
    this.#setLink('open');
  }

  #settle(id: string, message: ServerMessage): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    this.#pending.delete(id);
    clearTimeout(pending.timer);
    if (message.type === 'error') {
      pending.reject(new ApiError(message.code, 0, message.detail, { missing: message.missing }));
    } else {
      pending.resolve(message);
    }
  }

  #failPending(): void {
    for (const pending of this.#pending.values()) {
      clearTimeout(pending.timer);
      pending.reject(new ApiError('OFFLINE', 0, 'The connection was lost.'));
    }
    this.#pending.clear();
  }

  #schedulePing(): void {
    clearTimeout(this.#pingTimer);
    clearTimeout(this.#deadTimer);
    this.#pingTimer = setTimeout(() => {
      this.#ping('ping');
      this.#expectWordWithin(PONG_WITHIN_MS);
    }, PING_EVERY_MS);
  }

  #ping(why: string): void {
    this.send({ type: 'ping', id: this.#ask(why) });
  }

  #ask(why: string): string {
    const id = `${why}-${this.#nextId++}`;
    this.#asked = { id, at: performance.now() };
    return id;
  }

  #expectWordWithin(ms: number): void {
    clearTimeout(this.#deadTimer);
    const socket = this.#socket;
    this.#deadTimer = setTimeout(() => {
      if (!socket || socket !== this.#socket) return;
      // `close` on a dead path may take a minute to report, so we do not wait for it.
      socket.close();
      this.#handleClose(socket, 1006);
    }, ms);
  }

  #finish(why: FinalClose, closeWith?: number): void {
    this.#ended = true;
    clearTimeout(this.#retryTimer);
    clearTimeout(this.#pingTimer);
    clearTimeout(this.#deadTimer);
    clearTimeout(this.#probeTimer);
    this.#probeTimer = undefined;
    this.#dropFresh();
    const socket = this.#socket;
    this.#socket = null;
    if (closeWith !== undefined) socket?.close(closeWith);
    this.#failPending();
    this.#setLink('closed');
    this.emit('final', why);
  }

  #setLink(link: LinkState): void {
    if (this.#link === link) return;
    this.#link = link;
    this.emit('link', link);
  }
}
