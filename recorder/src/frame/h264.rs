//! H.264 payloads to access units (RFC 6184 section 5), in the 4-byte length form of MP4.

use bytes::{Bytes, BytesMut};

use super::Built;

const SLICE_IDR: u8 = 5;
const SEI: u8 = 6;
const SPS: u8 = 7;
const PPS: u8 = 8;
const DELIMITER: u8 = 9;

/// The parameter sets last seen. A sender that gives them once must not make later keyframes unreadable.
#[derive(Debug, Default)]
pub(super) struct ParameterSets {
    sps: Option<Vec<u8>>,
    pps: Option<Vec<u8>>,
}

/// Splits payloads into NAL units; `None` when a fragment is missing or the form is not one of mode 1.
fn nal_units(parts: &[Bytes]) -> Option<Vec<Vec<u8>>> {
    let mut units = Vec::new();
    let mut fragment: Option<Vec<u8>> = None;
    for part in parts {
        let (&header, body) = part.split_first()?;
        match header & 0x1f {
            1..=23 if fragment.is_none() => units.push(part.to_vec()),
            24 if fragment.is_none() => {
                let mut rest = body;
                while !rest.is_empty() {
                    let (length, tail) = rest.split_first_chunk::<2>()?;
                    let length = usize::from(u16::from_be_bytes(*length));
                    let unit = tail.get(..length).filter(|unit| !unit.is_empty())?;
                    units.push(unit.to_vec());
                    rest = tail.get(length..)?;
                }
            }
            28 => {
                let (&bits, body) = body.split_first()?;
                if bits & 0x80 != 0 {
                    if fragment.is_some() {
                        return None;
                    }
                    fragment = Some(vec![header & 0xe0 | bits & 0x1f]);
                }
                fragment.as_mut()?.extend_from_slice(body);
                if bits & 0x40 != 0 {
                    units.push(fragment.take()?);
                }
            }
            _ => return None,
        }
    }
    if fragment.is_some() { None } else { Some(units) }
}

pub(super) fn build(parts: &[Bytes], sets: &mut ParameterSets) -> Option<Built> {
    let units = nal_units(parts)?;
    let kind = |unit: &[u8]| unit.first().map_or(0, |first| first & 0x1f);
    let key = units.iter().any(|unit| kind(unit) == SLICE_IDR);
    if !units.iter().any(|unit| (1..=SLICE_IDR).contains(&kind(unit))) {
        // Parameter sets alone: remembered, no picture.
        remember(&units, sets);
        return None;
    }
    let mut data = BytesMut::new();
    let mut put = |unit: &[u8]| -> Option<()> {
        data.extend_from_slice(&u32::try_from(unit.len()).ok()?.to_be_bytes());
        data.extend_from_slice(unit);
        Some(())
    };
    remember(&units, sets);
    if key {
        // In band before each keyframe, whether the sender repeats them or not: the file needs no other description.
        put(sets.sps.as_ref()?)?;
        put(sets.pps.as_ref()?)?;
    }
    for unit in &units {
        match kind(unit) {
            DELIMITER | SEI => {}
            SPS if key && sets.sps.as_ref() == Some(unit) => {}
            PPS if key && sets.pps.as_ref() == Some(unit) => {}
            _ => put(unit)?,
        }
    }
    let size = if key { sets.sps.as_deref().and_then(picture_size) } else { None };
    Some(Built { key, size, data })
}

fn remember(units: &[Vec<u8>], sets: &mut ParameterSets) {
    for unit in units {
        match unit.first().map(|first| first & 0x1f) {
            // 16 bits of length in the file's header.
            Some(SPS) if unit.len() <= 1024 => sets.sps = Some(unit.clone()),
            Some(PPS) if unit.len() <= 1024 => sets.pps = Some(unit.clone()),
            _ => {}
        }
    }
}

/// Reads bits of a NAL unit (ITU-T H.264 section 7.2), leaving out emulation prevention bytes.
struct Bits {
    bytes: Vec<u8>,
    at: usize,
}

impl Bits {
    fn new(unit: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(unit.len());
        for (index, byte) in unit.iter().enumerate() {
            let escaped = *byte == 3 && index >= 2 && unit.get(index - 2..index) == Some(&[0, 0]);
            if !escaped {
                bytes.push(*byte);
            }
        }
        Self { bytes, at: 0 }
    }

    fn bit(&mut self) -> Option<u32> {
        let byte = *self.bytes.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(u32::from(bit))
    }

    fn bits(&mut self, count: u32) -> Option<u32> {
        (0..count).try_fold(0, |value, _| Some(value << 1 | self.bit()?))
    }

    fn unsigned(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.bits(zeros)?)
    }

    fn skip_signed(&mut self) -> Option<i64> {
        let code = i64::from(self.unsigned()?);
        Some(if code % 2 == 1 { (code + 1) / 2 } else { -code / 2 })
    }
}

/// Width and height that a sequence parameter set describes (ITU-T H.264 section 7.3.2.1.1).
fn picture_size(sps: &[u8]) -> Option<(u16, u16)> {
    let mut bits = Bits::new(sps);
    bits.bits(8)?;
    let profile = bits.bits(8)?;
    bits.bits(16)?;
    bits.unsigned()?;
    let mut chroma = 1;
    if matches!(profile, 100 | 110 | 122 | 244 | 44 | 83 | 86 | 118 | 128) {
        chroma = bits.unsigned()?;
        if chroma == 3 {
            bits.bit()?;
        }
        bits.unsigned()?;
        bits.unsigned()?;
        bits.bit()?;
        if bits.bit()? == 1 {
            for list in 0..if chroma == 3 { 12 } else { 8 } {
                if bits.bit()? == 1 {
                    let (mut last, mut next) = (8i64, 8i64);
                    for _ in 0..if list < 6 { 16 } else { 64 } {
                        if next != 0 {
                            next = (last + bits.skip_signed()?).rem_euclid(256);
                        }
                        last = if next == 0 { last } else { next };
                    }
                }
            }
        }
    }
    bits.unsigned()?;
    match bits.unsigned()? {
        0 => {
            bits.unsigned()?;
        }
        1 => {
            bits.bit()?;
            bits.skip_signed()?;
            bits.skip_signed()?;
            for _ in 0..bits.unsigned()?.min(255) {
                bits.skip_signed()?;
            }
        }
        _ => {}
    }
    bits.unsigned()?;
    bits.bit()?;
    let width = bits.unsigned()?.checked_add(1)?.checked_mul(16)?;
    let map_units = bits.unsigned()?.checked_add(1)?;
    let frame_only = bits.bit()?;
    let height = map_units.checked_mul(16)?.checked_mul(2 - frame_only)?;
    if frame_only == 0 {
        bits.bit()?;
    }
    bits.bit()?;
    let mut crop = [0; 4];
    if bits.bit()? == 1 {
        for side in &mut crop {
            *side = bits.unsigned()?;
        }
    }
    let [left, right, top, bottom] = crop;
    let unit_x = if matches!(chroma, 1 | 2) { 2 } else { 1 };
    let unit_y = (if chroma == 1 { 2 } else { 1 }) * (2 - frame_only);
    let width = width.checked_sub(left.checked_add(right)?.checked_mul(unit_x)?)?;
    let height = height.checked_sub(top.checked_add(bottom)?.checked_mul(unit_y)?)?;
    Some((u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}
