// Toggles of a call: they keep their place, change their word, and say their state to assistive technology.

import type { LocalMedia } from '../../sdk';
import { announce } from '../announce';
import { useLocal } from '../hook';
import { Icon } from './icon';

export function toggleMicrophone(local: LocalMedia): void {
  const on = !local.microphoneOn;
  if (on && !local.microphone) void local.open({ audio: true, video: false });
  local.setMicrophone(on);
  announce(on ? 'Your microphone is on.' : 'You are muted.');
}

export function toggleCamera(local: LocalMedia): void {
  const on = !local.cameraOn;
  void local.setCamera(on).then(() => announce(local.cameraOn ? 'Your camera is on.' : 'Your camera is off.'));
}

export function MicrophoneToggle({ local }: { local: LocalMedia }) {
  useLocal(local);
  const muted = !local.microphoneOn;
  return (
    <button type="button" class="button" aria-pressed={muted} data-testid="toggle-mic" onClick={() => toggleMicrophone(local)}>
      <Icon name={muted ? 'micOff' : 'mic'} />
      {muted ? 'Unmute' : 'Mute'}
    </button>
  );
}

export function CameraToggle({ local }: { local: LocalMedia }) {
  useLocal(local);
  const off = !local.cameraOn;
  return (
    <button type="button" class="button" aria-pressed={off} data-testid="toggle-camera" onClick={() => toggleCamera(local)}>
      <Icon name={off ? 'cameraOff' : 'camera'} />
      {off ? 'Start camera' : 'Stop camera'}
    </button>
  );
}
