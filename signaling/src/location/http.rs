//! `/api/v1/telehealth/sessions/{id}/location`, `/emergency` and `/requirements`.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;
use wire::Redacted;

use crate::app::App;
use crate::auth::extract::Caller;
use crate::body::{Body, ExternalId, Params};
use crate::clock::Timestamp;
use crate::consent::ConsentType;
use crate::consent::http::TextView;
use crate::error::Result;
use crate::ids::{ParticipantId, VisitId};
use crate::location::command::{self, Claim};
use crate::location::{Attestation, Attested, Contact, PlaceKind};
use crate::state::StateCode;
use crate::superset::Shape;

const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// Where somebody is.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LocationBody {
    state_code: StateCode,
    kind: PlaceKind,
    method: Option<Attested>,
    address: Option<Redacted<String>>,
    participant_id: Option<ParticipantId>,
    emergency_contact: Option<Contact>,
}

/// Where somebody said that they are; never the address.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/licensing.md describes the fields")]
pub struct LocationView {
    pub participant_id: ParticipantId,
    pub state_code: StateCode,
    pub kind: PlaceKind,
    pub method: Attested,
    pub has_address: bool,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub attested_at: Timestamp,
}

impl From<Attestation> for LocationView {
    fn from(attestation: Attestation) -> Self {
        Self {
            participant_id: attestation.participant,
            state_code: attestation.state,
            kind: attestation.kind,
            method: attestation.method,
            has_address: attestation.has_address,
            attested_at: attestation.at,
        }
    }
}

/// `POST .../location`.
///
/// # Errors
/// As [`command::attest`].
pub async fn attest(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(visit): ExternalId,
    shape: Shape,
    Body(body): Body<LocationBody>,
) -> Result<Response> {
    let claim = Claim {
        state: body.state_code,
        kind: body.kind,
        method: body.method,
        address: body.address,
        participant: body.participant_id,
        contact: body.emergency_contact,
    };
    let (_, attestation) = command::attest(&app, &actor, &visit, claim).await?;
    shape.reply(StatusCode::CREATED, &LocationView::from(attestation))
}

/// Where help is to be sent, and whom to call.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EmergencyView {
    location: Option<LocationView>,
    address: Option<String>,
    contact: Option<Contact>,
}

/// `GET .../emergency`.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn emergency(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(visit): ExternalId,
) -> Result<Response> {
    let found = command::emergency(&app, &actor, &visit).await?;
    let (place, address) = found.place.unzip();
    let view = EmergencyView {
        location: place.map(LocationView::from),
        address: address.flatten().map(|address| address.reveal().clone()),
        contact: found.contact,
    };
    Ok((NO_STORE, Json(view)).into_response())
}

/// `PUT .../emergency`.
///
/// # Errors
/// As [`command::set_contact`].
pub async fn set_contact(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(visit): ExternalId,
    Body(contact): Body<Contact>,
) -> Result<StatusCode> {
    command::set_contact(&app, &actor, &visit, &contact).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// In which language.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DueQuery {
    locale: Option<String>,
}

/// A text that is to be signed before the visit.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DueConsent {
    #[serde(rename = "type")]
    kind: ConsentType,
    state_code: Option<StateCode>,
    text: Option<TextView>,
}

/// What a patient still has to do before they can be let in.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DueView {
    visit_id: VisitId,
    participant_id: ParticipantId,
    is_complete: bool,
    is_location_due: bool,
    location: Option<LocationView>,
    consents: Vec<DueConsent>,
}

/// `GET .../requirements`.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn due(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(visit): ExternalId,
    Params(query): Params<DueQuery>,
) -> Result<Response> {
    let found = command::due(&app, &actor, &visit, query.locale.as_deref()).await?;
    let view = DueView {
        visit_id: found.visit,
        participant_id: found.patient,
        is_complete: found.due.consents.is_empty() && !found.due.is_location_due,
        is_location_due: found.due.is_location_due,
        location: found.place.map(LocationView::from),
        consents: found
            .due
            .consents
            .into_iter()
            .map(|(subject, text)| DueConsent {
                kind: subject.kind,
                state_code: subject.state,
                text: text.map(|text| TextView::of(subject, text)),
            })
            .collect(),
    };
    Ok((NO_STORE, Json(view)).into_response())
}
