// The bare address: a way in for a patient who typed it, and for staff.

import { useState } from 'preact/hooks';
import { Page } from '../part/page';

export function Home({ go }: { go: (path: string) => void }) {
  const [code, setCode] = useState('');
  return (
    <Page heading="Video visits" testid="home">
      <p class="lead">Open the link in the message from your practice. You can also type the code from that message.</p>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          const clean = code.trim();
          if (clean !== '') go(`/j/${encodeURIComponent(clean)}`);
        }}
      >
        <label class="field">
          Code
          <input
            value={code}
            onInput={(event) => setCode(event.currentTarget.value)}
            autocomplete="one-time-code"
            autocapitalize="off"
            spellcheck={false}
            data-testid="code"
          />
        </label>
        <button type="submit" class="button primary wide large" disabled={code.trim() === ''}>
          Open the visit
        </button>
      </form>
      <p>
        <a
          href="/desk"
          onClick={(event) => {
            event.preventDefault();
            go('/desk');
          }}
        >
          I work here
        </a>
      </p>
    </Page>
  );
}
