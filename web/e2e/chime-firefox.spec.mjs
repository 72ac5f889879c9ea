// The npm client of Chime in Firefox, with one in Chromium at the other end.

import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { controlPlane, joinAs, makeMeeting, seen, serveClient, until, untilHears, untilSees } from './chime/support.mjs';
import { launchChromium, launchFirefox } from './support/browser.mjs';
import { startAnteroom } from './support/server.mjs';
import { story } from './support/step.mjs';

const TONE = 431;
/** What Firefox's fake microphone hums. */
const HUM = 1000;
const BLUE = [42, 111, 219];
const ORANGE = [222, 120, 40];

describe('the npm client of Chime in Firefox', () => {
  const pages = {};
  let server;
  let client;
  let chromium;
  let firefox;
  let meeting;
  const step = story(() => ({ pages, server }));
  const id = (place) => meeting.attendees[place].Attendee.AttendeeId;
  const flows = (page) => page.evaluate(() => window.chime.flows());

  before(async () => {
    [server, client, chromium, firefox] = await Promise.all([startAnteroom(), serveClient(), launchChromium({}), launchFirefox()]);
    meeting = await makeMeeting(controlPlane(server), ['chromium', 'firefox']);
    pages.chromium = await chromium.context.newPage();
    pages.firefox = await firefox.browser.newPage();
    for (const [name, page] of Object.entries(pages)) page.on('console', (line) => server.log.push(`${name}: ${line.text()}`));
  });
  after(async () => {
    await chromium?.close();
    await firefox?.close();
    await client?.close();
    await server?.stop();
  });

  step('both hear each other', async () => {
    await joinAs(pages.chromium, client.url, { meeting: meeting.meeting, attendee: meeting.attendees[0], hertz: TONE, colour: BLUE });
    // Headless Firefox has no sound card to make a tone with; its fake microphone has to do.
    await joinAs(pages.firefox, client.url, { meeting: meeting.meeting, attendee: meeting.attendees[1], device: true, colour: ORANGE });
    for (const page of Object.values(pages)) {
      await until(page, 'both in the roster', seen, (now) => Object.keys(now.roster).length === 2);
    }
    await untilHears(pages.chromium, [TONE, HUM], [HUM]);
    // Nor has it one to analyse with: its decoder's own measure of loudness has to do as well.
    await until(pages.firefox, 'Firefox hears', () => window.chime.flows(), (now) => now.energy > 0.001);
  });

  step('and see each other', async () => {
    for (const page of Object.values(pages)) await page.evaluate(() => window.chime.camera(true));
    await untilSees(pages.chromium, id(1), ORANGE);
    await untilSees(pages.firefox, id(0), BLUE);
    for (const [name, page] of Object.entries(pages)) {
      const sent = (await flows(page)).sent.filter((one) => one.kind === 'video');
      console.log(`  ${name} sends ${sent.map((one) => one.codec).join(', ')}`);
    }
  });

  step('a mute, a camera that goes off and on, and words', async () => {
    await pages.firefox.evaluate(() => window.chime.mute(true));
    await until(pages.chromium, 'muted', seen, (now) => now.volumes[id(1)]?.muted);
    await untilHears(pages.chromium, [TONE, HUM], []);
    await pages.firefox.evaluate(() => window.chime.mute(false));
    await untilHears(pages.chromium, [TONE, HUM], [HUM]);
    for (let round = 0; round < 2; round += 1) {
      await pages.firefox.evaluate(() => window.chime.camera(false));
      await until(pages.chromium, 'no tile', seen, (now) => Object.keys(now.tiles).length === 0);
      await pages.firefox.evaluate(() => window.chime.camera(true));
      await untilSees(pages.chromium, id(1), ORANGE);
    }
    await pages.firefox.evaluate(() => window.chime.say('hello', 0));
    const now = await until(pages.chromium, 'the words', seen, (one) => one.messages.length > 0);
    assert.deepEqual(now.messages[0], { text: 'hello', from: 'firefox', throttled: false });
    for (const page of Object.values(pages)) assert.equal((await page.evaluate(seen)).connects, 1, 'nobody reconnected');
  });
});
