//! The API in one process, on a clock by hand and a real database: what the books say afterwards, and who a join token stands for.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use serde_json::{Value, json};
use sqlx::Row;
use test_postgres::TestDatabase;
use time::macros::datetime;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;
use wire::Redacted;

use crate::app::App;
use crate::auth::keys::Keys;
use crate::chime::attendance::{self, Absent};
use crate::chime::capability::Capability;
use crate::chime::keys::{self, NewKey};
use crate::chime::lifetime;
use crate::chime::names::MeetingId;
use crate::chime::notifications::writer;
use crate::clock::{Clock, Timestamp};
use crate::config::SignalingConfig;
use crate::db::{self, Db};
use crate::ids::{OrgId, ParticipantId, VisitId};
use crate::live::notable::{Happening, What};
use crate::organization::{self, Organization};
use crate::participant::{self, Participant, Role};
use crate::visit::{self, Channel, NewVisit, RecordingPolicy};
use crate::webhook::target;
use crate::ws::message::RoleView;

const START: Timestamp = datetime!(2026-11-21 10:00 UTC);

/// The role over a database of its own, with one practice.
struct House {
    app: App,
    router: Router,
    clock: Clock,
    database: TestDatabase,
    org: OrgId,
    key: NewKey,
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Value,
}

impl House {
    async fn open() -> Self {
        let database = TestDatabase::fresh().await;
        let config = SignalingConfig {
            database_url: Redacted::new(database.app_url.clone()),
            chime_burst: 1000,
            ..SignalingConfig::default()
        };
        let clock = Clock::by_hand(START);
        let db = Db::connect(&config, clock.clone()).await.unwrap();
        let org = OrgId::random();
        let practice = Organization { id: org, name: "Practice".to_owned(), phone: "+1 555 0100".to_owned() };
        organization::create(&db, &practice).await.unwrap();
        let (link, _end) = wire::link::in_process();
        let address = SocketAddr::from(([127, 0, 0, 1], 8080));
        let stop = CancellationToken::new();
        let server_keys = Keys::ephemeral().unwrap();
        let key = keys::create(&db, &server_keys, org).await.unwrap();
        let app = crate::build(config, server_keys, db, clock.clone(), &link, address, stop).unwrap();
        Self { router: crate::router::router(app.clone()), app, clock, database, org, key }
    }

    /// A request signed by AWS's own signer.
    async fn ask(&self, method: &str, path: &str, body: Value) -> Answer {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let uri = format!("http://localhost:8080{path}");
        let identity =
            Credentials::new(&self.key.access_key_id, self.key.secret_access_key.reveal(), None, None, "test").into();
        let seconds = u64::try_from(self.clock.now().unix_timestamp()).unwrap();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("chime")
            .time(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let headers = [("host", "localhost:8080")];
        let signable =
            SignableRequest::new(method, &uri, headers.into_iter(), SignableBody::Bytes(body.as_bytes())).unwrap();
        let (instructions, _) = sign(signable, &params).unwrap().into_parts();
        let mut request = Request::builder().method(method).uri(path).header("host", "localhost:8080");
        for (name, value) in instructions.headers() {
            request = request.header(name, value);
        }
        self.send(request.body(Body::from(body)).unwrap()).await
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, 1 << 20).await.unwrap();
        let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
        Answer { status: parts.status, headers: parts.headers, body }
    }

    async fn meeting(&self, external: &str) -> MeetingId {
        let body = json!({"ClientRequestToken": external, "MediaRegion": "us-east-1", "ExternalMeetingId": external});
        let made = self.ask("POST", "/meetings", body).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.body);
        made.body["Meeting"]["MeetingId"].as_str().unwrap().parse().unwrap()
    }

    /// The attendee's id and token.
    async fn attendee(&self, meeting: MeetingId, user: &str) -> (String, String) {
        let made = self.ask("POST", &format!("/meetings/{meeting}/attendees"), json!({"ExternalUserId": user})).await;
        assert_eq!(made.status, StatusCode::OK, "{}", made.body);
        let text = |name: &str| made.body["Attendee"][name].as_str().unwrap().to_owned();
        (text("AttendeeId"), text("JoinToken"))
    }

    /// A visit of the native face, with its two people.
    async fn visit(&self) -> VisitId {
        let id = VisitId::random();
        let actor = crate::auth::Actor::System { org: self.org };
        db::audited(&self.app.db, self.org, &actor, async |tx| {
            let new = NewVisit {
                appointment: Some("appointment-1".to_owned()),
                patient_id: "p-1".to_owned(),
                patient_name: Redacted::new("Ana".to_owned()),
                clinician_id: "dr-a".to_owned(),
                clinician_name: Redacted::new("Dr. A".to_owned()),
                visit_type: None,
                channel: Channel::Both,
                scheduled_start: START,
                duration_min: 30,
                recording_policy: RecordingPolicy::Never,
                demo: false,
                chief_complaint: None,
                patient_state: None,
            };
            visit::store::insert(tx, self.org, id, &new, "test", START).await?;
            for (role, identity, name) in [(Role::Patient, "p-1", "Ana"), (Role::Clinician, "dr-a", "Dr. A")] {
                let name = Redacted::new(name.to_owned());
                let person =
                    Participant { id: ParticipantId::random(), visit: id, role, identity: identity.to_owned(), name };
                participant::store::insert(tx, self.org, &person).await?;
            }
            let draft = crate::audit::Draft::new(crate::audit::EventType::VisitCreated).visit(id);
            Ok::<_, crate::Error>(((), vec![draft]))
        })
        .await
        .unwrap();
        id
    }

    async fn events(&self) -> Vec<(String, String)> {
        let rows = sqlx::query("SELECT event_type, actor_type FROM audit_event WHERE org_id = $1 ORDER BY seq")
            .bind(self.org.as_uuid())
            .fetch_all(&mut self.database.owner().await)
            .await
            .unwrap();
        rows.iter().map(|row| (row.get(0), row.get(1))).collect()
    }

    async fn find(&self, meeting: MeetingId, token: &str) -> Result<attendance::Attendance, Absent> {
        attendance::find(&self.app, meeting, token).await
    }
}

#[tokio::test]
async fn a_join_token_stands_for_a_person_until_they_are_deleted() {
    let house = House::open().await;
    let meeting = house.meeting("one").await;
    let (attendee, token) = house.attendee(meeting, "3f2a#Maria").await;
    let found = house.find(meeting, &token).await.unwrap();
    assert_eq!((found.org, found.attendee.to_string()), (house.org, attendee.clone()));
    assert!(found.is_plain && !found.is_share && found.may_record);
    assert_eq!((found.external_user_id.as_str(), found.person.name.reveal().as_str()), ("3f2a#Maria", "Maria"));
    assert_eq!((found.person.role, found.capabilities.audio), (RoleView::Guest, Capability::SendReceive));
    assert!(house.find(meeting, &format!("{token}#content")).await.unwrap().is_share);

    let other = house.meeting("other").await;
    assert!(matches!(house.find(other, &token).await, Err(Absent::Unknown)), "of another meeting");
    assert!(matches!(house.find(meeting, "x").await, Err(Absent::Unknown)));
    let gone = house.ask("DELETE", &format!("/meetings/{meeting}/attendees/{attendee}"), Value::Null).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    assert!(matches!(house.find(meeting, &token).await, Err(Absent::Unknown)));

    let (_, token) = house.attendee(meeting, "3f2a#Maria").await;
    let again = house.find(meeting, &token).await.unwrap();
    assert_ne!(again.person.participant, found.person.participant, "somebody new to the room");
    house.ask("DELETE", &format!("/meetings/{meeting}"), Value::Null).await;
    assert!(matches!(house.find(meeting, &token).await, Err(Absent::Ended)));
}

#[tokio::test]
async fn the_people_of_a_visit_are_known_by_their_ids() {
    let house = House::open().await;
    let visit = house.visit().await;
    for external in [visit.to_string(), "appointment-1".to_owned()] {
        let meeting = house.meeting(&external).await;
        for (user, role) in [("dr-a", RoleView::Clinician), ("p-1", RoleView::Patient), ("somebody", RoleView::Guest)] {
            let (_, token) = house.attendee(meeting, user).await;
            let found = house.find(meeting, &token).await.unwrap();
            assert_eq!((found.visit, found.person.role, found.is_plain), (visit, role, false), "{user}");
            assert_eq!(found.card.clinician_name.reveal(), "Dr. A");
            assert!(!found.may_record, "the visit's own policy");
        }
    }
    let rows = sqlx::query("SELECT count(*) FROM participant WHERE visit_id = $1 AND role IN ('PATIENT', 'CLINICIAN')")
        .bind(visit.as_uuid())
        .fetch_one(&mut house.database.owner().await)
        .await
        .unwrap();
    assert_eq!(rows.get::<i64, _>(0), 2);
}

#[tokio::test]
async fn the_books_say_who_did_what() {
    let house = House::open().await;
    let meeting = house.meeting("one").await;
    let (attendee, _) = house.attendee(meeting, "user").await;
    let path = format!("/meetings/{meeting}/attendees/{attendee}");
    let listen = json!({"Capabilities": {"Audio": "Receive", "Video": "Receive", "Content": "None"}});
    assert_eq!(house.ask("PUT", &format!("{path}/capabilities"), listen).await.status, StatusCode::OK);
    house.ask("GET", &format!("/meetings/{meeting}"), Value::Null).await;
    house.ask("GET", &format!("/meetings/{meeting}"), Value::Null).await;
    house.ask("DELETE", &path, Value::Null).await;
    house.ask("DELETE", &format!("/meetings/{meeting}"), Value::Null).await;
    let events = house.events().await;
    let by_key: Vec<&str> = events.iter().filter(|(_, by)| by == "SERVICE").map(|(event, _)| event.as_str()).collect();
    assert_eq!(
        by_key,
        [
            "VISIT_CREATED",
            "VISIT_STARTED",
            "ROOM_CREATED",
            "PARTICIPANT_ADDED",
            "TOKEN_ISSUED",
            "PARTICIPANT_RIGHTS_CHANGED",
            "VISIT_VIEWED",
            "PARTICIPANT_REMOVED",
            "TOKEN_REVOKED",
            "ROOM_ENDED",
            "VISIT_STATUS_CHANGED",
            "VISIT_ENDED",
        ]
    );
}

#[tokio::test]
async fn nobody_for_five_minutes_or_somebody_for_a_day_and_it_ends() {
    let house = House::open().await;
    let (silent, long) = (house.meeting("silent").await, house.meeting("long").await);
    let (_, token) = house.attendee(silent, "user").await;
    let attend = async |at: Timestamp| {
        sqlx::query("UPDATE chime_meeting SET attended_at = $2 WHERE meeting_id = $1")
            .bind(long.as_uuid())
            .bind(at)
            .execute(&mut house.database.owner().await)
            .await
            .unwrap();
    };
    let lives = async |meeting: MeetingId| {
        let answer = house.ask("GET", &format!("/meetings/{meeting}"), Value::Null).await;
        assert!(matches!(answer.status, StatusCode::OK | StatusCode::NOT_FOUND));
        answer.status == StatusCode::OK
    };
    house.clock.set(START + Duration::from_secs(299));
    lifetime::look(&house.app).await.unwrap();
    assert!(lives(silent).await && lives(long).await);
    house.clock.set(START + Duration::from_secs(300));
    attend(house.clock.now()).await;
    lifetime::look(&house.app).await.unwrap();
    assert!(!lives(silent).await && lives(long).await);
    assert!(matches!(house.find(silent, &token).await, Err(Absent::Ended)));
    house.clock.set(START + Duration::from_secs(24 * 3600 - 1));
    attend(house.clock.now()).await;
    lifetime::look(&house.app).await.unwrap();
    assert!(lives(long).await);
    house.clock.set(START + Duration::from_secs(24 * 3600));
    lifetime::look(&house.app).await.unwrap();
    assert!(!lives(long).await);
    assert!(house.events().await.iter().any(|(event, by)| event == "ROOM_ENDED" && by == "SYSTEM"));
}

#[tokio::test]
async fn one_token_makes_one_meeting_however_many_ask_at_once() {
    let house = House::open().await;
    let asks = (0..8).map(|_| house.meeting("at-once"));
    let made = futures_util::future::join_all(asks).await;
    assert!(made.iter().all(|meeting| *meeting == made[0]), "{made:?}");
}

#[tokio::test]
async fn a_quota_of_meetings() {
    let house = House::open().await;
    let mut owner = house.database.owner().await;
    for n in 0..250 {
        if n == 0 {
            house.meeting("first").await;
            continue;
        }
        sqlx::query(
            "INSERT INTO chime_meeting (meeting_id, org_id, visit_id, request_token, request_hash, external_meeting_id, media_region,
                 region, created_at, attended_at)
             SELECT gen_random_uuid(), org_id, visit_id, 'token-' || $1, request_hash, external_meeting_id, media_region, region,
                 created_at, attended_at FROM chime_meeting WHERE request_token = 'first'",
        )
        .bind(n.to_string())
        .execute(&mut owner)
        .await
        .unwrap();
    }
    let body = json!({"ClientRequestToken": "more", "MediaRegion": "us-east-1", "ExternalMeetingId": "more"});
    let refused = house.ask("POST", "/meetings", body).await;
    assert_eq!(
        (refused.status, &refused.headers["x-amzn-errortype"]),
        (StatusCode::BAD_REQUEST, &"LimitExceededException".parse().unwrap())
    );
}

#[tokio::test]
async fn a_revoked_key_and_a_strangers_key_open_nothing() {
    let house = House::open().await;
    let meeting = house.meeting("one").await;
    let path = format!("/meetings/{meeting}");
    keys::revoke(&house.app.db, house.org, &house.key.access_key_id).await.unwrap();
    let refused = house.ask("GET", &path, Value::Null).await;
    assert_eq!((refused.status, refused.body["Code"].as_str()), (StatusCode::FORBIDDEN, Some("Forbidden")));
    assert_eq!(refused.body["RequestId"].as_str().unwrap(), refused.headers["x-amzn-requestid"].to_str().unwrap());

    // Another practice of the same server: the meeting does not exist for it.
    let other = OrgId::random();
    let practice = Organization { id: other, name: "Other".to_owned(), phone: "+1 555 0101".to_owned() };
    organization::create(&house.app.db, &practice).await.unwrap();
    let key = keys::create(&house.app.db, &house.app.keys, other).await.unwrap();
    let stranger = House { org: other, key, ..house };
    assert_eq!(stranger.ask("GET", &path, Value::Null).await.status, StatusCode::NOT_FOUND);
    assert_eq!(stranger.ask("DELETE", &path, Value::Null).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_not_read_to_its_end() {
    let house = House::open().await;
    let body = json!({"ClientRequestToken": "x".repeat(300 * 1024)});
    let refused = house.ask("POST", "/meetings", body).await;
    assert_eq!((refused.status, refused.body["Code"].as_str()), (StatusCode::BAD_REQUEST, Some("BadRequest")));
}

#[tokio::test]
async fn client_events_are_taken_from_pages_of_any_origin_with_a_token() {
    let house = House::open().await;
    let meeting = house.meeting("one").await;
    let (_, token) = house.attendee(meeting, "user").await;
    let preflight = Request::builder().method("OPTIONS").uri("/client-events").header("origin", "https://app.example");
    let answer = house.send(preflight.body(Body::empty()).unwrap()).await;
    assert_eq!(
        (answer.status, &answer.headers["access-control-allow-headers"]),
        (StatusCode::NO_CONTENT, &"authorization, content-type".parse().unwrap())
    );
    let post = |token: &str| {
        let request = Request::builder().method("POST").uri("/client-events").header("origin", "https://app.example");
        let request = request.header("authorization", format!("Bearer {token}"));
        request.body(Body::from(r#"{"metadata":{},"events":[{"type":"Meet","v":1,"payloads":[{}]}]}"#)).unwrap()
    };
    let answer = house.send(post(&token)).await;
    assert_eq!(
        (answer.status, &answer.headers["access-control-allow-origin"]),
        (StatusCode::OK, &"*".parse().unwrap())
    );
    assert_eq!(house.send(post("forged")).await.status, StatusCode::FORBIDDEN);
    assert!(house.app.metrics.render().contains("signaling_client_events_total 1"));
}

impl House {
    async fn hook(&self) {
        target::add(&self.app.db, &self.app.keys, self.org, "https://hooks.example.org/").await.unwrap();
    }

    /// What waits to be told, without the word that all begin with.
    async fn told(&self) -> Vec<(String, Value)> {
        let rows = sqlx::query("SELECT body FROM webhook_delivery WHERE org_id = $1 ORDER BY seq")
            .bind(self.org.as_uuid())
            .fetch_all(&mut self.database.owner().await)
            .await
            .unwrap();
        let read = |row: &sqlx::postgres::PgRow| {
            let body: Value = serde_json::from_str(row.get(0)).unwrap();
            (body["detail"]["eventType"].as_str().unwrap().replace("chime:", ""), body)
        };
        rows.iter().map(read).collect()
    }
}

fn names(told: &[(String, Value)]) -> Vec<&str> {
    told.iter().map(|(name, _)| name.as_str()).collect()
}

#[tokio::test]
async fn what_happens_is_told_once_and_with_the_change_itself() {
    let house = House::open().await;
    house.meeting("before").await;
    house.hook().await;
    let meeting = house.meeting("one").await;
    house.meeting("one").await;
    let (attendee, _) = house.attendee(meeting, "user").await;
    house.attendee(meeting, "user").await;
    let bad =
        json!({"ExternalUserId": "other", "Capabilities": {"Audio": "None", "Video": "None", "Content": "Receive"}});
    house.ask("POST", &format!("/meetings/{meeting}/attendees"), bad).await;
    house.ask("DELETE", &format!("/meetings/{meeting}/attendees/{attendee}"), Value::Null).await;
    house.ask("DELETE", &format!("/meetings/{meeting}"), Value::Null).await;
    house.ask("DELETE", &format!("/meetings/{meeting}"), Value::Null).await;
    let told = house.told().await;
    assert_eq!(names(&told), ["MeetingStarted", "AttendeeAdded", "AttendeeDeleted", "MeetingEnded"]);
    for (_, body) in &told {
        let detail = &body["detail"];
        assert_eq!(
            (detail["meetingId"].as_str().unwrap(), &detail["externalMeetingId"]),
            (meeting.to_string().as_str(), &json!("one"))
        );
        assert_eq!(
            (body["region"].as_str(), detail["timestamp"].as_i64()),
            (Some("us-east-1"), Some(START.unix_timestamp() * 1000))
        );
    }
    assert_eq!(
        (&told[1].1["detail"]["attendeeId"], &told[1].1["detail"]["externalUserId"]),
        (&json!(attendee), &json!("user"))
    );
}

#[tokio::test]
async fn what_happens_in_rooms_is_told_with_the_names_of_the_api() {
    let house = House::open().await;
    let meeting = house.meeting("one").await;
    let (attendee, _) = house.attendee(meeting, "user").await;
    let happen = |id: &str, is_share, what| {
        house.app.happenings.put(house.org, Happening { id: id.into(), is_share, what, at: START });
    };
    happen(&attendee, false, What::Joined);
    writer::write_now(&house.app).await;
    assert!(house.told().await.is_empty(), "nobody asked to be told");
    house.hook().await;
    happen(&attendee, false, What::Authorized);
    happen(&attendee, false, What::Joined);
    happen(&attendee, false, What::PictureOn);
    happen(&format!("{attendee}#content"), true, What::Joined);
    happen(&format!("{attendee}#content"), true, What::PictureOff);
    happen(&ParticipantId::random().to_string(), false, What::Joined);
    // Also of a meeting that is over by the time of writing.
    house.ask("DELETE", &format!("/meetings/{meeting}"), Value::Null).await;
    happen(&attendee, false, What::Left);
    writer::write_now(&house.app).await;
    let told = house.told().await;
    assert_eq!(
        names(&told),
        [
            "MeetingEnded",
            "AttendeeAuthorized",
            "AttendeeJoined",
            "AttendeeVideoStarted",
            "AttendeeContentJoined",
            "AttendeeContentVideoStopped",
            "AttendeeLeft",
        ]
    );
    for (_, body) in &told[1..] {
        let detail = &body["detail"];
        assert_eq!((&detail["attendeeId"], &detail["externalUserId"]), (&json!(attendee), &json!("user")));
        assert_eq!(detail["meetingId"], json!(meeting));
    }
}

#[tokio::test]
async fn a_meeting_ends_with_the_visit_whose_room_it_is() {
    let house = House::open().await;
    house.hook().await;
    let visit = house.visit().await;
    let meeting = house.meeting(&visit.to_string()).await;
    let (_, token) = house.attendee(meeting, "p-1").await;
    let actor = crate::auth::Actor::System { org: house.org };
    db::audited(&house.app.db, house.org, &actor, async |tx| {
        let to = visit::VisitStatus::Cancelled;
        let moved = visit::store::move_to(tx, visit, to, None, START).await?;
        Ok::<_, crate::Error>(((), moved.events()))
    })
    .await
    .unwrap();
    assert!(matches!(house.find(meeting, &token).await, Err(Absent::Ended)));
    lifetime::look(&house.app).await.unwrap();
    lifetime::look(&house.app).await.unwrap();
    let told = house.told().await;
    assert_eq!(names(&told), ["MeetingStarted", "AttendeeAdded", "MeetingEnded"]);
    let row = sqlx::query("SELECT end_reason FROM chime_meeting WHERE meeting_id = $1")
        .bind(meeting.as_uuid())
        .fetch_one(&mut house.database.owner().await)
        .await
        .unwrap();
    assert_eq!(row.get::<String, _>(0), "VISIT_OVER");
}

#[tokio::test]
async fn who_signs_badly_too_often_is_not_looked_up_any_more() {
    let house = House::open().await;
    let bare = || Request::builder().uri("/meetings/x").body(Body::empty()).unwrap();
    for _ in 0..60 {
        assert_ne!(house.send(bare()).await.status, StatusCode::TOO_MANY_REQUESTS);
    }
    let refused = house.send(bare()).await;
    assert_eq!(refused.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers["x-amzn-errortype"], "ThrottlingException");
    assert_eq!(
        house.ask("GET", "/meetings/x", Value::Null).await.status,
        StatusCode::TOO_MANY_REQUESTS,
        "whoever asks"
    );
    house.clock.set(START + Duration::from_secs(1));
    assert_eq!(house.ask("GET", "/meetings/x", Value::Null).await.body["Message"], "MeetingId must be a UUID");
}

#[tokio::test]
async fn pages_of_any_origin_read_the_nearest_region() {
    let house = House::open().await;
    let answer = house.send(Request::builder().uri("/nearest-media-region").body(Body::empty()).unwrap()).await;
    assert_eq!((answer.status, answer.body), (StatusCode::OK, json!({"region": "us-east-1"})));
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
}
