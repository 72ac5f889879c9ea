// Switches for tests and for support, read from the address once and kept for the tab: `?debug=1` and `?raw=1`.
// They give the page's own console a handle on what the page already holds, and nothing to anyone else.

import type { LocalMedia, Visit } from '../sdk';

export interface DebugHandle {
  visit: Visit | null;
  local: LocalMedia | null;
}

declare global {
  interface Window {
    __anteroom?: DebugHandle;
  }
}

function flag(name: string): boolean {
  const key = `anteroom.${name}`;
  try {
    if (new URLSearchParams(location.search).get(name) === '1') sessionStorage.setItem(key, '1');
    return sessionStorage.getItem(key) === '1';
  } catch {
    return false;
  }
}

const debug = flag('debug');

/** No echo cancellation or gain control, so that a pure tone arrives as it was sent. */
export const rawAudio = flag('raw');

/** Makes what the page holds reachable as `window.__anteroom`, if the address asked for it. */
export function expose(part: Partial<DebugHandle>): void {
  if (!debug) return;
  window.__anteroom = { visit: null, local: null, ...window.__anteroom, ...part };
}
