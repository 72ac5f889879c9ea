//! How a visit was for its people reaches the database beside the call, and staff may read it.

use serde_json::{Value, json};
use signaling::auth::StaffRole;
use wire::control::{Command, Event};

use crate::support::{House, SOON};

#[tokio::test]
async fn what_was_measured_can_be_read_by_staff_and_nobody_else() {
    let house = House::open().await;
    let (visit, cookie) = house.visit("dr-maria").await;
    let mut clinician = house.clinician("dr-maria", &visit).await;
    clinician.hear("welcome").await;
    let mut patient = house.patient(&cookie).await;
    let me = patient.hear("welcome").await["you"]["participantId"].clone();
    patient
        .say(json!({"type": "offer", "id": 1, "sdp": "v=0\r\no=- 1 1 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 AB\r\n"}))
        .await;
    patient.hear("answer").await;
    patient.say(json!({"type": "stats", "rttMs": 33, "framesDecoded": 120, "freezes": 2})).await;
    patient.settle().await;
    clinician.say(json!({"type": "admit", "id": 1, "participantId": me})).await;
    patient.hear("admitted").await;
    let (room, peer) = house.sfu.last(|command| match command {
        Command::Offer { room, peer, .. } => Some((*room, *peer)),
        _ => None,
    });
    let quality = Event::Quality {
        room,
        peer,
        bars: 2,
        rtt_ms: None,
        loss_up_permille: 10,
        loss_down_permille: 20,
        jitter_ms: 5,
        kbits_up: 640,
        kbits_down: 1_280,
        target_kbits: None,
    };
    house.sfu.tell(quality).await;
    assert_eq!(clinician.hear("quality").await["bars"], 2);
    // Whoever goes leaves the last seconds behind.
    patient.say(json!({"type": "leave"})).await;
    patient.hear_close().await;

    let path = format!("/api/visits/{visit}/quality");
    let doctor = house.bearer("dr-maria", StaffRole::Clinician);
    let read = async {
        loop {
            let (status, body) = house.ask(&doctor, "GET", &path, &Value::Null).await;
            assert_eq!(status, 200, "{body}");
            if body["people"].as_array().is_some_and(|people| !people.is_empty()) {
                return body;
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let body = tokio::time::timeout(SOON, read).await.expect("the samples are written");
    assert_eq!(body["truncated"], false);
    assert_eq!(body["people"][0]["participantId"], me);
    let mut sample = body["people"][0]["samples"][0].clone();
    sample.as_object_mut().unwrap().remove("at").expect("each sample has its time");
    let expected = json!({"bars": 2, "rttMs": 33, "lossUp": 10, "lossDown": 20, "jitterMs": 5, "kbitsUp": 640, "kbitsDown": 1280,
        "targetKbits": null, "freezes": 2, "framesDecoded": 120});
    assert_eq!(sample, expected);

    for (who, role, expected) in [
        ("dr-other", StaffRole::Clinician, 404),
        ("planner", StaffRole::Scheduler, 403),
        ("p-1", StaffRole::Patient, 403),
        ("boss", StaffRole::Admin, 200),
    ] {
        let bearer = house.bearer(who, role);
        assert_eq!(house.ask(&bearer, "GET", &path, &Value::Null).await.0, expected, "{who}");
    }
    let (status, _, _) = house.raw("GET", &path, &[("cookie", &cookie)], "").await;
    assert!([401, 403].contains(&status), "a patient's own session does not read measurements: {status}");
    let audited = crate::events_of(&house, &visit).await;
    assert!(audited.iter().filter(|event| *event == "QUALITY_VIEWED").count() >= 2, "{audited:?}");
    house.close().await;
}
