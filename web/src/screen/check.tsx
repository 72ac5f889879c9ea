// The device check: see yourself, hear that you are heard, choose other devices, then join.

import { useCallback, useEffect, useState } from 'preact/hooks';
import type { DeviceList, LocalMedia } from '../../sdk';
import { useLocal } from '../hook';
import { LevelMeter } from '../part/meter';
import { Page } from '../part/page';
import { StreamVideo } from '../part/video';
import { sound } from '../sound';
import { Blocked } from './blocked';

export interface CheckProps {
  local: LocalMedia;
  joining?: boolean;
  notice?: string;
  /** Without it there is nothing to join yet. */
  onJoin?: () => void;
}

export function Check({ local, joining = false, notice, onJoin }: CheckProps) {
  useLocal(local);
  const [devices, setDevices] = useState<DeviceList>({ microphones: [], cameras: [], speakers: [] });
  const [asking, setAsking] = useState(true);
  const [silent, setSilent] = useState(false);
  const [played, setPlayed] = useState(false);

  const list = useCallback(async () => setDevices(await local.devices()), [local]);
  const open = useCallback(async () => {
    setAsking(true);
    await local.open();
    await list();
    setAsking(false);
  }, [local, list]);

  useEffect(() => {
    void open();
    const plugged = () => void list();
    navigator.mediaDevices?.addEventListener('devicechange', plugged);
    return () => navigator.mediaDevices?.removeEventListener('devicechange', plugged);
  }, [open, list]);

  if (!asking && local.microphoneProblem && local.cameraProblem) {
    return <Blocked why={local.microphoneProblem} onRetry={() => void open()} joining={joining} {...(onJoin ? { onJoin } : {})} />;
  }

  return (
    <Page heading="Check your camera and microphone" testid="check">
      {notice && <p class="lead">{notice}</p>}
      <div class="preview">
        {local.camera ? (
          <StreamVideo stream={local.stream} muted mirrored testid="self-view" label="Your own video" />
        ) : (
          <p>{asking ? 'Starting your camera…' : 'No picture from a camera'}</p>
        )}
      </div>
      {asking && <p class="quiet">Your browser may ask if we can use your camera and microphone. Please allow both.</p>}
      {!asking && local.cameraProblem && <p class="notice">{cameraWords(local.cameraProblem)}</p>}
      {!asking && local.microphoneProblem && <p class="notice">{microphoneWords(local.microphoneProblem)}</p>}

      {local.microphone && (
        <div class="stack">
          <p>Say something: the bar should move.</p>
          <LevelMeter local={local} onSilence={setSilent} />
          {silent && (
            <div class="notice" role="status">
              <h2>We can't hear you</h2>
              <p>Pick another microphone below, or check that yours is not switched off.</p>
            </div>
          )}
        </div>
      )}

      {devices.microphones.length > 0 && (
        <label class="field">
          Microphone
          <select
            data-testid="mic-select"
            value={local.microphone?.getSettings().deviceId ?? ''}
            onChange={(event) => void local.useMicrophone(event.currentTarget.value)}
          >
            {devices.microphones.map((device, index) => (
              <option key={device.deviceId} value={device.deviceId}>
                {device.label || `Microphone ${index + 1}`}
              </option>
            ))}
          </select>
        </label>
      )}
      {devices.cameras.length > 0 && (
        <label class="field">
          Camera
          <select
            data-testid="camera-select"
            value={local.camera?.getSettings().deviceId ?? ''}
            onChange={(event) => void local.useCamera(event.currentTarget.value)}
          >
            {devices.cameras.map((device, index) => (
              <option key={device.deviceId} value={device.deviceId}>
                {device.label || `Camera ${index + 1}`}
              </option>
            ))}
          </select>
        </label>
      )}
      <div class="row">
        <button
          type="button"
          class="button"
          data-testid="play-sound"
          onClick={() => {
            sound.test();
            setPlayed(true);
          }}
        >
          Play a test sound
        </button>
        {played && (
          <span role="status" class="quiet">
            Did you hear it? If not, turn up the volume.
          </span>
        )}
      </div>

      {onJoin && (
        <button type="button" class="button primary wide large" data-testid="join" disabled={joining || asking} onClick={onJoin}>
          {joining ? 'Joining…' : 'Join the visit'}
        </button>
      )}
    </Page>
  );
}

function cameraWords(problem: string): string {
  if (problem === 'blocked') return 'Your browser does not let us use your camera. You can join with sound only.';
  if (problem === 'busy') return 'Another program is using your camera. Close it, or join with sound only.';
  return 'We found no camera. You can join with sound only.';
}

function microphoneWords(problem: string): string {
  if (problem === 'blocked') return 'Your browser does not let us use your microphone. Nobody will hear you until you allow it.';
  if (problem === 'busy') return 'Another program, or a phone call, is using your microphone.';
  return 'We found no microphone. Nobody will hear you until you connect one.';
}
