// Who is at the door and who is inside: admit is one press, everything that turns somebody away asks once.

import { useState } from 'preact/hooks';
import { ApiError, type Visit, type VisitState, type WaitingEntry } from '../../sdk';
import { announce } from '../announce';
import { useTick } from '../hook';
import { patience, waitedWords } from '../words';
import { Confirm } from './sheet';

export interface WaitingPanelProps {
  visit: Visit;
  state: VisitState;
  onProblem: (text: string | null) => void;
}

interface Question {
  heading: string;
  text: string;
  action: string;
  run: () => Promise<void>;
}

export function WaitingPanel({ visit, state, onProblem }: WaitingPanelProps) {
  useTick(1000);
  const [question, setQuestion] = useState<Question | null>(null);
  const [menuOf, setMenuOf] = useState<string | null>(null);
  const others = state.roster.filter((entry) => entry.participantId !== state.you?.participantId);

  const attempt = async (run: () => Promise<void>) => {
    setQuestion(null);
    setMenuOf(null);
    onProblem(null);
    try {
      await run();
    } catch (error) {
      onProblem(error instanceof ApiError ? error.detail : 'That did not work.');
    }
  };

  const admit = (entry: WaitingEntry) =>
    attempt(async () => {
      performance.mark('anteroom:admit-click');
      await visit.admit(entry.participantId);
      announce(`${entry.name} is in the visit.`);
    });

  const deny = (entry: { participantId: string; name: string }): Question => ({
    heading: `Do not admit ${entry.name}?`,
    text: `${entry.name} is asked to call the practice. The link will not work again.`,
    action: 'Do not admit',
    run: () => visit.deny(entry.participantId),
  });
  const sendBack = (entry: { participantId: string; name: string }): Question => ({
    heading: `Send ${entry.name} back to the waiting room?`,
    text: `${entry.name} waits again until you admit them.`,
    action: 'Send back',
    run: () => visit.sendBack(entry.participantId),
  });
  const remove = (entry: { participantId: string; name: string }): Question => ({
    heading: `Remove ${entry.name} from the visit?`,
    text: `${entry.name} is asked to call the practice. The link will not work again.`,
    action: 'Remove',
    run: () => visit.remove(entry.participantId),
  });

  return (
    <section class="stack" aria-labelledby="door-heading" data-testid="waiting-panel">
      <h2 id="door-heading">Waiting ({state.waitingList.length})</h2>
      {state.waitingList.length === 0 && <p>Nobody is waiting.</p>}
      <ul class="facts">
        {state.waitingList.map((entry) => {
          const seconds = visit.clock.secondsSince(entry.since);
          return (
            <li key={entry.participantId} class="stack" data-testid="waiting-entry" data-participant={entry.participantId}>
              <p>
                <strong>{entry.name}</strong> <span class={`wait ${patience(seconds)}`}>{waitedWords(seconds)}</span>
                <br />
                Camera {deviceWords(entry.camera)} · Microphone {deviceWords(entry.microphone)}
              </p>
              <div class="row">
                <button type="button" class="button primary" data-testid="admit" onClick={() => void admit(entry)}>
                  Admit<span class="unseen"> {entry.name}</span>
                </button>
                <button
                  type="button"
                  class="button"
                  data-testid="more"
                  aria-expanded={menuOf === entry.participantId}
                  aria-label={`More for ${entry.name}`}
                  onClick={() => setMenuOf(menuOf === entry.participantId ? null : entry.participantId)}
                >
                  …
                </button>
                {menuOf === entry.participantId && (
                  <button type="button" class="button" data-testid="deny" onClick={() => setQuestion(deny(entry))}>
                    Do not admit
                  </button>
                )}
              </div>
            </li>
          );
        })}
      </ul>
      {others.length > 0 && <h2>In the visit</h2>}
      <ul class="facts">
        {others.map((entry) => (
          <li key={entry.participantId} class="stack" data-testid="inside-entry" data-consent={entry.consent}>
            <p>
              <strong>{entry.name}</strong>
              {entry.connected ? '' : ' · connection lost, the seat is kept'}
              <br />
              Recording: {consentWords(entry.consent)}
            </p>
            <div class="row">
              <button
                type="button"
                class="button"
                data-testid="mute-other"
                aria-pressed={entry.mutedByClinician.includes('microphone')}
                onClick={() => void attempt(() => visit.mute(entry.participantId, 'microphone', !entry.mutedByClinician.includes('microphone')))}
              >
                {entry.mutedByClinician.includes('microphone') ? 'Unmute' : 'Mute'}
                <span class="unseen"> {entry.name}</span>
              </button>
              <button
                type="button"
                class="button"
                data-testid="more-inside"
                aria-expanded={menuOf === entry.participantId}
                aria-label={`More for ${entry.name}`}
                onClick={() => setMenuOf(menuOf === entry.participantId ? null : entry.participantId)}
              >
                …
              </button>
              {menuOf === entry.participantId && (
                <>
                  <button type="button" class="button" data-testid="send-back" onClick={() => setQuestion(sendBack(entry))}>
                    Send back
                  </button>
                  <button type="button" class="button" data-testid="remove" onClick={() => setQuestion(remove(entry))}>
                    Remove
                  </button>
                </>
              )}
            </div>
          </li>
        ))}
      </ul>
      {question && (
        <Confirm
          heading={question.heading}
          text={question.text}
          action={question.action}
          onCancel={() => setQuestion(null)}
          onConfirm={() => void attempt(question.run)}
        />
      )}
    </section>
  );
}

function deviceWords(ok: boolean | null): string {
  return ok === null ? 'not checked' : ok ? 'ready' : 'not working';
}

function consentWords(consent: string): string {
  if (consent === 'SIGNED') return 'agreed';
  if (consent === 'DECLINED') return 'did not agree';
  return consent === 'REVOKED' ? 'took the consent back' : 'not asked or no answer yet';
}
