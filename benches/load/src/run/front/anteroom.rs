//! One participant of a real visit, from the WebSocket to leaving.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_tungstenite::tungstenite::Message;
use wire::Redacted;

use super::api::{Api, Pass, Socket};
use super::{Front, PATIENCE, Shape, Visit, admit, client, close, over, start};
use crate::run::fleet::Fleet;
use crate::run::leg::{Leg, Notice};
use crate::run::{RunError, now};

/// Keeps the session of a silent socket.
const PING: Duration = Duration::from_secs(15);

/// A planned visit and its links.
pub(in crate::run) struct Plan {
    visit: String,
    /// The clinician's and the patient's.
    links: [Redacted<String>; 2],
}

pub(super) async fn plan(api: &Api, number: usize) -> Result<Plan, RunError> {
    let (visit, links) = api.plan(number).await?;
    Ok(Plan { visit, links: links.map(Redacted::new) })
}

pub(super) async fn join(
    front: &Arc<Front>,
    plan: Plan,
    shape: &Shape,
    fleet: &Arc<Fleet>,
    visit: &mut Visit,
    left: &watch::Receiver<bool>,
) -> Result<(), RunError> {
    if shape.people != 2 {
        return Err(RunError::Scenario("a visit has two seats: run groups against `bench-node` (line://)"));
    }
    let mut readies = Vec::new();
    for (seat, link) in plan.links.into_iter().enumerate() {
        let (client, mix) = client(shape, fleet, seat, false)?;
        let (leg, heard) = Leg::new(client, Some(mix), (&visit.board, seat));
        visit.legs.push(leg.clone());
        let (ready, is_ready) = oneshot::channel();
        readies.push(is_ready);
        let (front, fleet, left, shape) = (Arc::clone(front), Arc::clone(fleet), left.clone(), shape.clone());
        let id = plan.visit.clone();
        visit.tasks.spawn(async move {
            let Front::Anteroom(api) = &*front else { return };
            let mut ready = Some(ready);
            if let Err(error) = attend(api, &link, &leg, heard, &fleet, &shape, left, &mut ready).await {
                close(&leg, &fleet);
                if let Some(ready) = ready.take() {
                    // The run may have given up.
                    let _ = ready.send(Err(error));
                }
            }
            if seat == 0 {
                // A visit that cannot be ended here ends by itself later.
                let _ = api.end(&id).await;
            }
        });
    }
    for is_ready in readies {
        let ready = tokio::time::timeout(PATIENCE, is_ready).await;
        ready
            .map_err(|_| RunError::Protocol("nobody was let in in time"))?
            .map_err(|_| RunError::Protocol("a participant panicked"))??;
    }
    Ok(())
}

struct Participant<'a> {
    fleet: &'a Fleet,
    leg: &'a Leg,
    shape: &'a Shape,
    socket: Socket,
    clinician: bool,
    inside: bool,
    connected: bool,
    started: bool,
    /// Whom we have let in: the waiting list may come again before it is shorter.
    let_in: Vec<String>,
    /// How far the clinician is with the recording.
    consent: Consent,
    recording: bool,
    next_id: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Consent {
    NotAsked,
    Asked,
    Started,
}

#[expect(clippy::too_many_arguments, reason = "called once")]
async fn attend(
    api: &Api,
    link: &Redacted<String>,
    leg: &Leg,
    mut heard: mpsc::Receiver<Notice>,
    fleet: &Fleet,
    shape: &Shape,
    mut left: watch::Receiver<bool>,
    ready: &mut Option<oneshot::Sender<Result<(), RunError>>>,
) -> Result<(), RunError> {
    let pass = api.claim(link.reveal()).await?;
    let socket = api.open(&pass).await?;
    let mut participant = Participant {
        fleet,
        leg,
        shape,
        socket,
        clinician: false,
        inside: false,
        connected: false,
        started: false,
        let_in: Vec::new(),
        consent: Consent::NotAsked,
        recording: false,
        next_id: 1,
    };
    // Nothing comes before `hello`.
    let mut ping = tokio::time::interval_at(tokio::time::Instant::now() + PING, PING);
    loop {
        tokio::select! {
            message = participant.socket.next() => match message {
                Some(Ok(Message::Text(text))) => participant.hear(text.as_str(), &pass).await?,
                Some(Ok(Message::Close(_)) | Err(_)) | None => {
                    return Err(RunError::Connection("the WebSocket closed".to_owned()));
                }
                Some(Ok(_)) => {}
            },
            notice = heard.recv() => match notice {
                Some(Notice::Connected) => participant.connected = true,
                Some(Notice::Flowing) => {}
                Some(Notice::Failed) | None => return Err(RunError::Protocol("the media connection ended")),
            },
            _ = ping.tick() => {
                let id = participant.id();
                participant.say(json!({"type": "ping", "id": id})).await?;
            }
            () = over(&mut left) => {
                close(leg, fleet);
                // The run is over whether or not the goodbye arrives.
                let _ = participant.say(json!({"type": "leave"})).await;
                let _ = participant.socket.close(None).await;
                return Ok(());
            }
        }
        let is_ready = participant.inside && participant.connected && (participant.recording || !shape.record);
        if let Some(ready) = ready.take_if(|_| is_ready) {
            // The run may have given up.
            let _ = ready.send(Ok(()));
        }
    }
}

impl Participant<'_> {
    async fn hear(&mut self, text: &str, pass: &Pass) -> Result<(), RunError> {
        let message: Value = serde_json::from_str(text).map_err(|_| RunError::Protocol("not JSON"))?;
        let field = |pointer: &str| message.pointer(pointer).and_then(Value::as_str).unwrap_or("");
        match field("/type") {
            "challenge" => self.say(pass.hello(field("/nonce"))).await?,
            "welcome" => {
                self.clinician = field("/you/role").eq_ignore_ascii_case("clinician");
                if field("/you/door") == "admitted" {
                    self.enter();
                }
                self.offer().await?;
            }
            "answer" => {
                super::pass(&self.shape.gate).await;
                start(self.leg, field("/sdp"), self.fleet, !self.started)?;
                self.started = true;
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
                    self.say(json!({"type": "admit", "id": id, "participantId": person})).await?;
                }
            }
            "admitted" => self.enter(),
            "slots_wanted" => {
                let count = |name: &str| {
                    message.get(name).and_then(Value::as_u64).and_then(|count| usize::try_from(count).ok()).unwrap_or(1)
                };
                self.leg.state().client.set_slots(count("audio"), count("video"));
                self.offer().await?;
            }
            "roster" if self.shape.record && self.clinician => self.ask_to_record(&message).await?,
            "consent_request" => {
                let (id, version) = (self.id(), message.get("version").cloned().unwrap_or(Value::Null));
                self.say(json!({"type": "consent", "id": id, "version": version, "decision": "SIGN"})).await?;
            }
            "recording" => self.recording |= field("/state") == "on",
            "error" => {
                let code = field("/code").to_owned();
                return Err(RunError::Refused { what: "a message", status: 0, code });
            }
            "ended" => return Err(RunError::Protocol("the session ended")),
            _ => {}
        }
        Ok(())
    }

    /// Asks for consent once both are inside, and records once both agreed.
    async fn ask_to_record(&mut self, roster: &Value) -> Result<(), RunError> {
        let people = roster.get("participants").and_then(Value::as_array).cloned().unwrap_or_default();
        let signed = |person: &Value| person.get("consent").and_then(Value::as_str) == Some("SIGNED");
        if people.len() < 2 || self.consent == Consent::Started {
            return Ok(());
        }
        let id = self.id();
        if people.iter().all(signed) {
            self.consent = Consent::Started;
            self.say(json!({"type": "recording_start", "id": id})).await
        } else if self.consent == Consent::NotAsked {
            self.consent = Consent::Asked;
            self.say(json!({"type": "request_consent", "id": id})).await
        } else {
            Ok(())
        }
    }

    fn enter(&mut self) {
        self.inside = true;
        admit(self.leg, self.fleet);
    }

    async fn offer(&mut self) -> Result<(), RunError> {
        let id = self.id();
        let sdp = {
            let mut state = self.leg.state();
            state.marks.offered.get_or_insert_with(now);
            state.client.offer()
        };
        self.say(json!({"type": "offer", "id": id, "sdp": sdp})).await
    }

    async fn say(&mut self, message: Value) -> Result<(), RunError> {
        let sent = self.socket.send(Message::text(message.to_string())).await;
        sent.map_err(|error| RunError::Connection(error.to_string()))
    }

    const fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}
