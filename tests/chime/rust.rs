//! The Rust client, which tells errors apart by each operation's own model.

use aws_sdk_chimesdkmeetings::Client;
use aws_sdk_chimesdkmeetings::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_chimesdkmeetings::error::ProvideErrorMetadata;
use aws_sdk_chimesdkmeetings::operation::create_attendee::CreateAttendeeError;
use aws_sdk_chimesdkmeetings::operation::create_meeting::CreateMeetingError;
use aws_sdk_chimesdkmeetings::operation::get_meeting::GetMeetingError;
use aws_sdk_chimesdkmeetings::types::{
    AttendeeCapabilities, AttendeeFeatures, MediaCapabilities, MeetingFeaturesConfiguration,
};

use serde_json::{Value, json};

use crate::http::Http;
use crate::server::Server;
use crate::{AccessKey, FAST, make_key};

pub(crate) fn client(server: &Server, key: &AccessKey) -> Client {
    let config = aws_sdk_chimesdkmeetings::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("eu-central-1"))
        .credentials_provider(Credentials::new(&key.id, &key.secret, None, None, "story"))
        .endpoint_url(format!("http://{}", server.addr))
        .build();
    Client::from_conf(config)
}

/// One meeting from its creation to its end; the name of the exception where it is refused.
pub(crate) async fn create_and_delete(server: &Server, key: &AccessKey) -> Result<(), String> {
    let client = client(server, key);
    let made = client
        .create_meeting()
        .client_request_token("one")
        .media_region("eu-central-1")
        .external_meeting_id("visit-1")
        .send()
        .await
        .map_err(|error| error.code().unwrap_or_default().to_owned())?;
    let id = made.meeting().and_then(|meeting| meeting.meeting_id()).unwrap().to_owned();
    client.delete_meeting().meeting_id(&id).send().await.unwrap();
    let gone = client.get_meeting().meeting_id(&id).send().await.unwrap_err().into_service_error();
    assert!(matches!(gone, GetMeetingError::NotFoundException(_)), "{gone:?}");
    Ok(())
}

#[tokio::test]
async fn errors_are_typed_for_each_operation() {
    let server = Server::start_with(&[FAST]).await;
    let key = make_key(&server).await;
    let client = client(&server, &key);
    let create = || client.create_meeting().media_region("eu-central-1").client_request_token("token");
    let refused = create().external_meeting_id("x").send().await.unwrap_err().into_service_error();
    assert!(matches!(refused, CreateMeetingError::BadRequestException(_)), "{refused:?}");
    let features = MeetingFeaturesConfiguration::builder();
    let features = features.attendee(AttendeeFeatures::builder().max_count(1).build()).build();
    let made = create().external_meeting_id("visit").meeting_features(features).send().await.unwrap();
    let meeting = made.meeting().unwrap();
    assert!(meeting.meeting_arn().unwrap().starts_with("arn:aws:chime:eu-central-1:"));
    let other = create().external_meeting_id("another").send().await.unwrap_err().into_service_error();
    assert!(matches!(other, CreateMeetingError::ConflictException(_)), "{other:?}");

    let id = meeting.meeting_id().unwrap();
    let listen = AttendeeCapabilities::builder()
        .audio(MediaCapabilities::Receive)
        .video(MediaCapabilities::Receive)
        .content(MediaCapabilities::None)
        .build()
        .unwrap();
    let add = |user: &str| client.create_attendee().meeting_id(id).external_user_id(user);
    let one = add("one").capabilities(listen).send().await.unwrap();
    let one = one.attendee().unwrap();
    assert_eq!(one.capabilities().unwrap().audio(), &MediaCapabilities::Receive);
    let again = add("one").send().await.unwrap();
    assert_eq!(again.attendee().unwrap().join_token(), one.join_token());
    let full = add("two").send().await.unwrap_err().into_service_error();
    assert!(matches!(full, CreateAttendeeError::LimitExceededException(_)), "{full:?}");
}

/// A meeting whose external id names a visit is that visit's room; one that names none is nothing that the native API knows.
#[tokio::test]
async fn a_meeting_can_be_a_visits_room() {
    let server = Server::start_with(&[FAST]).await;
    let key = make_key(&server).await;
    let client = client(&server, &key);
    let desk = Http::with_bearer(&server.addr, &server.token("clinician", "demo-clinician").await);
    let planned = desk.get("/api/visits").await.ok()["visits"].as_array().unwrap().len();
    let new = json!({
        "patientId": "p-17", "clinicianId": "demo-clinician", "scheduledAt": "2030-01-01T10:00:00Z", "duration": 30,
        "appointmentId": "appointment-17", "patientName": "Ana Rivera", "clinicianName": "Dr. Maria Alvarez",
    });
    let visit = desk.post("/api/visits", &new).await.ok()["visitId"].as_str().unwrap().to_owned();
    let create = async |external: &str, token: &str| {
        let made =
            client.create_meeting().media_region("us-east-1").client_request_token(token).external_meeting_id(external);
        made.send().await.unwrap().meeting().unwrap().meeting_id().unwrap().to_owned()
    };
    let (by_id, by_appointment) = (create(&visit, "by-id").await, create("appointment-17", "by-appointment").await);
    let plain = create("a meeting of its own", "plain").await;
    let seen = desk.get("/api/visits").await.ok();
    assert_eq!(seen["visits"].as_array().unwrap().len(), planned + 1, "a plain meeting is no visit: {seen}");

    for user in ["demo-clinician", "p-17", "somebody else"] {
        client.create_attendee().meeting_id(&by_id).external_user_id(user).send().await.unwrap();
    }
    let path = format!("/api/visits/{visit}");
    let people = |view: &Value| (view["patient"].clone(), view["clinician"].clone());
    let view = desk.get(&path).await.ok();
    assert_eq!(view["status"], "SCHEDULED");
    assert_eq!(
        (&view["patient"]["name"], &view["clinician"]["name"]),
        (&json!("Ana Rivera"), &json!("Dr. Maria Alvarez"))
    );

    // A visit that has not begun outlives its meetings.
    client.delete_meeting().meeting_id(&by_id).send().await.unwrap();
    let after = desk.get(&path).await.ok();
    assert_eq!((after["status"].as_str(), people(&after)), (Some("SCHEDULED"), people(&view)));
    client.get_meeting().meeting_id(&by_appointment).send().await.unwrap();
    // A visit that is called off takes them with it.
    desk.post(&format!("{path}/end"), &json!({ "endReason": "CANCELLED" })).await.ok();
    let gone = client.get_meeting().meeting_id(&by_appointment).send().await.unwrap_err().into_service_error();
    assert!(matches!(gone, GetMeetingError::NotFoundException(_)), "{gone:?}");
    // Its name is free again, for a meeting of its own.
    let next = create("appointment-17", "by-appointment").await;
    assert_ne!(next, by_appointment);
    client.get_meeting().meeting_id(&plain).send().await.unwrap();
}
