//! The process: it starts, it stops, and it leaves nothing behind.

use std::time::Duration;

use crate::support::http::Http;
use crate::support::server::{Server, command, token};

#[tokio::test]
async fn it_stops_within_five_seconds_and_leaves_no_process() {
    let mut server = Server::start().await;
    assert_eq!(Http::new(&server.addr).get("/readyz").await.status, 200);
    assert!(!server.processes().is_empty());
    let took = server.stop().await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(server.processes(), Vec::<String>::new());
}

#[tokio::test]
async fn two_of_them_do_not_share_a_data_directory() {
    let server = Server::start().await;
    let second =
        command().args(["dev", "--http", "127.0.0.1:0", "--data-dir"]).arg(server.data_dir()).output().await.unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8(second.stderr).unwrap().contains("another `anteroom dev`"));
    assert_eq!(Http::new(&server.addr).get("/readyz").await.status, 200);
}

#[tokio::test]
async fn tokens_are_made_in_development_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_str().unwrap();
    let nowhere = token(&["--role", "clinician", "--sub", "anybody", "--data-dir", path]).await;
    assert!(!nowhere.status.success());
    assert!(nowhere.stdout.is_empty());

    let server = Server::start().await;
    let data_dir = server.data_dir().to_str().unwrap();
    let good = token(&["--role", "scheduler", "--sub", "story", "--data-dir", data_dir]).await;
    assert!(good.status.success(), "{good:?}");
    let mut production = command();
    production.args(["token", "--role", "clinician", "--sub", "anybody", "--data-dir", data_dir]);
    let refused = production.env("ANTEROOM_PROFILE", "production").output().await.unwrap();
    assert!(!refused.status.success());
    assert!(refused.stdout.is_empty());
    assert!(String::from_utf8(refused.stderr).unwrap().contains("development"));
}

#[tokio::test]
async fn what_was_stored_is_there_after_a_crash() {
    let server = Server::start().await;
    let practice = crate::support::person::Practice::open(&server).await;
    let server = server.crash_and_restart(&[]).await;
    let http = Http::with_bearer(&server.addr, &server.token("clinician", "demo-clinician").await);
    let visit = http.get(&format!("/api/visits/{}", practice.visit)).await.ok();
    assert_eq!(visit["status"], "SCHEDULED");
}
