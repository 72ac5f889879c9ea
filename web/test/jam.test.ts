// When silence of the server and losses together say that a way is full.

import { describe, expect, it } from 'vitest';
import { arrivedOf, Jam } from '../sdk/jam';
import { Uplink } from '../sdk/uplink';

/** Looks twice a second for ten seconds while reports come until `reports`; the seconds at which it is jammed. */
function jammed(share: number, reports: number, perSecond = 60) {
  const jam = new Jam();
  const found: number[] = [];
  for (let second = 0; second <= 10; second += 0.5) {
    jam.noteReport(second * 1000, Math.floor(Math.min(second, reports)) + 1);
    const lost = Math.round(second * perSecond * share);
    if (!jam.isHeard(second * 1000) && jam.look(second * 1000, { lost, received: Math.round(second * perSecond) - lost })) found.push(second);
  }
  return found;
}

describe('Jam', () => {
  it('is nothing while the server is heard, whatever gets lost', () => {
    expect(jammed(0.9, 20)).toEqual([]);
  });

  it('is found soon after the reports stop, when hardly anything comes', () => {
    expect(jammed(0.9, 4)[0]).toBe(6);
    expect(jammed(0.9, 4).at(-1)).toBe(10);
  });

  it('is no outage, no ordinary loss, and no few packets', () => {
    expect(jammed(0, 4)).toEqual([]);
    expect(jammed(0.3, 4)).toEqual([]);
    expect(jammed(0.9, 4, 5)).toEqual([]);
    const jam = new Jam();
    expect([jam.isHeard(0), jam.isHeard(10_000)], 'a server that never reported').toEqual([true, true]);
  });

  it('counts what came of every kind', () => {
    const report = [{ type: 'inbound-rtp', packetsReceived: 5, packetsLost: 2 }, { type: 'inbound-rtp', packetsReceived: 1 }, { type: 'outbound-rtp', packetsLost: 9 }];
    expect(arrivedOf(report.map((stat, index) => [String(index), stat] as const))).toEqual({ received: 6, lost: 2 });
  });

  it('has the picture yield at once, whatever the browser reckons', () => {
    const uplink = new Uplink();
    uplink.look(0, 3_000_000, true, true);
    expect([uplink.isTight, uplink.picture]).toEqual([true, 'none']);
  });
});
