// The server side of an application that was written for Chime: signed requests to the control plane, and the page with the npm client.

import { execFileSync } from 'node:child_process';
import { createHash, createHmac, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { readFile } from 'node:fs/promises';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { extname, join, normalize, resolve } from 'node:path';
import { build } from 'vite';

const BINARY = resolve(process.env.ANTEROOM_BIN ?? new URL('../../../target/debug/anteroom', import.meta.url).pathname);
const HERE = new URL('.', import.meta.url).pathname;
const TYPES = { '.html': 'text/html; charset=utf-8', '.js': 'text/javascript' };
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
  const attendees = [];
  for (const name of names) {
    attendees.push(await call('POST', `/meetings/${meeting.Meeting.MeetingId}/attendees`, { ExternalUserId: name }));
  }
  return { meeting, attendees, id: meeting.Meeting.MeetingId };
}

/** Builds the page with the client of this package and serves it from an address of its own. */
export async function serveClient() {
  const outDir = mkdtempSync(join(tmpdir(), 'anteroom-chime-'));
  await build({
    configFile: false, root: HERE, logLevel: 'error', base: './', define: { global: 'globalThis' },
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
      await new Promise((done) => server.close(done));
      rmSync(outDir, { recursive: true, force: true });
    },
  };
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
