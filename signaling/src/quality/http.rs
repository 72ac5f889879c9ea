//! `GET /api/visits/:id/quality`: how a visit was for its people, for staff who look into a complaint.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use time::serde::rfc3339;
use wire::{ParticipantId, VisitId};

use crate::app::App;
use crate::audit::{Draft, EventType};
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::body::Id;
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::quality::{Sample, store};
use crate::visit;

/// The most samples in one answer: two people for eight hours, with some to spare.
const MAX_SAMPLES: usize = 10_000;

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct QualityView {
    visit_id: VisitId,
    people: Vec<PersonView>,
    /// The visit has more samples than one answer holds; these are the first.
    truncated: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "QualityOfPerson")]
struct PersonView {
    participant_id: ParticipantId,
    samples: Vec<SampleView>,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct SampleView {
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    at: Timestamp,
    bars: u8,
    rtt_ms: Option<u32>,
    loss_up: u16,
    loss_down: u16,
    jitter_ms: u32,
    kbits_up: u32,
    kbits_down: u32,
    target_kbits: Option<u32>,
    freezes: Option<u32>,
    frames_decoded: Option<u64>,
}

/// The samples of a visit, by person and time.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn get(State(app): State<App>, Caller(actor): Caller, Id(id): Id<VisitId>) -> Result<Response> {
    actor.require(Permission::ReadQuality)?;
    let mut samples = db::audited(&app.db, actor.org(), &actor, async |tx| {
        let visit = visit::store::get(tx, id).await?;
        actor.require_on(Permission::ReadQuality, visit.id, &visit.clinician_id)?;
        let limit = i64::try_from(MAX_SAMPLES + 1).unwrap_or(i64::MAX);
        let samples = store::of_visit(tx, id, limit).await?;
        Ok::<_, Error>((samples, vec![Draft::new(EventType::QualityViewed).visit(id)]))
    })
    .await?;
    let truncated = samples.len() > MAX_SAMPLES;
    samples.truncate(MAX_SAMPLES);
    let mut people: BTreeMap<ParticipantId, Vec<SampleView>> = BTreeMap::new();
    for sample in &samples {
        people.entry(sample.participant).or_default().push(view(sample));
    }
    let people = people.into_iter().map(|(participant_id, samples)| PersonView { participant_id, samples }).collect();
    let view = QualityView { visit_id: id, people, truncated };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

fn view(Sample { at, measured, .. }: &Sample) -> SampleView {
    SampleView {
        at: *at,
        bars: measured.bars,
        rtt_ms: measured.rtt_ms,
        loss_up: measured.loss_up,
        loss_down: measured.loss_down,
        jitter_ms: measured.jitter_ms,
        kbits_up: measured.kbits_up,
        kbits_down: measured.kbits_down,
        target_kbits: measured.target_kbits,
        freezes: measured.freezes,
        frames_decoded: measured.frames_decoded,
    }
}
