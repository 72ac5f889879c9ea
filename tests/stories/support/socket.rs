//! The WebSocket of one person.

use futures_util::{SinkExt as _, StreamExt as _};
use proof::{BrowserKey, Expected, Fresh};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::{self, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::soon;

/// A socket past its `hello`.
pub(crate) struct Socket {
    stream: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// Messages that came while another was awaited, oldest first. As many as one story causes.
    passed_by: Vec<Value>,
    next_id: u64,
    pub(crate) welcome: Value,
}

impl Socket {
    /// Opens it with these headers and says `hello`, with a proof where there is a key.
    pub(crate) async fn open(
        addr: &str,
        path: &str,
        headers: &[(&'static str, String)],
        key: Option<&BrowserKey>,
    ) -> Self {
        let mut socket = Self::greet(addr, path, headers, key).await;
        socket.welcome = socket.hear("welcome").await;
        socket
    }

    /// Opens it and is refused after `hello`: the error, and the close code.
    pub(crate) async fn turned_away(addr: &str, path: &str, headers: &[(&'static str, String)]) -> (Value, u16) {
        let mut socket = Self::greet(addr, path, headers, None).await;
        (socket.hear("error").await, socket.closed().await)
    }

    async fn greet(addr: &str, path: &str, headers: &[(&'static str, String)], key: Option<&BrowserKey>) -> Self {
        let mut request = format!("ws://{addr}{path}").into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "anteroom.v1".parse().unwrap());
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        let (stream, _) = soon("the WebSocket", tokio_tungstenite::connect_async(request)).await.unwrap();
        let mut socket = Self { stream, passed_by: Vec::new(), next_id: 1, welcome: Value::Null };
        let mut hello = json!({"type": "hello", "protocol": 1});
        if let Some(key) = key {
            let challenge = socket.hear("challenge").await;
            let fresh = Fresh::Nonce(challenge["nonce"].as_str().unwrap());
            hello["proof"] = json!(key.prove(&Expected { method: "GET", path: "/ws", fresh, secret: None }, 0));
        }
        socket.say(&hello).await;
        socket
    }

    pub(crate) async fn say(&mut self, message: &Value) {
        self.stream.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Sends a request and returns its answer: `ok`, `answer` or `error`.
    pub(crate) async fn ask(&mut self, mut message: Value) -> Value {
        let id = format!("q{}", self.next_id);
        self.next_id += 1;
        message["id"] = json!(id);
        self.say(&message).await;
        self.hear_where(&message.to_string(), |answer| answer["id"] == json!(id)).await
    }

    /// Asks for something that must succeed.
    pub(crate) async fn ask_ok(&mut self, message: Value) {
        let what = message.to_string();
        let answer = self.ask(message).await;
        assert_eq!(answer["type"], "ok", "{what}: {answer}");
    }

    /// The next message of this type, also if it came already.
    pub(crate) async fn hear(&mut self, kind: &str) -> Value {
        self.hear_where(kind, |message| message["type"] == kind).await
    }

    /// The next message like this, also if it came already.
    pub(crate) async fn hear_where(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        if let Some(index) = self.passed_by.iter().position(&wanted) {
            return self.passed_by.remove(index);
        }
        soon(&format!("the message {what}"), async {
            loop {
                let message = self
                    .read()
                    .await
                    .unwrap_or_else(|| panic!("the socket closed before {what}; heard {:?}", self.passed_by));
                if wanted(&message) {
                    return message;
                }
                self.passed_by.push(message);
            }
        })
        .await
    }

    /// Waits for the end and returns the close code.
    pub(crate) async fn closed(&mut self) -> u16 {
        soon("the end of the socket", async {
            loop {
                match self.stream.next().await {
                    Some(Ok(Message::Close(frame))) => return frame.map_or(1005, |frame| u16::from(frame.code)),
                    Some(Ok(_)) => {}
                    Some(Err(tungstenite::Error::ConnectionClosed)) | None => return 1006,
                    Some(Err(error)) => panic!("{error}"),
                }
            }
        })
        .await
    }

    async fn read(&mut self) -> Option<Value> {
        loop {
            match self.stream.next().await? {
                Ok(Message::Text(text)) => return Some(serde_json::from_str(&text).unwrap()),
                Ok(Message::Close(_)) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }
}
