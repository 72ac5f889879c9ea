//! Answers that two kinds of client can read: the record at the top, the same record again under `data`, and `success`.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

/// The media type of the record alone. Who sends it in `Accept` gets no superset.
pub const PLAIN: &str = "application/vnd.telehealth.v1+json";

/// A record in both places.
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

impl<T: Serialize + Clone> Superset<T> {
    /// Answers as the client wants it.
    #[must_use]
    pub fn answer(headers: &HeaderMap, record: T) -> Response {
        let wants_plain =
            headers.get_all(header::ACCEPT).iter().filter_map(|line| line.to_str().ok()).any(|line| {
                line.split(',').any(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == PLAIN))
            });
        if wants_plain {
            return ([(header::CONTENT_TYPE, HeaderValue::from_static(PLAIN))], Json(record)).into_response();
        }
        Json(Self { success: true, top: record.clone(), data: record }).into_response()
    }
}
