// Steps of one story: each is a test, and after one that failed the rest is skipped instead of timing out one by one.

import { mkdirSync } from 'node:fs';
import { it } from 'node:test';

/** `evidence` gives what to keep when a step fails: pages by name, and the server whose log is printed. */
export function story(evidence) {
  let failed = null;
  return (name, run) =>
    it(name, async (context) => {
      if (failed !== null) {
        context.skip(`after: ${failed}`);
        return;
      }
      try {
        await run(context);
      } catch (error) {
        failed = name;
        await keep(evidence());
        throw error;
      }
    });
}

async function keep({ pages, server }) {
  const out = new URL('../out/', import.meta.url).pathname;
  mkdirSync(out, { recursive: true });
  for (const [name, page] of Object.entries(pages)) {
    await page?.screenshot({ path: `${out}failed-${name}.png` }).catch(() => undefined);
  }
  console.error(server?.log.slice(-80).join('\n'));
}
