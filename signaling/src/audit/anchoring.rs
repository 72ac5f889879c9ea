//! Makes anchors: what was written since the last one is checked, signed, kept outside the database, and then remembered inside it.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::audit::anchor::{Anchor, MOST, Statement};
use crate::audit::config::AuditConfig;
use crate::audit::shelf::{FolderShelf, LockedShelf, Put, Shelf};
use crate::audit::signer::{LocalSigner, Signer, Trust};
use crate::audit::walk::Walk;
use crate::audit::{Draft, EventType, Fact, store};
use crate::auth::Actor;
use crate::db::{self, Db};
use crate::error::{Error, Result};
use crate::ids::OrgId;

/// How long the last round may take when the process stops.
const FAREWELL: Duration = Duration::from_secs(2);

/// Where anchors go, who signs them, and whom a verifier believes. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Anchoring {
    /// Where they lie.
    pub shelf: Arc<dyn Shelf>,
    /// Who signs.
    pub signer: Arc<dyn Signer>,
    /// Whose signatures count.
    pub trust: Arc<Trust>,
    /// How often they are made.
    pub every: Duration,
}

impl Anchoring {
    /// As the settings say; makes the signing key when there is none.
    ///
    /// # Errors
    /// When the key or the place cannot be used.
    pub fn open(config: &AuditConfig, key_dir: &std::path::Path) -> Result<Self> {
        let signer = LocalSigner::read_or_create(key_dir)?;
        let shelf: Arc<dyn Shelf> = match config.locked_bucket()? {
            Some(bucket) => Arc::new(LockedShelf { bucket, years: config.anchor_years }),
            None => Arc::new(FolderShelf::open(&config.anchor_folder)?),
        };
        let trust = Arc::new(Trust::read(key_dir)?);
        Ok(Self { shelf, signer: Arc::new(signer), trust, every: config.anchor_every })
    }
}

/// Anchors every chain, again and again, and once more at the end.
pub(crate) async fn run(app: App) {
    let Some(anchoring) = app.config.anchoring.clone() else { return };
    loop {
        let is_last = tokio::select! {
            () = app.stop.cancelled() => true,
            () = tokio::time::sleep(anchoring.every) => false,
        };
        if !is_last {
            anchor_all(&app, &anchoring).await;
            continue;
        }
        if tokio::time::timeout(FAREWELL, anchor_all(&app, &anchoring)).await.is_err() {
            tracing::warn!("the last anchors were not made in time: they are made after the next start");
        }
        return;
    }
}

async fn anchor_all(app: &App, anchoring: &Anchoring) {
    let chains = match db::chains(&app.db).await {
        Ok(chains) => chains,
        Err(error) => return tracing::warn!(%error, "anchors were not made"),
    };
    for org in chains {
        match anchor(&app.db, org, anchoring).await {
            // What is new was checked on the way.
            Ok(_) => app.metrics.note_chain_check(true),
            Err(error) => {
                app.metrics.note_anchor_failed();
                if matches!(error, Error::Inside(_)) {
                    app.metrics.note_chain_check(false);
                }
                tracing::error!(%error, org = ?org, "a chain was not anchored");
            }
        }
    }
}

/// Anchors what an organisation's chain has got since its last anchor; gives how many anchors that took. News that consists of an
/// anchor's own event alone waits for other news.
///
/// # Errors
/// When the chain does not hold: what is broken is not signed. The shelf's, the signer's and the database's own failures.
pub async fn anchor(db: &Db, org: OrgId, anchoring: &Anchoring) -> Result<u32> {
    let mut made = 0;
    while step(db, org, anchoring).await? {
        made += 1;
    }
    Ok(made)
}

async fn step(db: &Db, org: OrgId, anchoring: &Anchoring) -> Result<bool> {
    let most = i64::try_from(MOST).unwrap_or(i64::MAX);
    let (last, page) = db::scoped(db, org, async |tx| {
        let last = store::last_anchor(tx, org).await?;
        let after = last.as_ref().map_or(0, |last| last.to_seq);
        let page = store::page(tx, org, after, most).await?;
        Ok::<_, Error>((last, page))
    })
    .await?;
    let is_news = page.iter().any(|entry| entry.event_type != EventType::AuditAnchored.as_str());
    if !is_news {
        return Ok(false);
    }
    let mut walk = last.as_ref().map_or_else(Walk::default, |last| Walk::after(last.to_seq, last.root));
    let from_seq = walk.last() + 1;
    for entry in &page {
        walk.take(entry).map_err(|found| {
            Error::Inside(format!("event {} of the audit chain: {}", found.seq, found.reason.in_words()))
        })?;
    }
    let now = db.clock().now();
    let previous = last.map(|last| last.digest);
    let statement = Statement { org, from_seq, hashes: walk.hashes(), previous, at: now };
    let mut anchor = Anchor::sign(statement, &*anchoring.signer).await?;
    let to_seq = anchor.statement.to_seq();
    if anchoring.shelf.put(org, to_seq, &anchor.to_text()?, now).await? == Put::Taken {
        // We put it there, and ended before we could remember it. What is there stays; it must say the same.
        let there = anchoring.shelf.read(org, to_seq).await?.and_then(|text| Anchor::open(&text, &anchoring.trust));
        let same = |there: &Anchor| Statement { at: now, ..there.statement.clone() } == anchor.statement;
        anchor = there.filter(same).ok_or_else(|| {
            Error::Inside(format!("an anchor that ends at event {to_seq} is there already, and says something else"))
        })?;
    }
    let place = anchoring.shelf.place();
    db::audited(db, org, &Actor::System { org }, async |tx| {
        store::insert_anchor(tx, &anchor, &place).await?;
        let draft = Draft::new(EventType::AuditAnchored)
            .fact("fromSeq", Fact::Number(from_seq))
            .fact("toSeq", Fact::Number(to_seq));
        Ok::<_, Error>(((), vec![draft]))
    })
    .await?;
    Ok(true)
}
