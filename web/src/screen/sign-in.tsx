// How staff come in: a portal's access token, or in development one of the demonstration people.

import { useEffect, useState } from 'preact/hooks';
import { ApiError, type Staff } from '../../sdk';
import { api } from '../hook';
import { Page } from '../part/page';

export function SignIn({ offline, onSignedIn }: { offline: boolean; onSignedIn: () => void }) {
  const [people, setPeople] = useState<Staff[]>([]);
  const [token, setToken] = useState('');
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    // Outside development this route does not exist, and then there is nobody to show.
    api.demoUsers().then(setPeople, () => setPeople([]));
  }, []);

  const enter = async (way: Promise<void>) => {
    setProblem(null);
    try {
      await way;
      onSignedIn();
    } catch (error) {
      setProblem(
        error instanceof ApiError && error.code === 'OFFLINE' ? 'The server could not be reached.' : 'That did not work. Get a fresh token and try again.',
      );
    }
  };

  return (
    <Page heading="Sign in" testid="sign-in" help={false}>
      {offline && <p class="notice">The server could not be reached. Try again in a moment.</p>}
      {people.length > 0 && (
        <section class="stack" aria-labelledby="demo-heading">
          <h2 id="demo-heading">Demonstration people</h2>
          {people
            .filter((person) => person.role !== 'patient')
            .map((person) => (
              <button
                key={`${person.role} ${person.sub}`}
                type="button"
                class="button wide"
                data-testid={`sign-in-${person.sub}`}
                onClick={() => void enter(api.demoSignIn(person.role, person.sub))}
              >
                {person.name} ({person.role})
              </button>
            ))}
        </section>
      )}
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void enter(api.signIn(token.trim()));
        }}
      >
        <label class="field">
          Access token
          <textarea rows={3} value={token} onInput={(event) => setToken(event.currentTarget.value)} autocomplete="off" spellcheck={false} data-testid="token" />
        </label>
        <button type="submit" class="button primary wide" disabled={token.trim() === ''} data-testid="sign-in-token">
          Sign in
        </button>
      </form>
      {problem && (
        <p class="notice bad" role="alert">
          {problem}
        </p>
      )}
    </Page>
  );
}
