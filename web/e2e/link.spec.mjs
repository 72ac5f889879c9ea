// Links that do not open, one page each; and that looking never spends.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { launchChromium } from './support/browser.mjs';
import { joinAsPatient, makeVisit, openVisit, signIn } from './support/flow.mjs';
import { startAnteroom } from './support/server.mjs';

describe('links', () => {
  let server;
  let staff;
  let browser;
  let desk;

  before(async () => {
    server = await startAnteroom();
    [staff, browser] = await Promise.all([launchChromium(), launchChromium()]);
    desk = await staff.context.newPage();
    await signIn(desk, server);
  });
  after(async () => {
    await staff?.close();
    await browser?.close();
    await server?.stop();
  });

  /** A page that shares no cookie and no storage with the others. */
  const stranger = async () => (await browser.context.browser().newContext()).newPage();

  it('are not spent by a hundred looks, and spent by one redeem', async () => {
    const { link } = await makeVisit(desk, 'Looked At');
    for (let n = 0; n < 100; n += 1) {
      const response = await fetch(link, { method: n % 2 === 0 ? 'GET' : 'HEAD' });
      assert.equal(response.status, 200);
      assert.match(response.headers.get('cache-control') ?? '', /no-store/);
    }
    const [first, second] = [await browser.context.newPage(), await stranger()];
    for (const page of [first, second]) {
      await page.goto(link);
      await page.getByTestId('continue').click();
      await page.getByTestId('join').and(page.locator(':not([disabled])')).waitFor();
    }
    await first.getByTestId('join').click();
    await first.getByTestId('waiting').waitFor();
    const answer = second.waitForResponse((response) => response.url().endsWith('/api/token/redeem'));
    await second.getByTestId('join').click();
    assert.equal((await answer).status(), 409);
    await second.getByTestId('dead-used').waitFor();
    const third = await stranger();
    await third.goto(link);
    await third.getByTestId('dead-used').waitFor();
    assert.match(await third.getByTestId('call-for-help').innerText(), /\d/, 'the number of the practice is there');
    // Who spent it comes back to the seat, by the same link.
    await first.goto(link);
    await first.getByTestId('waiting').waitFor();
  });

  it('that were replaced, or never existed, each have their page', async () => {
    const { visitId, link } = await makeVisit(desk, 'Replaced');
    await desk.locator(`[data-visit="${visitId}"]`).getByTestId('mint-link').click();
    const newer = await desk.locator(`[data-visit="${visitId}"]`).getByTestId('link-url').getAttribute('href');
    assert.notEqual(newer, link);
    const page = await stranger();
    await page.goto(link);
    await page.getByTestId('dead-expired').waitFor();
    await page.goto(newer);
    await page.getByTestId('opened').waitFor();
    await page.goto(`${server.url}/j/zzzzzzzzzzz`);
    await page.getByTestId('dead-invalid').waitFor();
    await page.goto(`${server.url}/visit`);
    await page.getByTestId('no-seat').waitFor();
  });

  it('lead somebody who is turned away to neutral words, and do not let them back', async () => {
    const { visitId, link } = await makeVisit(desk, 'Turned Away');
    const page = await stranger();
    await joinAsPatient(page, link);
    await openVisit(desk, visitId);
    await desk.getByTestId('more').click();
    await desk.getByTestId('deny').click();
    await desk.getByTestId('confirm').waitFor();
    assert.match(await desk.getByTestId('confirm').innerText(), /Turned Away/, 'the question names the person');
    await desk.getByTestId('confirm-yes').click();
    await page.getByTestId('denied').waitFor();
    assert.doesNotMatch(await page.locator('main').innerText(), /den|refus|reject/i);
    await page.reload();
    await page.getByTestId('waiting').waitFor({ state: 'detached' });
    await page.getByTestId('no-seat').or(page.getByTestId('denied')).waitFor();
    await desk.getByTestId('to-desk').click();
    await desk.getByTestId('desk').waitFor();
  });
});
