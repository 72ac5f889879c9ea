// Programs that open links before people do: they run scripts, press every button, and must not spend anything.

import assert from 'node:assert/strict';
import { after, before, describe, it } from 'node:test';
import { launchChromium } from './support/browser.mjs';
import { joinAsPatient, makeVisit, signIn } from './support/flow.mjs';
import { startAnteroom } from './support/server.mjs';

const PRESSABLE = 'button, [role="button"], a[href], summary, input[type="button"], input[type="submit"], input[type="image"]';

describe('links and those who open them first', () => {
  let server;
  let staff;
  let browser;
  let scanner;
  let desk;

  before(async () => {
    // The shortest claim: one that a scanner might take would still stand when the patient comes.
    server = await startAnteroom({ env: { ANTEROOM_JOIN_LEASE: '5s' } });
    [staff, browser, scanner] = await Promise.all([launchChromium(), launchChromium(), launchChromium({ media: false })]);
    desk = await staff.context.newPage();
    await signIn(desk, server);
  });
  after(async () => {
    await staff?.close();
    await browser?.close();
    await scanner?.close();
    await server?.stop();
  });

  const validate = async (link) => {
    const answer = await fetch(`${server.url}/api/token/redeem`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ shortCode: link.split('/').at(-1) }),
    });
    return answer.json();
  };

  it('l-02: a headless browser that runs scripts and clicks every button without media leaves the token active', async () => {
    const { link } = await makeVisit(desk, 'Scanned First');
    const page = await scanner.context.newPage();
    const claims = [];
    const sockets = [];
    page.on('request', (request) => {
      if (request.postData()?.includes('"mode":"redeem"')) claims.push(request.url());
    });
    page.on('websocket', (socket) => sockets.push(socket.url()));
    await page.goto(link);
    await page.getByTestId('opened').waitFor();
    let pressed = 0;
    // Every screen that pressing leads to, and each of them more than once.
    for (let round = 0; round < 8; round += 1) {
      for (const one of await page.locator(PRESSABLE).all()) {
        // What is off or has gone meanwhile cannot be pressed, by a scanner neither.
        pressed += await one.click({ timeout: 500 }).then(() => 1, () => 0);
      }
      await page.waitForLoadState('networkidle');
    }
    assert.ok(pressed >= 4, `${pressed} presses`);
    await page.getByTestId('blocked').waitFor();
    assert.deepEqual([claims, sockets], [[], []]);
    assert.equal((await validate(link)).valid, true);
    // The patient comes right after, and gets in.
    const patient = await (await browser.context.browser().newContext({ permissions: ['camera', 'microphone'] })).newPage();
    await joinAsPatient(patient, link);
    assert.equal((await validate(link)).code, 'TOKEN_ALREADY_USED');
  });

  it('x-03: a preview in an app, and then the real browser with the same link', async () => {
    const { link } = await makeVisit(desk, 'Previewed First');
    const userAgent = 'Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) [FBAN/FBIOS]';
    const preview = await (await scanner.context.browser().newContext({ userAgent })).newPage();
    await preview.goto(link);
    await preview.getByTestId('continue').click();
    await preview.getByTestId('blocked').waitFor();
    const patient = await (await browser.context.browser().newContext({ permissions: ['camera', 'microphone'] })).newPage();
    await joinAsPatient(patient, link);
  });

  it('n-01, n-04: the session is a cookie that no script sees, and no address holds the code after landing', async () => {
    const { link } = await makeVisit(desk, 'Watched');
    const context = await browser.context.browser().newContext({ permissions: ['camera', 'microphone'] });
    const page = await context.newPage();
    const addresses = [];
    page.on('request', (request) => {
      if (!request.isNavigationRequest()) addresses.push([request.url(), request.headers()['referer'] ?? '']);
    });
    page.on('websocket', (socket) => addresses.push([socket.url(), '']));
    const landing = await page.goto(link);
    assert.equal(landing.headers()['referrer-policy'], 'no-referrer');
    await joinAsPatient(page, link);
    const code = link.split('/').at(-1);
    assert.ok(addresses.some(([url]) => url.endsWith('/api/token/redeem')) && addresses.some(([url]) => url.startsWith('ws')));
    for (const one of addresses.flat()) assert.ok(!one.includes(code), one);
    assert.ok(!page.url().includes(code), 'nor does the page keep it');
    const cookies = await context.cookies(server.url);
    const session = cookies.find((cookie) => cookie.name === '__Host-anteroom_session');
    assert.deepEqual([session.httpOnly, session.secure, session.sameSite, session.path], [true, true, 'Strict', '/']);
    assert.equal(await page.evaluate(() => document.cookie), '');
    // The key is there, and no script can read it.
    const extractable = await page.evaluate(async () => {
      const asked = indexedDB.open('anteroom');
      await new Promise((done) => asked.addEventListener('success', done));
      const read = asked.result.transaction('keys').objectStore('keys').get('browser');
      await new Promise((done) => read.addEventListener('success', done));
      return [read.result.privateKey.extractable, await crypto.subtle.exportKey('jwk', read.result.privateKey).then(() => 'read', () => 'refused')];
    });
    assert.deepEqual(extractable, [false, 'refused']);
    // A reload proves the key anew and comes back to the seat.
    await page.reload();
    await page.getByTestId('waiting').waitFor();
    // The cookie elsewhere, without the key, is nobody.
    const thief = await browser.context.browser().newContext();
    await thief.addCookies(cookies);
    const elsewhere = await thief.newPage();
    await elsewhere.goto(`${server.url}/visit`);
    await elsewhere.getByTestId('no-seat').waitFor();
  });
});
