//! What every operation is given and gives.

use axum::body::Bytes;
use serde_json::Value;

use crate::app::App;
use crate::auth::Actor;
use crate::chime::error::{Fault, Kind};
use crate::ids::OrgId;

/// One authenticated request.
#[derive(Debug)]
pub(crate) struct Call {
    /// What it may reach.
    pub(crate) app: App,
    /// Whose key it was signed with.
    pub(crate) org: OrgId,
    /// Whom the audit names.
    pub(crate) actor: Actor,
    /// The region that the client was told to use.
    pub(crate) region: String,
    /// As it came.
    pub(crate) query: String,
    /// As it came.
    pub(crate) body: Bytes,
}

/// What an operation answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// 200 with a body.
    Ok(Value),
    /// 201 with a body.
    Created(Value),
    /// 200 without.
    Empty,
    /// 204.
    NoContent,
}

/// What an operation gives.
pub(crate) type Outcome = Result<Answer, Fault>;

/// The path is one of the API's, and nothing is done there by this method.
pub(crate) fn no_such_operation() -> Fault {
    Kind::BadRequest.with("There is no such operation")
}
