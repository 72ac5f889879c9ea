//! The plaintext address: whatever is asked there, the answer is where the encrypted one is.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use crate::config::PublicAddress;

/// A service that answers every method and every path alike. The host it names is the configured one, never the request's.
pub fn router(public: &PublicAddress) -> Router {
    let origin = public.origin.clone();
    Router::new().fallback(async move |uri: Uri| {
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let there = HeaderValue::from_str(&format!("{origin}{path}")).or_else(|_| HeaderValue::from_str(&origin));
        let mut headers = HeaderMap::new();
        if let Ok(there) = there {
            headers.insert(header::LOCATION, there);
        }
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        (StatusCode::PERMANENT_REDIRECT, headers)
    })
}
