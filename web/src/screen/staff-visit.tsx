// The clinician's side of one visit: who waits, the call, the recording, and what is left when it is over.

import { useEffect, useMemo, useState } from 'preact/hooks';
import { ApiError, Visit, type LocalMedia, type VisitState, type VisitView } from '../../sdk';
import { announce } from '../announce';
import { expose } from '../debug';
import { api, useLocal, useTitle, useVisit } from '../hook';
import { CameraToggle, MicrophoneToggle, toggleCamera, toggleMicrophone } from '../part/control';
import { Icon } from '../part/icon';
import { Page } from '../part/page';
import { RecordControl, useRecordControl } from '../part/record';
import { Recordings } from '../part/recordings';
import { Confirm } from '../part/sheet';
import { useShortcuts } from '../part/shortcuts';
import { Stage } from '../part/stage';
import { WaitingPanel } from '../part/waiting-panel';
import { sound } from '../sound';
import { restartWords, statusWords } from '../words';
import { useRecordingSign } from './call';

type Go = (path: string) => void;

export interface StaffVisitProps {
  visitId: string;
  local: LocalMedia;
  go: Go;
}

const FINAL = new Set(['COMPLETED', 'NO_SHOW', 'CANCELLED', 'TECHNICAL']);

export function StaffVisit({ visitId, local, go }: StaffVisitProps) {
  const [view, setView] = useState<VisitView | null>(null);
  const [visit, setVisit] = useState<Visit | null>(null);
  const [problem, setProblem] = useState<string | null>(null);

  useEffect(() => {
    let gone = false;
    let made: Visit | null = null;
    const enter = async () => {
      try {
        const found = await api.visit(visitId);
        if (gone) return;
        setView(found);
        if (FINAL.has(found.status)) return;
        await local.open();
        if (gone) return;
        made = new Visit({ visitId, local });
        expose({ visit: made });
        made.start();
        setVisit(made);
      } catch (error) {
        if (gone) return;
        if (error instanceof ApiError && error.status === 401) go('/desk');
        else setProblem(error instanceof ApiError ? error.detail : 'The visit could not be opened.');
      }
    };
    void enter();
    return () => {
      gone = true;
      made?.leave();
      local.close();
    };
  }, [visitId, local, go]);

  if (problem !== null) {
    return (
      <Page heading="We can't open this visit" testid="visit-problem" help={false}>
        <p class="lead">{problem}</p>
        <BackToDesk go={go} />
      </Page>
    );
  }
  if (view && FINAL.has(view.status)) return <Over view={view} heading={`This visit: ${statusWords(view.status)}`} go={go} />;
  return view && visit ? <Live visit={visit} view={view} go={go} /> : <div class="call" aria-busy="true" />;
}

function Live({ visit, view, go }: { visit: Visit; view: VisitView; go: Go }) {
  const state = useVisit(visit);
  const local = useLocal(visit.local);
  const [ending, setEnding] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const record = useRecordControl(visit, state, setProblem);
  useRecordingSign(visit);
  useTitle(`${state.waitingList.length > 0 ? `(${state.waitingList.length}) ` : ''}Visit with ${view.patient.name}`);

  useEffect(
    () =>
      visit.on('arrived', () => {
        sound.arrived();
        announce('Somebody has come to the waiting room.');
      }),
    [visit],
  );

  const { run } = record;
  const shortcuts = useMemo(
    () => [
      { key: 'm', words: 'Mute or unmute', run: () => toggleMicrophone(visit.local) },
      { key: 'v', words: 'Camera on or off', run: () => toggleCamera(visit.local) },
      { key: 'r', words: 'Ask to record, start or stop recording', run },
    ],
    [visit, run],
  );
  const { sheet, open } = useShortcuts(shortcuts);

  const end = async () => {
    setEnding(false);
    try {
      await api.endVisit(view.visitId);
    } catch (error) {
      setProblem(error instanceof ApiError ? error.detail : 'The visit could not be ended.');
    }
  };

  if (state.phase === 'ended') return <AfterCall state={state} view={view} go={go} />;
  return (
    <div class="call with-panel" data-testid="staff-call" data-link={state.link}>
      <Stage visit={visit} state={state} alone={state.waitingList.length > 0 ? 'Somebody is waiting: admit them when you are ready.' : 'Nobody is here yet.'}>
        <MicrophoneToggle local={visit.local} />
        <CameraToggle local={visit.local} />
        <RecordControl control={record} />
        <button type="button" class="button" data-testid="help" onClick={open}>
          <Icon name="help" />
          Help
        </button>
        <button type="button" class="button danger" data-testid="end-visit" onClick={() => setEnding(true)}>
          <Icon name="leave" />
          End
        </button>
      </Stage>
      <aside class="panel" aria-label="Visit">
        {problem && (
          <p class="plate" role="alert" data-testid="problem">
            {problem}
          </p>
        )}
        {(local.cameraProblem ?? local.microphoneProblem) && (
          <p class="plate" role="status">
            {local.microphoneProblem ? 'Nobody can hear you: allow the microphone in your browser, then reload.' : 'Nobody can see you: allow the camera in your browser, then reload.'}
          </p>
        )}
        {state.restartsAt && <p role="status" data-testid="restarts">{restartWords(state.restartsAt)}</p>}
        <WaitingPanel visit={visit} state={state} onProblem={setProblem} />
        {record.words && <p role="status" data-testid="record-words">{record.words}</p>}
        {(state.stored.length > 0 || state.recording.state !== 'off') && (
          <Recordings visitId={view.visitId} nameOf={(id) => nameIn(view, id)} news={state.stored.length + (state.recording.state === 'off' ? 0 : 100)} />
        )}
        <BackToDesk go={go} />
      </aside>
      {sheet}
      {ending && (
        <Confirm
          heading="End this visit?"
          text={`This ends the visit with ${view.patient.name} for everyone.`}
          action="End for everyone"
          onCancel={() => setEnding(false)}
          onConfirm={() => void end()}
        />
      )}
    </div>
  );
}

function AfterCall({ state, view, go }: { state: VisitState; view: VisitView; go: Go }) {
  const heading =
    state.ended === 'superseded'
      ? 'This visit is open in another window'
      : state.ended === 'unauthenticated'
        ? 'Please sign in again'
        : state.ended === 'completed'
          ? 'The visit has ended'
          : 'You left the visit';
  return <Over view={view} heading={heading} go={go} />;
}

function Over({ view, heading, go }: { view: VisitView; heading: string; go: Go }) {
  return (
    <Page heading={heading} testid="after-call" help={false}>
      <p class="lead">With {view.patient.name}</p>
      <Recordings visitId={view.visitId} nameOf={(id) => nameIn(view, id)} />
      <BackToDesk go={go} />
    </Page>
  );
}

function nameIn(view: VisitView, participantId: string): string {
  if (participantId === view.patient.participantId) return view.patient.name;
  return participantId === view.clinician.participantId ? view.clinician.name : 'Somebody else';
}

function BackToDesk({ go }: { go: Go }) {
  return (
    <a
      class="button"
      href="/desk"
      data-testid="to-desk"
      onClick={(event) => {
        event.preventDefault();
        go('/desk');
      }}
    >
      Back to today
    </a>
  );
}
