// A real Anteroom of its own for a spec: `anteroom dev` on free ports and a fresh data directory.

import { execFileSync, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';

const BINARY = resolve(process.env.ANTEROOM_BIN ?? new URL('../../../target/debug/anteroom', import.meta.url).pathname);
const READY_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 10_000;
/** The last lines of the log are shown when a spec fails. */
const LOG_LINES = 400;

/** `within` puts a program and its arguments where the server shall run: in another network, for instance. */
export async function startAnteroom({ http = '127.0.0.1:0', env = {}, within = (command) => command } = {}) {
  const data = mkdtempSync(join(tmpdir(), 'anteroom-e2e-'));
  const [program, ...args] = within([BINARY, 'dev', '--data-dir', data, '--http', http, '--media-port', '0']);
  const child = spawn(program, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, RUST_BACKTRACE: '1', ...env },
  });
  const log = [];
  const note = (line) => {
    log.push(line);
    if (log.length > LOG_LINES) log.shift();
  };
  createInterface({ input: child.stderr }).on('line', note);
  const exited = new Promise((done) => {
    child.once('exit', (code, signal) => done({ code, signal }));
    child.once('error', (error) => done({ error: error.message }));
  });
  const ready = new Promise((found) => {
    createInterface({ input: child.stdout }).on('line', (line) => {
      note(line);
      const match = /^ready http:\/\/(\S+)$/.exec(line.trim());
      if (match) found(match[1]);
    });
  });
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error('not ready in time')), READY_WITHIN_MS);
  });
  let address;
  try {
    address = await Promise.race([ready, late, exited.then((end) => Promise.reject(new Error(`ended with ${JSON.stringify(end)}`)))]);
  } catch (error) {
    child.kill('SIGKILL');
    throw new Error(`anteroom dev: ${error.message}\n${log.join('\n')}`, { cause: error });
  } finally {
    clearTimeout(timer);
  }
  const port = address.split(':').at(-1);
  return {
    /** By name, because cookies and the server's own origin are those of `localhost`. */
    url: `http://localhost:${port}`,
    port: Number(port),
    log,
    data,
    token: (role, sub) => execFileSync(BINARY, ['token', '--role', role, '--sub', sub, '--data-dir', data], { encoding: 'utf8' }).trim(),
    stop: async () => {
      const before = Date.now();
      child.kill('SIGTERM');
      const kill = setTimeout(() => child.kill('SIGKILL'), STOP_WITHIN_MS);
      const end = await exited;
      clearTimeout(kill);
      rmSync(data, { recursive: true, force: true });
      return { ...end, ms: Date.now() - before };
    },
  };
}
