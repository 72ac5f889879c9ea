//! AES-128-GCM for SRTP (RFC 7714) with a key that everybody knows, in place.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use rtc_crypto::BlockCipherAlgorithm;

/// As the generator has them (`load::client`).
const MASTER_KEY: [u8; 16] = [0x41; 16];
const MASTER_SALT: [u8; 12] = [0x53; 12];
const TAG: usize = 16;

pub(crate) struct Crypto {
    key: LessSafeKey,
    salt: [u8; 12],
}

impl Crypto {
    pub(crate) fn new() -> Self {
        let key: [u8; 16] = derive(0).first_chunk().copied().unwrap_or_default();
        let key = UnboundKey::new(&AES_128_GCM, &key).expect("AES-128 takes 16 bytes");
        Self { key: LessSafeKey::new(key), salt: derive(2).first_chunk().copied().unwrap_or_default() }
    }

    /// Opens a packet, gives it another SSRC, and seals it behind what is in `out`. What does not open leaves nothing.
    pub(crate) fn pass_on(&self, packet: &[u8], roll_overs: u32, ssrc: u32, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(packet);
        if self.transform(out, start, roll_overs, ssrc).is_none() {
            out.truncate(start);
        }
    }

    fn transform(&self, out: &mut [u8], start: usize, roll_overs: u32, ssrc: u32) -> Option<()> {
        let length = header_length(out.get(start..)?)?;
        let (header, body) = out.get_mut(start..)?.split_at_mut_checked(length)?;
        let nonce = self.nonce(header, roll_overs)?;
        let length = self.key.open_in_place(nonce, Aad::from(&*header), body).ok()?.len();
        header.get_mut(8..12)?.copy_from_slice(&ssrc.to_be_bytes());
        let nonce = self.nonce(header, roll_overs)?;
        let (plain, tag) = body.split_at_mut_checked(length)?;
        let sealed = self.key.seal_in_place_separate_tag(nonce, Aad::from(&*header), plain).ok()?;
        tag.get_mut(..TAG)?.copy_from_slice(sealed.as_ref());
        Some(())
    }

    fn nonce(&self, header: &[u8], roll_overs: u32) -> Option<Nonce> {
        let mut nonce = [0; 12];
        nonce[2..6].copy_from_slice(header.get(8..12)?);
        nonce[6..10].copy_from_slice(&roll_overs.to_be_bytes());
        nonce[10..].copy_from_slice(header.get(2..4)?);
        for (byte, salt) in nonce.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        Some(Nonce::assume_unique_for_key(nonce))
    }
}

fn header_length(packet: &[u8]) -> Option<usize> {
    let first = *packet.first()?;
    let mut length = 12 + usize::from(first & 0x0f) * 4;
    if first & 0x10 != 0 {
        let &[_, _, high, low] = packet.get(length..)?.first_chunk()?;
        length += 4 + usize::from(u16::from_be_bytes([high, low])) * 4;
    }
    Some(length)
}

/// The session key (label 0) or salt (label 2), RFC 3711 section 4.3.
fn derive(label: u8) -> [u8; 16] {
    let mut block = [0; 16];
    block[..12].copy_from_slice(&MASTER_SALT);
    block[7] ^= label;
    let crypto = rtc_crypto::default_provider().expect("a crypto provider is compiled in");
    crypto
        .crypto()
        .block_encrypt(BlockCipherAlgorithm::Aes128, &MASTER_KEY, &mut block)
        .expect("one block under a key of one block");
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on_opens_again_and_a_forgery_does_not() {
        let crypto = Crypto::new();
        let header = [0x80, 96, 0, 7, 0, 0, 0, 0, 0, 0, 0, 5];
        let mut packet = header.to_vec();
        let mut body = b"payload".to_vec();
        let nonce = crypto.nonce(&header, 3).unwrap();
        let tag = crypto.key.seal_in_place_separate_tag(nonce, Aad::from(&header[..]), &mut body).unwrap();
        packet.extend_from_slice(&body);
        packet.extend_from_slice(tag.as_ref());
        let mut out = b"before".to_vec();
        crypto.pass_on(&packet, 3, 9, &mut out);
        let passed = out.split_off(6);
        assert_eq!((passed.len(), passed[11]), (packet.len(), 9));
        let mut back = Vec::new();
        crypto.pass_on(&passed, 3, 5, &mut back);
        assert_eq!(back, packet);
        packet[20] ^= 1;
        crypto.pass_on(&packet, 3, 9, &mut out);
        assert_eq!(out, b"before");
    }
}
