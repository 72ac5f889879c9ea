// From the opened link to the seat: look at the link, check the devices, take the link. The seat's socket spends it.

import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { ApiError, Backoff, type LinkPreview, type LocalMedia } from '../../sdk';
import { api } from '../hook';
import { Page } from '../part/page';
import { isPractice, rememberPractice, rememberSpent, wasSpentHere } from '../practice';
import { clockTime, dayAndTime } from '../words';
import { Check } from './check';
import { Dead, deadLinkOf, type DeadLink } from './dead';

type Step =
  | { at: 'loading' }
  | { at: 'opened'; preview: LinkPreview }
  | { at: 'check'; preview: LinkPreview }
  | { at: 'early'; minutes: number; checking: boolean; scheduledAt: string | null }
  | { at: 'dead'; why: DeadLink };

export interface JoinProps {
  code: string;
  local: LocalMedia;
  onSeated: () => void;
}

export function Join({ code, local, onSeated }: JoinProps) {
  const [step, setStep] = useState<Step>({ at: 'loading' });
  const [joining, setJoining] = useState(false);
  const again = useRef(new Backoff({ firstMs: 2000, maxMs: 15_000, jitter: 0.3 }));

  const refuse = useCallback(
    (error: unknown) => {
      const problem = error instanceof ApiError ? error : new ApiError('OFFLINE', 0, '');
      if (isPractice(problem.extra['practice'])) rememberPractice(problem.extra['practice']);
      if (problem.code === 'TOKEN_ALREADY_USED' && wasSpentHere(code)) {
        onSeated();
      } else if (problem.code === 'TOKEN_NOT_YET_VALID') {
        const minutes = Number(problem.extra['retryAfterMinutes'] ?? 1);
        const at = problem.extra['scheduledAt'];
        setStep((before) => ({
          at: 'early',
          minutes: Number.isFinite(minutes) ? Math.max(1, minutes) : 1,
          checking: before.at === 'early' && before.checking,
          scheduledAt: typeof at === 'string' ? at : null,
        }));
      } else {
        setStep({ at: 'dead', why: deadLinkOf(problem) });
      }
    },
    [code, onSeated],
  );

  const look = useCallback(async () => {
    try {
      const preview = await api.validate(code);
      rememberPractice(preview.practice);
      setStep((before) => ({ at: before.at === 'early' && before.checking ? 'check' : 'opened', preview }));
    } catch (error) {
      refuse(error);
    }
  }, [code, refuse]);

  useEffect(() => void look(), [look]);

  // "This page will let you in by itself": looking is read-only, so it may be repeated.
  const early = step.at === 'early' ? step.minutes : null;
  useEffect(() => {
    if (early === null) return undefined;
    const timer = setTimeout(() => void look(), Math.min(early, 1) * 60_000);
    return () => clearTimeout(timer);
  }, [early, look, step]);

  // A server that is away comes back; nobody should have to press a button for that.
  const offline = step.at === 'dead' && step.why === 'offline';
  useEffect(() => {
    if (!offline) {
      again.current.reset();
      return undefined;
    }
    const timer = setTimeout(() => void look(), again.current.next());
    return () => clearTimeout(timer);
  }, [offline, look, step]);

  const join = async () => {
    setJoining(true);
    try {
      await api.claim(code);
      rememberSpent(code);
      onSeated();
    } catch (error) {
      refuse(error);
    } finally {
      setJoining(false);
    }
  };

  switch (step.at) {
    case 'loading':
      return <Opening />;
    case 'dead':
      return (
        <Dead
          why={step.why}
          onRetry={() => {
            setStep({ at: 'loading' });
            void look();
          }}
        />
      );
    case 'early':
      return step.checking ? (
        <Check local={local} notice={earlyWords(step.minutes)} />
      ) : (
        <TooEarly minutes={step.minutes} scheduledAt={step.scheduledAt} onCheck={() => setStep({ ...step, checking: true })} />
      );
    case 'opened':
      return <Opened preview={step.preview} onContinue={() => setStep({ at: 'check', preview: step.preview })} />;
    case 'check':
      return <Check local={local} joining={joining} onJoin={() => void join()} />;
  }
}

/** Also shown while a seat's socket opens. */
export function Opening() {
  return (
    <Page heading="Opening your visit" testid="opening">
      <div class="skeleton" />
      <div class="skeleton half" />
    </Page>
  );
}

function Opened({ preview, onContinue }: { preview: LinkPreview; onContinue: () => void }) {
  const isPatient = preview.role !== 'clinician';
  return (
    <Page heading={isPatient ? `Video visit with ${preview.clinicianFirstName}` : 'Your video visit'} testid="opened">
      <p class="lead">{dayAndTime(preview.scheduledAt)}</p>
      <p class="quiet">Next we check your camera and microphone. It takes a minute.</p>
      <button type="button" class="button primary wide large" data-testid="continue" onClick={onContinue}>
        Continue
      </button>
      <p class="quiet">Not you? Then please close this page and tell the practice.</p>
    </Page>
  );
}

function earlyWords(minutes: number): string {
  const opens = clockTime(new Date(Date.now() + minutes * 60_000).toISOString());
  return `You can join from ${opens}. This page will let you in by itself.`;
}

function TooEarly({ minutes, scheduledAt, onCheck }: { minutes: number; scheduledAt: string | null; onCheck: () => void }) {
  return (
    <Page heading={scheduledAt ? `Your visit is at ${clockTime(scheduledAt)}` : 'You are early'} testid="too-early">
      <p class="lead">{earlyWords(minutes)}</p>
      <button type="button" class="button primary wide large" onClick={onCheck}>
        Test camera and microphone
      </button>
    </Page>
  );
}
