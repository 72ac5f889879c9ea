// Puts the parts of a bench together, holds them against the bars, and says pass, FAIL or not measured, line by line.

import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const [folder, target] = process.argv.slice(2);
const parts = {};
for (const name of readdirSync(folder).filter((name) => name.endsWith('.json'))) {
  try {
    parts[name.slice(0, -5)] = JSON.parse(readFileSync(join(folder, name), 'utf8'));
  } catch (error) {
    console.log(`${name} cannot be read: ${error.message}`);
  }
}

const server = (part) => parts[part]?.window?.server;
const whole = (part) => server(part) && server(part).userMicrosPerPacket + server(part).systemMicrosPerPacket;
const media = (part) => server(part) && server(part).mediaUserMicrosPerPacket + server(part).mediaSystemMicrosPerPacket;
const ratio = (a, b) => (a === undefined || !b ? undefined : a / b);
const quarters = (parts.ramp?.quarters ?? []).filter((quarter) => quarter.server && quarter.visits > 0);
/** Largest deviation of the CPU from a straight line through these points, which need not meet the origin, as a share of the line. */
function bend(windows) {
  const points = windows.map((window) => [window.visits, window.server.cores]);
  if (points.length < 3) return undefined;
  const mean = (index) => points.reduce((sum, point) => sum + point[index], 0) / points.length;
  const [x, y] = [mean(0), mean(1)];
  const slope = points.reduce((sum, [a, b]) => sum + (a - x) * (b - y), 0) / points.reduce((sum, [a]) => sum + (a - x) ** 2, 0);
  return Math.max(...points.map(([a, b]) => Math.abs(b - (y + slope * (a - x))) / (y + slope * (a - x))));
}
/** Growth from the second quarter to the last, as a share of the second quarter. */
function growth(samples, field) {
  const quarter = Math.floor((samples ?? []).length / 4);
  if (quarter === 0) return undefined;
  const mean = (list) => list.reduce((sum, sample) => sum + sample[field], 0) / list.length;
  const early = mean(samples.slice(quarter, quarter * 2));
  return (mean(samples.slice(-quarter)) - early) / early;
}

const lines = [];
function bar(name, value, limit, { atLeast = false, digits = 2, suffix = '' } = {}) {
  const pass = value === undefined || Number.isNaN(value) ? null : atLeast ? value >= limit : value <= limit;
  lines.push({ name, value: value ?? null, limit, atLeast, pass });
  const verdict = pass === null ? 'not measured' : pass ? 'pass' : 'FAIL';
  const shown = value === undefined ? '-' : `${value.toFixed(digits)}${suffix}`;
  console.log(`${verdict.padEnd(13)} ${name.padEnd(66)} ${shown.padStart(12)}   ${atLeast ? '>=' : '<='} ${limit}${suffix}`);
}
function note(name, value, digits = 2) {
  lines.push({ name, value: value ?? null });
  console.log(`${''.padEnd(13)} ${name.padEnd(66)} ${(value === undefined ? '-' : value.toFixed(digits)).padStart(12)}`);
}

console.log('\nCPU per forwarded packet, µs, at 60 two-party visits (user and kernel; all processes on one core)');
for (const [name, part] of [['anteroom serve', 'two-party'], ['anteroom serve, a socket for each leg', 'two-party-sockets'], ['media node alone', 'node-two-party'], ['floor', 'floor-two-party'],
  ['str0m', 'str0m-two-party'], ['str0m with UDP_SEGMENT', 'str0m-segments-two-party'], ['Janus', 'janus-two-party']]) {
  note(`  ${name}, whole process`, whole(part));
  if (media(part)) note(`  ${name}, media thread alone`, media(part));
}
console.log('The ratios take the whole process of `anteroom serve`, signaling and all, against the whole process of the other.');
console.log('Against Janus with a socket for each leg on both sides, because Janus gives out no loopback address.');
bar('CPU per packet against Janus', ratio(whole('two-party-sockets'), whole('janus-two-party')), 0.22);
bar('CPU per packet against str0m', ratio(whole('two-party'), whole('str0m-two-party')), 0.7);
note('  the same, against str0m with UDP_SEGMENT', ratio(whole('two-party'), whole('str0m-segments-two-party')));
note('  media thread alone against str0m', ratio(media('two-party'), whole('str0m-two-party')));
bar('user time per packet against the floor', ratio(server('two-party')?.userMicrosPerPacket, server('floor-two-party')?.userMicrosPerPacket), 2);
note('  media thread alone', ratio(server('two-party')?.mediaUserMicrosPerPacket, server('floor-two-party')?.userMicrosPerPacket));
const best = parts.ramp?.knee;
bar('visits on one core against Janus', ratio(best, parts['janus-ramp']?.knee), 5.5, { atLeast: true });
note(`  anteroom${parts.ramp?.kneeIsLowerBound ? ', at least' : ''}`, best, 0);
note(`  media node alone${parts['node-ramp']?.kneeIsLowerBound ? ', at least' : ''}`, parts['node-ramp']?.knee, 0);
note('  str0m', parts['str0m-ramp']?.knee, 0);
note('  Janus', parts['janus-ramp']?.knee, 0);
for (const [index, quarter] of quarters.entries()) {
  note(`  CPU per visit at ${25 * (index + 1)} % of the knee (${quarter.visits} visits), % of a core`, (quarter.server.cores * 100) / quarter.visits, 3);
}
bar('CPU off a straight line through the quarters of the knee', bend(quarters), 0.1, { digits: 3 });
const percent = (share) => (share === undefined ? undefined : share * 100);
const kilo = (bytes) => (bytes === undefined ? undefined : bytes / 1e6);
bar('memory per idle visit, MB', kilo(parts['two-party']?.memory?.perIdleVisit), 1);
bar('memory per active visit, MB', kilo(parts['two-party']?.memory?.perActiveVisit), 1);
bar('join (offer to connected) p95 at 20 a second, ms', parts.joins?.join?.joinMs?.p95, 15);
note('answer to first forwarded packet p95 at 20 a second, all in, ms', parts.joins?.join?.answerToMediaMs?.p95);
bar('  the same, the wait for the neighbour to send left out', parts.joins?.join?.answerToMediaServedMs?.p95, 15);
bar('100 overlapping joins connected after, ms', parts.overlap?.overlapMs ?? undefined, 60);
note('least share received of what was sent, in steady parts', Math.min(...['two-party', 'node-two-party', 'audio', 'screen'].map((part) => parts[part]?.window?.delivered ?? 1)), 4);
bar('failed visits of all parts', Object.values(parts).reduce((sum, part) => sum + (part?.failed ?? 0), 0), 0, { digits: 0 });
bar('memory growth during churn', growth(parts.churn?.churn, 'resident'), 0.05);
bar('descriptor growth during churn', growth(parts.churn?.churn, 'descriptors'), 0.05);
bar('thread growth during churn', growth(parts.churn?.churn, 'threads'), 0.05);
for (const { name, p95 } of parts.admission?.rows ?? [{ name: 'admitted to first frame' }]) {
  if (name.includes('first frame')) bar(`in browsers, ${name}, p95, ms`, p95, 200, { digits: 0 });
}
bar('loss under 200,000 junk datagrams a second', parts.flood?.flood?.loss, 0.01, { digits: 4 });
for (const row of parts.books?.books ?? []) {
  note(`${row.act}, ${row.clients} clients, a second`, row.rate, 0);
  note(`  p99, ms`, row.p99Ms, 1);
  note(`  against pgbench with the same ${row.statements} statements`, row.ratio);
}
for (const people of [3, 6, 10]) {
  const rows = (parts.mixer?.mixer ?? []).filter((row) => row.people === people && row.jitter_ms === 0);
  const of = (speaking) => rows.find((row) => row.speaking === speaking);
  note(`mixer, ${people} people, one speaks: % of a core for each`, percent(of('one')?.core_per_attendee), 3);
  note(`mixer, ${people} people, all speak: % of a core for each`, percent(of('all')?.core_per_attendee), 3);
  note(`mixer, ${people} people: sound comes later by, ms`, of('one')?.delay_ms, 1);
}
for (const name of ['estimator', 'impaired']) {
  console.log(parts[name] ? `              ${name}: see its own table above` : `not measured  ${name}`);
}

const machine = existsSync(join(folder, 'machine.txt')) ? readFileSync(join(folder, 'machine.txt'), 'utf8').trim().split('\n') : [];
writeFileSync(target, `${JSON.stringify({ machine, bars: lines, parts }, null, 2)}\n`);
const missed = lines.filter((line) => line.pass === false).length;
const unmeasured = lines.filter((line) => line.pass === null).length;
console.log(`\n${lines.filter((line) => line.pass).length} bars met, ${missed} missed, ${unmeasured} not measured`);
