// One visit, two faces: a clinician with our page, and a patient whose application speaks to Chime.

import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { controlPlane, joinAs, makeMeeting, seen, serveClient, until, untilHears, untilSees } from './chime/support.mjs';
import { launchChromium } from './support/browser.mjs';
import { makeVisit, openVisit, signIn } from './support/flow.mjs';
import { inbound, remoteColour, remoteTone, untilInbound } from './support/measure.mjs';
import { CLINICIAN, colourDistance, makeSources } from './support/media.mjs';
import { startAnteroom } from './support/server.mjs';
import { story } from './support/step.mjs';

const COLOUR = [222, 120, 40];
const TONE = 977;
const COLOUR_SLACK = 40;

describe('a visit with a native clinician and a Chime patient', () => {
  const pages = {};
  let server;
  let client;
  let sources;
  let browsers;
  let meeting;
  let visit;
  const step = story(() => ({ pages, server }));
  const flows = () => pages.patient.evaluate(() => window.chime.flows());

  before(async () => {
    sources = makeSources();
    [server, client, ...browsers] = await Promise.all([startAnteroom(), serveClient(), launchChromium(sources.clinician), launchChromium({})]);
    [pages.clinician, pages.patient] = await Promise.all(browsers.map((browser) => browser.context.newPage()));
    pages.patient.on('console', (line) => server.log.push(`patient: ${line.text()}`));
  });
  after(async () => {
    for (const browser of browsers ?? []) await browser.close();
    await client?.close();
    await server?.stop();
    sources?.remove();
  });

  step('whoever waits is connected, and neither sent nor given anything', async () => {
    await signIn(pages.clinician, server);
    visit = await makeVisit(pages.clinician, 'Chime Patient');
    await openVisit(pages.clinician, visit.visitId);
    meeting = await makeMeeting(controlPlane(server), ['somebody#Pat Chime'], visit.visitId);
    await joinAs(pages.patient, client.url, { meeting: meeting.meeting, attendee: meeting.attendees[0], hertz: TONE, colour: COLOUR });
    await pages.patient.evaluate(() => window.chime.camera(true));
    await pages.clinician.getByTestId('admit').waitFor();
    await untilInbound(pages.clinician, (now) => now.connected, 'the clinician is connected to the media server');
    // Long enough for a leak to show.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    const now = await pages.patient.evaluate(seen);
    assert.equal(Object.keys(now.roster).length, 1, 'only oneself');
    assert.deepEqual(now.tiles, {});
    assert.equal((await flows()).packets, 0, 'nothing is sent to who waits');
    const there = await inbound(pages.clinician);
    assert.deepEqual([there.packets, there.frames], [0, 0], 'and nothing of them to anybody');
    const sent = (await flows()).sent.reduce((sum, one) => sum + one.packets, 0);
    assert.ok(sent > 0, 'though they send');
  });

  step('after admission both hear and see each other', async () => {
    const { clinician, patient } = pages;
    await clinician.getByTestId('admit').click();
    const now = await until(patient, 'both in the roster', seen, (one) => Object.keys(one.roster).length === 2);
    const other = Object.keys(now.roster).find((one) => one !== meeting.attendees[0].Attendee.AttendeeId);
    await untilSees(patient, other, CLINICIAN.colour);
    await untilHears(patient, [CLINICIAN.tone, TONE], [CLINICIAN.tone]);
    await untilInbound(clinician, (one) => one.frames > 10 && one.audioPackets > 10, 'the clinician decodes');
    assert.ok(colourDistance(await remoteColour(clinician), COLOUR) < COLOUR_SLACK, 'the right picture');
    const tone = await remoteTone(clinician);
    assert.ok(Math.abs(tone.hz - TONE) < 10, `the right tone: ${tone.hz} Hz`);
    assert.equal(now.connects, 1, 'on the connection of before');
  });

  step('the end of the visit is the end of the meeting', async () => {
    await pages.clinician.getByTestId('end-visit').click();
    await pages.clinician.getByTestId('confirm-yes').click();
    await until(pages.patient, 'ended', seen, (now) => now.events.includes('stop MeetingEnded'));
  });
});
