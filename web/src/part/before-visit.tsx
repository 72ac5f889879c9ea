// What the practice asks of a patient before the visit, one thing at a time: where they are, then each text.

import { useEffect, useState } from 'preact/hooks';
import { Api, ApiError, type DueConsent, type Requirements } from '../../sdk';
import { announce } from '../announce';

const api = new Api();

export function BeforeVisit({ visitId }: { visitId: string }) {
  const [due, setDue] = useState<Requirements | null>(null);
  const [busy, setBusy] = useState(false);
  const [failed, setFailed] = useState<string | null>(null);
  const [declined, setDeclined] = useState(false);

  const look = async () => {
    try {
      setDue(await api.requirements(visitId));
    } catch {
      // Waiting goes on without it: the clinician sees what is missing.
      setDue(null);
    }
  };
  useEffect(() => void look(), [visitId]);

  const act = async (what: () => Promise<unknown>, done: string) => {
    setBusy(true);
    setFailed(null);
    try {
      await what();
      announce(done);
      await look();
    } catch (error) {
      setFailed(error instanceof ApiError && error.status > 0 ? error.detail : 'That did not get through. Please try again.');
    }
    setBusy(false);
  };

  if (!due || due.isComplete) return null;
  const text = due.consents.find((consent) => consent.text !== null);
  return (
    <section class="before-visit" data-testid="before-visit" aria-label="Before your visit">
      {failed && (
        <p class="notice" role="alert">
          {failed}
        </p>
      )}
      {due.isLocationDue ? (
        <Place busy={busy} onSay={(place) => void act(() => api.attestLocation(visitId, place), 'Thank you. Your practice knows where you are.')} />
      ) : declined ? (
        <p data-testid="before-declined">You did not agree. Your practice knows, and talks with you about it. You can also call them.</p>
      ) : text ? (
        <Text
          key={text.type}
          due={text}
          busy={busy}
          onAnswer={(given) =>
            void act(
              async () => {
                await api.answerConsent(text, given);
                setDeclined(!given);
              },
              given ? 'Thank you. You agreed.' : 'You did not agree.',
            )
          }
        />
      ) : null}
    </section>
  );
}

function Place({ busy, onSay }: { busy: boolean; onSay: (place: { stateCode: string; kind: string; address?: string }) => void }) {
  const [state, setState] = useState('');
  const [kind, setKind] = useState('HOME');
  const [address, setAddress] = useState('');
  return (
    <form
      onSubmit={(event) => {
        event.preventDefault();
        onSay({ stateCode: state, kind, ...(address.trim() === '' ? {} : { address: address.trim() }) });
      }}
    >
      <h2>Where are you now?</h2>
      <p class="quiet">So that we can send help to you if something happens.</p>
      <label class="field">
        <span>State</span>
        <select required value={state} data-testid="place-state" autocomplete="address-level1" onChange={(event) => setState(event.currentTarget.value)}>
          <option value="">Choose</option>
          {STATES.map(([code, name]) => (
            <option key={code} value={code}>
              {name}
            </option>
          ))}
        </select>
      </label>
      <label class="field">
        <span>Kind of place</span>
        <select value={kind} data-testid="place-kind" onChange={(event) => setKind(event.currentTarget.value)}>
          <option value="HOME">At home</option>
          <option value="TEMPORARY_LODGING">In a hotel or with somebody</option>
          <option value="VEHICLE">In a car</option>
          <option value="WORKPLACE">At work</option>
          <option value="SCHOOL">At school</option>
          <option value="CLINIC">In a clinic</option>
          <option value="HOSPITAL">In a hospital</option>
          <option value="FACILITY">In a home for care</option>
          <option value="OTHER_NON_FACILITY">Somewhere else</option>
        </select>
      </label>
      <label class="field">
        <span>Address, if you like</span>
        <input value={address} maxLength={300} autocomplete="street-address" data-testid="place-address" onInput={(event) => setAddress(event.currentTarget.value)} />
      </label>
      <button type="submit" class="button primary wide" disabled={busy} data-testid="place-say">
        Continue
      </button>
    </form>
  );
}

function Text({ due, busy, onAnswer }: { due: DueConsent; busy: boolean; onAnswer: (given: boolean) => void }) {
  return (
    <>
      <h2>{TITLES[due.type] ?? 'Please read this'}</h2>
      {/* A text that scrolls has to be reachable without a mouse. */}
      <div class="consent-text" tabIndex={0} role="group" aria-label="What you are asked to agree to" lang={due.text?.locale}>
        {due.text?.body}
      </div>
      <p class="quiet">By agreeing you say that you have read and understood this.</p>
      <div class="row equal">
        <button type="button" class="button" disabled={busy} data-testid="before-yes" onClick={() => onAnswer(true)}>
          I agree
        </button>
        <button type="button" class="button" disabled={busy} data-testid="before-no" onClick={() => onAnswer(false)}>
          I don't agree
        </button>
      </div>
    </>
  );
}

const TITLES: Record<string, string> = {
  GENERAL_TELEHEALTH: 'Being seen by video',
  HIPAA: 'Your health information',
  STATE_SPECIFIC: 'For your state',
};

const STATES: [string, string][] = [
  ['AL', 'Alabama'],
  ['AK', 'Alaska'],
  ['AZ', 'Arizona'],
  ['AR', 'Arkansas'],
  ['CA', 'California'],
  ['CO', 'Colorado'],
  ['CT', 'Connecticut'],
  ['DE', 'Delaware'],
  ['DC', 'District of Columbia'],
  ['FL', 'Florida'],
  ['GA', 'Georgia'],
  ['HI', 'Hawaii'],
  ['ID', 'Idaho'],
  ['IL', 'Illinois'],
  ['IN', 'Indiana'],
  ['IA', 'Iowa'],
  ['KS', 'Kansas'],
  ['KY', 'Kentucky'],
  ['LA', 'Louisiana'],
  ['ME', 'Maine'],
  ['MD', 'Maryland'],
  ['MA', 'Massachusetts'],
  ['MI', 'Michigan'],
  ['MN', 'Minnesota'],
  ['MS', 'Mississippi'],
  ['MO', 'Missouri'],
  ['MT', 'Montana'],
  ['NE', 'Nebraska'],
  ['NV', 'Nevada'],
  ['NH', 'New Hampshire'],
  ['NJ', 'New Jersey'],
  ['NM', 'New Mexico'],
  ['NY', 'New York'],
  ['NC', 'North Carolina'],
  ['ND', 'North Dakota'],
  ['OH', 'Ohio'],
  ['OK', 'Oklahoma'],
  ['OR', 'Oregon'],
  ['PA', 'Pennsylvania'],
  ['RI', 'Rhode Island'],
  ['SC', 'South Carolina'],
  ['SD', 'South Dakota'],
  ['TN', 'Tennessee'],
  ['TX', 'Texas'],
  ['UT', 'Utah'],
  ['VT', 'Vermont'],
  ['VA', 'Virginia'],
  ['WA', 'Washington'],
  ['WV', 'West Virginia'],
  ['WI', 'Wisconsin'],
  ['WY', 'Wyoming'],
];
