//! Notices that consents have ended by their date: writes it into the audit chain, and tells rooms that are captured under them.

use std::time::Duration;

use uuid::Uuid;

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Actor;
use crate::consent::command;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::{ConsentId, OrgId, ParticipantId, VisitId};

/// How often ends are looked for. What is over counts as over at once; this is how late it is written, and how late a capture stops.
const SPAN: Duration = Duration::from_secs(1);

/// Ends noticed in one turn.
const MOST: i64 = 100;

/// Looks for ends until the role stops.
pub(crate) async fn run(app: App) {
    let mut turn = tokio::time::interval(SPAN);
    turn.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = app.stop.cancelled() => return,
            _ = turn.tick() => {}
        }
        if let Err(error) = look(&app).await {
            app.db.note_failed_look(&error, "ends of consents could not be looked for");
        }
    }
}

/// Notices what has ended and was not noticed yet. Gives how many that were.
///
/// # Errors
/// The database's own failures.
pub async fn look(app: &App) -> Result<usize> {
    let now = app.now();
    let mut tx = app.db.pool().begin().await?;
    sqlx::query!("SELECT set_config('app.sweep', 'consents', true) AS set").fetch_one(&mut *tx).await?;
    let ended = sqlx::query!(
        "SELECT c.org_id, c.consent_id FROM consent c
         WHERE c.expires_at <= $1 AND c.status IN ('SIGNED', 'PENDING')
           AND NOT EXISTS (SELECT FROM consent_expired e WHERE e.consent_id = c.consent_id)
         ORDER BY c.expires_at LIMIT $2",
        now,
        MOST
    )
    .fetch_all(&mut *tx)
    .await?;
    tx.commit().await?;
    for row in &ended {
        note(app, OrgId::from_uuid(row.org_id), ConsentId::from_uuid(row.consent_id)).await?;
    }
    Ok(ended.len())
}

/// One end. A row that was followed by another one ended with that already: then there is nothing to say.
async fn note(app: &App, org: OrgId, consent: ConsentId) -> Result<()> {
    let now = app.now();
    let actor = Actor::System { org };
    let is_followed = db::measured(&app.db, org, async |tx| {
        let is_followed = sqlx::query_scalar!(
            r#"SELECT EXISTS (SELECT FROM consent WHERE supersedes = $1) AS "is_followed!""#,
            consent.as_uuid()
        )
        .fetch_one(&mut *tx)
        .await?;
        if is_followed {
            mark(tx, org, consent, now).await?;
        }
        Ok::<_, Error>(is_followed)
    })
    .await?;
    if is_followed {
        return Ok(());
    }
    let news = db::audited(&app.db, org, &actor, async |tx| {
        mark(tx, org, consent, now).await?;
        let row = sqlx::query!(
            "SELECT type, patient_id, visit_id, participant_id FROM consent WHERE consent_id = $1",
            consent.as_uuid()
        )
        .fetch_one(&mut *tx)
        .await?;
        let mut draft = Draft::new(EventType::ConsentExpired).subject("consent", consent);
        let mut places = Vec::new();
        if let (Some(visit), Some(participant)) = (row.visit_id, row.participant_id) {
            draft = draft.visit(VisitId::from_uuid(visit));
            places.push((VisitId::from_uuid(visit), ParticipantId::from_uuid(participant)));
        }
        if let Some(patient) = &row.patient_id {
            places.extend(super::ledger::open_places(tx, patient).await?);
        }
        let is_recording = row.r#type == super::ConsentType::Recording.as_str();
        let news = if is_recording { command::standings(tx, org, places, now).await? } else { Vec::new() };
        Ok::<_, Error>((news, vec![draft]))
    })
    .await?;
    command::tell(app, news).await;
    Ok(())
}

/// Two processes notice the same end once: the second one's insert finds the first one's row, and its event is not written.
async fn mark(tx: &mut db::Tx, org: OrgId, consent: ConsentId, now: crate::clock::Timestamp) -> Result<()> {
    sqlx::query!(
        "INSERT INTO consent_expired (consent_id, org_id, noticed_at) VALUES ($1, $2, $3)",
        Uuid::from(consent),
        org.as_uuid(),
        now
    )
    .execute(tx)
    .await?;
    Ok(())
}
