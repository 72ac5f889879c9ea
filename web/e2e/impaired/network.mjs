// The network between this process and the server: `tun-router` started us in its near namespace and put a server's into our hands.

import { execFileSync } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const { ANTEROOM_ROUTER: SOCKET, ANTEROOM_FAR: FAR, ANTEROOM_NEAR_ADDRESS: NEAR_ADDRESS, ANTEROOM_FAR_ADDRESS: FAR_ADDRESS } = process.env;
const DEVICE = 'net0';

export const farAddress = FAR_ADDRESS;

/** A command as it runs on the server's side. */
export function inFar(command) {
  return ['nsenter', `--net=/run/netns/${FAR}`, '--', ...command];
}

/** A program of one word that runs another on the server's side: what starts browsers wants a path. */
export function farProgram(path) {
  const folder = mkdtempSync(join(tmpdir(), 'anteroom-far-'));
  const program = join(folder, 'program');
  writeFileSync(program, `#!/bin/sh\nexec ${inFar([path]).join(' ')} "$@"\n`);
  chmodSync(program, 0o755);
  return { program, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Speaks with the router. */
export async function openNetwork() {
  if (!SOCKET) throw new Error('run this through tun-router: npm run impaired');
  const socket = connect(SOCKET);
  await new Promise((done, fail) => socket.once('connect', done).once('error', fail));
  const lines = createInterface({ input: socket })[Symbol.asyncIterator]();
  let last = Promise.resolve();
  /** Answers come in the order of the questions, so they are asked one at a time. */
  const ask = (order) => {
    last = last.then(async () => {
      socket.write(`${JSON.stringify(order)}\n`);
      const { value, done } = await lines.next();
      if (done) throw new Error('the router is gone');
      const answer = JSON.parse(value);
      if (answer.error) throw new Error(`the router refused: ${answer.error}`);
      return answer;
    });
    return last;
  };
  return {
    /** Both directions are like this from now on; `up` and `down` name one. */
    set: (conditions) => ask({ both: conditions }),
    setUp: (conditions) => ask({ up: conditions }),
    setDown: (conditions) => ask({ down: conditions }),
    clear: () => ask({ both: {} }),
    counters: () => ask({}),
    close: () => socket.destroy(),
  };
}

/** Leads a port of our loopback to the same port of the server: browsers give cameras and cookies to `localhost`. */
export async function forward(port) {
  const open = new Set();
  const server = createServer((near) => {
    const far = connect({ host: FAR_ADDRESS, port });
    for (const [one, other] of [[near, far], [far, near]]) {
      open.add(one);
      one.pipe(other);
      one.on('error', () => other.destroy());
      one.on('close', () => {
        open.delete(one);
        other.destroy();
      });
    }
  });
  await new Promise((done, fail) => server.listen(port, '127.0.0.1', done).once('error', fail));
  return {
    close: () => {
      server.close();
      for (const socket of open) socket.destroy();
    },
  };
}

const prefix = NEAR_ADDRESS?.split('.').slice(0, 3).join('.');
let host = Number(NEAR_ADDRESS?.split('.')[3]);

/** Other addresses for our side, and the old ones are gone: what moving from Wi-Fi to mobile data looks like from inside. */
export function changeAddress() {
  const ip = (...args) => execFileSync('ip', args);
  const old = host;
  host = host >= 250 ? 10 : host + 1;
  // Of both families: a call that runs over IPv6 would not notice that IPv4 moved.
  const both = (number) => [`${prefix}.${number}/32`, `fd78::${number.toString(16)}/128`];
  for (const address of both(host)) ip('addr', 'add', address, 'dev', DEVICE, ...(address.includes(':') ? ['nodad'] : []));
  for (const address of both(old)) ip('addr', 'del', address, 'dev', DEVICE);
  return `${prefix}.${host}`;
}
