//! How the network and the picture were for each person: measured every few seconds, gathered, kept for a limited time.

pub mod http;
pub(crate) mod store;
#[cfg(test)]
mod tests;
pub(crate) mod writer;

use std::time::Duration;

use wire::{ParticipantId, VisitId};

use crate::clock::Timestamp;
use crate::ids::OrgId;

pub use writer::Samples;

/// How much time one stored sample stands for. Shorter would show more of a bad minute; at this, a half-hour visit of two people
/// is 600 rows.
const WINDOW: Duration = Duration::from_secs(6);

/// What the media node measured of one person's connection, with what their browser said last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Measured {
    /// 0 (lost) to 4 (good).
    pub(crate) bars: u8,
    pub(crate) rtt_ms: Option<u32>,
    /// Thousandths.
    pub(crate) loss_up: u16,
    /// Thousandths.
    pub(crate) loss_down: u16,
    pub(crate) jitter_ms: u32,
    pub(crate) kbits_up: u32,
    pub(crate) kbits_down: u32,
    pub(crate) target_kbits: Option<u32>,
    /// Since the browser's connection began.
    pub(crate) freezes: Option<u32>,
    /// Since the browser's connection began.
    pub(crate) frames_decoded: Option<u64>,
}

/// One row: a [`Measured`] that stands for some seconds of one person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sample {
    pub(crate) participant: ParticipantId,
    pub(crate) at: Timestamp,
    pub(crate) measured: Measured,
}

/// Whose a sample is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) org: OrgId,
    pub(crate) visit: VisitId,
}

/// Makes one sample out of the measurements of a few seconds. What hurts counts at its worst, so that a bad second is not
/// averaged away; rates are averaged, because they say how much flowed.
#[derive(Debug, Default)]
pub(crate) struct Gather {
    window: Option<Window>,
}

#[derive(Debug)]
struct Window {
    since: Duration,
    worst: Measured,
    kbits_up: u64,
    kbits_down: u64,
    count: u32,
}

impl Gather {
    /// Takes a measurement; gives the window's sample when it is full.
    pub(crate) fn take(&mut self, now: Duration, measured: Measured) -> Option<Measured> {
        let window = self.window.get_or_insert_with(|| Window {
            since: now,
            worst: Measured { bars: u8::MAX, ..Measured::default() },
            kbits_up: 0,
            kbits_down: 0,
            count: 0,
        });
        window.add(measured);
        // Measurements come about every two seconds; half of one of these steps early is on time.
        (now.saturating_sub(window.since) + Duration::from_secs(3) >= WINDOW).then(|| self.finish()).flatten()
    }

    /// What was gathered so far, when the person goes.
    pub(crate) fn finish(&mut self) -> Option<Measured> {
        let window = self.window.take()?;
        let mean = |sum: u64| u32::try_from(sum / u64::from(window.count.max(1))).unwrap_or(u32::MAX);
        Some(Measured { kbits_up: mean(window.kbits_up), kbits_down: mean(window.kbits_down), ..window.worst })
    }
}

impl Window {
    fn add(&mut self, measured: Measured) {
        let worst = self.worst;
        self.worst = Measured {
            bars: worst.bars.min(measured.bars),
            rtt_ms: worst.rtt_ms.max(measured.rtt_ms),
            loss_up: worst.loss_up.max(measured.loss_up),
            loss_down: worst.loss_down.max(measured.loss_down),
            jitter_ms: worst.jitter_ms.max(measured.jitter_ms),
            target_kbits: measured.target_kbits.or(worst.target_kbits),
            freezes: measured.freezes.or(worst.freezes),
            frames_decoded: measured.frames_decoded.or(worst.frames_decoded),
            ..worst
        };
        self.kbits_up += u64::from(measured.kbits_up);
        self.kbits_down += u64::from(measured.kbits_down);
        self.count += 1;
    }
}
