//! RTP header extensions, RFC 8285: both forms are read, the one-byte form is written.

use super::packet::{Header, word};

/// The extension ids that one side negotiated; `None` where it did not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ids {
    pub(crate) mid: Option<u8>,
    pub(crate) rid: Option<u8>,
    pub(crate) repaired_rid: Option<u8>,
    pub(crate) audio_level: Option<u8>,
    pub(crate) transport_cc: Option<u8>,
    pub(crate) dependency: Option<u8>,
    /// One bit for each id that was offered as `sendonly`: it may be read, not written.
    pub(crate) one_way: u16,
}

impl Ids {
    /// True when the other side offered to send this id and not to receive it.
    pub(crate) const fn is_one_way(&self, id: u8) -> bool {
        self.one_way >> (id & 15) & 1 != 0
    }
}

/// What a packet's extension block says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Found<'a> {
    pub(crate) mid: Option<&'a [u8]>,
    pub(crate) rid: Option<&'a [u8]>,
    pub(crate) repaired_rid: Option<&'a [u8]>,
    /// RFC 6464: the voice bit above 7 bits of -dBov.
    pub(crate) audio_level: Option<u8>,
    pub(crate) transport_number: Option<u16>,
    pub(crate) dependency: Option<&'a [u8]>,
}

/// Longest value of the one-byte form.
const SHORT: usize = 16;

const ONE_BYTE: u16 = 0xbede;
const TWO_BYTE: u16 = 0x1000;

/// Walks the block once and picks out what `ids` name. What is broken ends the walk; what came before counts.
pub(crate) fn read<'a>(packet: &'a [u8], header: &Header, ids: &Ids) -> Found<'a> {
    let mut found = Found::default();
    let (Some(profile), Some(mut rest)) = (header.profile, packet.get(header.extension.clone())) else {
        return found;
    };
    let one_byte = profile == ONE_BYTE;
    if !one_byte && profile & 0xfff0 != TWO_BYTE {
        return found;
    }
    while let Some((&first, after)) = rest.split_first() {
        if first == 0 {
            rest = after;
            continue;
        }
        let (id, len, after) = if one_byte {
            if first >> 4 == 15 {
                break;
            }
            (first >> 4, usize::from(first & 0x0f) + 1, after)
        } else {
            let Some((&len, after)) = after.split_first() else { break };
            (first, usize::from(len), after)
        };
        let Some((value, after)) = after.split_at_checked(len) else { break };
        rest = after;
        let id = Some(id);
        if id == ids.transport_cc {
            found.transport_number = word(value, 0);
        } else if id == ids.audio_level {
            found.audio_level = value.first().copied();
        } else if id == ids.mid {
            found.mid = Some(value);
        } else if id == ids.rid {
            found.rid = Some(value);
        } else if id == ids.repaired_rid {
            found.repaired_rid = Some(value);
        } else if id == ids.dependency {
            found.dependency = Some(value);
        }
    }
    found
}

/// What goes into a block that we write, each with the receiver's id (1 to 14).
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct NewBlock<'a> {
    pub(crate) audio_level: Option<(u8, u8)>,
    pub(crate) transport_number: Option<(u8, u16)>,
    pub(crate) dependency: Option<(u8, &'a [u8])>,
}

impl NewBlock<'_> {
    pub(crate) const fn is_empty(&self) -> bool {
        self.audio_level.is_none() && self.transport_number.is_none() && self.dependency.is_none()
    }
}

/// Appends the block, padded to whole words. Nothing when there is nothing to say.
pub(crate) fn write(out: &mut Vec<u8>, block: &NewBlock<'_>) {
    if block.is_empty() {
        return;
    }
    if let Some((id, dependency)) = block.dependency {
        write_long(out, block, id, dependency);
        return;
    }
    let mut elements = [0u8; 8];
    let mut len = 0;
    let mut push = |bytes: &[u8]| {
        for byte in bytes {
            if let Some(place) = elements.get_mut(len) {
                *place = *byte;
                len += 1;
            }
        }
    };
    if let Some((id, level)) = block.audio_level {
        push(&[id << 4, level]);
    }
    if let Some((id, number)) = block.transport_number {
        let [high, low] = number.to_be_bytes();
        push(&[id << 4 | 1, high, low]);
    }
    let words: u8 = if len > 4 { 2 } else { 1 };
    out.extend_from_slice(&ONE_BYTE.to_be_bytes());
    out.extend_from_slice(&[0, words]);
    out.extend(elements.iter().take(usize::from(words) * 4));
}

/// A block with a dependency descriptor, which may be too long for the one-byte form.
fn write_long(out: &mut Vec<u8>, block: &NewBlock<'_>, id: u8, dependency: &[u8]) {
    let is_short = (1..=SHORT).contains(&dependency.len());
    let begin = out.len();
    let profile = if is_short { ONE_BYTE } else { TWO_BYTE };
    out.extend_from_slice(&profile.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
    let mut push = |id: u8, value: &[u8]| {
        let Ok(len) = u8::try_from(value.len()) else { return };
        if is_short {
            out.push(id << 4 | len.wrapping_sub(1) & 15);
        } else {
            out.extend_from_slice(&[id, len]);
        }
        out.extend_from_slice(value);
    };
    if let Some((id, level)) = block.audio_level {
        push(id, &[level]);
    }
    if let Some((id, number)) = block.transport_number {
        push(id, &number.to_be_bytes());
    }
    push(id, dependency);
    while !(out.len() - begin).is_multiple_of(4) {
        out.push(0);
    }
    let words = u16::try_from((out.len() - begin) / 4 - 1).unwrap_or_default();
    if let Some(place) = out.get_mut(begin + 2..begin + 4) {
        place.copy_from_slice(&words.to_be_bytes());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::packet::{self, NewHeader};
    use super::*;

    const IDS: Ids = Ids {
        mid: Some(4),
        rid: Some(10),
        repaired_rid: Some(11),
        audio_level: Some(1),
        transport_cc: Some(3),
        dependency: Some(13),
        one_way: 0,
    };

    fn header(has_extension: bool) -> Vec<u8> {
        let mut out = Vec::new();
        let new = NewHeader {
            payload_type: 96,
            marker: false,
            sequence: 1,
            timestamp: 2,
            ssrc: 3,
            has_extension,
            padding: 0,
        };
        packet::write(&mut out, &new);
        out
    }

    #[test]
    fn written_reads_back() {
        for (level, number) in [(Some(0x85), Some(0xfffe)), (Some(1), None), (None, Some(7)), (None, None)] {
            for dependency in [None, Some(&[7; 3][..]), Some(&[8; 16]), Some(&[9; 17]), Some(&[6; 120])] {
                let block = NewBlock {
                    audio_level: level.map(|l| (1, l)),
                    transport_number: number.map(|n| (3, n)),
                    dependency: dependency.map(|d| (13, d)),
                };
                let mut out = header(!block.is_empty());
                write(&mut out, &block);
                out.extend_from_slice(b"payload");
                let header = packet::read(&out).unwrap();
                let found = read(&out, &header, &IDS);
                assert_eq!((found.audio_level, found.transport_number), (level, number));
                assert_eq!(found.dependency, dependency);
                assert_eq!(&out[header.payload], b"payload");
            }
        }
    }

    #[test]
    fn both_forms_are_read() {
        let mut one = header(true);
        one.extend_from_slice(&[0xbe, 0xde, 0, 2, 0x40, b'0', 0, 0, 0xa1, b'h', b'i', 0]);
        let h = packet::read(&one).unwrap();
        let found = read(&one, &h, &IDS);
        assert_eq!((found.mid, found.rid), (Some(&b"0"[..]), Some(&b"hi"[..])));
        let mut two = header(true);
        two.extend_from_slice(&[0x10, 0x00, 0, 2, 4, 1, b'7', 0, 11, 1, b'q', 0]);
        let h = packet::read(&two).unwrap();
        let found = read(&two, &h, &IDS);
        assert_eq!((found.mid, found.repaired_rid), (Some(&b"7"[..]), Some(&b"q"[..])));
    }

    proptest! {
        #[test]
        fn any_block_is_survived(profile in prop::sample::select(vec![0xbedeu16, 0x1000, 0x100f, 0]), block in prop::collection::vec(any::<u8>(), 0..16)) {
            let mut packet = header(true);
            packet.extend_from_slice(&profile.to_be_bytes());
            let words = block.len() / 4;
            packet.extend_from_slice(&u16::try_from(words).unwrap().to_be_bytes());
            packet.extend_from_slice(&block);
            if let Some(h) = packet::read(&packet) {
                let _found = read(&packet, &h, &IDS);
            }
        }
    }
}
