//! One participant from the WebSocket to leaving.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::UdpSocket;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tokio_tungstenite::tungstenite::Message;
use wire::Redacted;

use super::api::Socket;
use super::media::Media;
use super::{Milestone, Phase, RunError, Shared, now};
use crate::client::{Client, ClientConfig, ClientEvent, ClientStats};

/// Keeps the session of a silent socket.
const PING: Duration = Duration::from_secs(15);
/// Datagrams read before other work gets a turn.
const BATCH: usize = 64;

/// A redeemed link.
pub(super) struct Seat {
    pub(super) visit: String,
    pub(super) cookie: Redacted<String>,
    /// When its redemption began.
    pub(super) begin: Instant,
}

/// What one participant saw while it was measured.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Attendance {
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) lost: u64,
    pub(super) recovered: u64,
    /// Datagrams that our own socket did not take.
    pub(super) unsent: u64,
}

impl Attendance {
    pub(super) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.lost += other.lost;
        self.recovered += other.recovered;
        self.unsent += other.unsent;
    }
}

struct Participant<'a> {
    shared: &'a Shared,
    seed: u64,
    begin: Instant,
    socket: Socket,
    client: Client,
    udp: Option<UdpSocket>,
    media: Option<Media>,
    clinician: bool,
    inside: bool,
    /// When the patient was let in.
    admitted: Option<Instant>,
    /// Whom we have let in: the waiting list may come again before it is shorter.
    let_in: Vec<String>,
    flowing: bool,
    measuring: bool,
    unsent: u64,
    next_id: u64,
    next_ping: Instant,
}

/// Stays until the run says to leave.
pub(super) async fn attend(seat: Seat, seed: u64, shared: &Shared) -> Result<Attendance, RunError> {
    let socket = shared.api.open(&seat.cookie).await?;
    let config = ClientConfig { seed, stamp_from: Some(shared.origin), ..ClientConfig::default() };
    let mut participant = Participant {
        shared,
        seed,
        begin: seat.begin,
        socket,
        client: Client::new(config, now())?,
        udp: None,
        media: None,
        clinician: false,
        inside: false,
        admitted: None,
        let_in: Vec::new(),
        flowing: false,
        measuring: false,
        unsent: 0,
        next_id: 1,
        next_ping: now() + PING,
    };
    participant.say(json!({"type": "hello", "protocol": 1})).await?;
    let attendance = participant.stay(shared.phase.clone()).await?;
    if participant.clinician {
        // A visit that cannot be ended here ends by itself later.
        let _ = shared.api.end(&seat.visit).await;
    }
    Ok(attendance)
}

impl Participant<'_> {
    async fn stay(&mut self, mut phase: watch::Receiver<Phase>) -> Result<Attendance, RunError> {
        let mut from = ClientStats::default();
        let mut buffer = vec![0; 2048];
        loop {
            self.work()?;
            let next = [self.client.poll_timeout(), self.media.as_ref().map(Media::next), Some(self.next_ping)];
            let next = next.into_iter().flatten().min().unwrap_or(self.next_ping);
            tokio::select! {
                () = readable(self.udp.as_ref()) => self.receive(&mut buffer),
                () = sleep_until(next.into()) => {}
                message = self.socket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.hear(text.as_str()).await?,
                    Some(Ok(Message::Close(_)) | Err(_)) | None => {
                        return Err(RunError::Connection("the WebSocket closed".to_owned()));
                    }
                    Some(Ok(_)) => {}
                },
                changed = phase.changed() => {
                    let current = *phase.borrow_and_update();
                    if current == Phase::Measuring && !self.measuring {
                        self.measuring = true;
                        from = self.client.stats();
                    }
                    if current == Phase::Leaving || changed.is_err() {
                        return Ok(self.leave(&from).await);
                    }
                }
            }
            if now() >= self.next_ping {
                self.next_ping = now() + PING;
                let id = self.id();
                self.say(json!({"type": "ping", "id": id})).await?;
            }
        }
    }

    /// Timers, media, events, datagrams out.
    fn work(&mut self) -> Result<(), RunError> {
        let at = now();
        self.client.handle_timeout(at);
        if self.client.is_connected()
            && let Some(media) = &mut self.media
        {
            media.send(at, &mut self.client);
        }
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Connected => {
                    self.note(Milestone::Joined(at - self.begin));
                    if self.inside {
                        self.media = Some(Media::new(at, self.seed));
                    }
                }
                ClientEvent::Rtp(packet) => {
                    if !self.flowing {
                        self.flowing = true;
                        self.note(Milestone::Flowing(at - self.admitted.unwrap_or(at)));
                    }
                    if let Some(sent) = packet.sent_micros.filter(|_| self.measuring && !packet.recovered) {
                        let micros = u64::try_from((at - self.shared.origin).as_micros()).unwrap_or(u64::MAX);
                        let mut delays = self.shared.delays.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                        delays.saturating_record(micros.saturating_sub(sent).max(1));
                    }
                }
                ClientEvent::KeyframeRequested { .. } => {
                    if let Some(media) = &mut self.media {
                        media.request_keyframe();
                    }
                }
                // A load generator sends what it was told to send.
                ClientEvent::Limited { .. } => {}
                ClientEvent::Failed => return Err(RunError::Protocol("the media connection ended")),
            }
        }
        self.flush();
        Ok(())
    }

    fn flush(&mut self) {
        while let Some((_, bytes)) = self.client.poll_transmit() {
            if self.udp.as_ref().is_none_or(|udp| udp.try_send(&bytes).is_err()) {
                self.unsent += 1;
            }
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) {
        let Some(udp) = &self.udp else { return };
        let from = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        for _ in 0..BATCH {
            let Ok(length) = udp.try_recv(buffer) else { return };
            self.client.handle_datagram(now(), from, buffer.get(..length).unwrap_or(&[]));
        }
    }

    async fn hear(&mut self, text: &str) -> Result<(), RunError> {
        let message: Value = serde_json::from_str(text).map_err(|_| RunError::Protocol("not JSON"))?;
        let field = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        match field("/type") {
            "welcome" => {
                self.clinician = field("/you/role").eq_ignore_ascii_case("clinician");
                self.inside = field("/you/door") == "admitted";
                let (id, sdp) = (self.id(), self.client.offer());
                self.say(json!({"type": "offer", "id": id, "sdp": sdp})).await?;
            }
            "answer" => {
                self.client.set_answer(field("/sdp"), now())?;
                if self.udp.is_none() {
                    self.udp = self.open_udp().await?;
                }
            }
            "waiting_list" if self.clinician => {
                let entries = message.get("entries").and_then(Value::as_array).cloned().unwrap_or_default();
                for entry in entries {
                    let Some(person) = entry.get("participantId").and_then(Value::as_str) else { continue };
                    if self.let_in.iter().any(|known| known == person) {
                        continue;
                    }
                    self.let_in.push(person.to_owned());
                    let id = self.id();
                    self.admitted = Some(now());
                    self.say(json!({"type": "admit", "id": id, "participantId": person})).await?;
                }
            }
            "admitted" => {
                self.inside = true;
                self.admitted = Some(now());
                if self.client.is_connected() && self.media.is_none() {
                    self.media = Some(Media::new(now(), self.seed));
                }
            }
            "slots_wanted" => {
                let count = |name: &str| {
                    message.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok()).unwrap_or(1)
                };
                self.client.set_slots(count("audio"), count("video"));
                let (id, sdp) = (self.id(), self.client.offer());
                self.say(json!({"type": "offer", "id": id, "sdp": sdp})).await?;
            }
            "error" => {
                let code = field("/code").to_owned();
                return Err(RunError::Refused { what: "a message", status: 0, code });
            }
            "ended" => return Err(RunError::Protocol("the session ended")),
            _ => {}
        }
        Ok(())
    }

    /// A socket to the candidate of the answer, which the client names in its first datagram.
    async fn open_udp(&mut self) -> Result<Option<UdpSocket>, RunError> {
        let Some((to, first)) = self.client.poll_transmit() else { return Ok(None) };
        let any: SocketAddr = if to.is_ipv4() {
            (Ipv4Addr::UNSPECIFIED, 0).into()
        } else {
            "[::]:0".parse().map_err(|_| RunError::Url)?
        };
        let udp = UdpSocket::bind(any).await?;
        udp.connect(to).await?;
        udp.send(&first).await?;
        Ok(Some(udp))
    }

    async fn leave(&mut self, from: &ClientStats) -> Attendance {
        let to = self.client.stats();
        self.client.close(now());
        self.flush();
        // The run is over whether or not the goodbye arrives.
        let _ = self.say(json!({"type": "leave"})).await;
        let _ = self.socket.close(None).await;
        Attendance {
            sent: to.rtp_sent - from.rtp_sent,
            received: to.rtp_received - from.rtp_received,
            lost: to.lost.saturating_sub(from.lost),
            recovered: to.recovered - from.recovered,
            unsent: self.unsent,
        }
    }

    async fn say(&mut self, message: Value) -> Result<(), RunError> {
        let sent = self.socket.send(Message::text(message.to_string())).await;
        sent.map_err(|error| RunError::Connection(error.to_string()))
    }

    const fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    fn note(&self, milestone: Milestone) {
        // The channel holds all milestones there can be.
        let _ = self.shared.milestones.try_send(milestone);
    }
}

async fn readable(udp: Option<&UdpSocket>) {
    match udp {
        // An error shows in the next read.
        Some(udp) => drop(udp.readable().await),
        None => std::future::pending().await,
    }
}
