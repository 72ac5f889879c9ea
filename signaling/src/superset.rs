//! How an answer looks: the superset that the older clients read (the record at the top, the same record again under `data`, and
//! `success`), or the plain resource for those that ask for it.

use std::convert::Infallible;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Result};
use crate::visit::VisitStatus;
use crate::visit::vocabulary::Vocabulary;

/// What a client sends in `Accept` to get the resource alone.
const PLAIN: &str = "application/vnd.telehealth.v1+json";

/// Names the words in which states are written.
const VOCABULARY: &str = "x-status-vocabulary";

/// The superset, as the OpenAPI document describes it.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Superset<T> {
    /// Always true: refusals are problems.
    pub success: bool,
    /// For those who read it at the top.
    #[serde(flatten)]
    pub top: T,
    /// For those who read `data`.
    pub data: T,
}

/// What a client wants of an answer's form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    is_plain: bool,
    vocabulary: Vocabulary,
}

impl<S: Sync> FromRequestParts<S> for Shape {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> std::result::Result<Self, Infallible> {
        Ok(Self::of(&parts.headers))
    }
}

impl Shape {
    fn of(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok());
        let mut kinds = accepts.flat_map(|line| line.split(',')).filter_map(|kind| kind.split(';').next());
        let words = headers.get(VOCABULARY).and_then(|value| value.to_str().ok());
        Self {
            is_plain: kinds.any(|kind| kind.trim() == PLAIN),
            vocabulary: words.and_then(Vocabulary::named).unwrap_or(Vocabulary::Canonical),
        }
    }

    /// A state in the client's words.
    #[must_use]
    pub fn status(self, status: VisitStatus) -> &'static str {
        self.vocabulary.write(status)
    }

    /// An answer that holds `view`, which is a JSON object.
    ///
    /// # Errors
    /// When the view cannot be written, which would be a defect.
    pub fn reply(self, status: StatusCode, view: &impl Serialize) -> Result<Response> {
        let data = serde_json::to_value(view).map_err(|_| Error::Inside("an answer cannot be written".to_owned()))?;
        let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.is_plain {
            let kind = (header::CONTENT_TYPE, HeaderValue::from_static(PLAIN));
            return Ok((status, [no_store, kind], data.to_string()).into_response());
        }
        let mut body = match &data {
            Value::Object(members) => members.clone(),
            _ => Map::new(),
        };
        body.insert("success".to_owned(), true.into());
        body.insert("data".to_owned(), data);
        Ok((status, [no_store], Json(body)).into_response())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;

    #[derive(Serialize)]
    struct View {
        id: u8,
    }

    async fn body(headers: &HeaderMap) -> (HeaderMap, Value) {
        let response = Shape::of(headers).reply(StatusCode::OK, &View { id: 7 }).unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1000).await.unwrap();
        (parts.headers, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn the_superset_has_everything_twice_and_the_plain_form_once() {
        let (_, whole) = body(&HeaderMap::new()).await;
        assert_eq!(whole, serde_json::json!({"id": 7, "data": {"id": 7}, "success": true}));
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("application/vnd.telehealth.v1+json"));
        let (answered, plain) = body(&headers).await;
        assert_eq!(plain, serde_json::json!({"id": 7}));
        assert_eq!(answered[header::CONTENT_TYPE], PLAIN);
    }

    #[test]
    fn words_are_canonical_unless_asked_otherwise() {
        let mut headers = HeaderMap::new();
        assert_eq!(Shape::of(&headers).status(VisitStatus::InProgress), "IN_PROGRESS");
        headers.insert(VOCABULARY, HeaderValue::from_static("S2"));
        assert_eq!(Shape::of(&headers).status(VisitStatus::InProgress), "ACTIVE");
        headers.insert(VOCABULARY, HeaderValue::from_static("klingon"));
        assert_eq!(Shape::of(&headers).status(VisitStatus::InProgress), "IN_PROGRESS");
    }
}
