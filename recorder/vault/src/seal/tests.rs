use std::io::Write;

use aead_stream::{NewStream, StreamBE32, StreamPrimitive};
use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{KeyInit, Payload};
use proptest::prelude::*;
use wire::RecordingId;

use super::*;

fn name() -> ObjectName {
    ObjectName::new(RecordingId::random(), "mix.mp4").unwrap()
}

fn seal(key: &DataKey, name: &ObjectName, plain: &[u8]) -> Vec<u8> {
    let mut writer = SealWriter::new(key, name, 1, Vec::new()).unwrap();
    writer.write_all(plain).unwrap();
    let (sealed, count) = writer.finish().unwrap();
    assert_eq!(count, Sealed { plain: plain.len() as u64, sealed: sealed.len() as u64 });
    sealed
}

fn opener(key: &DataKey, name: &ObjectName, sealed: &[u8]) -> Result<Opener, SealError> {
    Opener::new(key, name, sealed, sealed.len() as u64)
}

fn open(opener: &Opener, sealed: &[u8], range: Range<u64>) -> Result<Vec<u8>, SealError> {
    let span = opener.sealed_range(&range)?;
    let (from, to) = (usize::try_from(span.start).unwrap(), usize::try_from(span.end).unwrap());
    opener.open_range(&range, sealed.get(from..to).unwrap_or_default().to_vec())
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| u8::try_from((i * 31 + i / 251) % 256).unwrap()).collect()
}

#[test]
fn sizes_at_the_chunk_border_round_trip() {
    let (key, name) = (DataKey::generate().unwrap(), name());
    for len in [0, 1, 15, 16, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 2 * CHUNK + 1, 3 * CHUNK - 1] {
        let plain = pattern(len);
        let sealed = seal(&key, &name, &plain);
        let chunks = len.div_ceil(CHUNK).max(1);
        assert_eq!(sealed.len(), HEADER + len + chunks * TAG);
        let opener = opener(&key, &name, &sealed).unwrap();
        assert_eq!(opener.plain_size(), len as u64);
        assert_eq!(open(&opener, &sealed, 0..len as u64).unwrap(), plain);
        let last = opener.last_chunk();
        assert_eq!(open(&opener, &sealed, last.clone()).unwrap(), plain[usize::try_from(last.start).unwrap()..]);
        assert!(open(&opener, &sealed, 0..len as u64 + 1).is_err());
    }
}

#[test]
fn chunks_open_in_an_independent_stream_implementation() {
    let (key, name) = (DataKey::generate().unwrap(), name());
    let plain = pattern(2 * CHUNK + 777);
    let sealed = seal(&key, &name, &plain);
    let header = Header::decode(&sealed).unwrap();
    // The subkey by HKDF, derived here once more from the documented inputs.
    let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &header.salt).extract(key.bytes());
    let info = [b"anteroom seal 1".as_slice(), &header.recording, &header.object, &1u32.to_be_bytes()].concat();
    let info = [info.as_slice()];
    let mut subkey = [0; 32];
    prk.expand(&info, hkdf::HKDF_SHA256).unwrap().fill(&mut subkey).unwrap();
    let aad = digest::digest(&digest::SHA256, &sealed[..HEADER]);
    let stream = StreamBE32::from_aead(Aes256Gcm::new(&subkey.into()), &header.prefix.into());
    let chunks: Vec<&[u8]> = sealed[HEADER..].chunks(SEALED_CHUNK).collect();
    assert_eq!(chunks.len(), 3);
    let decrypt = |at: u32, last, msg| stream.decrypt(at, last, Payload { msg, aad: aad.as_ref() });
    assert_eq!(decrypt(2, true, chunks[2]).unwrap(), plain[2 * CHUNK..]);
    assert_eq!(decrypt(0, false, chunks[0]).unwrap(), plain[..CHUNK]);
    assert_eq!(decrypt(1, false, chunks[1]).unwrap(), plain[CHUNK..2 * CHUNK]);
    assert!(decrypt(1, true, chunks[1]).is_err() && decrypt(0, false, chunks[1]).is_err());
    // And the other way: what it seals, we open.
    let mut foreign = sealed[..HEADER].to_vec();
    foreign.extend(stream.encrypt(0, false, Payload { msg: &plain[..CHUNK], aad: aad.as_ref() }).unwrap());
    foreign.extend(stream.encrypt(1, true, Payload { msg: &plain[CHUNK..CHUNK + 9], aad: aad.as_ref() }).unwrap());
    let ours = opener(&key, &name, &foreign).unwrap();
    assert_eq!(open(&ours, &foreign, 0..CHUNK as u64 + 9).unwrap(), plain[..CHUNK + 9]);
}

#[test]
fn swapped_cut_and_foreign_chunks_are_refused() {
    let (key, name) = (DataKey::generate().unwrap(), name());
    let sealed = seal(&key, &name, &pattern(3 * CHUNK + 5));
    let whole = opener(&key, &name, &sealed).unwrap();
    let mut swapped = sealed.clone();
    let (a, b) = swapped[HEADER..].split_at_mut(SEALED_CHUNK);
    a.swap_with_slice(&mut b[..SEALED_CHUNK]);
    assert!(open(&whole, &swapped, 0..1).is_err() && open(&whole, &swapped, CHUNK as u64..CHUNK as u64 + 1).is_err());
    // Cut at every chunk border, and elsewhere: the last chunk does not prove itself.
    for keep in [HEADER, HEADER + 1, HEADER + TAG, HEADER + SEALED_CHUNK, HEADER + 2 * SEALED_CHUNK, sealed.len() - 1] {
        let cut = &sealed[..keep];
        let refused = opener(&key, &name, cut).and_then(|o| open(&o, cut, o.last_chunk()));
        assert!(refused.is_err(), "{keep}");
    }
    let mut longer = sealed.clone();
    longer.push(0);
    let refused = opener(&key, &name, &longer).and_then(|o| open(&o, &longer, o.last_chunk()));
    assert!(refused.is_err());
    // Another key, another name, another recording.
    let other = ObjectName::new(name.recording(), "other.mp4").unwrap();
    assert!(matches!(opener(&key, &other, &sealed), Err(SealError::WrongObject)));
    assert!(matches!(opener(&key, &tests::name(), &sealed), Err(SealError::WrongObject)));
    let stranger = opener(&DataKey::generate().unwrap(), &name, &sealed).unwrap();
    assert!(matches!(open(&stranger, &sealed, 0..1), Err(SealError::Refused)));
}

#[test]
fn every_flipped_header_bit_is_refused() {
    let (key, name) = (DataKey::generate().unwrap(), name());
    let sealed = seal(&key, &name, &pattern(100));
    for bit in 0..HEADER * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let refused = opener(&key, &name, &flipped).and_then(|o| open(&o, &flipped, 0..100));
        assert!(refused.is_err(), "bit {bit}");
    }
}

#[test]
fn two_writers_never_share_a_subkey() {
    let (key, name) = (DataKey::generate().unwrap(), name());
    let (one, two) = (seal(&key, &name, &pattern(64)), seal(&key, &name, &pattern(64)));
    assert_ne!(one[..HEADER], two[..HEADER]);
    assert_ne!(one[HEADER..], two[HEADER..]);
}

#[test]
fn a_sealer_keeps_its_order() {
    let mut sealer = Sealer::new(&DataKey::generate().unwrap(), &name(), 1).unwrap();
    assert!(sealer.seal_chunk(false, &mut vec![0; 5]).is_err());
    sealer.seal_chunk(false, &mut vec![0; CHUNK]).unwrap();
    sealer.seal_chunk(true, &mut vec![0; 5]).unwrap();
    assert!(sealer.seal_chunk(true, &mut vec![0; 5]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_range_equals_the_plaintext(len in 0usize..4 * CHUNK, a in any::<prop::sample::Index>(), b in any::<prop::sample::Index>()) {
        let (key, name) = (DataKey::from_bytes([7; 32]), name());
        let plain = pattern(len);
        let sealed = seal(&key, &name, &plain);
        let (a, b) = (a.index(len + 1), b.index(len + 1));
        let range = a.min(b)..a.max(b);
        let opener = opener(&key, &name, &sealed).unwrap();
        let got = open(&opener, &sealed, range.start as u64..range.end as u64).unwrap();
        prop_assert_eq!(&got[..], &plain[range]);
    }

    #[test]
    fn a_flipped_body_bit_is_refused(len in 1usize..2 * CHUNK, at in any::<prop::sample::Index>(), bit in 0u32..8) {
        let (key, name) = (DataKey::from_bytes([7; 32]), name());
        let mut sealed = seal(&key, &name, &pattern(len));
        let at = HEADER + at.index(sealed.len() - HEADER);
        sealed[at] ^= 1 << bit;
        let opener = opener(&key, &name, &sealed).unwrap();
        prop_assert!(open(&opener, &sealed, 0..len as u64).is_err());
    }

    #[test]
    fn noise_is_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(opener(&DataKey::from_bytes([7; 32]), &name(), &bytes).is_err());
    }
}
