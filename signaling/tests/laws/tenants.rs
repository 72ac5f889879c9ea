//! What belongs to another practice does not exist: by every route, and in raw SQL.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use signaling::config::Profile;
use signaling::ids::OrgId;
use signaling::route::Access;
use signaling::router::endpoints;
use sqlx::{Connection, Executor, Row};
use test_postgres::TestDatabase;
use uuid::Uuid;

use crate::support::{By, House};
use crate::unfiltered::Door;

const TABLES: &[&str] = &[
    "organization",
    "visit",
    "participant",
    "join_token",
    "visit_session",
    "waiting_entry",
    "consent_text",
    "consent",
    "consent_expired",
    "patient_minor",
    "location_attestation",
    "emergency_contact",
    "clinician_licence",
    "licence_check",
    "visit_billing",
    "recording",
    "recording_job",
    "playback_grant",
    "audit_event",
    "audit_head",
    "audit_anchor",
    "chime_key",
    "chime_meeting",
    "chime_attendee",
    "technical_issue",
    "contact",
    "notice",
    "notice_link",
    "notice_opt_out",
    "notice_event",
    "phi_data_key",
    "questionnaire",
    "staff_session",
    "revocation",
    "break_glass",
    "service_token",
    "idempotency_key",
];

/// Every route with an id in it, as a stranger with the best role there is would ask.
#[tokio::test]
async fn a_foreign_id_is_404_on_every_route() {
    let house = House::open().await;
    let visit = house.visit().await;
    let routes: &[(&str, String, Option<Value>)] = &[
        ("GET", format!("/api/visits/{visit}"), None),
        ("PATCH", format!("/api/v1/telehealth/sessions/{visit}/clinical"), Some(json!({"clinicalNotes": "x"}))),
        ("POST", format!("/api/visits/{visit}/links"), Some(json!({"roles": ["patient"]}))),
        ("PUT", format!("/api/visits/{visit}/contacts"), Some(json!({"patient": {"email": "a@example.com"}}))),
        ("GET", format!("/api/visits/{visit}/contacts"), None),
        ("POST", format!("/api/visits/{visit}/notify"), Some(json!({}))),
        ("GET", format!("/api/visits/{visit}/notices"), None),
        ("POST", format!("/api/visits/{visit}/end"), Some(json!({}))),
        ("POST", format!("/api/visits/{visit}/recording/start"), Some(json!({}))),
        ("POST", format!("/api/visits/{visit}/recording/stop"), Some(json!({}))),
        ("GET", format!("/api/visits/{visit}/recordings"), None),
        ("POST", format!("/api/recordings/{}/playback", Uuid::new_v4()), Some(json!({"artefact": "mix.mp4"}))),
    ];
    for role in [StaffRole::Clinician, StaffRole::Admin, StaffRole::Scheduler] {
        let stranger = house.bearer_in(house.theirs, "dr-a", role);
        for (method, path, body) in routes {
            let foreign = house.ask(method, path, &stranger, body.clone()).await;
            let unknown =
                house.ask(method, &path.replace(&visit, &Uuid::new_v4().to_string()), &stranger, body.clone()).await;
            assert!(
                matches!(foreign.status, StatusCode::NOT_FOUND | StatusCode::FORBIDDEN),
                "{method} {path} {role:?}: {foreign:?}"
            );
            assert_eq!(foreign.code(), unknown.code(), "{method} {path} {role:?}");
        }
        let list = house.get("/api/visits", &stranger).await;
        assert_eq!(list.json()["visits"], json!([]));
    }
    for (method, path, body) in routes {
        assert_eq!(house.ask(method, path, &By::Nobody, body.clone()).await.status, StatusCode::UNAUTHORIZED, "{path}");
        let patient = house.bearer("p-1", StaffRole::Patient);
        let patient = house.ask(method, path, &patient, body.clone()).await.status;
        assert!(matches!(patient, StatusCode::FORBIDDEN | StatusCode::NOT_FOUND), "{path}: {patient}");
        // A colleague of the same practice: the visit is not theirs.
        let colleague = house.bearer("dr-b", StaffRole::Clinician);
        assert_eq!(house.ask(method, path, &colleague, body.clone()).await.status, StatusCode::NOT_FOUND, "{path}");
    }
    let own = house.get(&format!("/api/visits/{visit}"), &house.bearer("dr-a", StaffRole::Clinician)).await;
    assert_eq!(own.json()["status"], "SCHEDULED");
}

/// A body that the route takes, where the plain `{}` would be refused before anybody is looked for.
fn body_of(method: &Method, path: &str, participant: &str) -> Option<Value> {
    let body = match path {
        "/api/visits/{id}/links" => json!({"roles": ["patient"]}),
        "/api/v1/telehealth/sessions/{id}" => json!({"channel": "sms"}),
        "/api/v1/telehealth/sessions/{id}/participants" => {
            json!({"role": "GUEST", "identityRef": "x", "displayName": "X"})
        }
        "/api/recordings/{id}/playback" | "/api/v1/telehealth/recordings/{id}/playback" => {
            json!({"artefact": "mix.mp4"})
        }
        "/api/v1/telehealth/recordings/{id}/hold" => json!({"held": false}),
        path if path.contains("admit") || path.contains("waiting-room/") => json!({"participantId": participant}),
        _ => json!({}),
    };
    (*method != Method::GET).then_some(body)
}

/// Asks every route of the table with an id for a record of `house.ours`, as the best of another practice. Gives the routes that answered
/// otherwise than for an id that nobody has, or as if they had found something.
async fn leaks(house: &House) -> (Vec<String>, usize) {
    let visit = house.visit().await;
    house.redeem(&house.code(&visit, "patient").await).await;
    let mut owner = house.database.owner().await;
    let participant: Uuid =
        sqlx::query_scalar("SELECT participant_id FROM visit_session").fetch_one(&mut owner).await.unwrap();
    let ids = [visit.clone(), participant.to_string()];
    let (mut leaks, mut hidden) = (Vec::new(), 0);
    for endpoint in endpoints() {
        if !endpoint.path.contains('{') || matches!(endpoint.access, Access::Public | Access::Signed) {
            continue;
        }
        for role in [StaffRole::Clinician, StaffRole::Admin, StaffRole::Scheduler] {
            let stranger = house.bearer_in(house.theirs, "dr-a", role);
            for id in &ids {
                let ask = async |id: &str| {
                    let parts = endpoint.path.split('/').map(|part| if part.starts_with('{') { id } else { part });
                    let path = parts.collect::<Vec<_>>().join("/");
                    let body = body_of(&endpoint.method, endpoint.path, id);
                    let answer = house.ask(endpoint.method.as_str(), &path, &stranger, body).await;
                    (answer.status, answer.code())
                };
                let (foreign, unknown) = (ask(id).await, ask(&Uuid::new_v4().to_string()).await);
                hidden += usize::from(foreign.0 == StatusCode::NOT_FOUND);
                let is_list = foreign.0.is_success() && unknown.0.is_success();
                if foreign != unknown || (foreign.0.is_success() && !is_list) {
                    leaks.push(format!("{} {} {role:?}: {foreign:?} {unknown:?}", endpoint.method, endpoint.path));
                }
            }
        }
    }
    let stranger = house.bearer_in(house.theirs, "boss", StaffRole::Admin);
    if house.get("/api/visits", &stranger).await.json()["visits"] != json!([]) {
        leaks.push("the list".to_owned());
    }
    (leaks, hidden)
}

/// H-01: each route of the router's table, not of a list of this test.
#[tokio::test]
async fn h_01_every_route_of_the_table_hides_what_is_foreign() {
    let (leaks, hidden) = leaks(&House::open().await).await;
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(hidden >= 30, "only {hidden} questions came as far as a look-up");
}

async fn unfiltered() -> (House, Door) {
    let database = TestDatabase::fresh().await;
    let door = Door::open(&database.app_url);
    let url = door.url(&database.app_url);
    {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 8080));
        (House::open_over(Profile::Production, (database, url), |_, _| (), address).await, door)
    }
}

/// With each `org_id = …` of every statement made true on its way to PostgreSQL, the matrix says the same: the policies alone refuse.
#[tokio::test]
async fn h_01_row_level_security_alone_hides_what_is_foreign() {
    let (house, door) = unfiltered().await;
    let (leaks, hidden) = leaks(&house).await;
    assert!(leaks.is_empty(), "{leaks:#?}");
    assert!(hidden >= 30, "only {hidden} questions came as far as a look-up");
    assert!(door.rewritten() > 0, "no filter was taken away");
}

/// The counter-proof: with the policies off as well, the matrix finds leaks, also in the list, which only its filter protects then.
#[tokio::test]
async fn without_policies_and_filters_the_matrix_finds_the_leaks() {
    let (house, _door) = unfiltered().await;
    let mut owner = house.database.owner().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relrowsecurity",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    for table in
        tables.iter().filter(|table| ["visit", "participant", "recording", "waiting_entry"].contains(&table.as_str()))
    {
        let open = format!("ALTER TABLE {table} DISABLE ROW LEVEL SECURITY");
        owner.execute(sqlx::AssertSqlSafe(open)).await.unwrap();
    }
    let (leaks, _) = leaks(&house).await;
    assert!(leaks.iter().any(|leak| leak == "the list"), "{leaks:#?}");
    assert!(leaks.iter().any(|leak| leak.contains("GET /api/visits/{id}")), "{leaks:#?}");
}

/// H-02: every table there is, whatever this file knows of.
#[tokio::test]
async fn h_02_no_table_shows_a_row_without_an_organisation() {
    let house = House::open().await;
    let visit = house.visit().await;
    house.redeem(&house.code(&visit, "patient").await).await;
    let mut owner = house.database.owner().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
             AND relname <> '_sqlx_migrations' AND has_table_privilege('anteroom_server', oid, 'SELECT')",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(tables.len() >= 20, "{tables:?}");
    let mut server = house.database.server().await;
    for table in &tables {
        assert_eq!(count(&mut server, table).await, 0, "{table} without an organisation");
    }
}

async fn count(connection: &mut sqlx::PgConnection, table: &str) -> i64 {
    let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
    sqlx::query(sql).fetch_one(connection).await.unwrap().get(0)
}

#[tokio::test]
async fn raw_sql_of_the_server_role_sees_one_practice_or_none() {
    let house = House::open().await;
    let visit = house.visit().await;
    house.redeem(&house.code(&visit, "patient").await).await;
    let mut server = house.database.server().await;
    for table in TABLES {
        assert_eq!(count(&mut server, table).await, 0, "{table} without an organisation");
    }
    for (org, some) in [(house.ours, true), (house.theirs, false), (OrgId::random(), false)] {
        let mut tx = server.begin().await.unwrap();
        sqlx::query("SELECT set_config('app.org', $1, true)").bind(org.to_string()).execute(&mut *tx).await.unwrap();
        for table in ["visit", "participant", "join_token", "visit_session"] {
            assert_eq!(count(&mut tx, table).await > 0, some, "{table}");
        }
        let moved = sqlx::query("UPDATE visit SET visit_type = 'x' WHERE visit_id = $1")
            .bind(visit.parse::<Uuid>().unwrap())
            .execute(&mut *tx)
            .await
            .unwrap();
        assert_eq!(moved.rows_affected() > 0, some);
        tx.rollback().await.unwrap();
    }
    // After a transaction with an organisation the connection is blind again.
    assert_eq!(count(&mut server, "visit").await, 0);
    let mut tx = server.begin().await.unwrap();
    sqlx::query("SELECT set_config('app.org', $1, true)")
        .bind(house.theirs.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    let planted = sqlx::query("INSERT INTO organization (org_id, name, phone) VALUES ($1, 'x', '123')")
        .bind(Uuid::new_v4())
        .execute(&mut *tx)
        .await;
    assert!(planted.unwrap_err().to_string().contains("row-level security"));
}

#[tokio::test]
async fn every_table_with_an_organisation_has_forced_policies() {
    let house = House::open().await;
    let mut owner = house.database.owner().await;
    let open: Vec<String> = owner
        .fetch_all(
            "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r'
               AND c.relname <> '_sqlx_migrations' AND NOT (c.relrowsecurity AND c.relforcerowsecurity)",
        )
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    assert!(open.is_empty(), "{open:?}");
}

#[tokio::test]
async fn a_login_above_the_policies_is_refused() {
    let house = House::open().await;
    let config = signaling::SignalingConfig {
        database_url: wire::Redacted::new(house.database.owner_url.clone()),
        ..signaling::SignalingConfig::default()
    };
    let refused = signaling::db::Db::connect(&config, house.clock.clone()).await;
    assert!(matches!(refused, Err(signaling::Error::Settings(_))), "{refused:?}");
}
