// How large each picture is shown here, and what of that the server has yet to hear.

import type { Source, View } from './message';
import type { Carried } from './slot';

export class ViewTable {
  /** What the page said about a person's source; pictures it said nothing about are in full view. */
  readonly #wanted = new Map<string, View>();
  /** By m-line, as the server knows it; `null` where that is in doubt. */
  readonly #told = new Map<string, View | null>();
  #isPageVisible = true;

  want(participantId: string, source: Source, view: View): void {
    this.#wanted.set(`${participantId} ${source}`, view);
  }

  setPageVisible(visible: boolean): void {
    this.#isPageVisible = visible;
  }

  /** A new connection: the server begins with every slot in full view. */
  clear(): void {
    this.#told.clear();
  }

  /** What was said last may be lost. */
  doubt(): void {
    for (const mid of this.#told.keys()) this.#told.set(mid, null);
  }

  /** What must be said now. A slot that carries nothing waits in full view, so that the next person is seen at once. */
  news(slots: ReadonlyMap<string, Carried>): { mid: string; view: View }[] {
    const news: { mid: string; view: View }[] = [];
    for (const mid of new Set([...this.#told.keys(), ...slots.keys()])) {
      const carried = slots.get(mid);
      if (carried?.source === 'microphone') continue;
      const wanted = carried ? (this.#wanted.get(`${carried.participantId} ${carried.source}`) ?? 'full') : 'full';
      const view = this.#isPageVisible ? wanted : 'hidden';
      const known = this.#told.has(mid) ? this.#told.get(mid) : 'full';
      if (known !== view) news.push({ mid, view });
    }
    return news;
  }

  told(mid: string, view: View): void {
    this.#told.set(mid, view);
  }
}
