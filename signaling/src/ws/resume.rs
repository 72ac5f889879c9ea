//! What a client may have missed: numbers every message to one seat and keeps the last ones until it comes back.

use std::collections::VecDeque;

use crate::ws::message::ServerMessage;

/// The most messages kept for a client that is away. When more were missed, `welcome` tells everything anew.
pub const KEPT: usize = 256;

/// The numbered messages of one seat, oldest first. When full, the oldest falls out.
#[derive(Debug, Default)]
pub struct ResumeBuffer {
    /// The number of the last message; numbers begin at 1.
    last: u64,
    /// The messages up to `last`, without holes.
    kept: VecDeque<String>,
}

impl ResumeBuffer {
    /// Numbers a message, keeps its text, and gives it to be sent now.
    pub fn push(&mut self, message: &ServerMessage) -> String {
        self.last += 1;
        if self.kept.len() == KEPT {
            self.kept.pop_front();
        }
        let text = message.to_text(self.last);
        self.kept.push_back(text.clone());
        text
    }

    /// The texts after number `seq`, oldest first. `None` when some of them are no longer here, or were never sent.
    #[must_use]
    pub fn find_after(&self, seq: u64) -> Option<impl Iterator<Item = &String>> {
        let missed = usize::try_from(self.last.checked_sub(seq)?).ok()?;
        let skip = self.kept.len().checked_sub(missed)?;
        Some(self.kept.iter().skip(skip))
    }

    /// Forgets what was kept; numbers go on. Used before everything is told anew.
    pub fn clear(&mut self) {
        self.kept.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn seqs<'a>(texts: impl Iterator<Item = &'a String>) -> Vec<u64> {
        texts.map(|t| serde_json::from_str::<serde_json::Value>(t).unwrap()["seq"].as_u64().unwrap()).collect()
    }

    proptest! {
        /// Whoever comes back within the bound gets exactly what was missed, in order; everybody else is told so.
        #[test]
        fn replays_exactly_what_was_missed(sent in 0u64..700, seen in 0u64..800) {
            let mut buffer = ResumeBuffer::default();
            for _ in 0..sent {
                buffer.push(&ServerMessage::Admitted {});
            }
            let replay = buffer.find_after(seen).map(seqs);
            if seen <= sent && sent - seen <= KEPT as u64 {
                prop_assert_eq!(replay, Some((seen + 1..=sent).collect::<Vec<_>>()));
            } else {
                prop_assert_eq!(replay, None);
            }
        }
    }

    #[test]
    fn clearing_keeps_the_numbers_growing() {
        let mut buffer = ResumeBuffer::default();
        buffer.push(&ServerMessage::Admitted {});
        buffer.clear();
        assert!(buffer.find_after(0).is_none());
        assert!(buffer.push(&ServerMessage::SentBack {}).contains("\"seq\":2"));
    }
}
