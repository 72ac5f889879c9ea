// A page as an application builds it from Chime's React components: who is there, everybody's picture, and the buttons.

import {
  AudioInputControl, AudioOutputControl, ContentShareControl, ControlBar, ControlBarButton, GlobalStyles, MeetingProvider, MeetingStatus,
  Phone, Roster, RosterAttendee, RosterGroup, RosterHeader, VideoInputControl, VideoTileGrid, lightTheme, useLocalVideo,
  useMeetingManager, useMeetingStatus, useRosterState,
} from 'amazon-chime-sdk-component-library-react';
import { MeetingSessionConfiguration } from 'amazon-chime-sdk-js';
import { useEffect } from 'react';
import { createRoot } from 'react-dom/client';
import { ThemeProvider } from 'styled-components';
import { colourOf, soundOf } from '../media.js';

function Present() {
  const people = Object.values(useRosterState().roster);
  return (
    <Roster>
      <RosterHeader title="Present" badge={people.length} />
      <RosterGroup>
        {people.map(({ chimeAttendeeId: id }) => (
          <div key={id} data-testid="present">
            <RosterAttendee attendeeId={id} />
          </div>
        ))}
      </RosterGroup>
    </Roster>
  );
}

function Page() {
  const manager = useMeetingManager();
  const status = useMeetingStatus();
  const { isVideoEnabled } = useLocalVideo();
  useEffect(() => {
    manager.getAttendee = async (_, name) => ({ name });
    window.chime = {
      join: async (meeting, attendee) => {
        await manager.join(new MeetingSessionConfiguration(meeting, attendee));
        await manager.start();
      },
      /** The colours of all pictures that the page shows, its own among them. */
      pictures: () => [...document.querySelectorAll('video')].map(colourOf).filter(Boolean),
      hears: (tones) => soundOf(document.querySelector('audio').srcObject, tones),
    };
    document.title = 'ready';
  }, [manager]);
  return (
    <main style={{ display: 'flex', height: '95vh' }}>
      <Present />
      <div style={{ flex: 1, position: 'relative' }}>
        <VideoTileGrid layout="standard" noRemoteVideoView={<p>Nobody shows a picture</p>} />
      </div>
      <p data-testid="status">{MeetingStatus[status]}{isVideoEnabled ? ' with a picture' : ''}</p>
      <ControlBar showLabels layout="bottom">
        <AudioInputControl />
        <VideoInputControl />
        <ContentShareControl />
        <AudioOutputControl />
        <ControlBarButton icon={<Phone />} label="Leave" onClick={() => manager.leave()} />
      </ControlBar>
    </main>
  );
}

createRoot(document.getElementById('page')).render(
  <ThemeProvider theme={lightTheme}>
    <GlobalStyles />
    <MeetingProvider>
      <Page />
    </MeetingProvider>
  </ThemeProvider>,
);
