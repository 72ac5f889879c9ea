//! Words that clients of a translated face send each other: relayed, kept for who comes later, and held back when there are too many.

use std::collections::VecDeque;
use std::time::Duration;

use crate::live::face::Post;
use crate::live::roster::Moment;

/// The most words that are kept. When full, the oldest go.
const MAX_KEPT: usize = 1024;

/// How long they are kept at most, whatever their sender asks.
const LONGEST_KEPT: Duration = Duration::from_secs(5 * 60);

/// So many a second, and so many at once.
#[derive(Debug)]
pub(crate) struct Allowance {
    rate: u32,
    burst: u32,
    left: f64,
    at: Duration,
}

impl Allowance {
    /// Of one client.
    pub(crate) fn of_one() -> Self {
        Self::new(100, 200)
    }

    /// Of everybody together.
    fn of_all() -> Self {
        Self::new(100, 200)
    }

    fn new(rate: u32, burst: u32) -> Self {
        Self { rate, burst, left: f64::from(burst), at: Duration::ZERO }
    }

    /// True when one more is allowed.
    pub(crate) fn take(&mut self, now: Duration) -> bool {
        let refill = now.saturating_sub(self.at).as_secs_f64() * f64::from(self.rate);
        self.left = (self.left + refill).min(f64::from(self.burst));
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

/// The words of one Room.
#[derive(Debug)]
pub(crate) struct Board {
    /// Each with the time at which it is forgotten.
    kept: VecDeque<(Duration, Post)>,
    allowance: Allowance,
}

impl Default for Board {
    fn default() -> Self {
        Self { kept: VecDeque::new(), allowance: Allowance::of_all() }
    }
}

impl Board {
    /// True when everybody together may say one more.
    pub(crate) fn may_post(&mut self, now: Moment) -> bool {
        self.allowance.take(now.steady)
    }

    /// Keeps words for who comes later, if their sender wants that.
    pub(crate) fn keep(&mut self, now: Moment, post: Post) {
        if post.draft.lifetime.is_zero() {
            return;
        }
        self.kept.retain(|(until, _)| *until > now.steady);
        if self.kept.len() == MAX_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back((now.steady + post.draft.lifetime.min(LONGEST_KEPT), post));
    }

    /// What is still to be read, oldest first.
    pub(crate) fn read(&self, now: Moment) -> Vec<Post> {
        self.kept.iter().filter(|(until, _)| *until > now.steady).map(|(_, post)| post.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::live::face::{Alias, Draft};
    use bytes::Bytes;
    use time::OffsetDateTime;
    use wire::Redacted;

    fn at(millis: u64) -> Moment {
        let steady = Duration::from_millis(millis);
        Moment { wall: OffsetDateTime::UNIX_EPOCH + steady, steady }
    }

    fn post(text: &str, lifetime_ms: u64) -> Post {
        let draft = Draft {
            topic: "chat".to_owned(),
            body: Redacted::new(Bytes::copy_from_slice(text.as_bytes())),
            lifetime: Duration::from_millis(lifetime_ms),
        };
        let from = Alias { id: "a".into(), name: Redacted::new("Maria".into()) };
        Post { draft, from, at: Some(OffsetDateTime::UNIX_EPOCH) }
    }

    #[test]
    fn words_are_kept_for_their_lifetime_and_never_longer_than_five_minutes() {
        let mut board = Board::default();
        board.keep(at(0), post("now", 0));
        board.keep(at(0), post("short", 1000));
        board.keep(at(0), post("long", u64::from(u32::MAX)));
        let texts = |millis| board.read(at(millis)).len();
        assert_eq!((texts(0), texts(999), texts(1000), texts(299_999), texts(300_000)), (2, 2, 1, 1, 0));
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many() {
        let mut board = Board::default();
        for n in 0..1100 {
            board.keep(at(n), post(&n.to_string(), 60_000));
        }
        let kept = board.read(at(1100));
        assert_eq!(kept.len(), 1024);
        assert_eq!(**kept[0].draft.body.reveal(), *b"76");
    }

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let mut board = Board::default();
        assert_eq!((0..500).filter(|_| board.may_post(at(0))).count(), 200);
        assert_eq!((0..500).filter(|_| board.may_post(at(1000))).count(), 100);
    }
}
