//! `GET` and `PUT /api/v1/telehealth/clinicians/{id}/licences`.

use std::collections::BTreeSet;

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::Date;
use uuid::Uuid;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::body::{Body, ExternalId};
use crate::db;
use crate::error::{Error, Result};
use crate::licence::store::{self, MOST};
use crate::licence::{Licence, LicenceStatus};
use crate::problem::Code;
use crate::state::StateCode;

const NO_STORE: [(header::HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

time::serde::format_description!(day, Date, "[year]-[month]-[day]");

/// A licence as people read it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[expect(missing_docs, reason = "docs/licensing.md describes the fields")]
pub struct LicenceView {
    #[schemars(with = "String")]
    pub licence_id: Uuid,
    pub state_code: StateCode,
    pub number: String,
    #[serde(with = "day")]
    #[schemars(with = "String")]
    pub valid_from: Date,
    #[serde(with = "day")]
    #[schemars(with = "String")]
    pub valid_to: Date,
    pub status: LicenceStatus,
    /// It holds today.
    pub is_valid_today: bool,
}

/// A clinician's licences.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LicenceList {
    clinician_id: String,
    licences: Vec<LicenceView>,
}

fn show(clinician_id: String, licences: Vec<Licence>, today: Date) -> Response {
    let views = licences.into_iter().map(|licence| LicenceView {
        is_valid_today: licence.status == LicenceStatus::Active
            && (licence.valid_from..=licence.valid_to).contains(&today),
        licence_id: licence.id,
        state_code: licence.state,
        number: licence.number,
        valid_from: licence.valid_from,
        valid_to: licence.valid_to,
        status: licence.status,
    });
    (NO_STORE, Json(LicenceList { clinician_id, licences: views.collect() })).into_response()
}

/// `GET`.
///
/// # Errors
/// `FORBIDDEN`.
pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(clinician): ExternalId,
) -> Result<Response> {
    actor.require(Permission::ReadLicences)?;
    let found = db::scoped(&app.db, actor.org(), async |tx| store::of_clinician(tx, &clinician).await).await?;
    Ok(show(clinician, found, app.now().date()))
}

/// One licence to keep.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LicenceBody {
    state_code: StateCode,
    number: String,
    #[serde(with = "day")]
    #[schemars(with = "String")]
    valid_from: Date,
    #[serde(with = "day")]
    #[schemars(with = "String")]
    valid_to: Date,
    status: Option<LicenceStatus>,
}

/// The whole list: what is not on it is withdrawn.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PutBody {
    licences: Vec<LicenceBody>,
}

/// `PUT`.
///
/// # Errors
/// `FORBIDDEN`, `INVALID`.
pub async fn put(
    State(app): State<App>,
    Caller(actor): Caller,
    ExternalId(clinician): ExternalId,
    Body(body): Body<PutBody>,
) -> Result<Response> {
    actor.require(Permission::WriteLicences)?;
    if body.licences.len() > MOST {
        return Err(Code::Invalid.with("A clinician has so many licences at most: 110.").into());
    }
    let mut keys = BTreeSet::new();
    let mut licences = Vec::with_capacity(body.licences.len());
    for licence in body.licences {
        let number = licence.number.trim().to_owned();
        if number.is_empty() || number.len() > 50 || number.chars().any(char::is_control) {
            return Err(Code::Invalid.with("number must be 1 to 50 bytes of text.").into());
        }
        if licence.valid_to < licence.valid_from {
            return Err(Code::Invalid.with("validTo lies before validFrom.").into());
        }
        if !keys.insert(store::key(licence.state_code, &number)) {
            return Err(Code::Invalid.with("A licence is there twice.").into());
        }
        licences.push(Licence {
            id: Uuid::new_v4(),
            state: licence.state_code,
            number,
            valid_from: licence.valid_from,
            valid_to: licence.valid_to,
            status: licence.status.unwrap_or(LicenceStatus::Active),
        });
    }
    let (org, now) = (actor.org(), app.now());
    let stored = db::audited(&app.db, org, &actor, async |tx| {
        store::put(tx, org, &clinician, &licences, (&actor.id(), now)).await?;
        let count = i64::try_from(licences.len()).unwrap_or(i64::MAX);
        let draft = Draft::new(EventType::ConfigChanged).because("LICENCES_SET").fact("count", Fact::Number(count));
        Ok::<_, Error>((store::of_clinician(tx, &clinician).await?, vec![draft]))
    })
    .await?;
    Ok(show(clinician, stored, now.date()))
}
