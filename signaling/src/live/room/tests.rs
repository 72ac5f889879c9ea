//! Rooms on virtual time, with a scripted media node and database.

mod drain;
mod media;
mod order;
mod relay;
mod told_outside;
mod translated;

use std::collections::{BTreeMap, BTreeSet};
use std::future::{Future, ready};
use std::sync::{Arc, Mutex};

use proptest::prelude::*;
use serde_json::Value;
use time::OffsetDateTime;
use tokio::sync::mpsc;
use wire::control::{Event, Lost, Reply, SlotTrack, Source, TapEnd};
use wire::{PeerId, RecordingId, TrackId, VisitId};

use super::*;
use crate::ice::Relay;
use crate::ids::OrgId;
use crate::live::notable::Happening;
use crate::ws::message::{Practice, RoleView};

/// What a Room did to the world, in order.
#[derive(Clone, Debug)]
enum Act {
    Sfu(Command),
    Store(Change),
}

#[derive(Default)]
struct World {
    acts: Vec<Act>,
    /// Substrings of the debug form of commands and changes that fail.
    broken: Vec<&'static str>,
    consents: BTreeMap<ParticipantId, ConsentStatus>,
    samples: Vec<Sample>,
    happenings: Vec<Happening>,
}

#[derive(Clone, Default)]
struct Fake(Arc<Mutex<World>>, Option<Arc<Relay>>);

impl Fake {
    fn world(&self) -> std::sync::MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    fn names(&self) -> Vec<String> {
        let name = |text: String| text.split([' ', '{']).next().unwrap_or_default().to_owned();
        let acts = std::mem::take(&mut self.world().acts);
        acts.iter()
            .map(|act| match act {
                Act::Sfu(command) => format!("sfu {}", name(format!("{command:?}"))),
                Act::Store(change) => format!("db {}", name(format!("{change:?}"))),
            })
            .collect()
    }

    fn breaks(&self, what: &'static str) {
        self.world().broken.push(what);
    }

    fn heals(&self) {
        self.world().broken.clear();
    }
}

impl Outside for Fake {
    fn command(&self, command: Command) -> impl Future<Output = Result<Reply, Refusal>> + Send {
        let mut world = self.world();
        let text = format!("{command:?}");
        world.acts.push(Act::Sfu(command.clone()));
        let reply = if world.broken.iter().any(|b| text.starts_with(b)) {
            Err(Refusal::new(Reason::Unavailable, "broken"))
        } else {
            Ok(match command {
                Command::Offer { .. } => {
                    Reply::Answer { sdp: Redacted::new("v=0 answer".to_owned()), sending: Vec::new() }
                }
                Command::StartTap { .. } => Reply::Tap { token: Redacted::new("tap".to_owned()) },
                _ => Reply::Done,
            })
        };
        ready(reply)
    }

    fn store(&self, change: Change) -> impl Future<Output = Result<Stored, Fault>> + Send {
        let mut world = self.world();
        let text = format!("{change:?}");
        world.acts.push(Act::Store(change.clone()));
        let stored = if world.broken.iter().any(|b| text.starts_with(b)) {
            Err(Code::Unavailable.problem())
        } else {
            Ok(match change {
                Change::Entered { participant, .. } | Change::Joined { participant, .. } => Stored::In {
                    since: OffsetDateTime::UNIX_EPOCH,
                    consent: world.consents.get(&participant).copied().unwrap_or(ConsentStatus::Pending),
                },
                Change::ConsentRequested { .. } => Stored::Text(ConsentText {
                    id: uuid::Uuid::nil(),
                    version: 1,
                    locale: "en-US".to_owned(),
                    body: "May we?".to_owned(),
                    sha256: vec![0; 32],
                }),
                _ => Stored::Done,
            })
        };
        ready(stored)
    }

    fn relay(&self) -> Option<&Relay> {
        self.1.as_deref()
    }

    fn note(&self, sample: Sample) {
        self.world().samples.push(sample);
    }

    fn tell(&self, happening: Happening) {
        self.world().happenings.push(happening);
    }
}

/// A socket in a test: what the Room said to it.
struct Client {
    who: ParticipantId,
    socket: SocketId,
    out: mpsc::Receiver<Outgoing>,
    token: String,
    seq: u64,
    closed: Option<u16>,
}

impl Client {
    /// All messages since the last call.
    fn read(&mut self) -> Vec<Value> {
        let mut messages = Vec::new();
        while let Ok(out) = self.out.try_recv() {
            match out {
                Outgoing::Close(code) => self.closed = Some(code),
                Outgoing::Notice(notice) => panic!("a native client is not told {notice:?}"),
                Outgoing::Text(text) => {
                    let value: Value = serde_json::from_str(&text).unwrap();
                    self.seq = value["seq"].as_u64().unwrap();
                    if value["type"] == "welcome" {
                        value["resumeToken"].as_str().unwrap().clone_into(&mut self.token);
                    }
                    messages.push(value);
                }
            }
        }
        messages
    }

    fn types(&mut self) -> Vec<String> {
        self.read().iter().map(|m| m["type"].as_str().unwrap().to_owned()).collect()
    }
}

struct Scene {
    room: RoomState<Fake>,
    world: Fake,
    at: Duration,
    sockets: u64,
}

impl Scene {
    fn new() -> Self {
        let world = Fake::default();
        let card = VisitCard {
            visit_id: VisitId::random(),
            scheduled_at: OffsetDateTime::UNIX_EPOCH,
            clinician_name: Redacted::new("Dr. Maria".to_owned()),
            practice: Practice { name: "Practice".to_owned(), phone: "555".to_owned() },
            recording_policy: "OPT_IN",
        };
        let facts = RoomFacts {
            room: RoomId::random(),
            card,
            may_record: true,
            is_door_open: false,
            auto_admits: false,
            needs_consent: true,
        };
        let at = Duration::ZERO;
        let now = Moment { wall: OffsetDateTime::UNIX_EPOCH, steady: at };
        Self { room: RoomState::new(facts, world.clone(), now), world, at, sockets: 0 }
    }

    fn now(&self) -> Moment {
        Moment { wall: OffsetDateTime::UNIX_EPOCH + self.at, steady: self.at }
    }

    fn id(&self) -> RoomId {
        self.room.facts.room
    }

    async fn enter(&mut self, who: ParticipantId, role: RoleView, resume: Option<Resume>) -> Client {
        self.sockets += 1;
        let (out, received) = mpsc::channel(600);
        let socket = SocketId(self.sockets);
        let person = Person {
            participant: who,
            role,
            name: Redacted::new("Somebody".to_owned()),
            actor: Actor::System { org: OrgId::random() },
        };
        let token = Redacted::new(format!("token-{}", self.sockets));
        let joining = Joining { person, line: Line { socket, out }, resume, token, face: Face::Native };
        self.room.handle_join(self.now(), joining).await.unwrap();
        Client { who, socket, out: received, token: String::new(), seq: 0, closed: None }
    }

    async fn say(&mut self, client: &Client, text: &str) {
        let message = ClientMessage::parse(text).unwrap();
        self.room.handle_message(self.now(), client.socket, message).await;
        self.check_laws();
    }

    async fn event(&mut self, event: Event) {
        self.room.handle_event(self.now(), event).await;
        self.check_laws();
    }

    async fn pass(&mut self, time: Duration) {
        self.at += time;
        while self.room.next_deadline().is_some_and(|at| at <= self.at) && !self.room.is_over() {
            self.room.handle_time(self.now()).await;
        }
        self.check_laws();
    }

    fn check_laws(&self) {
        assert!(!capture::is_captured_without_consent(&self.room), "somebody is captured without consent");
    }

    /// A clinician and a patient inside, both with connections, acts forgotten.
    async fn with_two() -> (Self, Client, Client) {
        let mut scene = Self::new();
        let mut clinician = scene.enter(ParticipantId::random(), RoleView::Clinician, None).await;
        let mut patient = scene.enter(ParticipantId::random(), RoleView::Patient, None).await;
        scene.say(&clinician, &offer("cccc")).await;
        scene.say(&patient, &offer("pppp")).await;
        scene.say(&clinician, &about("admit", patient.who)).await;
        clinician.read();
        patient.read();
        scene.world.names();
        (scene, clinician, patient)
    }

    async fn recording(&mut self, clinician: &mut Client, patient: &mut Client) -> RecordingId {
        for client in [&*clinician, &*patient] {
            self.say(client, r#"{"type":"consent","id":1,"version":1,"decision":"SIGN"}"#).await;
        }
        self.say(clinician, r#"{"type":"recording_start","id":2}"#).await;
        let recording = self.room.capture.recording().unwrap();
        self.event(Event::TapFlowing { room: self.id(), recording }).await;
        clinician.read();
        patient.read();
        self.world.names();
        recording
    }

    fn peer(&self, client: &Client) -> PeerId {
        self.room.roster.find(client.who).unwrap().media.as_ref().unwrap().peer
    }
}

/// An offer of the connection with this name.
fn offer(name: &str) -> String {
    restart(name, "ufrag")
}

fn restart(name: &str, ufrag: &str) -> String {
    let sdp =
        format!("v=0\\r\\no=- {name} 1 IN IP4 0.0.0.0\\r\\na=ice-ufrag:{ufrag}\\r\\na=fingerprint:sha-256 AB\\r\\n");
    format!(r#"{{"type":"offer","id":"o","sdp":"{sdp}"}}"#)
}

fn about(kind: &str, whom: ParticipantId) -> String {
    format!(r#"{{"type":"{kind}","id":7,"participantId":"{whom}"}}"#)
}

fn resume(client: &Client) -> Option<Resume> {
    Some(Resume { token: Redacted::new(client.token.clone()), seq: client.seq })
}

#[tokio::test]
async fn a_patient_waits_until_the_clinician_admits() {
    let mut scene = Scene::new();
    let mut patient = scene.enter(ParticipantId::random(), RoleView::Patient, None).await;
    let told = patient.read();
    assert_eq!(told[0]["type"], "welcome");
    assert_eq!(told[0]["you"]["door"], "waiting");
    assert_eq!(told[1]["type"], "waiting");
    assert_eq!(told[1]["position"], 1);
    scene.say(&patient, &offer("pppp")).await;
    assert_eq!(scene.world.names(), ["sfu OpenRoom", "db Entered", "sfu AddPeer", "sfu Offer"]);
    let mut clinician = scene.enter(ParticipantId::random(), RoleView::Clinician, None).await;
    assert_eq!(clinician.types(), ["welcome", "roster", "waiting_list", "recording"]);
    assert_eq!(patient.types(), ["answer"]);
    scene.world.names();
    scene.say(&clinician, &about("admit", patient.who)).await;
    assert_eq!(scene.world.names(), ["db Admitted", "sfu Admit"]);
    assert_eq!(patient.types(), ["admitted", "roster", "recording"]);
    assert_eq!(clinician.types(), ["ok", "roster", "waiting_list"]);
}

#[tokio::test]
async fn without_the_books_nobody_is_admitted() {
    let mut scene = Scene::new();
    let mut patient = scene.enter(ParticipantId::random(), RoleView::Patient, None).await;
    let mut clinician = scene.enter(ParticipantId::random(), RoleView::Clinician, None).await;
    scene.say(&patient, &offer("pppp")).await;
    patient.read();
    clinician.read();
    scene.world.names();
    scene.world.breaks("Admitted");
    scene.say(&clinician, &about("admit", patient.who)).await;
    assert_eq!(scene.world.names(), ["db Admitted"]);
    assert_eq!(clinician.read()[0]["code"], "UNAVAILABLE");
    assert!(patient.types().is_empty());
}

#[tokio::test]
async fn a_patient_decides_nothing() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    let waiting = scene.enter(ParticipantId::random(), RoleView::Guest, None).await;
    scene.world.names();
    clinician.read();
    patient.read();
    for whom in [waiting.who, clinician.who, patient.who] {
        for kind in ["admit", "deny", "send_back", "remove"] {
            scene.say(&patient, &about(kind, whom)).await;
            scene.say(&waiting, &about(kind, whom)).await;
        }
        let mute = format!(r#"{{"type":"mute","id":1,"participantId":"{whom}","source":"camera","muted":true}}"#);
        scene.say(&patient, &mute).await;
    }
    scene.say(&patient, r#"{"type":"recording_start","id":1}"#).await;
    scene.say(&patient, r#"{"type":"request_consent","id":1}"#).await;
    scene.say(&waiting, r#"{"type":"recording_stop","id":1}"#).await;
    assert!(scene.world.names().is_empty());
    assert!(patient.read().iter().all(|m| m["code"] == "FORBIDDEN"));
    assert!(clinician.read().is_empty());
}

#[tokio::test]
async fn denied_and_removed_people_are_gone_and_told() {
    let (mut scene, clinician, mut patient) = Scene::with_two().await;
    let mut guest = scene.enter(ParticipantId::random(), RoleView::Guest, None).await;
    scene.say(&guest, &offer("gggg")).await;
    guest.read();
    scene.world.names();
    scene.say(&clinician, &about("deny", guest.who)).await;
    assert_eq!(scene.world.names(), ["db Denied", "sfu Deny"]);
    let last = guest.read();
    assert_eq!((last[0]["reason"].as_str(), guest.closed), (Some("denied"), Some(1000)));
    scene.say(&clinician, &about("remove", patient.who)).await;
    assert_eq!(scene.world.names(), ["sfu Remove", "db Removed"]);
    let last = patient.read();
    assert_eq!((last.last().unwrap()["reason"].as_str(), patient.closed), (Some("removed"), Some(1000)));
    // A late message of a person without a seat is not heard.
    scene.say(&patient, r#"{"type":"ping","id":1}"#).await;
    assert!(patient.read().is_empty());
}

#[tokio::test]
async fn sent_back_is_silent_before_it_is_written() {
    let (mut scene, clinician, mut patient) = Scene::with_two().await;
    scene.world.breaks("Entered");
    scene.say(&clinician, &about("send_back", patient.who)).await;
    assert_eq!(scene.world.names(), ["sfu SendBack", "db Entered"]);
    assert_eq!(patient.types(), ["sent_back", "waiting"]);
    scene.world.heals();
    // A clinician can be sent nowhere, not even by oneself.
    scene.say(&clinician, &about("send_back", clinician.who)).await;
    assert!(scene.world.names().is_empty());
}

#[tokio::test]
async fn a_new_connection_gets_a_new_peer_and_the_old_one_goes() {
    let (mut scene, _clinician, mut patient) = Scene::with_two().await;
    let before = scene.peer(&patient);
    scene.say(&patient, &offer("pppp")).await;
    assert_eq!(scene.world.names(), ["sfu Offer"]);
    assert_eq!(scene.peer(&patient), before);
    scene.say(&patient, &restart("pppp", "other")).await;
    assert_eq!(scene.world.names(), ["sfu Offer"], "an ICE restart keeps the Peer");
    assert_eq!(scene.peer(&patient), before);
    scene.say(&patient, &offer("qqqq")).await;
    assert_eq!(scene.world.names(), ["sfu AddPeer", "sfu Offer", "sfu Remove"]);
    assert_ne!(scene.peer(&patient), before);
    // Events of the old connection concern nobody.
    patient.read();
    let slot = Event::SlotChanged { room: scene.id(), peer: before, mid: "0".to_owned(), carries: None };
    scene.event(slot).await;
    assert!(patient.read().is_empty());
    // A refused offer leaves the connection that works.
    let working = scene.peer(&patient);
    scene.world.breaks("Offer");
    scene.say(&patient, &offer("rrrr")).await;
    assert_eq!(scene.world.names(), ["sfu AddPeer", "sfu Offer", "sfu Remove"]);
    assert_eq!(scene.peer(&patient), working);
    assert_eq!(patient.read()[0]["type"], "error");
}

#[tokio::test]
async fn recording_needs_everyone_and_lights_when_frames_flow() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    scene.say(&clinician, r#"{"type":"recording_start","id":1}"#).await;
    let refused = clinician.read();
    assert_eq!(refused[0]["code"], "CONSENT_REQUIRED");
    assert_eq!(refused[0]["missing"].as_array().unwrap().len(), 2);
    scene.say(&clinician, r#"{"type":"request_consent","id":2}"#).await;
    assert_eq!(clinician.types(), ["consent_request", "ok"]);
    assert_eq!(patient.types(), ["consent_request"]);
    scene.world.names();
    scene.say(&patient, r#"{"type":"consent","id":3,"version":1,"decision":"SIGN"}"#).await;
    assert_eq!(scene.world.names(), ["db ConsentGiven", "sfu SetConsent"]);
    scene.say(&clinician, r#"{"type":"consent","id":3,"version":1,"decision":"SIGN"}"#).await;
    clinician.read();
    patient.read();
    scene.world.names();
    scene.say(&clinician, r#"{"type":"recording_start","id":4}"#).await;
    assert_eq!(scene.world.names(), ["sfu SetConsent", "sfu SetConsent", "sfu StartTap", "db RecordingRequested"]);
    assert_eq!(patient.read()[0]["state"], "starting");
    assert_eq!(clinician.types(), ["recording", "ok"]);
    let recording = scene.room.capture.recording().unwrap();
    scene.event(Event::TapFlowing { room: scene.id(), recording: RecordingId::random() }).await;
    assert!(patient.read().is_empty());
    scene.event(Event::TapFlowing { room: scene.id(), recording }).await;
    assert_eq!(patient.read()[0]["state"], "on");
    scene.say(&clinician, r#"{"type":"recording_start","id":5}"#).await;
    assert_eq!(clinician.read().last().unwrap()["code"], "ALREADY_RECORDING");
    scene.world.names();
    scene.say(&patient, r#"{"type":"recording_stop","id":6}"#).await;
    assert_eq!(scene.world.names(), ["sfu StopTap", "db RecordingStopped"]);
    let states: Vec<_> = patient.read().iter().filter_map(|m| m["state"].as_str().map(str::to_owned)).collect();
    assert_eq!(states, ["stopping", "off"]);
}

#[tokio::test]
async fn without_the_books_there_is_no_capture() {
    let (mut scene, mut clinician, patient) = Scene::with_two().await;
    for client in [&clinician, &patient] {
        scene.say(client, r#"{"type":"consent","id":1,"version":1,"decision":"SIGN"}"#).await;
    }
    scene.world.names();
    clinician.read();
    scene.world.breaks("RecordingRequested");
    scene.say(&clinician, r#"{"type":"recording_start","id":4}"#).await;
    assert!(scene.world.names().ends_with(&["db RecordingRequested".to_owned(), "sfu StopTap".to_owned()]));
    assert!(!scene.room.capture.is_running());
    assert_eq!(clinician.types(), ["error"]);
}

#[tokio::test]
async fn withdrawal_stops_the_tap_before_it_is_written() {
    for decision in ["REVOKE", "DECLINE"] {
        let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
        scene.recording(&mut clinician, &mut patient).await;
        scene.world.breaks("ConsentGiven");
        let text = format!(r#"{{"type":"consent","id":9,"version":99,"decision":"{decision}"}}"#);
        scene.say(&patient, &text).await;
        assert_eq!(scene.world.names(), ["sfu StopTap", "sfu SetConsent", "db ConsentGiven", "db RecordingStopped"]);
        assert!(!scene.room.capture.is_running());
        assert_eq!(patient.read().iter().find(|m| m["type"] == "error").unwrap()["code"], "UNAVAILABLE");
        // What was not written can be said again; what was, needs no second row.
        scene.world.heals();
        scene.say(&patient, &text).await;
        scene.say(&patient, &text).await;
        assert_eq!(scene.world.names(), ["sfu SetConsent", "db ConsentGiven"]);
        // And nobody can start again.
        scene.say(&clinician, r#"{"type":"recording_start","id":4}"#).await;
        assert!(!scene.room.capture.is_running());
    }
}

#[tokio::test]
async fn consent_is_not_signed_until_it_is_written() {
    let (mut scene, _clinician, mut patient) = Scene::with_two().await;
    scene.world.breaks("ConsentGiven");
    scene.say(&patient, r#"{"type":"consent","id":1,"version":1,"decision":"SIGN"}"#).await;
    assert_eq!(scene.world.names(), ["db ConsentGiven"]);
    assert_eq!(patient.types(), ["error"]);
}

#[tokio::test]
async fn a_late_arrival_is_asked_before_admission() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    scene.recording(&mut clinician, &mut patient).await;
    let mut guest = scene.enter(ParticipantId::random(), RoleView::Guest, None).await;
    guest.read();
    scene.say(&clinician, &about("admit", guest.who)).await;
    assert_eq!(clinician.read().iter().find(|m| m["type"] == "error").unwrap()["missing"][0], guest.who.to_string());
    assert_eq!(guest.types(), ["consent_request"]);
    assert!(scene.room.capture.is_running());
    scene.say(&guest, r#"{"type":"consent","id":1,"version":1,"decision":"SIGN"}"#).await;
    scene.say(&clinician, &about("admit", guest.who)).await;
    assert!(guest.types().contains(&"admitted".to_owned()));
    assert!(scene.room.capture.is_running());
}

/// No time passes between the arrival and the stop.
#[tokio::test]
async fn c_03_a_clinician_without_consent_ends_the_capture() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    scene.recording(&mut clinician, &mut patient).await;
    scene.enter(ParticipantId::random(), RoleView::Clinician, None).await;
    assert!(!scene.room.capture.is_running());
    assert_eq!(scene.world.names(), ["db Joined", "sfu StopTap", "db RecordingStopped"]);
}

/// C-05 by the consent API, and by a date that passes: the forwarder stops before anything is written.
#[tokio::test]
async fn c_05_a_consent_that_is_taken_back_elsewhere_ends_the_capture_at_once() {
    for lost in [ConsentStatus::Revoked, ConsentStatus::Declined, ConsentStatus::Pending] {
        let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
        scene.recording(&mut clinician, &mut patient).await;
        scene.room.handle_consent(scene.now(), patient.who, lost).await;
        scene.check_laws();
        assert_eq!(scene.world.names(), ["sfu StopTap", "sfu SetConsent", "db RecordingStopped"], "{lost:?}");
        assert!(!scene.room.capture.is_running());
        // What was stored elsewhere counts here: nothing starts until they sign again.
        scene.say(&clinician, r#"{"type":"recording_start","id":2}"#).await;
        assert!(!scene.room.capture.is_running());
        scene.room.handle_consent(scene.now(), patient.who, ConsentStatus::Signed).await;
        scene.say(&clinician, r#"{"type":"recording_start","id":3}"#).await;
        assert!(scene.room.capture.is_running());
    }
}

#[tokio::test]
async fn the_sfu_may_end_a_tap_and_a_room() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    let recording = scene.recording(&mut clinician, &mut patient).await;
    scene.event(Event::TapEnded { room: scene.id(), recording, reason: TapEnd::ConsentLost }).await;
    assert_eq!(scene.world.names(), ["db RecordingStopped"]);
    assert_eq!(patient.read()[0]["state"], "off");
    scene.event(Event::RoomFailed { room: scene.id() }).await;
    assert!(scene.room.is_over());
    assert_eq!(patient.read().last().unwrap()["reason"], "failed");
    assert_eq!(patient.closed, Some(4500));
}

#[tokio::test]
async fn the_end_of_the_visit_stops_the_recording_first() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    scene.recording(&mut clinician, &mut patient).await;
    scene.room.handle_end(scene.now(), None).await;
    let acts = scene.world.names();
    assert_eq!(acts[..3], ["sfu StopTap", "db RecordingStopped", "sfu CloseRoom"]);
    assert!(scene.room.is_over());
    for client in [&mut clinician, &mut patient] {
        assert_eq!(client.read().last().unwrap()["reason"], "completed");
        assert_eq!(client.closed, Some(1000));
    }
}

#[tokio::test]
async fn a_broken_socket_resumes_with_what_it_missed() {
    let (mut scene, clinician, patient) = Scene::with_two().await;
    scene.room.handle_gone(scene.now(), patient.socket);
    scene.pass(Duration::from_secs(59)).await;
    scene.say(&clinician, r#"{"type":"state","microphone":true,"camera":false}"#).await;
    scene.event(Event::Speaking { room: scene.id(), participant: None }).await;
    let last = patient.seq;
    let mut again = scene.enter(patient.who, RoleView::Patient, resume(&patient)).await;
    let missed = again.read();
    assert_eq!(missed[0]["seq"], last + 1);
    // What a newer message replaces was not kept; the person is inside as before.
    assert!(missed.iter().all(|m| m["type"] == "roster"), "{missed:?}");
    let names = scene.world.names();
    assert!(names.is_empty(), "{names:?}");
}

#[tokio::test]
async fn a_resume_beside_a_socket_that_seems_alive_takes_the_seat_and_keeps_the_media() {
    let (mut scene, clinician, mut patient) = Scene::with_two().await;
    let peer = scene.peer(&patient);
    let claim = resume(&patient);
    // Nobody heard of the break yet: what is said now goes to the dead socket, and must come again on the new one.
    scene.say(&clinician, r#"{"type":"state","microphone":true,"camera":false}"#).await;
    let mut again = scene.enter(patient.who, RoleView::Patient, claim).await;
    assert!(patient.read().iter().all(|m| m["type"] != "ended"), "the old socket is closed, the session is not");
    assert_eq!(patient.closed, Some(close::SUPERSEDED));
    assert!(again.types().iter().any(|kind| kind == "roster"));
    scene.room.handle_gone(scene.now(), patient.socket);
    scene.say(&patient, r#"{"type":"leave"}"#).await;
    scene.pass(SEAT_KEPT * 2).await;
    assert_eq!(scene.world.names(), Vec::<String>::new(), "the Peer is not touched");
    scene.say(&again, &restart("pppp", "other")).await;
    assert_eq!(scene.peer(&again), peer);
    assert!(again.types().iter().any(|kind| kind == "answer"));
}

#[tokio::test]
async fn a_resume_that_missed_too_much_or_is_forged_is_told_everything() {
    for forged in [false, true] {
        let (mut scene, clinician, patient) = Scene::with_two().await;
        let peer = scene.peer(&patient);
        let carries = SlotTrack { participant: clinician.who, source: Source::Camera, track: TrackId::random() };
        let id = scene.id();
        scene.event(Event::SlotChanged { room: id, peer, mid: "1".to_owned(), carries: Some(carries) }).await;
        scene.room.handle_gone(scene.now(), patient.socket);
        for i in 0..if forged { 1 } else { 300 } {
            let text = format!(r#"{{"type":"state","microphone":{},"camera":true}}"#, i % 2 == 0);
            scene.say(&clinician, &text).await;
        }
        let mut claim = resume(&patient).unwrap();
        if forged {
            claim.token = Redacted::new("token-9".to_owned());
        }
        let mut again = scene.enter(patient.who, RoleView::Patient, Some(claim)).await;
        let told = again.read();
        assert_eq!(told[0]["type"], "welcome");
        assert_eq!(told[0]["you"]["door"], "admitted");
        assert_eq!(told[1]["carries"]["participantId"], clinician.who.to_string());
        assert!(told.iter().any(|m| m["type"] == "roster"));
    }
}

#[tokio::test]
async fn a_picture_that_its_sender_holds_back_shows_in_the_roster_until_it_flows() {
    let (mut scene, mut clinician, patient) = Scene::with_two().await;
    for (held, said) in [(true, r#","cameraHeld":true"#), (false, "")] {
        scene.say(&patient, &format!(r#"{{"type":"state","microphone":true,"camera":true{said}}}"#)).await;
        let told = clinician.read().into_iter().rfind(|m| m["type"] == "roster").unwrap();
        let people = told["participants"].as_array().unwrap();
        let entry = people.iter().find(|p| p["participantId"] == patient.who.to_string()).unwrap();
        assert_eq!((&entry["camera"], &entry["cameraHeld"]), (&Value::Bool(true), &Value::Bool(held)));
    }
}

#[tokio::test]
async fn a_second_socket_takes_over() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    let mut second = scene.enter(patient.who, RoleView::Patient, None).await;
    assert_eq!(patient.read().last().unwrap()["reason"], "superseded");
    assert_eq!(patient.closed, Some(4409));
    assert_eq!(second.types()[0], "welcome");
    // The old socket's end and words do not touch the seat.
    scene.room.handle_gone(scene.now(), patient.socket);
    scene.say(&patient, r#"{"type":"leave"}"#).await;
    clinician.read();
    scene.pass(SEAT_KEPT * 2).await;
    scene.say(&second, r#"{"type":"ping","id":1}"#).await;
    assert_eq!(second.types(), ["pong"]);
}

#[tokio::test]
async fn a_seat_is_kept_for_a_minute_and_an_empty_room_for_half() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    scene.recording(&mut clinician, &mut patient).await;
    scene.room.handle_gone(scene.now(), patient.socket);
    assert_eq!(clinician.read()[0]["participants"].as_array().unwrap().len(), 2);
    scene.pass(SEAT_KEPT).await;
    assert_eq!(scene.world.names(), ["sfu Remove", "db Left"]);
    assert_eq!(clinician.read()[0]["participants"].as_array().unwrap().len(), 1);
    scene.say(&clinician, r#"{"type":"leave"}"#).await;
    assert_eq!(
        clinician.closed.or_else(|| {
            clinician.read();
            clinician.closed
        }),
        Some(1000)
    );
    // Nobody is inside: nothing is captured.
    assert_eq!(scene.world.names(), ["sfu Remove", "db Left", "sfu StopTap", "db RecordingStopped"]);
    scene.pass(EMPTY_KEPT).await;
    assert!(scene.room.is_over());
    assert_eq!(scene.world.names(), ["sfu CloseRoom"]);
}

#[tokio::test]
async fn whoever_comes_back_after_the_seat_was_given_up_waits_again() {
    let (mut scene, _clinician, patient) = Scene::with_two().await;
    scene.room.handle_gone(scene.now(), patient.socket);
    scene.pass(SEAT_KEPT).await;
    let mut again = scene.enter(patient.who, RoleView::Patient, resume(&patient)).await;
    assert_eq!(again.read()[0]["you"]["door"], "waiting");
}

#[tokio::test]
async fn a_muted_source_stays_muted_on_a_new_connection() {
    let (mut scene, mut clinician, patient) = Scene::with_two().await;
    let whom = patient.who;
    let mute = format!(r#"{{"type":"mute","id":1,"participantId":"{whom}","source":"microphone","muted":true}}"#);
    scene.say(&clinician, &mute).await;
    assert_eq!(scene.world.names(), ["sfu Mute", "db Muted"]);
    let roster = clinician.read().into_iter().find(|m| m["type"] == "roster").unwrap();
    let entry = roster["participants"].as_array().unwrap().iter().find(|p| p["participantId"] == whom.to_string());
    assert_eq!(entry.unwrap()["mutedByClinician"][0], "microphone");
    scene.say(&patient, &offer("qqqq")).await;
    assert_eq!(scene.world.names(), ["sfu AddPeer", "sfu Mute", "sfu Offer", "sfu Remove"]);
}

#[tokio::test]
async fn a_lost_connection_shows_in_the_roster_until_a_new_one() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    let peer = scene.peer(&patient);
    let whom = patient.who;
    let connected = |roster: &Value| {
        let people = roster["participants"].as_array().unwrap().clone();
        people.iter().find(|p| p["participantId"] == whom.to_string()).unwrap()["connected"].clone()
    };
    scene.event(Event::PeerLost { room: scene.id(), peer, reason: Lost::Silent }).await;
    assert_eq!(connected(&clinician.read()[0]), false);
    patient.read();
    scene.say(&patient, &restart("pppp", "other")).await;
    assert_eq!(patient.read()[0]["code"], "INVALID", "a connection that is lost cannot be restarted");
    scene.say(&patient, &offer("qqqq")).await;
    assert_eq!(connected(&clinician.read()[0]), true);
}

#[tokio::test]
async fn a_socket_that_does_not_read_is_let_go_and_its_seat_kept() {
    let (mut scene, clinician, patient) = Scene::with_two().await;
    for i in 0..700 {
        let text = format!(r#"{{"type":"state","microphone":{},"camera":true}}"#, i % 2 == 0);
        scene.say(&clinician, &text).await;
    }
    let seat = scene.room.roster.find(patient.who).unwrap();
    assert!(seat.line.is_none());
    assert!(seat.is_admitted());
}

#[tokio::test]
async fn a_leave_counts_although_the_socket_has_ended_before_the_room_hears_of_it() {
    let (mut scene, clinician, mut patient) = Scene::with_two().await;
    let (socket, who) = (patient.socket, patient.who);
    patient.out.close();
    scene.say(&clinician, r#"{"type":"state","microphone":false,"camera":true}"#).await;
    scene.say(&patient, r#"{"type":"leave"}"#).await;
    assert!(scene.room.roster.find(who).is_none(), "the seat is given up at once");
    scene.room.handle_gone(scene.now(), socket);
}

#[tokio::test]
async fn a_socket_that_ended_without_a_word_loses_its_seat_in_the_end() {
    let (mut scene, clinician, mut patient) = Scene::with_two().await;
    patient.out.close();
    scene.say(&clinician, r#"{"type":"state","microphone":false,"camera":true}"#).await;
    assert!(scene.room.roster.find(patient.who).is_some());
    scene.pass(SEAT_KEPT).await;
    assert!(scene.room.roster.find(patient.who).is_none());
}

/// One step of a random visit.
#[derive(Clone, Debug)]
enum Step {
    Enter(usize),
    Gone(usize),
    Say(usize, &'static str, usize),
    Flow,
    End(u8),
    Wait(u16),
    Break(&'static str),
    Heal,
}

fn step() -> impl Strategy<Value = Step> {
    let person = 0usize..4;
    let kinds = prop::sample::select(vec![
        "admit",
        "deny",
        "send_back",
        "remove",
        "sign",
        "decline",
        "revoke",
        "start",
        "stop",
        "ask",
        "offer",
        "leave",
        "offer2",
    ]);
    let broken =
        prop::sample::select(vec!["StopTap", "StartTap", "ConsentGiven", "Admitted", "RecordingRequested", "Entered"]);
    prop_oneof![
        3 => person.clone().prop_map(Step::Enter),
        1 => person.clone().prop_map(Step::Gone),
        12 => (person.clone(), kinds, person).prop_map(|(by, kind, whom)| Step::Say(by, kind, whom)),
        1 => Just(Step::Flow),
        1 => (0u8..3).prop_map(Step::End),
        1 => (0u16..90).prop_map(Step::Wait),
        1 => broken.prop_map(Step::Break),
        2 => Just(Step::Heal),
    ]
}

/// What the sfu would believe from the commands alone.
#[derive(Default)]
struct Mirror {
    admitted: BTreeSet<PeerId>,
    owner: BTreeMap<PeerId, ParticipantId>,
    consented: BTreeSet<ParticipantId>,
    tap: Option<RecordingId>,
}

impl Mirror {
    fn take(&mut self, command: &Command) {
        match command {
            Command::AddPeer { peer, participant, door, .. } => {
                self.owner.insert(*peer, *participant);
                if *door == Door::Admitted {
                    self.admitted.insert(*peer);
                }
            }
            Command::Admit { peer, .. } => drop(self.admitted.insert(*peer)),
            Command::Deny { peer, .. } | Command::SendBack { peer, .. } | Command::Remove { peer, .. } => {
                self.admitted.remove(peer);
            }
            Command::SetConsent { participant, consented, .. } => {
                if *consented {
                    self.consented.insert(*participant)
                } else {
                    self.consented.remove(participant)
                };
            }
            Command::StartTap { recording, .. } => self.tap = Some(*recording),
            Command::StopTap { .. } | Command::CloseRoom { .. } => self.tap = None,
            _ => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    /// Whatever people do in whatever order, and whatever fails: only a clinician's word admits, nobody is captured without
    /// their stored consent, and the sfu never holds an admitted Peer of a person whom the Room holds outside.
    #[test]
    fn random_visits_keep_the_laws(is_under_way: bool, steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async move {
            let mut scene = Scene::new();
            let people: Vec<_> = (0..4).map(|_| ParticipantId::random()).collect();
            let role = |i: usize| if i == 0 { RoleView::Clinician } else { RoleView::Patient };
            let mut sockets: BTreeMap<usize, Client> = BTreeMap::new();
            let mut mirror = Mirror::default();
            let mut was_admitted = BTreeSet::new();
            // Half of them begin with two people inside who are being recorded, and one who waits.
            let begun = [
                Step::Enter(0), Step::Enter(1), Step::Enter(2), Step::Say(0, "offer", 0), Step::Say(1, "offer", 0),
                Step::Say(0, "admit", 1), Step::Say(0, "sign", 0), Step::Say(1, "sign", 0), Step::Say(0, "start", 0),
            ];
            let begun = begun.into_iter().filter(|_| is_under_way);
            for step in begun.chain(steps) {
                if scene.room.is_over() { break }
                match &step {
                    Step::Enter(i) => {
                        // Entering may fail while something is broken: then there is no seat.
                        scene.sockets += 1;
                        let (out, received) = mpsc::channel(600);
                        let socket = SocketId(scene.sockets);
                        let person = Person {
                            participant: people[*i], role: role(*i), name: Redacted::new(String::new()),
                            actor: Actor::System { org: OrgId::random() },
                        };
                        let token = Redacted::new(format!("token-{}", scene.sockets));
                        let face = Face::Native;
                        let joining = Joining { person, line: Line { socket, out }, resume: None, token, face };
                        if scene.room.handle_join(scene.now(), joining).await.is_ok() {
                            sockets.insert(*i, Client { who: people[*i], socket, out: received, token: String::new(), seq: 0, closed: None });
                        }
                    }
                    Step::Gone(i) => if let Some(client) = sockets.get(i) { scene.room.handle_gone(scene.now(), client.socket) },
                    Step::Say(by, kind, whom) => if let Some(client) = sockets.get(by) {
                        let consent = |d: &str| format!(r#"{{"type":"consent","id":1,"version":1,"decision":"{d}"}}"#);
                        let text = match *kind {
                            "sign" => consent("SIGN"),
                            "decline" => consent("DECLINE"),
                            "revoke" => consent("REVOKE"),
                            "start" => r#"{"type":"recording_start","id":1}"#.to_owned(),
                            "stop" => r#"{"type":"recording_stop","id":1}"#.to_owned(),
                            "ask" => r#"{"type":"request_consent","id":1}"#.to_owned(),
                            "leave" => r#"{"type":"leave"}"#.to_owned(),
                            "offer" => offer("aaaa"),
                            "offer2" => offer("bbbb"),
                            other => about(other, people[*whom]),
                        };
                        let message = ClientMessage::parse(&text).unwrap();
                        scene.room.handle_message(scene.now(), client.socket, message).await;
                    },
                    Step::Flow => if let Some(recording) = scene.room.capture.recording() {
                        scene.room.handle_event(scene.now(), Event::TapFlowing { room: scene.id(), recording }).await;
                    },
                    Step::End(n) => if let Some(recording) = scene.room.capture.recording() {
                        let reason = [TapEnd::ConsentLost, TapEnd::RecorderGone, TapEnd::Stopped][usize::from(*n)];
                        mirror.tap = None;
                        scene.room.handle_event(scene.now(), Event::TapEnded { room: scene.id(), recording, reason }).await;
                    },
                    Step::Wait(seconds) => scene.pass(Duration::from_secs(u64::from(*seconds))).await,
                    Step::Break(what) => scene.world.breaks(what),
                    Step::Heal => scene.world.heals(),
                }
                let broken: Vec<_> = scene.world.world().broken.clone();
                for act in std::mem::take(&mut scene.world.world().acts) {
                    if let Act::Sfu(command) = &act {
                        let is_broken = broken.iter().any(|b| format!("{command:?}").starts_with(b));
                        if !is_broken || matches!(command, Command::StopTap { .. }) { mirror.take(command) }
                    }
                }
                scene.check_laws();
                let inside: BTreeSet<_> =
                    scene.room.roster.iter().filter(|s| s.is_admitted()).map(|s| s.person.participant).collect();
                for peer in &mirror.admitted {
                    prop_assert!(inside.contains(&mirror.owner[peer]), "a peer is inside whose person is not");
                }
                if mirror.tap.is_some() {
                    prop_assert!(inside.is_subset(&mirror.consented), "a tap without consent");
                }
                for who in inside.difference(&was_admitted) {
                    let is_by_role = *who == people[0];
                    let is_by_word = matches!(&step, Step::Say(0, "admit", whom) if people[*whom] == *who);
                    prop_assert!(is_by_role || is_by_word, "somebody came in by {step:?}");
                }
                was_admitted = inside;
            }
            Ok(())
        })?;
    }
}
