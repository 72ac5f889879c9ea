//! `PATCH /api/v1/telehealth/sessions/:id/clinical`, `PUT /api/v1/telehealth/sessions/:id/questionnaire`. Read they are with the visit.

use axum::extract::State;
use axum::http::StatusCode;
use schemars::JsonSchema;
use serde::Deserialize;
use wire::Redacted;

use super::{Answers, Words};
use crate::app::App;
use crate::auth::extract::Caller;
use crate::body::Body;
use crate::error::Result;
use crate::visit::reference::Name;

/// What to change of a visit's clinical words; an empty text removes the field.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ClinicalBody {
    chief_complaint: Option<Redacted<String>>,
    clinical_notes: Option<Redacted<String>>,
}

/// Writes why the patient comes, and notes.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `INVALID`.
pub async fn patch(
    State(app): State<App>,
    Caller(actor): Caller,
    Name(id): Name,
    Body(body): Body<ClinicalBody>,
) -> Result<StatusCode> {
    let words = Words { chief_complaint: body.chief_complaint, clinical_notes: body.clinical_notes };
    super::write(&app, &actor, id, &words).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What somebody answers before the door.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuestionnaireBody {
    answers: Answers,
}

/// Keeps what the caller answered.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`, `INVALID`.
pub async fn submit(
    State(app): State<App>,
    Caller(actor): Caller,
    Name(id): Name,
    Body(body): Body<QuestionnaireBody>,
) -> Result<StatusCode> {
    super::submit(&app, &actor, id, &body.answers).await?;
    Ok(StatusCode::NO_CONTENT)
}
