// The sheet that asks for consent to record. It leaves the other person visible, and its two answers weigh the same.

import { useEffect, useRef, useState } from 'preact/hooks';
import type { ConsentRequest, Visit } from '../../sdk';
import { announce } from '../announce';

export function ConsentSheet({ visit, request }: { visit: Visit; request: ConsentRequest }) {
  const ref = useRef<HTMLElement>(null);
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState(false);

  useEffect(() => {
    const before = document.activeElement;
    ref.current?.focus({ preventScroll: true });
    announce('You are asked if this visit may be recorded.');
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus({ preventScroll: true });
    };
  }, []);

  const answer = async (decision: 'SIGN' | 'DECLINE') => {
    setBusy(true);
    setFailed(false);
    try {
      await visit.consent(decision);
      announce(decision === 'SIGN' ? 'You agreed to the recording.' : 'You did not agree. The visit goes on.');
    } catch {
      setFailed(true);
      setBusy(false);
    }
  };

  return (
    <section class="consent" role="dialog" aria-labelledby="consent-heading" tabIndex={-1} ref={ref} data-testid="consent-sheet">
      <h2 id="consent-heading">May this visit be recorded?</h2>
      {/* A text that scrolls has to be reachable without a mouse. */}
      <div class="consent-text" tabIndex={0} role="group" aria-label="What you are asked to agree to" lang={request.locale}>
        {request.body}
      </div>
      {failed && (
        <p class="notice" role="alert">
          Your answer did not get through. Please try again.
        </p>
      )}
      <div class="row equal">
        <button type="button" class="button" disabled={busy} data-testid="consent-yes" onClick={() => void answer('SIGN')}>
          I agree
        </button>
        <button type="button" class="button" disabled={busy} data-testid="consent-no" onClick={() => void answer('DECLINE')}>
          I don't agree
        </button>
      </div>
    </section>
  );
}
