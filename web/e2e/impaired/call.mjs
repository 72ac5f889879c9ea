// A server and a clinician on the good side, a patient behind the router, and visits between them.

import { randomBytes } from 'node:crypto';
import { CHROMIUM, launchChromium, launchFirefox } from '../support/browser.mjs';
import { joinAsPatient, makeVisit, openVisit, signIn } from '../support/flow.mjs';
import { untilInbound } from '../support/measure.mjs';
import { makeSources } from '../support/media.mjs';
import { startAnteroom } from '../support/server.mjs';
import { farAddress, farProgram, forward, inFar } from './network.mjs';
import { startRelay } from './relay.mjs';

/** Everything that all visits share, a relay beside the server included. */
export async function openPractice() {
  const sources = makeSources();
  const chromium = farProgram(CHROMIUM);
  const closers = [() => sources.remove(), () => chromium.remove()];
  const close = async () => {
    for (const one of closers.reverse()) await one();
  };
  try {
    const secret = randomBytes(16).toString('hex');
    const relay = await startRelay(farAddress, secret);
    closers.push(() => relay.close());
    const env = { ANTEROOM_TURN_URLS: relay.urls.join(','), ANTEROOM_TURN_SECRET: secret };
    const server = await startAnteroom({ http: '0.0.0.0:0', env, within: inFar });
    closers.push(() => server.stop());
    const way = await forward(server.port);
    closers.push(() => way.close());
    const clinician = await launchChromium({ ...sources.clinician, program: chromium.program });
    closers.push(() => clinician.close());
    const desk = await clinician.context.newPage();
    await signIn(desk, server);
    return { server, sources, clinician, desk, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Runs in the page before its own scripts: every connection goes through the relay, whatever else would work. */
function relayOnly() {
  const only = (configuration) => ({ ...configuration, iceTransportPolicy: 'relay' });
  window.RTCPeerConnection = class extends window.RTCPeerConnection {
    constructor(configuration) {
      super(only(configuration));
    }
    setConfiguration(configuration) {
      super.setConfiguration(only(configuration));
    }
  };
}

async function launchPatient(practice, kind, relay) {
  if (kind === 'firefox') {
    const firefox = await launchFirefox();
    return { page: await firefox.browser.newPage(), close: firefox.close };
  }
  const chromium = await launchChromium(practice.sources.patient);
  if (relay) await chromium.context.addInitScript(relayOnly);
  return { page: await chromium.context.newPage(), close: chromium.close };
}

/** One visit from the link to both seeing and hearing each other. */
export async function openCall(practice, { patient: kind = 'chromium', relay = false, withinMs = 20_000 } = {}) {
  const { desk, server } = practice;
  const patient = await launchPatient(practice, kind, relay);
  const close = async () => {
    await patient.close();
    await endVisit(desk, server);
  };
  try {
    const visit = await makeVisit(desk, 'Far Patient');
    await openVisit(desk, visit.visitId);
    await joinAsPatient(patient.page, visit.link);
    await desk.getByTestId('admit').waitFor();
    await untilInbound(patient.page, (now) => now.connected, 'the waiting patient is connected', withinMs);
    await desk.getByTestId('admit').click();
    await patient.page.waitForSelector('[data-testid="stage"]');
    await untilBoth({ desk, patient: patient.page }, 5, withinMs);
    return { desk, patient: patient.page, close };
  } catch (error) {
    await close().catch(() => undefined);
    throw error;
  }
}

/** Waits until both sides have decoded some more frames and heard something; answers how long that took. */
export async function untilBoth({ desk, patient }, frames, withinMs) {
  const began = Date.now();
  await Promise.all(
    [[desk, 'clinician'], [patient, 'patient']].map(async ([page, who]) => {
      const from = await untilInbound(page, (now) => now.connected, `${who} is connected`, withinMs);
      await untilInbound(
        page,
        // A new connection counts from zero.
        (now) => now.frames >= (now.frames < from.frames ? 0 : from.frames) + frames && now.energy > (now.energy < from.energy ? 0 : from.energy),
        `${who} sees and hears`,
        withinMs,
      );
    }),
  );
  return Date.now() - began;
}

/** Back to an empty desk, whatever the visit is at. */
async function endVisit(desk, server) {
  await desk.getByTestId('end-visit').click();
  await desk.getByTestId('confirm-yes').click();
  await desk.getByTestId('after-call').waitFor();
  await desk.goto(`${server.url}/desk`);
  await desk.getByTestId('desk').waitFor();
}
