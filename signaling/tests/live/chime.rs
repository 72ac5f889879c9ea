//! The browser protocol of the Chime face over a real socket: frames in, frames out, and a room where both faces meet.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::{SinkExt, StreamExt};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use signaling::chime::frames::{self, Frame, FrameType};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};
use uuid::Uuid;
use wire::ParticipantId;
use wire::control::{Codec, Command, Door, Event, Manner, PublishedTrack, Source};
use wire::{RoomId, TrackId};

use crate::support::{House, SOON};

/// One socket of a Chime client.
struct Caller {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    closed: Option<u16>,
}

impl Caller {
    async fn connect(house: &House, meeting: &str, token: &str) -> Self {
        let query = "X-Chime-Control-Protocol-Version=3&X-Amzn-Chime-Send-Close-On-Error=1";
        let url = format!("ws://{}/control/{meeting}?{query}", house.address);
        let mut request = url.into_client_request().unwrap();
        let offered = format!("_aws_wt_session, {token}");
        request.headers_mut().insert("sec-websocket-protocol", offered.parse().unwrap());
        // A page of another site, as an application's own pages are.
        request.headers_mut().insert("origin", "https://clinic.example".parse().unwrap());
        let (socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(response.headers()["sec-websocket-protocol"], "_aws_wt_session");
        Self { socket, closed: None }
    }

    async fn say(&mut self, frame: Frame) {
        self.socket.send(Message::binary(frames::encode(&frame))).await.unwrap();
    }

    async fn join(&mut self, client: u64) {
        let ping = frames::PingPong { r#type: 1, ping_id: 1 };
        self.say(Frame { ping_pong: Some(ping), ..Frame::new(FrameType::PingPong, 1) }).await;
        let join = frames::Join { audio_session_id: Some(client), ..frames::Join::default() };
        self.say(Frame { join: Some(join), ..Frame::new(FrameType::Join, 1) }).await;
        assert_eq!(self.hear(FrameType::PingPong).await.ping_pong.unwrap().ping_id, 1);
    }

    async fn subscribe(&mut self, name: &str) -> frames::SubscribeAck {
        let sdp =
            format!("v=0\r\no=- {name} 1 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 AB\r\nm=video 9 X 96\r\na=mid:1\r\n");
        let sub =
            frames::Subscribe { sdp_offer: Some(sdp), receive_stream_ids: vec![0], ..frames::Subscribe::default() };
        self.say(Frame { sub: Some(sub), ..Frame::new(FrameType::Subscribe, 1) }).await;
        self.hear(FrameType::SubscribeAck).await.suback.unwrap()
    }

    /// Into the meeting, with a connection.
    async fn enter(house: &House, meeting: &str, token: &str, client: u64, name: &str) -> Self {
        let mut caller = Self::connect(house, meeting, token).await;
        caller.join(client).await;
        caller.hear(FrameType::JoinAck).await;
        caller.hear(FrameType::Index).await;
        assert_eq!(caller.subscribe(name).await.sdp_answer.as_deref(), Some("v=0 answer"));
        caller
    }

    /// The next frame of this type.
    async fn hear(&mut self, kind: FrameType) -> Frame {
        let until = async {
            loop {
                let frame = self.next().await.unwrap_or_else(|| panic!("closed {:?} before {kind:?}", self.closed));
                if frame.kind() == Some(kind) {
                    return frame;
                }
            }
        };
        tokio::time::timeout(SOON, until).await.unwrap_or_else(|_| panic!("no {kind:?}"))
    }

    /// What changed of the roster; the first time, all of it.
    async fn hear_roster(&mut self) -> Vec<frames::AudioStream> {
        self.hear(FrameType::AudioStreamIdInfo).await.audio_stream_id_info.unwrap().streams
    }

    async fn hear_close(&mut self) -> u16 {
        tokio::time::timeout(SOON, async { while self.next().await.is_some() {} }).await.expect("the socket closes");
        self.closed.expect("a close code")
    }

    async fn next(&mut self) -> Option<Frame> {
        loop {
            match self.socket.next().await? {
                Ok(Message::Binary(bytes)) => return Some(frames::decode(&bytes).unwrap()),
                Ok(Message::Close(frame)) => self.closed = frame.map(|f| u16::from(f.code)),
                Ok(_) => {}
                Err(_) => return None,
            }
        }
    }
}

/// Somebody with a join token.
struct Attendee {
    id: Uuid,
    who: ParticipantId,
    token: String,
}

/// A meeting in the books, with these people. Without a visit it is one of its own.
async fn meeting(house: &House, visit: Option<&str>, names: &[&str]) -> (String, Vec<Attendee>) {
    let mut owner = house.owner().await;
    let (org, meeting) = (house.org.as_uuid(), Uuid::new_v4());
    let visit = match visit {
        Some(visit) => visit.parse().unwrap(),
        None => {
            let visit = Uuid::new_v4();
            sqlx::query(
                "INSERT INTO visit (visit_id, org_id, kind, status, scheduled_start_at, duration_min, created_by)
                 VALUES ($1, $2, 'MEETING', 'IN_PROGRESS', now(), 1440, 'test')",
            )
            .bind(visit)
            .bind(org)
            .execute(&mut owner)
            .await
            .unwrap();
            visit
        }
    };
    sqlx::query(
        "INSERT INTO chime_meeting (meeting_id, org_id, visit_id, request_token, request_hash, external_meeting_id,
             media_region, region, created_at, attended_at)
         VALUES ($1, $2, $3, $4, $5, 'external', 'us-east-1', 'us-east-1', now(), now())",
    )
    .bind(meeting)
    .bind(org)
    .bind(visit)
    .bind(meeting.to_string())
    .bind(vec![0_u8; 32])
    .execute(&mut owner)
    .await
    .unwrap();
    let mut people = Vec::new();
    for name in names {
        let (attendee, participant) = (Uuid::new_v4(), Uuid::new_v4());
        sqlx::query(
            "INSERT INTO participant (participant_id, org_id, visit_id, role, identity_ref, display_name)
             VALUES ($1, $2, $3, 'GUEST', $4, $4)",
        )
        .bind(participant)
        .bind(org)
        .bind(visit)
        .bind(name)
        .execute(&mut owner)
        .await
        .unwrap();
        let capabilities = json!({"Audio": "SendReceive", "Video": "SendReceive", "Content": "SendReceive"});
        sqlx::query(
            "INSERT INTO chime_attendee (attendee_id, org_id, meeting_id, participant_id, external_user_id, capabilities, created_at)
             VALUES ($1, $2, $3, $4, $5, $6, now())",
        )
        .bind(attendee)
        .bind(org)
        .bind(meeting)
        .bind(participant)
        .bind(name)
        .bind(capabilities)
        .execute(&mut owner)
        .await
        .unwrap();
        people.push(Attendee {
            id: attendee,
            who: ParticipantId::from_uuid(participant),
            token: token(house, attendee),
        });
    }
    (meeting.to_string(), people)
}

/// As the server makes it.
fn token(house: &House, attendee: Uuid) -> String {
    let key = std::fs::read_to_string(house.folder.path().join("lookup.key")).unwrap();
    let key = hex::decode(key.trim()).unwrap();
    let mut named = house.org.as_uuid().as_bytes().to_vec();
    named.extend_from_slice(attendee.as_bytes());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(b"anteroom chime join token v1\0");
    mac.update(&named);
    named.extend(mac.finalize().into_bytes().iter().take(24));
    URL_SAFE_NO_PAD.encode(named)
}

fn named(streams: &[frames::AudioStream]) -> Vec<String> {
    streams.iter().filter_map(|stream| stream.external_user_id.clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_place_is_told_so_inside_the_protocol() {
    let house = House::open().await;
    let (id, people) = meeting(&house, None, &["alice"]).await;
    let forged = URL_SAFE_NO_PAD.encode([7_u8; 56]);
    let elsewhere = Uuid::new_v4().to_string();
    for (meeting, token) in
        [(&*id, &*forged), (&*id, "x"), ("no-id", &*people[0].token), (&*elsewhere, &*people[0].token)]
    {
        let mut caller = Caller::connect(&house, meeting, token).await;
        caller.join(1).await;
        let refused = caller.hear(FrameType::JoinAck).await;
        assert_eq!(refused.error.unwrap().status, Some(403), "{meeting}");
        caller.say(Frame { leave: Some(frames::Empty {}), ..Frame::new(FrameType::Leave, 1) }).await;
        caller.hear(FrameType::LeaveAck).await;
        assert_eq!(caller.hear_close().await, 1000);
    }
    // A meeting that is over.
    let mut owner = house.owner().await;
    let end = "UPDATE chime_meeting SET ended_at = now(), end_reason = 'DELETED'";
    sqlx::query(end).execute(&mut owner).await.unwrap();
    let mut caller = Caller::connect(&house, &id, &people[0].token).await;
    caller.join(1).await;
    assert_eq!(caller.hear_close().await, 4410);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_while_somebody_comes_in_holds_for_them() {
    let house = House::open().await;
    let (id, people) = meeting(&house, None, &["alice", "bob"]).await;
    let mut owner = house.owner().await;
    let ping =
        || Frame { ping_pong: Some(frames::PingPong { r#type: 1, ping_id: 5 }), ..Frame::new(FrameType::PingPong, 1) };
    let mut alice = Caller::connect(&house, &id, &people[0].token).await;
    let mut bob = Caller::connect(&house, &id, &people[1].token).await;
    for caller in [&mut alice, &mut bob] {
        caller.say(ping()).await;
        // Whose token it is was looked up by now.
        caller.hear(FrameType::PingPong).await;
    }
    let capabilities = json!({"Audio": "Receive", "Video": "Receive", "Content": "None"});
    sqlx::query("UPDATE chime_attendee SET capabilities = $1 WHERE attendee_id = $2")
        .bind(capabilities)
        .bind(people[0].id)
        .execute(&mut owner)
        .await
        .unwrap();
    sqlx::query("UPDATE chime_attendee SET deleted_at = now() WHERE attendee_id = $1")
        .bind(people[1].id)
        .execute(&mut owner)
        .await
        .unwrap();
    alice.join(1).await;
    alice.hear(FrameType::Index).await;
    let rights = house.sfu.hears(|command| match command {
        Command::SetRights { participant, rights, .. } if *participant == people[0].who => Some(*rights),
        _ => None,
    });
    let rights = rights.await;
    assert!(!rights.sends_audio && rights.receives_audio && !rights.sends_content);
    bob.join(2).await;
    assert_eq!(bob.hear(FrameType::AudioStatus).await.audio_status.unwrap().audio_status, Some(411));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rubbish_closes_its_own_socket_alone() {
    let house = House::open().await;
    let (id, people) = meeting(&house, None, &["alice", "bob"]).await;
    let mut alice = Caller::enter(&house, &id, &people[0].token, 1, "aaaa").await;
    for (message, code) in [
        (Message::text("{}"), 4400),
        (Message::binary(vec![5, 0xff, 0xff]), 4400),
        (Message::binary(vec![5; frames::MAX_FRAME_BYTES + 1]), 4413),
    ] {
        let mut bob = Caller::connect(&house, &id, &people[1].token).await;
        bob.socket.send(message).await.unwrap();
        assert_eq!(bob.hear_close().await, code);
    }
    let ping = frames::PingPong { r#type: 1, ping_id: 77 };
    alice.say(Frame { ping_pong: Some(ping), ..Frame::new(FrameType::PingPong, 1) }).await;
    assert_eq!(alice.hear(FrameType::PingPong).await.ping_pong.unwrap().ping_id, 77);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_meeting_from_the_first_frame_to_the_end() {
    let house = House::open().await;
    let (id, people) = meeting(&house, None, &["alice", "bob"]).await;
    let mut alice = Caller::enter(&house, &id, &people[0].token, 1, "aaaa").await;
    assert_eq!(named(&alice.hear_roster().await), ["alice"]);
    let mut bob = Caller::enter(&house, &id, &people[1].token, 2, "bbbb").await;
    let everybody = bob.hear_roster().await;
    assert_eq!(named(&everybody), ["alice", "bob"]);
    assert_eq!(everybody[1].attendee_id, Some(people[1].id.to_string()));
    assert_eq!(named(&alice.hear_roster().await), ["bob"]);
    let room = house.sfu.last(|command| match command {
        Command::AddPeer { room, door: Door::Admitted, manner: Manner::Chime, .. } => Some(*room),
        _ => None,
    });
    // Alice's camera: announced, then flowing.
    let sub = frames::StreamDescriptor { media_type: Some(2), max_bitrate_kbps: Some(900), ..Default::default() };
    let sdp =
        "v=0\r\no=- aaaa 2 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 AB\r\nm=video 9 X 96\r\na=mid:1\r\n".to_owned();
    let sub = frames::Subscribe {
        sdp_offer: Some(sdp),
        send_streams: vec![sub],
        receive_stream_ids: vec![0],
        ..Default::default()
    };
    alice.say(Frame { sub: Some(sub), ..Frame::new(FrameType::Subscribe, 1) }).await;
    let given = alice.hear(FrameType::SubscribeAck).await.suback.unwrap().allocations[0].clone();
    house.sfu.tell(published(room, people[0].who)).await;
    let sources = loop {
        let index = bob.hear(FrameType::Index).await.index.unwrap();
        if !index.sources.is_empty() {
            break index.sources;
        }
    };
    assert_eq!((sources[0].stream_id, sources[0].group_id), (given.stream_id, given.group_id));
    assert_eq!(sources[0].attendee_id, Some(people[0].id.to_string()));
    // The same page on a new socket, and then another device.
    let mut again = Caller::enter(&house, &id, &people[1].token, 2, "bbb2").await;
    assert_eq!(named(&again.hear_roster().await), ["alice", "bob"]);
    let mut other = Caller::enter(&house, &id, &people[1].token, 3, "bbb3").await;
    let status = again.hear(FrameType::AudioStatus).await.audio_status.unwrap().audio_status;
    assert_eq!(status, Some(301));
    // The media node loses the room: everybody comes back to another one.
    house.sfu.tell(Event::RoomFailed { room }).await;
    assert_eq!(alice.hear_close().await, 4500);
    assert_eq!(other.hear_close().await, 4500);
    house.close().await;
}

fn published(room: RoomId, who: ParticipantId) -> Event {
    let camera = PublishedTrack {
        participant: who,
        source: Source::Camera,
        track: TrackId::random(),
        codec: Codec::Vp8,
        kbits: vec![700],
        sizes: vec![Some((640, 360))],
    };
    Event::Published { room, tracks: vec![camera] }
}

#[tokio::test(flavor = "multi_thread")]
async fn in_a_visits_room_the_clinician_lets_in_and_both_faces_see_each_other() {
    let house = House::open().await;
    let (visit, _) = house.visit("dr-maria").await;
    let (id, people) = meeting(&house, Some(&visit), &["son"]).await;
    let mut clinician = house.clinician("dr-maria", &visit).await;
    clinician.hear("welcome").await;
    let mut son = Caller::enter(&house, &id, &people[0].token, 1, "ssss").await;
    assert_eq!(named(&son.hear_roster().await), ["son"]);
    loop {
        let list = clinician.hear("waiting_list").await;
        if list["entries"][0]["participantId"] == people[0].who.to_string() {
            break;
        }
    }
    clinician.say(json!({"type": "admit", "id": 1, "participantId": people[0].who})).await;
    clinician.hear("ok").await;
    let inside = son.hear_roster().await;
    assert_eq!(named(&inside), ["Dr. Maria Alvarez"], "a delta: the own entry is known already");
    clinician.say(json!({"type": "remove", "id": 2, "participantId": people[0].who})).await;
    let status = son.hear(FrameType::AudioStatus).await.audio_status.unwrap().audio_status;
    assert_eq!(status, Some(411));
    son.say(Frame { leave: Some(frames::Empty {}), ..Frame::new(FrameType::Leave, 1) }).await;
    son.hear(FrameType::LeaveAck).await;
    house.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_visit_that_ends_ends_for_both_faces() {
    let house = House::open().await;
    let (visit, _) = house.visit("dr-maria").await;
    let (id, people) = meeting(&house, Some(&visit), &["son"]).await;
    let mut son = Caller::enter(&house, &id, &people[0].token, 1, "ssss").await;
    let bearer = house.bearer("dr-maria", signaling::auth::StaffRole::Clinician);
    let body = json!({"endReason": "NO_SHOW"});
    let (status, _) = house.ask(&bearer, "POST", &format!("/api/visits/{visit}/end"), &body).await;
    assert!(status < 300, "{status}");
    assert_eq!(son.hear(FrameType::AudioStatus).await.audio_status.unwrap().audio_status, Some(410));
    // Without its goodbye the socket ends a little later.
    assert_eq!(son.hear_close().await, 1000);
    house.close().await;
}
