//! Rows 23 and 24: that a screen is shared, as the books have it. Whether its picture flows is the room's to decide; who may share is the
//! same rule in both.

use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;
use uuid::Uuid;
use wire::ParticipantId;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::extract::Caller;
use crate::auth::{Actor, Permission, StaffRole};
use crate::body::OptionalBody;
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::ids::VisitId;
use crate::participant::{self, Role};
use crate::problem::Code;
use crate::superset::Shape;
use crate::telehealth::session;
use crate::visit::{Visit, VisitStatus};

/// What is shared, as the browser reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "plain words")]
pub enum SourceKind {
    Monitor,
    Window,
    Tab,
}

impl SourceKind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Window => "window",
            Self::Tab => "tab",
        }
    }
}

/// What is to be shared.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct StartBody {
    source_kind: Option<SourceKind>,
}

/// A share.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShareView {
    share_id: Uuid,
    visit_id: VisitId,
    participant_id: ParticipantId,
    source_kind: Option<String>,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    started_at: Timestamp,
    #[serde(with = "rfc3339::option")]
    #[schemars(with = "Option<crate::schema::Time>")]
    stopped_at: Option<Timestamp>,
    screen_sharing_active: bool,
}

/// `POST /api/v1/telehealth/sessions/{id}/screen-share/start`.
///
/// # Errors
/// `FORBIDDEN` for a place without that capability; `SHARE_BUSY` while somebody else shares; `INVALID_TRANSITION` unless the visit runs.
pub async fn start(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(body): OptionalBody<StartBody>,
) -> Result<Response> {
    let visit = session::find(&app, &actor, Permission::ShareScreen, &id).await?;
    let now = app.now();
    let outcome = db::audited(&app.db, actor.org(), &actor, async |tx| {
        let (person, role) = sharer(tx, &actor, &visit).await?;
        let about = |event| Draft::new(event).visit(visit.id).subject("participant", person);
        // A patient's screen shows more than a patient means to show: it takes a place that was given the right.
        if role != Role::Clinician {
            return Ok((Err(Code::Forbidden), vec![about(EventType::ScreenShareRefused).failed("CAPABILITY")]));
        }
        let status = lock(tx, visit.id).await?;
        if status != VisitStatus::InProgress {
            return Err(crate::visit::refuse_move(status, VisitStatus::InProgress));
        }
        if let Some(share) = active(tx, visit.id).await? {
            if share.participant_id == person {
                return Ok((Ok(share), vec![about(EventType::ScreenShareStarted).because("ALREADY")]));
            }
            return Ok((Err(Code::ShareBusy), vec![about(EventType::ScreenShareRefused).failed("SHARE_BUSY")]));
        }
        let share = insert(tx, &visit, person, body.source_kind, now).await?;
        let mut event = about(EventType::ScreenShareStarted);
        if let Some(kind) = body.source_kind {
            event = event.fact("source", Fact::Word(kind.as_str()));
        }
        Ok::<_, Error>((Ok(share), vec![event]))
    })
    .await?;
    shape.reply(StatusCode::OK, &outcome.map_err(Error::from)?)
}

/// `POST /api/v1/telehealth/sessions/{id}/screen-share/stop`: whoever shares, or the clinician.
///
/// # Errors
/// `NOT_SHARING`; `FORBIDDEN`.
pub async fn stop(
    State(app): State<App>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    shape: Shape,
    OptionalBody(crate::recording::http::Empty {}): OptionalBody<crate::recording::http::Empty>,
) -> Result<Response> {
    let visit = session::find(&app, &actor, Permission::ShareScreen, &id).await?;
    let now = app.now();
    let stopped = db::audited(&app.db, actor.org(), &actor, async |tx| {
        let (person, role) = sharer(tx, &actor, &visit).await?;
        lock(tx, visit.id).await?;
        let mut share = active(tx, visit.id).await?.ok_or(Error::from(Code::NotSharing))?;
        if share.participant_id != person && role != Role::Clinician {
            return Err(Code::Forbidden.into());
        }
        sqlx::query!("UPDATE screen_share SET stopped_at = $2 WHERE share_id = $1", share.share_id, now)
            .execute(tx)
            .await?;
        (share.stopped_at, share.screen_sharing_active) = (Some(now), false);
        let event = Draft::new(EventType::ScreenShareStopped).visit(visit.id);
        Ok::<_, Error>((share.clone(), vec![event.subject("participant", share.participant_id)]))
    })
    .await?;
    shape.reply(StatusCode::OK, &stopped)
}

/// The caller's place in the visit.
async fn sharer(tx: &mut Tx, actor: &Actor, visit: &Visit) -> Result<(ParticipantId, Role)> {
    match actor {
        Actor::Attendee(attendee) => Ok((attendee.participant, attendee.role)),
        Actor::Staff(staff) if staff.role == StaffRole::Clinician => {
            let found = participant::store::find_by_identity(tx, visit.id, Role::Clinician, &staff.sub).await?;
            let person = found.ok_or(Error::from(Code::Forbidden))?;
            Ok((person.id, person.role))
        }
        _ => Err(Code::Forbidden.into()),
    }
}

/// Holds the visit, so that of two who begin at once one does.
async fn lock(tx: &mut Tx, visit: VisitId) -> Result<VisitStatus> {
    let status = sqlx::query_scalar!("SELECT status FROM visit WHERE visit_id = $1 FOR UPDATE", visit.as_uuid())
        .fetch_optional(tx)
        .await?
        .ok_or(Error::from(Code::NotFound))?;
    VisitStatus::parse(&status).ok_or_else(|| Error::Inside("a visit's status is unknown".to_owned()))
}

async fn active(tx: &mut Tx, visit: VisitId) -> Result<Option<ShareView>> {
    let row = sqlx::query!(
        "SELECT share_id, participant_id, source_kind, started_at FROM screen_share
         WHERE visit_id = $1 AND stopped_at IS NULL",
        visit.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| ShareView {
        share_id: row.share_id,
        visit_id: visit,
        participant_id: ParticipantId::from_uuid(row.participant_id),
        source_kind: row.source_kind,
        started_at: row.started_at,
        stopped_at: None,
        screen_sharing_active: true,
    }))
}

/// Since when a screen of the visit is shared.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn find_active(tx: &mut Tx, visit: VisitId) -> Result<Option<Timestamp>> {
    Ok(active(tx, visit).await?.map(|share| share.started_at))
}

async fn insert(
    tx: &mut Tx,
    visit: &Visit,
    person: ParticipantId,
    kind: Option<SourceKind>,
    now: Timestamp,
) -> Result<ShareView> {
    let share_id = Uuid::new_v4();
    let source_kind = kind.map(|kind| kind.as_str().to_owned());
    sqlx::query!(
        "INSERT INTO screen_share (share_id, org_id, visit_id, participant_id, source_kind, started_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        share_id,
        visit.org.as_uuid(),
        visit.id.as_uuid(),
        person.as_uuid(),
        source_kind,
        now
    )
    .execute(tx)
    .await?;
    Ok(ShareView {
        share_id,
        visit_id: visit.id,
        participant_id: person,
        source_kind,
        started_at: now,
        stopped_at: None,
        screen_sharing_active: true,
    })
}
