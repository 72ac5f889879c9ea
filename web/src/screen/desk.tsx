// The desk: today's visits, who waits and how long, and a visit to try things out.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, ServerClock, type Staff, type VisitView } from '../../sdk';
import { announce } from '../announce';
import { api, useIdle, useTick, useTitle } from '../hook';
import { Recordings } from '../part/recordings';
import { sound } from '../sound';
import { clockTime, patience, statusWords, waitedWords } from '../words';
import { LinkBox, NewVisit } from './new-visit';
import { SignIn } from './sign-in';

type Go = (path: string) => void;

export function Desk({ go }: { go: Go }) {
  const [staff, setStaff] = useState<Staff | 'unknown' | 'none' | 'offline'>('unknown');

  const ask = useCallback(async () => {
    try {
      setStaff(await api.staff());
    } catch (error) {
      setStaff(error instanceof ApiError && error.status === 401 ? 'none' : 'offline');
    }
  }, []);
  useEffect(() => void ask(), [ask]);

  if (staff === 'unknown') return <div class="desk" aria-busy="true" />;
  if (staff === 'none' || staff === 'offline') return <SignIn offline={staff === 'offline'} onSignedIn={() => void ask()} />;
  return (
    <Today
      staff={staff}
      go={go}
      onSignedOut={() => setStaff('none')}
      onSignOut={() => void signOut(() => setStaff('none'))}
    />
  );
}

/** Signs out here, and where the practice's sign-in service has a page for it, there too. */
async function signOut(then: () => void): Promise<void> {
  const next = await api.signOut().catch(() => null);
  if (next) location.assign(next);
  else then();
}

/** How long a desk that nobody touches stays open: as long as the server keeps its session. */
const IDLE_MS = 15 * 60_000;

/** Fresh enough that a patient is never alone for long, cheap enough for a whole clinic. */
const POLL_EVERY_MS = 3_000;
const DAY_MS = 86_400_000;

interface TodayProps {
  staff: Staff;
  go: Go;
  onSignOut: () => void;
  onSignedOut: () => void;
}

function Today({ staff, go, onSignOut, onSignedOut }: TodayProps) {
  useTick(1000);
  useIdle(IDLE_MS, onSignOut, () => void api.staff().catch(() => undefined));
  const [visits, setVisits] = useState<VisitView[] | null>(null);
  const [stale, setStale] = useState(false);
  const [round, setRound] = useState(0);
  const clock = useRef(new ServerClock());
  const arrived = useRef<Set<string> | null>(null);

  useEffect(() => {
    let stop = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const poll = async () => {
      try {
        const midnight = new Date();
        midnight.setHours(0, 0, 0, 0);
        const now = await api.visits(midnight, new Date(midnight.getTime() + DAY_MS), true);
        if (stop) return;
        for (const visit of now) clock.current.learn(visit.serverTime, 500);
        setVisits(now);
        setStale(false);
        noteArrivals(now, arrived);
      } catch (error) {
        if (stop) return;
        if (error instanceof ApiError && error.status === 401) return onSignedOut();
        setStale(true);
      }
      timer = setTimeout(() => void poll(), POLL_EVERY_MS);
    };
    void poll();
    return () => {
      stop = true;
      clearTimeout(timer);
    };
  }, [round, onSignedOut]);

  const all = visits ?? [];
  const waiting = all.filter((visit) => visit.waiting.length > 0).sort((a, b) => sinceOf(a) - sinceOf(b));
  const others = all.filter((visit) => visit.waiting.length === 0);
  useTitle(`${waiting.length > 0 ? `(${waiting.length}) ` : ''}Today`);

  return (
    <main class="desk" data-testid="desk">
      <header class="desk-head">
        <h1>Today</h1>
        <span class="quiet">{staff.name}</span>
        <button type="button" class="button small" data-testid="sign-out" onClick={onSignOut}>
          Sign out
        </button>
      </header>
      {stale && (
        <p class="notice" role="status">
          The list could not be refreshed just now. We keep trying.
        </p>
      )}
      <div class="columns">
        <div class="stack">
          <section class="stack" aria-labelledby="waiting-heading" data-testid="desk-waiting">
            <h2 id="waiting-heading">Waiting ({waiting.length})</h2>
            {visits !== null && waiting.length === 0 && <p class="quiet">Nobody is waiting.</p>}
            <ul class="cards">
              {waiting.map((visit) => (
                <WaitingCard key={visit.visitId} visit={visit} clock={clock.current} go={go} />
              ))}
            </ul>
          </section>
          <section class="stack" aria-labelledby="visits-heading">
            <h2 id="visits-heading">Visits</h2>
            {visits === null && <div class="skeleton" />}
            {visits !== null && others.length === 0 && <p class="quiet">No other visits today.</p>}
            <ul class="cards">
              {others.map((visit) => (
                <VisitCard key={visit.visitId} visit={visit} staff={staff} go={go} />
              ))}
            </ul>
          </section>
        </div>
        <NewVisit staff={staff} onCreated={() => setRound((n) => n + 1)} />
      </div>
    </main>
  );
}

function sinceOf(visit: VisitView): number {
  return Math.min(...visit.waiting.map((entry) => Date.parse(entry.since)));
}

/** A chime and a word for each new arrival; the first look is not news. */
function noteArrivals(now: VisitView[], known: { current: Set<string> | null }): void {
  const keys = new Set(now.flatMap((visit) => visit.waiting.map((entry) => `${entry.participantId} ${entry.since}`)));
  const before = known.current;
  known.current = keys;
  if (before === null) return;
  if (Array.from(keys).some((key) => !before.has(key))) {
    sound.arrived();
    announce('Somebody has come to the waiting room.');
  }
}

function WaitingCard({ visit, clock, go }: { visit: VisitView; clock: ServerClock; go: Go }) {
  return (
    <li class="card waits" data-testid="waiting-card" data-visit={visit.visitId}>
      {visit.waiting.map((entry) => {
        const seconds = clock.secondsSince(entry.since);
        return (
          <div key={entry.participantId}>
            <p class="card-head">
              <span class="when">{clockTime(visit.scheduledAt)}</span>
              <span class="who">{entry.name}</span>
              <span class={`wait ${patience(seconds)}`}>{waitedWords(seconds)}</span>
            </p>
            <p class="quiet">
              Camera {readyWords(entry.cameraOk)} · Microphone {readyWords(entry.micOk)}
            </p>
          </div>
        );
      })}
      <button type="button" class="button primary" data-testid="open-visit" onClick={() => go(`/visit?id=${visit.visitId}`)}>
        Open the visit<span class="unseen"> with {visit.patient.name}</span>
      </button>
    </li>
  );
}

export function readyWords(ok: boolean | null): string {
  return ok === null ? 'not checked' : ok ? 'ready' : 'not working';
}

const OPEN = new Set(['SCHEDULED', 'WAITING', 'IN_PROGRESS']);

function VisitCard({ visit, staff, go }: { visit: VisitView; staff: Staff; go: Go }) {
  const [showing, setShowing] = useState(false);
  const isOpen = OPEN.has(visit.status);
  const nameOf = (id: string) => (id === visit.clinician.participantId ? visit.clinician.name : visit.patient.name);
  return (
    <li class="card" data-testid="visit-card" data-visit={visit.visitId} data-status={visit.status}>
      <p class="card-head">
        <span class="when">{clockTime(visit.scheduledAt)}</span>
        <span class="who">{visit.patient.name}</span>
        <span class="quiet">{statusWords(visit.status)}</span>
      </p>
      <div class="row">
        {isOpen && staff.role === 'clinician' && (
          <button type="button" class="button small" data-testid="open-visit" onClick={() => go(`/visit?id=${visit.visitId}`)}>
            Open<span class="unseen"> the visit with {visit.patient.name}</span>
          </button>
        )}
        {isOpen && <LinkBox visitId={visit.visitId} who={visit.patient.name} />}
        {visit.recordings > 0 && (
          <button type="button" class="button small" aria-expanded={showing} data-testid="show-recordings" onClick={() => setShowing(!showing)}>
            Recordings ({visit.recordings})<span class="unseen"> of {visit.patient.name}</span>
          </button>
        )}
      </div>
      {showing && <Recordings visitId={visit.visitId} nameOf={nameOf} />}
    </li>
  );
}
