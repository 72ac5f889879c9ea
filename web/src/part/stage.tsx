// The dark stage of a call, for both sides: people, self view, signs above, controls below.

import type { ComponentChildren } from 'preact';
import { useCallback, useRef } from 'preact/hooks';
import type { View, Visit, VisitState } from '../../sdk';
import { useLocal, useTick } from '../hook';
import { elapsed } from '../words';
import { Bars } from './bars';
import { ConsentSheet } from './consent';
import { NetworkWords } from './network';
import { SelfView } from './self';
import { Trouble } from './trouble';
import { RemoteTile } from './video';

export interface StageProps {
  visit: Visit;
  state: VisitState;
  /** What stands where nobody else is here. */
  alone?: string;
  children: ComponentChildren;
}

export function Stage({ visit, state, alone, children }: StageProps) {
  useTick(1000);
  const local = useLocal(visit.local);
  const startedAt = useRef(visit.clock.now());
  const others = state.roster.filter((entry) => entry.participantId !== state.you?.participantId);
  const title = others.map((entry) => entry.name).join(', ') || state.info?.clinicianName || 'Video visit';
  const own = state.you ? state.quality.get(state.you.participantId) : undefined;
  const bars = state.brokenSince !== null ? 0 : (own?.bars ?? state.own?.bars ?? null);
  const markFirstFrame = useCallback(() => performance.mark('anteroom:first-frame'), []);
  const tellView = useCallback((who: string, view: View) => visit.setView(who, 'camera', view), [visit]);
  const tiles = new Map(others.map((entry) => [entry.participantId, entry]));

  return (
    <main class="stage" data-testid="stage">
      <header class="stage-top">
        <h1>{title}</h1>
        {state.recording.state === 'on' && (
          <span class="recording-sign" data-testid="recording-sign">
            Recording
          </span>
        )}
        <span aria-label="Time in the visit">{elapsed((visit.clock.now() - startedAt.current) / 1000)}</span>
        {bars !== null && <Bars bars={bars} whose="Your connection" />}
        <NetworkWords state={state} bars={bars} interrupted={local.microphoneInterrupted} />
      </header>
      <div class="people">
        {others.length === 0 && (
          <div class="tile">
            <p class="absent" data-testid="alone">
              {alone ?? 'Nobody else is here yet.'}
            </p>
          </div>
        )}
        {Array.from(tiles.values(), (entry) => (
          <RemoteTile
            key={entry.participantId}
            entry={entry}
            name={entry.name}
            remote={state.remotes.find((one) => one.participantId === entry.participantId) ?? null}
            speaking={state.speaking === entry.participantId}
            isStaff={state.you?.role === 'clinician'}
            onView={tellView}
            onFirstFrame={markFirstFrame}
          />
        ))}
        <SelfView local={visit.local} />
      </div>
      <div class="stage-bottom">
        {state.consentRequest && <ConsentSheet key={state.consentRequest.version} visit={visit} request={state.consentRequest} />}
        <div class="controls" role="group" aria-label="Call controls">
          {children}
        </div>
      </div>
      <Trouble state={state} />
    </main>
  );
}
