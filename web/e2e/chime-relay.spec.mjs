// The npm client of Chime where a relay is configured: it uses nothing else.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { networkInterfaces } from 'node:os';
import { after, before, describe } from 'node:test';
import { controlPlane, joinAs, makeMeeting, serveClient, untilHears } from './chime/support.mjs';
import { findPort, startRelay } from './impaired/relay.mjs';
import { launchChromium } from './support/browser.mjs';
import { startAnteroom } from './support/server.mjs';
import { story } from './support/step.mjs';

const TONES = [431, 977];

describe('the npm client of Chime with a relay', () => {
  const pages = {};
  let server;
  let client;
  let browser;
  let relay;
  const step = story(() => ({ pages, server }));

  before(async () => {
    const address = Object.values(networkInterfaces()).flat().find((one) => one.family === 'IPv4' && !one.internal)?.address ?? '127.0.0.1';
    const secret = randomBytes(24).toString('base64url');
    relay = await startRelay(address, secret, { within: (command) => command, port: await findPort(address) });
    const env = { ANTEROOM_TURN_URLS: relay.urls.join(','), ANTEROOM_TURN_SECRET: secret };
    [server, client, browser] = await Promise.all([startAnteroom({ env }), serveClient(), launchChromium({})]);
  });
  after(async () => {
    await browser?.close();
    await client?.close();
    await server?.stop();
    await relay?.close();
  });

  step('two people hear each other through it, and by no other way', async () => {
    const { meeting, attendees } = await makeMeeting(controlPlane(server), ['alice', 'bob']);
    for (const [place, name] of ['alice', 'bob'].entries()) {
      pages[name] = await browser.context.newPage();
      pages[name].on('console', (line) => server.log.push(`${name}: ${line.text()}`));
      await joinAs(pages[name], client.url, { meeting, attendee: attendees[place], hertz: TONES[place], colour: [42, 111, 219] });
    }
    await untilHears(pages.alice, TONES, [TONES[1]]);
    await untilHears(pages.bob, TONES, [TONES[0]]);
    for (const page of Object.values(pages)) {
      const own = await page.evaluate(() => window.chime.stat('local-candidate'));
      assert.ok(own.length > 0 && own.every((one) => one.candidateType === 'relay'), JSON.stringify(own.map((one) => one.candidateType)));
    }
  });
});
