// Real browsers, headless: Chromium through Playwright, Firefox through WebDriver BiDi.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { chromium } from 'playwright-core';
import { launch as launchBidi } from 'puppeteer-core';

export const CHROMIUM = process.env.ANTEROOM_CHROMIUM ?? '/usr/bin/chromium';
const FIREFOX = process.env.ANTEROOM_FIREFOX ?? '/usr/bin/firefox-esr';

function freshDirectory(name) {
  return mkdtempSync(join(tmpdir(), `anteroom-${name}-`));
}

/**
 * A Chromium of its own, because a fake camera belongs to a process. Closing it removes its profile. Without `media` it has neither
 * camera nor microphone, and nobody who would allow them, as on a mail scanner's machine.
 */
export async function launchChromium({ video, audio, options = {}, program = CHROMIUM, media = true } = {}) {
  const profile = freshDirectory('chromium');
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: program,
    headless: false,
    args: [
      '--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', ...(media ? ['--use-fake-device-for-media-stream', '--use-fake-ui-for-media-stream'] : []),
      '--autoplay-policy=no-user-gesture-required', '--disable-background-timer-throttling', '--disable-renderer-backgrounding',
      '--disable-backgrounding-occluded-windows',
      ...(video ? [`--use-file-for-fake-video-capture=${video}`] : []),
      ...(audio ? [`--use-file-for-fake-audio-capture=${audio}`] : []),
    ],
    viewport: { width: 1280, height: 800 },
    ...options,
  });
  context.setDefaultTimeout(20_000);
  return {
    context,
    close: async () => {
      await context.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}

/** Firefox with its own fake camera and a fake microphone that hums at 1000 Hz. */
export async function launchFirefox() {
  const profile = freshDirectory('firefox');
  const browser = await launchBidi({
    browser: 'firefox',
    executablePath: FIREFOX,
    headless: true,
    userDataDir: profile,
    extraPrefsFirefox: {
      'media.navigator.permission.disabled': true,
      'media.navigator.streams.fake': true,
      'media.peerconnection.ice.loopback': true,
      'media.peerconnection.ice.obfuscate_host_addresses': false,
      'media.autoplay.default': 0,
      'media.gmp-manager.updateEnabled': false,
      'app.update.enabled': false,
      'toolkit.telemetry.enabled': false,
      'datareporting.healthreport.uploadEnabled': false,
      'network.captive-portal-service.enabled': false,
      'network.connectivity-service.enabled': false,
      'extensions.update.enabled': false,
    },
  });
  return {
    browser,
    close: async () => {
      await browser.close();
      rmSync(profile, { recursive: true, force: true });
    },
  };
}
