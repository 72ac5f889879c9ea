// Every state of every screen: clean for axe in both themes and both widths, and walked by keyboard alone.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { after, before, describe, it } from 'node:test';
import { launchChromium } from './support/browser.mjs';
import { openScene, SCENES } from './support/scene.mjs';
import { serveDist } from './support/static.mjs';

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const TAGS = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];

async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate((tags) => window.axe.run(document, { runOnly: { type: 'tag', values: tags }, resultTypes: ['violations'] }), TAGS);
  return found.violations.map((one) => `${one.id}: ${one.help} at ${one.nodes.map((node) => node.html).join(' | ')}`);
}

/** Presses Tab until the element with this test id has the focus. */
async function tabTo(page, testid) {
  for (let presses = 0; presses < 40; presses += 1) {
    await page.keyboard.press('Tab');
    const at = await page.evaluate(() => document.activeElement?.getAttribute('data-testid'));
    if (at === testid) return;
  }
  assert.fail(`${testid} is not reached by Tab`);
}

describe('screens', () => {
  let site;
  before(async () => {
    site = await serveDist();
  });
  after(() => site.close());

  for (const [colorScheme, width] of [['light', 360], ['dark', 1280]]) {
    it(`are clean for axe, ${colorScheme} at ${width} px`, async () => {
      const browser = await launchChromium({ options: { viewport: { width, height: 800 }, colorScheme, reducedMotion: 'reduce' } });
      try {
        const bad = [];
        for (const scene of SCENES) {
          const page = await openScene(browser.context, site.url, scene);
          for (const one of await violations(page)) bad.push(`${scene.name}: ${one}`);
          const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
          if (overflow > 0) bad.push(`${scene.name}: scrolls sideways by ${overflow} px`);
          await page.close();
        }
        assert.deepEqual(bad, []);
      } finally {
        await browser.close();
      }
    });
  }

  it('keep End and Mute at 320 px and at 200 % text', async () => {
    const browser = await launchChromium({ options: { viewport: { width: 320, height: 640 } } });
    try {
      const page = await openScene(browser.context, site.url, SCENES.find((scene) => scene.name === 'call'));
      await page.evaluate(() => (document.documentElement.style.fontSize = '200%'));
      for (const testid of ['toggle-mic', 'leave']) {
        const box = await page.getByTestId(testid).boundingBox();
        assert.ok(box && box.x >= 0 && box.x + box.width <= 320 && box.y + box.height <= 640, `${testid} stays in view`);
      }
    } finally {
      await browser.close();
    }
  });

  it('lead a patient from the link to the device check by keyboard', async () => {
    const browser = await launchChromium();
    try {
      const page = await openScene(browser.context, site.url, SCENES.find((scene) => scene.name === 'opened'));
      assert.equal(await page.evaluate(() => document.activeElement?.tagName), 'H1', 'the heading has the focus first');
      await tabTo(page, 'continue');
      await page.keyboard.press('Enter');
      await page.getByTestId('mic-select').waitFor();
      await tabTo(page, 'mic-select');
      await tabTo(page, 'play-sound');
      await tabTo(page, 'join');
    } finally {
      await browser.close();
    }
  });

  it('hold a call by keyboard: letters, the list of letters, and switching them off', async () => {
    const browser = await launchChromium();
    try {
      const page = await openScene(browser.context, site.url, SCENES.find((scene) => scene.name === 'call'));
      const pressed = (testid) => page.getByTestId(testid).getAttribute('aria-pressed');
      await page.keyboard.press('m');
      assert.equal(await pressed('toggle-mic'), 'true');
      await page.keyboard.press('m');
      assert.equal(await pressed('toggle-mic'), 'false');
      await page.keyboard.press('v');
      await page.getByTestId('toggle-camera').and(page.locator('[aria-pressed="true"]')).waitFor();
      await page.keyboard.press('?');
      await page.getByTestId('shortcuts').waitFor();
      await page.getByTestId('shortcuts-toggle').focus();
      await page.keyboard.press('Enter');
      await page.keyboard.press('Escape');
      await page.getByTestId('shortcuts').waitFor({ state: 'detached' });
      await page.keyboard.press('m');
      assert.equal(await pressed('toggle-mic'), 'false', 'letters are off');
      await tabTo(page, 'leave');
      await page.keyboard.press('Enter');
      await page.getByTestId('confirm').waitFor();
      assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('data-testid')), 'confirm-no', 'the safe answer comes first');
    } finally {
      await browser.close();
    }
  });

  it('answer a consent sheet by keyboard, and give the focus back', async () => {
    const browser = await launchChromium();
    try {
      const page = await openScene(browser.context, site.url, SCENES.find((scene) => scene.name === 'call-consent'));
      assert.equal(await page.evaluate(() => document.activeElement?.getAttribute('data-testid')), 'consent-sheet');
      await tabTo(page, 'consent-yes');
      await page.keyboard.press('Enter');
      await page.getByTestId('consent-sheet').waitFor({ state: 'detached' });
      assert.match(await page.getByTestId('announce-polite').innerText(), /agreed/);
    } finally {
      await browser.close();
    }
  });
});
