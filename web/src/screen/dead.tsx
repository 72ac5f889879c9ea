// Links that do not open: each says what happened and what to do now, never why in codes.

import type { ApiError } from '../../sdk';
import { CallForHelp, Page } from '../part/page';

export type DeadLink = 'used' | 'elsewhere' | 'proof' | 'expired' | 'invalid' | 'over' | 'busy' | 'offline';

export function deadLinkOf(error: ApiError): DeadLink {
  switch (error.code) {
    case 'TOKEN_ALREADY_USED':
      return 'used';
    case 'TOKEN_IN_USE':
      return 'elsewhere';
    case 'PROOF_INVALID':
    case 'KEY_REQUIRED':
      return 'proof';
    case 'TOKEN_EXPIRED':
    case 'TOKEN_REVOKED':
      return 'expired';
    case 'VISIT_FINAL':
      return 'over';
    case 'RATE_LIMITED':
      return 'busy';
    case 'OFFLINE':
    case 'UNAVAILABLE':
      return 'offline';
    default:
      return 'invalid';
  }
}

const WORDS: Readonly<Record<DeadLink, { heading: string; text: string }>> = {
  used: {
    heading: 'This link was already used',
    text: 'For your safety each link works once. Call the practice and ask for a new link.',
  },
  expired: {
    heading: 'This link has expired',
    text: 'Links work for a short time only. Call the practice and ask for a new link. If you have a newer message from them, use the link in that one.',
  },
  elsewhere: {
    heading: 'This link is open somewhere else',
    text: 'Somebody is joining with this link at this moment, perhaps you in another window. If it is not you, wait two minutes and try again.',
  },
  proof: {
    heading: 'Your browser could not join',
    text: 'Try again. If that does not help, open the link in another browser, such as Chrome, Firefox or Safari.',
  },
  invalid: {
    heading: "We can't open this link",
    text: 'Check that the whole link was copied.',
  },
  over: {
    heading: 'This visit is over',
    text: 'There is nothing more to do. If you did not have your visit, call the practice.',
  },
  busy: {
    heading: 'Please wait a moment',
    text: 'Too many tries came from your network. Wait a minute, then try again.',
  },
  offline: {
    heading: "We can't reach the practice",
    text: 'Check that you are connected to the internet. This page tries again by itself.',
  },
};

export function Dead({ why, onRetry }: { why: DeadLink; onRetry: () => void }) {
  const words = WORDS[why];
  return (
    <Page heading={words.heading} testid={`dead-${why}`} help={false}>
      <p class="lead">{words.text}</p>
      {(why === 'busy' || why === 'offline' || why === 'invalid' || why === 'elsewhere' || why === 'proof') && (
        <button type="button" class="button primary wide large" onClick={onRetry}>
          Try again
        </button>
      )}
      <CallForHelp />
    </Page>
  );
}
