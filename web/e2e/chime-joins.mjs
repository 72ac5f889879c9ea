// How long the npm client of Chime takes to join: from `audioVideo.start()` to `audioVideoDidStart`, in Chromium on this machine, with
// the page loaded and the microphone open. `npm run chime-joins`; JOINS says how often, and the result is also written to
// e2e/out/chime-joins.json.

import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, release } from 'node:os';
import { controlPlane, joinAs, makeMeeting, serveClient } from './chime/support.mjs';
import { percentile } from './impaired/report.mjs';
import { launchChromium } from './support/browser.mjs';
import { startAnteroom } from './support/server.mjs';

const COUNT = Number(process.env.JOINS ?? 50);
const OUT = new URL('out/chime-joins.json', import.meta.url);

/** Somebody is in the meeting already, as most often, and each join has a page of its own. */
async function main() {
  const [server, client, browser] = await Promise.all([startAnteroom(), serveClient(), launchChromium({})]);
  const times = [];
  try {
    const names = Array.from({ length: COUNT + 1 }, (_, number) => `attendee ${number}`);
    const { meeting, attendees } = await makeMeeting(controlPlane(server), names);
    const join = async (attendee) => {
      const page = await browser.context.newPage();
      return { page, ms: await joinAs(page, client.url, { meeting, attendee, hertz: 431, colour: [42, 111, 219] }) };
    };
    await join(attendees[0]);
    for (const attendee of attendees.slice(1)) {
      const { page, ms } = await join(attendee);
      times.push(ms);
      await page.evaluate(() => window.chime.leave());
      await page.close();
    }
  } finally {
    await browser.close();
    await client.close();
    await server.stop();
  }
  const figures = { p50: percentile(times, 0.5), p95: percentile(times, 0.95), max: Math.max(...times) };
  const [p50, p95, max] = Object.values(figures).map(Math.round);
  console.log(`${COUNT} joins of the npm client of Chime, start() to audioVideoDidStart: p50 ${p50}, p95 ${p95}, max ${max} ms`);
  mkdirSync(new URL('.', OUT), { recursive: true });
  const machine = { platform: platform(), release: release(), arch: arch(), cores: cpus().length };
  writeFileSync(OUT, `${JSON.stringify({ machine, joins: COUNT, ...figures, samples: times }, null, 2)}\n`);
}

await main();
