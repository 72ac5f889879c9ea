//! A signaling role with a real database, a scripted media node, and people who speak HTTP and WebSocket to it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use proof::{BrowserKey, Expected, Fresh};
use serde_json::{Value, json};
use signaling::audit::spool::Spool;
use signaling::auth::StaffRole;
use signaling::auth::keys::{AccessGrant, Keys};
use signaling::clock::Clock;
use signaling::config::{Profile, SignalingConfig};
use signaling::db::Db;
use signaling::ids::OrgId;
use signaling::organization::{self, Organization};
use signaling::recording::Vault;
use sqlx::PgConnection;
use tempfile::TempDir;
use test_postgres::TestDatabase;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use tokio_util::sync::CancellationToken;
use vault::store::folder::FolderStore;
use vault::{LocalKeys, Store};
use wire::Redacted;
use wire::control::{Command, Event, Reply};
use wire::link::SfuEnd;

/// How long anything may take that should happen at once. Machines under test are busy.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// A media node that agrees to everything and remembers it.
#[derive(Clone, Debug)]
pub(crate) struct FakeSfu {
    commands: watch::Sender<Vec<Command>>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
}

impl FakeSfu {
    fn start(end: SfuEnd) -> Self {
        let (mut requests, events) = end.split();
        let sfu = Self { commands: watch::Sender::default(), events, stop: CancellationToken::new() };
        let (commands, stop) = (sfu.commands.clone(), sfu.stop.clone());
        tokio::spawn(async move {
            loop {
                let request = tokio::select! {
                    () = stop.cancelled() => return,
                    request = requests.recv() => request,
                };
                let Some(request) = request else { return };
                let reply = match &request.command {
                    Command::Offer { .. } => {
                        Reply::Answer { sdp: Redacted::new("v=0 answer".to_owned()), sending: Vec::new() }
                    }
                    Command::StartTap { .. } => Reply::Tap { token: Redacted::new("canary-tap-token".to_owned()) },
                    _ => Reply::Done,
                };
                commands.send_modify(|all| all.push(request.command.clone()));
                request.reply.answer(Ok(reply));
            }
        });
        sfu
    }

    /// All commands so far.
    pub(crate) fn commands(&self) -> Vec<Command> {
        self.commands.borrow().clone()
    }

    /// The newest command that fits.
    pub(crate) fn last<T>(&self, pick: impl Fn(&Command) -> Option<T>) -> T {
        self.commands().iter().rev().find_map(pick).expect("such a command was sent")
    }

    /// Waits for a command that fits.
    pub(crate) async fn hears<T>(&self, pick: impl Fn(&Command) -> Option<T>) -> T {
        let mut all = self.commands.subscribe();
        let fits = all.wait_for(|all| all.iter().any(|command| pick(command).is_some()));
        tokio::time::timeout(SOON, fits).await.expect("such a command is sent").expect("the sender is ours");
        self.last(pick)
    }

    pub(crate) async fn tell(&self, event: Event) {
        self.events.send(event).await.unwrap();
    }

    /// The node dies.
    pub(crate) fn die(self) {
        self.stop.cancel();
    }
}

/// The running role.
pub(crate) struct House {
    pub(crate) address: SocketAddr,
    pub(crate) database: TestDatabase,
    pub(crate) sfu: FakeSfu,
    pub(crate) org: OrgId,
    pub(crate) keys: Arc<Keys>,
    pub(crate) vault: Vault,
    pub(crate) folder: TempDir,
    stop: CancellationToken,
    role: JoinHandle<signaling::Result<()>>,
    /// The key behind each session cookie.
    browsers: Mutex<HashMap<String, BrowserKey>>,
}

/// A process has ended when it is gone; here its last tasks may hold the folder a moment longer.
async fn open_spool(folder: &Path, keys: &Keys) -> Spool {
    let opening = async {
        loop {
            match Spool::open(folder, 1 << 20, keys) {
                Err(signaling::error::Error::Settings(_)) => tokio::time::sleep(Duration::from_millis(10)).await,
                opened => break opened.unwrap(),
            }
        }
    };
    tokio::time::timeout(SOON, opening).await.expect("nobody else has the folder")
}

impl House {
    pub(crate) async fn open() -> Self {
        Box::pin(Self::open_as(SignalingConfig::default())).await
    }

    /// With other settings than usual; those that a test needs at any rate are set here.
    pub(crate) async fn open_as(settings: SignalingConfig) -> Self {
        Box::pin(Self::open_at(SocketAddr::from(([127, 0, 0, 1], 0)), settings)).await
    }

    /// At an address that somebody else has to know.
    pub(crate) async fn open_at(http: SocketAddr, settings: SignalingConfig) -> Self {
        Box::pin(Self::open_whole(http, settings, TestDatabase::fresh().await, tempfile::tempdir().unwrap())).await
    }

    /// With a database of the test's own, and what an earlier process left in the folder.
    pub(crate) async fn open_in(settings: SignalingConfig, database: TestDatabase, folder: TempDir) -> Self {
        Box::pin(Self::open_whole(SocketAddr::from(([127, 0, 0, 1], 0)), settings, database, folder)).await
    }

    async fn open_whole(http: SocketAddr, settings: SignalingConfig, database: TestDatabase, folder: TempDir) -> Self {
        let keys = Keys::read_or_create(folder.path()).unwrap();
        let store = FolderStore::open(&folder.path().join("store")).await.unwrap();
        let kek = LocalKeys::open_or_create(&folder.path().join("kek")).unwrap();
        let vault = Vault { store: Arc::new(store) as Arc<dyn Store>, keys: Arc::new(kek) };
        let config = SignalingConfig {
            profile: Profile::Development,
            http,
            database_url: Redacted::new(database.app_url.clone()),
            database_connections: 8,
            vault: Some(vault.clone()),
            spool: Some(open_spool(&folder.path().join("audit-spool"), &keys).await),
            ..settings
        };
        let org = OrgId::random();
        let db = Db::connect(&config, Clock::system()).await.unwrap();
        let practice = Organization { id: org, name: "Practice".to_owned(), phone: "+1 555 0100".to_owned() };
        organization::create(&db, &practice).await.unwrap();
        let (link, end) = wire::link::in_process();
        let sfu = FakeSfu::start(end);
        let (ready, address) = oneshot::channel();
        let stop = CancellationToken::new();
        let own = Keys::read_or_create(folder.path()).unwrap();
        let role = tokio::spawn(signaling::run(config, own, link, ready, stop.clone()));
        let address = address.await.unwrap();
        let keys = Arc::new(keys);
        Self { address, database, sfu, org, keys, vault, folder, stop, role, browsers: Mutex::default() }
    }

    /// Stops the role and waits for its end.
    pub(crate) async fn close(self) {
        drop(self.close_keeping().await);
    }

    /// The same; what it wrote stays for the next one.
    pub(crate) async fn close_keeping(self) -> (TestDatabase, TempDir) {
        self.stop.cancel();
        tokio::time::timeout(SOON, self.role).await.unwrap().unwrap().unwrap();
        (self.database, self.folder)
    }

    pub(crate) fn bearer(&self, sub: &str, role: StaffRole) -> String {
        let grant = AccessGrant { org: self.org, sub, role, name: None, lifetime: Duration::from_secs(600) };
        format!("Bearer {}", self.keys.mint_access(grant, OffsetDateTime::now_utc()).unwrap())
    }

    /// One HTTP request on a connection of its own: status, head and body.
    pub(crate) async fn raw(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> (u16, String, Vec<u8>) {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n");
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
            if let Some(key) = (*name == "cookie").then(|| self.key(value)).flatten() {
                let fresh = Fresh::Around(OffsetDateTime::now_utc().unix_timestamp());
                let proof = prove(&key, &Expected { method, path, fresh, secret: None });
                head.push_str(&format!("dpop: {proof}\r\n"));
            }
        }
        if !body.is_empty() {
            head.push_str(&format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len()));
        }
        stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes).await.unwrap();
        let split = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap();
        let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let mut body = bytes[split + 4..].to_vec();
        if head.to_lowercase().contains("transfer-encoding: chunked") {
            body = unchunk(&body);
        }
        (status, head, body)
    }

    /// One HTTP request with a bearer: status and JSON.
    pub(crate) async fn ask(&self, bearer: &str, method: &str, path: &str, body: &Value) -> (u16, Value) {
        let text = if body.is_null() { String::new() } else { body.to_string() };
        let (status, _, body) = self.raw(method, path, &[("authorization", bearer)], &text).await;
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// A visit that begins now: its id and the cookie of a patient who redeemed the link.
    pub(crate) async fn visit(&self, clinician: &str) -> (String, String) {
        let scheduler = self.bearer("planner", StaffRole::Scheduler);
        let now = OffsetDateTime::now_utc().format(&Rfc3339).unwrap();
        let body = json!({"patientId": "p-1", "clinicianId": clinician, "scheduledAt": now, "duration": 30,
            "patientName": "Canary Patient", "clinicianName": "Dr. Maria Alvarez", "recordingPolicy": "OPT_IN"});
        let (status, visit) = self.ask(&scheduler, "POST", "/api/visits", &body).await;
        assert_eq!(status, 201, "{visit}");
        let id = visit["visitId"].as_str().unwrap().to_owned();
        let cookie = self.redeem(&id).await;
        (id, cookie)
    }

    /// A new link for the patient, redeemed: the session cookie.
    pub(crate) async fn redeem(&self, visit: &str) -> String {
        let cookie = self.claim(visit).await;
        let (status, _, body) =
            self.raw("POST", "/api/token/confirm", &[("cookie", &cookie), ("x-anteroom", "1")], "{}").await;
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&body));
        cookie
    }

    /// A new link for the patient, claimed: the cookie of the session to be.
    pub(crate) async fn claim(&self, visit: &str) -> String {
        let scheduler = self.bearer("planner", StaffRole::Scheduler);
        let (status, links) =
            self.ask(&scheduler, "POST", &format!("/api/visits/{visit}/links"), &json!({"roles": ["patient"]})).await;
        assert!(status < 300, "{links}");
        let code = links["patient"]["shortCode"].as_str().unwrap();
        let key = BrowserKey::random();
        let fresh = Fresh::Around(OffsetDateTime::now_utc().unix_timestamp());
        let proof = prove(&key, &Expected { method: "POST", path: "/api/token/redeem", fresh, secret: Some(code) });
        let body = json!({"shortCode": code, "mode": "redeem", "publicKey": key.public(), "proof": proof}).to_string();
        let (status, head, _) = self.raw("POST", "/api/token/redeem", &[], &body).await;
        assert_eq!(status, 200);
        let value = find_header(&head, "set-cookie").unwrap();
        assert!(value.contains("HttpOnly") && value.contains("Secure") && value.contains("SameSite=Strict"));
        let cookie = value.split(';').next().unwrap().to_owned();
        self.browsers.lock().unwrap().insert(cookie.clone(), key);
        cookie
    }

    /// The key behind a cookie.
    pub(crate) fn key(&self, cookie: &str) -> Option<BrowserKey> {
        self.browsers.lock().unwrap().get(cookie).cloned()
    }

    pub(crate) async fn connect(&self, query: &str, headers: &[(&str, &str)]) -> Person {
        self.try_connect(query, headers).await.unwrap()
    }

    pub(crate) async fn try_connect(&self, query: &str, headers: &[(&str, &str)]) -> Result<Person, u16> {
        let mut request = format!("ws://{}/ws{query}", self.address).into_client_request().unwrap();
        request.headers_mut().insert("sec-websocket-protocol", "anteroom.v1".parse().unwrap());
        for (name, value) in headers {
            let name: axum::http::HeaderName = name.parse().unwrap();
            request.headers_mut().insert(name, value.parse().unwrap());
        }
        match tokio_tungstenite::connect_async(request).await {
            Ok((socket, _)) => {
                let cookie = headers.iter().find(|(name, _)| *name == "cookie");
                let key = cookie.and_then(|(_, value)| self.key(value));
                Ok(Person { socket, heard: Vec::new(), closed: None, key })
            }
            Err(tokio_tungstenite::tungstenite::Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// A patient who said hello.
    pub(crate) async fn patient(&self, cookie: &str) -> Person {
        let mut person = self.connect("", &[("cookie", cookie)]).await;
        person.say(json!({"type": "hello", "protocol": 1})).await;
        person
    }

    /// A clinician who said hello.
    pub(crate) async fn clinician(&self, sub: &str, visit: &str) -> Person {
        let bearer = self.bearer(sub, StaffRole::Clinician);
        let mut person = self.connect(&format!("?visit={visit}"), &[("authorization", &bearer)]).await;
        person.say(json!({"type": "hello", "protocol": 1})).await;
        person
    }

    pub(crate) async fn owner(&self) -> PgConnection {
        self.database.owner().await
    }
}

/// A header's value by its name in lower case.
pub(crate) fn find_header(head: &str, name: &str) -> Option<String> {
    let pairs = head.lines().filter_map(|line| line.split_once(": "));
    pairs.filter(|(key, _)| key.to_lowercase() == name).map(|(_, value)| value.trim().to_owned()).next()
}

fn unchunk(mut body: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    loop {
        let end = body.windows(2).position(|w| w == b"\r\n").unwrap();
        let size = usize::from_str_radix(std::str::from_utf8(&body[..end]).unwrap().trim(), 16).unwrap();
        body = &body[end + 2..];
        if size == 0 {
            return whole;
        }
        whole.extend_from_slice(&body[..size]);
        body = &body[size + 2..];
    }
}

/// One end of a WebSocket.
pub(crate) struct Person {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) heard: Vec<Value>,
    pub(crate) closed: Option<u16>,
    /// Of the session, where there is one.
    pub(crate) key: Option<BrowserKey>,
}

/// A proof for now.
pub(crate) fn prove(key: &BrowserKey, expected: &Expected<'_>) -> String {
    key.prove(expected, OffsetDateTime::now_utc().unix_timestamp())
}

impl Person {
    /// Sends a message. A `hello` of somebody with a key waits for the challenge and proves it.
    pub(crate) async fn say(&mut self, mut message: Value) {
        if let Some(key) = self.key.clone().filter(|_| message["type"] == "hello") {
            let challenge = self.hear("challenge").await;
            let fresh = Fresh::Nonce(challenge["nonce"].as_str().unwrap());
            message["proof"] = json!(prove(&key, &Expected { method: "GET", path: "/ws", fresh, secret: None }));
        }
        self.say_text(&message.to_string()).await;
    }

    pub(crate) async fn say_text(&mut self, text: &str) {
        // The other side may have closed: what it says then is read next.
        drop(self.socket.send(Message::text(text)).await);
    }

    pub(crate) async fn say_binary(&mut self) {
        self.socket.send(Message::binary(vec![0u8; 3])).await.unwrap();
    }

    /// The next message of this type; what comes before it is kept in `heard`.
    pub(crate) async fn hear(&mut self, kind: &str) -> Value {
        let until = async {
            loop {
                let message = self.next().await.unwrap_or_else(|| panic!("closed {:?} before {kind}", self.closed));
                if message["type"] == kind {
                    return message;
                }
            }
        };
        match tokio::time::timeout(SOON, until).await {
            Ok(message) => message,
            Err(_) => panic!("no {kind}"),
        }
    }

    /// The close code.
    pub(crate) async fn hear_close(&mut self) -> u16 {
        tokio::time::timeout(SOON, async { while self.next().await.is_some() {} }).await.expect("the socket closes");
        self.closed.expect("a close code")
    }

    /// Waits until everything said before was dealt with.
    pub(crate) async fn settle(&mut self) {
        self.say(json!({"type": "ping", "id": "settle"})).await;
        self.hear("pong").await;
    }

    /// The network breaks.
    pub(crate) fn cut(self) {
        drop(self.socket);
    }

    async fn next(&mut self) -> Option<Value> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Text(text)) => {
                    let value: Value = serde_json::from_str(&text).unwrap();
                    self.heard.push(value.clone());
                    return Some(value);
                }
                Ok(Message::Close(frame)) => self.closed = frame.map(|f| u16::from(f.code)),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}
