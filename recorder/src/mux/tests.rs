use super::*;
use mp4_atom::{Any, DecodeMaybe, Header, ReadFrom};
use proptest::prelude::*;

/// A plan of a picture and a voice stream, with the payloads of each item.
fn plan(codec: Codec, pictures: &[(i64, u32, bool)], voices: u32) -> Plan {
    let video = pictures.iter().map(|&(at, size, key)| Entry { at, duration: 33_333, size, key }).collect();
    let audio = (0..voices)
        .map(|k| Entry { at: i64::from(k) * 20_000, duration: 20_000, size: 3 + k % 7, key: true })
        .collect();
    let sets = (codec == Codec::H264).then(|| (vec![0x67, 0x42, 0xc0, 0x1f], vec![0x68, 0xce]));
    Plan::new(vec![
        Stream { coding: Coding::Audio { channels: 1, pre_skip: 0 }, entries: audio },
        Stream { coding: Coding::Video { codec, width: 320, height: 180, sets }, entries: video },
    ])
}

fn steady() -> Vec<(i64, u32, bool)> {
    (0..90).map(|k| (k * 33_333, 40 + u32::try_from(k % 13).unwrap(), k % 30 == 0)).collect()
}

/// The whole file, and where each chunk begins in it.
fn file(plan: &Plan, container: Container) -> (Vec<u8>, Vec<usize>) {
    let mut bytes = plan.head(container).unwrap();
    let mut starts = Vec::new();
    for (number, chunk) in plan.chunks.iter().enumerate() {
        let size = |item: &(usize, usize)| plan.entry(*item).unwrap().size as usize;
        let payloads: Vec<Bytes> = chunk.items.iter().map(|item| Bytes::from(vec![0xaa; size(item)])).collect();
        starts.push(bytes.len());
        bytes.extend(plan.chunk(container, number, &payloads).unwrap());
    }
    (bytes, starts)
}

/// One element at `at`: its id, where its body begins and where it ends. As a reader of RFC 8794 would see it.
fn element(bytes: &[u8], at: usize) -> Option<(u32, usize, usize)> {
    let id_len = bytes.get(at)?.leading_zeros() as usize + 1;
    let id = bytes.get(at..at + id_len)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let size_at = at + id_len;
    let size_len = bytes.get(size_at)?.leading_zeros() as usize + 1;
    let raw = bytes.get(size_at..size_at + size_len)?.iter().fold(0u64, |size, byte| size << 8 | u64::from(*byte));
    let size = usize::try_from(raw & ((1 << (7 * size_len)) - 1)).ok()?;
    let body = size_at + size_len;
    Some((id, body, body + size))
}

fn children(bytes: &[u8], from: usize, to: usize) -> Vec<(u32, usize, usize)> {
    let mut at = from;
    std::iter::from_fn(|| {
        let found = element(bytes, at).filter(|(_, _, end)| at < to && *end <= to)?;
        at = found.2;
        Some(found)
    })
    .collect()
}

fn value(bytes: &[u8], (_, from, to): (u32, usize, usize)) -> u64 {
    bytes[from..to].iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

#[test]
fn webm_positions_and_sizes_are_exact() {
    let plan = plan(Codec::Vp8, &steady(), 150);
    let (bytes, starts) = file(&plan, Container::Webm);
    let (name, _, name_end) = element(&bytes, 0).unwrap();
    let (segment, body, end) = element(&bytes, name_end).unwrap();
    assert_eq!((name, segment, end), (0x1a45_dfa3, 0x1853_8067, bytes.len()));
    let inside = children(&bytes, body, end);
    let ids: Vec<u32> = inside.iter().map(|(id, ..)| *id).collect();
    assert_eq!(ids[..4], [0x114d_9b74, 0x1549_a966, 0x1654_ae6b, 0x1c53_bb6b]);
    assert!(ids[4..].iter().all(|id| *id == 0x1f43_b675) && ids.len() - 4 == starts.len());
    for seek in children(&bytes, inside[0].1, inside[0].2) {
        let [id, place] = children(&bytes, seek.1, seek.2)[..] else { panic!() };
        let at = body + usize::try_from(value(&bytes, place)).unwrap();
        assert_eq!(u64::from(element(&bytes, at).unwrap().0), value(&bytes, id));
    }
    let mut cues = 0;
    for point in children(&bytes, inside[3].1, inside[3].2) {
        let [time, places] = children(&bytes, point.1, point.2)[..] else { panic!() };
        let at = body + usize::try_from(value(&bytes, children(&bytes, places.1, places.2)[1])).unwrap();
        let cluster = element(&bytes, at).unwrap();
        assert!(starts.contains(&at));
        assert_eq!(value(&bytes, children(&bytes, cluster.1, cluster.2)[0]), value(&bytes, time));
        cues += 1;
    }
    assert_eq!(cues, 3);
}

#[test]
fn webm_cut_at_every_byte_of_its_last_cluster_keeps_the_ones_before() {
    let plan = plan(Codec::Vp8, &steady(), 150);
    let (bytes, starts) = file(&plan, Container::Webm);
    let (_, body, _) = element(&bytes, element(&bytes, 0).unwrap().2).unwrap();
    let last = *starts.last().unwrap();
    for keep in last..bytes.len() {
        let whole = children(&bytes[..keep], body, keep);
        assert_eq!(whole.iter().filter(|(id, ..)| *id == 0x1f43_b675).count(), starts.len() - 1, "{keep}");
        assert_eq!(whole.last().unwrap().2, last);
    }
}

#[test]
fn mp4_offsets_and_index_are_exact() {
    let plan = plan(Codec::H264, &steady(), 150);
    let (bytes, starts) = file(&plan, Container::Mp4);
    let mut rest = &bytes[..];
    let mut sizes = Vec::new();
    let (mut frames, mut fragment, mut expected_data) = (0, 0, None);
    while !rest.is_empty() {
        let at = bytes.len() - rest.len();
        let header = Header::read_from(&mut &rest[..]).unwrap();
        let mut one = rest;
        match Any::decode_maybe(&mut one).unwrap().unwrap() {
            Any::Sidx(sidx) => {
                sizes = sidx.references.iter().map(|reference| reference.referenced_size as usize).collect();
                assert!(sidx.references.iter().all(|reference| reference.starts_with_sap));
            }
            Any::Moof(moof) => {
                assert_eq!(at, starts[fragment]);
                let length = rest.len() - one.len();
                let first = moof.traf[0].trun[0].data_offset.unwrap();
                assert_eq!(usize::try_from(first).unwrap(), length + 8);
                frames += moof.traf.iter().map(|traf| traf.trun[0].samples.len()).sum::<usize>();
                let data: u32 = moof.traf.iter().flat_map(|t| t.trun[0].samples.iter()).map(|s| s.size.unwrap()).sum();
                expected_data = Some((data as usize, length));
            }
            Any::Mdat(mdat) => {
                let (data, moof) = expected_data.take().unwrap();
                assert_eq!(mdat.data.len(), data);
                assert_eq!(sizes[fragment], moof + 8 + data);
                fragment += 1;
            }
            _ => assert!(header.size.is_some()),
        }
        rest = one;
    }
    assert_eq!((frames, fragment), (90 + 150, starts.len()));
}

#[test]
fn another_payload_than_planned_is_refused() {
    let plan = plan(Codec::Vp8, &steady(), 0);
    assert!(matches!(plan.chunk(Container::Webm, 0, &[Bytes::new()]), Err(MuxError::Plan)));
    assert!(matches!(plan.chunk(Container::Webm, 99, &[]), Err(MuxError::Plan)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_times_and_sizes_make_whole_files(
        steps in prop::collection::vec((1_000i64..40_000_000, 1u32..3000, prop::bool::weighted(0.1)), 1..80),
        voices in 0u32..400,
        h264: bool,
    ) {
        let mut at = 0;
        let mut pictures: Vec<(i64, u32, bool)> = steps.iter().map(|&(step, size, key)| { at += step; (at, size, key) }).collect();
        pictures[0].2 = true;
        let (codec, container) = if h264 { (Codec::H264, Container::Mp4) } else { (Codec::Vp8, Container::Webm) };
        let plan = plan(codec, &pictures, voices);
        // A block's time has 16 bits: no chunk may last longer than it reaches.
        for chunk in &plan.chunks {
            let last = plan.entry(*chunk.items.last().unwrap()).unwrap();
            prop_assert!(last.at - chunk.at < CHUNK);
        }
        let (bytes, _) = file(&plan, container);
        prop_assert_eq!(plan.chunks.iter().map(|chunk| chunk.items.len()).sum::<usize>(), pictures.len() + voices as usize);
        if !h264 {
            let (_, body, end) = element(&bytes, element(&bytes, 0).unwrap().2).unwrap();
            prop_assert_eq!(children(&bytes, body, end).len(), 4 + plan.chunks.len());
        }
    }
}
