// A TURN relay beside the server: coturn, with the shared secret from which the server makes people's credentials.

import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { inFar } from './network.mjs';

/** Its own in a network of the server's, so that any will do. */
const USUAL_PORT = 3478;
const READY_WITHIN_MS = 10_000;

/** `within` puts it where it shall run; a port is looked for on a machine that has other things as well. */
export async function startRelay(address, secret, { within = inFar, port = USUAL_PORT } = {}) {
  const folder = mkdtempSync(join(tmpdir(), 'anteroom-relay-'));
  const file = join(folder, 'turn.conf');
  writeFileSync(
    file,
    [
      `listening-ip=${address}`, `relay-ip=${address}`, `listening-port=${port}`, 'min-port=49160', 'max-port=49260', 'fingerprint',
      'use-auth-secret', `static-auth-secret=${secret}`, 'realm=relay.test', 'no-tls', 'no-dtls', 'no-cli', 'log-file=stdout', 'simple-log',
      `userdb=${join(folder, 'turndb')}`, `pidfile=${join(folder, 'turn.pid')}`, '',
    ].join('\n'),
    { mode: 0o600 },
  );
  const [program, ...args] = within(['turnserver', '-c', file]);
  const child = spawn(program, args, { stdio: 'ignore' });
  const ended = new Promise((done) => child.once('exit', done).once('error', done));
  const close = async () => {
    child.kill('SIGTERM');
    await ended;
    rmSync(folder, { recursive: true, force: true });
  };
  try {
    await untilListening(address, port, ended);
  } catch (error) {
    await close();
    throw error;
  }
  return { urls: [`turn:${address}:${port}`, `turn:${address}:${port}?transport=tcp`], close };
}

/** A port that takes a connection is the only sign it gives. */
async function untilListening(address, port, ended) {
  let gone = false;
  void ended.then(() => {
    gone = true;
  });
  const until = Date.now() + READY_WITHIN_MS;
  for (;;) {
    const open = await new Promise((answer) => {
      const socket = connect(port, address);
      socket.once('connect', () => answer(true)).once('error', () => answer(false));
      socket.once('connect', () => socket.destroy());
    });
    if (open) return;
    if (gone || Date.now() > until) throw new Error('the relay (coturn) did not start: is turnserver installed?');
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** A port of this machine that nobody listens on at this moment. */
export async function findPort(address) {
  const server = createServer();
  await new Promise((done) => server.listen(0, address, done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}
