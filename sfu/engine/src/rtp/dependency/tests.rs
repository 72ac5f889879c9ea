use proptest::prelude::*;

use super::*;

/// Writes bits, as a sender would.
#[derive(Default)]
struct Writer {
    bits: Vec<bool>,
}

impl Writer {
    fn put(&mut self, count: usize, value: u32) -> &mut Self {
        self.bits.extend((0..count).rev().map(|bit| value >> bit & 1 != 0));
        self
    }

    fn below(&mut self, n: u32, value: u32) -> &mut Self {
        let width = 32 - n.leading_zeros();
        let short = (1 << width) - n;
        if value < short { self.put(width as usize - 1, value) } else { self.put(width as usize, value + short) }
    }

    fn bytes(&self) -> Vec<u8> {
        let byte = |bits: &[bool]| bits.iter().enumerate().fold(0, |byte, (at, bit)| byte | u8::from(*bit) << (7 - at));
        self.bits.chunks(8).map(byte).collect()
    }
}

/// Two spatial and two temporal layers, as L2T2_KEY: four templates for delta frames and two for the key picture.
fn key_picture(custom: impl FnOnce(&mut Writer)) -> Vec<u8> {
    let mut w = Writer::default();
    // Starts and ends a frame, template 10 of offset 10, frame 300; structure, no mask, nothing custom.
    w.put(2, 3).put(6, 10).put(16, 300).put(5, 0b10000);
    w.put(6, 10).put(5, 3);
    // S0T0 twice, S0T1, S1T0 twice, S1T1.
    w.put(2, 0).put(2, 1).put(2, 2).put(2, 0).put(2, 1).put(2, 3);
    // Targets: S0T0, S0T1, S1T0, S1T1; 0 absent, 1 discardable, 2 switch, 3 required.
    for row in [[2, 2, 2, 2], [2, 3, 0, 0], [0, 1, 0, 0], [0, 0, 2, 2], [0, 0, 2, 3], [0, 0, 0, 1]] {
        for indication in row {
            w.put(2, indication);
        }
    }
    for references in [&[][..], &[4], &[2], &[1], &[4], &[2]] {
        for distance in references {
            w.put(1, 1).put(4, distance - 1);
        }
        w.put(1, 0);
    }
    // Two chains, one for each spatial layer.
    w.below(5, 2);
    for chain in [0, 0, 1, 1] {
        w.below(2, chain);
    }
    for _ in 0..12 {
        w.put(4, 1);
    }
    w.put(1, 1).put(16, 319).put(16, 179).put(16, 639).put(16, 359);
    custom(&mut w);
    w.bytes()
}

#[test]
fn a_structure_is_read() {
    let read = read(&key_picture(|_| {}), None).unwrap();
    assert!(read.starts_frame && read.ends_frame && read.is_new_structure);
    assert_eq!((read.frame, read.spatial, read.temporal, read.active), (300, 0, 0, Some(0b1111)));
    let targets = [(0, 0), (0, 1), (1, 0), (1, 1)].map(|(spatial, temporal)| Target { spatial, temporal });
    assert_eq!(read.structure.targets, targets);
    assert_eq!(read.structure.sizes, [(320, 180), (640, 360)]);
    assert_eq!(read.references.iter().count(), 0);
    assert_eq!(read.indications.of(3), Indication::Switch);
}

#[test]
fn later_packets_are_read_by_the_last_structure() {
    let key = read(&key_picture(|_| {}), None).unwrap();
    let structure = Some(&key.structure);
    // Template 15 is the last one: S1T1.
    let short = read(&[0x80 | 15, 1, 45], structure).unwrap();
    assert_eq!((short.frame, short.spatial, short.temporal), (301, 1, 1));
    assert!(short.starts_frame && !short.ends_frame && !short.is_new_structure);
    assert_eq!(short.references.iter().collect::<Vec<_>>(), [2]);
    let found = [0, 1, 2, 3].map(|target| short.indications.of(target));
    assert_eq!(found[3], Indication::Discardable);
    assert!(found[..3].iter().all(|indication| *indication == Indication::NotPresent));
    assert!(read(&[0x80 | 15, 1, 45], None).is_none(), "no structure, no meaning");
    assert!(read(&[0x80 | 16, 1, 45], structure).is_none(), "no such template");
}

#[test]
fn a_frame_may_differ_from_its_template() {
    let key = read(&key_picture(|_| {}), None).unwrap();
    let mut w = Writer::default();
    w.put(2, 2).put(6, 14).put(16, 77).put(5, 0b01111);
    w.put(4, 0b0011);
    for indication in [0, 0, 1, 3] {
        w.put(2, indication);
    }
    w.put(2, 1).put(4, 8).put(2, 3).put(12, 299).put(2, 0);
    w.put(8, 4).put(8, 9);
    let read = read(&w.bytes(), Some(&key.structure)).unwrap();
    assert_eq!(read.active, Some(0b0011));
    assert_eq!([2, 3].map(|target| read.indications.of(target)), [Indication::Discardable, Indication::Required]);
    assert_eq!(read.references.iter().collect::<Vec<_>>(), [9, 300]);
}

#[test]
fn the_best_target_within_bounds_is_found() {
    let structure = read(&key_picture(|_| {}), None).unwrap().structure;
    let find = |spatial, temporal| structure.find(spatial, temporal, 0b1111);
    assert_eq!([find(0, 0), find(0, 9), find(1, 0), find(9, 9)], [Some(0), Some(1), Some(2), Some(3)]);
    assert_eq!(structure.find(9, 9, 0b0011), Some(1), "the sender stopped the larger picture");
    assert_eq!(structure.find(0, 0, 0b1100), Some(2), "the poorest that there is");
    assert_eq!(structure.find(9, 9, 0), None);
}

#[test]
fn a_cut_descriptor_is_refused() {
    let key = key_picture(|_| {});
    for end in 0..key.len() {
        assert!(read(&key[..end], None).is_none(), "cut at {end}");
    }
}

#[test]
fn the_frame_number_is_written_over() {
    let mut key = key_picture(|_| {});
    renumber(&mut key, 0xabcd);
    assert_eq!(read(&key, None).unwrap().frame, 0xabcd);
}

proptest! {
    #[test]
    fn any_bytes_are_survived(first in prop::collection::vec(any::<u8>(), 0..80), then in prop::collection::vec(any::<u8>(), 0..40), flips in prop::collection::vec((0usize..60, 0u8..8), 0..4)) {
        let mut known = key_picture(|_| {});
        for (at, bit) in flips {
            if let Some(byte) = known.get_mut(at) {
                *byte ^= 1 << bit;
            }
        }
        for start in [first, known] {
            let before = read(&start, None);
            if let Some(read) = &before {
                prop_assert!((1..=32).contains(&read.structure.targets.len()));
                prop_assert!(read.spatial < 8 && read.temporal < 8);
            }
            let _next = read(&then, before.as_ref().map(|read| &read.structure));
        }
    }
}
