//! A WebRTC client without I/O, as a browser behaves towards a lite server: bytes and time in, datagrams and events out.

mod feedback;
mod path;
mod receive;
pub mod sdp;
mod send;
mod transport;
pub mod vp8;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use feedback::{Feedback, ReportBlock};
use path::Path;
use receive::{Arrival, Receiver};
use sdp::{Answer, Credentials, Section, SectionKind};
use send::{Header, Sender};
use transport::Arrivals;

/// How often missing packets are asked for.
const NACK_INTERVAL: Duration = Duration::from_millis(20);
/// How often sender and receiver reports go out.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Payload bytes of one video packet at most.
const VIDEO_PAYLOAD: usize = 1150;
/// Seconds between 1900 and the made-up day on which every client begins; only differences matter.
const NTP_BEGIN: u64 = 3_900_000_000;

/// What a client is.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Has a microphone: the first section is audio, `sendrecv`.
    pub audio: bool,
    /// Has a camera: the next section is VP8 video, `sendrecv`.
    pub video: bool,
    /// Further audio sections that only receive.
    pub extra_audio: usize,
    /// Further video sections that only receive.
    pub extra_video: usize,
    /// Everything random but keys and certificate follows from it.
    pub seed: u64,
    /// Offer SRTP_AES128_CM_HMAC_SHA1_80 alone instead of preferring GCM as well.
    pub without_gcm: bool,
    /// When set, each video packet carries the microseconds since this instant, for measuring delay.
    pub stamp_from: Option<Instant>,
    /// How often it reports when packets arrived (transport-wide feedback); `None`: never, though it negotiates it.
    pub feedback: Option<Duration>,
    /// Shares a screen too: one more video section that sends, behind the camera's.
    pub screen: bool,
    /// Decrypts one packet in so many, and repairs always; the others are counted by their headers alone, unauthenticated.
    /// For generators that would otherwise need more CPU than what they measure. 1 decrypts everything.
    pub decrypt_every: u32,
    /// Offers `a=setup:active` instead of `actpass`: some servers would otherwise be the DTLS client.
    pub active: bool,
    /// What it does with redundant sound.
    pub red: Redundancy,
}

/// What a client does with redundant sound (RFC 2198).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Redundancy {
    /// It does not know it, as Firefox.
    #[default]
    Unknown,
    /// It reads it, as Chromium by itself.
    Reads,
    /// It reads it, and says each frame again in the next packet, as Chromium whose page prefers that.
    Sends,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            audio: true,
            video: true,
            extra_audio: 0,
            extra_video: 0,
            seed: 1,
            without_gcm: false,
            stamp_from: None,
            feedback: Some(Duration::from_millis(50)),
            screen: false,
            decrypt_every: 1,
            active: false,
            red: Redundancy::default(),
        }
    }
}

/// What can fail outside the packet path.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The certificate or the DTLS client could not be made.
    #[error("DTLS cannot start: {0}")]
    Dtls(String),
    /// The answer lacks something.
    #[error("the answer cannot be used: {0}")]
    Answer(&'static str),
}

/// Something that happened.
#[derive(Clone, Debug)]
pub enum ClientEvent {
    /// Media can flow.
    Connected,
    /// An RTP packet of a slot.
    Rtp(Received),
    /// The server asks for a keyframe of this section.
    KeyframeRequested {
        /// Which section.
        mid: Arc<str>,
    },
    /// The server limits what we send, in bits per second (REMB).
    Limited {
        /// All streams together.
        bits: u64,
    },
    /// The connection ended: the server closed it, or was silent for 30 s.
    Failed,
}

/// One received RTP packet, decrypted.
#[derive(Clone, Debug)]
pub struct Received {
    /// The section it belongs to.
    pub mid: Arc<str>,
    /// Its stream; for a repaired packet that of the original.
    pub ssrc: u32,
    /// Its payload type; for a repaired packet that of the original.
    pub payload_type: u8,
    /// Sequence number with roll-overs counted.
    pub sequence: u64,
    /// RTP timestamp.
    pub timestamp: u32,
    /// Marker bit.
    pub marker: bool,
    /// Whether it came by RTX.
    pub recovered: bool,
    /// Payload without padding.
    pub payload: Bytes,
    /// The microseconds that the sender's [`ClientConfig::stamp_from`] put in.
    pub sent_micros: Option<u64>,
    /// When its datagram came.
    pub at: Instant,
}

/// What one section received.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionStats {
    /// Packets, repaired ones included.
    pub received: u64,
    /// Payload bytes.
    pub bytes: u64,
    /// Packets that came by RTX.
    pub recovered: u64,
    /// Packets given up.
    pub lost: u64,
    /// Packets that came twice.
    pub duplicates: u64,
}

/// What a client did and saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClientStats {
    /// RTP packets sent, without RTX.
    pub rtp_sent: u64,
    /// RTX packets sent.
    pub rtx_sent: u64,
    /// RTP packets received, repaired ones included.
    pub rtp_received: u64,
    /// RTX packets received.
    pub rtx_received: u64,
    /// Packets that came by RTX and were missing.
    pub recovered: u64,
    /// Packets given up.
    pub lost: u64,
    /// Sequence numbers asked for, each request counted.
    pub nacks_sent: u64,
    /// Sequence numbers the server asked for.
    pub nacks_received: u64,
    /// Keyframe requests that came (PLI and FIR).
    pub plis_received: u64,
    /// Transport-wide feedback packets that came.
    pub twcc_reports: u64,
    /// Packets that these say arrived.
    pub twcc_arrived: u64,
    /// Packets that these say did not arrive.
    pub twcc_missing: u64,
    /// Limits on our sending that came (REMB).
    pub limits: u64,
    /// Packets with nothing but padding.
    pub padding: u64,
    /// Sender reports that came.
    pub sender_reports: u64,
    /// Report blocks about our streams that came.
    pub report_blocks: u64,
    /// SRTP or SRTCP that could not be decrypted.
    pub undecryptable: u64,
    /// Decrypted packets of SSRCs that the answer does not name.
    pub unknown_ssrc: u64,
    /// Received, by section.
    pub sections: BTreeMap<Arc<str>, SectionStats>,
}

/// One client.
pub struct Client {
    config: ClientConfig,
    begin: Instant,
    session: u64,
    restarts: u64,
    credentials: Credentials,
    sections: Vec<Section>,
    path: Path,
    senders: Vec<Sender>,
    receivers: Vec<Receiver>,
    transport_sequence: u16,
    /// The last frame of sound and its time, for the next packet.
    last_frame: Option<(u32, Vec<u8>)>,
    /// Packets since the last decrypted one.
    unread: u32,
    next_nack: Option<Instant>,
    next_report: Option<Instant>,
    arrivals: Arrivals,
    next_feedback: Option<Instant>,
    /// What the server said last of each stream of ours; only of those.
    reported: BTreeMap<u32, (u8, u32)>,
    /// The caller drains after each input.
    events: VecDeque<ClientEvent>,
    stats: ClientStats,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("connected", &self.is_connected()).finish_non_exhaustive()
    }
}

impl Client {
    /// Makes a client with a certificate of its own.
    ///
    /// # Errors
    /// When the certificate cannot be made.
    pub fn new(config: ClientConfig, now: Instant) -> Result<Self, ClientError> {
        let mut rng = StdRng::seed_from_u64(config.seed);
        let path = Path::new(config.without_gcm, now)?;
        let credentials = Credentials {
            ufrag: text(&mut rng, 4),
            pwd: text(&mut rng, 24),
            fingerprint: path.fingerprint().to_owned(),
        };
        let mut client = Self {
            begin: now,
            session: rng.random::<u64>() >> 2,
            restarts: 0,
            credentials,
            sections: Vec::new(),
            path,
            senders: Vec::new(),
            receivers: Vec::new(),
            transport_sequence: 0,
            last_frame: None,
            unread: u32::MAX,
            next_nack: None,
            next_report: None,
            arrivals: Arrivals::default(),
            next_feedback: None,
            reported: BTreeMap::new(),
            events: VecDeque::new(),
            stats: ClientStats::default(),
            config,
        };
        if client.config.audio {
            client.add_sender(SectionKind::Audio, &mut rng);
        }
        if client.config.video {
            client.add_sender(SectionKind::Video, &mut rng);
        }
        if client.config.screen {
            client.add_sender(SectionKind::Video, &mut rng);
        }
        for _ in 0..client.config.extra_audio {
            client.add_section(SectionKind::Audio, None);
        }
        for _ in 0..client.config.extra_video {
            client.add_section(SectionKind::Video, None);
        }
        Ok(client)
    }

    /// The offer, as Chromium words it. Call again after [`Self::set_slots`].
    #[must_use]
    pub fn offer(&self) -> String {
        sdp::write_offer(self.session, &self.credentials, &self.sections, &self.config)
    }

    /// Draws other ICE credentials, as `restartIce()` does: the next [`Self::offer`] restarts ICE on the same connection.
    pub fn restart_ice(&mut self) {
        self.restarts += 1;
        let mut rng = StdRng::seed_from_u64(self.config.seed.wrapping_add(self.restarts));
        self.credentials.ufrag = text(&mut rng, 4);
        self.credentials.pwd = text(&mut rng, 24);
    }

    /// Makes sure that so many sections of each kind receive; the next [`Self::offer`] has them.
    pub fn set_slots(&mut self, audio: usize, video: usize) {
        for (kind, wanted) in [(SectionKind::Audio, audio), (SectionKind::Video, video)] {
            let have = self.sections.iter().filter(|section| section.kind == kind).count();
            for _ in have..wanted {
                self.add_section(kind, None);
            }
        }
    }

    /// Takes the answer and begins to connect, or learns the slots of a later one.
    ///
    /// # Errors
    /// When the answer lacks what a client needs.
    pub fn set_answer(&mut self, answer: &str, now: Instant) -> Result<(), ClientError> {
        self.apply(&Answer::read(answer)?, now);
        Ok(())
    }

    /// Takes an offer of the server instead, by a client without sections of its own: it receives all that is offered.
    ///
    /// # Errors
    /// When the offer lacks what a client needs.
    pub fn accept(&mut self, offer: &str, now: Instant) -> Result<String, ClientError> {
        let read = Answer::read(offer)?;
        for offered in &read.sections {
            if !self.sections.iter().any(|section| *section.mid == *offered.mid) {
                self.sections.push(Section::new(offered.mid.as_str().into(), offered.kind, None));
            }
        }
        self.apply(&read, now);
        Ok(sdp::write_answer(offer, &self.credentials))
    }

    fn apply(&mut self, answer: &Answer, now: Instant) {
        for answered in &answer.sections {
            let Some(section) = self.sections.iter_mut().find(|section| *section.mid == *answered.mid) else {
                continue;
            };
            section.extensions.clone_from(&answered.extensions);
            section.accepted = answered.accepted;
            let Some(ssrc) = answered.ssrc else { continue };
            if !self.receivers.iter().any(|receiver| receiver.ssrc == ssrc) {
                let receiver = Receiver::new(Arc::clone(&section.mid), section.kind, ssrc, answered.rtx);
                self.receivers.push(receiver);
            }
        }
        let was_connected = self.path.is_connected();
        self.path.start(&self.credentials, answer, now);
        self.note_path(now, was_connected);
    }

    /// Handles one datagram of the server.
    pub fn handle_datagram(&mut self, now: Instant, _from: SocketAddr, bytes: &[u8]) {
        let was_connected = self.path.is_connected();
        match bytes.first() {
            Some(128..=191) => match bytes.get(1) {
                Some(192..=223) => self.handle_rtcp(now, bytes),
                _ => self.handle_rtp(now, bytes),
            },
            _ => self.path.handle(now, bytes),
        }
        self.note_path(now, was_connected);
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Instant) {
        let was_connected = self.path.is_connected();
        self.path.handle_timeout(now);
        self.note_path(now, was_connected);
        if !self.is_connected() {
            return;
        }
        if self.next_nack.is_some_and(|at| now >= at) {
            self.next_nack = None;
            self.send_nacks(now);
        }
        if self.next_feedback.is_some_and(|at| now >= at) {
            self.next_feedback = None;
            let (own, media) = (self.senders.first(), self.receivers.first());
            let ssrcs = (own.map_or(1, |sender| sender.ssrc), media.map_or(0, |receiver| receiver.ssrc));
            while let Some(report) = self.arrivals.poll(ssrcs) {
                self.path.send_rtcp(&report);
            }
        }
        if self.next_report.is_some_and(|at| now >= at) {
            self.next_report = Some(now + REPORT_INTERVAL);
            self.send_reports(now);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.is_connected() {
            // What is due of media waits for the connection, or is over with it.
            return self.path.poll_timeout();
        }
        [self.path.poll_timeout(), self.next_nack, self.next_report, self.next_feedback].into_iter().flatten().min()
    }

    /// The next datagram to send, and where to.
    pub fn poll_transmit(&mut self) -> Option<(SocketAddr, Vec<u8>)> {
        self.path.poll_transmit()
    }

    /// What happened since.
    pub fn poll_event(&mut self) -> Option<ClientEvent> {
        self.events.pop_front()
    }

    /// Whether media can flow.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.path.is_connected()
    }

    /// Whether the connection has ended.
    #[must_use]
    pub const fn is_failed(&self) -> bool {
        self.path.is_failed()
    }

    /// What it did and saw so far.
    #[must_use]
    pub fn stats(&self) -> ClientStats {
        let mut stats = self.stats.clone();
        for receiver in &self.receivers {
            let section = stats.sections.entry(Arc::clone(&receiver.mid)).or_default();
            let counts = receiver.stats;
            section.received += counts.received;
            section.bytes += counts.bytes;
            section.recovered += counts.recovered;
            section.lost += counts.lost;
            section.duplicates += counts.duplicates;
            stats.rtp_received += counts.received;
            stats.recovered += counts.recovered;
            stats.lost += counts.lost;
        }
        for sender in &self.senders {
            stats.rtp_sent += sender.packets;
            stats.rtx_sent += sender.repairs;
        }
        stats
    }

    /// The mids of the sections that send, audio first.
    #[must_use]
    pub fn sending_mids(&self) -> Vec<Arc<str>> {
        self.senders.iter().map(|sender| Arc::clone(&sender.mid)).collect()
    }

    /// The SSRC of our stream of this kind.
    #[must_use]
    pub fn ssrc(&self, kind: SectionKind) -> Option<u32> {
        self.senders.iter().find(|sender| sender.kind == kind).map(|sender| sender.ssrc)
    }

    /// What the server reported last of each stream of ours: 256ths lost lately, and packets lost in all.
    #[must_use]
    pub const fn reported_loss(&self) -> &BTreeMap<u32, (u8, u32)> {
        &self.reported
    }

    /// Checks the path at once: after a change of the local address the server learns the new one from it.
    pub fn check_now(&mut self, now: Instant) {
        self.path.check_now(now);
    }

    /// Encrypts and sends any RTP packet, as a hostile participant may. Ignored until connected.
    pub fn send_raw_rtp(&mut self, plain: &[u8]) {
        self.path.send_rtp(plain);
    }

    /// Encrypts and sends any RTCP compound, as a hostile participant may. Ignored until connected.
    pub fn send_raw_rtcp(&mut self, plain: &[u8]) {
        self.path.send_rtcp(plain);
    }

    /// Ends the connection with a DTLS close_notify.
    pub fn close(&mut self, now: Instant) {
        self.path.close(now);
    }

    /// Sends one Opus packet. `level` is -dBov, 0 the loudest, 127 silence. Ignored until connected.
    pub fn send_audio(&mut self, now: Instant, payload: &[u8], level: u8) {
        let timestamp = self.timestamp(now, 48_000);
        let is_red = self.config.red == Redundancy::Sends;
        let header = Header { timestamp, marker: false, level: Some(level), is_red };
        let before = self.last_frame.replace((timestamp, payload.to_vec())).filter(|_| is_red);
        if let Some(sender) = self.senders.iter().position(|sender| sender.kind == SectionKind::Audio) {
            match before {
                _ if !is_red => self.send(sender, header, payload),
                before => self.send(sender, header, &send::redundant(timestamp, before.as_ref(), payload)),
            }
        }
    }

    /// Sends one VP8-shaped frame as packets of at most 1,150 bytes. `body` follows a genuine frame header, so that forwarders
    /// recognise keyframes. Ignored until connected.
    pub fn send_video_frame(&mut self, now: Instant, body: &[u8], keyframe: bool) {
        self.send_frame(0, now, body, keyframe);
    }

    /// As [`Self::send_video_frame`], of the shared screen.
    pub fn send_screen_frame(&mut self, now: Instant, body: &[u8], keyframe: bool) {
        self.send_frame(1, now, body, keyframe);
    }

    fn send_frame(&mut self, which: usize, now: Instant, body: &[u8], keyframe: bool) {
        if !self.is_connected() {
            return;
        }
        let timestamp = self.timestamp(now, 90_000);
        let mut videos = self.senders.iter_mut().enumerate().filter(|(_, sender)| sender.kind == SectionKind::Video);
        let Some((at, sender)) = videos.nth(which) else { return };
        let picture = sender.next_picture();
        let stamp = self.config.stamp_from.map(|from| micros(now.saturating_duration_since(from)));
        let packets = vp8::packetize(picture, keyframe, body, VIDEO_PAYLOAD, stamp);
        let last = packets.len().saturating_sub(1);
        for (number, payload) in packets.into_iter().enumerate() {
            self.send(at, Header { timestamp, marker: number == last, level: None, is_red: false }, &payload);
        }
    }

    /// Asks the server for a keyframe on a slot (PLI).
    pub fn request_keyframe(&mut self, mid: &str) {
        let own = self.senders.first().map_or(1, |sender| sender.ssrc);
        let receivers = self.receivers.iter().filter(|receiver| *receiver.mid == *mid);
        for media in receivers.map(|receiver| receiver.ssrc).collect::<Vec<_>>() {
            self.path.send_rtcp(&feedback::write_pli(own, media));
        }
    }

    fn add_sender(&mut self, kind: SectionKind, rng: &mut StdRng) {
        let ssrc = rng.random_range(1..u32::MAX);
        let rtx = (kind == SectionKind::Video).then(|| rng.random_range(1..u32::MAX));
        let mid = self.add_section(kind, Some((ssrc, rtx)));
        let sequence = rng.random_range(0..16_000);
        self.senders.push(Sender::new(mid, kind, ssrc, rtx, sequence, rng.random_range(0..0x4000)));
    }

    fn add_section(&mut self, kind: SectionKind, ssrcs: Option<(u32, Option<u32>)>) -> Arc<str> {
        let mid: Arc<str> = self.sections.len().to_string().into();
        self.sections.push(Section::new(Arc::clone(&mid), kind, ssrcs));
        mid
    }

    fn note_path(&mut self, now: Instant, was_connected: bool) {
        if !was_connected && self.path.is_connected() {
            self.next_report = Some(now + REPORT_INTERVAL);
            self.events.push_back(ClientEvent::Connected);
        }
        if self.path.take_failure() {
            self.events.push_back(ClientEvent::Failed);
        }
    }

    fn send(&mut self, sender: usize, header: Header, payload: &[u8]) {
        if !self.path.is_connected() {
            return;
        }
        let Some(sender) = self.senders.get_mut(sender) else { return };
        let Some(section) = self.sections.iter().find(|section| section.mid == sender.mid) else { return };
        if !section.accepted {
            return;
        }
        let packet = sender.packet(header, payload, &section.extensions, self.transport_sequence);
        self.transport_sequence = self.transport_sequence.wrapping_add(1);
        self.path.send_rtp(&packet);
    }

    fn handle_rtp(&mut self, now: Instant, bytes: &[u8]) {
        if self.skip_rtp(now, bytes) {
            return;
        }
        let Some(plain) = self.path.decrypt_rtp(bytes) else {
            self.stats.undecryptable += 1;
            return;
        };
        let plain = Bytes::from(plain);
        let Some(packet) = receive::Packet::read(&plain) else {
            self.stats.unknown_ssrc += 1;
            return;
        };
        let mine = |receiver: &&mut Receiver| receiver.ssrc == packet.ssrc || receiver.rtx == Some(packet.ssrc);
        let Some(receiver) = self.receivers.iter_mut().find(mine) else {
            self.stats.unknown_ssrc += 1;
            return;
        };
        self.stats.rtx_received += u64::from(receiver.ssrc != packet.ssrc);
        self.stats.padding += u64::from(packet.payload.is_empty());
        let arrived = receiver.handle(now, packet);
        if let Some(Arrival { packet, sequence, recovered }) = arrived {
            let video = receiver.kind == SectionKind::Video;
            let sent_micros =
                if video && self.config.stamp_from.is_some() { vp8::read_stamp(&packet.payload) } else { None };
            self.events.push_back(ClientEvent::Rtp(Received {
                mid: Arc::clone(&receiver.mid),
                ssrc: receiver.ssrc,
                payload_type: packet.payload_type,
                sequence,
                timestamp: packet.timestamp,
                marker: packet.marker,
                recovered,
                payload: packet.payload,
                sent_micros,
                at: now,
            }));
        }
        if receiver.is_missing() && self.next_nack.is_none() {
            self.next_nack = Some(now + NACK_INTERVAL);
        }
        self.note_arrival(now, &plain);
    }

    /// Whether the packet was dealt with by its header, which SRTP leaves readable.
    fn skip_rtp(&mut self, now: Instant, bytes: &[u8]) -> bool {
        self.unread = self.unread.saturating_add(1);
        if self.unread >= self.config.decrypt_every {
            self.unread = 0;
            return false;
        }
        let Some(header) = receive::Packet::read_header(bytes) else { return false };
        let Some(receiver) = self.receivers.iter_mut().find(|receiver| receiver.ssrc == header.ssrc) else {
            return false;
        };
        // Nobody reads the payload: what matters is that the number is known to have come.
        let _ = receiver.handle(now, header);
        if receiver.is_missing() && self.next_nack.is_none() {
            self.next_nack = Some(now + NACK_INTERVAL);
        }
        self.note_arrival(now, bytes);
        true
    }

    /// For transport-wide feedback; the number is readable in an encrypted packet too.
    fn note_arrival(&mut self, now: Instant, packet: &[u8]) {
        let id = self.sections.iter().find_map(|section| section.extensions.transport_cc);
        let number = id.and_then(|id| receive::transport_number(packet, id));
        if let (Some(number), Some(interval)) = (number, self.config.feedback) {
            self.arrivals.note(number, micros(now.saturating_duration_since(self.begin)));
            self.next_feedback.get_or_insert(now + interval);
        }
    }

    fn handle_rtcp(&mut self, now: Instant, bytes: &[u8]) {
        let Some(plain) = self.path.decrypt_rtcp(bytes) else {
            self.stats.undecryptable += 1;
            return;
        };
        for feedback in feedback::read(&plain) {
            match feedback {
                Feedback::SenderReport { ssrc, ntp } => {
                    self.stats.sender_reports += 1;
                    if let Some(receiver) = self.receivers.iter_mut().find(|receiver| receiver.ssrc == ssrc) {
                        receiver.note_report(now, ntp);
                    }
                }
                Feedback::Block { ssrc, fraction, lost } => {
                    if self.senders.iter().any(|sender| sender.ssrc == ssrc) {
                        self.stats.report_blocks += 1;
                        self.reported.insert(ssrc, (fraction, lost));
                    }
                }
                Feedback::Nack { ssrc, missing } => self.repair(ssrc, &missing),
                Feedback::Keyframe { ssrc } => {
                    self.stats.plis_received += 1;
                    if let Some(sender) = self.senders.iter().find(|sender| sender.ssrc == ssrc) {
                        self.events.push_back(ClientEvent::KeyframeRequested { mid: Arc::clone(&sender.mid) });
                    }
                }
                Feedback::TransportWide { arrived, missing } => {
                    self.stats.twcc_reports += 1;
                    self.stats.twcc_arrived += arrived;
                    self.stats.twcc_missing += missing;
                }
                Feedback::Limit { bits } => {
                    self.stats.limits += 1;
                    self.events.push_back(ClientEvent::Limited { bits });
                }
            }
        }
    }

    fn repair(&mut self, ssrc: u32, missing: &[u16]) {
        let Some(sender) = self.senders.iter_mut().find(|sender| sender.ssrc == ssrc) else { return };
        let Some(section) = self.sections.iter().find(|section| section.mid == sender.mid) else { return };
        for sequence in missing {
            self.stats.nacks_received += 1;
            if let Some(packet) = sender.repair(*sequence, &section.extensions, self.transport_sequence) {
                self.transport_sequence = self.transport_sequence.wrapping_add(1);
                self.path.send_rtp(&packet);
            }
        }
    }

    fn send_nacks(&mut self, now: Instant) {
        let own = self.senders.first().map_or(1, |sender| sender.ssrc);
        let mut again = false;
        for receiver in &mut self.receivers {
            let missing = receiver.poll_nacks(now);
            again |= receiver.is_missing();
            if !missing.is_empty() {
                self.stats.nacks_sent += u64::try_from(missing.len()).unwrap_or(0);
                self.path.send_rtcp(&feedback::write_nack(own, receiver.ssrc, &missing));
            }
        }
        if again {
            self.next_nack = Some(now + NACK_INTERVAL);
        }
    }

    /// One compound packet: a sender report for each of our streams, or an empty receiver report, with all report blocks.
    fn send_reports(&mut self, now: Instant) {
        let blocks: Vec<ReportBlock> =
            self.receivers.iter_mut().filter_map(|receiver| receiver.report(now)).take(31).collect();
        let mut compound = Vec::new();
        let ntp = self.ntp(now);
        let clocks = [(SectionKind::Audio, 48_000), (SectionKind::Video, 90_000)];
        for sender in self.senders.iter().filter(|sender| sender.packets > 0) {
            let clock = clocks.iter().find(|(kind, _)| *kind == sender.kind).map_or(90_000, |(_, clock)| *clock);
            let blocks = if compound.is_empty() { blocks.as_slice() } else { &[] };
            let counts = (sender.packets, sender.octets);
            compound.extend(feedback::write_sender_report(
                sender.ssrc,
                ntp,
                self.timestamp(now, clock),
                counts,
                blocks,
            ));
        }
        if compound.is_empty() {
            let own = self.senders.first().map_or(1, |sender| sender.ssrc);
            compound = feedback::write_receiver_report(own, &blocks);
        }
        self.path.send_rtcp(&compound);
    }

    /// RTP time of `now` at this clock rate; wraps as RTP time does.
    fn timestamp(&self, now: Instant, clock: u64) -> u32 {
        let ticks = micros(now.saturating_duration_since(self.begin)) * clock / 1_000_000;
        u32::try_from((ticks + 10_000) & 0xffff_ffff).unwrap_or(0)
    }

    /// NTP time of `now`, 32.32 fixed point.
    fn ntp(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.begin);
        ((NTP_BEGIN + since.as_secs()) << 32) | ((u64::from(since.subsec_nanos()) << 32) / 1_000_000_000)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

fn text(rng: &mut StdRng, length: usize) -> String {
    (0..length).map(|_| char::from(rng.sample(rand::distr::Alphanumeric))).collect()
}

#[cfg(test)]
mod tests;
