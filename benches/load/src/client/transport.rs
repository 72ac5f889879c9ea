//! Transport-wide feedback as a browser sends it: when each packet arrived, all streams together.

use std::collections::BTreeMap;

/// Statuses in one report: with two bytes for each delta it fits into a datagram.
const STATUSES: u64 = 400;
/// How far back a number may lie: older ones are forgotten.
const WINDOW: u64 = 2_000;

/// What arrived and is not reported yet.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    /// Unrolled number, and microseconds after the client began.
    pending: BTreeMap<u64, u64>,
    highest: Option<u64>,
    /// The first number that no report covers.
    next: Option<u64>,
    count: u8,
}

impl Arrivals {
    /// Notes one packet.
    pub(super) fn note(&mut self, number: u16, at: u64) {
        let number = match self.highest {
            None => 0x1_0000 + u64::from(number),
            Some(highest) => {
                let step = number.wrapping_sub(u16::try_from(highest & 0xffff).unwrap_or(0)).cast_signed();
                highest.saturating_add_signed(i64::from(step))
            }
        };
        let highest = self.highest.map_or(number, |highest| highest.max(number));
        self.highest = Some(highest);
        if number + WINDOW < highest {
            return;
        }
        self.pending.insert(number, at);
        // A late one restarts the report at its place.
        self.next = Some(self.next.map_or(number, |next| next.min(number)).max(highest.saturating_sub(WINDOW)));
    }

    /// The next report; call until there is none.
    pub(super) fn poll(&mut self, (own, media): (u32, u32)) -> Option<Vec<u8>> {
        let (&first, &began) = self.pending.first_key_value()?;
        let base = self.next.unwrap_or(first).max(first.saturating_sub(STATUSES / 2));
        let reference = began / 64_000;
        let mut clock = reference * 256;
        let (mut symbols, mut deltas) = (Vec::new(), Vec::new());
        let mut number = base;
        while number < base + STATUSES {
            let Some((&arrived, &at)) = self.pending.first_key_value() else { break };
            if arrived > number {
                symbols.push(0u16);
                number += 1;
                continue;
            }
            let delta = (at / 250).cast_signed() - clock.cast_signed();
            match (u8::try_from(delta), i16::try_from(delta)) {
                (Ok(small), _) => {
                    symbols.push(1);
                    deltas.push(small);
                }
                (_, Ok(large)) => {
                    symbols.push(2);
                    deltas.extend_from_slice(&large.to_be_bytes());
                }
                _ => break,
            }
            clock = at / 250;
            self.pending.pop_first();
            number += 1;
        }
        while symbols.last() == Some(&0) {
            symbols.pop();
        }
        self.next = Some(base + u64::try_from(symbols.len()).unwrap_or(0));
        let mut body = Vec::new();
        body.extend_from_slice(&own.to_be_bytes());
        body.extend_from_slice(&media.to_be_bytes());
        body.extend_from_slice(&u16::try_from(base & 0xffff).unwrap_or(0).to_be_bytes());
        body.extend_from_slice(&u16::try_from(symbols.len()).unwrap_or(0).to_be_bytes());
        let [_, r0, r1, r2] = u32::try_from(reference & 0x00ff_ffff).unwrap_or(0).to_be_bytes();
        body.extend_from_slice(&[r0, r1, r2, self.count]);
        self.count = self.count.wrapping_add(1);
        for seven in symbols.chunks(7) {
            let chunk =
                seven.iter().zip((0..7).rev()).fold(0xc000u16, |chunk, (symbol, place)| chunk | symbol << (2 * place));
            body.extend_from_slice(&chunk.to_be_bytes());
        }
        body.extend_from_slice(&deltas);
        let padding = body.len().next_multiple_of(4) - body.len();
        body.resize(body.len() + padding, 0);
        if padding > 0
            && let Some(last) = body.last_mut()
        {
            *last = u8::try_from(padding).unwrap_or(0);
        }
        let mut packet = super::feedback::header(15, 205, &body);
        if padding > 0
            && let Some(first) = packet.first_mut()
        {
            *first |= 0x20;
        }
        Some(packet)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_in_the_report_and_every_arrival_once() {
        let mut arrivals = Arrivals::default();
        for (number, at) in [(65_534u16, 1_000_000u64), (65_535, 1_001_000), (2, 1_100_000), (3, 1_100_250)] {
            arrivals.note(number, at);
        }
        let report = arrivals.poll((1, 2)).unwrap();
        assert_eq!(&report[12..16], &[0xff, 0xfe, 0, 6]);
        // 1,000,000 us are 15 times 64 ms and 160 ticks; then 4, 396 as two bytes, and 1.
        assert_eq!(&report[16..20], &[0, 0, 15, 0]);
        assert_eq!(&report[20..22], &(0xc000u16 | 1 << 12 | 1 << 10 | 2 << 4 | 1 << 2).to_be_bytes());
        assert_eq!(&report[22..27], &[160, 4, 1, 140, 1]);
        assert!(arrivals.poll((1, 2)).is_none());
        arrivals.note(1, 1_100_500);
        arrivals.note(4, 1_101_000);
        let report = arrivals.poll((1, 2)).unwrap();
        assert_eq!(&report[12..16], &[0, 1, 0, 4]);
    }
}
