//! The WebSocket of a Chime client: `/control/{meeting}`, its token a subprotocol; limits of size, rate and time.

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::Response;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use wire::{Redacted, RoomId};

use super::attendance::{self, Absent, Attendance};
use super::frames::{self, Frame};
use super::names::{MeetingId, SHARE_SUFFIX};
use super::session::{Act, Denied, Own, Session, Turn};
use crate::address::Address;
use crate::app::App;
use crate::error::Error;
use crate::live::face::{Alias, Face, Newcomer};
use crate::live::room::{Joining, RoomFacts, RoomState, close};
use crate::live::roster::{Moment, Outgoing, SocketId};
use crate::live::world::World;
use crate::live::{self, Closed, Request, RoomHandle};
use crate::metrics::Outcome;
use crate::problem::{Code, Problem};
use crate::ws::session::{Bucket, end, new_line};

/// The subprotocol that the client expects to be chosen; its token is the other one.
const SUBPROTOCOL: &str = "_aws_wt_session";

/// The longest token that the API allows, in bytes.
const MAX_TOKEN_BYTES: usize = 2048;

/// How long a client may be silent. It pings every ten seconds.
const SILENCE: Duration = Duration::from_secs(45);

/// How long one frame may take to leave.
const SEND_WITHIN: Duration = Duration::from_secs(10);

/// How long it may take to look up whose token it is.
const LOOK_WITHIN: Duration = Duration::from_secs(5);

/// Frames a second, and the burst beyond which they are too many: data messages come one by one.
const RATE: f64 = 200.0;
const BURST: f64 = 2000.0;

/// How often a join is tried again when the Room ended at that very moment.
const TRIES: usize = 3;

/// `GET /control/{meeting}`. Whoever is not let in is told so inside the protocol: a client cannot read an HTTP status here and would
/// try again for minutes.
///
/// # Errors
/// When there are too many open sockets; then trying again is right.
pub(crate) async fn upgrade(
    State(app): State<App>,
    Path(meeting): Path<String>,
    headers: HeaderMap,
    Address(from): Address,
    ws: WebSocketUpgrade,
) -> Result<Response, Error> {
    let place = crate::ws::enter(&app, from)?;
    let token = find_token(&headers);
    let ws = ws.protocols([SUBPROTOCOL]);
    let ws = ws.max_message_size(2 * frames::MAX_FRAME_BYTES).max_frame_size(2 * frames::MAX_FRAME_BYTES);
    Ok(ws.on_upgrade(async move |socket| {
        Box::pin(attend(app, socket, meeting, token)).await;
        drop(place);
    }))
}

/// The subprotocol that is a token. Its letters are those of a header, so no list needs to be unquoted.
fn find_token(headers: &HeaderMap) -> Option<Redacted<String>> {
    let lists = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter().filter_map(|value| value.to_str().ok());
    let mut offered = lists.flat_map(|list| list.split(',')).map(str::trim);
    let token = offered.find(|text| *text != SUBPROTOCOL && !text.is_empty() && text.len() <= MAX_TOKEN_BYTES)?;
    Some(Redacted::new(token.to_owned()))
}

/// What a socket came with.
#[derive(Debug)]
struct Credential {
    meeting: String,
    token: Option<Redacted<String>>,
}

async fn find_attendance(app: &App, credential: &Credential) -> Result<Attendance, Denied> {
    let meeting: MeetingId = credential.meeting.parse().map_err(|_| Denied::Unknown)?;
    let token = credential.token.as_ref().ok_or(Denied::Unknown)?;
    let found = timeout(LOOK_WITHIN, attendance::find(app, meeting, token.reveal())).await;
    found.map_err(|_| Denied::Failed)?.map_err(|absent| match absent {
        Absent::Unknown => Denied::Unknown,
        Absent::Ended => Denied::Ended,
        Absent::Failed(error) => {
            tracing::error!(%error, "a join token could not be looked up");
            Denied::Failed
        }
    })
}

/// One connection: its socket, its session and, once it has joined, its place in the Room.
struct Connection {
    app: App,
    socket: WebSocket,
    session: Session,
    credential: Credential,
    attendance: Option<Attendance>,
    seat: Option<(SocketId, mpsc::Receiver<Outgoing>, RoomHandle)>,
    started: Instant,
}

async fn attend(app: App, socket: WebSocket, meeting: String, token: Option<Redacted<String>>) {
    let credential = Credential { meeting, token };
    let found = find_attendance(&app, &credential).await;
    let own = found.as_ref().map(|attendance| Own {
        who: attendance.person.participant,
        rights: attendance.capabilities.to_rights(),
        is_share: attendance.is_share,
    });
    let started = Instant::now();
    let now = Moment { wall: app.now(), steady: Duration::ZERO };
    let session = Session::new(now, own.map_err(|denied| *denied));
    let metrics = app.metrics.clone();
    let _counted = metrics.count_socket();
    let mut connection = Connection { app, socket, session, credential, attendance: found.ok(), seat: None, started };
    let code = connection.run().await;
    if let Some((id, _, room)) = connection.seat.take() {
        // A seat that has another line by now is not touched by this.
        let _ = room.send(Request::Gone(id)).await;
    }
    if let Some(code) = code {
        end(&mut connection.socket, code).await;
    }
}

/// What happened next on a connection.
enum Next {
    Frame(Result<Bytes, Option<u16>>),
    Told(Option<Outgoing>),
    Time,
    Silent,
}

impl Connection {
    fn now(&self) -> Moment {
        Moment { wall: self.app.now(), steady: self.started.elapsed() }
    }

    /// Runs until either side ends it. `None` when the client is gone; else the close code to send.
    async fn run(&mut self) -> Option<u16> {
        let mut bucket = Bucket::new(Instant::now(), RATE, BURST);
        let mut silent_at = Instant::now() + SILENCE;
        loop {
            if let Some(code) = self.act().await {
                return code;
            }
            let now = self.now();
            match self.next(silent_at).await {
                Next::Silent => return Some(close::SILENT),
                Next::Time => self.session.handle_time(self.now()),
                Next::Told(Some(Outgoing::Notice(notice))) => self.session.handle_notice(now, *notice),
                Next::Told(Some(Outgoing::Text(_))) => {}
                Next::Told(Some(Outgoing::Close(_)) | None) => {
                    // Nothing more comes from there.
                    if let Some((id, _, room)) = self.seat.take() {
                        let _ = room.send(Request::Gone(id)).await;
                    }
                    self.session.handle_close(now);
                }
                Next::Frame(Err(code)) => return code,
                Next::Frame(Ok(bytes)) => {
                    silent_at = Instant::now() + SILENCE;
                    if !bucket.take(Instant::now()) {
                        self.app.metrics.note_message(Outcome::TooMany);
                        return Some(close::TOO_MANY);
                    }
                    match frames::decode(&bytes) {
                        Ok(frame) => {
                            self.app.metrics.note_message(Outcome::Taken);
                            self.session.handle_frame(now, frame);
                        }
                        Err(frames::FrameError::TooLarge) => {
                            self.app.metrics.note_message(Outcome::TooLarge);
                            return Some(close::TOO_LARGE);
                        }
                        Err(frames::FrameError::Malformed) => {
                            self.app.metrics.note_message(Outcome::Malformed);
                            return Some(close::MALFORMED);
                        }
                    }
                }
            }
        }
    }

    async fn next(&mut self, silent_at: Instant) -> Next {
        let Self { socket, session, seat, started, .. } = self;
        let due = session.next_deadline().map(|at| *started + at);
        let told = async {
            match seat {
                Some((_, outgoing, _)) => outgoing.recv().await,
                None => std::future::pending().await,
            }
        };
        let time = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            told = told => Next::Told(told),
            () = time => Next::Time,
            frame = timeout_at(silent_at, receive(socket)) => frame.map_or(Next::Silent, Next::Frame),
        }
    }

    /// Does what the session wants done. `Some` ends the connection.
    async fn act(&mut self) -> Option<Option<u16>> {
        while let Some(act) = self.session.poll_act() {
            match act {
                Act::Send(frame) => {
                    if !self.send(&frame).await {
                        return Some(None);
                    }
                }
                Act::Join(client) => {
                    let result = Box::pin(self.join(client)).await.map(|()| self.turn());
                    self.session.handle_joined(self.now(), result);
                }
                Act::Ask(ask) => {
                    if let Some((id, _, room)) = &self.seat {
                        // A Room that ended says so by closing the line.
                        let _ = room.send(Request::Ask(*id, ask)).await;
                    }
                }
                Act::Close(code) => return Some(Some(code)),
            }
        }
        None
    }

    /// The relay, where there is one and Chime clients are to use it.
    fn turn(&self) -> Option<Turn> {
        let relay = self.app.relay.as_ref().filter(|_| self.app.config.chime_relay)?;
        let who = self.attendance.as_ref()?.person.participant;
        Some(Turn { server: relay.server(who, self.app.now()), ttl: relay.ttl() })
    }

    async fn send(&mut self, frame: &Frame) -> bool {
        let message = Message::Binary(frames::encode(frame).into());
        matches!(timeout(SEND_WITHIN, self.socket.send(message)).await, Ok(Ok(())))
    }

    async fn join(&mut self, client: u64) -> Result<(), Problem> {
        let Some(attendance) = &self.attendance else { return Err(Code::Unavailable.problem()) };
        for _ in 0..TRIES {
            let room = open_room(&self.app, attendance).map_err(|closed| match closed {
                Closed::NoSfu => Code::Unavailable.problem(),
                Closed::Draining => crate::drain::come_back(),
            })?;
            let (line, outgoing) = new_line();
            let id = line.socket;
            let joining = Joining {
                person: attendance.person.clone(),
                line,
                resume: None,
                token: Redacted::new(String::new()),
                face: to_face(attendance, client),
            };
            // Otherwise the Room ended at this moment: another one opens.
            if let Ok(result) = room.join(joining).await {
                result?;
                look_again(&self.app, &self.credential, attendance, &room).await;
                self.seat = Some((id, outgoing, room));
                return Ok(());
            }
        }
        Err(Code::Unavailable.problem())
    }
}

/// What changed since the socket opened found nobody in the Room to be told.
async fn look_again(app: &App, credential: &Credential, before: &Attendance, room: &RoomHandle) {
    let who = before.person.participant;
    match find_attendance(app, credential).await {
        Ok(now) if now.capabilities != before.capabilities => room.set_rights(who, now.capabilities.to_rights()).await,
        Err(Denied::Unknown | Denied::Ended) => room.revoke(who).await,
        // What cannot be looked up may be as it was.
        Ok(_) | Err(Denied::Failed) => {}
    }
}

fn to_face(attendance: &Attendance, client: u64) -> Face {
    let id = attendance.attendee.to_string();
    let (rights, name) = (attendance.capabilities.to_rights(), attendance.external_user_id.as_str());
    let alias = |id: &str| Alias { id: id.into(), name: Redacted::new(name.into()) };
    if attendance.is_share {
        return Face::Share(Newcomer { client, alias: alias(&format!("{id}{SHARE_SUFFIX}")), rights });
    }
    Face::Translated(Newcomer { client, alias: alias(&id), rights })
}

fn open_room(app: &App, attendance: &Attendance) -> Result<RoomHandle, Closed> {
    let visit = attendance.visit;
    app.live.open(visit, |room: RoomId| {
        let facts = RoomFacts {
            room,
            card: attendance.card.clone(),
            may_record: attendance.may_record,
            is_door_open: attendance.is_plain,
            auto_admits: false,
            needs_consent: attendance.needs_consent,
        };
        let world = World { app: app.clone(), org: attendance.org, visit };
        let make = |now| RoomState::new(facts, world, now);
        live::spawn((room, visit, attendance.org), app.clock.clone(), make, app.live.clone())
    })
}

/// The next binary frame; else the code to close with, or none when the client is gone.
async fn receive(socket: &mut WebSocket) -> Result<Bytes, Option<u16>> {
    loop {
        match socket.recv().await {
            Some(Ok(Message::Binary(bytes))) => return Ok(bytes),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(_))) => return Err(Some(close::MALFORMED)),
            Some(Ok(Message::Close(_))) | None => return Err(None),
            Some(Err(error)) => return Err(crate::ws::session::is_capacity(&error).then_some(close::TOO_LARGE)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_is_the_other_subprotocol() {
        let with = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(header::SEC_WEBSOCKET_PROTOCOL, value.parse().unwrap());
            }
            find_token(&headers).map(|token| token.reveal().clone())
        };
        assert_eq!(with(&["_aws_wt_session, abc#content"]).as_deref(), Some("abc#content"));
        assert_eq!(with(&["_aws_wt_session", "abc"]).as_deref(), Some("abc"));
        assert_eq!(with(&["_aws_wt_session"]), None);
        assert_eq!(with(&[]), None);
        assert_eq!(with(&["_aws_wt_session,", &"x".repeat(2049)]), None);
    }
}
