//! VP9 payloads to frames (RFC 9628 section 4). The layer frames of one picture become a superframe.

use bytes::{Bytes, BytesMut};

use super::Built;

/// Most layer frames of a picture: what a superframe's index can count.
const FRAMES: usize = 8;

/// A payload without its descriptor.
struct Stripped<'a> {
    begins: bool,
    ends: bool,
    /// Of the largest layer, where the scalability structure is sent.
    size: Option<(u16, u16)>,
    body: &'a [u8],
}

fn strip(payload: &[u8]) -> Option<Stripped<'_>> {
    let first = *payload.first()?;
    let has = |bit: u8| first & bit != 0;
    let mut at = 1;
    if has(0x80) {
        at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
    }
    if has(0x20) {
        at += if has(0x10) { 1 } else { 2 };
    }
    if has(0x10) && has(0x40) {
        for _ in 0..3 {
            at += 1;
            if payload.get(at - 1)? & 1 == 0 {
                break;
            }
        }
    }
    let mut size = None;
    if has(0x02) {
        let structure = *payload.get(at)?;
        at += 1;
        if structure & 0x10 != 0 {
            for _ in 0..=structure >> 5 {
                let &[w1, w0, h1, h0] = payload.get(at..)?.first_chunk()?;
                size = Some((u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0])));
                at += 4;
            }
        }
        if structure & 0x08 != 0 {
            let pictures = *payload.get(at)?;
            at += 1;
            for _ in 0..pictures {
                at += 1 + usize::from(payload.get(at)? >> 2 & 3);
            }
        }
    }
    Some(Stripped { begins: has(0x08), ends: has(0x04), size, body: payload.get(at..)? })
}

/// Width and height of a keyframe of profile 0; `None` for any other frame (VP9 bitstream specification, section 6.2).
fn key_size(frame: &[u8]) -> Option<(u16, u16)> {
    let [head, 0x49, 0x83, 0x42, rest @ ..] = frame.first_chunk::<9>()? else { return None };
    // Frame marker 2, profile 0, not shown again, a keyframe.
    if head & 0xfc != 0x80 {
        return None;
    }
    let bits = rest.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    let side = |shift: u32| u16::try_from(bits >> shift & 0xffff).ok()?.checked_add(1);
    // Three bits of colour space and one of range stand before.
    Some((side(20)?, side(4)?))
}

pub(super) fn build(parts: &[Bytes]) -> Option<Built> {
    let mut data = BytesMut::new();
    let mut sizes: Vec<usize> = Vec::new();
    let mut told = None;
    let mut is_open = false;
    for part in parts {
        let Stripped { begins, ends, size, body } = strip(part)?;
        if begins == is_open {
            return None;
        }
        if begins {
            sizes.push(0);
        }
        data.extend_from_slice(body);
        *sizes.last_mut()? += body.len();
        told = size.or(told);
        is_open = !ends;
    }
    if is_open || sizes.len() > FRAMES {
        return None;
    }
    let key = key_size(data.get(..*sizes.first()?)?);
    if sizes.len() > 1 {
        let marker = 0xc0 | 3 << 3 | u8::try_from(sizes.len() - 1).ok()?;
        data.extend_from_slice(&[marker]);
        for size in &sizes {
            data.extend_from_slice(&u32::try_from(*size).ok()?.to_le_bytes());
        }
        data.extend_from_slice(&[marker]);
    }
    Some(Built { key: key.is_some(), size: key.map(|size| told.unwrap_or(size)), data })
}
