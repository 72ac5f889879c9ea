// What the matrix found, as a table for people and JSON for machines.

import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus, platform, release } from 'node:os';

const COLUMNS = ['side', 'fps', 'frames', 'height', 'freezes', 'freezeSeconds', 'stillSeconds', 'kbpsIn', 'kbpsOut', 'lossPercent', 'audioEnergy', 'concealedPercent', 'rttMs', 'path', 'connections'];

export function openReport(file) {
  const results = [];
  return {
    add: (result) => {
      results.push(result);
      console.log(describe(result));
    },
    /** Written after each case, so that a run that breaks off leaves what it found. */
    write: () => {
      mkdirSync(new URL('.', file), { recursive: true });
      writeFileSync(file, `${JSON.stringify({ machine: { platform: platform(), release: release(), arch: arch(), cores: cpus().length }, at: new Date().toISOString(), results }, null, 2)}\n`);
    },
  };
}

function describe({ name, sides, recoverMs, notes = [] }) {
  const rows = Object.entries(sides ?? {}).map(([side, values]) => COLUMNS.map((column) => String(column === 'side' ? side : (values[column] ?? '-'))));
  const widths = COLUMNS.map((column, at) => Math.max(column.length, ...rows.map((row) => row[at].length)));
  const line = (cells) => `    ${cells.map((cell, at) => cell.padStart(widths[at])).join('  ')}`;
  return [
    `  ${name}${recoverMs === undefined ? '' : `: whole again after ${recoverMs} ms`}`,
    ...(rows.length ? [line(COLUMNS), ...rows.map(line)] : []),
    ...notes.map((note) => `    ${note}`),
  ].join('\n');
}

/** The value below which this share of them lies. */
export function percentile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * share) - 1)];
}
