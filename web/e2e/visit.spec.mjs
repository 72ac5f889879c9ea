// The first real visit: two Chromium with pictures and tones of their own, a door that holds, and a recording that plays.

import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe } from 'node:test';
import { launchChromium } from './support/browser.mjs';
import { assertLength, consentOnBothSides, download, joinAsPatient, listRecordings, makeVisit, openVisit, record, signIn } from './support/flow.mjs';
import { inbound, markAt, remoteColour, remoteTone, soundBytes, untilInbound } from './support/measure.mjs';
import { CLINICIAN, colourAt, colourDistance, decodedSpan, makeSources, PATIENT, probe, toneShare } from './support/media.mjs';
import { startAnteroom } from './support/server.mjs';
import { story } from './support/step.mjs';

/** How far a colour may move on its way through 4:2:0, VP8 and a canvas. */
const COLOUR_SLACK = 40;
const RECORD_MS = 6_000;

describe('a visit between two Chromium', () => {
  let server;
  let sources;
  let browsers;
  let clinician;
  let patient;
  let visit;
  let recorded;
  let folder;
  const step = story(() => ({ pages: { clinician, patient }, server }));

  before(async () => {
    folder = mkdtempSync(join(tmpdir(), 'anteroom-artefacts-'));
    sources = makeSources();
    server = await startAnteroom();
    browsers = await Promise.all([launchChromium(sources.clinician), launchChromium(sources.patient)]);
    [clinician, patient] = await Promise.all(browsers.map((browser) => browser.context.newPage()));
  });
  after(async () => {
    await Promise.all((browsers ?? []).map((browser) => browser.close()));
    const end = await server?.stop();
    sources?.remove();
    rmSync(folder, { recursive: true, force: true });
    if (end) assert.ok(end.ms < 5_000, `the server stops within 5 s, took ${end.ms} ms`);
  });

  step('keeps the door: connected, and not one packet before admission', async () => {
    await signIn(clinician, server);
    visit = await makeVisit(clinician, 'Test Patient');
    await openVisit(clinician, visit.visitId);
    await joinAsPatient(patient, visit.link);
    await clinician.getByTestId('admit').waitFor();
    await untilInbound(patient, (now) => now.connected, 'the waiting patient is connected to the media server');
    await untilInbound(clinician, (now) => now.connected, 'the clinician is connected to the media server');
    // Long enough for a leak to show: at 30 frames a second this is 60 frames.
    await new Promise((resolve) => setTimeout(resolve, 2_000));
    for (const [page, who] of [[patient, 'patient'], [clinician, 'clinician']]) {
      const now = await inbound(page);
      assert.equal(now.packets, 0, `${who}: RTP packets before admission`);
      assert.equal(now.frames, 0, `${who}: frames before admission`);
    }
    assert.match(await patient.getByTestId('position').innerText(), /next/);
    assert.match(await clinician.title(), /^\(1\)/);
  });

  step('admits by one press: both see and hear each other at once', async () => {
    await clinician.getByTestId('admit').click();
    await patient.getByTestId('stage').waitFor();
    for (const [page, who] of [[patient, 'patient'], [clinician, 'clinician']]) {
      const first = await untilInbound(page, (now) => now.frames > 0 && now.audioPackets > 0, `${who} decodes`);
      await untilInbound(page, (now) => now.frames > first.frames + 20, `${who} goes on decoding`);
      console.log(`  ${who}: ${first.cipher}`);
    }
    const click = await markAt(clinician, 'anteroom:admit-click');
    const admitted = await markAt(patient, 'anteroom:admitted');
    const frames = await Promise.all([patient, clinician].map((page) => markAt(page, 'anteroom:first-frame')));
    console.log(`  admit to first frame: ${Math.round(frames[0] - admitted)} ms (patient)`);
    console.log(`  click to first frame: ${Math.round(frames[0] - click)} ms (patient), ${Math.round(frames[1] - click)} ms (clinician)`);
    assert.ok(frames.every((at) => at !== null && at - click < 3_000), 'the picture is there within 3 s');
  });

  step('shows the right picture and sound on each side', async () => {
    for (const [page, other] of [[patient, CLINICIAN], [clinician, PATIENT]]) {
      const colour = await remoteColour(page);
      assert.ok(colourDistance(colour, other.colour) < COLOUR_SLACK, `${other.name}'s colour: saw ${colour}`);
      const tone = await remoteTone(page);
      console.log(`  ${other.name} hums at ${tone.hz.toFixed(1)} Hz (${tone.decibels.toFixed(0)} dB), looks like ${colour}`);
      assert.ok(Math.abs(tone.hz - other.tone) < 10, `${other.name}'s tone: heard ${tone.hz} Hz`);
    }
  });

  step('says each frame of sound twice, and passes that on', async () => {
    for (const [page, who] of [[patient, 'patient'], [clinician, 'clinician']]) {
      const sound = await soundBytes(page);
      console.log(`  ${who}: ${sound.sent.toFixed(0)} bytes a packet sent, ${sound.heard.toFixed(0)} heard`);
      assert.ok(sound.sent > 120 && sound.heard > 120, `${who}: ${JSON.stringify(sound)}`);
    }
  });

  step('carries mute and camera to the other side', async () => {
    await patient.getByTestId('toggle-mic').click();
    await clinician.getByText('Test Patient · muted').waitFor();
    await patient.getByTestId('toggle-mic').click();
    await patient.getByTestId('toggle-camera').click();
    await clinician.getByTestId('remote-tile').getByText('Camera is off').waitFor();
    await patient.getByTestId('toggle-camera').click();
    await clinician.getByTestId('remote-tile').getByText('Camera is off').waitFor({ state: 'detached' });
    const before = await inbound(clinician);
    await untilInbound(clinician, (now) => now.frames > before.frames + 10, 'the picture comes back');
  });

  step('leads back to the same seat after a reload', async () => {
    const before = await patient.evaluate(() => window.__anteroom.visit.state.you.participantId);
    await patient.reload();
    await patient.getByTestId('stage').waitFor();
    assert.equal(await patient.evaluate(() => window.__anteroom.visit.state.you.participantId), before);
    await untilInbound(patient, (now) => now.frames > 10, 'the patient sees again');
    const mark = await inbound(clinician);
    await untilInbound(clinician, (now) => now.frames > mark.frames + 10, 'the clinician sees again');
    assert.equal(await clinician.getByTestId('waiting-entry').count(), 0, 'nobody has to be admitted twice');
  });

  step('records only after everyone agreed, and says so while it does', async () => {
    assert.equal(await clinician.getByTestId('recording-sign').count(), 0);
    await consentOnBothSides(clinician, patient);
    recorded = await record(clinician, patient, RECORD_MS);
    await clinician.locator('[data-testid="recording-row"][data-status="STORED"]').waitFor({ timeout: 30_000 });
    assert.equal(await patient.getByTestId('recording-sign').count(), 0);
  });

  step('stores both people and the mix, with the right length, pictures and tones', async () => {
    const [recording] = await listRecordings(clinician, visit.visitId);
    assert.equal(recording.status, 'STORED');
    const people = await clinician.evaluate(async (id) => {
      const view = await (await fetch(`/api/visits/${id}`)).json();
      return { clinician: view.clinician.participantId, patient: view.patient.participantId };
    }, visit.visitId);
    const seen = new Set();
    for (const artefact of recording.artefacts) {
      const got = await download(clinician, recording.recordingId, artefact.name);
      assert.deepEqual(got.status.slice(1), [200, 206], `${artefact.name}: whole and range`);
      assert.ok(got.rangeOk, `${artefact.name}: the range is the file's own`);
      assert.equal(got.bytes.length, artefact.bytes, `${artefact.name}: size as listed`);
      const file = join(folder, artefact.name.replaceAll('/', '_'));
      writeFileSync(file, got.bytes);
      const found = probe(file);
      const within = (seconds, what) => assertLength(`${artefact.name}: ${what}`, seconds, recorded);
      within(found.seconds, 'duration');
      assert.equal(found.audio.length, 1, `${artefact.name}: sound`);
      if (artefact.participantId) {
        const who = artefact.participantId === people.clinician ? CLINICIAN : PATIENT;
        seen.add(who.name);
        assert.equal(found.video.length, 1, `${artefact.name}: picture`);
        const video = decodedSpan(file, 'video');
        within(video.last - video.first, 'decoded video');
        const colour = colourAt(file, recorded.least / 2);
        assert.ok(colourDistance(colour, who.colour) < COLOUR_SLACK, `${artefact.name}: ${who.name} looks like ${colour}`);
        assert.ok(toneShare(file, who.tone, 2) > 0.5, `${artefact.name}: ${who.name}'s tone`);
        console.log(`  ${artefact.name}: ${who.name}, ${found.video[0].codec_name}+${found.audio[0].codec_name}, ${found.seconds.toFixed(2)} s, ${video.frames} frames, colour ${colour}`);
      } else {
        seen.add('mix');
        const shares = [CLINICIAN.tone, PATIENT.tone].map((tone) => toneShare(file, tone, 2));
        assert.ok(shares.every((share) => share > 0.1), `${artefact.name}: both tones, ${shares}`);
        console.log(`  ${artefact.name}: ${found.audio[0].codec_name}, ${found.seconds.toFixed(2)} s, tone shares ${shares.map((share) => share.toFixed(2))}`);
      }
    }
    assert.deepEqual([...seen].sort(), ['clinician', 'mix', 'patient']);
  });

  step('plays in the browser', async () => {
    const buttons = clinician.getByTestId('play');
    const count = await buttons.count();
    assert.ok(count >= 3, 'both people and the mix can be played');
    for (let n = 0; n < count; n += 1) {
      // A button gives way to its player, so the next one is the first.
      const name = await buttons.first().getAttribute('data-name');
      await buttons.first().click();
      const player = clinician.locator(`[data-testid="player"][data-name="${name}"]`);
      await player.waitFor();
      await clinician.waitForFunction((element) => element.error !== null || element.currentTime > 0.5, await player.elementHandle());
      const shape = await player.evaluate((element) => ({
        tag: element.tagName, error: element.error?.message ?? null, width: element.videoWidth ?? 0, seconds: element.duration,
      }));
      console.log(`  plays ${name}: ${JSON.stringify(shape)}`);
      assert.equal(shape.error, null);
      if (shape.tag === 'VIDEO') assert.ok(shape.width > 0, `${name} shows a picture`);
    }
  });

  step('ends for everyone, and leaves the recordings to the clinician', async () => {
    await clinician.getByTestId('end-visit').click();
    await clinician.getByTestId('confirm-yes').click();
    await clinician.getByTestId('after-call').waitFor();
    await patient.getByTestId('ended').waitFor();
    await clinician.getByTestId('recording-row').waitFor();
  });
});
