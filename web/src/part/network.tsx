// What people read about a network that is slow but not gone, and about a microphone that something else took.

import { useEffect, useState } from 'preact/hooks';
import type { Quality, VisitState } from '../../sdk';

/** A weak second is not worth words; this many in a row are. */
const WEAK_FOR_MS = 6_000;

export interface NetworkWordsProps {
  state: VisitState;
  /** The own bars, 0 to 4, or null while unknown. */
  bars: number | null;
  /** The system took the microphone, for a phone call perhaps. */
  interrupted: boolean;
}

export function NetworkWords({ state, bars, interrupted }: NetworkWordsProps) {
  const isStaff = state.you?.role === 'clinician';
  const theirs = isStaff ? weakest(state) : null;
  const weak = bars !== null && bars <= 1 && state.brokenSince === null;
  const lasting = useLasting(weak, WEAK_FOR_MS);
  const theirsLasting = useLasting(theirs !== null, WEAK_FOR_MS);
  const words = interrupted
    ? 'Something else is using your microphone, perhaps a phone call. It comes back when that ends.'
    : state.pictureHeld && state.brokenSince === null
      ? isStaff
        ? 'Picture paused for sound.'
        : 'We turned your picture off so you can hear each other. It comes back by itself.'
      : lasting
      ? 'Your connection is slow, so the picture is less sharp.'
      : theirsLasting && theirs
        ? `The connection of ${theirs} is slow.`
        : '';
  // The region is always there, because one that appears with its text is not read by every screen reader.
  return (
    <p class={words === '' ? 'unseen' : 'plate'} role="status" data-testid="network-words">
      {words}
    </p>
  );
}

function weakest(state: VisitState): string | null {
  const isWeak = (quality: Quality | undefined) => quality !== undefined && quality.bars <= 1;
  const entry = state.roster.find((one) => one.participantId !== state.you?.participantId && one.connected && isWeak(state.quality.get(one.participantId)));
  return entry?.name ?? null;
}

function useLasting(now: boolean, ms: number): boolean {
  const [lasting, setLasting] = useState(false);
  useEffect(() => {
    if (!now) {
      setLasting(false);
      return undefined;
    }
    const timer = setTimeout(() => setLasting(true), ms);
    return () => clearTimeout(timer);
  }, [now, ms]);
  return lasting;
}
