// The frame of a light page: brand, one heading that takes the focus, content, and a way to call in the same place always.

import type { ComponentChildren } from 'preact';
import { useHeadingFocus, useTitle } from '../hook';
import { knownPractice } from '../practice';

export interface PageProps {
  heading: string;
  testid: string;
  children?: ComponentChildren;
  /** Pages of staff need no number to call. */
  help?: boolean;
}

export function Page({ heading, testid, children, help = true }: PageProps) {
  const headingRef = useHeadingFocus<HTMLHeadingElement>();
  const practice = knownPractice();
  useTitle(heading);
  return (
    <div class="page">
      <main class="page-inner" data-testid={testid}>
        <p class="brand">
          <img src="/icon.svg" alt="" />
          <span>{practice?.name ?? 'Video visit'}</span>
        </p>
        <h1 tabIndex={-1} ref={headingRef}>
          {heading}
        </h1>
        {children}
        {help && <CallForHelp />}
      </main>
    </div>
  );
}

export function CallForHelp() {
  const practice = knownPractice();
  return (
    <p class="help" data-testid="call-for-help">
      {practice?.phone ? (
        <>
          Need help? Call {practice.name}: <a href={`tel:${practice.phone.replace(/[^+\d]/g, '')}`}>{practice.phone}</a>
        </>
      ) : (
        'Need help? Call the practice. The number is in the message that brought you here.'
      )}
    </p>
  );
}
