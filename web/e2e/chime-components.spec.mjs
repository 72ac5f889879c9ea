// Chime's React components in a page of our own over this server: the roster, the tiles and every button do what they say.

import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { launchChromium } from './support/browser.mjs';
import { CLINICIAN, colourDistance, makeSources, PATIENT } from './support/media.mjs';
import { startAnteroom } from './support/server.mjs';
import { story } from './support/step.mjs';
import { controlPlane, makeMeeting, serveClient, until, untilHears } from './chime/support.mjs';

const ROOT = new URL('./chime/components/', import.meta.url).pathname;

const TONES = [CLINICIAN.tone, PATIENT.tone];
const pictures = () => window.chime.pictures();

/** A microphone without its filters, which take a steady tone for noise. */
const rawMicrophone = () => {
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  const raw = { echoCancellation: false, noiseSuppression: false, autoGainControl: false };
  navigator.mediaDevices.getUserMedia = (wanted) => ask(wanted.audio ? { ...wanted, audio: { ...wanted.audio, ...raw } } : wanted);
};

describe("Chime's React components", () => {
  let server;
  let client;
  let sources;
  let browsers;
  let meeting;
  let call;
  let one;
  let other;
  const step = story(() => ({ pages: { one, other }, server }));

  const shows = (page, { name, colour }) =>
    until(page, `the picture of ${name}`, pictures, (all) => all.some((mean) => colourDistance(mean, colour) < 60));
  const shownNot = (page, { name, colour }) =>
    until(page, `no picture of ${name}`, pictures, (all) => all.every((mean) => colourDistance(mean, colour) >= 60));
  const button = (page, name) => page.getByRole('button', { name, exact: true }).first();

  before(async () => {
    sources = makeSources();
    [server, client, ...browsers] = await Promise.all([
      startAnteroom(), serveClient(ROOT), launchChromium(sources.clinician), launchChromium(sources.patient),
    ]);
    call = controlPlane(server);
    meeting = await makeMeeting(call, [CLINICIAN.name, PATIENT.name]);
    [one, other] = await Promise.all(browsers.map((browser) => browser.context.newPage()));
    for (const [name, page] of [['one', one], ['other', other]]) {
      await page.addInitScript(rawMicrophone);
      page.on('console', (line) => ['error', 'warning'].includes(line.type()) && server.log.push(`${name}: ${line.text()}`));
      page.on('pageerror', (error) => server.log.push(`${name}: ${error}`));
    }
  });
  after(async () => {
    await Promise.all((browsers ?? []).map((browser) => browser.close()));
    await client?.close();
    await server?.stop();
    sources?.remove();
  });

  step('two people join, and the roster shows both by name', async () => {
    for (const [at, page] of [one, other].entries()) {
      await page.goto(client.url);
      await page.waitForFunction(() => document.title === 'ready');
      await page.evaluate(([where, who]) => window.chime.join(where, who), [meeting.meeting, meeting.attendees[at]]);
    }
    for (const page of [one, other]) {
      await page.getByTestId('status').getByText('Succeeded').waitFor();
      for (const { name } of [CLINICIAN, PATIENT]) await page.getByTestId('present').getByText(name).waitFor();
    }
    await untilHears(one, TONES, [PATIENT.tone]);
    await untilHears(other, TONES, [CLINICIAN.tone]);
  });

  step('the button for video puts a tile up at the other side, and takes it away', async () => {
    await other.getByText('Nobody shows a picture').waitFor();
    await button(one, 'Video').click();
    await shows(other, CLINICIAN);
    await button(other, 'Video').click();
    await shows(one, PATIENT);
    await button(one, 'Video').click();
    await shownNot(other, CLINICIAN);
    await button(one, 'Video').click();
    await shows(other, CLINICIAN);
  });

  step('the button for sound mutes, and the other roster says so', async () => {
    await button(one, 'Mute').click();
    const muted = other.getByTestId('present').filter({ hasText: CLINICIAN.name }).locator('title', { hasText: 'Muted microphone' });
    await muted.waitFor({ state: 'attached' });
    await untilHears(other, TONES, []);
    await button(one, 'Unmute').click();
    await muted.waitFor({ state: 'detached' });
    await untilHears(other, TONES, [CLINICIAN.tone]);
  });

  step('the button for content shares the screen', async () => {
    const before = (await other.evaluate(pictures)).length;
    await button(one, 'Content').click();
    await until(other, 'one tile more', pictures, (now) => now.length === before + 1);
    await button(one, 'Content').click();
    await until(other, 'one tile fewer', pictures, (now) => now.length === before);
  });

  step('whoever leaves is gone from the roster, and the end is an end for everybody', async () => {
    await button(other, 'Leave').click();
    await one.getByTestId('present').filter({ hasText: PATIENT.name }).waitFor({ state: 'detached' });
    await other.getByTestId('status').getByText(/Left/).waitFor();
    await call('DELETE', `/meetings/${meeting.id}`);
    await one.getByTestId('status').getByText('Ended').waitFor();
    assert.equal(await one.getByTestId('present').count(), 0);
  });
});
