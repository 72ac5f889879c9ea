//! The link on virtual time.

use super::*;
use crate::conditions::Protocol;

/// An IPv4 header in front of nothing: enough for the firewall.
fn packet(protocol: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    (bytes[0], bytes[9]) = (0x45, protocol);
    bytes
}

fn udp(length: usize) -> Vec<u8> {
    packet(17, length)
}

struct Bench {
    link: Link,
    begin: Instant,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "an instant to count from; nothing depends on which")]
    fn new(conditions: Conditions) -> Self {
        conditions.validate().unwrap();
        let mut link = Link::new(7);
        link.set(conditions);
        Self { link, begin: Instant::now() }
    }

    fn at(&self, ms: f64) -> Instant {
        self.begin + millis(ms)
    }

    fn offer(&mut self, ms: f64, bytes: &[u8]) {
        let now = self.at(ms);
        self.link.offer(now, bytes);
    }

    /// Everything still on its way: when it arrives in ms, and its bytes.
    fn drain(&mut self) -> Vec<(f64, Vec<u8>)> {
        std::iter::from_fn(|| {
            let due = self.link.next_due()?;
            let bytes = self.link.poll(due)?;
            Some(((due - self.begin).as_secs_f64() * 1000.0, bytes))
        })
        .collect()
    }

    /// One numbered packet each millisecond, and which of them arrive in which order.
    fn run(&mut self, count: u32) -> Vec<(f64, u32)> {
        for n in 0..count {
            let mut bytes = udp(100);
            bytes[20..24].copy_from_slice(&n.to_be_bytes());
            self.offer(f64::from(n), &bytes);
        }
        self.drain()
            .into_iter()
            .map(|(at, bytes)| (at, u32::from_be_bytes(bytes[20..24].try_into().unwrap())))
            .collect()
    }
}

fn share(part: usize, whole: u32) -> f64 {
    f64::from(u32::try_from(part).unwrap()) / f64::from(whole)
}

#[test]
fn a_perfect_link_delivers_at_once_and_in_order() {
    let mut bench = Bench::new(Conditions::default());
    let arrived = bench.run(100);
    assert!(arrived.iter().enumerate().all(|(n, (at, number))| n == *number as usize && (at - n as f64).abs() < 1e-6));
    assert_eq!(bench.link.counters().delivered, 100);
}

#[test]
fn nothing_comes_before_it_is_due() {
    let mut bench = Bench::new(Conditions { delay_ms: 40.0, ..Conditions::default() });
    bench.offer(0.0, &udp(100));
    assert_eq!(bench.link.poll(bench.at(39.9)), None);
    assert!(bench.link.poll(bench.at(40.0)).is_some());
    assert_eq!(bench.link.next_due(), None);
}

#[test]
fn jitter_spreads_the_delay_and_keeps_the_order() {
    let mut bench = Bench::new(Conditions { delay_ms: 300.0, jitter_ms: 10.0, ..Conditions::default() });
    // Far enough apart that order never binds.
    for n in 0..2000 {
        bench.offer(f64::from(n) * 200.0, &udp(100));
    }
    let delays: Vec<f64> = bench.drain().iter().enumerate().map(|(n, (at, _))| at - n as f64 * 200.0).collect();
    let mean = delays.iter().sum::<f64>() / delays.len() as f64;
    let deviation = (delays.iter().map(|delay| (delay - mean).powi(2)).sum::<f64>() / delays.len() as f64).sqrt();
    assert!((mean - 300.0).abs() < 1.0, "mean {mean}");
    assert!((deviation - 10.0).abs() < 0.7, "deviation {deviation}");

    let mut dense = Bench::new(Conditions { delay_ms: 50.0, jitter_ms: 20.0, ..Conditions::default() });
    assert!(dense.run(2000).is_sorted_by_key(|(_, number)| *number));
}

#[test]
fn random_loss_is_as_asked_and_replays_from_its_seed() {
    let conditions = Conditions { loss: Loss::Random(0.2), ..Conditions::default() };
    let arrived = Bench::new(conditions.clone()).run(20_000);
    assert!((share(arrived.len(), 20_000) - 0.8).abs() < 0.01, "{}", arrived.len());
    assert_eq!(arrived, Bench::new(conditions).run(20_000));
}

#[test]
fn bursts_have_the_mean_loss_and_length_of_gilbert_and_elliott() {
    let loss = Loss::Bursts { enter: 0.022, leave: 0.25, bad: 1.0, good: 0.0 };
    let mut bench = Bench::new(Conditions { loss, ..Conditions::default() });
    let arrived: Vec<u32> = bench.run(60_000).into_iter().map(|(_, number)| number).collect();
    let lost = 60_000 - arrived.len();
    assert!((share(lost, 60_000) - 0.081).abs() < 0.01, "lost {lost}");
    let bursts = arrived.windows(2).filter(|pair| pair[1] - pair[0] > 1).count();
    let length = lost as f64 / bursts as f64;
    assert!((length - 4.0).abs() < 0.4, "mean burst {length}");
}

#[test]
fn the_bottleneck_sends_at_its_rate_and_drops_at_the_tail_of_its_queue() {
    // 500 bytes at 400 kbit/s take 10 ms each; 100 of them at once find room for 100 ms of waiting.
    let mut bench = Bench::new(Conditions { kbps: Some(400.0), queue_ms: Some(100.0), ..Conditions::default() });
    for _ in 0..100 {
        bench.offer(0.0, &udp(500));
    }
    let arrived = bench.drain();
    assert_eq!(arrived.len(), 11);
    for (n, (at, _)) in arrived.iter().enumerate() {
        assert!((at - (n + 1) as f64 * 10.0).abs() < 1e-3, "{n}: {at}");
    }
    assert_eq!(bench.link.counters().overflowed, 89);
    // The queue has drained by then.
    bench.offer(1000.0, &udp(500));
    assert!((bench.drain()[0].0 - 1010.0).abs() < 1e-3);
}

#[test]
fn some_packets_are_overtaken_when_asked() {
    let mut bench =
        Bench::new(Conditions { delay_ms: 10.0, reorder: 0.1, reorder_by_ms: 5.0, ..Conditions::default() });
    let arrived = bench.run(10_000);
    assert_eq!(arrived.len(), 10_000);
    let late = bench.link.counters().reordered;
    assert!((900..1100).contains(&late), "{late}");
    assert!(!arrived.is_sorted_by_key(|(_, number)| *number));
}

#[test]
fn duplicates_arrive_together() {
    let mut bench = Bench::new(Conditions { duplicate: 0.5, ..Conditions::default() });
    let arrived = bench.run(1000);
    let extra = bench.link.counters().duplicated;
    assert_eq!(arrived.len() as u64, 1000 + extra);
    assert!((450..550).contains(&extra), "{extra}");
}

#[test]
fn a_firewall_stops_what_it_names_and_an_outage_everything() {
    let mut bench = Bench::new(Conditions { block: vec![Protocol::Udp], ..Conditions::default() });
    bench.offer(0.0, &packet(17, 40));
    bench.offer(0.0, &packet(6, 40));
    assert_eq!(bench.drain().len(), 1);
    bench.link.set(Conditions { down: true, ..Conditions::default() });
    bench.offer(1.0, &packet(6, 40));
    assert!(bench.drain().is_empty());
    bench.link.set(Conditions::default());
    bench.offer(2.0, &packet(17, 40));
    assert_eq!(bench.drain().len(), 1);
    let counters = bench.link.counters();
    assert_eq!([counters.blocked, counters.outage, counters.delivered], [1, 1, 2]);
}

#[test]
fn what_is_on_its_way_survives_a_change_and_is_not_overtaken_by_it() {
    let mut bench = Bench::new(Conditions { delay_ms: 300.0, ..Conditions::default() });
    bench.offer(0.0, &udp(100));
    bench.link.set(Conditions::default());
    bench.offer(1.0, &udp(200));
    let arrived = bench.drain();
    assert_eq!(arrived.iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [100, 200]);
    assert!((arrived[0].0 - 300.0).abs() < 1e-3);
}

#[test]
fn what_waits_is_bounded() {
    let mut bench = Bench::new(Conditions { delay_ms: 60_000.0, ..Conditions::default() });
    for _ in 0..MAX_WAITING + 10 {
        bench.offer(0.0, &udp(40));
    }
    assert_eq!(bench.link.counters().crowded, 10);
    assert_eq!(bench.drain().len(), MAX_WAITING);
}

#[test]
fn numbers_that_no_network_has_are_refused() {
    for wrong in [
        Conditions { loss: Loss::Random(1.5), ..Conditions::default() },
        Conditions { kbps: Some(0.0), ..Conditions::default() },
        Conditions { kbps: Some(f64::NAN), ..Conditions::default() },
        Conditions { delay_ms: -1.0, ..Conditions::default() },
        Conditions { delay_ms: f64::INFINITY, ..Conditions::default() },
        Conditions { duplicate: f64::NAN, ..Conditions::default() },
    ] {
        assert!(wrong.validate().is_err(), "{wrong:?}");
    }
}
