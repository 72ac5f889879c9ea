//! Extractors that refuse in our words: JSON bodies, query strings and ids in paths.

use axum::extract::rejection::{JsonRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Json, Path, Query, Request};
use axum::http::{StatusCode, header};
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::app::App;
use crate::error::Error;
use crate::problem::Code;

/// The longest body that is read, in bytes.
pub const MAX_BODY: usize = 64 * 1024;

/// A JSON body whose struct says `deny_unknown_fields`.
#[derive(Clone, Copy, Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<App> for Body<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        Json::<T>::from_request(request, app).await.map(|Json(body)| Self(body)).map_err(|rejection| refuse(&rejection))
    }
}

/// A JSON body that may be left out altogether.
#[derive(Clone, Copy, Debug, Default)]
pub struct OptionalBody<T>(pub T);

impl<T: DeserializeOwned + Default> FromRequest<App> for OptionalBody<T> {
    type Rejection = Error;

    async fn from_request(request: Request, app: &App) -> Result<Self, Error> {
        let empty = request.headers().get(header::CONTENT_LENGTH).is_none_or(|length| length == "0")
            && !request.headers().contains_key(header::TRANSFER_ENCODING)
            && !request.headers().contains_key(header::CONTENT_TYPE);
        if empty {
            return Ok(Self::default());
        }
        Body::from_request(request, app).await.map(|Body(body)| Self(body))
    }
}

fn refuse(rejection: &JsonRejection) -> Error {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Code::TooLarge.into(),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => Code::UnsupportedMediaType.into(),
        // The parser's own words could repeat a value; ours do not.
        _ => match rejection {
            JsonRejection::JsonDataError(_) => {
                Code::Malformed.with("The body has a field that is missing, unknown or of another type.").into()
            }
            _ => Code::Malformed.into(),
        },
    }
}

/// A query string whose struct says `deny_unknown_fields`.
#[derive(Clone, Copy, Debug)]
pub struct Params<T>(pub T);

impl<T: DeserializeOwned> FromRequestParts<App> for Params<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &App) -> Result<Self, Error> {
        let parsed: Result<Query<T>, QueryRejection> = Query::from_request_parts(parts, app).await;
        parsed
            .map(|Query(params)| Self(params))
            .map_err(|_| Code::Malformed.with("The query has a parameter that cannot be read.").into())
    }
}

/// The `rowVersion` in `If-Match: "7"`, as a strong or a weak tag; `*` and no header ask for none.
#[derive(Clone, Copy, Debug)]
pub struct IfMatch(pub Option<i32>);

impl FromRequestParts<App> for IfMatch {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, _: &App) -> Result<Self, Error> {
        let Some(header) = parts.headers.get(header::IF_MATCH) else { return Ok(Self(None)) };
        let text = header.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let tag = text.strip_prefix("W/").unwrap_or(text);
        let version = tag.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).and_then(|tag| tag.parse().ok());
        let unreadable = || Code::Malformed.with("If-Match must be a row version in quotation marks.").into();
        version.map(|version| Self(Some(version))).ok_or_else(unreadable)
    }
}

/// The `ETag` of a row's version.
#[must_use]
pub fn etag(row_version: i32) -> (header::HeaderName, String) {
    (header::ETAG, format!("\"{row_version}\""))
}

/// The one id in a path. What is no UUID names nothing: 404.
#[derive(Clone, Copy, Debug)]
pub struct Id<T>(pub T);

impl<T: From<Uuid>> FromRequestParts<App> for Id<T> {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &App) -> Result<Self, Error> {
        match Path::<Uuid>::from_request_parts(parts, app).await {
            Ok(Path(id)) => Ok(Self(T::from(id))),
            Err(_) => Err(Code::NotFound.into()),
        }
    }
}

/// The one id in a path that another system made: 1 to 200 bytes of text without control characters. What is none names nothing: 404.
#[derive(Clone, Debug)]
pub struct ExternalId(pub String);

impl FromRequestParts<App> for ExternalId {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut axum::http::request::Parts, app: &App) -> Result<Self, Error> {
        match Path::<String>::from_request_parts(parts, app).await {
            Ok(Path(id)) if (1..=200).contains(&id.len()) && !id.chars().any(char::is_control) => Ok(Self(id)),
            _ => Err(Code::NotFound.into()),
        }
    }
}
