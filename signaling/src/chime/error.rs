//! Refusals as AWS's SDKs read them: status, the header that names the exception, and a small body.

use std::borrow::Cow;

use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::chime::sigv4::Refusal;
use crate::error::Error;
use crate::problem::{Code, Problem};

/// Which of the two services is spoken: they name some exceptions differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// `chime-sdk-meetings`.
    Meetings,
    /// `chime-sdk-media-pipelines`.
    Pipelines,
}

/// The exceptions of both services.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// A parameter breaks a constraint.
    BadRequest,
    /// Not signed.
    Unauthorized,
    /// Signed by nobody we know, or not allowed.
    Forbidden,
    /// No such meeting, attendee or pipeline.
    NotFound,
    /// A request token was used for something else.
    Conflict,
    /// Well-formed, and impossible.
    Unprocessable,
    /// A quota is used up.
    LimitExceeded,
    /// Too many requests.
    Throttling,
    /// Something of ours is broken.
    Failure,
    /// Try again later.
    Unavailable,
    /// Tagging something that is not there.
    ResourceNotFound,
    /// More than 50 tags.
    TooManyTags,
}

impl Kind {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Self; 12] = [
        Self::BadRequest,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::Unprocessable,
        Self::LimitExceeded,
        Self::Throttling,
        Self::Failure,
        Self::Unavailable,
        Self::ResourceNotFound,
        Self::TooManyTags,
    ];

    /// Its HTTP status.
    #[must_use]
    pub(crate) const fn status(self) -> StatusCode {
        match self {
            Self::BadRequest | Self::LimitExceeded | Self::TooManyTags => StatusCode::BAD_REQUEST,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound | Self::ResourceNotFound => StatusCode::NOT_FOUND,
            Self::Conflict => StatusCode::CONFLICT,
            Self::Unprocessable => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Throttling => StatusCode::TOO_MANY_REQUESTS,
            Self::Failure => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The exception's name in the service's model.
    #[must_use]
    pub(crate) const fn shape(self, service: Service) -> &'static str {
        match (self, service) {
            (Self::BadRequest, _) => "BadRequestException",
            (Self::Unauthorized, Service::Meetings) => "UnauthorizedException",
            (Self::Unauthorized, Service::Pipelines) => "UnauthorizedClientException",
            (Self::Forbidden, _) => "ForbiddenException",
            (Self::NotFound, _) => "NotFoundException",
            (Self::ResourceNotFound, Service::Meetings) => "ResourceNotFoundException",
            (Self::ResourceNotFound, Service::Pipelines) => "NotFoundException",
            (Self::Conflict, _) => "ConflictException",
            (Self::Unprocessable, Service::Meetings) => "UnprocessableEntityException",
            (Self::Unprocessable | Self::TooManyTags, Service::Pipelines) => "BadRequestException",
            (Self::TooManyTags, Service::Meetings) => "TooManyTagsException",
            (Self::LimitExceeded, Service::Meetings) => "LimitExceededException",
            (Self::LimitExceeded, Service::Pipelines) => "ResourceLimitExceededException",
            (Self::Throttling, Service::Meetings) => "ThrottlingException",
            (Self::Throttling, Service::Pipelines) => "ThrottledClientException",
            (Self::Failure, _) => "ServiceFailureException",
            (Self::Unavailable, _) => "ServiceUnavailableException",
        }
    }

    /// The short word in the body. The pipelines' model has a closed list of them.
    #[must_use]
    pub(crate) const fn word(self, service: Service) -> &'static str {
        match (self, service) {
            (Self::Conflict | Self::Unprocessable, Service::Pipelines) | (Self::BadRequest | Self::TooManyTags, _) => {
                "BadRequest"
            }
            (Self::Unauthorized, Service::Meetings) => "Unauthorized",
            (Self::Unauthorized, Service::Pipelines) | (Self::Forbidden, _) => "Forbidden",
            (Self::NotFound | Self::ResourceNotFound, _) => "NotFound",
            (Self::Conflict, Service::Meetings) => "Conflict",
            (Self::Unprocessable, Service::Meetings) => "UnprocessableEntity",
            (Self::LimitExceeded, Service::Meetings) => "LimitExceeded",
            (Self::LimitExceeded, Service::Pipelines) => "ResourceLimitExceeded",
            (Self::Throttling, _) => "Throttling",
            (Self::Failure, _) => "ServiceFailure",
            (Self::Unavailable, _) => "ServiceUnavailable",
        }
    }
}

/// A refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Which exception.
    pub(crate) kind: Kind,
    /// For whoever reads the log of the application; holds no name, token or address.
    pub(crate) message: Cow<'static, str>,
    /// Seconds for `Retry-After`.
    pub(crate) retry_after: Option<u64>,
    /// The ARN that was not found or has too many tags.
    pub(crate) resource: Option<String>,
}

impl Kind {
    /// A refusal of this kind in these words.
    #[must_use]
    pub(crate) fn with(self, message: impl Into<Cow<'static, str>>) -> Fault {
        Fault { kind: self, message: message.into(), retry_after: None, resource: None }
    }
}

impl Fault {
    /// Says when to ask again.
    #[must_use]
    pub(crate) const fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    /// Names the resource.
    #[must_use]
    pub(crate) fn resource(mut self, arn: &str) -> Self {
        self.resource = Some(arn.to_owned());
        self
    }

    /// The answer.
    #[must_use]
    pub(crate) fn into_response(self, service: Service, request_id: &str) -> Response {
        let mut body = json!({
            "Code": self.kind.word(service),
            "Message": self.message,
            "RequestId": request_id,
        });
        if let (Some(resource), Some(map)) = (self.resource, body.as_object_mut()) {
            map.insert("ResourceName".to_owned(), resource.into());
        }
        let mut response = (self.kind.status(), axum::Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(ERROR_TYPE, HeaderValue::from_static(self.kind.shape(service)));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// By this header both SDKs choose the exception.
const ERROR_TYPE: HeaderName = HeaderName::from_static("x-amzn-errortype");

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        let kind = match refusal {
            Refusal::Missing | Refusal::Presigned => Kind::Unauthorized,
            Refusal::SessionToken
            | Refusal::Algorithm
            | Refusal::Malformed
            | Refusal::Headers
            | Refusal::Scope
            | Refusal::Date
            | Refusal::Skewed
            | Refusal::Body
            | Refusal::Mismatch => Kind::Forbidden,
        };
        kind.with(refusal.to_string())
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        if !matches!(error, Error::Refused(_)) {
            tracing::error!(%error, "a request of the Chime API failed");
        }
        let problem = Problem::from(&error);
        let kind = match problem.code.status() {
            StatusCode::NOT_FOUND => Kind::NotFound,
            StatusCode::FORBIDDEN => Kind::Forbidden,
            StatusCode::UNAUTHORIZED => Kind::Unauthorized,
            StatusCode::CONFLICT => Kind::Conflict,
            StatusCode::UNPROCESSABLE_ENTITY => Kind::Unprocessable,
            StatusCode::TOO_MANY_REQUESTS => Kind::Throttling,
            StatusCode::SERVICE_UNAVAILABLE => Kind::Unavailable,
            status if status.is_client_error() => Kind::BadRequest,
            _ => Kind::Failure,
        };
        Self { kind, message: problem.detail, retry_after: problem.retry_after, resource: None }
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Error::from(error).into()
    }
}

impl From<Code> for Fault {
    fn from(code: Code) -> Self {
        Error::from(code).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words that the pipelines' model allows in a body.
    const PIPELINE_WORDS: [&str; 7] = [
        "BadRequest",
        "Forbidden",
        "NotFound",
        "ResourceLimitExceeded",
        "ServiceFailure",
        "ServiceUnavailable",
        "Throttling",
    ];

    #[test]
    fn every_kind_is_an_exception_of_its_service() {
        for kind in Kind::ALL {
            for service in [Service::Meetings, Service::Pipelines] {
                assert!(kind.shape(service).ends_with("Exception"), "{kind:?}");
                assert!(!kind.status().is_success());
            }
            assert!(PIPELINE_WORDS.contains(&kind.word(Service::Pipelines)), "{kind:?}");
        }
    }

    #[test]
    fn a_fault_is_answered_in_all_three_places() {
        let fault = Kind::Unavailable.with("later").retry_after(7);
        let response = fault.into_response(Service::Pipelines, "id-1");
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(response.headers()["x-amzn-errortype"], "ServiceUnavailableException");
        assert_eq!(response.headers()["retry-after"], "7");
        assert_eq!(response.headers()["content-type"], "application/json");
    }
}
