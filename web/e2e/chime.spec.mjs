// The unmodified npm client of Chime in real browsers: two people hear and see each other, and what happens to them after that.

import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { launchChromium } from './support/browser.mjs';
import { startAnteroom } from './support/server.mjs';
import { story } from './support/step.mjs';
import { controlPlane, makeMeeting, serveClient, until } from './chime/support.mjs';

const ALICE = { name: 'alice', hertz: 440, colour: [42, 111, 219] };
const BOB = { name: 'bob', hertz: 880, colour: [222, 120, 40] };
const CAROL = { name: 'carol', hertz: 1320, colour: [40, 180, 90] };
const TONES = [ALICE.hertz, BOB.hertz, CAROL.hertz];

/** A tone is heard above this and not heard below that, in decibels. */
const HEARD = -50;
const SILENT = -70;

const near = (a, b) => a !== null && Math.max(...a.map((part, index) => Math.abs(part - b[index]))) < 40;
const seen = () => JSON.parse(JSON.stringify({ ...window.chime.seen, sockets: window.chime.seen.sockets.length }));

describe('the npm client of Chime', () => {
  let server;
  let client;
  let browser;
  let call;
  let meeting;
  const pages = {};
  const step = story(() => ({ pages, server }));

  const open = async ({ name, hertz, colour }, attendee, options = {}) => {
    const page = await browser.context.newPage();
    pages[name] = page;
    page.on('console', (line) => ['error', 'warning'].includes(line.type()) && server.log.push(`${name}: ${line.text()}`));
    await page.goto(client.url);
    await page.waitForFunction(() => document.title === 'ready');
    const arg = { meeting: meeting.meeting, attendee, hertz, colour, ...options };
    await page.evaluate((given) => window.chime.join(given), arg);
    await until(page, `${name} starts`, seen, (now) => now.events.includes('start'));
    return page;
  };
  const id = (who) => meeting.attendees[who].Attendee.AttendeeId;
  const sees = async (page, who, colour) => {
    const limit = Date.now() + 20_000;
    let last;
    do {
      last = await page.evaluate((one) => window.chime.sees(one), who);
      if (near(last, colour)) return;
      await new Promise((done) => setTimeout(done, 200));
    } while (Date.now() < limit);
    throw new Error(`sees ${JSON.stringify(last)} instead of ${colour}: ${JSON.stringify(await page.evaluate(seen))}`);
  };
  const hears = async (page, wanted) => {
    const limit = Date.now() + 20_000;
    let last;
    do {
      last = await page.evaluate((tones) => window.chime.hears(tones), TONES);
      if (TONES.every((hertz) => (wanted.includes(hertz) ? last[hertz] > HEARD : last[hertz] < SILENT))) return;
    } while (Date.now() < limit);
    throw new Error(`hears ${JSON.stringify(last)} instead of ${wanted}`);
  };

  before(async () => {
    [server, client, browser] = await Promise.all([startAnteroom(), serveClient(), launchChromium({})]);
    call = controlPlane(server);
    meeting = await makeMeeting(call, [ALICE.name, BOB.name, CAROL.name]);
  });
  after(async () => {
    await browser?.close();
    await client?.close();
    await server?.stop();
  });

  step('two people hear each other', async () => {
    await open(ALICE, meeting.attendees[0]);
    await open(BOB, meeting.attendees[1]);
    for (const page of [pages.alice, pages.bob]) {
      await until(page, 'both in the roster', seen, (now) => Object.keys(now.roster).length === 2);
    }
    await hears(pages.alice, [BOB.hertz]);
    await hears(pages.bob, [ALICE.hertz]);
    const now = await until(pages.alice, 'how loud the other is', seen, (one) => (one.volumes[meeting.attendees[1].Attendee.AttendeeId]?.volume ?? 0) > 0.2);
    assert.equal(now.roster[id(1)].external, BOB.name);
  });

  step('and see each other', async () => {
    await pages.alice.evaluate(() => window.chime.camera(true));
    await pages.bob.evaluate(() => window.chime.camera(true));
    await sees(pages.alice, id(1), BOB.colour);
    await sees(pages.bob, id(0), ALICE.colour);
  });

  step('a mute is seen and heard', async () => {
    await pages.bob.evaluate(() => window.chime.mute(true));
    const bob = id(1);
    await until(pages.alice, 'muted', seen, (now) => now.volumes[bob].muted);
    await hears(pages.alice, []);
    await pages.bob.evaluate(() => window.chime.mute(false));
    await until(pages.alice, 'not muted', seen, (now) => !now.volumes[bob].muted);
    await hears(pages.alice, [BOB.hertz]);
  });

  step('the camera goes off and on five times on one connection', async () => {
    for (let round = 0; round < 5; round += 1) {
      await pages.bob.evaluate(() => window.chime.camera(false));
      await until(pages.alice, 'no tile', seen, (now) => Object.keys(now.tiles).length === 0);
      await pages.bob.evaluate(() => window.chime.camera(true));
      await sees(pages.alice, id(1), BOB.colour);
    }
    for (const page of [pages.alice, pages.bob]) assert.equal((await page.evaluate(seen)).connects, 1, 'nobody reconnected');
  });

  step('words reach the other, and who comes later', async () => {
    await pages.alice.evaluate(() => window.chime.say('hello', 60_000));
    const now = await until(pages.bob, 'the words', seen, (one) => one.messages.length > 0);
    assert.deepEqual(now.messages[0], { text: 'hello', from: ALICE.name, throttled: false });
    assert.equal((await pages.alice.evaluate(seen)).messages.length, 0, 'not the one who said them');
  });

  step('a third one hears both, and nobody oneself', async () => {
    await open(CAROL, meeting.attendees[2]);
    const now = await until(pages.carol, 'the kept words', seen, (one) => one.messages.length > 0);
    assert.equal(now.messages[0].text, 'hello');
    await hears(pages.carol, [ALICE.hertz, BOB.hertz]);
    await hears(pages.alice, [BOB.hertz, CAROL.hertz]);
    await hears(pages.bob, [ALICE.hertz, CAROL.hertz]);
    await sees(pages.carol, id(0), ALICE.colour);
    await sees(pages.carol, id(1), BOB.colour);
  });

  step('a share is seen by the others as the one of its sharer', async () => {
    const colour = [200, 30, 160];
    await pages.carol.evaluate((shown) => window.chime.share(shown), colour);
    await sees(pages.alice, `${id(2)}#content`, colour);
    await pages.carol.evaluate(() => window.chime.unshare());
    const share = `${id(2)}#content`;
    await until(pages.alice, 'no share', seen, (now) => now.roster[share] === undefined && now.tiles[share] === undefined);
  });

  step('a signalling socket that breaks is made again, and media goes on', async () => {
    await pages.bob.evaluate(() => window.chime.cut());
    await until(pages.bob, 'reconnected', seen, (now) => now.connects === 2 && now.events.filter((event) => event === 'start').length === 2, 30_000);
    await hears(pages.alice, [BOB.hertz, CAROL.hertz]);
    await sees(pages.alice, id(1), BOB.colour);
    assert.ok(!(await pages.alice.evaluate(seen)).events.some((event) => event.startsWith('left') || event.startsWith('dropped')), 'nobody heard of a goodbye');
  });

  step('the same person elsewhere ends the first session', async () => {
    const first = pages.carol;
    await open({ ...CAROL, name: 'carol-again' }, meeting.attendees[2]);
    await until(first, 'joined elsewhere', seen, (now) => now.events.includes('stop AudioJoinedFromAnotherDevice'));
  });

  step('somebody who is removed is told so, and so is everybody at the end', async () => {
    await call('DELETE', `/meetings/${meeting.id}/attendees/${id(1)}`);
    await until(pages.bob, 'removed', seen, (now) => now.events.includes('stop AudioAttendeeRemoved'));
    await call('DELETE', `/meetings/${meeting.id}`);
    await until(pages.alice, 'ended', seen, (now) => now.events.includes('stop MeetingEnded'));
  });
});
