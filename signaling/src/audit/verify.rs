//! The whole check of one organisation's chain: every row, every anchor, and the end that the writers know.

use schemars::JsonSchema;
use serde::Serialize;

use crate::audit::anchor::Anchor;
use crate::audit::anchoring::Anchoring;
use crate::audit::chain::{Break, check_head};
use crate::audit::walk::{Found, Walk};
use crate::audit::{Draft, EventType, Fact, store};
use crate::auth::Actor;
use crate::db::{self, Db};
use crate::error::{Error, Result};
use crate::ids::OrgId;

/// How many rows are held at a time.
const PAGE: i64 = 1000;

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    /// Whose chain.
    #[schemars(with = "String")]
    pub organization: OrgId,
    /// True when every event is as it was written.
    pub is_whole: bool,
    /// How many events hold, from the first one on.
    pub events: i64,
    /// How many anchors agree with them.
    pub anchors: u64,
    /// Up to which event they reach. Whoever owns the database can still rewrite what comes after it.
    pub anchored_to: i64,
    /// The first event that does not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_bad: Option<i64>,
    /// What is wrong with it: a code of [`Break`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<&'static str>,
}

/// Checks a chain. Without anchors it is held against itself alone.
///
/// # Errors
/// The database's and the shelf's own failures. A broken chain is a [`Report`].
pub async fn check(db: &Db, org: OrgId, anchoring: Option<&Anchoring>) -> Result<Report> {
    let mut walk = Walk::default();
    let found = walk_all(db, org, anchoring, &mut walk).await?;
    Ok(Report {
        organization: org,
        is_whole: found.is_none(),
        events: walk.last().min(found.map_or(i64::MAX, |found| found.seq - 1)),
        anchors: walk.anchors(),
        anchored_to: walk.anchored_to(),
        first_bad: found.map(|found| found.seq),
        reason: found.map(|found| found.reason.code()),
        detail: found.map(|found| found.reason.in_words()),
    })
}

/// Writes down that a chain was checked, and how that ended.
///
/// # Errors
/// The database's own failures.
pub async fn note(db: &Db, actor: &Actor, report: &Report) -> Result<()> {
    db::audited(db, report.organization, actor, async |_| {
        let draft = Draft::new(EventType::AuditVerified)
            .fact("events", Fact::Number(report.events))
            .fact("toSeq", Fact::Number(report.anchored_to));
        let draft = match (report.first_bad, report.reason) {
            (Some(seq), Some(reason)) => draft.failed(reason).fact("broken", Fact::Number(seq)),
            _ => draft,
        };
        Ok::<_, Error>(((), vec![draft]))
    })
    .await
}

async fn walk_all(db: &Db, org: OrgId, anchoring: Option<&Anchoring>, walk: &mut Walk) -> Result<Option<Found>> {
    // Before the rows: an anchor that is made meanwhile is of no concern.
    let listed = match anchoring {
        Some(anchoring) => anchoring.shelf.list(org).await?,
        None => Vec::new(),
    };
    let mut next = listed.iter().copied().peekable();
    loop {
        let (page, head) = db::scoped(db, org, async |tx| {
            Ok::<_, Error>((store::page(tx, org, walk.last(), PAGE).await?, store::head(tx, org).await?))
        })
        .await?;
        if page.is_empty() {
            let found = check_head(walk, head.as_ref());
            if let Some(found) = earliest(anchoring, org, next.peek().copied(), walk, found).await? {
                return Ok(Some(found));
            }
            break;
        }
        for entry in &page {
            if let Err(found) = walk.take(entry) {
                return earliest(anchoring, org, next.peek().copied(), walk, Some(found)).await;
            }
            while let Some(to_seq) = next.next_if(|to_seq| *to_seq <= walk.last()) {
                if let Some(found) = hold(anchoring, org, to_seq, walk).await? {
                    return Ok(Some(found));
                }
            }
        }
    }
    find_unlisted(db, org, anchoring, &listed).await
}

/// Of what was found and what the next anchor says, whatever comes first in the chain.
async fn earliest(
    anchoring: Option<&Anchoring>,
    org: OrgId,
    next: Option<i64>,
    walk: &mut Walk,
    found: Option<Found>,
) -> Result<Option<Found>> {
    let Some(to_seq) = next else { return Ok(found) };
    let anchored = hold(anchoring, org, to_seq, walk).await?;
    Ok([found, anchored].into_iter().flatten().min_by_key(|found| found.seq))
}

async fn hold(anchoring: Option<&Anchoring>, org: OrgId, to_seq: i64, walk: &mut Walk) -> Result<Option<Found>> {
    let Some(anchoring) = anchoring else { return Ok(None) };
    let text = anchoring.shelf.read(org, to_seq).await?;
    let anchor = text.and_then(|text| Anchor::open(&text, &anchoring.trust));
    let is_right = |anchor: &Anchor| anchor.statement.org == org && anchor.statement.to_seq() == to_seq;
    match anchor.filter(is_right) {
        Some(anchor) => Ok(walk.hold_against(&anchor).err()),
        None => Ok(Some(Found { seq: to_seq, reason: Break::AnchorInvalid })),
    }
}

/// An anchor that the database remembers and the shelf does not have.
async fn find_unlisted(db: &Db, org: OrgId, anchoring: Option<&Anchoring>, listed: &[i64]) -> Result<Option<Found>> {
    let Some(anchoring) = anchoring else { return Ok(None) };
    let known = db::scoped(db, org, async |tx| store::anchor_ranges(tx, org).await).await?;
    for (from_seq, to_seq) in known {
        // One that was made since the list was read is there when it is asked for.
        if listed.binary_search(&to_seq).is_err() && anchoring.shelf.read(org, to_seq).await?.is_none() {
            return Ok(Some(Found { seq: from_seq, reason: Break::AnchorMissing }));
        }
    }
    Ok(None)
}
