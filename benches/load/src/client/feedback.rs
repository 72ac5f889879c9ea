//! RTCP as a client reads and writes it (RFC 3550 section 6.4, RFC 4585, transport-wide feedback).

/// What a received compound packet says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Feedback {
    SenderReport {
        ssrc: u32,
        ntp: u64,
    },
    /// What the server says of a stream of ours: 256ths lost lately, and packets lost in all.
    Block {
        ssrc: u32,
        fraction: u8,
        lost: u32,
    },
    Nack {
        ssrc: u32,
        missing: Vec<u16>,
    },
    Keyframe {
        ssrc: u32,
    },
    TransportWide {
        arrived: u64,
        missing: u64,
    },
    Limit {
        bits: u64,
    },
}

/// One report block of ours.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReportBlock {
    pub(super) ssrc: u32,
    /// Of 256.
    pub(super) fraction: u8,
    pub(super) lost: u32,
    pub(super) highest: u32,
    /// Middle bits of the last sender report.
    pub(super) last: u32,
    /// Since then, in 1/65,536 s.
    pub(super) delay: u32,
}

/// Reads a compound packet; stops at what makes no sense.
pub(super) fn read(compound: &[u8]) -> Vec<Feedback> {
    let mut found = Vec::new();
    let mut rest = compound;
    while let &[flags, kind, high, low, ..] = rest {
        let length = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let Some((packet, tail)) = rest.split_at_checked(length) else { break };
        rest = tail;
        let _ = read_one(flags & 0x1f, kind, packet.get(4..).unwrap_or(&[]), &mut found);
    }
    found
}

fn read_one(count: u8, kind: u8, body: &[u8], found: &mut Vec<Feedback>) -> Option<()> {
    match (kind, count) {
        (200, _) => {
            let ntp = u64::from_be_bytes(*body.get(4..)?.first_chunk()?);
            found.push(Feedback::SenderReport { ssrc: u32_at(body, 0)?, ntp });
            read_blocks(body.get(24..)?, found);
        }
        (201, _) => read_blocks(body.get(4..)?, found),
        (205, 1) => {
            let mut missing = Vec::new();
            for item in body.get(8..)?.chunks_exact(4) {
                let &[p1, p0, b1, b0] = item else { continue };
                let (first, bits) = (u16::from_be_bytes([p1, p0]), u16::from_be_bytes([b1, b0]));
                missing.push(first);
                missing.extend((0..16).filter(|bit| bits & (1 << bit) != 0).map(|bit| first.wrapping_add(bit + 1)));
            }
            found.push(Feedback::Nack { ssrc: u32_at(body, 4)?, missing });
        }
        (205, 15) => found.push(read_transport_wide(body)?),
        (206, 15) if body.get(8..12) == Some(b"REMB") => {
            let number = u32_at(body, 12)? & 0x00ff_ffff;
            found.push(Feedback::Limit { bits: u64::from(number & 0x3_ffff) << (number >> 18).min(40) });
        }
        (206, 1) => found.push(Feedback::Keyframe { ssrc: u32_at(body, 4)? }),
        (206, 4) => {
            for item in body.get(8..)?.chunks_exact(8) {
                found.push(Feedback::Keyframe { ssrc: u32_at(item, 0)? });
            }
        }
        _ => {}
    }
    Some(())
}

fn read_blocks(blocks: &[u8], found: &mut Vec<Feedback>) {
    found.extend(blocks.chunks_exact(24).filter_map(|block| {
        let loss = u32_at(block, 4)?;
        let fraction = u8::try_from(loss >> 24).unwrap_or(u8::MAX);
        Some(Feedback::Block { ssrc: u32_at(block, 0)?, fraction, lost: loss & 0x00ff_ffff })
    }));
}

/// Counts arrived and missing packets in the status chunks (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
fn read_transport_wide(body: &[u8]) -> Option<Feedback> {
    let total = u64::from(u16::from_be_bytes([*body.get(10)?, *body.get(11)?]));
    let (mut seen, mut arrived) = (0u64, 0u64);
    for chunk in body.get(16..)?.chunks_exact(2) {
        if seen >= total {
            break;
        }
        let &[high, low] = chunk else { break };
        let chunk = u16::from_be_bytes([high, low]);
        let (symbols, hits) = if chunk & 0x8000 == 0 {
            let run = u64::from(chunk & 0x1fff).min(total - seen);
            (run, if (chunk >> 13) & 3 == 0 { 0 } else { run })
        } else if chunk & 0x4000 == 0 {
            let symbols = 14.min(total - seen);
            (symbols, (0..symbols).filter(|at| chunk & (1 << (13 - at)) != 0).count() as u64)
        } else {
            let symbols = 7.min(total - seen);
            (symbols, (0..symbols).filter(|at| (chunk >> (12 - 2 * at)) & 3 != 0).count() as u64)
        };
        seen += symbols;
        arrived += hits;
    }
    Some(Feedback::TransportWide { arrived, missing: total.saturating_sub(arrived) })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|chunk| u32::from_be_bytes(*chunk))
}

pub(super) fn header(count: usize, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80 | u8::try_from(count).unwrap_or(31), kind];
    packet.extend_from_slice(&u16::try_from(body.len() / 4).unwrap_or(0).to_be_bytes());
    packet.extend_from_slice(body);
    packet
}

fn put_blocks(body: &mut Vec<u8>, blocks: &[ReportBlock]) {
    for block in blocks {
        body.extend_from_slice(&block.ssrc.to_be_bytes());
        let [_, lost @ ..] = block.lost.min(0x7f_ffff).to_be_bytes();
        body.push(block.fraction);
        body.extend_from_slice(&lost);
        body.extend_from_slice(&block.highest.to_be_bytes());
        body.extend_from_slice(&0u32.to_be_bytes());
        body.extend_from_slice(&block.last.to_be_bytes());
        body.extend_from_slice(&block.delay.to_be_bytes());
    }
}

pub(super) fn write_sender_report(
    ssrc: u32,
    ntp: u64,
    timestamp: u32,
    (packets, octets): (u64, u64),
    blocks: &[ReportBlock],
) -> Vec<u8> {
    let mut body = ssrc.to_be_bytes().to_vec();
    body.extend_from_slice(&ntp.to_be_bytes());
    body.extend_from_slice(&timestamp.to_be_bytes());
    for count in [packets, octets] {
        body.extend_from_slice(&u32::try_from(count & 0xffff_ffff).unwrap_or(0).to_be_bytes());
    }
    put_blocks(&mut body, blocks);
    header(blocks.len(), 200, &body)
}

pub(super) fn write_receiver_report(ssrc: u32, blocks: &[ReportBlock]) -> Vec<u8> {
    let mut body = ssrc.to_be_bytes().to_vec();
    put_blocks(&mut body, blocks);
    header(blocks.len(), 201, &body)
}

pub(super) fn write_nack(own: u32, media: u32, missing: &[u16]) -> Vec<u8> {
    let mut body = own.to_be_bytes().to_vec();
    body.extend_from_slice(&media.to_be_bytes());
    let mut rest = missing.iter().copied().peekable();
    while let Some(first) = rest.next() {
        let mut bits = 0u16;
        while let Some(next) = rest.peek().map(|next| next.wrapping_sub(first)).filter(|ahead| (1..=16).contains(ahead))
        {
            bits |= 1 << (next - 1);
            rest.next();
        }
        body.extend_from_slice(&first.to_be_bytes());
        body.extend_from_slice(&bits.to_be_bytes());
    }
    header(1, 205, &body)
}

pub(super) fn write_pli(own: u32, media: u32) -> Vec<u8> {
    header(1, 206, &[own.to_be_bytes(), media.to_be_bytes()].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nacks_read_back() {
        let missing = vec![65_530, 65_535, 2, 3, 300];
        let read = read(&write_nack(1, 2, &missing));
        assert_eq!(read, [Feedback::Nack { ssrc: 2, missing }]);
    }

    #[test]
    fn reports_read_back() {
        let block = ReportBlock { ssrc: 9, fraction: 3, lost: 4, highest: 5, last: 6, delay: 7 };
        let mut compound = write_sender_report(1, 0x1234_5678_9abc_def0, 3, (4, 5), &[block]);
        compound.extend(write_pli(1, 8));
        assert_eq!(
            read(&compound),
            [
                Feedback::SenderReport { ssrc: 1, ntp: 0x1234_5678_9abc_def0 },
                Feedback::Block { ssrc: 9, fraction: 3, lost: 4 },
                Feedback::Keyframe { ssrc: 8 },
            ]
        );
    }

    #[test]
    fn transport_wide_chunks_are_counted() {
        let mut body = vec![0; 8];
        body.extend_from_slice(&[0, 1, 0, 12, 0, 0, 0, 0]);
        // A run of 5 that arrived, then two-bit symbols: arrived, missing, arrived late, 4 missing.
        body.extend_from_slice(&[0x20, 5]);
        body.extend_from_slice(&(0xc000u16 | (1 << 12) | (2 << 8)).to_be_bytes());
        assert_eq!(read(&header(15, 205, &body)), [Feedback::TransportWide { arrived: 7, missing: 5 }]);
    }
}
