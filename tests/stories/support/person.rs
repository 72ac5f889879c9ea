//! People: a clinician who schedules and admits, and a patient who follows a link.

use bytes::Bytes;
use proof::{BrowserKey, Expected, Fresh};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::http::{Answer, Http};
use super::peer::Peer;
use super::server::Server;
use super::socket::Socket;

/// The practice's side: an access token and the visit that it made.
pub(crate) struct Practice {
    pub(crate) http: Http,
    pub(crate) token: String,
    addr: String,
    pub(crate) visit: String,
}

impl Practice {
    /// A clinician with one visit that begins now.
    pub(crate) async fn open(server: &Server) -> Self {
        // A clinician has one visit at a time; a story that holds a second one has another clinician for it.
        for sub in ["demo-clinician", "second-clinician"] {
            let token = server.token("clinician", sub).await;
            let http = Http::with_bearer(&server.addr, &token);
            let made = http
                .post(
                    "/api/visits",
                    &json!({
                        "patientId": "story-patient", "clinicianId": sub, "scheduledAt": now(), "duration": 30,
                        "patientName": "Ana Rivera", "clinicianName": "Dr. Maria Alvarez", "recordingPolicy": "OPT_IN",
                    }),
                )
                .await;
            if made.status == 201 {
                let visit = made.json()["visitId"].as_str().unwrap().to_owned();
                return Self { http, token, addr: server.addr.clone(), visit };
            }
            assert_eq!(made.status, 409, "{made:?}");
        }
        panic!("both clinicians have a visit");
    }

    /// A fresh link for the patient: its short code.
    pub(crate) async fn link(&self) -> String {
        let links =
            self.http.post(&format!("/api/visits/{}/links", self.visit), &json!({"roles": ["patient"]})).await.ok();
        links["patient"]["shortCode"].as_str().unwrap().to_owned()
    }

    /// The clinician at their desk.
    pub(crate) async fn arrive(&self) -> Person {
        let bearer = ("authorization", format!("Bearer {}", self.token));
        Person::enter(&self.addr, &format!("/ws?visit={}", self.visit), bearer, None).await
    }

    /// The clinician at the desk of a server that begins nothing new: its error, and the code it closes with.
    pub(crate) async fn is_turned_away(&self) -> (Value, u16) {
        let bearer = ("authorization", format!("Bearer {}", self.token));
        Socket::turned_away(&self.addr, &format!("/ws?visit={}", self.visit), &[bearer]).await
    }

    /// The patient, by a link of their own.
    pub(crate) async fn patient_arrives(&self) -> Person {
        let code = self.link().await;
        let key = BrowserKey::random();
        let claimed = claim(&self.addr, &code, &key).await;
        assert_eq!(claimed.status, 200, "{claimed:?}");
        let cookie = claimed.cookie().expect("the session cookie");
        assert!(cookie.starts_with("__Host-anteroom_session="), "{cookie}");
        Person::enter(&self.addr, "/ws", ("cookie", cookie), Some(&key)).await
    }

    /// The same people and the same visit, at a server that was started anew.
    pub(crate) fn moved_to(&mut self, server: &Server) {
        self.addr.clone_from(&server.addr);
        self.http = Http::with_bearer(&server.addr, &self.token);
    }

    pub(crate) async fn recordings(&self) -> Vec<Value> {
        let answer = self.http.get(&format!("/api/visits/{}/recordings", self.visit)).await.ok();
        answer["recordings"].as_array().unwrap().clone()
    }
}

/// Somebody in a visit: their socket and their media.
pub(crate) struct Person {
    pub(crate) socket: Socket,
    pub(crate) peer: Peer,
    pub(crate) id: String,
}

impl Person {
    async fn enter(addr: &str, path: &str, credential: (&'static str, String), key: Option<&BrowserKey>) -> Self {
        let socket = Socket::open(addr, path, &[credential], key).await;
        let id = socket.welcome["you"]["participantId"].as_str().unwrap().to_owned();
        Self { socket, peer: Peer::new().await, id }
    }

    pub(crate) fn door(&self) -> &str {
        self.socket.welcome["you"]["door"].as_str().unwrap()
    }

    /// Offers, connects, and sends these frames.
    pub(crate) async fn connect(&mut self, frames: Vec<Bytes>) {
        let offer = self.peer.offer().await;
        let answer = self.socket.ask(json!({"type": "offer", "sdp": offer})).await;
        assert_eq!(answer["type"], "answer", "{answer}");
        self.peer.take_answer(answer["sdp"].as_str().unwrap()).await;
        self.peer.connected().await;
        self.peer.start_sending(frames).await;
    }

    /// Answers the consent sheet that is up.
    pub(crate) async fn answer_consent(&mut self, decision: &str) {
        let sheet = self.socket.hear("consent_request").await;
        self.socket.ask_ok(json!({"type": "consent", "version": sheet["version"], "decision": decision})).await;
    }
}

/// Claims a code with a fresh key and confirms the claim: the claim's answer, or whatever refused.
pub(crate) async fn redeem(addr: &str, code: &str) -> Answer {
    let key = BrowserKey::random();
    let claimed = claim(addr, code, &key).await;
    let Some(cookie) = claimed.cookie() else { return claimed };
    let mut http = Http::new(addr);
    (http.cookie, http.key) = (Some(cookie), Some(key));
    let confirmed = http.post("/api/token/confirm", &json!({})).await;
    if confirmed.status == 200 { claimed } else { confirmed }
}

/// Claims a code with a key.
pub(crate) async fn claim(addr: &str, code: &str, key: &BrowserKey) -> Answer {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    let expected =
        Expected { method: "POST", path: "/api/token/redeem", fresh: Fresh::Around(now), secret: Some(code) };
    let proof = key.prove(&expected, now);
    let body = json!({"shortCode": code, "mode": "redeem", "publicKey": key.public(), "proof": proof});
    Http::new(addr).post("/api/token/redeem", &body).await
}

fn now() -> String {
    OffsetDateTime::now_utc().format(&Rfc3339).unwrap()
}
