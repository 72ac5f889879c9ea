//! RoomHandle: how everyone else speaks to a live Room. One task owns each Room and takes one thing at a time.

pub(crate) mod attended;
pub(crate) mod board;
pub(crate) mod codecs;
pub mod directory;
pub(crate) mod face;
pub(crate) mod notable;
pub(crate) mod room;
pub(crate) mod roster;
pub(crate) mod sfu;
pub(crate) mod streams;
pub(crate) mod world;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::Instrument;
use wire::control::{Event, Rights};
use wire::delivery::Order;
use wire::{OrderId, ParticipantId, RecordingId, RoomId, VisitId};

use crate::auth::Actor;
use crate::clock::{Clock, Timestamp};
use crate::consent::ConsentStatus;
use crate::ids::OrgId;
use crate::live::attended::Attended;
use crate::live::face::Ask;
use crate::live::room::{Joining, Outside, RoomState, StopReason};
use crate::live::roster::{Moment, SocketId};
use crate::metrics::{Metrics, Waiting};
use crate::problem::{Code, Problem};
use crate::ws::message::ClientMessage;

pub(crate) use directory::Closed;
pub use directory::Directory;

/// What waits for a Room's task. When full, whoever sends waits: sockets stop reading, and so their clients slow down.
const INBOX: usize = 256;

/// One thing for a Room to do.
#[derive(Debug)]
pub(crate) enum Request {
    Join(Box<Joining>, oneshot::Sender<Result<(), Problem>>),
    Message(SocketId, ClientMessage),
    Ask(SocketId, Ask),
    Unreadable(SocketId, Code, u16),
    Gone(SocketId),
    Sfu(Event),
    SfuGone,
    End(Option<Actor>, oneshot::Sender<()>),
    Revoked(ParticipantId),
    Rights(ParticipantId, Rights),
    Superseded(ParticipantId),
    /// Somebody's client is to look for another way to the media node. Answered whether they are connected.
    RestartIce(ParticipantId, oneshot::Sender<bool>),
    /// Somebody's stored answer to recording is another one now.
    Consent(ParticipantId, ConsentStatus, oneshot::Sender<()>),
    /// Somebody at the door, by HTTP or by the clock.
    Door(Actor, ParticipantId, DoorAct, oneshot::Sender<Result<(), Problem>>),
    /// The process stops at this time; the visit may go on until then.
    Draining(Timestamp),
    /// The process stops.
    Drain,
    StartRecording(Actor, oneshot::Sender<Result<RecordingId, Problem>>),
    StopRecording(Actor, oneshot::Sender<Result<RecordingId, Problem>>),
    /// Captures for an order, if everybody agrees.
    StartOrder(Actor, Box<Order>, oneshot::Sender<Result<RecordingId, Problem>>),
    /// Whether that could be done.
    MayCapture(oneshot::Sender<Result<(), Problem>>),
    /// Ends what serves an order.
    EndOrder(OrderId, Option<Actor>, StopReason, oneshot::Sender<()>),
    Stored(RecordingId, &'static str),
}

/// What is done to somebody at the door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DoorAct {
    /// They are let in.
    Admit,
    /// They are turned away.
    Deny,
    /// They are sent from inside back into the waiting room.
    SendBack,
    /// They stop waiting.
    Leave,
    /// They waited for too long.
    TimeOut,
}

/// The Room ended while it was spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the room has ended")]
pub struct RoomEnded;

/// The way to one live Room. Cheap to clone.
#[derive(Clone, Debug)]
pub struct RoomHandle {
    room: RoomId,
    visit: VisitId,
    org: OrgId,
    inbox: mpsc::Sender<Request>,
    attended: Arc<Attended>,
}

impl RoomHandle {
    /// The Room's id at the media node.
    #[must_use]
    pub const fn room(&self) -> RoomId {
        self.room
    }

    /// The Visit that it is the meeting of.
    #[must_use]
    pub const fn visit(&self) -> VisitId {
        self.visit
    }

    /// Whose visit it is.
    pub(crate) const fn org(&self) -> OrgId {
        self.org
    }

    /// When somebody was last connected with sound; `None` when nobody has been yet.
    pub(crate) fn attended_at(&self, now: Timestamp) -> Option<Timestamp> {
        self.attended.at(now)
    }

    /// Ends the meeting, because the Visit is over: stops the recording, tells everyone, closes the Room.
    /// A Room that has ended already is a success.
    pub async fn end(&self, actor: Option<Actor>) {
        let (done, ended) = oneshot::channel();
        if self.send(Request::End(actor, done)).await.is_ok() {
            // An error means that the Room ended before it came to this.
            drop(ended.await);
        }
    }

    /// Tells the holder of a revoked credential to go.
    pub async fn revoke(&self, participant: ParticipantId) {
        // A Room that ended has nobody left to tell.
        let _ = self.send(Request::Revoked(participant)).await;
    }

    /// Says where a Participant stands towards recording now, after it was stored. Comes back when the Room has acted: a capture that may
    /// not go on has ended then.
    pub async fn note_consent(&self, participant: ParticipantId, standing: ConsentStatus) {
        let (done, noted) = oneshot::channel();
        if self.send(Request::Consent(participant, standing, done)).await.is_ok() {
            // An error means that the Room ended, and its capture with it.
            drop(noted.await);
        }
    }

    /// Says what a Participant of a translated face may send and be sent from now on. Whoever is not here hears it when they come.
    pub async fn set_rights(&self, participant: ParticipantId, rights: Rights) {
        let _ = self.send(Request::Rights(participant, rights)).await;
    }

    /// Does something to somebody at the door, for an actor who may. `None` when the Room has ended meanwhile, or when the person is not
    /// connected to it: then the books alone are to be changed.
    pub(crate) async fn door(&self, actor: Actor, whom: ParticipantId, act: DoorAct) -> Option<Result<(), Problem>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Door(actor, whom, act, reply)).await.ok()?;
        answer.await.ok()
    }

    /// Closes the socket of a session that another one of the same person replaced; the seat is kept for that one.
    pub async fn supersede(&self, participant: ParticipantId) {
        let _ = self.send(Request::Superseded(participant)).await;
    }

    /// Asks a Participant's client to restart ICE. False when it has no connection that could be restarted.
    pub(crate) async fn restart_ice(&self, participant: ParticipantId) -> bool {
        let (reply, answer) = oneshot::channel();
        self.send(Request::RestartIce(participant, reply)).await.is_ok() && answer.await.unwrap_or(false)
    }

    /// Starts a Recording of everyone inside.
    ///
    /// # Errors
    /// When somebody has not agreed, one runs already, the visit may not be recorded, or nobody is here.
    pub async fn start_recording(&self, actor: Actor) -> Result<RecordingId, Problem> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::StartRecording(actor, reply)).await.map_err(|_| nobody_here())?;
        answer.await.map_err(|_| nobody_here())?
    }

    /// Stops the Recording that runs.
    ///
    /// # Errors
    /// When none runs.
    pub async fn stop_recording(&self, actor: Actor) -> Result<RecordingId, Problem> {
        let (reply, answer) = oneshot::channel();
        let none = || Code::NotRecording.problem();
        self.send(Request::StopRecording(actor, reply)).await.map_err(|_| none())?;
        answer.await.map_err(|_| none())?
    }

    /// Captures for an order.
    ///
    /// # Errors
    /// As [`Self::start_recording`].
    pub(crate) async fn start_order(&self, actor: Actor, order: Order) -> Result<RecordingId, Problem> {
        let (reply, answer) = oneshot::channel();
        let request = Request::StartOrder(actor, Box::new(order), reply);
        self.send(request).await.map_err(|_| nobody_here())?;
        answer.await.map_err(|_| nobody_here())?
    }

    /// Whether a capture could be started, now or as soon as somebody is inside.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn may_capture(&self) -> Result<(), Problem> {
        let (reply, answer) = oneshot::channel();
        // A Room that has ended holds nobody up: the next one is asked again.
        if self.send(Request::MayCapture(reply)).await.is_err() {
            return Ok(());
        }
        answer.await.unwrap_or(Ok(()))
    }

    /// Ends what serves an order, and comes back when it is written.
    pub(crate) async fn end_order(&self, order: OrderId, actor: Option<Actor>, reason: StopReason) {
        let (done, ended) = oneshot::channel();
        if self.send(Request::EndOrder(order, actor, reason, done)).await.is_ok() {
            // An error means that the Room ended, and its capture with it.
            drop(ended.await);
        }
    }

    /// A socket said hello. The outer error means that the Room ended meanwhile and another may be opened.
    pub(crate) async fn join(&self, joining: Joining) -> Result<Result<(), Problem>, RoomEnded> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Join(Box::new(joining), reply)).await?;
        answer.await.map_err(|_| RoomEnded)
    }

    pub(crate) async fn send(&self, request: Request) -> Result<(), RoomEnded> {
        self.inbox.send(request).await.map_err(|_| RoomEnded)
    }

    /// Hands over what may be dropped when the Room is busy.
    pub(crate) fn try_send(&self, request: Request) -> bool {
        self.inbox.try_send(request).is_ok()
    }

    /// Comes back when the Room's task has ended.
    pub(crate) async fn ended(&self) {
        self.inbox.closed().await;
    }

    fn is_over(&self) -> bool {
        self.inbox.is_closed()
    }
}

/// What HTTP says about recording a Room that is not there.
pub(crate) fn nobody_here() -> Problem {
    Code::ConsentRequired.with("Nobody is in this visit just now.").member("missing", Vec::<String>::new())
}

/// Starts the task of a Room.
pub(crate) fn spawn<O, F>(ids: (RoomId, VisitId, OrgId), clock: Clock, make: F, directory: Arc<Directory>) -> RoomHandle
where
    O: Outside + 'static,
    F: FnOnce(Moment) -> RoomState<O>,
{
    let (room, visit, org) = ids;
    let (inbox, requests) = mpsc::channel(INBOX);
    let started = Instant::now();
    let clock = SteadyClock { clock, started };
    let state = make(clock.now());
    let span = tracing::info_span!("room", room_id = %room);
    let attended = Arc::new(Attended::default());
    let watched = Watched { room, metrics: directory.metrics().clone(), waiting: None };
    let task = tokio::spawn(run(state, requests, clock, Arc::clone(&attended), watched).instrument(span));
    tokio::spawn(async move {
        // A panic ends this Room alone; its lines close with it, and their sockets tell the people to come back.
        if task.await.is_err() {
            tracing::error!(room_id = %room, "a room failed");
            directory.close_at_sfu(room).await;
        }
        directory.forget(visit, room);
    });
    RoomHandle { room, visit, org, inbox, attended }
}

/// What the figures know of one Room; they forget it with the Room's task, however that ends.
struct Watched {
    room: RoomId,
    metrics: Metrics,
    waiting: Option<Waiting>,
}

impl Watched {
    fn note(&mut self, waiting: Option<Waiting>, joins: Vec<Duration>) {
        if self.waiting != waiting {
            self.waiting = waiting;
            self.metrics.set_waiting(self.room, waiting);
        }
        for took in joins {
            self.metrics.note_join(took);
        }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.metrics.set_waiting(self.room, None);
    }
}

struct SteadyClock {
    clock: Clock,
    started: Instant,
}

impl SteadyClock {
    fn now(&self) -> Moment {
        Moment { wall: self.clock.now(), steady: self.started.elapsed() }
    }
}

/// The Room's task: one request at a time, and the deadlines between them.
async fn run<O: Outside>(
    mut state: RoomState<O>,
    mut requests: mpsc::Receiver<Request>,
    clock: SteadyClock,
    attended: Arc<Attended>,
    mut watched: Watched,
) {
    while !state.is_over() {
        // Without a deadline there are connected people, and then something comes.
        let deadline = clock.started + state.next_deadline().unwrap_or(Duration::from_secs(3600));
        let request = tokio::select! {
            biased;
            request = requests.recv() => request,
            () = tokio::time::sleep_until(deadline) => {
                state.handle_time(clock.now()).await;
                watched.note(state.waiting(), state.take_joins());
                state.hand_over_notes().await;
                continue;
            }
        };
        let Some(request) = request else { break };
        handle(&mut state, clock.now(), request).await;
        attended.note(state.is_attended(), clock.now().wall);
        watched.note(state.waiting(), state.take_joins());
        state.hand_over_notes().await;
    }
    // Whoever still waits for an answer hears that the Room has ended, by the dropped reply.
    requests.close();
}

async fn handle<O: Outside>(state: &mut RoomState<O>, now: Moment, request: Request) {
    // Askers may have gone while they waited: then nobody needs the answer.
    match request {
        Request::Join(joining, reply) => drop(reply.send(Box::pin(state.handle_join(now, *joining)).await)),
        Request::Message(socket, message) => Box::pin(state.handle_message(now, socket, message)).await,
        Request::Ask(socket, ask) => Box::pin(state.handle_ask(now, socket, ask)).await,
        Request::Unreadable(socket, code, close) => state.handle_unreadable(now, socket, code, close),
        Request::Gone(socket) => state.handle_gone(now, socket),
        Request::Sfu(event) => Box::pin(state.handle_event(now, event)).await,
        Request::SfuGone => Box::pin(state.handle_failure(now)).await,
        Request::End(actor, reply) => {
            Box::pin(state.handle_end(now, actor)).await;
            let _ = reply.send(());
        }
        Request::Revoked(participant) => Box::pin(state.handle_revoked(now, participant)).await,
        Request::Rights(participant, rights) => Box::pin(state.handle_rights(now, participant, rights)).await,
        Request::Door(actor, whom, act, reply) => {
            // Without an answer the books alone are changed.
            if let Some(done) = Box::pin(state.handle_door(now, actor, whom, act)).await {
                let _ = reply.send(done);
            }
        }
        Request::Superseded(participant) => state.handle_superseded(now, participant),
        Request::RestartIce(participant, reply) => {
            // Whoever asked may have gone meanwhile.
            let _ = reply.send(state.restart_ice(now, participant));
        }
        Request::Consent(participant, standing, reply) => {
            Box::pin(state.handle_consent(now, participant, standing)).await;
            let _ = reply.send(());
        }
        Request::Draining(deadline) => Box::pin(state.handle_draining(now, deadline)).await,
        Request::Drain => Box::pin(state.handle_drain(now)).await,
        Request::StartRecording(actor, reply) => drop(reply.send(Box::pin(state.handle_start(now, actor)).await)),
        Request::StopRecording(actor, reply) => drop(reply.send(Box::pin(state.handle_stop(now, actor)).await)),
        Request::StartOrder(actor, order, reply) => {
            drop(reply.send(Box::pin(state.handle_order(now, actor, *order)).await));
        }
        Request::MayCapture(reply) => drop(reply.send(state.handle_may_capture())),
        Request::EndOrder(order, actor, reason, reply) => {
            Box::pin(state.handle_order_end(now, order, actor, reason)).await;
            let _ = reply.send(());
        }
        Request::Stored(recording, status) => state.handle_stored(now, recording, status),
    }
}
