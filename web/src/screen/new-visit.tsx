// Making a visit and its link from the browser, so that a newcomer can hold one within a minute.

import { useState } from 'preact/hooks';
import { ApiError, type JoinLink, type Staff } from '../../sdk';
import { announce } from '../announce';
import { api } from '../hook';
import { clockTime } from '../words';

export function NewVisit({ staff, onCreated }: { staff: Staff; onCreated: () => void }) {
  const [name, setName] = useState('');
  const [busy, setBusy] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const [made, setMade] = useState<{ visitId: string; link: JoinLink; name: string } | null>(null);

  const create = async () => {
    setBusy(true);
    setProblem(null);
    try {
      const patientName = name.trim() || 'Test patient';
      const visit = await api.createVisit({
        patientId: `test-${crypto.randomUUID()}`,
        clinicianId: staff.sub,
        scheduledAt: new Date().toISOString(),
        duration: 30,
        patientName,
        clinicianName: staff.name,
        recordingPolicy: 'OPT_IN',
      });
      setMade({ visitId: visit.visitId, link: await api.patientLink(visit.visitId), name: patientName });
      setName('');
      announce('The visit is made. Its link is shown.');
      onCreated();
    } catch (error) {
      setProblem(error instanceof ApiError ? error.detail : 'The visit could not be made.');
    } finally {
      setBusy(false);
    }
  };

  if (staff.role !== 'clinician') return null;
  return (
    <section class="card" aria-labelledby="new-heading" data-testid="new-visit">
      <h2 id="new-heading">Start a visit now</h2>
      <form
        class="stack"
        onSubmit={(event) => {
          event.preventDefault();
          void create();
        }}
      >
        <label class="field">
          Patient's name
          <input value={name} onInput={(event) => setName(event.currentTarget.value)} placeholder="Test patient" autocomplete="off" maxLength={80} data-testid="patient-name" />
        </label>
        <button type="submit" class="button primary" disabled={busy} data-testid="create-visit">
          Make a visit and its link
        </button>
      </form>
      {problem && (
        <p class="notice bad" role="alert">
          {problem}
        </p>
      )}
      {made && <LinkView link={made.link} who={made.name} />}
    </section>
  );
}

/** A button that mints a new link; the one before it stops working. */
export function LinkBox({ visitId, who }: { visitId: string; who: string }) {
  const [link, setLink] = useState<JoinLink | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const mint = async () => {
    try {
      setLink(await api.patientLink(visitId));
      setProblem(null);
    } catch (error) {
      setProblem(error instanceof ApiError ? error.detail : 'No link could be made.');
    }
  };
  return (
    <>
      <button type="button" class="button small" data-testid="mint-link" onClick={() => void mint()}>
        New link<span class="unseen"> for {who}</span>
      </button>
      {problem && <p class="notice bad">{problem}</p>}
      {link && <LinkView link={link} who={who} />}
    </>
  );
}

function LinkView({ link, who }: { link: JoinLink; who: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(link.url);
      setCopied(true);
      announce('The link is copied.');
    } catch {
      announce('Copying is not allowed here. Select the link and copy it.');
    }
  };
  return (
    <div class="link-box" data-testid="link-box">
      <p>
        Link for {who}: <a href={link.url} target="_blank" rel="noreferrer" data-testid="link-url">{link.url}</a>
      </p>
      <p class="quiet">
        Code <code data-testid="short-code">{link.shortCode}</code>. Works once, until {clockTime(link.expiresAt)}. Open it in another browser window to be the patient.
      </p>
      <button type="button" class="button small" data-testid="copy-link" onClick={() => void copy()}>
        {copied ? 'Copied' : 'Copy the link'}
      </button>
    </div>
  );
}
