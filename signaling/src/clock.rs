//! The clock that everything in signaling reads, so that tests can turn it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use time::OffsetDateTime;

/// A point in time, UTC, in whole microseconds: what PostgreSQL stores and the audit chain hashes.
pub type Timestamp = OffsetDateTime;

/// Tells the time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Hand(Arc<Mutex<Timestamp>>),
}

impl Clock {
    /// The machine's clock.
    #[must_use]
    pub const fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands at `now` until it is [set](Self::set).
    #[must_use]
    pub fn by_hand(now: Timestamp) -> Self {
        Self(Source::Hand(Arc::new(Mutex::new(whole_micros(now)))))
    }

    /// Turns a clock made by [`by_hand`](Self::by_hand), and all its clones; the machine's clock stays as it is.
    pub fn set(&self, now: Timestamp) {
        if let Source::Hand(hand) = &self.0 {
            *hand.lock().unwrap_or_else(PoisonError::into_inner) = whole_micros(now);
        }
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        match &self.0 {
            Source::System => whole_micros(OffsetDateTime::now_utc()),
            Source::Hand(hand) => *hand.lock().unwrap_or_else(PoisonError::into_inner),
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Source::System => "Clock(system)",
            Source::Hand(_) => "Clock(by hand)",
        })
    }
}

fn whole_micros(time: Timestamp) -> Timestamp {
    time.replace_nanosecond(time.microsecond() * 1000).unwrap_or(time)
}
