//! A small HTTP client: one connection for each request, cookies and bearer as told.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use proof::{BrowserKey, Expected, Fresh};
use serde_json::Value;
use time::OffsetDateTime;
use tokio::net::TcpStream;

use super::soon;

/// Somebody's way to the server.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    addr: String,
    bearer: Option<String>,
    pub(crate) cookie: Option<String>,
    /// The key behind the cookie.
    pub(crate) key: Option<BrowserKey>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: hyper::HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The JSON body of a success.
    pub(crate) fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.json()
    }

    /// The `code` of a problem.
    pub(crate) fn code(&self) -> String {
        assert_eq!(self.headers.get("content-type").unwrap(), "application/problem+json", "{self:?}");
        self.json()["code"].as_str().unwrap().to_owned()
    }

    /// The cookie that was set, as it goes back: `name=value`.
    pub(crate) fn cookie(&self) -> Option<String> {
        let line = self.headers.get("set-cookie")?.to_str().unwrap();
        Some(line.split(';').next().unwrap().to_owned())
    }
}

impl Http {
    pub(crate) fn new(addr: &str) -> Self {
        Self { addr: addr.to_owned(), bearer: None, cookie: None, key: None }
    }

    pub(crate) fn with_bearer(addr: &str, token: &str) -> Self {
        Self { bearer: Some(token.to_owned()), ..Self::new(addr) }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, None, &[]).await
    }

    pub(crate) async fn get_range(&self, path: &str, range: &str) -> Answer {
        self.ask("GET", path, None, &[("range", range)]).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path, Some(body), &[]).await
    }

    pub(crate) async fn ask(&self, method: &str, path: &str, body: Option<&Value>, headers: &[(&str, &str)]) -> Answer {
        soon(&format!("an answer to {method} {path}"), self.try_ask(method, path, body, headers)).await.unwrap()
    }

    /// The status of a GET, or nothing where nobody answers.
    pub(crate) async fn try_get(&self, path: &str) -> Option<u16> {
        self.try_ask("GET", path, None, &[]).await.ok().map(|answer| answer.status)
    }

    async fn try_ask(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
        headers: &[(&str, &str)],
    ) -> Result<Answer, Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.addr).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", &self.addr);
        if let Some(token) = &self.bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(cookie) = &self.cookie {
            request = request.header("cookie", cookie).header("x-anteroom", "1");
        }
        if let Some(key) = &self.key {
            let now = OffsetDateTime::now_utc().unix_timestamp();
            let expected = Expected { method, path, fresh: Fresh::Around(now), secret: None };
            request = request.header("dpop", key.prove(&expected, now));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = body.map(Value::to_string);
        if body.is_some() {
            request = request.header("content-type", "application/json");
        }
        let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())))?;
        let response = sender.send_request(request).await?;
        let (parts, body) = response.into_parts();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body: body.collect().await?.to_bytes() })
    }
}
