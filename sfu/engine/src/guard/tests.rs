#![allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]

use super::*;

/// A listener of one voice: 50 packets a second of so many bytes, some lost.
struct Listener {
    guard: Guard,
    now: Instant,
    number: u64,
    bytes: usize,
    target: Bitrate,
    has_picture: bool,
}

impl Listener {
    fn new(target: u64) -> Self {
        let target = Bitrate::kbps(target);
        Self { guard: Guard::default(), now: Instant::now(), number: 1, bytes: 80, target, has_picture: true }
    }

    fn listen(&mut self, seconds: u32, is_lost: impl Fn(u64) -> bool) -> (usize, usize) {
        for _ in 0..seconds {
            for _ in 0..10 {
                let first = self.number;
                for _ in 0..5 {
                    self.guard.note_sent(self.number);
                    // A packet of a picture in between.
                    self.number += 2;
                }
                self.now += Duration::from_millis(100);
                let acks: Vec<Ack> = (first..self.number)
                    .map(|number| Ack { number, arrival: (!is_lost(number / 2)).then_some(Duration::ZERO) })
                    .collect();
                self.guard.note_acks(self.now, &acks);
            }
            let amount = (50, 50 * self.bytes);
            let measure =
                Measure { amount, overhead: 28, target: self.target, reported: 0.0, has_picture: self.has_picture };
            self.guard.poll(self.now, &measure);
        }
        (self.guard.reach().wanted, self.guard.reach().most)
    }
}

#[test]
fn loss_asks_for_more_at_once_and_calm_for_less_after_ten_seconds() {
    let mut listener = Listener::new(2000);
    assert_eq!(listener.listen(5, |_| false), (0, 2));
    assert_eq!(listener.listen(4, |n| n % 20 == 0), (1, 2));
    assert_eq!(listener.listen(4, |n| n % 7 == 0), (2, 2));
    assert_eq!(listener.listen(8, |_| false).0, 2);
    assert_eq!(listener.listen(14, |_| false).0, 0);
    // Between the half and the whole of a threshold nothing changes.
    assert_eq!(listener.listen(20, |n| n % 45 == 0).0, 0);
    assert_eq!(listener.listen(4, |n| n % 20 == 0).0, 1);
    assert_eq!(listener.listen(40, |n| n % 45 == 0).0, 1);
}

#[test]
fn a_run_of_losses_asks_for_two() {
    let mut listener = Listener::new(2000);
    assert_eq!(listener.listen(6, |n| n % 50 < 2).0, 2);
    assert_eq!(Listener::new(2000).listen(6, |n| n % 25 == 0).0, 1);
}

#[test]
fn redundancy_takes_no_more_than_half_of_the_way_but_all_of_it_where_no_picture_flows() {
    let mut listener = Listener::new(100);
    // 59 kbit/s plain, 92 with one frame again.
    assert_eq!(listener.listen(5, |n| n % 20 == 0), (1, 0));
    listener.has_picture = false;
    assert_eq!(listener.listen(5, |n| n % 20 == 0), (1, 0), "92 of 95 is too close to begin with");
    listener.target = Bitrate::kbps(110);
    assert_eq!(listener.listen(12, |n| n % 20 == 0), (1, 1));
    listener.target = Bitrate::kbps(100);
    assert_eq!(listener.listen(12, |n| n % 20 == 0), (1, 1), "what began goes on");
    listener.target = Bitrate::kbps(95);
    assert_eq!(listener.listen(1, |n| n % 20 == 0), (1, 1), "for a moment it may be less");
    listener.target = Bitrate::kbps(40);
    assert_eq!(listener.listen(1, |n| n % 20 == 0), (1, 0));
    assert_eq!(Listener::new(120).listen(5, |_| false), (0, 0));
    assert_eq!(Listener::new(210).listen(5, |_| false), (0, 1));
}

#[test]
fn without_transport_wide_reports_those_of_receivers_count() {
    let now = Instant::now();
    let mut guard = Guard::default();
    let measure =
        Measure { amount: (50, 4000), overhead: 28, target: Bitrate::kbps(1000), reported: 0.08, has_picture: true };
    guard.poll(now, &measure);
    assert_eq!(guard.reach().wanted, 1);
    assert_eq!(guard.loss(now, 0.08), (0.08, 1.0));
}

#[test]
fn a_report_that_was_lost_itself_says_nothing_and_memory_is_bounded() {
    let mut listener = Listener::new(2000);
    listener.listen(2, |_| false);
    for number in 0..10_000 {
        listener.guard.note_sent(listener.number + number);
    }
    listener.number += 10_000;
    assert_eq!(listener.listen(3, |_| false).0, 0);
    assert!(listener.guard.loss(listener.now, 1.0).0 < 0.001);
}
