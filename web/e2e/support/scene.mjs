// Every state a screen can be in, each led there by a scripted server: for pictures and accessibility checks only.
// Real visits with the real server are in the specs beside this folder.

const PRACTICE = { name: 'Riverside Family Practice', phone: '+1 555 010 0199' };
const ME = '00000000-0000-7000-8000-000000000001';
const OTHER = '00000000-0000-7000-8000-000000000002';
const VISIT = '00000000-0000-7000-8000-00000000000a';
const ago = (seconds) => new Date(Date.now() - seconds * 1000).toISOString();

const CONSENT = {
  type: 'consent_request',
  version: 1,
  locale: 'en',
  requestedBy: OTHER,
  body: [
    'Dr. Maria Alvarez asks to record this visit: picture and sound of everyone in it.',
    'Why: so that the practice can look at it again for your care.',
    'Who can see it: your clinician and the people of the practice who are allowed to.',
    'How long it is kept: as long as the practice keeps your records.',
    'You can stop it at any time. If you say no, the visit goes on as before.',
  ].join('\n'),
};

function preview(extra = {}) {
  return { valid: true, role: 'patient', scheduledAt: ago(60), clinicianFirstName: 'Dr. Maria', practice: PRACTICE, ...extra };
}

function view(extra = {}) {
  return {
    visitId: VISIT, status: 'SCHEDULED', scheduledAt: ago(-900), duration: 30, visitType: null,
    patient: { participantId: OTHER, name: 'A. Rivera' },
    clinician: { participantId: ME, id: 'demo-clinician', name: 'Dr. Maria Alvarez' },
    startedAt: null, endedAt: null, recordingPolicy: 'OPT_IN', waiting: [], recordings: 0, rowVersion: 1,
    serverTime: new Date().toISOString(), ...extra,
  };
}

const RECORDINGS = [
  {
    recordingId: '00000000-0000-7000-8000-00000000000b', status: 'STORED', requestedAt: ago(600), startedAt: ago(598), stoppedAt: ago(300),
    durationMs: 298_000, stopReason: 'REQUESTED',
    artefacts: [
      { name: 'patient.webm', content: 'participant', participantId: OTHER, mime: 'video/webm', durationMs: 298_000, bytes: 1 },
      { name: 'mix.ogg', content: 'mix', participantId: null, mime: 'audio/ogg', durationMs: 298_000, bytes: 1 },
    ],
  },
];

function person(id, name, role, consent = 'PENDING', extra = {}) {
  return { participantId: id, role, name, connected: true, microphone: true, camera: true, cameraHeld: false, mutedByClinician: [], consent, ...extra };
}

/** Answers an offer inside the page with a moving picture, so that a call looks like one. */
async function answerInPage(page, sdp) {
  return page.evaluate(async (offer) => {
    const canvas = document.createElement('canvas');
    canvas.width = 640;
    canvas.height = 360;
    const paint = canvas.getContext('2d');
    const draw = () => {
      const sky = paint.createLinearGradient(0, 0, 0, 360);
      sky.addColorStop(0, '#8fb8c9');
      sky.addColorStop(1, '#d8e2dc');
      paint.fillStyle = sky;
      paint.fillRect(0, 0, 640, 360);
      paint.fillStyle = '#2f4858';
      paint.beginPath();
      paint.ellipse(320, 390, 170, 150, 0, 0, 7);
      paint.fill();
      paint.fillStyle = '#c99a7b';
      paint.beginPath();
      paint.ellipse(320 + Math.sin(performance.now() / 900) * 6, 170, 70, 88, 0, 0, 7);
      paint.fill();
      paint.fillStyle = '#3a2a22';
      paint.beginPath();
      paint.ellipse(320 + Math.sin(performance.now() / 900) * 6, 112, 76, 48, 0, 0, 7);
      paint.fill();
      setTimeout(draw, 50);
    };
    draw();
    const [track] = canvas.captureStream(20).getVideoTracks();
    const peer = new RTCPeerConnection();
    window.sceneHold = [...(window.sceneHold ?? []), peer, track];
    await peer.setRemoteDescription({ type: 'offer', sdp: offer });
    for (const one of peer.getTransceivers()) {
      one.direction = 'sendrecv';
      if (one.receiver.track.kind === 'video') await one.sender.replaceTrack(track);
    }
    await peer.setLocalDescription(await peer.createAnswer());
    if (peer.iceGatheringState !== 'complete') {
      await new Promise((resolve) => {
        peer.addEventListener('icegatheringstatechange', () => peer.iceGatheringState === 'complete' && resolve());
      });
    }
    return peer.localDescription.sdp;
  }, sdp);
}

/** A scripted other end of the WebSocket; `after` are the messages that follow the welcome. */
async function scriptSocket(page, { role, door, after = [], breakAfterMs = null }) {
  let broken = false;
  await page.routeWebSocket(/\/ws/, (socket) => {
    if (broken) {
      socket.close({ code: 1013 });
      return;
    }
    let seq = 0;
    const tell = (message) => socket.send(JSON.stringify({ ...message, seq: (seq += 1) }));
    if (role === 'patient') socket.send(JSON.stringify({ type: 'challenge', nonce: 'n', seq: 0 }));
    socket.onMessage(async (text) => {
      const message = JSON.parse(text);
      if (message.type === 'hello') {
        tell({
          type: 'welcome', you: { participantId: ME, role, name: role === 'patient' ? 'A. Rivera' : 'Dr. Maria Alvarez', door },
          visit: { visitId: VISIT, scheduledAt: ago(60), clinicianName: 'Dr. Maria Alvarez', practice: PRACTICE, recordingPolicy: 'OPT_IN' },
          resumeToken: 'r', serverTime: new Date().toISOString(), iceServers: [],
        });
        for (const one of after) if (one.type !== 'slot') tell(one);
      } else if (message.type === 'offer') {
        // The page may be closed by now: then nobody waits for an answer.
        const sdp = await answerInPage(page, message.sdp).catch(() => null);
        if (sdp === null) return;
        tell({ type: 'answer', id: message.id, sdp });
        for (const one of after) if (one.type === 'slot') tell(one);
        if (breakAfterMs !== null) {
          setTimeout(() => {
            broken = true;
            socket.close({ code: 1013 });
          }, breakAfterMs);
        }
      } else if (message.type === 'ping') {
        tell({ type: 'pong', id: message.id, serverTime: new Date().toISOString() });
      } else if (message.id !== undefined) {
        tell({ type: 'ok', id: message.id });
      }
    });
  });
}

/** HTTP answers by path; what is not listed is a 404 problem. */
async function scriptHttp(page, answers) {
  await page.route(/\/(api|dev)\//, async (route) => {
    const path = new URL(route.request().url()).pathname;
    const [status, body, delay = 0] = answers[`${route.request().method()} ${path}`] ?? [404, { code: 'NOT_FOUND', detail: 'There is no such thing here.' }];
    if (delay) await new Promise((resolve) => setTimeout(resolve, delay));
    await route.fulfill({ status, contentType: status < 400 ? 'application/json' : 'application/problem+json', body: body === null ? '' : JSON.stringify(body) });
  });
}

const link = (status, body, delay) => (page) => scriptHttp(page, { 'POST /api/token/redeem': [status, body, delay] });
const problem = (status, code, extra = {}) => link(status, { code, detail: '', ...extra });
const inside = [
  { type: 'slot', mid: '1', carries: { participantId: OTHER, source: 'camera' } },
  { type: 'slot', mid: '0', carries: { participantId: OTHER, source: 'microphone' } },
  { type: 'quality', participantId: ME, bars: 3, lossUp: 0, lossDown: 12 },
];
const patientCall = (extra = [], consent = 'PENDING') => [
  { type: 'roster', participants: [person(ME, 'A. Rivera', 'patient', consent), person(OTHER, 'Dr. Maria Alvarez', 'clinician', consent)] },
  ...inside,
  ...extra,
];
const staffCall = (extra = [], consent = 'PENDING') => [
  { type: 'roster', participants: [person(ME, 'Dr. Maria Alvarez', 'clinician', consent), person(OTHER, 'A. Rivera', 'patient', consent)] },
  ...inside,
  ...extra,
];
const noPermission = (page) =>
  page.addInitScript(() => {
    navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('no', 'NotAllowedError'));
  });
const staff = { 'GET /api/session': [200, { sub: 'demo-clinician', role: 'clinician', name: 'Dr. Maria Alvarez' }] };
const staffVisit = { ...staff, [`GET /api/visits/${VISIT}`]: [200, view({ status: 'WAITING' })], [`GET /api/visits/${VISIT}/recordings`]: [200, { recordings: RECORDINGS }] };
const onRecord = { type: 'recording', state: 'on', recordingId: 'x', since: ago(10) };
const framesFlow = '[data-testid="remote-video"]';

async function toCheck(page) {
  await page.getByTestId('continue').click();
  await page.getByTestId('join').waitFor();
}

/** `ready` is what shows that the state is reached; `steps` lead there. */
export const SCENES = [
  { name: 'home', path: '/', ready: 'home' },
  { name: 'opening', path: '/j/abc', ready: 'opening', script: link(200, preview(), 60_000), settle: 600 },
  { name: 'opened', path: '/j/abc', ready: 'opened', script: link(200, preview()) },
  { name: 'too-early', path: '/j/abc', ready: 'too-early', script: problem(403, 'TOKEN_NOT_YET_VALID', { retryAfterMinutes: 20, practice: PRACTICE }) },
  { name: 'link-used', path: '/j/abc', ready: 'dead-used', script: problem(409, 'TOKEN_ALREADY_USED', { practice: PRACTICE }) },
  { name: 'link-expired', path: '/j/abc', ready: 'dead-expired', script: problem(410, 'TOKEN_EXPIRED', { practice: PRACTICE }) },
  { name: 'link-not-valid', path: '/j/abc', ready: 'dead-invalid', script: problem(401, 'TOKEN_INVALID') },
  { name: 'check', path: '/j/abc', ready: 'opened', script: link(200, preview()), steps: toCheck, settle: 600 },
  {
    name: 'permission-blocked', path: '/j/abc', ready: 'opened',
    script: async (page) => {
      await noPermission(page);
      await link(200, preview())(page);
    },
    steps: async (page) => {
      await page.getByTestId('continue').click();
      await page.getByTestId('blocked').waitFor();
    },
  },
  {
    name: 'waiting', path: '/visit', ready: 'waiting', settle: 400,
    script: (page) => scriptSocket(page, { role: 'patient', door: 'waiting', after: [{ type: 'waiting', since: ago(245), position: 1, serverTime: new Date().toISOString() }] }),
  },
  { name: 'call', path: '/visit', ready: 'stage', frames: true, script: (page) => scriptSocket(page, { role: 'patient', door: 'admitted', after: patientCall() }) },
  { name: 'call-consent', path: '/visit', ready: 'consent-sheet', frames: true, script: (page) => scriptSocket(page, { role: 'patient', door: 'admitted', after: patientCall([CONSENT]) }) },
  { name: 'call-recording', path: '/visit', ready: 'recording-sign', frames: true, script: (page) => scriptSocket(page, { role: 'patient', door: 'admitted', after: patientCall([onRecord], 'SIGNED') }) },
  {
    name: 'call-camera-off', path: '/visit', ready: 'stage',
    script: (page) =>
      scriptSocket(page, {
        role: 'patient', door: 'admitted',
        after: [{ type: 'roster', participants: [person(ME, 'A. Rivera', 'patient'), person(OTHER, 'Dr. Maria Alvarez', 'clinician', 'PENDING', { camera: false, microphone: false })] }],
      }),
    steps: async (page) => {
      await page.getByTestId('toggle-mic').click();
      await page.getByTestId('toggle-camera').click();
    },
  },
  { name: 'call-reconnecting', path: '/visit', ready: 'reconnecting', frames: true, script: (page) => scriptSocket(page, { role: 'patient', door: 'admitted', after: patientCall(), breakAfterMs: 1500 }) },
  {
    name: 'call-leave', path: '/visit', ready: 'stage', frames: true, script: (page) => scriptSocket(page, { role: 'patient', door: 'admitted', after: patientCall() }),
    steps: async (page) => {
      await page.getByTestId('leave').click();
      await page.getByTestId('confirm').waitFor();
    },
  },
  { name: 'ended', path: '/visit', ready: 'ended', script: (page) => scriptSocket(page, { role: 'patient', door: 'waiting', after: [{ type: 'ended', reason: 'completed' }] }) },
  { name: 'denied', path: '/visit', ready: 'denied', script: (page) => scriptSocket(page, { role: 'patient', door: 'waiting', after: [{ type: 'ended', reason: 'denied' }] }) },
  { name: 'superseded', path: '/visit', ready: 'superseded', script: (page) => scriptSocket(page, { role: 'patient', door: 'waiting', after: [{ type: 'ended', reason: 'superseded' }] }) },
  {
    name: 'desk-sign-in', path: '/desk', ready: 'sign-in',
    script: (page) =>
      scriptHttp(page, {
        'GET /api/session': [401, { code: 'UNAUTHENTICATED', detail: '' }],
        'GET /dev/users': [200, { users: [{ sub: 'demo-clinician', role: 'clinician', name: 'Dr. Maria Alvarez' }, { sub: 'demo-scheduler', role: 'scheduler', name: 'Sam Brooks' }] }],
      }),
    settle: 300,
  },
  {
    name: 'desk', path: '/desk', ready: 'waiting-card',
    script: (page) =>
      scriptHttp(page, {
        ...staff,
        'GET /api/visits': [200, {
          visits: [
            view({ visitId: `${VISIT}1`, status: 'COMPLETED', recordings: 1, scheduledAt: ago(3600) }),
            view({ visitId: `${VISIT}2`, status: 'WAITING', scheduledAt: ago(600), waiting: [{ participantId: OTHER, name: 'A. Rivera', since: ago(545), cameraOk: true, micOk: true }] }),
            view({ visitId: `${VISIT}3`, status: 'WAITING', scheduledAt: ago(120), patient: { participantId: OTHER, name: 'J. Osei' }, waiting: [{ participantId: OTHER, name: 'J. Osei', since: ago(200), cameraOk: false, micOk: true }] }),
            view({ visitId: `${VISIT}4`, patient: { participantId: OTHER, name: 'L. Novak' } }),
          ],
          nextCursor: null,
        }],
        'POST /api/visits': [201, view()],
        [`POST /api/visits/${VISIT}/links`]: [200, { patient: { url: 'http://localhost:8080/j/7hKq2Lm9xPa', shortCode: '7hKq2Lm9xPa', token: 't', expiresAt: ago(-1200) } }],
      }),
    steps: async (page) => {
      await page.getByTestId('create-visit').click();
      await page.getByTestId('link-box').waitFor();
    },
  },
  {
    name: 'staff-waiting', path: `/visit?id=${VISIT}`, ready: 'waiting-entry',
    script: async (page) => {
      await scriptHttp(page, staffVisit);
      await scriptSocket(page, {
        role: 'clinician', door: 'admitted',
        after: [
          { type: 'roster', participants: [person(ME, 'Dr. Maria Alvarez', 'clinician')] },
          { type: 'waiting_list', entries: [{ participantId: OTHER, name: 'A. Rivera', role: 'patient', since: ago(545), camera: true, microphone: true }], serverTime: new Date().toISOString() },
        ],
      });
    },
    steps: async (page) => page.getByTestId('more').click(),
  },
  {
    name: 'staff-call', path: `/visit?id=${VISIT}`, ready: 'inside-entry', frames: true,
    script: async (page) => {
      await scriptHttp(page, staffVisit);
      await scriptSocket(page, { role: 'clinician', door: 'admitted', after: staffCall() });
    },
  },
  {
    name: 'staff-recording', path: `/visit?id=${VISIT}`, ready: 'recording-sign', frames: true,
    script: async (page) => {
      await scriptHttp(page, staffVisit);
      await scriptSocket(page, { role: 'clinician', door: 'admitted', after: staffCall([onRecord], 'SIGNED') });
    },
  },
  {
    name: 'staff-keyboard', path: `/visit?id=${VISIT}`, ready: 'inside-entry', frames: true,
    script: async (page) => {
      await scriptHttp(page, staffVisit);
      await scriptSocket(page, { role: 'clinician', door: 'admitted', after: staffCall() });
    },
    steps: async (page) => {
      await page.keyboard.press('?');
      await page.getByTestId('shortcuts').waitFor();
    },
  },
  {
    name: 'staff-after-call', path: `/visit?id=${VISIT}`, ready: 'recording-row',
    script: (page) => scriptHttp(page, { ...staffVisit, [`GET /api/visits/${VISIT}`]: [200, view({ status: 'COMPLETED', recordings: 1 })] }),
  },
];

/** Opens a scene in a fresh page of `context` and waits until its state is reached. */
export async function openScene(context, base, scene) {
  const page = await context.newPage();
  await scene.script?.(page);
  await page.goto(base + scene.path);
  await page.getByTestId(scene.ready).first().waitFor();
  if (scene.frames) {
    await page.waitForFunction((selector) => document.querySelector(selector)?.videoWidth > 0, framesFlow);
  }
  await scene.steps?.(page);
  if (scene.settle) await page.waitForTimeout(scene.settle);
  return page;
}
