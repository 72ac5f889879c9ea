// The server side of an application that was written for Chime: signed requests to the control plane, and the page with the npm client.

import { execFileSync } from 'node:child_process';
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { connect, createServer as createTcp } from 'node:net';
import { readFile } from 'node:fs/promises';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join, normalize, resolve } from 'node:path';
import { build } from 'vite';

const BINARY = resolve(process.env.ANTEROOM_BIN ?? new URL('../../../target/debug/anteroom', import.meta.url).pathname);
const HERE = new URL('.', import.meta.url).pathname;
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };
const REGION = 'us-east-1';

const sha256 = (text) => createHash('sha256').update(text).digest('hex');
const hmac = (key, text) => createHmac('sha256', key).update(text).digest();

/** An application's access to the control plane: Signature V4 over the two headers that matter. */
export function controlPlane(server) {
  const key = JSON.parse(execFileSync(BINARY, ['chime-key', 'create', '--data-dir', server.data], { encoding: 'utf8' }));
  return async (method, path, body) => {
    const text = body === undefined ? '' : JSON.stringify(body);
    const url = new URL(path, server.url);
    const stamp = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
    const scope = `${stamp.slice(0, 8)}/${REGION}/chime/aws4_request`;
    const query = [...url.searchParams].map((pair) => pair.map(encodeURIComponent).join('=')).sort().join('&');
    const canonical = [method, url.pathname, query, `host:${url.host}\nx-amz-date:${stamp}\n`, 'host;x-amz-date', sha256(text)].join('\n');
    const signing = ['aws4_request', 'chime', REGION, stamp.slice(0, 8)].reduceRight((secret, part) => hmac(secret, part), `AWS4${key.secretAccessKey}`);
    const signature = createHmac('sha256', signing).update(['AWS4-HMAC-SHA256', stamp, scope, sha256(canonical)].join('\n')).digest('hex');
    const response = await fetch(url, {
      method,
      headers: {
        'x-amz-date': stamp,
        ...(text ? { 'content-type': 'application/json' } : {}),
        authorization: `AWS4-HMAC-SHA256 Credential=${key.accessKeyId}/${scope}, SignedHeaders=host;x-amz-date, Signature=${signature}`,
      },
      body: text || undefined,
    });
    const answer = await response.text();
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${answer}`);
    return answer ? JSON.parse(answer) : null;
  };
}

/** A new meeting with these people in it. */
export async function makeMeeting(call, names, external = 'a-meeting') {
  const meeting = await call('POST', '/meetings', { ClientRequestToken: randomUUID(), MediaRegion: REGION, ExternalMeetingId: external });
  const id = meeting.Meeting.MeetingId;
  const made = await call('POST', `/meetings/${id}/attendees?operation=batch-create`, { Attendees: names.map((name) => ({ ExternalUserId: name })) });
  return { meeting, attendees: made.Attendees.map((one) => ({ Attendee: one })), id };
}

/** The same meeting for a client whose signalling goes another way, as through a network of its own. */
export function through(meeting, port) {
  const copy = structuredClone(meeting);
  const url = new URL(copy.Meeting.MediaPlacement.SignalingUrl);
  url.port = String(port);
  copy.Meeting.MediaPlacement.SignalingUrl = url.href;
  return copy;
}

/** A way to a port of this machine that can be cut, as cables are: what is under way ends without a word, and nobody gets through. */
export async function makeWay(port) {
  const open = new Set();
  let isCut = false;
  const server = createTcp((near) => {
    if (isCut) {
      near.resetAndDestroy();
      return;
    }
    const far = connect(port, '127.0.0.1');
    for (const [one, other] of [[near, far], [far, near]]) {
      open.add(one);
      one.on('error', () => undefined);
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
    }
    near.pipe(far).pipe(near);
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const cut = () => {
    isCut = true;
    for (const socket of open) socket.resetAndDestroy();
  };
  return {
    port: server.address().port,
    cut,
    heal: () => {
      isCut = false;
    },
    close: () => {
      cut();
      return new Promise((done) => server.close(done));
    },
  };
}

/** Builds a page that uses the client of this package and serves it from an address of its own. */
export async function serveClient(root = HERE) {
  const outDir = mkdtempSync(join(tmpdir(), 'anteroom-chime-'));
  await build({
    configFile: false, root, logLevel: 'error', base: './', define: { global: 'globalThis' },
    build: { outDir, emptyOutDir: true, target: 'es2022', minify: false, chunkSizeWarningLimit: 1e6 },
  });
  const server = createServer(async (request, response) => {
    const path = normalize(decodeURIComponent(new URL(request.url ?? '/', 'http://localhost').pathname));
    try {
      const file = path === '/' ? '/index.html' : path;
      const body = await readFile(join(outDir, file));
      response.writeHead(200, { 'content-type': TYPES[extname(file)] ?? 'application/octet-stream' }).end(body);
    } catch {
      response.writeHead(404).end();
    }
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  return {
    url: `http://localhost:${server.address().port}/`,
    close: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
      rmSync(outDir, { recursive: true, force: true });
    },
  };
}

/** What the page has seen so far. */
export const seen = () => JSON.parse(JSON.stringify(window.chime.seen));

/** Opens the page and joins; `options` go to the page as they are. Answers how long the join took, in milliseconds. */
export async function joinAs(page, url, options) {
  await page.goto(url);
  await page.waitForFunction(() => document.title === 'ready');
  return page.evaluate((given) => window.chime.join(given), options);
}

/** Waits until what the page saw fits. */
export async function until(page, what, look, test, withinMs = 20_000) {
  const limit = Date.now() + withinMs;
  let last;
  for (;;) {
    last = await page.evaluate(look);
    if (test(last)) return last;
    if (Date.now() > limit) throw new Error(`${what}: ${JSON.stringify(last)}`);
    await new Promise((done) => setTimeout(done, 100));
  }
}

/** A tone is heard above this and not heard below that, in decibels. */
const HEARD = -50;
const SILENT = -70;

/** Waits until a page hears exactly these of the tones. */
export async function untilHears(page, tones, wanted, withinMs = 20_000) {
  const limit = Date.now() + withinMs;
  let last;
  do {
    last = await page.evaluate((all) => window.chime.hears(all), tones);
    if (tones.every((hertz) => (wanted.includes(hertz) ? last[hertz] > HEARD : last[hertz] < SILENT))) return;
  } while (Date.now() < limit);
  throw new Error(`hears ${JSON.stringify(last)} instead of ${wanted}`);
}

/** How far a colour may move on its way through 4:2:0, a codec and a canvas. */
const COLOUR_SLACK = 40;

/** Waits until a page shows somebody's picture in this colour. */
export async function untilSees(page, who, colour, withinMs = 20_000) {
  const near = (last) => last !== null && Math.max(...last.map((part, index) => Math.abs(part - colour[index]))) < COLOUR_SLACK;
  const limit = Date.now() + withinMs;
  let last;
  do {
    last = await page.evaluate((one) => window.chime.sees(one), who);
    if (near(last)) return;
    await new Promise((done) => setTimeout(done, 100));
  } while (Date.now() < limit);
  throw new Error(`sees ${JSON.stringify(last)} instead of ${colour}: ${JSON.stringify(await page.evaluate(seen))}`);
}
