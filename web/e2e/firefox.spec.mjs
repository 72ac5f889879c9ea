// The same call with Firefox as the patient: another engine, another DTLS, another set of codecs.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { launchChromium, launchFirefox } from './support/browser.mjs';
import { assertLength, consentOnBothSides, download, joinAsPatient, listRecordings, makeVisit, openVisit, record, signIn } from './support/flow.mjs';
import { inbound, remoteTone, soundBytes, untilInbound } from './support/measure.mjs';
import { CLINICIAN, colourAt, colourDistance, makeSources, probe } from './support/media.mjs';
import { startAnteroom } from './support/server.mjs';
import { story } from './support/step.mjs';

describe('a visit between Chromium and Firefox', () => {
  let server;
  let sources;
  let chromium;
  let firefox;
  let clinician;
  let patient;
  let visit;
  let folder;
  const step = story(() => ({ pages: { clinician, patient }, server }));

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'anteroom-artefacts-'));
    sources = makeSources();
    server = await startAnteroom();
    [chromium, firefox] = await Promise.all([launchChromium(sources.clinician), launchFirefox()]);
    clinician = await chromium.context.newPage();
    patient = await firefox.browser.newPage();
  });
  after(async () => {
    await chromium?.close();
    await firefox?.close();
    await server?.stop();
    sources?.remove();
    rmSync(folder, { recursive: true, force: true });
  });

  step('waits behind the door without a packet', async () => {
    await signIn(clinician, server);
    visit = await makeVisit(clinician, 'Fox Patient');
    await openVisit(clinician, visit.visitId);
    await joinAsPatient(patient, visit.link);
    await clinician.getByTestId('admit').waitFor();
    await untilInbound(patient, (now) => now.connected, 'Firefox is connected to the media server');
    await new Promise((resolve) => setTimeout(resolve, 1_500));
    for (const page of [patient, clinician]) {
      const now = await inbound(page);
      assert.deepEqual([now.packets, now.frames], [0, 0], 'nothing before admission');
    }
  });

  step('sees and hears both ways after admission', async () => {
    await clinician.getByTestId('admit').click();
    await patient.waitForSelector('[data-testid="stage"]');
    for (const [page, who] of [[patient, 'Firefox'], [clinician, 'Chromium']]) {
      const first = await untilInbound(page, (now) => now.frames > 0 && now.audioPackets > 0, `${who} decodes`);
      await untilInbound(page, (now) => now.frames > first.frames + 20 && now.audioPackets > first.audioPackets + 20, `${who} goes on decoding`);
    }
    const [red, plain] = await Promise.all([clinician, patient].map(soundBytes));
    console.log(`  bytes of sound a packet: Chromium sends ${red.sent.toFixed(0)}, Firefox hears ${plain.heard.toFixed(0)}`);
    assert.ok(red.sent > 120, 'Chromium says each frame twice');
    assert.ok(plain.heard > 0 && plain.heard < 110, 'and Firefox, which does not know that, gets it once');
    // Headless Firefox has no sound card to analyse with; its decoder's own measure of loudness has to do.
    await untilInbound(patient, (now) => now.energy > 0.001, 'Firefox hears');
    const tone = await remoteTone(clinician);
    console.log(`  Firefox's fake microphone hums at ${tone.hz.toFixed(1)} Hz`);
    assert.ok(Math.abs(tone.hz - 1000) < 10, `Firefox's tone: heard ${tone.hz} Hz`);
  });

  step('is recorded with both of them', async () => {
    await consentOnBothSides(clinician, patient);
    const recorded = await record(clinician, patient, 5_000);
    await clinician.locator('[data-testid="recording-row"][data-status="STORED"]').waitFor({ timeout: 30_000 });
    const [recording] = await listRecordings(clinician, visit.visitId);
    const people = recording.artefacts.filter((artefact) => artefact.participantId);
    assert.equal(people.length, 2);
    const clinicianId = await clinician.evaluate(() => window.__anteroom.visit.state.you.participantId);
    for (const artefact of people) {
      const file = join(folder, artefact.name.replaceAll('/', '_'));
      writeFileSync(file, (await download(clinician, recording.recordingId, artefact.name)).bytes);
      const found = probe(file);
      assert.deepEqual([found.video.length, found.audio.length], [1, 1]);
      assertLength(artefact.name, found.seconds, recorded);
      if (artefact.participantId === clinicianId) {
        assert.ok(colourDistance(colourAt(file, recorded.least / 2), CLINICIAN.colour) < 40, 'the clinician in their own file');
      }
    }
  });
});
