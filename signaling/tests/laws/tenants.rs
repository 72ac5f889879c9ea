//! What belongs to another practice does not exist: by every route, and in raw SQL.

use axum::http::StatusCode;
use serde_json::{Value, json};
use signaling::auth::StaffRole;
use signaling::ids::OrgId;
use sqlx::{Connection, Executor, Row};
use uuid::Uuid;

use crate::support::{By, House};

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
