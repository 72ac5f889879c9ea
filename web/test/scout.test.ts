// What tells that a device has moved.

import { describe, expect, it } from 'vitest';
import { hostAddresses, isElsewhere } from '../sdk/scout';

const line = (address: string, type = 'host', protocol = 'udp') => `a=candidate:1 1 ${protocol} 2122194687 ${address} 50226 typ ${type} generation 0\r\n`;

describe('the addresses of a device', () => {
  it('are those of its own networks, where the browser tells them', () => {
    const sdp = `v=0\r\n${line('10.0.0.2')}${line('fd78::2')}${line('7f3a.local')}${line('1.2.3.4', 'srflx')}${line('10.0.0.9', 'host', 'tcp')}`;
    expect([...hostAddresses(sdp)]).toEqual(['10.0.0.2', 'fd78::2']);
    expect([...hostAddresses('')]).toEqual([]);
  });

  it('have changed when none is left, and only if both are known', () => {
    const of = (...addresses: string[]) => new Set(addresses);
    expect(isElsewhere(of('a', 'b'), of('c'))).toBe(true);
    expect(isElsewhere(of('a', 'b'), of('b', 'c'))).toBe(false);
    expect(isElsewhere(of(), of('c'))).toBe(false);
    expect(isElsewhere(of('a'), of())).toBe(false);
  });
});
