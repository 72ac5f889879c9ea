// The call as a participant sees it.

import { useEffect, useMemo, useState } from 'preact/hooks';
import type { Visit, VisitState } from '../../sdk';
import { announce } from '../announce';
import { api, useTitle } from '../hook';
import { CameraToggle, MicrophoneToggle, toggleCamera, toggleMicrophone } from '../part/control';
import { Icon } from '../part/icon';
import { Confirm } from '../part/sheet';
import { useShortcuts } from '../part/shortcuts';
import { Stage } from '../part/stage';
import { sound } from '../sound';

export function Call({ visit, state }: { visit: Visit; state: VisitState }) {
  const [leaving, setLeaving] = useState(false);
  const shortcuts = useMemo(
    () => [
      { key: 'm', words: 'Mute or unmute', run: () => toggleMicrophone(visit.local) },
      { key: 'v', words: 'Camera on or off', run: () => toggleCamera(visit.local) },
    ],
    [visit],
  );
  const { sheet, open } = useShortcuts(shortcuts);
  useRecordingSign(visit);
  useTitle('In your visit');

  /** Taking the consent back stops the recording at once; after a reload the stop itself is asked for. */
  const stopRecording = async () => {
    try {
      await visit.consent('REVOKE');
      announce('You took your consent back. The recording stops.');
    } catch {
      if (state.info) await api.stopRecording(state.info.visitId).catch(() => announce('The recording could not be stopped. Please ask for it.', true));
    }
  };

  return (
    <div class="call">
      <Stage visit={visit} state={state}>
        <MicrophoneToggle local={visit.local} />
        <CameraToggle local={visit.local} />
        {state.recording.state === 'on' && (
          <button type="button" class="button" data-testid="revoke" onClick={() => void stopRecording()}>
            <Icon name="stop" />
            Stop recording
          </button>
        )}
        <button type="button" class="button" data-testid="help" onClick={open}>
          <Icon name="help" />
          Help
        </button>
        <button type="button" class="button danger" data-testid="leave" onClick={() => setLeaving(true)}>
          <Icon name="leave" />
          Leave
        </button>
      </Stage>
      {sheet}
      {leaving && (
        <Confirm
          heading="Leave the visit?"
          text="To come back you will need a new link from the practice."
          action="Leave"
          onCancel={() => setLeaving(false)}
          onConfirm={() => visit.leave()}
        />
      )}
    </div>
  );
}

/** Tells the start and the end of a recording by sound and by voice, not only by the sign. */
export function useRecordingSign(visit: Visit): void {
  useEffect(() => {
    let on = visit.state.recording.state === 'on';
    return visit.on('recording', (state) => {
      if (state === 'on' && !on) {
        on = true;
        sound.recording();
        announce('Recording started.', true);
      } else if (state !== 'on' && on) {
        on = false;
        sound.recording();
        announce('Recording stopped.', true);
      }
    });
  }, [visit]);
}
