//! One connection of a Chime client as a pure state machine: frames, notices of the Room and time come in; frames and what is asked of
//! the Room go out.

mod see;
mod sound;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use wire::control::{Assignment, MAX_ASSIGNMENTS, MAX_SDP_BYTES, Rights};
use wire::{ParticipantId, Redacted};

use super::frames::{
    self, AudioStatus, DataMessage, DataMessages, Frame, FrameType, JoinAck, NetworkAdaption, PingPong, PingType,
    StreamAllocation, SubscribeAck, TrackMapping, TurnCredentials,
};
use super::offer;
use crate::live::face::{Announced, Answered, Ask, Draft, Gallery, Notice, Post, Presence, Subscribe};
use crate::live::roster::Moment;
use crate::live::streams::MAX_ENCODINGS;
use crate::problem::{Code, Problem};
use crate::ws::message::{EndReason, IceServer, RequestId, ServerMessage};

/// How long a client may take from opening to JOIN.
const JOIN_WITHIN: Duration = Duration::from_secs(15);

/// How long a client that was told the end may take to say LEAVE.
const LEAVE_WITHIN: Duration = Duration::from_secs(3);

/// How often clients are told what the streams take.
const BITRATES_EVERY: Duration = Duration::from_secs(4);

/// How many videos a client is told to ask for at most.
const MAX_VIDEOS: u32 = 25;

/// Offers that wait for their answers. A client sends the next one after the answer to the last.
const MAX_OFFERS: usize = 4;

/// What the client's own rules allow of a data message; and how many of them one frame may bring.
const MAX_TOPIC_BYTES: usize = 36;
const MAX_DATA_BYTES: usize = 2048;
const MAX_MESSAGES: usize = 64;

/// The metric that holds the round trip to the relay or to us, in milliseconds.
const STUN_RTT_MS: i32 = 7;

/// The longest round trip that is believed.
const MAX_RTT_MS: f64 = 1e6;

/// Close codes. Before INDEX a client takes 4410 for the end of the meeting and 45xx for something to be tried again; anything else
/// ends its session.
mod close {
    pub(super) const NORMAL: u16 = 1000;
    pub(super) const NOT_ALLOWED: u16 = 4403;
    pub(super) const ENDED: u16 = 4410;
    pub(super) const TRY_AGAIN: u16 = 4500;
}

/// Statuses inside frames.
mod status {
    pub(super) const VIEW_ONLY: u32 = 206;
    pub(super) const ELSEWHERE: u32 = 301;
    pub(super) const BAD_REQUEST: u32 = 400;
    pub(super) const NOT_ALLOWED: u32 = 403;
    pub(super) const FULL: u32 = 409;
    pub(super) const ENDED: u32 = 410;
    pub(super) const REMOVED: u32 = 411;
    pub(super) const FAILED: u32 = 500;
}

/// Whose connection it is.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    pub(crate) who: ParticipantId,
    pub(crate) rights: Rights,
    /// That of what the person shares.
    pub(crate) is_share: bool,
}

/// Why a connection is not let in; said inside the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// The token is nobody's.
    Unknown,
    /// The meeting is over.
    Ended,
    /// It may be tried again.
    Failed,
}

/// The relay that a client is to use.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) server: IceServer,
    /// How long the credentials hold.
    pub(crate) ttl: Duration,
}

/// What is to be done.
#[derive(Debug)]
pub(crate) enum Act {
    /// Send this.
    Send(Box<Frame>),
    /// Take a seat in the Room for this client.
    Join(u64),
    /// Ask the Room.
    Ask(Ask),
    /// Close the socket.
    Close(u16),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Waits for JOIN.
    Opening,
    /// The Room was asked for a seat.
    Joining,
    /// Has a seat and waits for what there is to see.
    Joined,
    /// INDEX was sent: offers may come.
    Indexed,
    /// The end was told.
    Ending,
    /// Closed.
    Closed,
}

/// What a video line should carry, as the client wants it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Want {
    mid: String,
    stream: u32,
    group: u32,
    priority: Option<u32>,
    target_kbits: Option<u32>,
}

/// An offer that waits for its answer.
#[derive(Debug)]
struct Offered {
    id: u64,
    duplex: Option<i32>,
    wants: Vec<Want>,
    labels: Vec<Option<String>>,
    is_view_only: bool,
}

/// One connection.
#[derive(Debug)]
pub(crate) struct Session {
    own: Result<Own, Denied>,
    stage: Stage,
    /// When the present stage ends by itself.
    deadline: Option<Duration>,
    acts: VecDeque<Act>,
    /// The server chooses the layers.
    is_delegating: bool,
    next_offer: u64,
    offered: VecDeque<Offered>,
    is_subscribed: bool,
    is_sending: bool,
    is_muted: bool,
    wants: Vec<Want>,
    asked: Vec<Assignment>,
    /// The answer may be of another connection than the last one, on which nothing was asked yet.
    is_new: bool,
    paused: BTreeSet<u32>,
    gallery: Arc<Gallery>,
    index: Option<frames::Index>,
    presence: Option<Arc<Presence>>,
    sound: sound::Sound,
    rates: Arc<[(u32, u32)]>,
    way_kbits: Option<u32>,
    bitrates_at: Option<Duration>,
    posts: Vec<Post>,
}

impl Session {
    /// A socket opened.
    pub(crate) fn new(now: Moment, own: Result<Own, Denied>) -> Self {
        Self {
            own,
            stage: Stage::Opening,
            deadline: Some(now.steady + JOIN_WITHIN),
            acts: VecDeque::new(),
            is_delegating: false,
            next_offer: 1,
            offered: VecDeque::new(),
            is_subscribed: false,
            is_sending: false,
            is_muted: false,
            wants: Vec::new(),
            asked: Vec::new(),
            is_new: false,
            paused: BTreeSet::new(),
            gallery: Arc::default(),
            index: None,
            presence: None,
            sound: sound::Sound::default(),
            rates: Arc::from([]),
            way_kbits: None,
            bitrates_at: None,
            posts: Vec::new(),
        }
    }

    /// What is to be done next.
    pub(crate) fn poll_act(&mut self) -> Option<Act> {
        self.acts.pop_front()
    }

    /// When `handle_time` must run.
    pub(crate) fn next_deadline(&self) -> Option<Duration> {
        [self.deadline, self.bitrates_at].into_iter().flatten().min()
    }

    /// Time passed.
    pub(crate) fn handle_time(&mut self, now: Moment) {
        if self.deadline.is_some_and(|at| now.steady >= at) {
            let code = if self.stage == Stage::Ending { close::NORMAL } else { close::TRY_AGAIN };
            self.close(code);
        }
        if self.bitrates_at.is_some_and(|at| now.steady >= at) {
            self.bitrates_at = Some(now.steady + BITRATES_EVERY);
            self.tell_bitrates(now);
        }
    }

    /// A frame came.
    pub(crate) fn handle_frame(&mut self, now: Moment, frame: Frame) {
        if self.stage == Stage::Closed {
            return;
        }
        match frame.kind() {
            Some(FrameType::PingPong) => self.handle_ping(now, frame.ping_pong),
            Some(FrameType::Join) if self.stage == Stage::Opening => self.join(now, &frame.join.unwrap_or_default()),
            Some(FrameType::Leave) => self.leave(now),
            Some(kind) if self.stage == Stage::Indexed => self.handle_inside(now, kind, frame),
            // Too early, too late, or nothing that we know.
            _ => {}
        }
    }

    /// The Room gave a seat, or did not. A client that is told of a relay uses no other way.
    pub(crate) fn handle_joined(&mut self, now: Moment, result: Result<Option<Turn>, Problem>) {
        if self.stage != Stage::Joining {
            return;
        }
        match result {
            Ok(turn) => {
                self.stage = Stage::Joined;
                self.deadline = Some(now.steady + JOIN_WITHIN);
                let adaption = NetworkAdaption::ProbingAndQuality;
                let ack = JoinAck {
                    turn_credentials: Some(to_credentials(turn)),
                    video_subscription_limit: Some(MAX_VIDEOS),
                    wants_compressed_sdp: Some(false),
                    // Absent means to the client that it chooses by itself.
                    default_server_side_network_adaption: self.is_delegating.then_some(adaption.into()),
                };
                self.send(Frame { joinack: Some(ack), ..frame(now, FrameType::JoinAck) });
            }
            Err(problem) => match problem.code {
                Code::VisitFinal => self.close(close::ENDED),
                Code::Forbidden => self.refuse(now, status::NOT_ALLOWED),
                _ if problem.members.iter().any(|(name, _)| *name == "isFull") => self.refuse(now, status::FULL),
                _ => self.close(close::TRY_AGAIN),
            },
        }
    }

    /// The Room tells something.
    pub(crate) fn handle_notice(&mut self, now: Moment, notice: Notice) {
        if matches!(self.stage, Stage::Opening | Stage::Ending | Stage::Closed) {
            return;
        }
        match notice {
            Notice::Said(message) => self.handle_said(now, *message),
            Notice::Answered(answered) => self.acknowledge(now, *answered),
            Notice::Present(presence) => {
                self.presence = Some(presence);
                self.tell_presence(now);
            }
            Notice::Pictures(gallery) => {
                self.gallery = gallery;
                if self.stage == Stage::Joined {
                    self.stage = Stage::Indexed;
                    self.deadline = None;
                }
                self.tell_index(now);
                self.watch();
            }
            Notice::Rates(rates) => self.rates = rates,
            Notice::Levels(levels) if self.is_subscribed => {
                if let Some(metadata) = self.sound.to_metadata(&levels) {
                    self.send(Frame { audio_metadata: Some(metadata), ..frame(now, FrameType::AudioMetadata) });
                }
            }
            Notice::Levels(_) => {}
            Notice::Way(kbits) => self.way_kbits = Some(kbits),
            Notice::Posts(posts) => {
                if self.is_subscribed {
                    self.tell_posts(now, &posts);
                } else if self.posts.len() + posts.len() <= 1024 {
                    self.posts.extend(posts.iter().cloned());
                }
            }
            Notice::Rights(rights) => {
                if let Ok(own) = &mut self.own {
                    own.rights = rights;
                }
                self.tell_index(now);
                self.watch();
            }
        }
    }

    /// The Room closes this line.
    pub(crate) fn handle_close(&mut self, now: Moment) {
        if self.stage == Stage::Ending {
            // The client leaves by itself, and then its socket closes.
            self.deadline.get_or_insert(now.steady + LEAVE_WITHIN);
        } else {
            self.close(close::TRY_AGAIN);
        }
    }

    fn handle_inside(&mut self, now: Moment, kind: FrameType, frame: Frame) {
        match kind {
            FrameType::Subscribe => self.subscribe(now, frame.sub.unwrap_or_default()),
            FrameType::Pause | FrameType::Resume => {
                let streams = frame.pause.unwrap_or_default().stream_ids;
                self.pause(kind == FrameType::Pause, &streams);
            }
            FrameType::RemoteVideoUpdate => self.update(frame.remote_video_update.unwrap_or_default()),
            FrameType::AudioControl => {
                if let Some(muted) = frame.audio_control.and_then(|control| control.muted) {
                    self.is_muted = muted;
                    self.ask(Ask::Mute(muted));
                }
            }
            FrameType::DataMessage => self.post(frame.data_message.unwrap_or_default()),
            FrameType::ClientMetric => {
                let metrics = frame.client_metric.unwrap_or_default().global_metrics;
                let rtt = metrics.iter().find(|metric| metric.r#type == Some(STUN_RTT_MS)).and_then(|m| m.value);
                if let Some(rtt) = rtt.filter(|rtt| (0.0..=MAX_RTT_MS).contains(rtt)) {
                    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded just above")]
                    let rtt_ms = rtt.round() as u32;
                    self.ask(Ask::Measured { rtt_ms });
                }
            }
            FrameType::PrimaryMeetingJoin => {
                // Replicas are not offered, and nothing pretends.
                let ack = Some(frames::Empty {});
                let kind = FrameType::PrimaryMeetingJoinAck;
                let error = Some(to_error(status::NOT_ALLOWED));
                self.send(Frame { error, primary_meeting_join_ack: ack, ..self::frame(now, kind) });
            }
            // Telemetry, and what only servers send.
            _ => {}
        }
    }

    fn handle_ping(&mut self, now: Moment, ping: Option<PingPong>) {
        let Some(ping) = ping.filter(|ping| ping.r#type == i32::from(PingType::Ping)) else { return };
        let pong = PingPong { r#type: PingType::Pong.into(), ping_id: ping.ping_id };
        self.send(Frame { ping_pong: Some(pong), ..frame(now, FrameType::PingPong) });
    }

    fn join(&mut self, now: Moment, join: &frames::Join) {
        let own = match &self.own {
            Ok(own) => own,
            Err(Denied::Unknown) => return self.refuse(now, status::NOT_ALLOWED),
            Err(Denied::Ended) => return self.close(close::ENDED),
            Err(Denied::Failed) => return self.close(close::TRY_AGAIN),
        };
        if own.is_share && !own.rights.sends_content {
            return self.refuse(now, status::NOT_ALLOWED);
        }
        let adaption = i32::from(NetworkAdaption::ProbingAndQuality);
        self.is_delegating = join.server_side_network_adaption == Some(adaption)
            || join.supported_server_side_network_adaptions.contains(&adaption);
        self.stage = Stage::Joining;
        self.deadline = None;
        self.acts.push_back(Act::Join(join.audio_session_id.unwrap_or_default()));
    }

    fn leave(&mut self, now: Moment) {
        self.send(Frame { leave_ack: Some(frames::Empty {}), ..frame(now, FrameType::LeaveAck) });
        if matches!(self.stage, Stage::Joined | Stage::Indexed) {
            self.ask(Ask::Leave);
        }
        self.close(close::NORMAL);
    }

    fn subscribe(&mut self, now: Moment, sub: frames::Subscribe) {
        let sdp = sub.sdp_offer.unwrap_or_default();
        if sdp.is_empty() || sdp.len() > MAX_SDP_BYTES || self.offered.len() >= MAX_OFFERS {
            let error = Some(to_error(status::BAD_REQUEST));
            return self.send(Frame { error, ..frame(now, FrameType::SubscribeAck) });
        }
        let videos: Vec<_> = sub
            .send_streams
            .into_iter()
            .filter(|stream| stream.media_type == Some(frames::MediaType::Video.into()))
            .take(MAX_ENCODINGS)
            .collect();
        let is_view_only = !videos.is_empty() && !self.may_send();
        let announced = videos.iter().map(|stream| Announced {
            most_kbits: stream.max_bitrate_kbps.unwrap_or_default(),
            framerate: stream.framerate.unwrap_or_default(),
        });
        let sends: Vec<_> = announced.filter(|_| !is_view_only).collect();
        let labels = videos.into_iter().map(|stream| stream.track_label).collect();
        let mids = offer::video_mids(&sdp).into_iter();
        let mut wants: Vec<_> = mids
            .zip(sub.receive_stream_ids)
            .filter_map(|(mid, stream)| Some(Want { mid: mid?.to_owned(), stream, ..Want::default() }))
            .filter(|want| want.stream > 0)
            .take(MAX_ASSIGNMENTS)
            .collect();
        for config in sub.video_subscription_configuration {
            if let Some(want) = wants.iter_mut().find(|want| want.mid == config.mid) {
                (want.priority, want.target_kbits) = (config.priority, config.target_bitrate_kbps);
            }
        }
        let id = self.next_offer;
        self.next_offer += 1;
        self.is_muted = sub.audio_muted.unwrap_or(self.is_muted);
        self.is_sending = !sends.is_empty();
        self.offered.push_back(Offered { id, duplex: sub.duplex, wants, labels, is_view_only });
        let is_muted = self.is_muted;
        self.ask(Ask::Subscribe(Box::new(Subscribe { id, sdp: Redacted::new(sdp), sends, is_muted })));
    }

    fn acknowledge(&mut self, now: Moment, answered: Answered) {
        let Answered { id, sdp, sending, given } = answered;
        let Some(offered) = self.take_offered(id) else { return };
        let ssrc = |mid: &str| sending.iter().find(|line| line.mid == mid).map(|line| line.ssrc);
        let tracks = offered.wants.iter().filter_map(|want| {
            let label = format!("v_{}", want.mid);
            Some(TrackMapping { stream_id: Some(want.stream), ssrc: Some(ssrc(&want.mid)?), track_label: Some(label) })
        });
        let allocations = offered.labels.into_iter().zip(given).map(|(track_label, given)| StreamAllocation {
            track_label,
            stream_id: Some(given.stream),
            group_id: Some(given.group),
        });
        let ack = SubscribeAck {
            duplex: offered.duplex,
            allocations: allocations.collect(),
            sdp_answer: Some(sdp.into_revealed()),
            tracks: tracks.collect(),
            compressed_sdp_answer: None,
        };
        let error = offered.is_view_only.then(|| to_error(status::VIEW_ONLY));
        self.wants = offered.wants;
        self.send(Frame { error, suback: Some(ack), ..frame(now, FrameType::SubscribeAck) });
        if !self.is_subscribed {
            self.is_subscribed = true;
            // The first roster must name everybody, the client itself too: the Room tells it right after this answer.
            self.presence = None;
            self.bitrates_at = Some(now.steady + BITRATES_EVERY);
        }
        self.tell_presence(now);
        let posts = std::mem::take(&mut self.posts);
        self.tell_posts(now, &posts);
        self.is_new = true;
        self.watch();
    }

    fn take_offered(&mut self, id: u64) -> Option<Offered> {
        // The Room takes one thing at a time, so answers come in the order of offers.
        while let Some(offered) = self.offered.pop_front() {
            if offered.id == id {
                return Some(offered);
            }
        }
        None
    }

    fn handle_said(&mut self, now: Moment, message: ServerMessage) {
        match message {
            ServerMessage::Error { id: Some(RequestId::Number(id)), .. } if self.take_offered(id).is_some() => {
                // The client tries again from the beginning, with a new connection.
                let error = Some(to_error(status::FAILED));
                self.send(Frame { error, ..frame(now, FrameType::SubscribeAck) });
            }
            ServerMessage::Quality { participant_id, bars, .. } => self.sound.note_bars(participant_id, bars),
            ServerMessage::Paused { mid, paused } => self.tell_paused(now, &mid, paused),
            ServerMessage::Ended { reason } => self.end(now, reason),
            _ => {}
        }
    }

    fn end(&mut self, now: Moment, reason: EndReason) {
        let status = match reason {
            EndReason::Completed => status::ENDED,
            EndReason::Denied | EndReason::Removed | EndReason::Revoked | EndReason::Left | EndReason::TimedOut => {
                status::REMOVED
            }
            EndReason::Superseded => status::ELSEWHERE,
            EndReason::Failed => return self.close(close::TRY_AGAIN),
        };
        if self.stage != Stage::Indexed {
            // A client that waits for INDEX understands close codes alone.
            let is_over = reason == EndReason::Completed;
            return self.close(if is_over { close::ENDED } else { close::NOT_ALLOWED });
        }
        let body = AudioStatus { audio_status: Some(status) };
        self.send(Frame { audio_status: Some(body), ..frame(now, FrameType::AudioStatus) });
        self.stage = Stage::Ending;
        self.deadline = Some(now.steady + LEAVE_WITHIN);
        self.bitrates_at = None;
    }

    fn post(&mut self, messages: DataMessages) {
        let drafts = messages.messages.into_iter().take(MAX_MESSAGES).filter_map(|message| {
            let topic = message.topic.filter(|topic| is_topic(topic))?;
            let data = message.data.filter(|data| data.len() <= MAX_DATA_BYTES)?;
            let lifetime = Duration::from_millis(message.lifetime_ms.unwrap_or_default().into());
            Some(Draft { topic, body: Redacted::new(Bytes::from(data)), lifetime })
        });
        let drafts: Vec<_> = drafts.collect();
        if !drafts.is_empty() {
            self.ask(Ask::Post(drafts));
        }
    }

    fn tell_posts(&mut self, now: Moment, posts: &[Post]) {
        // A frame stays well under what any client takes at once.
        for posts in posts.chunks(MAX_MESSAGES / 4) {
            let messages = posts.iter().map(|post| DataMessage {
                topic: Some(post.draft.topic.clone()),
                data: Some(post.draft.body.reveal().to_vec()),
                lifetime_ms: Some(u32::try_from(post.draft.lifetime.as_millis()).unwrap_or(u32::MAX)),
                sender_attendee_id: Some(post.from.id.to_string()),
                // Zero gives the message back: too many.
                ingest_time_ns: Some(
                    post.at.map_or(0, |at| i64::try_from(at.unix_timestamp_nanos()).unwrap_or(i64::MAX)),
                ),
                sender_external_user_id: Some(post.from.name.reveal().to_string()),
            });
            let body = DataMessages { messages: messages.collect() };
            self.send(Frame { data_message: Some(body), ..frame(now, FrameType::DataMessage) });
        }
    }

    fn refuse(&mut self, now: Moment, status: u32) {
        let error = Some(to_error(status));
        let joinack = Some(JoinAck::default());
        self.send(Frame { error, joinack, ..frame(now, FrameType::JoinAck) });
        // The client takes its leave, as after any end.
        self.stage = Stage::Ending;
        self.deadline = Some(now.steady + LEAVE_WITHIN);
    }

    fn close(&mut self, code: u16) {
        if self.stage != Stage::Closed {
            self.stage = Stage::Closed;
            (self.deadline, self.bitrates_at) = (None, None);
            self.acts.push_back(Act::Close(code));
        }
    }

    fn send(&mut self, frame: Frame) {
        self.acts.push_back(Act::Send(Box::new(frame)));
    }

    fn ask(&mut self, ask: Ask) {
        self.acts.push_back(Act::Ask(ask));
    }
}

fn frame(now: Moment, kind: FrameType) -> Frame {
    let millis = now.wall.unix_timestamp_nanos() / 1_000_000;
    Frame::new(kind, u64::try_from(millis).unwrap_or_default())
}

/// Without addresses no relay is forced upon the client, and it does not wait for every candidate, as it would without credentials.
fn to_credentials(turn: Option<Turn>) -> TurnCredentials {
    let Some(Turn { server, ttl }) = turn else {
        let nothing = Some(String::new());
        return TurnCredentials { username: nothing.clone(), password: nothing, ttl: Some(0), uris: Vec::new() };
    };
    TurnCredentials {
        username: Some(server.username.into_revealed()),
        password: Some(server.credential.into_revealed()),
        ttl: Some(u32::try_from(ttl.as_secs()).unwrap_or(u32::MAX)),
        uris: server.urls,
    }
}

fn to_error(status: u32) -> frames::Error {
    frames::Error { status: Some(status), description: None }
}

/// What the client itself takes for a topic.
fn is_topic(topic: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    (1..=MAX_TOPIC_BYTES).contains(&topic.len()) && topic.bytes().all(is_letter)
}
