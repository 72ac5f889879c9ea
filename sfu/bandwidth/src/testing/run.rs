//! A closed loop: controllers send over one link, receivers report back.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::flow::{Leaving, Sender, Source};
use super::link::{Fate, Link, LinkSetup};
use super::measure::{Delivery, FlowLog, Log};
use super::tcp::Tcp;
use super::{Controller, Nanos, nanos};
use crate::{Ack, Bitrate, ProbeId, ReceiverReport, Report, Sent, SentKind};

/// How receivers answer.
#[derive(Clone, Debug)]
pub struct Feedback {
    /// Between transport-wide reports; none: receiver reports alone, one per second.
    pub interval: Option<Duration>,
    /// The way back.
    pub delay: Duration,
    /// Share of reports lost.
    pub loss: f64,
    /// No report comes through from the first to the second.
    pub silence: Option<(Duration, Duration)>,
    /// The report sent at the first moment comes only at the second.
    pub late: Option<(Duration, Duration)>,
    /// The first report's count.
    pub first_count: u8,
}

impl Default for Feedback {
    fn default() -> Self {
        Self {
            interval: Some(Duration::from_millis(50)),
            delay: Duration::from_millis(20),
            loss: 0.0,
            silence: None,
            late: None,
            first_count: 0,
        }
    }
}

/// One controlled flow.
#[derive(Clone, Debug)]
pub struct FlowSetup {
    /// When it begins.
    pub from: Duration,
    /// What it has to send.
    pub source: Source,
    /// What its controller starts from.
    pub start: Bitrate,
}

/// All of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// How long.
    pub duration: Duration,
    /// The one path.
    pub link: LinkSetup,
    /// The way back.
    pub feedback: Feedback,
    /// The controlled flows.
    pub flows: Vec<FlowSetup>,
    /// Whether a bulk TCP flow shares the path from a moment on.
    pub tcp: Option<Duration>,
    /// The highest rate of each.
    pub max: Bitrate,
    /// The first transport-wide number.
    pub first_number: u64,
}

impl Setup {
    /// One greedy flow over `link`.
    #[must_use]
    pub fn new(link: LinkSetup, seconds: u64) -> Self {
        let flow = FlowSetup { from: Duration::ZERO, source: Source::Greedy, start: Bitrate::kbps(300) };
        Self {
            duration: Duration::from_secs(seconds),
            link,
            feedback: Feedback::default(),
            flows: vec![flow],
            tcp: None,
            max: Bitrate::kbps(20_000),
            first_number: 1,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Begin(usize),
    Send(usize, u64),
    Tick(usize, u64),
    Arrive(usize, u64, Nanos),
    Report(usize),
    Told(usize, u8, Vec<(u64, Option<u64>)>),
    ReceiverTold(usize, u32, u32, Nanos),
    TcpBegin,
    TcpAck(Nanos),
    TcpLoss,
}

struct Receiver {
    /// By number: arrivals in steps of 250 us not yet reported.
    arrived: BTreeMap<u64, u64>,
    next: u64,
    count: u8,
    received: u32,
    highest: u64,
    reported: u64,
}

struct Flow<C> {
    controller: C,
    sender: Sender,
    receiver: Receiver,
    number: u64,
    probe: Option<ProbeId>,
    generation: u64,
    log: FlowLog,
}

struct World<C> {
    epoch: Instant,
    now: Nanos,
    sequence: u64,
    events: BinaryHeap<Reverse<(Nanos, u64, Event)>>,
    link: Link,
    feedback: Feedback,
    random: StdRng,
    flows: Vec<Option<Flow<C>>>,
    tcp: Option<Tcp>,
    scratch: Vec<Leaving>,
}

/// Runs `setup` with one controller for each flow, made by `make` from its index, start and the moment it begins.
/// Virtual time counts from `epoch`; the same seed gives the same run.
pub fn run<C: Controller>(
    setup: &Setup,
    seed: u64,
    epoch: Instant,
    mut make: impl FnMut(usize, Bitrate, Instant) -> C,
) -> Log {
    let mut world = World {
        epoch,
        now: 0,
        sequence: 0,
        events: BinaryHeap::new(),
        link: Link::new(setup.link.clone(), seed, 1),
        feedback: setup.feedback.clone(),
        random: StdRng::seed_from_u64(seed ^ 0xFEED),
        flows: setup.flows.iter().map(|_| None).collect(),
        tcp: None,
        scratch: Vec::new(),
    };
    for (i, flow) in setup.flows.iter().enumerate() {
        world.at(nanos(flow.from), Event::Begin(i));
    }
    if let Some(from) = setup.tcp {
        world.at(nanos(from), Event::TcpBegin);
    }
    let end = nanos(setup.duration);
    while let Some(Reverse((at, _, event))) = world.events.pop() {
        if at > end {
            break;
        }
        world.now = at;
        if let Event::Begin(i) = event {
            let Some(flow) = setup.flows.get(i) else { continue };
            let controller = make(i, flow.start, world.instant());
            world.begin(i, controller, flow, setup.first_number, seed);
        } else {
            world.handle(event);
        }
    }
    let flows = world.flows.into_iter().map(|flow| flow.map(|flow| flow.log).unwrap_or_default()).collect();
    Log { flows, link: setup.link.clone(), duration: setup.duration }
}

impl<C: Controller> World<C> {
    fn instant(&self) -> Instant {
        self.epoch + Duration::from_nanos(self.now)
    }

    fn at(&mut self, at: Nanos, event: Event) {
        self.sequence += 1;
        self.events.push(Reverse((at, self.sequence, event)));
    }

    fn begin(&mut self, i: usize, controller: C, setup: &FlowSetup, number: u64, seed: u64) {
        let receiver = Receiver {
            arrived: BTreeMap::new(),
            next: number,
            count: self.feedback.first_count,
            received: 0,
            highest: number.saturating_sub(1),
            reported: number.saturating_sub(1),
        };
        let sender = Sender::new(setup.source.clone(), seed.wrapping_add(i as u64), self.now);
        let log = FlowLog::default();
        let flow = Flow { controller, sender, receiver, number, probe: None, generation: 0, log };
        if let Some(slot) = self.flows.get_mut(i) {
            *slot = Some(flow);
        }
        let interval = self.feedback.interval.unwrap_or(Duration::from_secs(1));
        // Receivers do not share a clock.
        let phase = nanos(interval) / 10 * (seed.wrapping_add(3 * i as u64) % 10);
        self.at(self.now + nanos(interval) / 2 + phase, Event::Report(i));
        self.follow(i);
    }

    /// The controller may have changed its mind: rates, timers, bursts.
    fn follow(&mut self, i: usize) {
        let (now, instant) = (self.now, self.instant());
        let Some(Some(flow)) = self.flows.get_mut(i) else { return };
        if let Some(probe) = flow.controller.poll_probe(instant) {
            flow.probe = Some(probe.id);
            flow.sender.begin_probe(now, probe);
            flow.log.probes += 1;
        }
        let target = flow.controller.target();
        if flow.log.targets.last().is_none_or(|&(_, last)| last != target.as_bps()) {
            flow.log.targets.push((now, target.as_bps()));
        }
        flow.sender.set_rate(now, target.scale(flow.controller.video_scale()));
        flow.generation += 1;
        let generation = flow.generation;
        let due = flow.sender.poll_timeout(now);
        let tick = flow.controller.poll_timeout();
        self.at(due, Event::Send(i, generation));
        if let Some(tick) = tick {
            let tick = nanos(tick.saturating_duration_since(self.epoch)).max(now + 1);
            self.at(tick, Event::Tick(i, generation));
        }
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Begin(_) => {}
            Event::Send(i, generation) => self.send(i, generation),
            Event::Tick(i, generation) => self.tick(i, generation),
            Event::Arrive(i, number, _) => self.arrive(i, number),
            Event::Report(i) => self.report(i),
            Event::Told(i, count, acks) => self.told(i, count, &acks),
            Event::ReceiverTold(i, lost, expected, sent) => self.receiver_told(i, lost, expected, sent),
            Event::TcpBegin => {
                self.tcp = Some(Tcp::new());
                self.send_tcp();
            }
            Event::TcpAck(sent) => {
                let now = self.now;
                if let Some(tcp) = &mut self.tcp {
                    tcp.handle_ack(now, sent);
                }
                self.send_tcp();
            }
            Event::TcpLoss => {
                let now = self.now;
                if let Some(tcp) = &mut self.tcp {
                    tcp.handle_loss(now);
                }
                self.send_tcp();
            }
        }
    }

    fn tick(&mut self, i: usize, generation: u64) {
        let instant = self.instant();
        let Some(Some(flow)) = self.flows.get_mut(i) else { return };
        if flow.generation == generation {
            flow.controller.handle_timeout(instant);
            self.follow(i);
        }
    }

    fn send(&mut self, i: usize, generation: u64) {
        let (now, instant) = (self.now, self.instant());
        let mut leaving = std::mem::take(&mut self.scratch);
        leaving.clear();
        let Some(Some(flow)) = self.flows.get_mut(i) else { return };
        if flow.generation == generation {
            flow.sender.poll_packets(now, &mut leaving);
        }
        let mut arrivals = Vec::new();
        for packet in &leaving {
            let number = flow.number;
            flow.number += 1;
            let kind = if packet.padding { SentKind::Padding } else { SentKind::Media };
            let probe = flow.probe.filter(|_| packet.probe);
            let bytes = usize::try_from(packet.bytes).unwrap_or(usize::MAX);
            flow.controller.handle_sent(instant, Sent { number, bytes, kind, probe });
            flow.log.sent.push(now);
            match self.link.offer(now, packet.bytes) {
                Fate::Arrives { at, waited } => {
                    flow.log.delivered.push(Delivery { at, sent: now, bytes: packet.bytes, waited });
                    arrivals.push((at, number));
                }
                Fate::Lost => flow.log.lost.push(now),
                Fate::Dropped => flow.log.dropped.push(now),
            }
        }
        let current = flow.generation == generation;
        for (at, number) in arrivals {
            self.at(at, Event::Arrive(i, number, now));
        }
        self.scratch = leaving;
        if current {
            self.follow(i);
        }
    }

    fn arrive(&mut self, i: usize, number: u64) {
        let now = self.now;
        let Some(Some(flow)) = self.flows.get_mut(i) else { return };
        let receiver = &mut flow.receiver;
        receiver.arrived.insert(number, now / 250_000);
        receiver.received += 1;
        receiver.highest = receiver.highest.max(number);
    }

    fn report(&mut self, i: usize) {
        let now = self.now;
        let at = Duration::from_nanos(now);
        let interval = self.feedback.interval.unwrap_or(Duration::from_secs(1));
        self.at(now + nanos(interval), Event::Report(i));
        let lost = self.random.random_bool(self.feedback.loss)
            || self.feedback.silence.is_some_and(|(from, to)| at >= from && at < to);
        let mut arrival = now + nanos(self.feedback.delay);
        if let Some((from, to)) = self.feedback.late
            && at >= from
            && at < from + interval
        {
            arrival = nanos(to);
        }
        let wide = self.feedback.interval.is_some();
        let Some(Some(flow)) = self.flows.get_mut(i) else { return };
        let receiver = &mut flow.receiver;
        let event = if wide {
            let Some((&highest, _)) = receiver.arrived.last_key_value() else { return };
            let first = receiver.arrived.first_key_value().map_or(receiver.next, |(&first, _)| first);
            let begin = receiver.next.min(first);
            let acks = (begin..=highest).map(|number| (number, receiver.arrived.get(&number).copied())).collect();
            receiver.arrived.clear();
            receiver.next = highest + 1;
            let count = receiver.count;
            receiver.count = receiver.count.wrapping_add(1);
            Event::Told(i, count, acks)
        } else {
            let expected = u32::try_from(receiver.highest - receiver.reported).unwrap_or(u32::MAX);
            let lost = expected.saturating_sub(receiver.received);
            receiver.reported = receiver.highest;
            receiver.received = 0;
            receiver.arrived.clear();
            Event::ReceiverTold(i, lost, expected, now)
        };
        if !lost {
            self.at(arrival, event);
        }
    }

    fn told(&mut self, i: usize, count: u8, acks: &[(u64, Option<u64>)]) {
        let instant = self.instant();
        let acks: Vec<Ack> = acks
            .iter()
            .map(|&(number, arrival)| Ack { number, arrival: arrival.map(|at| Duration::from_micros(at * 250)) })
            .collect();
        let Some(Some(flow)) = self.flows.get_mut(i) else { return };
        flow.controller.handle_report(instant, Report { count, acks: &acks });
        self.follow(i);
    }

    fn receiver_told(&mut self, i: usize, lost: u32, expected: u32, sent: Nanos) {
        let instant = self.instant();
        let back = Duration::from_nanos(self.now - sent);
        let Some(Some(flow)) = self.flows.get_mut(i) else { return };
        let share = lost as f32 / expected.max(1) as f32;
        let report = ReceiverReport { lost: share, expected, round_trip: Some(2 * back) };
        flow.controller.handle_receiver_report(instant, report);
        self.follow(i);
    }

    fn send_tcp(&mut self) {
        let now = self.now;
        while self.tcp.as_ref().is_some_and(Tcp::can_send) {
            let Some(tcp) = &mut self.tcp else { return };
            tcp.handle_sent();
            let noticed = now + nanos(tcp.round_trip()).max(1);
            match self.link.offer(now, Tcp::PACKET) {
                Fate::Arrives { at, .. } => {
                    let back = nanos(self.feedback.delay);
                    self.at(at + back, Event::TcpAck(now));
                }
                Fate::Lost | Fate::Dropped => self.at(noticed, Event::TcpLoss),
            }
        }
    }
}
