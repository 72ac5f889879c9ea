// How staff come in: by the practice's sign-in service, by a portal's access token, or in development as one of the demonstration people.

import { useEffect, useState } from 'preact/hooks';
import { ApiError, type Staff } from '../../sdk';
import { api } from '../hook';
import { Page } from '../part/page';

/** Why the way back from the sign-in service ended here, in words. */
function refusal(reason: string | null): string | null {
  switch (reason) {
    case null:
      return null;
    case 'EXPIRED':
      return 'That took too long, or began in another window. Please sign in again.';
    case 'NOT_FRESH':
      return 'Please sign in again, with your second factor.';
    case 'UNKNOWN_PERSON':
    case 'UNKNOWN_ORGANIZATION':
      return 'You are signed in, but you have no role here. Ask whoever runs Anteroom at your practice.';
    default:
      return 'Signing in did not work. Please try again.';
  }
}

export function SignIn({ offline, onSignedIn }: { offline: boolean; onSignedIn: () => void }) {
  const [people, setPeople] = useState<Staff[]>([]);
  const [token, setToken] = useState('');
  const [problem, setProblem] = useState<string | null>(() => refusal(new URLSearchParams(location.search).get('signIn')));
  const [hasProvider, setHasProvider] = useState(false);

  useEffect(() => {
    // Outside development this route does not exist, and then there is nobody to show.
    api.demoUsers().then(setPeople, () => setPeople([]));
    api.hasProvider().then(setHasProvider, () => setHasProvider(false));
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
      {hasProvider && (
        <a class="button primary wide" href="/auth/login?returnTo=/desk" data-testid="sign-in-provider">
          Sign in with your practice
        </a>
      )}
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
