//! Problems as people and programs read them (RFC 9457); the one place that knows status codes.

use std::borrow::Cow;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use crate::error::Error;
use crate::telemetry;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident, $detail:literal;)*) => {
        /// Every code of `docs/protocol.md` section 1; HTTP and WebSocket share them.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// Its HTTP status.
            #[must_use]
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }

            /// What a person reads when the thrower has nothing better to say.
            #[must_use]
            pub const fn default_detail(self) -> &'static str {
                match self { $(Self::$name => $detail,)* }
            }
        }
    };
}

codes! {
    /// The body or a parameter cannot be read.
    Malformed = "MALFORMED", BAD_REQUEST, "The request could not be read.";
    /// No credential, or one that does not hold.
    Unauthenticated = "UNAUTHENTICATED", UNAUTHORIZED, "Please sign in.";
    /// News of a provider whose signature does not hold.
    WebhookSignature = "WEBHOOK_SIGNATURE", UNAUTHORIZED, "The signature does not hold.";
    /// Unknown code, bad signature, wrong audience or type.
    TokenInvalid = "TOKEN_INVALID", UNAUTHORIZED, "We can't open this link. Check that the whole link was copied.";
    /// A proof of the key is missing, stale, or for something else.
    ProofInvalid = "PROOF_INVALID", UNAUTHORIZED, "Your browser could not prove itself. Please reload the page and try again.";
    /// The role may not do this.
    Forbidden = "FORBIDDEN", FORBIDDEN, "You are not allowed to do this.";
    /// The organisation asks for a second factor that was not shown, or not lately.
    MfaRequired = "MFA_REQUIRED", FORBIDDEN, "Please sign in again with your second factor.";
    /// The role that a client names is not that of its credential.
    RoleMismatch = "ROLE_MISMATCH", FORBIDDEN, "This link is for another role.";
    /// Too early.
    TokenNotYetValid = "TOKEN_NOT_YET_VALID", FORBIDDEN, "It is too early for this visit.";
    /// A browser request from another origin, or without our header.
    CrossOrigin = "CROSS_ORIGIN", FORBIDDEN, "This request did not come from our own page.";
    /// No such thing in the caller's organisation.
    NotFound = "NOT_FOUND", NOT_FOUND, "There is no such thing here.";
    /// The path exists, with other methods.
    MethodNotAllowed = "METHOD_NOT_ALLOWED", METHOD_NOT_ALLOWED, "This address does not take that method.";
    /// The client was too slow.
    TimedOut = "TIMED_OUT", REQUEST_TIMEOUT, "The request took too long.";
    /// The link was spent.
    TokenAlreadyUsed = "TOKEN_ALREADY_USED", CONFLICT, "This link was already used. For your safety each link works once.";
    /// Somebody else is at the door with the same link.
    TokenInUse = "TOKEN_IN_USE", CONFLICT, "This link is being opened somewhere else right now. Please try again in a moment.";
    /// The visit cannot move there from where it is.
    InvalidTransition = "INVALID_TRANSITION", CONFLICT, "The visit is not in a state that allows this.";
    /// The clinician has another visit at this time.
    DoubleBooked = "DOUBLE_BOOKED", CONFLICT, "The clinician has another visit at this time.";
    /// The appointment id is taken by another visit.
    AppointmentTaken = "APPOINTMENT_TAKEN", CONFLICT, "Another visit has this appointment id.";
    /// A technical end before anybody said what went wrong.
    IssueMissing = "ISSUE_MISSING", CONFLICT, "Report the technical problem first.";
    /// Too late for a visit that broke off.
    ReopenWindowOver = "REOPEN_WINDOW_OVER", CONFLICT, "It is too late to reopen this visit. Plan a new one.";
    /// A request with this key is under way.
    IdempotencyInFlight = "IDEMPOTENCY_IN_FLIGHT", CONFLICT, "The same request is being answered. Ask again in a moment.";
    /// Another request had this key.
    IdempotencyKeyReused = "IDEMPOTENCY_KEY_REUSED", UNPROCESSABLE_ENTITY, "This Idempotency-Key belongs to another request.";
    /// Somebody changed it since the caller read it.
    VersionConflict = "VERSION_CONFLICT", PRECONDITION_FAILED, "Somebody changed this in the meantime. Load it again.";
    /// The person has said that they want no messages.
    OptedOut = "OPTED_OUT", CONFLICT, "This person does not want messages over this channel.";
    /// The session of an older face is over.
    SessionEnded = "SESSION_ENDED", CONFLICT, "This session has ended.";
    /// Somebody else shares a screen.
    ShareBusy = "SHARE_BUSY", CONFLICT, "Somebody else shares a screen.";
    /// No screen is shared.
    NotSharing = "NOT_SHARING", CONFLICT, "No screen is being shared.";
    /// The visit is over.
    VisitFinal = "VISIT_FINAL", CONFLICT, "This visit is over.";
    /// The person is not in the waiting room.
    NotWaiting = "NOT_WAITING", CONFLICT, "This person is not in the waiting room.";
    /// A recording runs already.
    AlreadyRecording = "ALREADY_RECORDING", CONFLICT, "This visit is being recorded already.";
    /// No recording runs.
    NotRecording = "NOT_RECORDING", CONFLICT, "This visit is not being recorded.";
    /// The link's time is over.
    TokenExpired = "TOKEN_EXPIRED", GONE, "This link has expired.";
    /// The link was replaced or withdrawn.
    TokenRevoked = "TOKEN_REVOKED", GONE, "This link is no longer in use.";
    /// Body over 64 KiB.
    TooLarge = "TOO_LARGE", PAYLOAD_TOO_LARGE, "The request is too large.";
    /// A body that is not JSON.
    UnsupportedMediaType = "UNSUPPORTED_MEDIA_TYPE", UNSUPPORTED_MEDIA_TYPE, "The body is not in a format that can be read here; most routes read JSON.";
    /// The asked bytes are not in the file.
    RangeNotSatisfiable = "RANGE_NOT_SATISFIABLE", RANGE_NOT_SATISFIABLE, "The file does not reach that far.";
    /// Readable, but breaks a rule.
    Invalid = "INVALID", UNPROCESSABLE_ENTITY, "A value does not fit.";
    /// A link is spent by a key, and the request has none.
    KeyRequired = "KEY_REQUIRED", UNPROCESSABLE_ENTITY, "This link opens only in a browser that has a key of its own.";
    /// Nobody on file who could be written to.
    NoContact = "NO_CONTACT", UNPROCESSABLE_ENTITY, "There is no number or address on file that may be used.";
    /// Recording without everyone's consent.
    ConsentRequired = "CONSENT_REQUIRED", UNPROCESSABLE_ENTITY, "Not everyone present has agreed to be recorded.";
    /// A consent is over, declined, taken back or followed by another one.
    ConsentFinal = "CONSENT_FINAL", CONFLICT, "This consent cannot change any more. Make a new one.";
    /// A signature to another version of a text than the one in force.
    VersionOutdated = "VERSION_OUTDATED", CONFLICT, "The text has changed. Please read the new one.";
    /// A signature without what its text asks to have understood.
    AckMissing = "ACK_MISSING", UNPROCESSABLE_ENTITY, "Please confirm that you have read and understood each point.";
    /// A minor's own signature.
    GuardianRequired = "GUARDIAN_REQUIRED", UNPROCESSABLE_ENTITY, "A parent or guardian has to sign, with their name.";
    /// The patient has not said where they are.
    LocationRequired = "LOCATION_REQUIRED", UNPROCESSABLE_ENTITY, "The patient has not said yet where they are.";
    /// The clinician has no licence for where the patient is.
    LicenceMissing = "LICENCE_MISSING", UNPROCESSABLE_ENTITY, "The clinician has no licence for the state where the patient is.";
    /// Another version of the text is in force.
    ConsentOutdated = "CONSENT_OUTDATED", UNPROCESSABLE_ENTITY, "The text has changed. Please read the new one.";
    /// The links of this visit were sent anew too often.
    ResendLimit = "RESEND_LIMIT", TOO_MANY_REQUESTS, "The link was sent five times. Please call the practice.";
    /// Slow down.
    RateLimited = "RATE_LIMITED", TOO_MANY_REQUESTS, "Too many attempts. Please wait a moment.";
    /// Something of ours is broken.
    Internal = "INTERNAL", INTERNAL_SERVER_ERROR, "Something went wrong on our side.";
    /// Nothing new begins, because the process is about to stop.
    Draining = "DRAINING", SERVICE_UNAVAILABLE, "We are about to restart. Please try again in a moment.";
    /// The media node or the database is away.
    Unavailable = "UNAVAILABLE", SERVICE_UNAVAILABLE, "The service is not available right now. Please try again.";
}

/// What went wrong, in words fit for the person and a code fit for a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The class.
    pub code: Code,
    /// For the person; holds no name, token or address.
    pub detail: Cow<'static, str>,
    /// Members beside the standard ones, such as `from` and `to`.
    pub members: Vec<(&'static str, Value)>,
    /// Seconds for `Retry-After`.
    pub retry_after: Option<u64>,
}

impl Code {
    /// A problem of this class with its usual words.
    #[must_use]
    pub const fn problem(self) -> Problem {
        Problem { code: self, detail: Cow::Borrowed(self.default_detail()), members: Vec::new(), retry_after: None }
    }

    /// A problem of this class with better words.
    #[must_use]
    pub fn with(self, detail: impl Into<Cow<'static, str>>) -> Problem {
        Problem { detail: detail.into(), ..self.problem() }
    }
}

impl Problem {
    /// Adds a member.
    #[must_use]
    pub fn member(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.members.push((name, value.into()));
        self
    }

    /// The body, with the request under which the log holds the cause.
    #[must_use]
    pub fn to_json(&self, request_id: Option<&str>) -> Value {
        let status = self.code.status();
        let mut body = json!({
            "type": format!("urn:anteroom:problem:{}", self.code.as_str().to_lowercase().replace('_', "-")),
            "title": status.canonical_reason().unwrap_or("Error"),
            "status": status.as_u16(),
            "code": self.code.as_str(),
            "detail": self.detail,
        });
        if let Value::Object(map) = &mut body {
            if let Some(id) = request_id {
                map.insert("requestId".to_owned(), id.into());
            }
            for (name, value) in &self.members {
                map.insert((*name).to_owned(), value.clone());
            }
        }
        body
    }
}

impl From<Code> for Error {
    fn from(code: Code) -> Self {
        Self::Refused(code.problem())
    }
}

impl From<Code> for Problem {
    fn from(code: Code) -> Self {
        code.problem()
    }
}

impl From<&Error> for Problem {
    fn from(error: &Error) -> Self {
        match error {
            Error::Refused(problem) => problem.clone(),
            error if error.is_passing() => Self { retry_after: Some(5), ..Code::Unavailable.problem() },
            _ => Code::Internal.problem(),
        }
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let problem = Problem::from(&self);
        if !matches!(self, Self::Refused(_)) {
            tracing::error!(error = %self, "a request failed");
        }
        problem.into_response()
    }
}

impl IntoResponse for Problem {
    /// The status with the problem beside it; [`finish`] writes the body, because it knows the request id.
    fn into_response(self) -> Response {
        let mut response = self.code.status().into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Outermost middleware but one: gives every refusal its body, also those that axum makes itself.
pub async fn finish(request: Request, next: Next) -> Response {
    // Clients of the older faces read these two members.
    let path = request.uri().path();
    let is_translated = path.starts_with("/api/v1/telehealth/") || path == "/api/aws-chime-video";
    let response = next.run(request).await;
    let status = response.status();
    let problem = match response.extensions().get::<Problem>() {
        Some(problem) => problem.clone(),
        None if !status.is_client_error() && !status.is_server_error() => return response,
        None => by_status(status).problem(),
    };
    let request_id = telemetry::request_id();
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = problem.retry_after {
        parts.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    let mut body = problem.to_json(request_id.as_deref());
    if is_translated {
        body["success"] = false.into();
        body["error"] = problem.detail.as_ref().into();
    }
    Response::from_parts(parts, Body::from(body.to_string()))
}

/// The code for a refusal that axum or tower made.
fn by_status(status: StatusCode) -> Code {
    match status {
        StatusCode::NOT_FOUND => Code::NotFound,
        StatusCode::METHOD_NOT_ALLOWED => Code::MethodNotAllowed,
        StatusCode::REQUEST_TIMEOUT => Code::TimedOut,
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType,
        StatusCode::RANGE_NOT_SATISFIABLE => Code::RangeNotSatisfiable,
        StatusCode::UNPROCESSABLE_ENTITY => Code::Invalid,
        StatusCode::SERVICE_UNAVAILABLE => Code::Unavailable,
        status if status.is_client_error() => Code::Malformed,
        _ => Code::Internal,
    }
}
