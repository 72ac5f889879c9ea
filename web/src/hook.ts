// The few hooks that screens share.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { Api, LocalMedia, Visit, VisitState } from '../sdk';
import { Api as ApiClient } from '../sdk';

export const api: Api = new ApiClient();

export function useVisit(visit: Visit): VisitState {
  const [state, setState] = useState(visit.state);
  useEffect(() => {
    setState(visit.state);
    return visit.on('change', setState);
  }, [visit]);
  return state;
}

/** Renders again when a device, a mute state or a problem of the local media changes. */
export function useLocal(local: LocalMedia): LocalMedia {
  const [, again] = useState(0);
  useEffect(() => local.on('change', () => again((n) => n + 1)), [local]);
  return local;
}

/** Renders again every `ms`. */
export function useTick(ms: number): void {
  const [, again] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => again((n) => n + 1), ms);
    return () => clearInterval(timer);
  }, [ms]);
}

/** Moves the focus to a screen's heading when it appears, so that screen readers start there. */
export function useHeadingFocus<T extends HTMLElement>(): { current: T | null } {
  const ref = useRef<T>(null);
  useEffect(() => ref.current?.focus({ preventScroll: true }), []);
  return ref;
}

export function useTitle(title: string): void {
  useEffect(() => {
    document.title = title;
  }, [title]);
}

/** How often, at most, the server hears that somebody is there. */
const TELL_EVERY_MS = 60_000;

/** Calls `onIdle` once nobody has touched the page for so long, and `onAlive` now and then while somebody does. */
export function useIdle(afterMs: number, onIdle: () => void, onAlive: () => void): void {
  const calls = useRef({ onIdle, onAlive });
  calls.current = { onIdle, onAlive };
  useEffect(() => {
    let told = Date.now();
    let last = Date.now();
    const touched = () => {
      last = Date.now();
      if (last - told < TELL_EVERY_MS) return;
      told = last;
      calls.current.onAlive();
    };
    // The clock is asked, not the timer: timers of a machine that slept have slept too.
    const timer = setInterval(() => {
      if (Date.now() - last < afterMs) return;
      clearInterval(timer);
      calls.current.onIdle();
    }, 5_000);
    const kinds = ['pointerdown', 'pointermove', 'keydown', 'wheel', 'touchstart'] as const;
    for (const kind of kinds) addEventListener(kind, touched, { passive: true });
    return () => {
      clearInterval(timer);
      for (const kind of kinds) removeEventListener(kind, touched);
    };
  }, [afterMs]);
}
