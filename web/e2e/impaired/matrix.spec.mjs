// A visit on bad networks, between real browsers. Run it through tun-router: `npm run impaired`.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { openCall, openPractice, untilBoth } from './call.mjs';
import { CASES } from './cases.mjs';
import { beginTimeline, endTimeline, summary, watch } from './meter.mjs';
import { changeAddress, openNetwork } from './network.mjs';
import { openReport, percentile } from './report.mjs';

const SHORT = process.env.ANTEROOM_IMPAIRED === 'short';
const ONLY = process.env.ANTEROOM_IMPAIRED_ONLY;
/** After the network is good again. */
const WHOLE_WITHIN_MS = 20_000;
const ADDRESS_CHANGES = 10;
const ADDRESS_BACK_P95_MS = 1_500;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

describe('a visit on a bad network', () => {
  let network;
  let practice;
  const report = openReport(new URL('../out/impaired.json', import.meta.url));

  before(async () => {
    network = await openNetwork();
    practice = await openPractice();
  });
  after(async () => {
    await practice?.close();
    network?.close();
  });

  const wanted = ({ name, short }) => (ONLY ? name.includes(ONLY) : !SHORT || short);

  /** A call of its own for each case, so that none begins with what another left behind. */
  const story = (one, run) => {
    if (!wanted(one)) return;
    it(one.name, async () => {
      await network.set(one.before ?? {});
      const call = await openCall(practice, { patient: one.patient, relay: one.relay, withinMs: one.before ? 40_000 : 20_000 });
      try {
        await run(call, one);
      } catch (error) {
        console.error(practice.server.log.slice(-30).join('\n'));
        throw error;
      } finally {
        report.write();
        await network.clear();
        await call.close();
      }
    });
  };

  for (const one of CASES) {
    story(one, async (call) => {
      await pause(3_000);
      await network.set(one.network);
      const watched = { clinician: watch(call.desk), patient: watch(call.patient) };
      await pause(one.seconds * 1000);
      const sides = { clinician: summary(await watched.clinician.stop()), patient: summary(await watched.patient.stop()) };
      await network.clear();
      const recovered = await untilBoth(call, 15, WHOLE_WITHIN_MS).catch((error) => error);
      const whole = typeof recovered === 'number';
      report.add({ name: one.name, network: one.network, sides, ...(whole ? { recoverMs: recovered } : { notes: [recovered.message] }) });
      assert.ok(whole, `the visit goes on: ${recovered.message}`);
      if (one.path) assert.match(sides.patient.path ?? '', one.path, "the patient's way to the server");
      if (one.outage) {
        assert.ok(recovered <= one.backMs, `whole again within ${one.backMs} ms, took ${recovered} ms`);
        return;
      }
      for (const [who, side] of Object.entries(sides)) {
        assert.ok(side.audioEnergy > 0, `${who} hears`);
        assert.ok(side.concealedPercent <= one.concealed, `${who}: ${side.concealedPercent} % of the sound was made up`);
        assert.equal(side.connections, 1, `${who}: the connection held`);
        if (one.picture !== false) assert.ok(side.frames > one.seconds, `${who} sees: ${side.frames} frames`);
      }
    });
  }

  story({ name: `${ADDRESS_CHANGES} changes of address` }, async (call) => {
    const times = [];
    const notes = [];
    for (let n = 0; n < ADDRESS_CHANGES; n += 1) {
      await Promise.all([beginTimeline(call.desk), beginTimeline(call.patient)]);
      await pause(1_000);
      const since = Date.now();
      changeAddress();
      await pause(8_000);
      await untilBoth(call, 10, WHOLE_WITHIN_MS);
      const [desk, patient] = await Promise.all([endTimeline(call.desk, since), endTimeline(call.patient, since)]);
      const parts = [desk.picture, desk.sound, patient.picture, patient.sound];
      assert.ok(parts.every((part) => part !== null), 'everything came back');
      const slowest = Math.round(Math.max(...parts));
      times.push(slowest);
      notes.push(`change ${n + 1}: ${parts.map(Math.round).join(', ')} ms (clinician's picture, sound; patient's picture, sound)`);
    }
    const p95 = percentile(times, 0.95);
    notes.push(`without media: p50 ${percentile(times, 0.5)} ms, p95 ${p95} ms, bar ${ADDRESS_BACK_P95_MS} ms`);
    report.add({ name: `${ADDRESS_CHANGES} changes of address`, notes, backMs: times });
    assert.ok(p95 < ADDRESS_BACK_P95_MS, `p95 ${p95} ms`);
  });
});
