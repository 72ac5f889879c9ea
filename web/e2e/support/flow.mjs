// The steps that specs share: sign in, make a visit, open a link, wait, be admitted.

import assert from 'node:assert/strict';

/** Signs a clinician in through the page, with a token as a portal would bring one. */
export async function signIn(page, server, sub = 'demo-clinician') {
  await page.goto(`${server.url}/desk?debug=1&raw=1`);
  await page.getByTestId('token').fill(server.token('clinician', sub));
  await page.getByTestId('sign-in-token').click();
  await page.getByTestId('desk').waitFor();
}

/** The visit that each page made last. */
const lastOf = new WeakMap();

/** A clinician has one visit at a time: the one before is called off, or ended where somebody was let in. */
async function makeRoom(page) {
  const before = lastOf.get(page);
  if (before === undefined) return;
  await page.evaluate(async (visitId) => {
    for (const endReason of ['CANCELLED', 'NORMAL']) {
      const headers = { 'content-type': 'application/json', 'x-anteroom': '1' };
      const answer = await fetch(`/api/visits/${visitId}/end`, { method: 'POST', headers, body: JSON.stringify({ endReason }) });
      if (answer.ok) return;
    }
  }, before);
}

/** Makes a visit at the desk; answers its id and the patient's link. */
export async function makeVisit(page, patientName) {
  await makeRoom(page);
  const created = page.waitForResponse((response) => new URL(response.url()).pathname === '/api/visits' && response.request().method() === 'POST');
  await page.getByTestId('patient-name').fill(patientName);
  await page.getByTestId('create-visit').click();
  const { visitId } = await (await created).json();
  lastOf.set(page, visitId);
  const box = page.getByTestId('new-visit').getByTestId('link-url');
  await page.getByTestId('new-visit').getByText(`Link for ${patientName}`).waitFor();
  return { visitId, link: await box.getAttribute('href') };
}

/** Opens a visit from the desk; the clinician is then inside and alone. */
export async function openVisit(page, visitId) {
  await page.locator(`[data-visit="${visitId}"]`).getByTestId('open-visit').click();
  await page.getByTestId('staff-call').and(page.locator('[data-link="open"]')).waitFor();
}

const selector = (testid) => `[data-testid="${testid}"]`;

/** From the link to the waiting room; works with pages of Playwright and of Puppeteer. */
export async function joinAsPatient(page, link) {
  await page.goto(`${link}?debug=1&raw=1`);
  for (const testid of ['continue', 'join']) {
    await page.waitForSelector(`${selector(testid)}:not([disabled])`);
    await page.click(selector(testid));
  }
  await page.waitForSelector(selector('waiting'));
}

/** Asks everyone, and both answer yes. */
export async function consentOnBothSides(clinician, patient) {
  await clinician.getByTestId('record').click();
  for (const page of [clinician, patient]) {
    await page.waitForSelector(selector('consent-sheet'));
    await page.click(selector('consent-yes'));
  }
  await clinician.getByText('Everyone here agreed').waitFor();
}

/**
 * Records for `ms`; answers the least and the most that a recording can hold, by this machine's clock: from the sign to the click that
 * ends it, and from the click that starts it to the sign's end. On a busy machine the two lie apart.
 */
export async function record(clinician, patient, ms) {
  const clicked = Date.now();
  await clinician.getByTestId('record').click();
  await Promise.all([clinician.waitForSelector(selector('recording-sign')), patient.waitForSelector(selector('recording-sign'))]);
  const from = Date.now();
  await new Promise((resolve) => setTimeout(resolve, ms));
  const till = Date.now();
  await clinician.getByTestId('record').click();
  await clinician.getByTestId('recording-sign').waitFor({ state: 'detached' });
  return { least: (till - from) / 1000, most: (Date.now() - clicked) / 1000 };
}

/** That a file of so many seconds holds what was recorded, within half a second. */
export function assertLength(what, seconds, { least, most }) {
  assert.ok(seconds >= least - 0.5 && seconds <= most + 0.5, `${what}: ${seconds} s, recorded ${least} to ${most} s`);
}

/** The bytes of an artefact, fetched in the page with its cookie, and whether a range of it came as asked. */
export async function download(page, recordingId, name) {
  const got = await page.evaluate(
    async ({ id, artefact }) => {
      const grant = await fetch(`/api/recordings/${id}/playback`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', 'x-anteroom': '1' },
        body: JSON.stringify({ artefact }),
      });
      const { url } = await grant.json();
      const whole = await fetch(url);
      const bytes = new Uint8Array(await whole.arrayBuffer());
      const part = await fetch(url, { headers: { range: 'bytes=10-109' } });
      const slice = new Uint8Array(await part.arrayBuffer());
      const base64 = await new Promise((resolve) => {
        const reader = new FileReader();
        reader.addEventListener('load', () => resolve(String(reader.result).split(',')[1]));
        reader.readAsDataURL(new Blob([bytes]));
      });
      return {
        status: [grant.status, whole.status, part.status],
        base64,
        rangeOk: slice.length === 100 && slice.every((byte, index) => byte === bytes[index + 10]),
      };
    },
    { id: recordingId, artefact: name },
  );
  return { ...got, bytes: Buffer.from(got.base64 ?? '', 'base64') };
}

/** The visit's recordings as the API lists them. */
export async function listRecordings(page, visitId) {
  return page.evaluate(async (id) => (await (await fetch(`/api/visits/${id}/recordings`)).json()).recordings, visitId);
}
