//! Three Layers of three frame rates through a Track and a Passage, on a network that loses, delays and repairs. A model of
//! a decoder judges what leaves.

#![allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};
use std::time::Duration;

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use wire::TrackId;
use wire::control::{Codec, Source};

use super::*;
use crate::negotiate::{Coding, Sources};
use crate::rtp::packet::{self, NewHeader};
use crate::rtp::vp8;
use crate::track::{Extras, Track};

const FRAME: u64 = 20;
const RIDS: [&str; 3] = ["q", "h", "f"];

/// What a frame is, written into its body: Layer, keyframes so far, frames since the last of them.
type Name = (u8, u8, u16);

/// The frame that a frame builds on: T0 T2 T1 T2, as L1T3.
const fn reference((layer, key, frame): Name) -> Option<Name> {
    let back = match frame % 4 {
        0 if frame == 0 => return None,
        0 => 4,
        2 => 2,
        _ => 1,
    };
    Some((layer, key, frame - back))
}

const fn temporal(frame: u16) -> u8 {
    match frame % 4 {
        0 => 0,
        2 => 1,
        _ => 2,
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Flying {
    due: std::cmp::Reverse<(u64, u64)>,
    layer: u8,
    is_repair: bool,
    bytes: Vec<u8>,
}

struct Encoder {
    sequence: u16,
    rtx: u16,
    picture: u16,
    tl0: u8,
    clock: u32,
    key: u8,
    frame: u16,
    wants_keyframe: bool,
    is_on: bool,
}

struct Rig {
    rng: StdRng,
    begin: Instant,
    millis: u64,
    count: u64,
    track: Track,
    passage: Passage,
    encoders: Vec<Encoder>,
    flying: BinaryHeap<Flying>,
    loss: f64,
    jitter: u64,
    keyframes: usize,
    /// By number: timestamp, marker, payload as it leaves; nothing for a filler.
    left: BTreeMap<u64, (u32, bool, Option<Vec<u8>>)>,
    /// When which Layer began.
    starts: Vec<(u64, u8)>,
}

impl Rig {
    fn new(seed: u64) -> Self {
        let begin = Instant::now();
        let mut rng = StdRng::seed_from_u64(seed);
        let coding = Coding { codec: Codec::Vp8, profile: None };
        let mut track = Track::new(TrackId::random(), "1".into(), Source::Camera, coding, begin);
        track.set_sources(&Sources { rids: RIDS.map(Into::into).to_vec(), ..Sources::default() }, begin);
        for (stream, ssrc) in track.streams.iter_mut().zip(50..) {
            (stream.ssrc, stream.rtx_ssrc) = (Some(ssrc), Some(ssrc + 10));
        }
        let encoders = (0..3).map(|_| Encoder {
            sequence: rng.random(),
            rtx: rng.random(),
            picture: rng.random::<u16>() & 0x7fff,
            tl0: rng.random(),
            clock: rng.random(),
            key: 0,
            frame: 0,
            wants_keyframe: true,
            is_on: true,
        });
        let encoders = encoders.collect();
        let mut passage = Passage::new(rng.random());
        passage.begin(true);
        Self {
            rng,
            begin,
            millis: 0,
            count: 0,
            track,
            passage,
            encoders,
            flying: BinaryHeap::new(),
            loss: 0.0,
            jitter: 0,
            keyframes: 0,
            left: BTreeMap::new(),
            starts: Vec::new(),
        }
    }

    fn now(&self) -> Instant {
        self.begin + Duration::from_millis(self.millis)
    }

    fn run(&mut self, millis: u64) {
        for _ in 0..millis {
            self.millis += 1;
            if self.millis.is_multiple_of(FRAME) {
                for layer in 0..3 {
                    self.encode(layer);
                }
            }
            while self.flying.peek().is_some_and(|next| next.due.0.0 <= self.millis) {
                let Some(flying) = self.flying.pop() else { return };
                self.arrive(&flying);
            }
            if self.millis.is_multiple_of(10) {
                self.passage.settle(self.track.live(self.now()), self.now());
                for layer in 0..3u8 {
                    let is_waited_for = self.passage.waits_for() == Some(layer);
                    let now = self.now();
                    let keyframes = &mut self.track.streams[usize::from(layer)].keyframes;
                    if keyframes.poll(now, is_waited_for, None) {
                        self.keyframes += 1;
                        self.encoders[usize::from(layer)].wants_keyframe = true;
                    }
                }
            }
            if self.millis % 500 == 137 {
                let ntp = (u64::from(u32::try_from(self.millis).unwrap()) << 32) / 1000;
                let now = self.now();
                for layer in 0..3 {
                    let rtp = self.clock(layer);
                    self.track.streams[layer].note_report(ntp, rtp, now);
                }
            }
        }
    }

    fn clock(&self, layer: usize) -> u32 {
        self.encoders[layer].clock.wrapping_add(u32::try_from(self.millis * 90).unwrap())
    }

    fn encode(&mut self, layer: usize) {
        let timestamp = self.clock(layer);
        let encoder = &mut self.encoders[layer];
        if !encoder.is_on {
            return;
        }
        let is_key = std::mem::take(&mut encoder.wants_keyframe);
        if is_key {
            encoder.key = encoder.key.wrapping_add(1);
            encoder.frame = 0;
        }
        let (key, frame) = (encoder.key, encoder.frame);
        encoder.frame += 1;
        encoder.picture = (encoder.picture + 1) & 0x7fff;
        let temporal = temporal(frame);
        encoder.tl0 = encoder.tl0.wrapping_add(u8::from(temporal == 0));
        let is_sync = frame % 4 != 3 && temporal > 0;
        let packets = if is_key { 4 } else { 1 + layer };
        for packet in 0..packets {
            let encoder = &mut self.encoders[layer];
            let [high, low] = (encoder.picture | 0x8000).to_be_bytes();
            let flags = temporal << 6 | u8::from(is_sync) << 5;
            let mut payload = vec![if packet == 0 { 0x90 } else { 0x80 }, 0xe0, high, low, encoder.tl0, flags];
            payload.push(u8::from(!is_key));
            let [f1, f0] = frame.to_be_bytes();
            payload.extend([u8::try_from(layer).unwrap(), key, f1, f0]);
            let header = NewHeader {
                payload_type: 96,
                marker: packet + 1 == packets,
                sequence: encoder.sequence,
                timestamp,
                ssrc: 50 + u32::try_from(layer).unwrap(),
                has_extension: false,
                padding: 0,
            };
            encoder.sequence = encoder.sequence.wrapping_add(1);
            let mut bytes = Vec::new();
            packet::write(&mut bytes, &header);
            bytes.extend(&payload);
            let is_lost = self.rng.random::<f64>() < self.loss;
            if is_lost {
                // It comes by RTX.
                let mut wrapped = Vec::new();
                let encoder = &mut self.encoders[layer];
                let header = NewHeader { payload_type: 97, sequence: encoder.rtx, ssrc: header.ssrc + 10, ..header };
                encoder.rtx = encoder.rtx.wrapping_add(1);
                packet::write(&mut wrapped, &header);
                wrapped.extend(bytes[2..4].iter().chain(&payload));
                bytes = wrapped;
            }
            self.count += 1;
            let late = self.rng.random_range(0..=self.jitter) + if is_lost { 45 } else { 0 };
            let due = std::cmp::Reverse((self.millis + late, self.count));
            self.flying.push(Flying { due, layer: u8::try_from(layer).unwrap(), is_repair: is_lost, bytes });
        }
    }

    fn arrive(&mut self, flying: &Flying) {
        let now = self.now();
        let bytes = Bytes::from(flying.bytes.clone());
        let header = packet::read(&bytes).unwrap();
        let taken = if flying.is_repair {
            self.track.take_repair(flying.layer, &bytes, &header, (96, Extras::default()), now)
        } else {
            self.track.take(flying.layer, bytes, &header, Extras::default(), now)
        };
        let Ok(incoming) = taken else {
            // A repair of what nothing came after yet is taken for probing: it is asked for again.
            if flying.is_repair {
                self.count += 1;
                let due = std::cmp::Reverse((self.millis + 25, self.count));
                self.flying.push(Flying { due, is_repair: true, bytes: flying.bytes.clone(), ..*flying });
            }
            return;
        };
        let overtook = if incoming.starts_run && !incoming.is_newest {
            self.track.after(incoming.layer, incoming.number)
        } else {
            Vec::new()
        };
        if self.pass(&incoming) {
            for later in overtook {
                self.pass(&later);
            }
        }
        self.track.keep(&incoming);
    }

    fn pass(&mut self, incoming: &Incoming) -> bool {
        let now = self.now();
        let Ok(passed) = self.passage.pass(incoming, now) else { return false };
        let mut payload = incoming.payload.to_vec();
        if let Some(patch) = passed.patch {
            patch.apply(&mut payload);
        }
        let payload = (!passed.is_filler).then_some(payload);
        let before = self.left.insert(passed.number, (passed.timestamp, passed.marker, payload));
        assert!(before.is_none(), "a number left twice");
        if passed.is_start {
            self.starts.push((self.millis, incoming.layer));
        }
        passed.is_start
    }

    /// What a decoder makes of what left; the frames that it decoded, in order.
    fn judge(&self) -> Vec<Name> {
        let numbers: Vec<u64> = self.left.keys().copied().collect();
        let mut decoded: BTreeSet<Name> = BTreeSet::new();
        let mut order = Vec::new();
        let mut broken: Vec<Name> = Vec::new();
        let mut ends: BTreeMap<(u8, u8), u16> = BTreeMap::new();
        let mut frame: Option<(Name, u64)> = None;
        let mut last: Option<(u32, u16)> = None;
        let mut tl0s: Vec<(u8, u8)> = Vec::new();
        for number in numbers {
            let (timestamp, marker, payload) = &self.left[&number];
            let Some(payload) = payload else { continue };
            let descriptor = vp8::read(payload).unwrap();
            let picture = u16::from_be_bytes([payload[2] & 0x7f, payload[3]]);
            let name = (payload[7], payload[8], u16::from_be_bytes([payload[9], payload[10]]));
            let end = ends.entry((name.0, name.1)).or_default();
            *end = name.2.max(*end);
            if let Some((last, before)) = last {
                let step = picture.wrapping_sub(before) & 0x7fff;
                let later = timestamp.wrapping_sub(last).cast_signed();
                if step == 0 {
                    assert_eq!(later, 0, "one picture, one time: {name:?}");
                } else {
                    assert!(later > 0, "time runs back at {name:?}");
                    assert!(step == 1 || self.loss > 0.0 && step < 8, "a hole of {step} pictures before {name:?}");
                }
            }
            last = Some((*timestamp, picture));
            if descriptor.starts_frame {
                frame = Some((name, number));
                tl0s.push((descriptor.temporal.unwrap().0, payload[4]));
            }
            match frame {
                Some((of, next)) if of == name && next == number => frame = Some((of, number + 1)),
                _ => frame = None,
            }
            if *marker && frame.is_some() {
                let builds_on = reference(name);
                if builds_on.is_none_or(|before| decoded.contains(&before)) {
                    decoded.insert(name);
                    order.push(name);
                } else {
                    broken.push(name);
                }
                frame = None;
            }
        }
        // Where a flow was stopped, repairs of its last frames may come too late to leave.
        for name @ (layer, key, frame) in broken {
            let end = ends[&(layer, key)];
            assert!(self.loss > 0.0 && frame + 8 > end, "{name:?} is not decodable, and {end} came after it");
        }
        for pair in tl0s.windows(2) {
            let step = pair[1].1.wrapping_sub(pair[0].1);
            assert!(step == u8::from(pair[1].0 == 0) || self.loss > 0.0 && step < 8, "TL0PICIDX by {step}");
        }
        order
    }

    fn holes(&self) -> u64 {
        let (first, last) = (self.left.keys().next().unwrap(), self.left.keys().next_back().unwrap());
        last - first + 1 - self.left.len() as u64
    }

    fn select(&mut self, spatial: u8, temporal: u8) {
        let now = self.now();
        self.passage.select(Some(LayerStep { spatial, temporal }), now);
    }
}

#[test]
fn each_layer_is_reached_without_a_hole() {
    let mut rig = Rig::new(1);
    rig.run(1000);
    for layer in [0, 1, 2, 0, 2, 1, 2] {
        rig.select(layer, 9);
        let before = rig.millis;
        rig.run(2500);
        let (at, began) = *rig.starts.last().unwrap();
        assert_eq!(began, layer);
        // A request, a frame's time, and its way.
        assert!(at - before <= 2 * FRAME + 10, "{} ms until layer {layer}", at - before);
    }
    assert_eq!(rig.holes(), 0);
    let decoded = rig.judge();
    // 18.5 s at 50 frames a second; each switch may cost a frame.
    assert!(decoded.len() + 10 >= 925, "{} frames", decoded.len());
    assert!(rig.keyframes <= 11, "{} keyframes were asked for", rig.keyframes);
}

#[test]
fn fewer_frames_are_the_lower_temporal_layers_alone() {
    let mut rig = Rig::new(2);
    rig.run(500);
    let starts = rig.starts.len();
    for (temporal, share) in [(0, 25), (1, 50), (2, 100), (0, 25), (2, 100)] {
        rig.select(2, temporal);
        rig.run(200);
        let before = rig.judge().len();
        rig.run(2000);
        let frames = rig.judge().len() - before;
        assert!((share - 2..=share + 2).contains(&frames), "{frames} frames in two seconds of T{temporal}");
    }
    assert_eq!(rig.holes(), 0);
    assert_eq!(rig.starts.len(), starts, "no keyframe was needed");
}

#[test]
fn time_runs_on_across_switches_by_the_reports_of_both() {
    let mut rig = Rig::new(3);
    rig.run(2000);
    for layer in [0, 2, 1, 0, 2, 0, 1, 2, 0, 2].repeat(3) {
        rig.select(layer, 9);
        rig.run(700);
    }
    rig.judge();
    let (first, last) = (rig.left.values().next().unwrap().0, rig.left.values().next_back().unwrap().0);
    let seconds = f64::from(last.wrapping_sub(first)) / 90_000.0;
    // No drift: thirty switches, and not a frame's time lost or won.
    assert!((seconds - 22.98).abs() < 0.05, "{seconds} s");
}

#[test]
fn no_layer_above_the_limit_flows_whatever_is_selected() {
    let mut rig = Rig::new(12);
    rig.run(1000);
    assert_eq!(rig.starts.last().unwrap().1, 2);
    let now = rig.now();
    rig.passage.limit(Some(1), now);
    rig.run(500);
    assert_eq!(rig.starts.last().unwrap().1, 1);
    rig.select(0, 9);
    rig.run(500);
    rig.select(u8::MAX, 9);
    rig.run(500);
    assert_eq!(
        rig.starts.iter().map(|(_, layer)| *layer).collect::<Vec<_>>().split_off(rig.starts.len() - 3),
        [1, 0, 1]
    );
    // It is about the viewer's line, and stays when another Track comes.
    rig.passage.begin(true);
    let live = rig.track.live(rig.now());
    rig.passage.settle(live, rig.now());
    assert_eq!(rig.passage.waits_for(), Some(1));
    let now = rig.now();
    rig.passage.limit(None, now);
    assert_eq!(rig.passage.waits_for(), Some(2));
}

#[test]
fn a_layer_that_stops_is_replaced_and_comes_back() {
    let mut rig = Rig::new(4);
    rig.run(1000);
    rig.encoders[2].is_on = false;
    rig.run(1000);
    let (at, layer) = *rig.starts.last().unwrap();
    assert_eq!(layer, 1);
    assert!((1500..1600).contains(&at), "{at}");
    rig.encoders[2].is_on = true;
    rig.run(1000);
    assert_eq!(rig.starts.last().unwrap().1, 2);
    assert_eq!(rig.holes(), 0);
    rig.judge();
}

#[test]
fn down_to_a_layer_that_does_not_answer_ends_the_flow() {
    let mut rig = Rig::new(5);
    rig.run(1000);
    rig.select(0, 9);
    // Its packets come, a keyframe does not.
    for _ in 0..100 {
        rig.encoders[0].wants_keyframe = false;
        rig.run(10);
    }
    let before = rig.left.len();
    rig.run(1);
    let (timestamp, ..) = rig.left.values().next_back().unwrap();
    let flowed = f64::from(timestamp.wrapping_sub(rig.left.values().next().unwrap().0)) / 90.0;
    assert!((1440.0..1520.0).contains(&flowed), "{flowed} ms");
    assert_eq!(rig.left.len(), before);
    rig.run(1500);
    assert_eq!(rig.starts.last().unwrap().1, 0);
    rig.judge();
}

#[test]
fn nothing_flows_while_nothing_is_selected() {
    let mut rig = Rig::new(6);
    rig.run(500);
    let now = rig.now();
    rig.passage.select(None, now);
    let before = rig.left.len();
    rig.run(2000);
    assert_eq!((rig.left.len(), rig.passage.waits_for(), rig.passage.flows()), (before, None, None));
    rig.select(1, 9);
    rig.run(500);
    assert!(rig.left.len() > before);
    assert_eq!(rig.holes(), 0);
    rig.judge();
}

#[test]
fn a_frame_that_comes_late_is_judged_by_what_flowed_at_its_time() {
    // The third frame rate is let through until after a frame that builds on one of the second, which is still being
    // repaired.
    let mut rig = Rig::new(697_015_051_178_462_025);
    rig.run(300);
    rig.loss = 0.1;
    rig.select(0, 2);
    rig.run(320);
    rig.select(0, 0);
    rig.run(150);
    rig.select(1, 9);
    rig.loss = 0.0;
    rig.run(3000);
    rig.loss = 0.1;
    assert!(rig.judge().len() > 100);
}

#[test]
fn what_was_encoded_after_the_next_layers_first_picture_is_not_shown_any_more() {
    let mut rig = Rig::new(7_261_226_727_969_521_222);
    rig.run(300);
    rig.loss = 0.1;
    for (spatial, wait) in [(2, 1058), (0, 658), (2, 870), (2, 416), (2, 250), (1, 739), (1, 939), (0, 220), (2, 80)] {
        rig.select(spatial, 0);
        rig.run(wait);
    }
    rig.select(1, 9);
    rig.loss = 0.0;
    rig.run(3000);
    rig.loss = 0.1;
    assert!(rig.judge().len() > 100);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    /// Whatever is selected, in any network that repairs: numbers are unique, and everything that a decoder gets whole
    /// builds on what it got.
    #[test]
    fn what_leaves_is_always_decodable(
        seed: u64,
        loss in prop::sample::select(vec![0.0, 0.02, 0.1]),
        jitter in prop::sample::select(vec![0u64, 8, 30]),
        wishes in prop::collection::vec((0u8..4, 0u8..4, 20u64..1500), 1..14),
    ) {
        let mut rig = Rig::new(seed);
        rig.run(300);
        (rig.loss, rig.jitter) = (loss, jitter);
        let mut wished = Vec::new();
        for (spatial, temporal, wait) in wishes {
            if spatial == 3 {
                let now = rig.now();
                rig.passage.select(None, now);
            } else {
                rig.select(spatial, temporal);
            }
            wished.push(spatial);
            rig.run(wait);
        }
        rig.select(1, 9);
        (rig.loss, rig.jitter) = (0.0, 0);
        rig.run(3000);
        prop_assert_eq!(rig.passage.flows(), Some(1));
        rig.loss = loss.max(f64::from(u8::from(jitter > 0)) * 0.001);
        let decoded = rig.judge();
        prop_assert!(decoded.len() > 100, "{} frames", decoded.len());
    }
}
