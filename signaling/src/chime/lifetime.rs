//! Meetings end by themselves: when nobody has been connected for a while, and when they have lasted too long.

use std::time::Duration;

use sqlx::PgPool;
use uuid::Uuid;

use crate::app::App;
use crate::auth::Actor;
use crate::chime::error::Fault;
use crate::chime::meetings::{self, Ending};
use crate::chime::names::MeetingId;
use crate::chime::{notices, notifications, store};
use crate::clock::Timestamp;
use crate::db;
use crate::error::Result;
use crate::ids::{OrgId, VisitId};
use crate::visit::EndReason;

/// How often meetings are looked at, at most; a shorter limit is looked at more often.
const LONGEST_SPAN: Duration = Duration::from_secs(15);

/// Meetings looked at in one turn. Those that have been silent longest come first.
const MOST: i64 = 1000;

/// A meeting that lives, of any organisation.
#[derive(Clone, Copy, Debug)]
struct Open {
    org: OrgId,
    meeting: MeetingId,
    visit: VisitId,
    created_at: Timestamp,
    attended_at: Timestamp,
    is_visit_over: bool,
}

/// Looks after meetings until the role stops.
pub(crate) async fn run(app: App) {
    let span = (app.config.chime_silence / 4).clamp(Duration::from_millis(100), LONGEST_SPAN);
    let mut turn = tokio::time::interval(span);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = turn.tick() => {}
        }
        if let Err(error) = look(&app).await {
            tracing::warn!(%error, "meetings could not be looked after for now");
        }
    }
}

/// Notes who is attended, and ends what is due. A meeting is silent when nobody has had a connection for sound, neither inside nor in the
/// waiting room, for as long as the operator says; before the first one it counts from its creation.
pub(super) async fn look(app: &App) -> Result<()> {
    let now = app.now();
    for open in find_open(app.db.pool()).await? {
        // A room outlives the connections in it: seats are kept, and so is an empty room, for a while.
        let seen_at = app.live.find(open.visit).and_then(|room| room.attended_at(now));
        let is_news = seen_at.is_some_and(|at| at > open.attended_at);
        let attended_at = seen_at.unwrap_or(open.attended_at).max(open.attended_at);
        let reason = if open.is_visit_over {
            "VISIT_OVER"
        } else if now - open.created_at >= app.config.chime_longest {
            "TOO_LONG"
        } else if now - attended_at >= app.config.chime_silence {
            "SILENT"
        } else {
            if is_news {
                note_attended(app, open, attended_at).await?;
            }
            continue;
        };
        if let Err(fault) = end(app, open, reason, now).await {
            tracing::warn!(reason = %fault.message, "a meeting that is due could not be ended for now");
        }
    }
    Ok(())
}

async fn find_open(pool: &PgPool) -> Result<Vec<Open>> {
    struct Row {
        org_id: Uuid,
        meeting_id: Uuid,
        visit_id: Uuid,
        created_at: Timestamp,
        attended_at: Timestamp,
        is_visit_over: bool,
    }
    let mut tx = pool.begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'meetings', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query_as!(
        Row,
        "SELECT org_id, meeting_id, visit_id, created_at, attended_at, is_visit_over FROM chime_meeting WHERE ended_at IS NULL
         ORDER BY is_visit_over DESC, attended_at LIMIT $1",
        MOST
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    let open = |row: Row| Open {
        org: OrgId::from_uuid(row.org_id),
        meeting: MeetingId::from_uuid(row.meeting_id),
        visit: VisitId::from_uuid(row.visit_id),
        created_at: row.created_at,
        attended_at: row.attended_at,
        is_visit_over: row.is_visit_over,
    };
    Ok(rows.into_iter().map(open).collect())
}

/// A measurement, not an act: nobody's audit event.
async fn note_attended(app: &App, open: Open, at: Timestamp) -> Result<()> {
    db::measured(&app.db, open.org, async |tx| {
        sqlx::query!(
            "UPDATE chime_meeting SET attended_at = greatest(attended_at, $2) WHERE meeting_id = $1 AND ended_at IS NULL",
            open.meeting.as_uuid(),
            at
        )
        .execute(tx)
        .await?;
        Ok(())
    })
    .await
}

async fn end(app: &App, open: Open, reason: &'static str, now: Timestamp) -> std::result::Result<(), Fault> {
    let actor = Actor::System { org: open.org };
    let ended = db::audited(&app.db, open.org, &actor, async |tx| {
        store::lock(tx, open.meeting).await?;
        let found = meetings::require(tx, open.meeting).await?;
        meetings::end(tx, open.org, &found, Ending { reason, visit: EndReason::Timeout, by: "system", now }).await
    })
    .await;
    let ended = match ended {
        Ok(ended) => ended,
        // Its visit is over, or somebody was faster: then only its row is left to be closed.
        Err(fault) if fault.kind == crate::chime::error::Kind::NotFound => {
            return db::measured(&app.db, open.org, async |tx| {
                // Not, when somebody else closed it since.
                if store::end(tx, open.meeting, "VISIT_OVER", now).await? {
                    notifications::over(tx, open.org, open.meeting, now).await?;
                }
                Ok(())
            })
            .await;
        }
        Err(fault) => return Err(fault),
    };
    tracing::info!(visit_id = %open.visit, reason, "a meeting ended by itself");
    notices::ended(app, &ended, None).await;
    Ok(())
}
