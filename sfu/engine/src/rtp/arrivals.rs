//! Reads what a receiver says of our packets' arrival: transport-wide feedback, the other direction of `feedback.rs`.

use super::packet::{long, word};

/// Most statuses read of one packet. Browsers report at least four times a second, so a real one holds a few hundred; run
/// lengths let a hostile one of some bytes claim 65,535.
const STATUSES: usize = 4096;

/// The fixed part of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Wire number of the first status.
    pub(crate) base: u16,
    /// In units of 64 ms, 24 bits: it wraps.
    pub(crate) reference: u32,
    /// The receiver's count of its reports.
    pub(crate) count: u8,
}

/// Reads the body behind the RTCP header into `statuses`: for `base` and each number after it, when it came, in quarter
/// milliseconds after the reference time. `None`, and nothing that counts in `statuses`, when lengths do not fit.
pub(crate) fn read(body: &[u8], statuses: &mut Vec<Option<i32>>) -> Option<Head> {
    statuses.clear();
    let base = word(body, 8)?;
    let total = usize::from(word(body, 10)?);
    let last = long(body, 12)?;
    let [_, _, _, count] = last.to_be_bytes();
    if total > STATUSES {
        return None;
    }
    let mut at = 16;
    // First the symbols, as 0, 1, 2: not come, small delta, large delta.
    while statuses.len() < total {
        let chunk = word(body, at)?;
        at += 2;
        let left = total - statuses.len();
        if chunk & 0x8000 == 0 {
            let run = usize::from(chunk & 0x1fff).min(left);
            if run == 0 {
                return None;
            }
            let symbol = symbol(chunk >> 13 & 3)?;
            statuses.extend(std::iter::repeat_n(symbol, run));
        } else if chunk & 0x4000 == 0 {
            statuses.extend((0..left.min(14)).map(|i| (chunk >> (13 - i) & 1 == 1).then_some(1)));
        } else {
            for i in 0..left.min(7) {
                statuses.push(symbol(chunk >> (12 - 2 * i) & 3)?);
            }
        }
    }
    let mut clock = 0i32;
    for status in statuses.iter_mut() {
        let delta = match *status {
            None => continue,
            Some(1) => {
                at += 1;
                i32::from(*body.get(at - 1)?)
            }
            Some(_) => {
                at += 2;
                i32::from(word(body, at - 2)?.cast_signed())
            }
        };
        // At most 4,096 times 32,767: no overflow.
        clock += delta;
        *status = Some(clock);
    }
    Some(Head { base, reference: last >> 8, count })
}

/// The third symbol is reserved.
const fn symbol(bits: u16) -> Option<Option<i32>> {
    match bits {
        0 => Some(None),
        1 => Some(Some(1)),
        2 => Some(Some(2)),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use std::time::{Duration, Instant};

    use proptest::prelude::*;
    use rtc_rtcp::transport_feedbacks::transport_layer_cc::{
        PacketStatusChunk, RecvDelta, RunLengthChunk, StatusChunkTypeTcc, StatusVectorChunk, SymbolSizeTypeTcc,
        SymbolTypeTcc, TransportLayerCc,
    };
    use rtc_shared::marshal::Marshal;

    use super::super::feedback::Feedback;
    use super::super::sequence::wire;
    use super::*;

    #[test]
    fn all_three_chunks_of_another_writer_are_read() {
        let symbols = |list: &[u16]| {
            list.iter()
                .map(|s| match s {
                    0 => SymbolTypeTcc::PacketNotReceived,
                    1 => SymbolTypeTcc::PacketReceivedSmallDelta,
                    _ => SymbolTypeTcc::PacketReceivedLargeDelta,
                })
                .collect::<Vec<_>>()
        };
        let delta = |symbol, delta| RecvDelta { type_tcc_packet: symbol, delta };
        let small = |d| delta(SymbolTypeTcc::PacketReceivedSmallDelta, d);
        let large = |d| delta(SymbolTypeTcc::PacketReceivedLargeDelta, d);
        let cc = TransportLayerCc {
            sender_ssrc: 1,
            media_ssrc: 2,
            base_sequence_number: 65_530,
            packet_status_count: 3 + 14 + 4,
            reference_time: 0x00ab_cdef,
            fb_pkt_count: 200,
            packet_chunks: vec![
                PacketStatusChunk::RunLengthChunk(RunLengthChunk {
                    type_tcc: StatusChunkTypeTcc::RunLengthChunk,
                    packet_status_symbol: SymbolTypeTcc::PacketReceivedSmallDelta,
                    run_length: 3,
                }),
                PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                    type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                    symbol_size: SymbolSizeTypeTcc::OneBit,
                    symbol_list: symbols(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]),
                }),
                PacketStatusChunk::StatusVectorChunk(StatusVectorChunk {
                    type_tcc: StatusChunkTypeTcc::StatusVectorChunk,
                    symbol_size: SymbolSizeTypeTcc::TwoBit,
                    symbol_list: symbols(&[2, 0, 2, 1, 0, 0, 0]),
                }),
            ],
            // In microseconds.
            recv_deltas: vec![
                small(0),
                small(250),
                small(63_750),
                small(500),
                small(0),
                large(-8_000_000),
                large(8_191_750),
                small(250),
            ],
        };
        let bytes = cc.marshal().unwrap();
        let mut statuses = Vec::new();
        let head = read(&bytes[4..], &mut statuses).unwrap();
        assert_eq!(head, Head { base: 65_530, reference: 0x00ab_cdef, count: 200 });
        let mut expected = vec![Some(0), Some(1), Some(256), None, None, None, Some(258)];
        expected.extend([None; 9]);
        expected.extend([
            Some(258),
            Some(258 - 32_000),
            None,
            Some(258 - 32_000 + 32_767),
            Some(258 - 32_000 + 32_768),
        ]);
        assert_eq!(statuses, expected);
    }

    #[test]
    fn a_few_bytes_cannot_claim_many_packets() {
        let mut body = vec![0; 8];
        body.extend_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0, 0]);
        body.extend_from_slice(&[0x1f, 0xff].repeat(9));
        assert_eq!(read(&body, &mut Vec::new()), None);
        // A run of nothing would never end.
        let mut body = vec![0; 8];
        body.extend_from_slice(&[0, 0, 0, 9, 0, 0, 0, 0]);
        body.extend_from_slice(&[0; 20]);
        assert_eq!(read(&body, &mut Vec::new()), None);
    }

    proptest! {
        #[test]
        fn what_we_write_ourselves_reads_back(
            start: u16,
            packets in prop::collection::vec((0u64..30_000, prop::bool::weighted(0.8)), 1..600),
        ) {
            let origin = Instant::now();
            let mut feedback = Feedback::new(origin);
            let mut truth = Vec::new();
            let mut at = 0;
            for (i, (wait, arrives)) in packets.into_iter().enumerate() {
                at += wait;
                if arrives || i == 0 {
                    let number = start.wrapping_add(wire(i as u64));
                    feedback.note(number, origin + Duration::from_micros(at));
                    truth.push((number, at / 250));
                }
            }
            let mut told = Vec::new();
            let mut statuses = Vec::new();
            while let Some(bytes) = feedback.poll(1, 2) {
                let head = read(&bytes[4..], &mut statuses).unwrap();
                for (i, status) in statuses.iter().enumerate() {
                    if let Some(ticks) = status {
                        let at = i64::from(head.reference) * 256 + i64::from(*ticks);
                        told.push((head.base.wrapping_add(wire(i as u64)), at.cast_unsigned()));
                    }
                }
            }
            prop_assert_eq!(told, truth);
        }

        #[test]
        fn any_bytes_are_survived_within_bounds(bytes in prop::collection::vec(any::<u8>(), 0..200), total in 0u16..5000) {
            let mut bytes = bytes;
            if let Some(place) = bytes.get_mut(10..12) {
                place.copy_from_slice(&total.to_be_bytes());
            }
            let mut statuses = Vec::new();
            if read(&bytes, &mut statuses).is_some() {
                prop_assert_eq!(statuses.len(), usize::from(total));
            }
            prop_assert!(statuses.len() <= STATUSES);
        }
    }
}
