// Which m-line carries whom: the table behind `slot` messages, and the streams that screens show.

import type { Source } from './message';

export interface Carried {
  participantId: string;
  source: Source;
}

/** One other person's media. The streams stay the same objects while tracks move in and out of them. */
export interface Remote {
  participantId: string;
  /** Microphone and camera, so that one element plays both in step; and what a shared screen sounds like. */
  face: MediaStream;
  screen: MediaStream;
  hasCamera: boolean;
  hasMicrophone: boolean;
  hasScreen: boolean;
  /** The network cannot carry the picture just now: what is shown stands still. */
  cameraPaused: boolean;
  screenPaused: boolean;
}

export class SlotTable {
  readonly #byMid = new Map<string, Carried>();
  readonly #paused = new Set<string>();
  readonly #remotes = new Map<string, Remote>();

  constructor(private readonly createStream: () => MediaStream = () => new MediaStream()) {}

  /** `null` empties the slot. */
  set(mid: string, carries: Carried | null): void {
    const before = this.#byMid.get(mid);
    if (carries?.participantId !== before?.participantId || carries?.source !== before?.source) this.#paused.delete(mid);
    if (carries) this.#byMid.set(mid, carries);
    else this.#byMid.delete(mid);
  }

  /** The picture in the slot is held back, or flows again. */
  setPaused(mid: string, paused: boolean): void {
    if (paused) this.#paused.add(mid);
    else this.#paused.delete(mid);
  }

  get carried(): ReadonlyMap<string, Carried> {
    return this.#byMid;
  }

  clear(): void {
    this.#byMid.clear();
    this.#paused.clear();
  }

  /** Puts every track where the table says it belongs; people who have none are left out. */
  apply(trackOf: (mid: string) => MediaStreamTrack | null): Remote[] {
    const wanted = new Map<MediaStream, Set<MediaStreamTrack>>();
    for (const remote of this.#remotes.values()) {
      remote.hasCamera = remote.hasMicrophone = remote.hasScreen = remote.cameraPaused = remote.screenPaused = false;
    }
    for (const [mid, { participantId, source }] of this.#byMid) {
      const track = trackOf(mid);
      if (!track) continue;
      const remote = this.#remoteOf(participantId);
      const stream = source === 'screen' ? remote.screen : remote.face;
      const tracks = wanted.get(stream) ?? new Set();
      wanted.set(stream, tracks.add(track));
      const paused = this.#paused.has(mid);
      if (source === 'screen') [remote.hasScreen, remote.screenPaused] = [true, paused];
      else if (source === 'camera') [remote.hasCamera, remote.cameraPaused] = [true, paused];
      else if (source === 'microphone') remote.hasMicrophone = true;
    }
    for (const [participantId, remote] of this.#remotes) {
      reconcile(remote.face, wanted.get(remote.face));
      reconcile(remote.screen, wanted.get(remote.screen));
      if (!wanted.has(remote.face) && !wanted.has(remote.screen)) this.#remotes.delete(participantId);
    }
    return Array.from(this.#remotes.values(), (remote) => ({ ...remote }));
  }

  #remoteOf(participantId: string): Remote {
    let remote = this.#remotes.get(participantId);
    if (!remote) {
      remote = {
        participantId,
        face: this.createStream(),
        screen: this.createStream(),
        hasCamera: false,
        hasMicrophone: false,
        hasScreen: false,
        cameraPaused: false,
        screenPaused: false,
      };
      this.#remotes.set(participantId, remote);
    }
    return remote;
  }
}

function reconcile(stream: MediaStream, wanted: Set<MediaStreamTrack> | undefined): void {
  const present = stream.getTracks();
  for (const track of present) if (!wanted?.has(track)) stream.removeTrack(track);
  for (const track of wanted ?? []) if (!present.includes(track)) stream.addTrack(track);
}
