// Watches the path of one media connection, and acts before the browser does: browsers take seconds to say that it is gone.

import type { MediaLink } from './media';
import { PathWatch, TICK_MS } from './path';
import { Pulse } from './pulse';
import type { VisitSocket } from './socket';

/** How often it is told that a path is still quiet: another network may come late. */
const TELL_EVERY_MS = 1_000;

export class Rescue {
  readonly #watch = new PathWatch();
  readonly #pulse: Pulse;
  readonly #timer: ReturnType<typeof setInterval>;
  #busy = false;
  #toldAt = 0;
  /** Answers to restarts when the silence began: without another, the path came back by itself. */
  #restartsBefore = 0;

  constructor(
    private readonly media: MediaLink,
    private readonly socket: VisitSocket,
    private readonly onQuiet: () => void = () => undefined,
    private readonly now: () => number = () => performance.now(),
  ) {
    this.#pulse = new Pulse(media.peer);
    this.#timer = setInterval(() => void this.#look(), TICK_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** What comes, and how often, changes now for a good reason. */
  expectOther(): void {
    if (this.#watch.verdict !== 'lost') this.#watch.reset();
  }

  async #look(): Promise<void> {
    const { media, socket } = this;
    if (this.#busy) return;
    if (media.state === 'connecting' || media.state === 'failed') return this.#watch.reset();
    this.#busy = true;
    try {
      const now = this.now();
      const before = this.#watch.verdict;
      const heard = await this.#pulse.beat(now);
      const quietMs = this.#watch.quietMs(now);
      const verdict = this.#watch.look(now, heard);
      if (verdict !== 'fine' && (verdict !== before || now - this.#toldAt >= TELL_EVERY_MS)) {
        this.#toldAt = now;
        this.onQuiet();
      }
      if (verdict === 'lost') {
        if (before !== 'lost') this.#restartsBefore = media.restartsAnswered;
        socket.probe();
        media.search();
      } else if (verdict === 'doubt') {
        socket.probe();
      } else if (heard) {
        if (before === 'lost' && media.restartsAnswered === this.#restartsBefore) this.#watch.bear(quietMs, now);
        media.notePath();
      }
    } catch {
      // A connection that closes has nothing more to say.
    } finally {
      this.#busy = false;
    }
  }
}
