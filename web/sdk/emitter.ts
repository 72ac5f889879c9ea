// Typed events without a framework.

export class Emitter<Events extends object> {
  readonly #handlers = new Map<keyof Events, Set<(payload: never) => void>>();

  /** Calls `handler` at each `event` until the returned function is called. */
  on<K extends keyof Events>(event: K, handler: (payload: Events[K]) => void): () => void {
    const set = this.#handlers.get(event) ?? new Set();
    set.add(handler as (payload: never) => void);
    this.#handlers.set(event, set);
    return () => {
      set.delete(handler as (payload: never) => void);
    };
  }

  protected emit<K extends keyof Events>(event: K, payload: Events[K]): void {
    // A copy, because a handler may unsubscribe itself while we walk.
    for (const handler of Array.from(this.#handlers.get(event) ?? [])) (handler as (payload: Events[K]) => void)(payload);
  }
}
