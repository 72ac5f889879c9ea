//! VP8 payloads to frames (RFC 7741 section 4).

use bytes::{Bytes, BytesMut};

use super::Built;

/// The bytes after the payload descriptor, and whether they begin a frame.
fn strip(payload: &[u8]) -> Option<(bool, &[u8])> {
    let first = *payload.first()?;
    let mut at = 1;
    if first & 0x80 != 0 {
        let extended = *payload.get(at)?;
        at += 1;
        if extended & 0x80 != 0 {
            at += if payload.get(at)? & 0x80 != 0 { 2 } else { 1 };
        }
        at += usize::from(extended & 0x40 != 0) + usize::from(extended & 0x30 != 0);
    }
    // S set and partition 0: the first packet of a frame.
    Some((first & 0x17 == 0x10, payload.get(at..)?))
}

pub(super) fn build(parts: &[Bytes]) -> Option<Built> {
    let mut data = BytesMut::new();
    for (index, part) in parts.iter().enumerate() {
        let (begins, body) = strip(part)?;
        if begins != (index == 0) {
            return None;
        }
        data.extend_from_slice(body);
    }
    // The frame tag (RFC 6386 section 9.1).
    let key = data.first()? & 1 == 0;
    let size = if key {
        let [_, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = *data.first_chunk::<10>()? else { return None };
        Some((u16::from_le_bytes([w0, w1]) & 0x3fff, u16::from_le_bytes([h0, h1]) & 0x3fff))
    } else {
        None
    };
    Some(Built { key, size, data })
}
