// What people read while the connection is away, and what they can do the longer it lasts.

import { useEffect } from 'preact/hooks';
import type { VisitState } from '../../sdk';
import { announce } from '../announce';
import { useTick } from '../hook';
import { knownPractice } from '../practice';

export function Trouble({ state }: { state: VisitState }) {
  useTick(1000);
  const broken = state.brokenSince;
  useEffect(() => {
    if (broken === null) return undefined;
    announce('Reconnecting. You do not need to do anything.');
    return () => announce('You are connected again.');
  }, [broken]);
  if (broken === null) return null;
  const seconds = (Date.now() - broken) / 1000;
  const phone = state.info?.practice.phone ?? knownPractice()?.phone;
  return (
    <div class="trouble" data-testid="reconnecting">
      <h2>Reconnecting…</h2>
      <p>
        {seconds < 10
          ? "You don't need to do anything."
          : seconds < 30
            ? 'Try moving closer to your Wi-Fi.'
            : phone
              ? `You can also call the practice: ${phone}`
              : 'You can also call the practice.'}
      </p>
    </div>
  );
}
