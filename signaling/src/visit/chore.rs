//! What happens to visits by the clock: patients who do not come, visits that everybody left or that last too long, people who wait too
//! long, links whose time passes unused. Safe on several nodes: a row that another one looks at is skipped, and each act is looked at
//! once more under the lock of its visit.

use std::time::Duration;

use uuid::Uuid;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::error::{Error, Result};
use crate::idempotency;
use crate::ids::{OrgId, ParticipantId, TokenId, VisitId};
use crate::organization::{self, Settings};
use crate::visit::{EndReason, command, store};
use crate::waiting_room;

/// How often the chore looks.
const SPAN: Duration = Duration::from_secs(20);

/// Visits, people or tokens of one organisation that are dealt with in one turn.
const MOST: i64 = 200;

/// A node that holds the room of a visit says so at every turn. Who has not been heard of for so long has lost it.
const SILENCE: time::Duration = time::Duration::seconds(90);

/// For so long it is kept from which network a link was spent and a session was seen.
const NETWORKS_KEPT: time::Duration = time::Duration::days(90);

/// Looks after visits until the role stops.
pub(crate) async fn run(app: App) {
    let mut turn = tokio::time::interval(SPAN);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // Nothing is ended on the word of a database that was away: every node first says again who is there.
    let mut is_fresh = false;
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = turn.tick() => {}
        }
        let looked = match note_attended(&app).await {
            Ok(()) if is_fresh => look(&app).await,
            other => other,
        };
        is_fresh = looked.is_ok();
        if let Err(error) = looked {
            tracing::warn!(%error, "visits could not be looked after for now");
        }
    }
}

/// One turn of the chore, at the App's time.
///
/// # Errors
/// The database's own failures.
pub async fn look(app: &App) -> Result<()> {
    for org in find_organizations(app).await? {
        let settings = db::scoped(&app.db, org, async |tx| organization::settings(tx, org).await).await?;
        time_out(app, org, &settings).await?;
        end_due(app, org, &settings).await?;
        note_expired(app, org).await?;
    }
    for org in find_networks(app).await? {
        forget_networks(app, org).await?;
    }
    idempotency::forget_old(app, app.now()).await?;
    Ok(())
}

/// Writes which visits have somebody connected to their room here. A measurement, not an act.
async fn note_attended(app: &App) -> Result<()> {
    let now = app.now();
    for (org, visits) in app.live.attended(now) {
        let ids: Vec<Uuid> = visits.into_iter().map(VisitId::as_uuid).collect();
        db::measured(&app.db, org, async |tx| {
            sqlx::query!("UPDATE visit SET attended_at = $2 WHERE visit_id = ANY($1)", &ids, now).execute(tx).await?;
            Ok::<_, Error>(())
        })
        .await?;
    }
    Ok(())
}

/// Every organisation that may have something due.
async fn find_organizations(app: &App) -> Result<Vec<OrgId>> {
    let now = app.now();
    let mut tx = app.db.pool().begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'visits', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query_scalar!(
        r#"SELECT org_id AS "org_id!" FROM visit
           WHERE kind = 'VISIT' AND status IN ('SCHEDULED', 'WAITING', 'IN_PROGRESS') AND (scheduled_start_at < $1 OR status = 'WAITING')
           UNION SELECT org_id FROM join_token WHERE status = 'ACTIVE' AND expiry_noted_at IS NULL AND expires_at < $1"#,
        now
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(OrgId::from_uuid).collect())
}

/// Sends away who has waited for too long. A person whose room lives here hears it; a room of another node is that one's to look after.
async fn time_out(app: &App, org: OrgId, settings: &Settings) -> Result<()> {
    let now = app.now();
    let due = db::scoped(&app.db, org, async |tx| {
        Ok::<_, Error>(
            sqlx::query!(
                r#"SELECT w.visit_id, w.participant_id, (v.attended_at IS NOT NULL AND v.attended_at > $2) AS "is_elsewhere!"
                   FROM waiting_entry w JOIN visit v ON v.visit_id = w.visit_id
                   WHERE w.status = 'WAITING' AND w.entered_at <= $1 ORDER BY w.entered_at LIMIT $3"#,
                now - settings.waiting_limit(),
                now - SILENCE,
                MOST
            )
            .fetch_all(tx)
            .await?,
        )
    })
    .await?;
    let actor = Actor::System { org };
    for row in due {
        let (visit, who) = (VisitId::from_uuid(row.visit_id), ParticipantId::from_uuid(row.participant_id));
        if row.is_elsewhere && app.live.find(visit).is_none() {
            continue;
        }
        if let Err(error) = waiting_room::command::time_out(app, &actor, visit, who).await {
            tracing::debug!(%error, "somebody who waited for too long has gone already");
        }
    }
    Ok(())
}

/// What is due of a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Due {
    NoShow,
    Empty,
    TooLong,
}

impl Due {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "NO_SHOW" => Some(Self::NoShow),
            "EMPTY" => Some(Self::Empty),
            "TOO_LONG" => Some(Self::TooLong),
            _ => None,
        }
    }

    const fn reason(self) -> EndReason {
        match self {
            Self::NoShow => EndReason::NoShow,
            Self::Empty | Self::TooLong => EndReason::Timeout,
        }
    }
}

/// Visits that are due, or the one that is asked for; the rows are locked, and those that somebody else holds are skipped.
///
/// A patient who waits is no no-show, however late the clinician is. A visit is empty when its patient was let in once and nobody has
/// been connected since.
async fn find_due(
    tx: &mut Tx,
    settings: &Settings,
    only: Option<VisitId>,
    now: Timestamp,
) -> Result<Vec<(VisitId, Due)>> {
    let rows = sqlx::query!(
        r#"SELECT v.visit_id, d.due AS "due!"
           FROM visit v,
               LATERAL (SELECT EXISTS (SELECT FROM waiting_entry w JOIN participant p USING (participant_id)
                       WHERE w.visit_id = v.visit_id AND p.role = 'PATIENT' AND w.admitted_at IS NOT NULL) AS was_in,
                   EXISTS (SELECT FROM waiting_entry w JOIN participant p USING (participant_id)
                       WHERE w.visit_id = v.visit_id AND p.role = 'PATIENT' AND w.status = 'WAITING') AS waits) patient,
               LATERAL (SELECT CASE
                   WHEN v.status = 'IN_PROGRESS' AND v.started_at <= $1 THEN 'TOO_LONG'
                   WHEN NOT patient.was_in AND NOT patient.waits AND greatest(v.scheduled_start_at, v.reopened_at) <= $2 THEN 'NO_SHOW'
                   WHEN v.status = 'IN_PROGRESS' AND patient.was_in AND greatest(v.attended_at, v.started_at, v.reopened_at) <= $3
                       THEN 'EMPTY'
                   END AS due) d
           WHERE v.kind = 'VISIT' AND NOT v.demo AND v.status IN ('SCHEDULED', 'WAITING', 'IN_PROGRESS')
               AND ($4::uuid IS NULL OR v.visit_id = $4) AND d.due IS NOT NULL
           ORDER BY v.scheduled_start_at LIMIT $5
           FOR UPDATE OF v SKIP LOCKED"#,
        now - settings.longest_visit(),
        now - settings.no_show_grace(),
        now - settings.empty_grace(),
        only.map(VisitId::as_uuid),
        MOST,
    )
    .fetch_all(tx)
    .await?;
    Ok(rows.into_iter().filter_map(|row| Some((VisitId::from_uuid(row.visit_id), Due::parse(&row.due)?))).collect())
}

async fn end_due(app: &App, org: OrgId, settings: &Settings) -> Result<()> {
    let now = app.now();
    let actor = Actor::System { org };
    let due = db::measured(&app.db, org, async |tx| find_due(tx, settings, None, now).await).await?;
    for (id, what) in due {
        // Somebody is connected here at this moment, whatever the last note says.
        if what == Due::Empty && app.live.find(id).and_then(|room| room.attended_at(now)) == Some(now) {
            continue;
        }
        let ended = db::audited(&app.db, org, &actor, async |tx| {
            let again = find_due(tx, settings, Some(id), now).await?;
            let Some((_, due)) = again.into_iter().next() else { return Err(Ending::NotDue) };
            let visit = store::lock(tx, id).await?;
            let (_, events) = command::finish(tx, &visit, due.reason(), &actor.id(), now).await?;
            Ok((due, events))
        })
        .await;
        match ended {
            Ok(due) => {
                tracing::info!(visit_id = %id, ?due, "a visit ended by the clock");
                if let Some(room) = app.live.find(id) {
                    room.end(None).await;
                }
            }
            Err(Ending::NotDue) => {}
            Err(Ending::Failed(error)) => tracing::warn!(%error, visit_id = %id, "a visit that is due was not ended"),
        }
    }
    Ok(())
}

/// Why a visit was left as it is.
enum Ending {
    NotDue,
    Failed(Error),
}

impl From<Error> for Ending {
    fn from(error: Error) -> Self {
        Self::Failed(error)
    }
}

/// Writes which links passed their time unused.
async fn note_expired(app: &App, org: OrgId) -> Result<()> {
    let now = app.now();
    let actor = Actor::System { org };
    // A little after their time, so that clocks that differ still agree about it.
    let before = now - crate::auth::keys::SKEW;
    let noted = db::audited(&app.db, org, &actor, async |tx| {
        let rows = sqlx::query!(
            "UPDATE join_token SET expiry_noted_at = $2 WHERE token_id IN (
                 SELECT token_id FROM join_token WHERE status = 'ACTIVE' AND expiry_noted_at IS NULL AND expires_at <= $1
                 ORDER BY expires_at LIMIT $3 FOR UPDATE SKIP LOCKED)
             RETURNING token_id, visit_id",
            before,
            now,
            MOST
        )
        .fetch_all(tx)
        .await
        .map_err(Error::from)?;
        if rows.is_empty() {
            return Err(Ending::NotDue);
        }
        let event = |token: TokenId, visit| Draft::new(EventType::TokenExpired).visit(visit).subject("token", token.as_uuid());
        let events = rows.into_iter().map(|row| event(TokenId::from_uuid(row.token_id), VisitId::from_uuid(row.visit_id)));
        Ok(((), events.collect()))
    })
    .await;
    match noted {
        Ok(()) | Err(Ending::NotDue) => Ok(()),
        Err(Ending::Failed(error)) => Err(error),
    }
}

/// Every organisation that has networks which are to be forgotten.
async fn find_networks(app: &App) -> Result<Vec<OrgId>> {
    let before = app.now() - NETWORKS_KEPT;
    let mut tx = app.db.pool().begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'networks', true) AS set").fetch_one(&mut *tx).await?;
    let rows = sqlx::query_scalar!(
        r#"SELECT org_id AS "org_id!" FROM join_token WHERE redeemed_at < $1 AND (redemption_net IS NOT NULL OR redemption_ua IS NOT NULL)
           UNION SELECT org_id FROM visit_session WHERE issued_at < $1 AND (net IS NOT NULL OR ua IS NOT NULL)"#,
        before
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    Ok(rows.into_iter().map(OrgId::from_uuid).collect())
}

async fn forget_networks(app: &App, org: OrgId) -> Result<()> {
    let before = app.now() - NETWORKS_KEPT;
    let actor = Actor::System { org };
    db::audited(&app.db, org, &actor, async |tx| {
        let tokens = sqlx::query!(
            "UPDATE join_token SET redemption_net = NULL, redemption_ua = NULL
             WHERE redeemed_at < $1 AND (redemption_net IS NOT NULL OR redemption_ua IS NOT NULL)",
            before
        )
        .execute(&mut *tx)
        .await?;
        let sessions = sqlx::query!(
            "UPDATE visit_session SET net = NULL, ua = NULL WHERE issued_at < $1 AND (net IS NOT NULL OR ua IS NOT NULL)",
            before
        )
        .execute(&mut *tx)
        .await?;
        let count = i64::try_from(tokens.rows_affected() + sessions.rows_affected()).unwrap_or(i64::MAX);
        let event = Draft::new(EventType::RetentionJobRun).because("NETWORKS_FORGOTTEN").fact("count", Fact::Number(count));
        Ok::<_, Error>(((), vec![event]))
    })
    .await
}
