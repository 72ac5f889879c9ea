// Pictures of every state, light and dark, 360 and 1280 px wide, into e2e/out: to be looked at.

import { mkdirSync } from 'node:fs';
import { launchChromium } from './support/browser.mjs';
import { openScene, SCENES } from './support/scene.mjs';
import { serveDist } from './support/static.mjs';

const only = process.argv.slice(2);
const out = new URL('./out', import.meta.url).pathname;
mkdirSync(out, { recursive: true });
const site = await serveDist();
let failures = 0;
for (const colorScheme of ['light', 'dark']) {
  for (const width of [360, 1280]) {
    const viewport = { width, height: width === 360 ? 740 : 800 };
    const browser = await launchChromium({ options: { viewport, colorScheme } });
    for (const scene of SCENES) {
      if (only.length > 0 && !only.includes(scene.name)) continue;
      let page;
      try {
        page = await openScene(browser.context, site.url, scene);
        await page.screenshot({ path: `${out}/${scene.name}-${colorScheme}-${width}.png`, fullPage: true });
      } catch (error) {
        failures += 1;
        console.error(`${scene.name} ${colorScheme} ${width}: ${error.message}`);
      }
      for (const one of browser.context.pages().slice(1)) await one.close();
    }
    await browser.close();
  }
}
await site.close();
console.log(`pictures in ${out}`);
process.exitCode = failures > 0 ? 1 : 0;
