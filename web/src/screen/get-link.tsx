// The page in a reminder: one press sends the link to the number or address on file. It knows nothing of the visit, and learns nothing.

import { useState } from 'preact/hooks';
import { ApiError } from '../../sdk';
import { api } from '../hook';
import { Page } from '../part/page';

type Step = 'ask' | 'asking' | 'asked' | 'busy' | 'offline';

export function GetLink({ handle }: { handle: string }) {
  const [step, setStep] = useState<Step>('ask');
  const ask = async () => {
    setStep('asking');
    try {
      await api.requestLink(handle);
      setStep('asked');
    } catch (error) {
      setStep(error instanceof ApiError && error.code === 'RATE_LIMITED' ? 'busy' : 'offline');
    }
  };
  if (step === 'asked') {
    return (
      <Page heading="Look at your messages" testid="link-asked">
        <p class="lead">If it is nearly time for your visit, your link is on its way to the number or address that the practice has of you.</p>
        <p>If it is still early, the link comes by itself shortly before your visit.</p>
      </Page>
    );
  }
  return (
    <Page heading="Get your link" testid="get-link">
      <p class="lead">Your link opens shortly before your visit, and works once. We send it to the number or address that the practice has of you.</p>
      {step === 'busy' && <p role="alert">Too many tries came from your network. Wait a minute, then try again.</p>}
      {step === 'offline' && <p role="alert">We could not reach the practice. Check that you are connected to the internet, then try again.</p>}
      <button type="button" class="button primary wide large" disabled={step === 'asking'} onClick={() => void ask()} data-testid="send-link">
        Send me my link
      </button>
    </Page>
  );
}
