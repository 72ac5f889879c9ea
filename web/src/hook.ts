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
