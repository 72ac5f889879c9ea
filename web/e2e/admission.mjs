// How long an admission takes in two real browsers: from the click, and from the patient's page learning of it, to the first
// picture on each side. `npm run admission`; ADMISSIONS says how often, and the result is also written to e2e/out/admission.json.

import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, release } from 'node:os';
import { percentile } from './impaired/report.mjs';
import { launchChromium } from './support/browser.mjs';
import { joinAsPatient, makeVisit, openVisit, signIn } from './support/flow.mjs';
import { markAt, untilInbound } from './support/measure.mjs';
import { makeSources } from './support/media.mjs';
import { startAnteroom } from './support/server.mjs';

const COUNT = Number(process.env.ADMISSIONS ?? 20);
const BAR_P95_MS = 200;
const OUT = new URL('out/admission.json', import.meta.url);

/** A fresh visit each time, so that nothing is warm but the browsers themselves. */
async function admitOnce({ server, clinician, browser }, number) {
  const patient = await browser.context.newPage();
  try {
    const { visitId, link } = await makeVisit(clinician, `Patient ${number}`);
    await openVisit(clinician, visitId);
    await joinAsPatient(patient, link);
    await clinician.getByTestId('admit').waitFor();
    for (const page of [patient, clinician]) await untilInbound(page, (now) => now.connected, 'connected before admission');
    // The page and its camera come to rest, as they have when somebody has waited.
    await new Promise((resolve) => setTimeout(resolve, 1_000));
    await clinician.evaluate(() => performance.clearMarks());
    await clinician.getByTestId('admit').click();
    for (const page of [patient, clinician]) {
      await page.waitForFunction(() => performance.getEntriesByName('anteroom:first-frame').length > 0);
    }
    const [click, admitted, seenByPatient, seenByClinician] = await Promise.all([
      markAt(clinician, 'anteroom:admit-click'), markAt(patient, 'anteroom:admitted'),
      markAt(patient, 'anteroom:first-frame'), markAt(clinician, 'anteroom:first-frame'),
    ]);
    await clinician.getByTestId('end-visit').click();
    await clinician.getByTestId('confirm-yes').click();
    await clinician.getByTestId('after-call').waitFor();
    await clinician.goto(`${server.url}/desk`);
    await clinician.getByTestId('desk').waitFor();
    return {
      'click to admitted, patient': admitted - click,
      'click to first frame, patient': seenByPatient - click,
      'click to first frame, clinician': seenByClinician - click,
      'admitted to first frame, patient': seenByPatient - admitted,
    };
  } finally {
    await patient.close();
  }
}

async function main() {
  const sources = makeSources();
  const server = await startAnteroom();
  const browsers = await Promise.all([launchChromium(sources.clinician), launchChromium(sources.patient)]);
  const times = new Map();
  try {
    const clinician = await browsers[0].context.newPage();
    await signIn(clinician, server);
    for (let number = 1; number <= COUNT; number += 1) {
      for (const [name, ms] of Object.entries(await admitOnce({ server, clinician, browser: browsers[1] }, number))) {
        times.set(name, [...(times.get(name) ?? []), ms]);
      }
    }
  } finally {
    for (const browser of browsers) await browser.close();
    await server.stop();
    sources.remove();
  }
  const rows = [...times].map(([name, values]) => ({
    name, p50: Math.round(percentile(values, 0.5)), p95: Math.round(percentile(values, 0.95)), max: Math.round(Math.max(...values)),
  }));
  console.log(`${COUNT} admissions between two Chromium, times in ms`);
  for (const { name, p50, p95, max } of rows) {
    const bar = name.includes('first frame') ? `   bar p95 < ${BAR_P95_MS}: ${p95 < BAR_P95_MS ? 'met' : 'NOT MET'}` : '';
    console.log(`  ${name.padEnd(34)}  p50 ${String(p50).padStart(4)}  p95 ${String(p95).padStart(4)}  max ${String(max).padStart(4)}${bar}`);
  }
  mkdirSync(new URL('.', OUT), { recursive: true });
  const machine = { platform: platform(), release: release(), arch: arch(), cores: cpus().length };
  writeFileSync(OUT, `${JSON.stringify({ machine, admissions: COUNT, barP95Ms: BAR_P95_MS, rows, samples: Object.fromEntries(times) }, null, 2)}\n`);
}

await main();
