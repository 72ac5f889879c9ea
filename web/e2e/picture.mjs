// A picture of a real call for the README: two browsers, the real server, and two drawn people before their cameras.
// Usage: node e2e/picture.mjs <file.png>

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { launchChromium } from './support/browser.mjs';
import { joinAsPatient, makeVisit, openVisit, signIn } from './support/flow.mjs';
import { untilInbound } from './support/measure.mjs';
import { startAnteroom } from './support/server.mjs';

const FRAMES = 60;
const PEOPLE = {
  clinician: { wall: ['#d9e4e4', '#b9cccb'], coat: '#f3f6f7', shirt: '#3d7c87', skin: '#a9714f', hair: '#1f1714', long: true, plant: true },
  patient: { wall: ['#e9dfd0', '#cdb99e'], coat: '#51688a', shirt: '#51688a', skin: '#d9a886', hair: '#8d8a86', long: false, plant: false },
};

/** Frames of somebody who sits there and breathes, as PNG data URLs. */
function draw([person, count]) {
  const canvas = document.createElement('canvas');
  canvas.width = 640;
  canvas.height = 360;
  const paint = canvas.getContext('2d');
  const ellipse = (colour, x, y, w, h, from = 0, to = 7) => {
    paint.fillStyle = colour;
    paint.beginPath();
    paint.ellipse(x, y, w, h, 0, from, to);
    paint.fill();
  };
  const frames = [];
  for (let n = 0; n < count; n += 1) {
    const sway = Math.sin((n / count) * 2 * Math.PI);
    const x = 320 + sway * 4;
    const wall = paint.createLinearGradient(0, 0, 640, 360);
    person.wall.forEach((colour, index) => wall.addColorStop(index, colour));
    paint.fillStyle = wall;
    paint.fillRect(0, 0, 640, 360);
    paint.fillStyle = 'rgb(255 255 255 / 45%)';
    paint.fillRect(60, 30, 120, 150);
    if (person.plant) for (let leaf = 0; leaf < 7; leaf += 1) ellipse('#5b8a62', 548 + leaf * 9 - 27, 210 - (leaf % 3) * 22, 9, 40);
    if (person.plant) ellipse('#a36a4a', 548, 262, 34, 28);
    if (person.long) ellipse(person.hair, x, 190, 92, 120);
    ellipse(person.coat, x, 400 - sway * 2, 190, 130);
    ellipse(person.shirt, x, 330 - sway * 2, 52, 62);
    ellipse(person.skin, x, 262, 32, 46);
    if (!person.long) ellipse(person.hair, x, 128, 76, 70);
    ellipse(person.skin, x, 172, 68, 86);
    ellipse(person.hair, x, 118, 72, 40, Math.PI, 2 * Math.PI);
    for (const side of [-1, 1]) {
      ellipse('#ffffff', x + side * 26, 168, 11, n % count > count - 4 ? 1 : 7);
      ellipse('#2b211c', x + side * 26, 168, 5, n % count > count - 4 ? 1 : 5);
    }
    paint.strokeStyle = '#8c4a3c';
    paint.lineWidth = 4;
    paint.beginPath();
    paint.arc(x, 196, 26, 0.35, Math.PI - 0.35);
    paint.stroke();
    frames.push(canvas.toDataURL('image/png'));
  }
  return frames;
}

const out = process.argv[2];
if (!out) throw new Error('usage: node e2e/picture.mjs <file.png>');
const folder = mkdtempSync(join(tmpdir(), 'anteroom-picture-'));
const studio = await launchChromium();
const easel = await studio.context.newPage();
const videos = {};
for (const [name, person] of Object.entries(PEOPLE)) {
  const frames = await easel.evaluate(draw, [person, FRAMES]);
  frames.forEach((url, index) => writeFileSync(join(folder, `${name}-${String(index).padStart(3, '0')}.png`), Buffer.from(url.split(',')[1], 'base64')));
  videos[name] = join(folder, `${name}.y4m`);
  execFileSync('ffmpeg', ['-v', 'error', '-y', '-framerate', '30', '-i', join(folder, `${name}-%03d.png`), '-pix_fmt', 'yuv420p', videos[name]]);
}
await studio.close();

const server = await startAnteroom();
const browsers = await Promise.all([launchChromium({ video: videos.clinician }), launchChromium({ video: videos.patient })]);
try {
  const [clinician, patient] = await Promise.all(browsers.map((browser) => browser.context.newPage()));
  await signIn(clinician, server);
  const { visitId, link } = await makeVisit(clinician, 'Ana Rivera');
  await openVisit(clinician, visitId);
  await joinAsPatient(patient, link);
  await clinician.getByTestId('admit').click();
  // Long enough for the encoder to have reached its full rate.
  await untilInbound(clinician, (now) => now.frames > 240, 'a sharp picture', 30_000);
  await clinician.getByTestId('bars').waitFor();
  await clinician.screenshot({ path: out });
} finally {
  await Promise.all(browsers.map((browser) => browser.close()));
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
}
