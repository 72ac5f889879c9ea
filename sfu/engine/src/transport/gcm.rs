//! AEAD_AES_128_GCM for RTP, RFC 7714, in place: the packet path's own cipher, byte for byte what `rtc-srtp` does.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rtc_crypto::{BlockCipherAlgorithm, RTCCrypto};

use super::DropReason;

/// Bytes that a protected packet is longer than a plain one.
pub(super) const TAG: usize = 16;
const KEY: usize = 16;
const SALT: usize = 12;
/// The fixed header.
const FIXED: usize = 12;
/// Packets later than this behind the newest are refused: about 2 s of video, more than a retransmission waits.
pub(super) const WINDOW: u64 = 1024;
/// Half of the 16-bit numbers: what seems further ahead came from before the stream began.
const HALF: u64 = 1 << 15;
/// RFC 3711 section 9.2: no more packets under one key.
const LAST: u64 = (1 << 48) - 1;

/// What the ciphers need of a header. Everything before the payload is authenticated and stays in clear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clear {
    pub(super) ssrc: u32,
    sequence: u16,
    /// Where the payload begins.
    length: usize,
}

impl Clear {
    /// Reads it; `None` when the lengths do not fit together.
    pub(super) fn read(packet: &[u8]) -> Option<Self> {
        let [first, _, s0, s1, _, _, _, _, c0, c1, c2, c3] = *packet.first_chunk::<FIXED>()?;
        if first >> 6 != 2 {
            return None;
        }
        let mut length = FIXED + usize::from(first & 0x0f) * 4;
        if first & 0x10 != 0 {
            let [_, _, high, low] = *packet.get(length..)?.first_chunk::<4>()?;
            length += 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
        }
        (length <= packet.len()).then_some(Self {
            ssrc: u32::from_be_bytes([c0, c1, c2, c3]),
            sequence: u16::from_be_bytes([s0, s1]),
            length,
        })
    }
}

/// One direction's key and salt.
struct Session {
    key: LessSafeKey,
    salt: [u8; SALT],
}

impl Session {
    /// Derives them from the master key, RFC 3711 section 4.3 with a key derivation rate of zero.
    fn derive(master: &[u8], salt: &[u8], crypto: &dyn RTCCrypto) -> Option<Self> {
        let prf = |label: u8| {
            let mut block = [0; 16];
            block.get_mut(..SALT)?.copy_from_slice(salt.get(..SALT)?);
            *block.get_mut(7)? ^= label;
            crypto.block_encrypt(BlockCipherAlgorithm::Aes128, master, &mut block).ok()?;
            Some(block)
        };
        let key: [u8; KEY] = prf(0)?;
        let salt = *prf(2)?.first_chunk::<SALT>()?;
        Some(Self { key: LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).ok()?), salt })
    }

    /// RFC 7714 section 8.1: SSRC and 48-bit index, over the salt.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let [_, _, r0, r1, r2, r3, s0, s1] = index.to_be_bytes();
        let [c0, c1, c2, c3] = ssrc.to_be_bytes();
        let mut nonce: [u8; NONCE_LEN] = [0, 0, c0, c1, c2, c3, r0, r1, r2, r3, s0, s1];
        for (byte, salt) in nonce.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }
}

/// One SSRC of one direction: the highest 48-bit index, and in which packets of the last [`WINDOW`] it came.
struct Stream {
    highest: u64,
    /// One bit for each index of the window, at the index modulo its length.
    seen: [u64; 16],
}

impl Stream {
    const fn new(first: u64) -> Self {
        Self { highest: first, seen: [0; 16] }
    }

    /// True when the index is neither known nor too old to tell.
    fn is_fresh(&self, index: u64) -> bool {
        if index > self.highest {
            return index - self.highest < HALF - 1;
        }
        let (word, bit) = place(index);
        self.highest - index < WINDOW && self.seen.get(word).is_some_and(|seen| seen & bit == 0)
    }

    /// Notes an authentic packet.
    fn note(&mut self, index: u64) {
        if index > self.highest {
            // The places of what was skipped hold packets from a window ago.
            for skipped in self.highest + 1..=index.min(self.highest + WINDOW) {
                let (word, bit) = place(skipped);
                if let Some(seen) = self.seen.get_mut(word) {
                    *seen &= !bit;
                }
            }
            self.highest = index;
        }
        let (word, bit) = place(index);
        if let Some(seen) = self.seen.get_mut(word) {
            *seen |= bit;
        }
    }
}

/// The 48-bit index that these 16 bits most likely mean, RFC 3711 section 3.3.1. A stream begins in its first round.
const fn guess(highest: u64, sequence: u16) -> u64 {
    let sequence = sequence as u64;
    if highest <= HALF {
        return sequence;
    }
    let (round, last) = (highest & !0xffff, highest & 0xffff);
    let index = round | sequence;
    if last < HALF {
        if sequence > last + HALF { index - 0x1_0000 } else { index }
    } else if last - HALF > sequence {
        index + 0x1_0000
    } else {
        index
    }
}

const fn place(index: u64) -> (usize, u64) {
    let at = index % WINDOW;
    #[allow(clippy::cast_possible_truncation, reason = "less than 16")]
    let word = (at / 64) as usize;
    (word, 1 << (at % 64))
}

/// Seals and opens RTP packets where they lie. An SSRC has no state before one of its packets was authentic.
pub(super) struct Gcm {
    outward: Session,
    inward: Session,
    /// Index of the highest number sent, by SSRC. As many as we send streams.
    sent: Vec<(u32, u64)>,
    /// Whose packets were authentic, at most [`super::MAX_SSRCS`]: close to each other, as one of them is looked for with each packet.
    ssrcs: Vec<u32>,
    /// The state of each, at the same place.
    streams: Vec<Stream>,
}

impl Gcm {
    /// `None` when the keys are not those of this cipher.
    pub(super) fn new(local: (&[u8], &[u8]), remote: (&[u8], &[u8]), crypto: &dyn RTCCrypto) -> Option<Self> {
        Some(Self {
            outward: Session::derive(local.0, local.1, crypto)?,
            inward: Session::derive(remote.0, remote.1, crypto)?,
            sent: Vec::new(),
            ssrcs: Vec::new(),
            streams: Vec::new(),
        })
    }

    /// How many SSRCs have state.
    pub(super) const fn known(&self) -> usize {
        self.streams.len()
    }

    pub(super) fn is_known(&self, ssrc: u32) -> bool {
        self.ssrcs.contains(&ssrc)
    }

    /// Authenticates and decrypts a packet where it lies. Gives its length without the tag.
    pub(super) fn open(&mut self, clear: Clear, packet: &mut [u8]) -> Result<usize, DropReason> {
        let place = self.ssrcs.iter().position(|ssrc| *ssrc == clear.ssrc);
        let known = place.and_then(|place| self.streams.get_mut(place));
        let index = known.as_ref().map_or(u64::from(clear.sequence), |stream| guess(stream.highest, clear.sequence));
        if known.as_ref().is_some_and(|stream| !stream.is_fresh(index)) {
            return Err(DropReason::Replayed);
        }
        let end = packet.len().checked_sub(TAG).filter(|end| *end >= clear.length).ok_or(DropReason::Forged)?;
        let (whole, tag) = packet.split_at_mut_checked(end).ok_or(DropReason::Forged)?;
        let (head, body) = whole.split_at_mut_checked(clear.length).ok_or(DropReason::Forged)?;
        let nonce = self.inward.nonce(clear.ssrc, index);
        let opened = self.inward.key.open_in_place_separate_tag(nonce, Aad::from(head), tag, body);
        opened.map_err(|_| DropReason::Forged)?;
        match known {
            Some(stream) => stream.note(index),
            None => {
                let mut stream = Stream::new(index);
                stream.note(index);
                self.ssrcs.push(clear.ssrc);
                self.streams.push(stream);
            }
        }
        Ok(end)
    }

    /// Encrypts the packet that begins at `start` and puts the tag behind it.
    pub(super) fn seal(&mut self, packet: &mut Vec<u8>, start: usize) -> Result<(), DropReason> {
        let plain = packet.get_mut(start..).ok_or(DropReason::NotProtected)?;
        let clear = Clear::read(plain).ok_or(DropReason::NotProtected)?;
        let index = self.number(clear)?;
        let nonce = self.outward.nonce(clear.ssrc, index);
        let (head, body) = plain.split_at_mut_checked(clear.length).ok_or(DropReason::NotProtected)?;
        let sealed = self.outward.key.seal_in_place_separate_tag(nonce, Aad::from(head), body);
        let tag = sealed.map_err(|_| DropReason::NotProtected)?;
        packet.extend_from_slice(tag.as_ref());
        Ok(())
    }

    /// The 48-bit index of a packet of ours.
    fn number(&mut self, clear: Clear) -> Result<u64, DropReason> {
        let Some((_, highest)) = self.sent.iter_mut().find(|(ssrc, _)| *ssrc == clear.ssrc) else {
            let index = u64::from(clear.sequence);
            self.sent.push((clear.ssrc, index));
            return Ok(index);
        };
        let index = guess(*highest, clear.sequence);
        if index > LAST {
            return Err(DropReason::NotProtected);
        }
        *highest = index.max(*highest);
        Ok(index)
    }
}

#[cfg(test)]
mod tests;
