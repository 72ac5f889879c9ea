//! A walk along a chain, event by event, held against anchors on the way. Pure: rows and anchors come as arguments.

use std::collections::{HashSet, VecDeque};

use crate::audit::anchor::{Anchor, Hash, MOST};
use crate::audit::chain::{Break, Entry, GENESIS};

/// The first place in a chain that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The event's number.
    pub seq: i64,
    /// What does not.
    pub reason: Break,
}

/// How far the walk has come.
#[derive(Clone, Debug)]
pub struct Walk {
    last: i64,
    prev: Hash,
    /// The hashes of the last events, as many as an anchor may cover.
    window: VecDeque<Hash>,
    anchored_to: i64,
    anchors: u64,
    /// Digests of anchors that were met.
    met: HashSet<Hash>,
}

impl Default for Walk {
    fn default() -> Self {
        Self { last: 0, prev: GENESIS, window: VecDeque::new(), anchored_to: 0, anchors: 0, met: HashSet::new() }
    }
}

impl Walk {
    /// A walk that begins after an event that is known to be right.
    #[must_use]
    pub fn after(seq: i64, hash: Hash) -> Self {
        Self { last: seq, prev: hash, anchored_to: seq, ..Self::default() }
    }

    /// The last event that was taken.
    #[must_use]
    pub const fn last(&self) -> i64 {
        self.last
    }

    /// Its hash.
    #[must_use]
    pub const fn head(&self) -> Hash {
        self.prev
    }

    /// Up to which event anchors agree.
    #[must_use]
    pub const fn anchored_to(&self) -> i64 {
        self.anchored_to
    }

    /// How many anchors agreed.
    #[must_use]
    pub const fn anchors(&self) -> u64 {
        self.anchors
    }

    /// The hashes of the events that were taken: those of the newest [`MOST`].
    #[must_use]
    pub fn hashes(&self) -> Vec<Hash> {
        self.window.iter().copied().collect()
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// What does not hold at it.
    pub fn take(&mut self, entry: &Entry) -> Result<(), Found> {
        let seq = self.last + 1;
        let hash = entry.compute_hash();
        let reason = if entry.seq != seq {
            Break::Missing
        } else if entry.prev_hash != self.prev {
            Break::Unlinked
        } else if entry.hash != hash || !entry.is_covered() {
            Break::Altered
        } else {
            (self.last, self.prev) = (seq, hash);
            if self.window.len() == MOST {
                self.window.pop_front();
            }
            self.window.push_back(hash);
            return Ok(());
        };
        Err(Found { seq, reason })
    }

    /// Holds the events taken so far against an anchor that ends at the last one or beyond.
    ///
    /// # Errors
    /// The first event that is not the one that was anchored; or the first that no anchor covers.
    pub fn hold_against(&mut self, anchor: &Anchor) -> Result<(), Found> {
        if let Some(found) = self.compare(anchor) {
            return Err(found);
        }
        let statement = &anchor.statement;
        if statement.to_seq() > self.last {
            return Err(Found { seq: self.last + 1, reason: Break::Missing });
        }
        let is_joined = match statement.previous {
            None => statement.from_seq == 1,
            Some(previous) => self.met.contains(&previous),
        };
        if statement.from_seq > self.anchored_to + 1 || !is_joined {
            return Err(Found { seq: (self.anchored_to + 1).min(statement.from_seq), reason: Break::AnchorMissing });
        }
        self.anchored_to = self.anchored_to.max(statement.to_seq());
        self.anchors += 1;
        self.met.insert(anchor.digest);
        Ok(())
    }

    /// The first event known here whose hash the anchor has otherwise.
    #[must_use]
    pub fn compare(&self, anchor: &Anchor) -> Option<Found> {
        let length = i64::try_from(self.window.len()).unwrap_or(0);
        let first = self.last - length + 1;
        let seqs = anchor.statement.from_seq..;
        seqs.zip(&anchor.statement.hashes)
            .filter(|(seq, _)| (first..=self.last).contains(seq))
            .find(|(seq, anchored)| {
                usize::try_from(seq - first).ok().and_then(|at| self.window.get(at)) != Some(*anchored)
            })
            .map(|(seq, _)| Found { seq, reason: Break::Rewritten })
    }
}
