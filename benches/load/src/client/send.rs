//! One stream that we send: RTP packets with extensions, a history for NACK, RTX.

use std::collections::VecDeque;
use std::sync::Arc;

use super::sdp::{Extensions, SectionKind};

/// Packets kept for NACK; about 4 s of video. The oldest goes first.
const HISTORY: usize = 512;

/// What differs between the packets of a stream, besides payload and numbers.
#[derive(Clone, Copy)]
pub(super) struct Header {
    pub(super) timestamp: u32,
    pub(super) marker: bool,
    /// -dBov, for audio.
    pub(super) level: Option<u8>,
    /// The payload is redundant sound.
    pub(super) is_red: bool,
}

/// A payload of redundant sound: the frame before, if it is near enough, and the own one.
pub(super) fn redundant(timestamp: u32, before: Option<&(u32, Vec<u8>)>, own: &[u8]) -> Vec<u8> {
    let mut payload = Vec::with_capacity(own.len() * 2 + 5);
    let near = before.map(|(at, frame)| (timestamp.wrapping_sub(*at), frame));
    let near = near.filter(|(offset, frame)| (1..1 << 14).contains(offset) && frame.len() < 1 << 10);
    if let Some((offset, frame)) = near {
        let word = offset << 10 | u32::try_from(frame.len()).unwrap_or(0);
        let [_, a, b, c] = word.to_be_bytes();
        payload.extend_from_slice(&[0x80 | super::sdp::OPUS, a, b, c]);
    }
    payload.push(super::sdp::OPUS);
    payload.extend(near.into_iter().flat_map(|(_, frame)| frame));
    payload.extend_from_slice(own);
    payload
}

struct Sent {
    sequence: u16,
    header: Header,
    payload: Vec<u8>,
}

pub(super) struct Sender {
    pub(super) mid: Arc<str>,
    pub(super) kind: SectionKind,
    pub(super) ssrc: u32,
    pub(super) packets: u64,
    pub(super) octets: u64,
    pub(super) repairs: u64,
    rtx: Option<u32>,
    sequence: u16,
    rtx_sequence: u16,
    picture: u16,
    history: VecDeque<Sent>,
}

impl Sender {
    pub(super) fn new(
        mid: Arc<str>,
        kind: SectionKind,
        ssrc: u32,
        rtx: Option<u32>,
        sequence: u16,
        picture: u16,
    ) -> Self {
        Self {
            mid,
            kind,
            ssrc,
            packets: 0,
            octets: 0,
            repairs: 0,
            rtx,
            sequence,
            rtx_sequence: sequence / 2,
            picture,
            history: VecDeque::new(),
        }
    }

    pub(super) fn next_picture(&mut self) -> u16 {
        self.picture = (self.picture + 1) & 0x7fff;
        self.picture
    }

    /// The next packet of the stream, in plain.
    pub(super) fn packet(
        &mut self,
        header: Header,
        payload: &[u8],
        extensions: &Extensions,
        transport: u16,
    ) -> Vec<u8> {
        let sequence = self.sequence;
        self.sequence = sequence.wrapping_add(1);
        self.packets += 1;
        self.octets += u64::try_from(payload.len()).unwrap_or(0);
        let payload_type = if header.is_red { super::sdp::RED } else { self.payload_type() };
        let packet = self.write((self.ssrc, payload_type, sequence), header, extensions, transport, payload);
        if self.rtx.is_some() {
            if self.history.len() >= HISTORY {
                self.history.pop_front();
            }
            self.history.push_back(Sent { sequence, header, payload: payload.to_vec() });
        }
        packet
    }

    /// A sent packet again, by RTX (RFC 4588).
    pub(super) fn repair(&mut self, sequence: u16, extensions: &Extensions, transport: u16) -> Option<Vec<u8>> {
        let rtx = self.rtx?;
        let sent = self.history.iter().rev().find(|sent| sent.sequence == sequence)?;
        let mut payload = sequence.to_be_bytes().to_vec();
        payload.extend_from_slice(&sent.payload);
        let numbers = (rtx, self.payload_type() + 1, self.rtx_sequence);
        let packet = self.write(numbers, sent.header, extensions, transport, &payload);
        self.rtx_sequence = self.rtx_sequence.wrapping_add(1);
        self.repairs += 1;
        Some(packet)
    }

    const fn payload_type(&self) -> u8 {
        match self.kind {
            SectionKind::Audio => super::sdp::OPUS,
            SectionKind::Video => super::sdp::VP8,
        }
    }

    fn write(
        &self,
        (ssrc, payload_type, sequence): (u32, u8, u16),
        header: Header,
        extensions: &Extensions,
        transport: u16,
        payload: &[u8],
    ) -> Vec<u8> {
        let mut block = Vec::with_capacity(16);
        if let (Some(id), Some(level)) = (extensions.audio_level, header.level) {
            let voice = if level < 127 { 0x80 } else { 0 };
            block.extend_from_slice(&[id << 4, voice | (level & 0x7f)]);
        }
        if let Some(id) = extensions.transport_cc {
            let [high, low] = transport.to_be_bytes();
            block.extend_from_slice(&[(id << 4) | 1, high, low]);
        }
        if let (Some(id), Ok(length @ 1..=16)) = (extensions.mid, u8::try_from(self.mid.len())) {
            block.push((id << 4) | (length - 1));
            block.extend_from_slice(self.mid.as_bytes());
        }
        block.resize(block.len().next_multiple_of(4), 0);
        let mut packet = Vec::with_capacity(16 + block.len() + payload.len());
        packet.push(if block.is_empty() { 0x80 } else { 0x90 });
        packet.push(payload_type | if header.marker { 0x80 } else { 0 });
        packet.extend_from_slice(&sequence.to_be_bytes());
        packet.extend_from_slice(&header.timestamp.to_be_bytes());
        packet.extend_from_slice(&ssrc.to_be_bytes());
        if !block.is_empty() {
            packet.extend_from_slice(&[0xbe, 0xde]);
            packet.extend_from_slice(&u16::try_from(block.len() / 4).unwrap_or(0).to_be_bytes());
            packet.extend_from_slice(&block);
        }
        packet.extend_from_slice(payload);
        packet
    }
}
