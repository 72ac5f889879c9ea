// The networks a visit must live through. Numbers are for each direction, unless said otherwise.

/** Sound that is mostly made up by the receiver is no conversation. */
const MOSTLY_REAL = 30;

/**
 * `network` is imposed on a running call for `seconds` (`before`: on the whole of it, the join included); `picture: false` where
 * sound alone is asked for while it lasts; `concealed` is how much of the sound may be made up at most, in percent; `path` is what
 * the patient's way to the server must be; `relay` forbids every other than the relay's.
 * `short` ones also run in `make test`.
 */
export const CASES = [
  { name: 'a good network', network: {}, seconds: 8, concealed: 5 },
  { name: '64 kbit/s, 300 ms queue', network: { kbps: 64, queueMs: 300, delayMs: 20 }, seconds: 25, picture: false, concealed: 60 },
  { name: '500 kbit/s, 300 ms queue', network: { kbps: 500, queueMs: 300, delayMs: 20 }, seconds: 20, concealed: 15, short: true },
  { name: '5 % loss', network: { delayMs: 20, loss: 0.05 }, seconds: 15, concealed: 15, short: true },
  { name: '20 % loss', network: { delayMs: 20, loss: 0.2 }, seconds: 20, concealed: 40 },
  { name: '8 % loss in bursts of 4', network: { delayMs: 20, loss: { enter: 0.022, leave: 0.25, bad: 1 } }, seconds: 15, concealed: 25 },
  { name: '300 ms delay', network: { delayMs: 300 }, seconds: 15, concealed: 10 },
  { name: '50 ms delay with 20 ms jitter, 2 % overtaken', network: { delayMs: 50, jitterMs: 20, reorder: 0.02, reorderByMs: 30 }, seconds: 15, concealed: 25 },
  { name: '20 s outage', network: { down: true }, seconds: 20, outage: true, backMs: 10_000 },
  { name: 'Firefox: 5 % loss', patient: 'firefox', network: { delayMs: 20, loss: 0.05 }, seconds: 15, concealed: MOSTLY_REAL },
  { name: 'Firefox: 500 kbit/s, 300 ms queue', patient: 'firefox', network: { kbps: 500, queueMs: 300, delayMs: 20 }, seconds: 20, concealed: MOSTLY_REAL },
  { name: 'UDP blocked', before: { block: ['udp'] }, network: { block: ['udp'] }, seconds: 8, concealed: 5, path: /\/tcp$/, short: true },
  { name: 'UDP blocked, 50 ms delay and 1 % loss', before: { block: ['udp'], delayMs: 50, loss: 0.01 }, network: { block: ['udp'], delayMs: 50, loss: 0.01 }, seconds: 15, concealed: MOSTLY_REAL, path: /\/tcp$/ },
  { name: 'IPv6 alone for media', before: { block: ['udp4'] }, network: { block: ['udp4'] }, seconds: 8, concealed: 5, path: /\/udp$/ },
  { name: 'relay alone', relay: true, before: {}, network: {}, seconds: 10, concealed: 5, path: /^relay\/udp$/ },
  { name: 'relay alone, UDP blocked', relay: true, before: { block: ['udp'] }, network: { block: ['udp'] }, seconds: 8, concealed: 5, path: /^relay\/tcp$/, short: true },
];
