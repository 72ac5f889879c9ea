//! The machine dies in the middle of a recording.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::recording;
use crate::support::media::probe;
use crate::support::person::Practice;
use crate::support::server::Server;

/// The lease of a claim, and as long again for the work.
const TAKE_OVER: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_recording_under_way_is_finished_from_its_journal() {
    let server = Server::start().await;
    let mut practice = Practice::open(&server).await;
    let (clinician, mut patient) = recording::start(&practice).await;
    let began = Instant::now();
    patient.peer.sends(200).await;
    let lasted = began.elapsed().as_secs_f64();
    let server = server.crash_and_restart(&[]).await;
    drop((clinician, patient));
    practice.moved_to(&server);
    // The dead recorder's claim on the job holds for up to 30 s; then the new one takes it over.
    let stored = timeout(TAKE_OVER, recording::stored_some_day(&practice)).await.expect("it is stored in the end");
    let (_dir, files) = recording::play(&server, &stored).await;
    // Two people and the mix. The last second before the crash may be lost, no more.
    assert_eq!(files.len(), 3);
    for (artefact, file) in &files {
        let probe = probe(file).await;
        assert!(
            probe.duration > lasted - 1.5 && probe.duration < lasted + 0.5,
            "{artefact}: {probe:?}, lasted {lasted}"
        );
    }
}
