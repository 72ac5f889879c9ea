//! Datagrams on their way out: one behind the other in one block, so that none of them is allocated or copied again.

use std::collections::VecDeque;
use std::ops::Range;

use crate::transport::Path;

/// Where one datagram goes, and where it lies in the block.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    to: Path,
    at: Range<usize>,
}

/// Datagrams to send, in order. The caller clears it after each send, so its length is bounded by what the inputs since then
/// caused; the block keeps its size.
#[derive(Debug, Default)]
pub struct Outgoing {
    bytes: Vec<u8>,
    entries: VecDeque<Entry>,
}

/// A block that a burst made larger than this is given back.
const KEPT: usize = 1 << 20;

impl Outgoing {
    /// Adds a datagram.
    pub fn push(&mut self, to: Path, datagram: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.entries.push_back(Entry { to, at: start..self.bytes.len() });
    }

    /// Lets `write` put one datagram at the end of the block; it must not touch what is there. Gives the datagram's length;
    /// `None`, and nothing was added, when `write` says no.
    pub(crate) fn write(&mut self, to: Path, write: impl FnOnce(&mut Vec<u8>, usize) -> bool) -> Option<usize> {
        // Behind the last whole datagram: a write that panicked left something there.
        let start = self.entries.back().map_or(0, |last| last.at.end);
        self.bytes.truncate(start);
        if !write(&mut self.bytes, start) || self.bytes.len() < start {
            self.bytes.truncate(start);
            return None;
        }
        let at = start..self.bytes.len();
        let length = at.len();
        self.entries.push_back(Entry { to, at });
        Some(length)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// One of them, by its place in the order.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<(Path, &[u8])> {
        let entry = self.entries.get(index)?;
        Some((entry.to, self.bytes.get(entry.at.clone()).unwrap_or_default()))
    }

    /// Each with its destination, in the order in which they were made.
    pub fn iter(&self) -> impl Iterator<Item = (Path, &[u8])> {
        self.entries.iter().map(|entry| (entry.to, self.bytes.get(entry.at.clone()).unwrap_or_default()))
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT);
    }

    /// Takes out the first one.
    pub(crate) fn pop_first(&mut self) -> Option<(Path, bytes::Bytes)> {
        let Entry { to, at } = self.entries.pop_front()?;
        let datagram = bytes::Bytes::copy_from_slice(self.bytes.get(at).unwrap_or_default());
        if self.entries.is_empty() {
            self.clear();
        }
        Some((to, datagram))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(port: u16) -> Path {
        std::net::SocketAddr::from(([192, 0, 2, 1], port)).into()
    }

    #[test]
    fn datagrams_come_out_as_they_went_in() {
        let mut outgoing = Outgoing::default();
        outgoing.push(to(1), b"one");
        let length = outgoing.write(to(2), |bytes, start| {
            assert_eq!(start, bytes.len());
            bytes.extend_from_slice(b"second");
            true
        });
        assert_eq!(length, Some(6));
        outgoing.push(to(1), b"");
        let all: Vec<_> = outgoing.iter().collect();
        assert_eq!(all, [(to(1), &b"one"[..]), (to(2), b"second"), (to(1), b"")]);
        assert_eq!(outgoing.pop_first().unwrap(), (to(1), bytes::Bytes::from_static(b"one")));
        assert_eq!((outgoing.len(), outgoing.iter().next()), (2, Some((to(2), &b"second"[..]))));
        outgoing.clear();
        assert!(outgoing.is_empty() && outgoing.pop_first().is_none());
    }

    #[test]
    fn what_was_not_finished_is_not_sent() {
        let mut outgoing = Outgoing::default();
        outgoing.push(to(1), b"one");
        let refused = outgoing.write(to(2), |bytes, _| {
            bytes.extend_from_slice(b"half");
            false
        });
        assert_eq!(refused, None);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            outgoing.write(to(2), |bytes, _| {
                bytes.extend_from_slice(b"half");
                panic!("in the middle of it");
            })
        }));
        assert!(panicked.is_err());
        outgoing.write(to(3), |bytes, _| {
            bytes.extend_from_slice(b"whole");
            true
        });
        assert_eq!(outgoing.iter().collect::<Vec<_>>(), [(to(1), &b"one"[..]), (to(3), b"whole")]);
    }
}
