// What screen readers hear without a move of the focus: one polite and one urgent live region for the whole app.

import { useEffect, useState } from 'preact/hooks';

type Listener = (text: string, urgent: boolean) => void;

let listener: Listener | null = null;

/** Says `text` to screen readers; recording is urgent, everything else waits its turn. */
export function announce(text: string, urgent = false): void {
  listener?.(text, urgent);
}

export function Announcer() {
  const [polite, setPolite] = useState('');
  const [urgent, setUrgent] = useState('');
  useEffect(() => {
    listener = (text, isUrgent) => (isUrgent ? setUrgent : setPolite)(text);
    return () => {
      listener = null;
    };
  }, []);
  return (
    <>
      <div class="unseen" role="status" aria-live="polite" data-testid="announce-polite">
        {polite}
      </div>
      <div class="unseen" role="alert" aria-live="assertive" data-testid="announce-urgent">
        {urgent}
      </div>
    </>
  );
}
