//! Janus's videoroom over its WebSocket: each participant publishes on one connection and receives on another, as Janus works.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::stream::SplitSink;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderValue;

use super::{Shape, Visit, admit, client, close, connected, over, pass, start};
use crate::client::{Client, ClientConfig};
use crate::run::fleet::Fleet;
use crate::run::leg::Leg;
use crate::run::{RunError, now};

/// How long one answer may take.
const PATIENCE: Duration = Duration::from_secs(10);

type Waiting = Arc<std::sync::Mutex<HashMap<String, mpsc::Sender<Value>>>>;

pub(in crate::run) struct Janus {
    writer: Mutex<SplitSink<WebSocketStream<TcpStream>, Message>>,
    /// Who waits for which transaction.
    waiting: Waiting,
    next: AtomicU64,
    /// Rooms count from here, so that another run does not find those of this one.
    first_room: u32,
}

impl Janus {
    pub(super) async fn connect(address: &str) -> Result<Self, RunError> {
        let failed = |error: &dyn std::fmt::Display| RunError::Connection(error.to_string());
        let mut request = format!("ws://{address}/").into_client_request().map_err(|error| failed(&error))?;
        request.headers_mut().insert("Sec-WebSocket-Protocol", HeaderValue::from_static("janus-protocol"));
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (socket, _) = tokio_tungstenite::client_async(request, stream).await.map_err(|error| failed(&error))?;
        let (writer, mut reader) = socket.split();
        let waiting = Waiting::default();
        let routes = Arc::clone(&waiting);
        tokio::spawn(async move {
            while let Some(Ok(message)) = reader.next().await {
                let Message::Text(text) = message else { continue };
                let Ok(value) = serde_json::from_str::<Value>(text.as_str()) else { continue };
                let Some(transaction) = value.get("transaction").and_then(Value::as_str) else { continue };
                let routes = routes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                if let Some(route) = routes.get(transaction) {
                    // Room for the acknowledgement and the event; there is nothing else.
                    let _ = route.try_send(value);
                }
            }
        });
        Ok(Self { writer: Mutex::new(writer), waiting, next: AtomicU64::new(1), first_room: rand::random() })
    }

    pub(super) async fn join(
        &self,
        number: usize,
        shape: &Shape,
        fleet: &Arc<Fleet>,
        visit: &mut Visit,
        mut left: watch::Receiver<bool>,
    ) -> Result<(), RunError> {
        let room = u64::from(self.first_room) + u64::try_from(number).unwrap_or(0) + 1;
        let session = self.ask(json!({"janus": "create"}), false).await?;
        let session = session.pointer("/data/id").cloned().ok_or(RunError::Protocol("no session"))?;
        let mut feeds = Vec::new();
        for seat in 0..shape.people {
            let handle = self.attach(&session).await?;
            if seat == 0 {
                let create = json!({"request": "create", "room": room, "publishers": shape.people, "videocodec": "vp8",
                    "audiocodec": "opus", "bitrate": 4_000_000, "audiolevel_event": false});
                self.message(&session, &handle, create, None, false).await?;
            }
            let joining = json!({"request": "join", "ptype": "publisher", "room": room, "display": "load"});
            let joined = self.message(&session, &handle, joining, None, true).await?;
            let id = joined.pointer("/plugindata/data/id").cloned().ok_or(RunError::Protocol("no publisher id"))?;
            let (client, mix) = client(&Shape { people: 2, ..shape.clone() }, fleet, seat, true)?;
            let offer = client.offer();
            let (leg, heard) = Leg::new(client, Some(mix), (&visit.board, seat));
            visit.legs.push(leg.clone());
            leg.state().marks.offered = Some(now());
            let publish = json!({"request": "configure", "audio": mix.voice, "video": mix.camera});
            let answer = self.message(&session, &handle, publish, Some(("offer", offer)), true).await?;
            let answer = sdp_of(&answer)?;
            pass(&shape.gate).await;
            start(&leg, &answer, fleet, true)?;
            self.connect_leg(&session, &handle, heard).await?;
            admit(&leg, fleet);
            feeds.push(id);
        }
        for seat in 0..shape.people {
            let handle = self.attach(&session).await?;
            let streams: Vec<Value> =
                feeds.iter().enumerate().filter(|(feed, _)| *feed != seat).map(|(_, id)| json!({"feed": id})).collect();
            let joining = json!({"request": "join", "ptype": "subscriber", "room": room, "streams": streams});
            let offer = sdp_of(&self.message(&session, &handle, joining, None, true).await?)?;
            let config = ClientConfig {
                audio: false,
                video: false,
                seed: rand::random(),
                stamp_from: Some(fleet.common.origin),
                decrypt_every: 16,
                ..ClientConfig::default()
            };
            let mut client = Client::new(config, now())?;
            let answer = client.accept(&offer, now())?;
            let (leg, heard) = Leg::new(client, None, (&visit.board, seat));
            visit.legs.push(leg.clone());
            let started = json!({"request": "start", "room": room});
            self.message(&session, &handle, started, Some(("answer", answer)), true).await?;
            fleet.add(leg.clone());
            self.connect_leg(&session, &handle, heard).await?;
        }
        let (legs, fleet) = (visit.legs.clone(), Arc::clone(fleet));
        visit.tasks.spawn(async move {
            over(&mut left).await;
            for leg in legs {
                close(&leg, &fleet);
            }
        });
        Ok(())
    }

    async fn connect_leg(
        &self,
        session: &Value,
        handle: &Value,
        mut heard: mpsc::Receiver<crate::run::leg::Notice>,
    ) -> Result<(), RunError> {
        let trickle =
            json!({"janus": "trickle", "session_id": session, "handle_id": handle, "candidate": {"completed": true}});
        self.ask(trickle, false).await?;
        connected(&mut heard).await
    }

    async fn attach(&self, session: &Value) -> Result<Value, RunError> {
        let attach = json!({"janus": "attach", "session_id": session, "plugin": "janus.plugin.videoroom"});
        let attached = self.ask(attach, false).await?;
        attached.pointer("/data/id").cloned().ok_or(RunError::Protocol("no handle"))
    }

    async fn message(
        &self,
        session: &Value,
        handle: &Value,
        body: Value,
        jsep: Option<(&str, String)>,
        wait_for_event: bool,
    ) -> Result<Value, RunError> {
        let mut message = json!({"janus": "message", "session_id": session, "handle_id": handle, "body": body});
        if let (Some((kind, sdp)), Some(fields)) = (jsep, message.as_object_mut()) {
            fields.insert("jsep".to_owned(), json!({"type": kind, "sdp": sdp}));
        }
        let answer = self.ask(message, wait_for_event).await?;
        match answer.pointer("/plugindata/data/error").and_then(Value::as_str) {
            Some(error) => {
                Err(RunError::Refused { what: "a request of the videoroom", status: 0, code: error.to_owned() })
            }
            None => Ok(answer),
        }
    }

    async fn ask(&self, mut request: Value, wait_for_event: bool) -> Result<Value, RunError> {
        let transaction = self.next.fetch_add(1, Ordering::Relaxed).to_string();
        if let Some(fields) = request.as_object_mut() {
            fields.insert("transaction".to_owned(), json!(transaction));
        }
        let (route, mut answers) = mpsc::channel(4);
        self.route(&transaction, Some(route));
        let sent = self.writer.lock().await.send(Message::text(request.to_string())).await;
        sent.map_err(|error| RunError::Connection(error.to_string()))?;
        let answer = tokio::time::timeout(PATIENCE, async {
            while let Some(answer) = answers.recv().await {
                match answer.get("janus").and_then(Value::as_str) {
                    Some("ack") if wait_for_event => {}
                    Some("error") => {
                        let code = answer.pointer("/error/reason").and_then(Value::as_str).unwrap_or("").to_owned();
                        return Err(RunError::Refused { what: "a request to Janus", status: 0, code });
                    }
                    _ => return Ok(answer),
                }
            }
            Err(RunError::Connection("Janus hung up".to_owned()))
        })
        .await;
        self.route(&transaction, None);
        answer.map_err(|_| RunError::Protocol("Janus did not answer"))?
    }

    fn route(&self, transaction: &str, route: Option<mpsc::Sender<Value>>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match route {
            Some(route) => waiting.insert(transaction.to_owned(), route),
            None => waiting.remove(transaction),
        };
    }
}

fn sdp_of(message: &Value) -> Result<String, RunError> {
    let sdp = message.pointer("/jsep/sdp").and_then(Value::as_str);
    sdp.map(str::to_owned).ok_or(RunError::Protocol("no SDP from Janus"))
}
