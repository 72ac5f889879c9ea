//! Tests of the private cluster, over the real server.

use super::*;

async fn users(url: &str) -> Vec<(String, bool)> {
    let pool = one_connection(url).await.unwrap();
    let users = sqlx::query_as(
        "SELECT rolname::text, rolsuper OR rolbypassrls FROM pg_roles WHERE rolname LIKE 'anteroom%' ORDER BY 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    pool.close().await;
    users
}

// Each test is awaited on a current-thread runtime: the server lives as long as the thread that started it.

#[tokio::test]
async fn a_cluster_starts_stops_and_starts_again() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(dir.path(), false).await.unwrap();
    let expected = vec![("anteroom_app".to_owned(), false), ("anteroom_owner".to_owned(), false)];
    assert_eq!(users(&postgres.owner_url()).await, expected);
    postgres.stop().await;
    let postgres = Postgres::start(dir.path(), false).await.unwrap();
    assert_eq!(users(&postgres.app_url()).await, expected);
    postgres.stop().await;
}

#[tokio::test]
async fn a_server_left_behind_is_stopped_before_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let mut left_behind = Postgres::start(dir.path(), false).await.unwrap();
    let postgres = Postgres::start(dir.path(), false).await.unwrap();
    left_behind.ended().await;
    postgres.stop().await;
}

#[tokio::test]
async fn a_lock_file_with_the_id_of_another_process_is_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let postgres = Postgres::start(dir.path(), false).await.unwrap();
    postgres.stop().await;
    let account = Account::unprivileged().unwrap();
    let cluster = cluster_home(dir.path(), account.as_ref()).unwrap().join("cluster");
    std::fs::write(cluster.join("postmaster.pid"), format!("{}\n", std::process::id())).unwrap();
    let postgres = Postgres::start(dir.path(), false).await.unwrap();
    postgres.stop().await;
}

#[tokio::test]
async fn a_path_too_long_or_too_odd_for_a_socket_still_works() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a folder, with spaces & more").join("x".repeat(90));
    std::fs::create_dir_all(&deep).unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let postgres = Postgres::start(&deep, false).await.unwrap();
    assert!(postgres.runtime_dir.is_some());
    let runtime_dir = postgres.socket_dir.clone();
    postgres.stop().await;
    assert!(!runtime_dir.exists());
}

#[tokio::test]
async fn a_data_directory_that_the_user_cannot_reach_gets_its_cluster_elsewhere() {
    let Some(account) = Account::unprivileged().unwrap() else { return };
    let dir = tempfile::tempdir().unwrap();
    let hidden = dir.path().join("hidden");
    std::fs::create_dir(&hidden).unwrap();
    let data = hidden.join("data");
    std::fs::create_dir(&data).unwrap();
    std::fs::set_permissions(&hidden, std::fs::Permissions::from_mode(0o700)).unwrap();
    let home = cluster_home(&data, Some(&account)).unwrap();
    assert!(home.starts_with("/var/lib/anteroom-dev"));
    assert_eq!(cluster_home(&data, Some(&account)).unwrap(), home);
    std::fs::remove_dir(home).unwrap();
}
