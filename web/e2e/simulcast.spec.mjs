// The three sizes of a camera in a real visit: what a viewer receives follows what is asked for, without a freeze.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { launchChromium } from './support/browser.mjs';
import { joinAsPatient, makeVisit, openVisit, signIn } from './support/flow.mjs';
import { untilInbound } from './support/measure.mjs';
import { startAnteroom } from './support/server.mjs';
import { story } from './support/step.mjs';

/** From the wish to frames of the wanted size: the browser's estimate must leave room for it first. */
const SWITCH_WITHIN_MS = 30_000;
/** From admission to pictures of the whole size on both sides. */
const WHOLE_WITHIN_MS = 5_000;
/** What is made one after the other, and the width that a viewer in full view then gets. */
const ORDER = [['qhf', 1280], ['qh', 640], ['qhf', 1280], ['qh', 640], ['qhf', 1280]];

/** The camera as this page receives it. */
const picture = (page) =>
  page.evaluate(async () => {
    for (const [, stat] of await window.__anteroom.visit.peer.getStats()) {
      if (stat.type === 'inbound-rtp' && stat.kind === 'video' && stat.framesDecoded > 0) {
        const { frameWidth: width, frameHeight: height, framesDecoded: frames, freezeCount: freezes, keyFramesDecoded: keys, pliCount: plis } = stat;
        return { width, height, frames, freezes, keys, plis };
      }
    }
    return { width: 0, height: 0, frames: 0, freezes: 0, keys: 0, plis: 0 };
  });

/** The sizes that this page's camera is made in, by what its encoders did. */
const sent = (page) =>
  page.evaluate(async () => {
    const layers = {};
    for (const [, stat] of await window.__anteroom.visit.peer.getStats()) {
      if (stat.type === 'outbound-rtp' && stat.kind === 'video' && stat.rid) {
        layers[stat.rid] = { active: stat.active, width: stat.frameWidth ?? 0, frames: stat.framesEncoded ?? 0, mode: stat.scalabilityMode, limit: stat.qualityLimitationReason };
      }
    }
    return layers;
  });

/** Makes these sizes alone, as the server's wish does. */
const make = (page, rids) =>
  page.evaluate(async (wanted) => {
    const sender = window.__anteroom.visit.peer.getSenders().find((one) => one.track?.kind === 'video');
    const parameters = sender.getParameters();
    for (const encoding of parameters.encodings) encoding.active = wanted.includes(encoding.rid);
    await sender.setParameters(parameters);
  }, rids);

async function until(what, look, test, withinMs) {
  const from = Date.now();
  for (;;) {
    const now = await look();
    if (test(now)) return { now, ms: Date.now() - from };
    if (Date.now() - from > withinMs) throw new Error(`${what}: ${JSON.stringify(now)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

describe('a camera in three sizes', () => {
  let server;
  let browsers;
  let clinician;
  let patient;
  let folder;
  const step = story(() => ({ pages: { clinician, patient }, server }));

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'anteroom-720p-'));
    const video = join(folder, 'camera.y4m');
    execFileSync('ffmpeg', ['-v', 'error', '-y', '-f', 'lavfi', '-i', 'color=c=0x2a6fdb:size=1280x720:rate=15', '-f', 'lavfi', '-i', 'testsrc2=size=320x180:rate=15',
      '-filter_complex', '[0][1]overlay=8:8', '-t', '2', '-pix_fmt', 'yuv420p', video]);
    server = await startAnteroom();
    browsers = await Promise.all([launchChromium({ video }), launchChromium({ video })]);
    [clinician, patient] = await Promise.all(browsers.map((browser) => browser.context.newPage()));
  });
  after(async () => {
    await Promise.all((browsers ?? []).map((browser) => browser.close()));
    await server?.stop();
    rmSync(folder, { recursive: true, force: true });
  });

  step('begins with the best size alone, and whole', async () => {
    await signIn(clinician, server);
    const visit = await makeVisit(clinician, 'Test Patient');
    await openVisit(clinician, visit.visitId);
    await joinAsPatient(patient, visit.link);
    // Whoever waits has the size settled by then, as people have.
    await clinician.getByTestId('admit').waitFor();
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    await clinician.getByTestId('admit').click();
    const clicked = Date.now();
    for (const [page, who] of [[patient, 'clinician'], [clinician, 'patient']]) {
      const { now } = await until(`the whole picture of the ${who}`, () => picture(page), (one) => one.width === 1280 && one.height === 720, WHOLE_WITHIN_MS);
      console.log(`  ${who}: ${now.width}x${now.height} within ${Date.now() - clicked} ms of admission`);
    }
    await untilInbound(patient, (now) => now.frames > 20, 'the patient sees the clinician');
    const layers = await sent(clinician);
    console.log(`  ${JSON.stringify(layers)}`);
    assert.deepEqual(Object.keys(layers).filter((rid) => layers[rid].frames > 0), ['f']);
  });

  step('is received in the best size that is made', async () => {
    for (const [rids, width] of ORDER) {
      await make(clinician, [...rids]);
      const before = await picture(patient);
      const { now, ms } = await until(`size of ${rids}`, () => picture(patient), (one) => one.width === width && one.height === (width * 9) / 16, SWITCH_WITHIN_MS);
      const { now: later } = await until(`frames of ${rids}`, () => picture(patient), (one) => one.frames > now.frames + 30, SWITCH_WITHIN_MS);
      assert.equal(later.width, width, 'the size stays');
      console.log(`  ${rids}: ${now.width}x${now.height} after ${ms} ms, ${later.freezes - before.freezes} freezes, ${later.keys - before.keys} keyframes, ${later.plis - before.plis} requests of the viewer`);
    }
    console.log(`  all: ${JSON.stringify(await sent(clinician))}`);
  });
});
