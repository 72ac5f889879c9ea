//! Datagrams that nobody asked for: each looks, for its first bytes, like something a media server answers or forwards.

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// Enough that no cache of the server sees the same one again soon.
const KINDS: usize = 7;
/// The longest: what fits an Ethernet frame.
const LONGEST: usize = 1200;
const STUN_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

/// So many datagrams, of every kind in turn. The same seed gives the same ones.
#[must_use]
pub(crate) fn datagrams(count: usize, seed: u64) -> Vec<Vec<u8>> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..count).map(|number| one(number % KINDS, &mut rng)).collect()
}

fn one(kind: usize, rng: &mut StdRng) -> Vec<u8> {
    match kind {
        0 => {
            let length = rng.random_range(1..=LONGEST);
            random(length, rng)
        }
        1 => stun_request(rng),
        // DTLS 1.2, epoch 0: a handshake record that announces a ClientHello, with nonsense in it.
        2 => dtls(22, 300, rng),
        // An alert, and application data of a later epoch.
        3 => dtls(21, 2, rng),
        4 => {
            let mut record = dtls(23, 200, rng);
            set(&mut record, 4, 1);
            record
        }
        // Media: version 2, payload type 96, of the length of a video packet; and a sender report.
        5 => {
            let mut packet = random(LONGEST, rng);
            set(&mut packet, 0, 0x80);
            set(&mut packet, 1, 96);
            packet
        }
        _ => {
            let mut packet = random(64, rng);
            set(&mut packet, 0, 0x80);
            set(&mut packet, 1, 200);
            packet
        }
    }
}

/// A binding request for somebody who is not here, as long and as well-formed as a browser's, with a signature that cannot be right.
fn stun_request(rng: &mut StdRng) -> Vec<u8> {
    let name: String = (0..9).map(|at| if at == 4 { ':' } else { char::from(rng.random_range(b'a'..=b'z')) }).collect();
    let mut attributes = Vec::new();
    attribute(&mut attributes, 0x0006, name.as_bytes());
    // PRIORITY, USE-CANDIDATE, MESSAGE-INTEGRITY.
    attribute(&mut attributes, 0x0024, &random(4, rng));
    attribute(&mut attributes, 0x0025, &[]);
    attribute(&mut attributes, 0x0008, &random(20, rng));
    let mut message = vec![0, 1];
    message.extend(u16::try_from(attributes.len()).unwrap_or(0).to_be_bytes());
    message.extend(STUN_COOKIE);
    message.extend(random(12, rng));
    message.extend(attributes);
    message
}

fn attribute(into: &mut Vec<u8>, kind: u16, value: &[u8]) {
    into.extend(kind.to_be_bytes());
    into.extend(u16::try_from(value.len()).unwrap_or(0).to_be_bytes());
    into.extend(value);
    into.resize(into.len().next_multiple_of(4), 0);
}

fn dtls(content: u8, length: u16, rng: &mut StdRng) -> Vec<u8> {
    let mut record = vec![content, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0];
    record.extend(length.to_be_bytes());
    record.extend(random(usize::from(length), rng));
    if content == 22 {
        set(&mut record, 13, 1);
    }
    record
}

fn random(length: usize, rng: &mut StdRng) -> Vec<u8> {
    let mut bytes = vec![0; length];
    rng.fill_bytes(&mut bytes);
    bytes
}

fn set(bytes: &mut [u8], at: usize, value: u8) {
    if let Some(byte) = bytes.get_mut(at) {
        *byte = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_there_and_looks_like_what_it_is_not() {
        let all = datagrams(KINDS * 20, 1);
        assert_eq!(all, datagrams(KINDS * 20, 1));
        assert_ne!(all, datagrams(KINDS * 20, 2));
        for (number, bytes) in all.iter().enumerate() {
            assert!((1..=LONGEST).contains(&bytes.len()));
            match number % KINDS {
                1 => {
                    assert_eq!(bytes[4..8], STUN_COOKIE);
                    assert_eq!(usize::from(u16::from_be_bytes([bytes[2], bytes[3]])), bytes.len() - 20);
                }
                2..=4 => {
                    assert!((20..=23).contains(&bytes[0]));
                    assert_eq!(usize::from(u16::from_be_bytes([bytes[11], bytes[12]])), bytes.len() - 13);
                }
                5 | 6 => assert_eq!(bytes[0] >> 6, 2),
                _ => {}
            }
        }
    }
}
