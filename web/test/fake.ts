// Scripted stand-ins for a browser's socket and peer connection, for tests only.

import type { ServerMessage } from '../sdk';

type Handler = (event: never) => void;

/** A WebSocket whose other end is the test. */
export class FakeSocket {
  static all: FakeSocket[] = [];
  readonly sent: Record<string, unknown>[] = [];
  readyState = 0;
  closedWith: number | null = null;
  readonly #handlers = new Map<string, Handler[]>();

  constructor(
    readonly url: string,
    readonly protocol: string,
  ) {
    FakeSocket.all.push(this);
  }

  static last(): FakeSocket {
    const last = FakeSocket.all.at(-1);
    if (!last) throw new Error('no socket was made');
    return last;
  }

  addEventListener(type: string, handler: Handler): void {
    this.#handlers.set(type, [...(this.#handlers.get(type) ?? []), handler]);
  }

  send(text: string): void {
    this.sent.push(JSON.parse(text) as Record<string, unknown>);
  }

  close(code = 1005): void {
    this.closedWith = code;
    this.readyState = 3;
  }

  open(): void {
    this.readyState = 1;
    this.#fire('open', {});
  }

  tell(message: Omit<ServerMessage, 'seq'> & { seq: number } & Record<string, unknown>): void {
    this.#fire('message', { data: JSON.stringify(message) });
  }

  tellText(data: string): void {
    this.#fire('message', { data });
  }

  break(code = 1006): void {
    this.readyState = 3;
    this.#fire('close', { code });
  }

  types(): unknown[] {
    return this.sent.map((message) => message['type']);
  }

  #fire(type: string, event: unknown): void {
    for (const handler of this.#handlers.get(type) ?? []) handler(event as never);
  }
}

export class FakeTrack {
  enabled = true;
  constructor(readonly kind: 'audio' | 'video') {}
}

export class FakeStream {
  #tracks: unknown[] = [];
  getTracks(): unknown[] {
    return [...this.#tracks];
  }
  addTrack(track: unknown): void {
    this.#tracks.push(track);
  }
  removeTrack(track: unknown): void {
    this.#tracks = this.#tracks.filter((one) => one !== track);
  }
}

interface FakeTransceiver {
  mid: string | null;
  direction: string;
  sender: {
    replaced: unknown[];
    parameters: { encodings: Record<string, unknown>[] };
    replaceTrack: (track: unknown) => Promise<void>;
    getParameters: () => { encodings: Record<string, unknown>[] };
    setParameters: (parameters: { encodings: Record<string, unknown>[] }) => Promise<void>;
    stats: Record<string, unknown>[];
    getStats: () => Promise<Map<string, unknown>>;
  };
  receiver: { track: FakeTrack; getSynchronizationSources: () => { timestamp: number }[] };
}

/** A peer connection that names mids as browsers do: in order, when the offer is set. */
export class FakePeer {
  static all: FakePeer[] = [];
  connectionState = 'new';
  localDescription: { sdp: string } | null = null;
  closed = false;
  restarts = 0;
  readonly answers: string[] = [];
  readonly transceivers: FakeTransceiver[] = [];
  readonly #handlers: (() => void)[] = [];

  constructor() {
    FakePeer.all.push(this);
  }

  static last(): FakePeer {
    const last = FakePeer.all.at(-1);
    if (!last) throw new Error('no peer was made');
    return last;
  }

  addEventListener(_type: string, handler: () => void): void {
    this.#handlers.push(handler);
  }

  addTransceiver(
    what: string | FakeTrack,
    init: { direction: string; sendEncodings?: Record<string, unknown>[] },
  ): FakeTransceiver {
    const kind = (typeof what === 'string' ? what : what.kind) as 'audio' | 'video';
    const replaced: unknown[] = [];
    const one: FakeTransceiver = {
      mid: null,
      direction: init.direction,
      sender: {
        replaced,
        parameters: { encodings: init.sendEncodings ?? [{}] },
        replaceTrack: async (track) => void replaced.push(track),
        getParameters: () => structuredClone(one.sender.parameters),
        setParameters: async (parameters) => {
          one.sender.parameters = parameters;
        },
        stats: [],
        getStats: async () => new Map(one.sender.stats.map((stat, at) => [String(at), stat])),
      },
      receiver: {
        track: new FakeTrack(kind),
        getSynchronizationSources: () => (kind === 'audio' && this.voiceAt > 0 ? [{ timestamp: this.voiceAt }] : []),
      },
    };
    this.transceivers.push(one);
    return one;
  }

  getTransceivers(): FakeTransceiver[] {
    return this.transceivers;
  }

  /** When sound came last, by m-line; moving it on is hearing something. */
  voiceAt = 0;

  getReceivers(): FakeTransceiver['receiver'][] {
    return this.transceivers.map((one) => one.receiver);
  }

  async createOffer(): Promise<{ type: 'offer'; sdp: string }> {
    return { type: 'offer', sdp: `offer with ${this.transceivers.map((one) => `${one.receiver.track.kind}:${one.direction}`).join(' ')}` };
  }

  async setLocalDescription(description: { sdp: string }): Promise<void> {
    this.localDescription = description;
    this.transceivers.forEach((one, index) => {
      one.mid ??= String(index);
    });
  }

  async setRemoteDescription(description: { sdp: string }): Promise<void> {
    this.answers.push(description.sdp);
  }

  async getStats(): Promise<Map<string, unknown>> {
    return new Map<string, unknown>();
  }

  configuration: RTCConfiguration = {};

  getConfiguration(): RTCConfiguration {
    return this.configuration;
  }

  setConfiguration(configuration: RTCConfiguration): void {
    this.configuration = configuration;
  }

  restartIce(): void {
    this.restarts += 1;
  }

  become(state: string): void {
    this.connectionState = state;
    for (const handler of this.#handlers) handler();
  }

  close(): void {
    this.closed = true;
  }
}
