//! `GET` and `PUT /api/v1/telehealth/admission-policy`: what the organisation asks of a patient before they are let in.

use axum::Json;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::body::Body;
use crate::consent::gate::{self, Policy};
use crate::consent::{ConsentType, text_store};
use crate::db;
use crate::error::{Error, Result};
use crate::problem::Code;

/// What is asked, as it is set and as it is read.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[expect(missing_docs, reason = "the fields are those of `Policy`")]
pub struct PolicyBody {
    pub required_consents: Vec<ConsentType>,
    pub require_location: bool,
    pub enforce_licences: bool,
}

impl From<Policy> for PolicyBody {
    fn from(policy: Policy) -> Self {
        Self {
            required_consents: policy.required,
            require_location: policy.require_location,
            enforce_licences: policy.enforce_licences,
        }
    }
}

fn show(policy: Policy) -> Response {
    ([(header::CACHE_CONTROL, "no-store")], Json(PolicyBody::from(policy))).into_response()
}

/// `GET`.
///
/// # Errors
/// `FORBIDDEN`.
pub async fn get(State(app): State<App>, Caller(actor): Caller) -> Result<Response> {
    let org = actor.org();
    Ok(show(db::scoped(&app.db, org, async |tx| gate::policy(tx, org).await).await?))
}

/// `PUT`: the whole policy.
///
/// # Errors
/// `FORBIDDEN`, `INVALID` for a consent to be recorded: nobody is turned away for saying no to that.
pub async fn put(State(app): State<App>, Caller(actor): Caller, Body(body): Body<PolicyBody>) -> Result<Response> {
    actor.require(Permission::ManageOrganization)?;
    let mut required = body.required_consents;
    required.sort_unstable();
    required.dedup();
    if required.contains(&ConsentType::Recording) {
        return Err(Code::Invalid.with("A consent to be recorded is never asked for before a visit.").into());
    }
    let policy = Policy { required, require_location: body.require_location, enforce_licences: body.enforce_licences };
    let org = actor.org();
    db::audited(&app.db, org, &actor, async |tx| {
        gate::set_policy(tx, org, &policy).await?;
        let mut drafts = text_store::ship(tx, org).await?;
        let count = i64::try_from(policy.required.len()).unwrap_or(i64::MAX);
        drafts.push(
            Draft::new(EventType::ConfigChanged)
                .because("ADMISSION_POLICY_SET")
                .subject("organization", org.as_uuid())
                .fact("count", Fact::Number(count)),
        );
        Ok::<_, Error>(((), drafts))
    })
    .await?;
    Ok(show(policy))
}
