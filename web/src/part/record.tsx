// The one button that leads from asking for consent to a stopped recording, and the words beside it.

import { useCallback } from 'preact/hooks';
import { ApiError, type Visit, type VisitState } from '../../sdk';
import { announce } from '../announce';
import { Icon } from './icon';

export interface RecordControlState {
  label: string;
  words: string | null;
  busy: boolean;
  on: boolean;
  allowed: boolean;
  run: () => void;
}

export function useRecordControl(visit: Visit, state: VisitState, onProblem: (text: string | null) => void): RecordControlState {
  const { recording, roster, info } = state;
  const allowed = info?.recordingPolicy !== 'NEVER';
  const missing = roster.filter((entry) => entry.consent !== 'SIGNED');
  const agreed = roster.length > 0 && missing.length === 0;
  const declined = missing.filter((entry) => entry.consent === 'DECLINED' || entry.consent === 'REVOKED');
  const busy = recording.state === 'starting' || recording.state === 'stopping' || state.link !== 'open';
  const on = recording.state === 'on' || recording.state === 'stopping';

  const run = useCallback(() => {
    if (!allowed || busy) return;
    onProblem(null);
    const act = on ? visit.stopRecording() : agreed ? visit.startRecording() : visit.requestConsent();
    act.catch((error: unknown) => {
      const text = error instanceof ApiError ? error.detail : 'That did not work.';
      onProblem(text);
      announce(text);
    });
  }, [visit, allowed, busy, on, agreed, onProblem]);

  const label = on ? 'Stop recording' : recording.state === 'starting' ? 'Starting…' : agreed ? 'Start recording' : 'Ask to record';
  let words: string | null = null;
  if (recording.state === 'starting') words = 'The recording is starting.';
  else if (on) words = 'This visit is being recorded.';
  else if (declined.length > 0) words = `No consent from ${declined.map((entry) => entry.name).join(', ')}. The visit is not recorded.`;
  else if (agreed) words = 'Everyone here agreed to the recording.';
  else if (roster.some((entry) => entry.consent === 'SIGNED') || state.consentRequest) {
    words = `Waiting for the answer of ${missing.map((entry) => entry.name).join(', ')}.`;
  }
  return { label, words, busy, on, allowed, run };
}

export function RecordControl({ control }: { control: RecordControlState }) {
  if (!control.allowed) return null;
  return (
    <button type="button" class="button" data-testid="record" aria-pressed={control.on} disabled={control.busy} onClick={control.run}>
      <Icon name={control.on ? 'stop' : 'record'} />
      {control.label}
    </button>
  );
}
