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
  final: FinalClose;
}

export interface SocketOptions {
  url: string;
  clock: ServerClock;
  createSocket?: (url: string, protocol: string) => WebSocket;
  backoff?: Backoff;
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

/** A server that restarts names a few seconds; one that names more is not believed. */
const MAX_COME_BACK_MS = 60_000;

interface Pending {
  resolve: (message: ServerMessage) => void;
  reject: (error: ApiError) => void;
  timer: ReturnType<typeof setTimeout>;
}

export class VisitSocket extends Emitter<SocketEvents> {
  readonly #options: SocketOptions;
  readonly #backoff: Backoff;
  readonly #pending = new Map<string, Pending>();
  #socket: WebSocket | null = null;
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

  connect(): void {
    if (this.#ended || this.#socket) return;
    clearTimeout(this.#retryTimer);
    const create = this.#options.createSocket ?? ((url, protocol) => new WebSocket(url, protocol));
    const socket = create(this.#options.url, SUBPROTOCOL);
    this.#socket = socket;
    this.#expectWordWithin(OPEN_WITHIN_MS);
    socket.addEventListener('open', () => this.#handleOpen(socket));
    socket.addEventListener('message', (event) => this.#handleFrame(socket, event.data));
    socket.addEventListener('close', (event) => this.#handleClose(socket, event.code));
  }

  /** The network came back (or the page woke up): do not sit out the rest of the wait. */
  retryNow(): void {
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
    if (!this.send({ ...message, id })) return Promise.reject(new ApiError('OFFLINE', 0, 'Not connected right now.'));
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new ApiError('TIMEOUT', 0, 'The practice did not answer in time.'));
      }, REQUEST_WITHIN_MS);
      this.#pending.set(id, { resolve, reject, timer });
    });
  }

  /** Says goodbye and never comes back. */
  leave(): void {
    if (this.#ended) return;
    this.send({ type: 'leave' });
    this.#finish('done', 1000);
  }

  #handleOpen(socket: WebSocket): void {
    if (socket !== this.#socket) return;
    const hello: ClientMessage = { type: 'hello', protocol: 1, ...(this.#resume ? { resume: this.#resume } : {}) };
    socket.send(JSON.stringify(hello));
    // A resumed session may have nothing to say: the answer to a ping shows that it was resumed.
    if (this.#resume) socket.send(JSON.stringify({ type: 'ping', id: `resume-${this.#nextId++}` }));
  }

  #handleFrame(socket: WebSocket, data: unknown): void {
    if (socket !== this.#socket || typeof data !== 'string') return;
    let message: ReturnType<typeof parseServerMessage>;
    try {
      message = parseServerMessage(data);
    } catch {
      return;
    }
    this.#schedulePing();
    if (message.type === 'welcome') {
      this.#resume = { token: message.resumeToken, seq: message.seq };
      this.#failPending();
      this.#opened();
      this.#options.clock.learn(message.serverTime);
    } else {
      if (this.#resume && message.seq <= this.#resume.seq) return;
      if (this.#resume) this.#resume = { token: this.#resume.token, seq: message.seq };
      if (this.#link !== 'open' && this.#resume) {
        this.#opened();
        this.emit('resumed', undefined);
      }
    }
    if (message.type === 'unknown') return;
    if (message.type === 'pong') this.#options.clock.learn(message.serverTime);
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

  #handleClose(socket: WebSocket, code: number): void {
    if (socket !== this.#socket) return;
    this.#socket = null;
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
      this.send({ type: 'ping', id: `ping-${this.#nextId++}` });
      this.#expectWordWithin(PONG_WITHIN_MS);
    }, PING_EVERY_MS);
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
