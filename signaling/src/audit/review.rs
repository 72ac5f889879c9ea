//! The regular look at what was done (45 CFR 164.308(a)(1)(ii)(D)): counts and ids, from which a person sees what to look into.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use time::Duration;
use time::format_description::well_known::Rfc3339;

use crate::audit::{Draft, EventType, Fact, store};
use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::db::{self, Db};
use crate::error::{Error, Result};
use crate::ids::OrgId;

/// People named in one list at most: those with the most.
const MOST: i64 = 20;

/// Acts that are looked at one kind at a time, however few there were.
const NOTABLE: &[EventType] = &[
    EventType::BreakGlassUsed,
    EventType::ConsentOverridden,
    EventType::EmergencyInfoViewed,
    EventType::PhiRead,
    EventType::RecordingAccessed,
    EventType::RecordingExported,
    EventType::RecordingDeleted,
    EventType::AuditExported,
    EventType::AuditViewed,
    EventType::ConfigChanged,
    EventType::RoleGranted,
    EventType::RoleRevoked,
    EventType::KeyRotated,
    EventType::BackupRestored,
    EventType::MigrationApplied,
];

/// What happened in a time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Review {
    /// Whose.
    pub organization: OrgId,
    /// From when.
    pub from: String,
    /// Until when.
    pub to: String,
    /// How many events there were.
    pub events: i64,
    /// How many of each kind.
    pub kinds: BTreeMap<String, i64>,
    /// What was tried and refused: kind, reason, how often.
    pub refused: Vec<Refused>,
    /// Who looked into how many different visits.
    pub viewers: Vec<Viewer>,
    /// Acts that a person should be able to explain.
    pub notable: BTreeMap<&'static str, i64>,
    /// Acts that were written down while the database was away, and got into the chain later.
    pub spooled: i64,
}

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refused {
    /// The kind of event.
    pub event_type: String,
    /// Why.
    pub reason: String,
    /// How often.
    pub count: i64,
}

/// Somebody who looked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Viewer {
    /// Who.
    pub actor: String,
    /// As what.
    pub role: String,
    /// Into how many visits.
    pub visits: i64,
}

/// Gathers the last days, and writes down that they were looked at.
///
/// # Errors
/// The database's own failures.
pub async fn run(db: &Db, actor: &Actor, days: u16, now: Timestamp) -> Result<Review> {
    let org = actor.org();
    let from = now - Duration::days(i64::from(days));
    db::audited(db, org, actor, async |tx| {
        let counts = store::count_kinds(tx, org, (from, now)).await?;
        let mut kinds: BTreeMap<String, i64> = BTreeMap::new();
        let mut refused = Vec::new();
        for (event_type, success, reason, count) in counts {
            *kinds.entry(event_type.clone()).or_default() += count;
            if !success {
                refused.push(Refused { event_type, reason: reason.unwrap_or_default(), count });
            }
        }
        refused.sort_by_key(|refused| std::cmp::Reverse(refused.count));
        let viewers = store::viewers(tx, org, (from, now), MOST).await?;
        let count = |kind: &EventType| (kind.as_str(), kinds.get(kind.as_str()).copied().unwrap_or(0));
        let review = Review {
            organization: org,
            from: from.format(&Rfc3339).unwrap_or_default(),
            to: now.format(&Rfc3339).unwrap_or_default(),
            events: kinds.values().sum(),
            notable: NOTABLE.iter().map(count).collect(),
            kinds,
            refused,
            viewers: viewers.into_iter().map(|(actor, role, visits)| Viewer { actor, role, visits }).collect(),
            spooled: store::count_spooled(tx, org, (from, now)).await?,
        };
        let draft = Draft::new(EventType::AuditReviewed)
            .fact("days", Fact::Number(days.into()))
            .fact("events", Fact::Number(review.events));
        Ok::<_, Error>((review, vec![draft]))
    })
    .await
}

impl Review {
    /// For a person at a terminal, or a mail.
    #[must_use]
    pub fn in_words(&self) -> String {
        let mut out = format!(
            "Audit review of {}\n{} to {}: {} events, {} of them spooled\n",
            self.organization, self.from, self.to, self.events, self.spooled
        );
        // Writing to a text does not fail.
        out.push_str("\nRefused:\n");
        for Refused { event_type, reason, count } in &self.refused {
            let _ = writeln!(out, "  {count:>7}  {event_type} {reason}");
        }
        out.push_str("\nTo be explained:\n");
        for (kind, count) in self.notable.iter().filter(|(_, count)| **count > 0) {
            let _ = writeln!(out, "  {count:>7}  {kind}");
        }
        out.push_str("\nWho looked into most visits:\n");
        for Viewer { actor, role, visits } in &self.viewers {
            // An id comes from a sign-in service: it may hold anything.
            let _ = writeln!(out, "  {visits:>7}  {} ({})", actor.escape_debug(), role.escape_debug());
        }
        out.push_str("\nAll kinds:\n");
        for (kind, count) in &self.kinds {
            let _ = writeln!(out, "  {count:>7}  {kind}");
        }
        out
    }
}
