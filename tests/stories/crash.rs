//! The machine dies in the middle of a recording.

use crate::recording;
use crate::support::media::probe;
use crate::support::person::Practice;
use crate::support::server::Server;

#[tokio::test]
async fn a_recording_under_way_is_finished_from_its_journal() {
    let server = Server::start().await;
    let mut practice = Practice::open(&server).await;
    let (clinician, mut patient) = recording::start(&practice).await;
    patient.peer.sends(200).await;
    let server = server.crash_and_restart(&[]).await;
    drop((clinician, patient));
    practice.moved_to(&server);
    let stored = recording::stored(&practice).await;
    let (_dir, files) = recording::play(&server, &stored).await;
    // Two people and the mix. The last second before the crash may be lost, no more.
    assert_eq!(files.len(), 3);
    for (artefact, file) in &files {
        let probe = probe(file).await;
        assert!(probe.duration > 2.5 && probe.duration < 5.5, "{artefact}: {probe:?}");
    }
}
