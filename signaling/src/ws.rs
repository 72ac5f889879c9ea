//! The upgrade to `/ws`, authorised by a session cookie or by a clinician's own credential, and the way from there to a seat.

pub mod message;
pub mod resume;
pub(crate) mod session;

use std::net::IpAddr;

use ::proof::{Expected, Fresh};
use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use schemars::JsonSchema;
use serde::Deserialize;
use wire::{Redacted, RoomId, VisitId};

use crate::address::{self, Address};
use crate::app::App;
use crate::auth::{Actor, Attendee, Permission, binding, extract, origin};
use crate::body::Params;
use crate::db;
use crate::drain;
use crate::error::Error;
use crate::identity::revoke;
use crate::ids::OrgId;
use crate::join;
use crate::join::Claim;
use crate::join::context::Context;
use crate::join::session::Seat;
use crate::live::face::Face;
use crate::live::room::{Joining, RoomFacts, RoomState, close};
use crate::live::roster::Person;
use crate::live::world::World;
use crate::live::{self, Closed, RoomHandle};
use crate::organization;
use crate::participant::{self, Participant, Role};
use crate::problem::{Code, Problem};
use crate::server::places::{Full, Place};
use crate::visit::{self, RecordingPolicy, Visit};
use crate::ws::message::{EndReason, MAX_FRAME_BYTES, Practice, RoleView, ServerMessage, VisitCard};
use crate::ws::session::Hello;

/// The version of the protocol, as the upgrade names it.
const SUBPROTOCOL: &str = "anteroom.v1";

/// Each socket holds a buffer of this size for reading and fills all of it with zeros before every read. The default of 128 KiB was
/// the larger part of what a connected person cost; hardly a message but an offer is longer than this, and those just take a few
/// reads.
const READ_BUFFER: usize = 4 * 1024;

/// How often an open socket is written down as a sign of life of its session.
const TOUCH_EVERY: std::time::Duration = std::time::Duration::from_secs(10 * 60);

/// How often a join is tried again when the Room ended at that very moment.
const TRIES: usize = 3;

/// `?visit=` of a clinician's socket.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WsQuery {
    visit: Option<VisitId>,
}

/// `GET /ws`.
///
/// # Errors
/// `CROSS_ORIGIN` before anything is upgraded. Everything else is said by a close code, because a browser's script can
/// read nothing else.
pub async fn upgrade(
    State(app): State<App>,
    Params(query): Params<WsQuery>,
    headers: HeaderMap,
    Address(from): Address,
    context: Context,
    ws: WebSocketUpgrade,
) -> Result<Response, Error> {
    if !origin::is_ours(&app, &headers) {
        return Err(Code::CrossOrigin.into());
    }
    let place = enter(&app, from)?;
    let guest = find_guest(&app, query.visit, &headers).await?;
    // A frame a little over our limit is read and refused by its code; a much larger one is not even read.
    let ws = ws.read_buffer_size(READ_BUFFER);
    let ws = ws.protocols([SUBPROTOCOL]).max_message_size(2 * MAX_FRAME_BYTES).max_frame_size(2 * MAX_FRAME_BYTES);
    Ok(ws.on_upgrade(async move |mut socket| {
        match guest {
            Some(guest) => Box::pin(attend(app, socket, guest, context)).await,
            None => session::end(&mut socket, close::UNAUTHENTICATED).await,
        }
        drop(place);
    }))
}

/// A place for one more WebSocket: counted for each client, also behind a proxy, because sockets stay for a whole visit.
pub(crate) fn enter(app: &App, from: IpAddr) -> Result<Place, Problem> {
    let is_shared = address::is_shared(from, &app.config.trusted_proxies);
    app.sockets.enter((!is_shared).then_some(from)).map_err(|full| {
        app.metrics.note_refused("websocket", full);
        match full {
            Full::All => Code::Unavailable.problem(),
            Full::Address => Code::RateLimited.with("There are too many open connections from your network."),
        }
    })
}

/// Somebody whose credential holds for this visit.
struct Guest {
    person: Person,
    org: OrgId,
    visit: Visit,
    card: VisitCard,
    auto_admits: bool,
    bound: Bound,
}

/// What somebody has to prove before the seat is theirs.
enum Bound {
    /// Nothing: their credential is whole.
    Free,
    /// The key of their session, if it has one.
    Seat(Box<Seat>),
    /// The key that claimed their link, which this spends.
    Claim(Claim),
}

/// Whose socket this is: by staff credential for the named visit, or by session cookie. The request says nothing else that
/// counts.
async fn find_guest(app: &App, visit: Option<VisitId>, headers: &HeaderMap) -> Result<Option<Guest>, Error> {
    let (actor, bound) = match visit {
        Some(_) => match extract::staff(app, headers).await? {
            Some(staff) => (Actor::Staff(staff), Bound::Free),
            None => return Ok(None),
        },
        None => match find_seat(app, headers).await? {
            Some((attendee, bound)) => (Actor::Attendee(attendee), bound),
            None => return Ok(None),
        },
    };
    let id = match (&actor, visit) {
        (Actor::Attendee(attendee), _) => attendee.visit,
        (_, Some(visit)) => visit,
        (_, None) => return Ok(None),
    };
    let org = actor.org();
    db::scoped(&app.db, org, async |tx| {
        let Some(visit) = visit::store::find(tx, id).await? else { return Ok(None) };
        let people = participant::store::of_visits(tx, &[id.as_uuid()]).await?;
        let Some(own) = find_place(&actor, &visit, &people) else { return Ok(None) };
        let practice = organization::get(tx, org).await?;
        let clinician = people.iter().find(|p| p.role == Role::Clinician && p.identity == visit.clinician_id);
        let card = VisitCard {
            visit_id: visit.id,
            scheduled_at: visit.scheduled_start,
            clinician_name: clinician.map(|p| p.name.clone()).unwrap_or_default(),
            practice: Practice { name: practice.name, phone: practice.phone },
            recording_policy: visit.recording_policy.as_str(),
        };
        let person =
            Person { participant: own.id, role: own.role.into(), name: own.name.clone(), actor: actor.clone() };
        let auto_admits = organization::settings(tx, org).await?.auto_admit_on_clinician_join;
        Ok(Some(Guest { person, org, visit, card, auto_admits, bound }))
    })
    .await
}

/// The session of a cookie, or the claim that becomes one.
async fn find_seat(app: &App, headers: &HeaderMap) -> Result<Option<(Attendee, Bound)>, Error> {
    if let Some(seat) = extract::seat(app, headers).await? {
        return Ok(Some((seat.attendee.clone(), Bound::Seat(Box::new(seat)))));
    }
    let Some(token) = extract::session_token(headers) else { return Ok(None) };
    let now = app.now();
    db::scoped(&app.db, token.org, async |tx| {
        let Some(claim) = join::store::find_claim(tx, &token, now).await? else { return Ok(None) };
        let Some(visit) = visit::store::find(tx, claim.visit).await? else { return Ok(None) };
        let people = participant::store::of_visits(tx, &[claim.visit.as_uuid()]).await?;
        let Some(person) = people.into_iter().find(|person| person.id == claim.participant) else { return Ok(None) };
        let attendee = Attendee {
            org: claim.org,
            visit: claim.visit,
            participant: claim.participant,
            role: person.role,
            name: person.name,
            session: claim.session,
            token: Some(claim.token),
            expires_at: join::session::expiry(&visit, now),
        };
        Ok(Some((attendee, Bound::Claim(claim))))
    })
    .await
}

/// Whether the seat is theirs, as their key says. A claim is spent by that.
async fn is_proved(app: &App, bound: Bound, hello: &Hello, nonce: &str, context: &Context) -> Result<bool, Error> {
    let expected = Expected { method: "GET", path: "/ws", fresh: Fresh::Nonce(nonce), secret: None };
    let key = hello.proof.as_ref().and_then(|proof| proof::verify(proof.reveal(), &expected));
    match bound {
        Bound::Free => Ok(true),
        Bound::Seat(seat) => Ok(binding::hold(app, *seat, key.as_ref(), context).await?.is_some()),
        Bound::Claim(claim) => {
            Ok(key.as_ref() == Some(&claim.key) && join::claim::confirm(app, &claim, context).await?.is_some())
        }
    }
}

/// The place in the visit that a credential is for.
fn find_place<'a>(actor: &Actor, visit: &Visit, people: &'a [Participant]) -> Option<&'a Participant> {
    match actor {
        Actor::Attendee(attendee) => people.iter().find(|p| p.id == attendee.participant && p.role == attendee.role),
        Actor::Staff(staff) => {
            actor.require_on(Permission::HostVisit, visit.id, &visit.clinician_id).ok()?;
            people.iter().find(|p| p.role == Role::Clinician && p.identity == staff.sub)
        }
        Actor::Service(_) | Actor::System { .. } | Actor::Anonymous { .. } => None,
    }
}

impl From<Role> for RoleView {
    fn from(role: Role) -> Self {
        match role {
            Role::Clinician => Self::Clinician,
            Role::Patient => Self::Patient,
            Role::Guest | Role::Interpreter | Role::Caregiver | Role::Supervisor => Self::Guest,
            Role::Observer => Self::Observer,
        }
    }
}

/// From `hello` to the seat, and then the session until it ends.
async fn attend(app: App, mut socket: WebSocket, mut guest: Guest, context: Context) {
    let bound = std::mem::replace(&mut guest.bound, Bound::Free);
    let nonce = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>());
    if !matches!(bound, Bound::Free) {
        let challenge = ServerMessage::Challenge { nonce: nonce.clone() }.to_text(0);
        // A socket that is gone says so when it is read.
        drop(socket.send(Message::Text(challenge.into())).await);
    }
    let Some(hello) = session::read_hello(&mut socket).await else { return };
    match is_proved(&app, bound, &hello, &nonce, &context).await {
        Ok(true) => {}
        Ok(false) => return session::end(&mut socket, close::UNAUTHENTICATED).await,
        Err(error) => {
            tracing::warn!(%error, "a key could not be checked");
            return refuse(&mut socket, &Code::Unavailable.problem()).await;
        }
    }
    let resume = hello.resume;
    for _ in 0..TRIES {
        let room = match open_room(&app, &guest) {
            Ok(room) => room,
            Err(Closed::NoSfu) => break,
            Err(Closed::Draining) => return refuse(&mut socket, &drain::come_back()).await,
        };
        let (line, outgoing) = session::new_line();
        let id = line.socket;
        let token = Redacted::new(URL_SAFE_NO_PAD.encode(rand::random::<[u8; 24]>()));
        let face = Face::Native;
        let joining = Joining { person: guest.person.clone(), line, resume: resume.clone(), token, face };
        match room.join(joining).await {
            Ok(Ok(())) => {
                let gone = gone(&app, &guest.person.actor);
                let running = session::run(socket, (id, outgoing), room, &app.metrics, gone);
                tokio::select! {
                    () = running => {}
                    () = keep_alive(&app, &guest) => {}
                }
                return;
            }
            Ok(Err(problem)) => return refuse(&mut socket, &problem).await,
            // The Room ended at this moment: another one opens.
            Err(live::RoomEnded) => {}
        }
    }
    refuse(&mut socket, &Code::Unavailable.problem()).await;
}

/// A session does not grow idle while its socket is open. Never ends.
async fn keep_alive(app: &App, guest: &Guest) {
    loop {
        tokio::time::sleep(TOUCH_EVERY).await;
        let Actor::Attendee(attendee) = &guest.person.actor else { continue };
        let (id, now) = (attendee.session, app.now());
        let touched = db::measured(&app.db, guest.org, async |tx| join::session::touch(tx, id, None, now).await).await;
        if let Err(error) = touched {
            tracing::warn!(%error, "a session's sign of life could not be written");
        }
    }
}

/// Comes back when a staff member may stay no longer. What ends a link's session ends its seat by itself.
async fn gone(app: &App, actor: &Actor) {
    match actor {
        Actor::Staff(staff) => revoke::gone(app, staff).await,
        _ => std::future::pending().await,
    }
}

fn open_room(app: &App, guest: &Guest) -> Result<RoomHandle, Closed> {
    let visit = guest.visit.id;
    app.live.open(visit, |room: RoomId| {
        let may_record = guest.visit.recording_policy == RecordingPolicy::OptIn;
        let facts = RoomFacts {
            room,
            card: guest.card.clone(),
            may_record,
            is_door_open: false,
            auto_admits: guest.auto_admits,
            needs_consent: true,
        };
        let world = World { app: app.clone(), org: guest.org, visit };
        let make = |now| RoomState::new(facts, world, now);
        live::spawn((room, visit, guest.org), app.clock.clone(), make, app.live.clone())
    })
}

/// Says why there is no seat, and closes.
async fn refuse(socket: &mut WebSocket, problem: &Problem) {
    let (message, code) = if problem.code == Code::VisitFinal {
        (ServerMessage::Ended { reason: EndReason::Completed }, close::NORMAL)
    } else {
        let members = problem.members.iter().cloned().collect();
        let (code, detail) = (problem.code.as_str(), problem.detail.clone().into_owned());
        let close = if problem.code == Code::Draining { close::DRAINING } else { close::FAILED };
        (ServerMessage::Error { id: None, code, detail, members }, close)
    };
    // A socket that is gone needs no reason.
    drop(socket.send(Message::Text(message.to_text(1).into())).await);
    session::end(socket, code).await;
}
