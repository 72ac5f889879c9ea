// Where the page starts: styles, the live regions, and the screen that the address asks for.

import './style/token.css';
import './style/page.css';
import './style/stage.css';
import './style/desk.css';

import { render } from 'preact';
import { useCallback, useEffect, useMemo, useState } from 'preact/hooks';
import { LocalMedia } from '../sdk';
import { Announcer } from './announce';
import { expose, rawAudio } from './debug';
import { routeOf } from './route';
import { Desk } from './screen/desk';
import { GetLink } from './screen/get-link';
import { Home } from './screen/home';
import { Join } from './screen/join';
import { Seat } from './screen/seat';
import { StaffVisit } from './screen/staff-visit';

function App() {
  const [place, setPlace] = useState(() => location.pathname + location.search);
  const local = useMemo(() => new LocalMedia({ processing: !rawAudio }), []);
  useEffect(() => expose({ local }), [local]);

  useEffect(() => {
    const handle = () => setPlace(location.pathname + location.search);
    window.addEventListener('popstate', handle);
    return () => window.removeEventListener('popstate', handle);
  }, []);

  /** A spent link is replaced in the history, so that "back" does not lead to a dead page. */
  const go = useCallback((path: string, replace = false) => {
    if (replace) history.replaceState(null, '', path);
    else history.pushState(null, '', path);
    setPlace(path);
  }, []);

  const url = new URL(place, location.origin);
  const route = routeOf(url.pathname, url.search);
  switch (route.screen) {
    case 'join':
      return <Join key={route.code} code={route.code} local={local} onSeated={() => go('/visit', true)} />;
    case 'get-link':
      return <GetLink key={route.handle} handle={route.handle} />;
    case 'seat':
      return <Seat local={local} />;
    case 'desk':
      return <Desk go={go} />;
    case 'visit':
      return <StaffVisit key={route.visitId} visitId={route.visitId} local={local} go={go} />;
    case 'home':
      return <Home go={go} />;
  }
}

const root = document.getElementById('app');
if (root) {
  render(
    <>
      <App />
      <Announcer />
    </>,
    root,
  );
}
