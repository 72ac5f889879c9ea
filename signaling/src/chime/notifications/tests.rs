//! Every event, letter by letter.

use serde_json::{Value, json};
use time::macros::datetime;
use uuid::Uuid;

use super::*;

const AT: Timestamp = datetime!(2026-11-21 10:00:00.123456789 UTC);

fn scene() -> Scene {
    Scene {
        meeting: MeetingId::from_uuid(Uuid::from_u128(7)),
        external_id: "appointment 12".to_owned(),
        media_region: "eu-central-1".to_owned(),
        region: "us-east-1".to_owned(),
    }
}

fn read(told: Told<'_>) -> Value {
    let (id, org) = (Uuid::from_u128(1), OrgId::from_uuid(Uuid::from_u128(42)));
    let event = told.into_event(id, org, &scene(), AT);
    assert_eq!(event.id, id);
    serde_json::from_str(&event.body).unwrap()
}

/// The envelope of EventBridge around a detail.
fn envelope(detail_type: &str, mut detail: Value) -> Value {
    let common = json!({
        "version": "0",
        "timestamp": 1_795_255_200_123_i64,
        "meetingId": "00000000-0000-0000-0000-000000000007",
        "externalMeetingId": "appointment 12",
        "mediaRegion": "eu-central-1",
    });
    detail.as_object_mut().unwrap().extend(common.as_object().unwrap().clone());
    json!({
        "version": "0",
        "id": "00000000-0000-0000-0000-000000000001",
        "source": "aws.chime",
        "account": "000000000042",
        "region": "us-east-1",
        "time": "2026-11-21T10:00:00Z",
        "resources": [],
        "detail-type": detail_type,
        "detail": detail,
    })
}

#[test]
fn meetings() {
    for (change, event_type) in
        [(MeetingChange::Started, "chime:MeetingStarted"), (MeetingChange::Ended, "chime:MeetingEnded")]
    {
        let expected = envelope("Chime Meeting State Change", json!({ "eventType": event_type }));
        assert_eq!(read(Told::Meeting(change)), expected);
    }
}

#[test]
fn attendees() {
    use AttendeeChange::*;
    let attendee = AttendeeId::from_uuid(Uuid::from_u128(9));
    for (change, event_type, has_network) in [
        (Added, "chime:AttendeeAdded", false),
        (Deleted, "chime:AttendeeDeleted", false),
        (Authorized, "chime:AttendeeAuthorized", false),
        (Joined, "chime:AttendeeJoined", true),
        (Left, "chime:AttendeeLeft", true),
        (Dropped, "chime:AttendeeDropped", true),
        (VideoStarted, "chime:AttendeeVideoStarted", false),
        (VideoStopped, "chime:AttendeeVideoStopped", false),
        (ContentJoined, "chime:AttendeeContentJoined", true),
        (ContentLeft, "chime:AttendeeContentLeft", true),
        (ContentDropped, "chime:AttendeeContentDropped", true),
        (ContentVideoStarted, "chime:AttendeeContentVideoStarted", false),
        (ContentVideoStopped, "chime:AttendeeContentVideoStopped", false),
    ] {
        let mut detail = json!({
            "eventType": event_type,
            "attendeeId": "00000000-0000-0000-0000-000000000009",
            "externalUserId": "ann",
        });
        if has_network {
            detail["networkType"] = "Voip".into();
        }
        let expected = envelope("Chime Meeting State Change", detail);
        assert_eq!(read(Told::Attendee(change, attendee, "ann")), expected);
    }
}

#[test]
fn pipelines() {
    use PipelineChange::*;
    for (change, event_type) in [
        (InProgress, "chime:MediaPipelineInProgress"),
        (Deleted, "chime:MediaPipelineDeleted"),
        (TemporaryFailure, "chime:MediaPipelineTemporaryFailure"),
        (Resumed, "chime:MediaPipelineResumed"),
        (PermanentFailure, "chime:MediaPipelinePermanentFailure"),
    ] {
        let detail = json!({ "eventType": event_type, "mediaPipelineId": "00000000-0000-0000-0000-000000000005" });
        let pipeline = PipelineId::from_uuid(Uuid::from_u128(5));
        assert_eq!(read(Told::Pipeline(change, pipeline)), envelope("Chime Media Pipeline State Change", detail));
    }
}
