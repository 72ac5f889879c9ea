//! Recordings in an object store.

use serde_json::json;

use crate::recording;
use crate::support::media::probe;
use crate::support::person::Practice;
use crate::support::server::{ACCESS_KEY, ObjectStore, SECRET_KEY, Server};

#[tokio::test]
async fn a_recording_goes_to_s3_and_is_played_from_there() {
    let store = ObjectStore::start().await;
    store.make_bucket("visits").await;
    let server = Server::start_with(&[
        ("ANTEROOM_STORE_KIND", "s3"),
        ("ANTEROOM_STORE_ENDPOINT", &store.endpoint),
        ("ANTEROOM_STORE_BUCKET", "visits"),
        ("ANTEROOM_STORE_ACCESS_KEY_ID", ACCESS_KEY),
        ("ANTEROOM_STORE_SECRET_ACCESS_KEY", SECRET_KEY),
    ])
    .await;
    let practice = Practice::open(&server).await;
    let (mut clinician, mut patient) = recording::start(&practice).await;
    let began = tokio::time::Instant::now();
    patient.peer.sends(100).await;
    clinician.socket.ask_ok(json!({"type": "recording_stop"})).await;
    let lasted = began.elapsed().as_secs_f64();
    let stored = recording::stored(&practice).await;
    let (_dir, files) = recording::play(&server, &stored).await;
    assert_eq!(files.len(), 3);
    for (artefact, file) in &files {
        let probe = probe(file).await;
        assert!((probe.duration - lasted).abs() < 0.5, "{artefact}: {probe:?}, lasted {lasted}");
    }
    let kept: Vec<_> = walk(&server.data_dir().join("recordings"));
    assert_eq!(kept, Vec::<std::path::PathBuf>::new(), "the local folder holds what belongs in the bucket");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] })
        .collect()
}
