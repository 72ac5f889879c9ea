//! One test for each row of the API that other systems call: their payload, the state after it, and the audit rows.

mod action;
mod row_02_links;
mod row_03;
mod row_04_redeem;
mod row_05_start_by_token;
mod row_08_resend;
mod row_25_to_28_consent;
mod row_34_tokens;
mod sessions;
mod visits;

use sqlx::Row;

use crate::support::House;

/// Types of our audit events after the first `skipped`, failures with their reason behind a slash.
pub(crate) async fn events(house: &House, skipped: i64) -> Vec<String> {
    let mut owner = house.database.owner().await;
    sqlx::query("SELECT event_type, success, reason_code FROM audit_event WHERE org_id = $1 AND seq > $2 ORDER BY seq")
        .bind(house.ours.as_uuid())
        .bind(skipped)
        .fetch_all(&mut owner)
        .await
        .unwrap()
        .iter()
        .map(|row| {
            let (kind, success, reason): (String, bool, Option<String>) = (row.get(0), row.get(1), row.get(2));
            if success { kind } else { format!("{kind}/{}", reason.unwrap_or_default()) }
        })
        .collect()
}

/// How many audit events we have.
pub(crate) async fn event_count(house: &House) -> i64 {
    let mut owner = house.database.owner().await;
    sqlx::query("SELECT count(*) FROM audit_event WHERE org_id = $1")
        .bind(house.ours.as_uuid())
        .fetch_one(&mut owner)
        .await
        .unwrap()
        .get(0)
}
