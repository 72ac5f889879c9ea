// One visit on fakes: a socket and a peer connection whose other ends are the test.

import { Emitter } from '../sdk/emitter';
import type { LocalMedia } from '../sdk/local';
import { Visit, type VisitOptions } from '../sdk/visit';
import { FakePeer, FakeSocket, FakeStream, FakeTrack } from './fake';

class FakeLocal extends Emitter<{ change: undefined; track: 'audio' | 'video' }> {
  microphone: FakeTrack | null = new FakeTrack('audio');
  camera: FakeTrack | null = new FakeTrack('video');
  microphoneOn = true;
  cameraOn = true;
  replace(kind: 'audio' | 'video', track: FakeTrack | null): void {
    if (kind === 'audio') this.microphone = track;
    else this.camera = track;
    this.emit('track', kind);
    this.emit('change', undefined);
  }
}

export const HIM = '00000000-0000-7000-8000-000000000002';
let seq = 0;

/** The number of the server's next message. */
export function next(): number {
  seq += 1;
  return seq;
}

export function welcome(door: 'waiting' | 'admitted', role: 'patient' | 'clinician' = 'patient') {
  return {
    type: 'welcome' as const,
    seq: next(),
    you: { participantId: 'me', role, name: 'Me', door },
    visit: {
      visitId: 'v', scheduledAt: '2026-11-21T10:00:00Z', clinicianName: 'Dr. Maria',
      practice: { name: 'Practice', phone: '+1 555 0100' }, recordingPolicy: 'OPT_IN',
    },
    resumeToken: 'r',
    serverTime: '2026-11-21T10:00:00Z',
    iceServers: [],
  };
}

/** Lets promises settle without moving the clock. */
export async function settle(): Promise<void> {
  for (let n = 0; n < 20; n += 1) await Promise.resolve();
}

export async function answerOffer(sdp?: string): Promise<void> {
  const wire = FakeSocket.last();
  const offer = wire.sent.findLast((message) => message['type'] === 'offer');
  const number = next();
  wire.tell({ type: 'answer', seq: number, id: offer?.['id'] as string, sdp: sdp ?? `answer ${number}` });
  await settle();
}

export async function refuseOffer(): Promise<void> {
  const wire = FakeSocket.last();
  const offer = wire.sent.findLast((message) => message['type'] === 'offer');
  wire.tell({ type: 'error', seq: next(), id: offer?.['id'] as string, code: 'INVALID', detail: 'No.' });
  await settle();
}

export async function start(door: 'waiting' | 'admitted', role: 'patient' | 'clinician' = 'patient', more: Partial<VisitOptions> = {}) {
  const local = new FakeLocal();
  const options: VisitOptions = {
    local: local as unknown as LocalMedia,
    url: 'ws://test/ws',
    // As staff: the proof of a participant's key is the subject of the socket's own tests.
    visitId: 'v',
    createSocket: (url, protocol) => new FakeSocket(url, protocol) as unknown as WebSocket,
    createPeer: () => new FakePeer() as unknown as RTCPeerConnection,
    createStream: () => new FakeStream() as unknown as MediaStream,
    ...more,
  };
  const visit = new Visit(options);
  visit.start();
  FakeSocket.last().open();
  FakeSocket.last().tell(welcome(door, role));
  await settle();
  return { visit, local };
}
