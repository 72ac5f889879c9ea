// A participant's seat, from the waiting room to the end. A reload leads back here, because the seat is a cookie.

import { useEffect, useState } from 'preact/hooks';
import { Visit, type LocalMedia } from '../../sdk';
import { announce } from '../announce';
import { expose } from '../debug';
import { useVisit } from '../hook';
import { Page } from '../part/page';
import { rememberPractice } from '../practice';
import { sound } from '../sound';
import { Call } from './call';
import { Check } from './check';
import { Ended } from './ended';
import { Opening } from './join';
import { Waiting } from './waiting';

export function Seat({ local }: { local: LocalMedia }) {
  const [visit, setVisit] = useState<Visit | null>(null);

  useEffect(() => {
    let gone = false;
    let made: Visit | null = null;
    // After a reload the permission is still there, so nobody is asked twice.
    void local.open().then(() => {
      if (gone) return;
      made = new Visit({ local });
      expose({ visit: made });
      made.start();
      setVisit(made);
    });
    return () => {
      gone = true;
    };
  }, [local]);

  return visit ? <Seated visit={visit} local={local} /> : <Opening />;
}

function Seated({ visit, local }: { visit: Visit; local: LocalMedia }) {
  const state = useVisit(visit);
  const [checking, setChecking] = useState(false);

  useEffect(
    () =>
      visit.on('admitted', () => {
        sound.admitted();
        announce('You are now in the visit.');
        setChecking(false);
      }),
    [visit],
  );

  const practice = state.info?.practice;
  useEffect(() => {
    if (practice) rememberPractice(practice);
  }, [practice]);

  useEffect(() => {
    if (state.phase === 'ended') local.close();
  }, [state.phase, local]);

  switch (state.phase) {
    case 'connecting':
      return state.link === 'broken' ? <NotReached /> : <Opening />;
    case 'waiting':
      return checking ? (
        <>
          <Check local={local} notice="You keep your place while you check." />
          <div class="page">
            <button type="button" class="button primary" data-testid="check-done" onClick={() => setChecking(false)}>
              Back to the waiting room
            </button>
          </div>
        </>
      ) : (
        <Waiting visit={visit} state={state} onCheck={() => setChecking(true)} />
      );
    case 'inside':
      return <Call visit={visit} state={state} />;
    case 'ended':
      return <Ended why={state.ended ?? 'completed'} />;
  }
}

function NotReached() {
  return (
    <Page heading="We can't reach the practice yet" testid="not-reached">
      <p class="lead">We keep trying. You don't need to do anything.</p>
      <p class="quiet">Check that you are connected to the internet.</p>
    </Page>
  );
}
