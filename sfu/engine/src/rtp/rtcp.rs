//! RTCP as borrowed views, RFC 3550 section 6 and RFC 4585: one broken sub-packet does not lose those before it.

use bytes::Bytes;
use rtc_rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use rtc_rtcp::payload_feedbacks::receiver_estimated_maximum_bitrate::ReceiverEstimatedMaximumBitrate;
use rtc_shared::marshal::Marshal;

use super::packet::{long, word};

/// One report block, RFC 3550 section 6.4.1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Block {
    pub(crate) ssrc: u32,
    /// 256ths, since the last report.
    pub(crate) fraction_lost: u8,
    /// Extended highest sequence number received.
    pub(crate) highest: u32,
    /// Middle 32 bits of the NTP time of the last sender report; 0 before any.
    pub(crate) last_sender_report: u32,
    /// Since then, in 65536ths of a second.
    pub(crate) delay: u32,
}

/// One sub-packet of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rtcp<'a> {
    SenderReport {
        ssrc: u32,
        ntp: u64,
        rtp: u32,
        packets: u32,
        blocks: &'a [u8],
    },
    ReceiverReport {
        blocks: &'a [u8],
    },
    /// Generic NACK: `items` are pairs of packet id and bit mask.
    Nack {
        media: u32,
        items: &'a [u8],
    },
    PictureLoss {
        media: u32,
    },
    /// Full intra request: entries of 8 bytes, each starting with an SSRC.
    FullIntra {
        entries: &'a [u8],
    },
    /// Transport-wide feedback: `arrivals.rs` reads the body.
    TransportFeedback {
        body: &'a [u8],
    },
    /// REMB: the receiver can take no more than so many bits per second.
    ReceiverLimit {
        bits: u64,
    },
    /// BYE, SDES, extended reports and whatever else: tolerated.
    Other,
}

/// Walks a compound packet.
#[derive(Debug)]
pub(crate) struct Compound<'a> {
    rest: &'a [u8],
    /// Set when the walk ended at something that is not RTCP.
    pub(crate) is_malformed: bool,
}

impl<'a> Compound<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, is_malformed: false }
    }

    fn step(&mut self) -> Option<Rtcp<'a>> {
        let (&[first, kind, high, low], _) = self.rest.split_first_chunk::<4>()?;
        let len = (usize::from(u16::from_be_bytes([high, low])) + 1) * 4;
        let (packet, rest) = self.rest.split_at_checked(len)?;
        if first >> 6 != 2 || !(192..=223).contains(&kind) {
            return None;
        }
        let body = packet.get(4..)?;
        let count = first & 0x1f;
        let parsed = match (kind, count) {
            (200, _) => Rtcp::SenderReport {
                ssrc: long(body, 0)?,
                ntp: u64::from(long(body, 4)?) << 32 | u64::from(long(body, 8)?),
                rtp: long(body, 12)?,
                packets: long(body, 16)?,
                blocks: body.get(24..24 + usize::from(count) * 24)?,
            },
            (201, _) => Rtcp::ReceiverReport { blocks: body.get(4..4 + usize::from(count) * 24)? },
            (205, 1) => Rtcp::Nack { media: long(body, 4)?, items: body.get(8..)? },
            (205, 15) => Rtcp::TransportFeedback { body },
            (206, 1) => Rtcp::PictureLoss { media: long(body, 4)? },
            (206, 4) => Rtcp::FullIntra { entries: body.get(8..)? },
            (206, 15) if body.get(8..12) == Some(b"REMB") => {
                let number = long(body, 12)? & 0x00ff_ffff;
                // 6 bits of exponent over 18 of mantissa: more than 64 bits can hold is as good as no limit.
                let (exponent, mantissa) = (number >> 18, u64::from(number & 0x3_ffff));
                let fits = mantissa.leading_zeros() > exponent;
                Rtcp::ReceiverLimit { bits: if fits { mantissa << exponent } else { u64::MAX } }
            }
            _ => Rtcp::Other,
        };
        self.rest = rest;
        Some(parsed)
    }
}

impl<'a> Iterator for Compound<'a> {
    type Item = Rtcp<'a>;

    fn next(&mut self) -> Option<Rtcp<'a>> {
        if self.rest.is_empty() {
            return None;
        }
        let step = self.step();
        if step.is_none() {
            self.rest = &[];
            self.is_malformed = true;
        }
        step
    }
}

/// The report blocks of a report.
pub(crate) fn blocks(bytes: &[u8]) -> impl Iterator<Item = Block> {
    bytes.chunks_exact(24).filter_map(|block| {
        Some(Block {
            ssrc: long(block, 0)?,
            fraction_lost: *block.get(4)?,
            highest: long(block, 8)?,
            last_sender_report: long(block, 16)?,
            delay: long(block, 20)?,
        })
    })
}

/// The sequence numbers that a NACK asks for: at most 17 for each item.
pub(crate) fn lost_numbers(items: &[u8]) -> impl Iterator<Item = u16> {
    items.chunks_exact(4).flat_map(|item| {
        let first = word(item, 0).unwrap_or_default();
        let mask = word(item, 2).unwrap_or_default();
        let following = (1..=16u16).filter(move |i| mask >> (i - 1) & 1 == 1).map(move |i| first.wrapping_add(i));
        std::iter::once(first).chain(following)
    })
}

/// The SSRCs of a full intra request.
pub(crate) fn intra_sources(entries: &[u8]) -> impl Iterator<Item = u32> {
    entries.chunks_exact(8).filter_map(|entry| long(entry, 0))
}

/// Tells a publisher to send no more than `bits` per second on these streams together: draft-alvestrand-rmcat-remb-03.
#[allow(clippy::cast_precision_loss, reason = "18 bits of mantissa are all that leaves")]
pub(crate) fn receiver_limit(sender_ssrc: u32, bits: u64, ssrcs: Vec<u32>) -> Option<Bytes> {
    let bitrate = bits as f32;
    ReceiverEstimatedMaximumBitrate { sender_ssrc, bitrate, ssrcs }.marshal().ok().map(Into::into)
}

/// A picture loss indication, RFC 4585 section 6.3.1.
pub(crate) fn picture_loss(sender_ssrc: u32, media_ssrc: u32) -> Option<Bytes> {
    PictureLossIndication { sender_ssrc, media_ssrc }.marshal().ok().map(Into::into)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rtc_rtcp::payload_feedbacks::full_intra_request::{FirEntry, FullIntraRequest};
    use rtc_rtcp::reception_report::ReceptionReport;
    use rtc_rtcp::sender_report::SenderReport;
    use rtc_rtcp::transport_feedbacks::transport_layer_nack::{TransportLayerNack, nack_pairs_from_sequence_numbers};

    use super::*;

    #[test]
    fn what_the_family_writes_we_read() {
        let report = ReceptionReport {
            ssrc: 5,
            fraction_lost: 12,
            total_lost: 3,
            last_sequence_number: 99,
            jitter: 4,
            last_sender_report: 0xabcd,
            delay: 77,
        };
        let sr = SenderReport {
            ssrc: 1,
            ntp_time: 0x1122_3344_5566_7788,
            rtp_time: 9,
            packet_count: 10,
            octet_count: 11,
            reports: vec![report],
            ..SenderReport::default()
        };
        let nack = TransportLayerNack {
            sender_ssrc: 1,
            media_ssrc: 2,
            nacks: nack_pairs_from_sequence_numbers(&[3, 5, 19, 65_535, 0]),
        };
        let fir =
            FullIntraRequest { sender_ssrc: 1, media_ssrc: 0, fir: vec![FirEntry { ssrc: 8, sequence_number: 1 }] };
        let mut bytes = Vec::new();
        for part in [sr.marshal().unwrap(), nack.marshal().unwrap(), fir.marshal().unwrap()] {
            bytes.extend_from_slice(&part);
        }
        bytes.extend_from_slice(&picture_loss(1, 6).unwrap());
        let mut compound = Compound::new(&bytes);
        let Some(Rtcp::SenderReport { ssrc: 1, ntp, rtp: 9, packets: 10, blocks: b }) = compound.next() else {
            unreachable!("a sender report comes first")
        };
        assert_eq!(ntp, 0x1122_3344_5566_7788);
        let expected = Block { ssrc: 5, fraction_lost: 12, highest: 99, last_sender_report: 0xabcd, delay: 77 };
        assert_eq!(blocks(b).collect::<Vec<_>>(), [expected]);
        let Some(Rtcp::Nack { media: 2, items }) = compound.next() else { unreachable!("then a nack") };
        assert_eq!(lost_numbers(items).collect::<Vec<_>>(), [3, 5, 19, 65_535, 0]);
        let Some(Rtcp::FullIntra { entries }) = compound.next() else { unreachable!("then a fir") };
        assert_eq!(intra_sources(entries).collect::<Vec<_>>(), [8]);
        assert_eq!(compound.next(), Some(Rtcp::PictureLoss { media: 6 }));
        assert_eq!(compound.next(), None);
        assert!(!compound.is_malformed);
    }

    #[test]
    fn a_limit_reads_back_and_an_absurd_one_is_none() {
        for bits in [50_000u64, 262_143, 1_000_000, 4_000_000] {
            let bytes = receiver_limit(1, bits, vec![7, 8]).unwrap();
            let Some(Rtcp::ReceiverLimit { bits: read }) = Compound::new(&bytes).next() else {
                unreachable!("a limit reads back")
            };
            assert!(read <= bits && bits - read < bits / 1000, "{read} of {bits}");
        }
        let mut bytes = receiver_limit(1, 1000, vec![7]).unwrap().to_vec();
        bytes[17..20].copy_from_slice(&[0xff; 3]);
        assert_eq!(Compound::new(&bytes).next(), Some(Rtcp::ReceiverLimit { bits: u64::MAX }));
    }

    #[test]
    fn a_broken_tail_does_not_lose_the_head() {
        let mut bytes = picture_loss(1, 6).unwrap().to_vec();
        bytes.extend_from_slice(&[0x80, 200, 0, 99]);
        let mut compound = Compound::new(&bytes);
        assert_eq!(compound.next(), Some(Rtcp::PictureLoss { media: 6 }));
        assert_eq!(compound.next(), None);
        assert!(compound.is_malformed);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..120), kind in 198u8..208, len in 0u8..30) {
            if let [first, k, high, low, ..] = bytes.as_mut_slice() {
                *first = 0x80 | *first & 0x3f;
                *k = kind;
                *high = 0;
                *low = len;
            }
            for part in Compound::new(&bytes) {
                match part {
                    Rtcp::SenderReport { blocks: b, .. } | Rtcp::ReceiverReport { blocks: b } => drop(blocks(b).count()),
                    Rtcp::Nack { items, .. } => drop(lost_numbers(items).count()),
                    Rtcp::FullIntra { entries } => drop(intra_sources(entries).count()),
                    Rtcp::PictureLoss { .. }
                    | Rtcp::TransportFeedback { .. }
                    | Rtcp::ReceiverLimit { .. }
                    | Rtcp::Other => {}
                }
            }
        }
    }
}
