//! A process that is about to stop: its Rooms go on, say so, and do not outlive their people.

use super::*;

#[tokio::test]
async fn everybody_is_told_until_when_also_who_comes_later() {
    let (mut scene, mut clinician, mut patient) = Scene::with_two().await;
    let deadline = OffsetDateTime::UNIX_EPOCH + Duration::from_secs(900);
    scene.room.handle_draining(scene.now(), deadline).await;
    for client in [&mut clinician, &mut patient] {
        let told = client.read();
        assert_eq!((&told[0]["type"], &told[0]["deadline"]), (&"draining".into(), &"1970-01-01T00:15:00Z".into()));
    }
    assert!(scene.world.names().is_empty(), "the visit goes on as it was");
    let mut guest = scene.enter(ParticipantId::random(), RoleView::Guest, None).await;
    assert_eq!(guest.types()[..2], ["welcome", "draining"]);
    scene.say(&clinician, &about("admit", guest.who)).await;
    assert!(guest.types().contains(&"admitted".to_owned()));
}

#[tokio::test]
async fn a_draining_room_closes_with_its_last_person() {
    let (mut scene, clinician, patient) = Scene::with_two().await;
    scene.room.handle_draining(scene.now(), OffsetDateTime::UNIX_EPOCH).await;
    // A seat is still kept for whoever lost the network.
    scene.room.handle_gone(scene.now(), patient.socket);
    scene.say(&clinician, r#"{"type":"leave"}"#).await;
    scene.pass(SEAT_KEPT - Duration::from_secs(1)).await;
    assert!(!scene.room.is_over());
    scene.pass(Duration::from_secs(1)).await;
    assert!(scene.room.is_over());
}

#[tokio::test]
async fn a_room_that_nobody_is_in_closes_at_once() {
    let (mut scene, clinician, patient) = Scene::with_two().await;
    for client in [&clinician, &patient] {
        scene.say(client, r#"{"type":"leave"}"#).await;
    }
    scene.world.names();
    scene.room.handle_draining(scene.now(), OffsetDateTime::UNIX_EPOCH).await;
    assert!(scene.room.is_over());
    assert_eq!(scene.world.names(), ["sfu CloseRoom"]);
}
