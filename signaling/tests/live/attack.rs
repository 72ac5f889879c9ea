//! Floods and rubbish on the signaling side (OWASP ASVS 5.0, V17.3): the others in the house notice nothing.

use std::time::Duration;

use serde_json::{Value, json};
use signaling::auth::StaffRole;
use signaling::ws::message::ClientMessage;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::support::{House, Person, SOON};

/// How long an honest person may wait for an answer while others misbehave. Machines under test are busy; without its limits
/// the server would not answer at all.
const PATIENCE: Duration = Duration::from_secs(5);

/// Two people in a visit that runs.
async fn call(house: &House, doctor: &str) -> (String, Person, Person) {
    let (visit, cookie) = house.visit(doctor).await;
    let mut clinician = house.clinician(doctor, &visit).await;
    clinician.hear("welcome").await;
    let mut patient = house.patient(&cookie).await;
    let who = patient.hear("welcome").await["you"]["participantId"].clone();
    clinician.say(json!({"type": "admit", "id": 1, "participantId": who})).await;
    patient.hear("admitted").await;
    (visit, clinician, patient)
}

/// The longest of some answers.
async fn worst_answer(person: &mut Person, rounds: usize) -> Duration {
    let mut worst = Duration::ZERO;
    for _ in 0..rounds {
        let asked = Instant::now();
        person.settle().await;
        worst = worst.max(asked.elapsed());
    }
    worst
}

#[tokio::test]
async fn asvs_17_3_1_a_flood_of_messages_and_connections_does_not_stop_the_others() {
    let house = House::open().await;
    let (_, mut clinician, mut patient) = call(&house, "dr-maria").await;
    let (flooded, _other, mut flooder) = call(&house, "dr-flood").await;

    // Connections that begin a request and never end it, and requests without a credential, all the time.
    let mut dawdlers = Vec::new();
    for _ in 0..200 {
        let mut stream = TcpStream::connect(house.address).await.unwrap();
        stream.write_all(b"GET /ws HTTP/1.1\r\nhost: localhost\r\nx-slow: ").await.unwrap();
        dawdlers.push(stream);
    }
    let address = house.address;
    let strangers = tokio::spawn(async move {
        loop {
            let Ok(mut stream) = TcpStream::connect(address).await else { continue };
            let request = "GET /ws HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
            // Refused, closed or reset: a flood does not look.
            drop(stream.write_all(request.as_bytes()).await);
            let mut answer = [0; 64];
            drop(timeout(Duration::from_millis(200), stream.read(&mut answer)).await);
        }
    });
    // Somebody with a seat who says far more than anybody may.
    let flood = async {
        for n in 0..2_000 {
            flooder.say(json!({"type": "state", "microphone": n % 2 == 0, "camera": true})).await;
        }
        flooder.hear_close().await
    };
    let honest = async { worst_answer(&mut clinician, 20).await.max(worst_answer(&mut patient, 20).await) };
    let (closed, worst) = tokio::join!(flood, honest);
    assert_eq!(closed, 4429);
    assert!(worst < PATIENCE, "an honest person waited {worst:?}");

    // Somebody new still comes in, by link and by socket, while all of that goes on.
    let asked = Instant::now();
    let (_, cookie) = house.visit("dr-new").await;
    house.patient(&cookie).await.hear("welcome").await;
    assert!(asked.elapsed() < 2 * PATIENCE, "a newcomer waited {:?}", asked.elapsed());
    // The flooder's own visit goes on as well: its seat is kept, and the door works.
    let admin = house.bearer("boss", StaffRole::Admin);
    let (status, view) = house.ask(&admin, "GET", &format!("/api/visits/{flooded}"), &Value::Null).await;
    assert_eq!((status, &view["status"]), (200, &json!("IN_PROGRESS")));
    strangers.abort();
    drop(dawdlers);
    house.close().await;
}

/// Frames that make no sense, each in its own way, with the close code that answers them.
fn rubbish() -> Vec<(String, u16)> {
    let kept = kept_inputs();
    let deep = format!("{}{}", "[".repeat(30_000), "]".repeat(30_000));
    let mut all: Vec<(String, u16)> =
        kept.into_iter().filter(|text| ClientMessage::parse(text).is_err()).map(|text| (text, 4400)).collect();
    assert!(all.len() >= 20, "the kept inputs were found: {}", all.len());
    all.push((deep, 4400));
    all.push((format!(r#"{{"type":"offer","id":1,"sdp":"{}"}}"#, "\\u0000".repeat(11_000)), 4413));
    all.push((" ".repeat(64 * 1024 + 1), 4413));
    all
}

fn kept_inputs() -> Vec<String> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/message");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths.iter().filter_map(|path| String::from_utf8(std::fs::read(path).unwrap()).ok()).collect()
}

#[tokio::test]
async fn asvs_17_3_2_malformed_messages_cost_their_sender_the_socket_and_nobody_else() {
    let house = House::open().await;
    let (_, mut clinician, mut patient) = call(&house, "dr-maria").await;
    let (visit, mut other, _mallory) = call(&house, "dr-mallory").await;
    for (text, code) in rubbish() {
        // The first message and a later one take different ways.
        let bearer = house.bearer("dr-mallory", StaffRole::Clinician);
        let mut stranger = house.connect(&format!("?visit={visit}"), &[("authorization", &bearer)]).await;
        stranger.say_text(&text).await;
        assert_eq!(stranger.hear_close().await, code, "as the first message: {text:.60}");
        let mut seated = house.clinician("dr-mallory", &visit).await;
        seated.hear("welcome").await;
        seated.say_text(&text).await;
        assert_eq!(seated.hear_close().await, code, "as a later message: {text:.60}");
        clinician.settle().await;
    }
    timeout(SOON, patient.settle()).await.unwrap();
    // The one whose seat was taken over by all these sockets was told so, and their visit still stands.
    assert_eq!(other.hear("ended").await["reason"], "superseded");
    let mut back = house.clinician("dr-mallory", &visit).await;
    assert_eq!(back.hear("welcome").await["you"]["door"], "admitted");
    house.close().await;
}
