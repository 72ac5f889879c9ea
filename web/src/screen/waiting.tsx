// The waiting room: true waiting time by the server's clock, the place in the queue, and nothing to worry about.

import type { Visit, VisitState } from '../../sdk';
import { useLocal, useTick } from '../hook';
import { BeforeVisit } from '../part/before-visit';
import { CameraToggle, MicrophoneToggle } from '../part/control';
import { Page } from '../part/page';
import { StreamVideo } from '../part/video';
import { waited } from '../words';
import { Trouble } from '../part/trouble';

export function Waiting({ visit, state, onCheck }: { visit: Visit; state: VisitState; onCheck: () => void }) {
  useTick(1000);
  const local = useLocal(visit.local);
  const seconds = state.waiting ? visit.clock.secondsSince(state.waiting.since) : null;
  const clinician = state.info?.clinicianName ?? 'Your clinician';
  return (
    <Page heading="You're in the waiting room" testid="waiting">
      <Trouble state={state} />
      <p class="lead">{state.link === 'open' ? `${clinician} knows you are here.` : 'Your place is kept.'}</p>
      <ul class="facts">
        {seconds !== null && (
          <li>
            Waiting <strong data-testid="waited" data-seconds={seconds}>{waited(seconds)}</strong>
          </li>
        )}
        {state.waiting && <li data-testid="position">{placeWords(state.waiting.position)}</li>}
      </ul>
      {state.info && <BeforeVisit visitId={state.info.visitId} />}
      {local.cameraOn && (
        <div class="preview">
          <StreamVideo stream={local.stream} muted mirrored testid="self-view" label="Your own video" />
        </div>
      )}
      <p class="quiet">Nobody can see or hear you yet. Keep this page open: the visit starts here by itself.</p>
      <div class="row equal">
        <CameraToggle local={local} />
        <MicrophoneToggle local={local} />
      </div>
      <div class="row equal">
        <button type="button" class="button" data-testid="check-devices" onClick={onCheck}>
          Check devices
        </button>
        <button type="button" class="button" data-testid="leave" onClick={() => visit.leave()}>
          Leave
        </button>
      </div>
    </Page>
  );
}

function placeWords(position: number): string {
  if (position <= 1) return 'You are next';
  return position === 2 ? 'One person is before you' : `${position - 1} people are before you`;
}
