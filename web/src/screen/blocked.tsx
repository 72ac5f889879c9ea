// Neither camera nor microphone may be used: how to allow them in this browser, and ways to go on without.

import { useState } from 'preact/hooks';
import type { DeviceProblem } from '../../sdk';
import { Page } from '../part/page';

export interface BlockedProps {
  why: DeviceProblem;
  joining: boolean;
  onRetry: () => void;
  onJoin?: () => void;
}

export function Blocked({ why, joining, onRetry, onJoin }: BlockedProps) {
  const [sure, setSure] = useState(false);
  return (
    <Page heading="Let us use your camera and microphone" testid="blocked">
      {why === 'blocked' ? (
        <ol class="steps">
          {stepsFor(navigator.userAgent).map((step) => (
            <li key={step}>{step}</li>
          ))}
        </ol>
      ) : (
        <p class="lead">{why === 'busy' ? 'Another program is using them. Close it, then try again.' : 'We found none on this device. Connect them, then try again.'}</p>
      )}
      <button type="button" class="button primary wide large" data-testid="retry" onClick={onRetry}>
        Try again
      </button>
      {onJoin && (
        // A program that opens links and presses their buttons has no camera either. It does not tick boxes, so it spends no link.
        <>
          <label class="choice">
            <input
              type="checkbox"
              data-testid="sure-without"
              checked={sure}
              onChange={(event) => setSure(event.currentTarget.checked)}
            />
            I want to join without being seen or heard
          </label>
          <button type="button" class="button wide" data-testid="join-without" disabled={joining || !sure} onClick={onJoin}>
            Join without camera and microphone
          </button>
        </>
      )}
    </Page>
  );
}

function stepsFor(agent: string): string[] {
  if (/iPhone|iPad/.test(agent)) {
    return ['Tap “aA” or the page icon beside the address.', 'Tap “Website Settings”.', 'Set Camera and Microphone to “Allow”.', 'Tap “Try again” below.'];
  }
  if (/Android/.test(agent)) {
    return ['Tap the icon at the left of the address.', 'Tap “Permissions”.', 'Allow Camera and Microphone.', 'Tap “Try again” below.'];
  }
  if (/Firefox/.test(agent)) {
    return ['Click the crossed-out camera at the left of the address.', 'Remove both blocks with the ✕.', 'Press “Try again” below and choose “Allow”.'];
  }
  return ['Click the icon at the left of the address.', 'Switch on Camera and Microphone.', 'Press “Try again” below.'];
}
