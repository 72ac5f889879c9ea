// The unmodified npm client of Chime in Chromium: people hear and see each other, and what happens to them after that.

import assert from 'node:assert/strict';
import { after, before, describe } from 'node:test';
import { controlPlane, joinAs, makeMeeting, makeWay, seen, serveClient, through, until, untilHears, untilSees } from './chime/support.mjs';
import { launchChromium } from './support/browser.mjs';
import { startAnteroom } from './support/server.mjs';
import { story } from './support/step.mjs';

const ALICE = { name: 'alice', hertz: 431, colour: [42, 111, 219], place: 0 };
const BOB = { name: 'bob', hertz: 977, colour: [222, 120, 40], place: 1 };
const CAROL = { name: 'carol', hertz: 1613, colour: [40, 180, 90], place: 2 };
const SHARED = { hertz: 2689, colour: [200, 30, 160] };
const TONES = [ALICE.hertz, BOB.hertz, CAROL.hertz, SHARED.hertz];
/** How long the way to the server is cut: less than a seat is kept for. */
const CUT_MS = 5_000;

/** One meeting, its people's pages and what they do there. */
function stage() {
  const pages = {};
  const it = { pages, meeting: null };
  it.start = async (names) => {
    [it.server, it.client, it.browser] = await Promise.all([startAnteroom(), serveClient(), launchChromium({})]);
    it.call = controlPlane(it.server);
    it.way = await makeWay(it.server.port);
    it.meeting = await makeMeeting(it.call, names);
  };
  it.stop = async () => {
    await it.browser?.close();
    await it.client?.close();
    await it.way?.close();
    await it.server?.stop();
  };
  it.open = async ({ name, place, hertz, colour, ...look }, options = {}, meeting = it.meeting.meeting) => {
    const page = await it.browser.context.newPage();
    pages[name] = page;
    page.on('console', (line) => ['error', 'warning'].includes(line.type()) && it.server.log.push(`${name}: ${line.text()}`));
    await joinAs(page, it.client.url, { meeting, attendee: it.meeting.attendees[place], hertz, colour, ...look, ...options });
    return page;
  };
  it.id = ({ place }) => it.meeting.attendees[place].Attendee.AttendeeId;
  return it;
}

const flows = (page) => page.evaluate(() => window.chime.flows());
const camera = (page, on = true) => page.evaluate((is) => window.chime.camera(is), on);
const view = (page, who) => page.evaluate((one) => window.chime.view(one), who);

async function untilView(page, who, what, test) {
  const limit = Date.now() + 20_000;
  let last;
  do {
    last = await view(page, who);
    if (test(last)) return last;
    await new Promise((done) => setTimeout(done, 100));
  } while (Date.now() < limit);
  throw new Error(`${what}: ${JSON.stringify(last)}`);
}

describe('the npm client of Chime', () => {
  const it = stage();
  const { pages } = it;
  const step = story(() => ({ pages, server: it.server }));
  const hears = (page, wanted) => untilHears(page, TONES, wanted.map(({ hertz }) => hertz));
  const sees = (page, who) => untilSees(page, it.id(who), who.colour);

  before(() => it.start(['alice', 'bob', 'carol']));
  after(() => it.stop());

  step('two people hear each other', async () => {
    await it.open(ALICE);
    await it.open(BOB, {}, through(it.meeting.meeting, it.way.port));
    for (const page of [pages.alice, pages.bob]) {
      await until(page, 'both in the roster', seen, (now) => Object.keys(now.roster).length === 2);
    }
    await Promise.all([hears(pages.alice, [BOB]), hears(pages.bob, [ALICE])]);
    const now = await until(pages.alice, 'how loud the other is', seen, (one) => (one.volumes[it.id(BOB)]?.volume ?? 0) > 0.2);
    assert.equal(now.roster[it.id(BOB)].external, 'bob');
    const [voice] = (await flows(pages.alice)).received;
    console.log(`  a voice comes as ${voice.codec}, ${(voice.bytes / voice.packets).toFixed(0)} bytes a packet`);
  });

  step('and see each other', async () => {
    await Promise.all([camera(pages.alice), camera(pages.bob)]);
    await Promise.all([sees(pages.alice, BOB), sees(pages.bob, ALICE)]);
  });

  step('a mute is seen and heard', async () => {
    const isMuted = (now) => now.volumes[it.id(BOB)].muted;
    await pages.bob.evaluate(() => window.chime.mute(true));
    await until(pages.alice, 'muted', seen, isMuted);
    await hears(pages.alice, []);
    await pages.bob.evaluate(() => window.chime.mute(false));
    await until(pages.alice, 'not muted', seen, (now) => !isMuted(now));
    await hears(pages.alice, [BOB]);
  });

  step('the camera goes off and on five times on one connection', async () => {
    for (let round = 0; round < 5; round += 1) {
      await camera(pages.bob, false);
      await until(pages.alice, 'no tile', seen, (now) => Object.keys(now.tiles).length === 0);
      await camera(pages.bob);
      await sees(pages.alice, BOB);
    }
    for (const page of [pages.alice, pages.bob]) assert.equal((await page.evaluate(seen)).connects, 1, 'nobody reconnected');
  });

  step('a right that is taken away is taken at once, and given back', async () => {
    const path = `/meetings/${it.meeting.id}/attendees/${it.id(BOB)}/capabilities`;
    const capabilities = (kind) => it.call('PUT', path, { Capabilities: { Audio: kind, Video: kind, Content: 'SendReceive' } });
    await capabilities('Receive');
    await until(pages.alice, 'no tile', seen, (now) => Object.keys(now.tiles).length === 0);
    await until(pages.bob, 'may not start', seen, (now) => now.canStart === false);
    await hears(pages.alice, []);
    await sees(pages.bob, ALICE);
    await capabilities('SendReceive');
    await hears(pages.alice, [BOB]);
    await sees(pages.alice, BOB);
    await until(pages.bob, 'may start', seen, (now) => now.canStart);
  });

  step('words reach the other, and too many come back', async () => {
    await pages.alice.evaluate(() => window.chime.say('hello', 300_000));
    const now = await until(pages.bob, 'the words', seen, (one) => one.messages.length > 0);
    assert.deepEqual(now.messages[0], { text: 'hello', from: 'alice', throttled: false });
    assert.equal((await pages.alice.evaluate(seen)).messages.length, 0, 'not the one who said them');
    await pages.bob.evaluate(() => {
      for (let count = 0; count < 300; count += 1) window.chime.say('flood', 0);
    });
    const back = await until(pages.bob, 'some are given back', seen, (one) => one.messages.length > 1);
    assert.ok(back.messages.slice(1).every(({ from, throttled }) => from === 'bob' && throttled));
    const read = await until(pages.alice, 'some are let through', seen, (one) => one.messages.length >= 200);
    assert.ok(read.messages.length < 300);
  });

  step('a third one hears both, and nobody oneself', async () => {
    await it.open(CAROL);
    const now = await until(pages.carol, 'the kept words', seen, (one) => one.messages.length > 0);
    assert.deepEqual(now.messages.map(({ text }) => text), ['hello']);
    await hears(pages.carol, [ALICE, BOB]);
    await hears(pages.alice, [BOB, CAROL]);
    await hears(pages.bob, [ALICE, CAROL]);
    await sees(pages.carol, ALICE);
    await sees(pages.carol, BOB);
  });

  step('a share is seen and heard by the others as that of its sharer', async () => {
    const share = `${it.id(CAROL)}#content`;
    await pages.carol.evaluate(({ colour, hertz }) => window.chime.share(colour, hertz), SHARED);
    for (const page of [pages.alice, pages.bob]) await untilSees(page, share, SHARED.colour);
    await hears(pages.alice, [BOB, CAROL, SHARED]);
    await hears(pages.carol, [ALICE, BOB]);
    await until(pages.carol, 'its own client knows of it', seen, (one) => one.events.includes('share starts'));
    const shown = (await flows(pages.carol)).received.filter(({ kind, packets }) => kind === 'video' && packets > 0);
    assert.equal(shown.length, 2, 'the two cameras, and nothing of what they share themselves');
    assert.equal((await pages.alice.evaluate(seen)).roster[share].external, 'carol');
    await pages.carol.evaluate(() => window.chime.unshare());
    await until(pages.alice, 'no share', seen, (one) => one.roster[share] === undefined && one.tiles[share] === undefined);
    await until(pages.carol, 'its own client knows of that too', seen, (one) => one.events.includes('share stops'));
  });

  step('a signalling socket that is cut for five seconds is made again, and media goes on', async () => {
    const before = (await pages.alice.evaluate(seen)).events.length;
    const connects = (await pages.bob.evaluate(seen)).connects;
    it.way.cut();
    await new Promise((done) => setTimeout(done, CUT_MS));
    it.way.heal();
    const starts = (now) => now.events.filter((event) => event === 'start').length;
    const now = await until(pages.bob, 'reconnected', seen, (one) => starts(one) === 2, 30_000);
    assert.equal(now.connects, connects + 1, 'by one reconnection');
    await hears(pages.alice, [BOB, CAROL]);
    await hears(pages.bob, [ALICE, CAROL]);
    await sees(pages.alice, BOB);
    await sees(pages.bob, ALICE);
    const since = (await pages.alice.evaluate(seen)).events.slice(before);
    assert.ok(!since.some((event) => /^(left|dropped)/.test(event)), `nobody heard of a goodbye: ${since}`);
  });

  step('the same person elsewhere ends the first session', async () => {
    const first = pages.carol;
    await it.open({ ...CAROL, name: 'carol-again' });
    await until(first, 'joined elsewhere', seen, (now) => now.events.includes('stop AudioJoinedFromAnotherDevice'));
    await hears(pages.alice, [BOB, CAROL]);
  });

  step('somebody who is removed is told so, and so is everybody at the end', async () => {
    await it.call('DELETE', `/meetings/${it.meeting.id}/attendees/${it.id(BOB)}`);
    await until(pages.bob, 'removed', seen, (now) => now.events.includes('stop AudioAttendeeRemoved'));
    await until(pages.alice, 'gone', seen, (now) => now.roster[it.id(BOB)] === undefined);
    await it.call('DELETE', `/meetings/${it.meeting.id}`);
    for (const page of [pages.alice, pages['carol-again']]) {
      await until(page, 'ended', seen, (now) => now.events.includes('stop MeetingEnded'));
    }
  });
});

describe('the npm client of Chime with layers', () => {
  const it = stage();
  const { pages } = it;
  const step = story(() => ({ pages, server: it.server }));
  /** Wide enough for three layers, and as few pixels as that takes. */
  const DORA = { name: 'dora', hertz: 440, colour: [42, 111, 219], size: [960, 540], lively: true, place: 0 };
  const EMIL = { name: 'emil', hertz: 880, colour: [222, 120, 40], size: [960, 540], lively: true, place: 1 };
  const FINN = { name: 'finn', hertz: 1320, colour: [40, 180, 90], size: [320, 180], place: 2 };
  const sees = (page, who) => untilSees(page, it.id(who), who.colour);
  const video = async (page) => (await flows(page)).sent.filter((one) => one.kind === 'video');

  before(() => it.start(['dora', 'emil', 'finn']));
  after(() => it.stop());

  step('a camera in simulcast is seen', async () => {
    await it.open(DORA, { simulcast: true });
    await it.open(FINN, { priority: true });
    await it.open(EMIL, { svc: true, codec: 'vp9Profile0' });
    await camera(pages.dora);
    await sees(pages.finn, DORA);
    await sees(pages.emil, DORA);
    const sent = await video(pages.dora);
    console.log(`  simulcast: ${sent.map(({ rid, width, active, codec }) => `${rid} ${width} ${active} ${codec}`).join(', ')}`);
    assert.ok(sent.length === 3 && sent.filter(({ active }) => active).length >= 2, 'at least two layers flow');
  });

  step('a camera in layers of one stream is seen', async () => {
    await camera(pages.emil);
    await sees(pages.finn, EMIL);
    await sees(pages.dora, EMIL);
    const limit = Date.now() + 10_000;
    let sent;
    do {
      [sent] = await video(pages.emil);
      await new Promise((done) => setTimeout(done, 200));
    } while (!/^L3T3/.test(sent?.mode ?? '') && Date.now() < limit);
    console.log(`  layers of one stream: ${sent.codec} ${sent.mode} ${sent.width}`);
    assert.equal(sent.codec, 'video/VP9');
    assert.match(sent.mode, /^L3T3/);
    await sees(pages.finn, EMIL);
  });

  step('who leaves the layers to the server gets what it asks for', async () => {
    // A busy machine makes all layers smaller, but not the lower one so large.
    const wide = ({ width }) => width > 320;
    const narrow = ({ width }) => width > 0 && width <= 320;
    const WANTED_KBITS = 300;
    const cheap = () => {
      let before;
      return (now) => {
        if (before && now.at - before.at < 1_500) return false;
        const kbits = before && ((now.bytes - before.bytes) * 8) / (now.at - before.at);
        before = now;
        return kbits > 0 && kbits < WANTED_KBITS * 1.2;
      };
    };
    await pages.finn.evaluate((list) => window.chime.prefer(list), [[it.id(DORA), 1, 'High'], [it.id(EMIL), 1, 'High']]);
    await untilView(pages.finn, it.id(DORA), 'the large layer of simulcast', wide);
    await untilView(pages.finn, it.id(EMIL), 'the large layer of one stream', wide);
    await pages.finn.evaluate((list) => window.chime.prefer(list), [[it.id(DORA), 2, 'Low'], [it.id(EMIL), 1, 'Low']]);
    await untilView(pages.finn, it.id(DORA), 'the small layer of simulcast', narrow);
    // Of layers in one stream those flow that cost what is wanted; a busy machine's may all do.
    await untilView(pages.finn, it.id(EMIL), 'what is wanted of one stream', cheap());
    await sees(pages.finn, DORA);
    await sees(pages.finn, EMIL);
  });

  step('a tile that is paused stands still until it goes on', async () => {
    await pages.finn.evaluate((who) => window.chime.pause(who), it.id(DORA));
    let [last, since] = [-1, 0];
    await untilView(pages.finn, it.id(DORA), 'stands still', ({ frames }) => {
      if (frames !== last) [last, since] = [frames, Date.now()];
      return Date.now() - since > 1_000;
    });
    await pages.finn.evaluate((who) => window.chime.unpause(who), it.id(DORA));
    await untilView(pages.finn, it.id(DORA), 'goes on', ({ frames }) => frames > last + 5);
    assert.equal((await pages.finn.evaluate(seen)).connects, 1);
  });
});
