// The end of a seat, whatever the reason; a refusal is told in neutral words.

import type { EndReason } from '../../sdk';
import { Page } from '../part/page';

type Why = EndReason | 'unauthenticated';

const WORDS: Readonly<Record<Why, { heading: string; text: string; testid: string }>> = {
  completed: { heading: 'Your visit has ended', text: 'Thank you. You can close this page now.', testid: 'ended' },
  left: {
    heading: 'You left the visit',
    text: 'You can close this page now. To come back, call the practice and ask for a new link.',
    testid: 'left',
  },
  denied: { heading: 'The practice asked you to call', text: 'They will help you on the phone.', testid: 'denied' },
  removed: { heading: 'The practice asked you to call', text: 'They will help you on the phone.', testid: 'denied' },
  revoked: { heading: 'The practice asked you to call', text: 'They will help you on the phone.', testid: 'denied' },
  superseded: {
    heading: 'Your visit is open in another place',
    text: 'You opened it in another window or on another device. You can close this page.',
    testid: 'superseded',
  },
  timed_out: {
    heading: 'We are sorry for the long wait',
    text: 'Open the page again to wait on, or call the practice.',
    testid: 'timed-out',
  },
  failed: { heading: 'The visit stopped', text: 'Open the page again to come back.', testid: 'failed' },
  unauthenticated: {
    heading: 'This page has no open visit',
    text: 'Open the link in the newest message from the practice.',
    testid: 'no-seat',
  },
};

export function Ended({ why }: { why: Why }) {
  const words = WORDS[why];
  return (
    <Page heading={words.heading} testid={words.testid}>
      <p class="lead">{words.text}</p>
      {(why === 'superseded' || why === 'failed' || why === 'timed_out') && (
        <button type="button" class="button primary wide large" data-testid="come-back" onClick={() => location.reload()}>
          {why === 'superseded' ? 'Use it here instead' : 'Come back to the visit'}
        </button>
      )}
    </Page>
  );
}
