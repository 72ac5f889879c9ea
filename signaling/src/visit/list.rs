//! Lists of visits: a page at a time, with a cursor that names the last visit of a page.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use time::Duration;
use uuid::Uuid;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::{Actor, Permission, StaffRole};
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::visit::store::{self, Filter, PAGE};
use crate::visit::view::{self, VisitView};
use crate::visit::{Visit, VisitStatus};

/// Minutes ahead that the list of upcoming visits shows, unless asked otherwise.
pub const UPCOMING_MINUTES: u32 = 24 * 60;

/// The windows that can be asked for, in minutes.
pub const UPCOMING_RANGE: std::ops::RangeInclusive<u32> = 5..=31 * 24 * 60;

/// The longest that a visit is planned for: one that began so long ago may still be under way.
const LONGEST: Duration = Duration::minutes(480);

impl Filter {
    /// Narrows the filter to what is not over and begins within `window`, or has begun.
    pub fn upcoming(&mut self, now: Timestamp, window: Duration) {
        self.from = Some(self.from.unwrap_or(now - LONGEST));
        self.to = Some(self.to.unwrap_or(now + window));
        if self.status.is_empty() {
            self.status = VisitStatus::ALL.iter().copied().filter(|status| !status.is_over()).collect();
        }
    }
}

/// One page.
#[derive(Clone, Debug)]
pub struct Page {
    /// By start time, at most [`PAGE`].
    pub visits: Vec<VisitView>,
    /// Where the next page begins, if there is one.
    pub next_cursor: Option<String>,
}

/// A page of the visits that the filter lets through (rows 10, 35, 36); a clinician's own, whatever the filter says.
///
/// # Errors
/// `FORBIDDEN`; the database's own failures.
pub async fn page(app: &App, actor: &Actor, mut filter: Filter) -> Result<Page> {
    actor.require(Permission::ListVisits)?;
    let (now, org) = (app.now(), actor.org());
    if let Actor::Staff(staff) = actor
        && staff.role == StaffRole::Clinician
    {
        if filter.clinician.as_ref().is_some_and(|asked| *asked != staff.sub) {
            return Ok(Page { visits: Vec::new(), next_cursor: None });
        }
        filter.clinician = Some(staff.sub.clone());
    }
    let read = async |tx: &mut db::Tx| {
        let mut visits = store::list(tx, org, &filter).await?;
        let more = visits.len() > PAGE;
        visits.truncate(PAGE);
        let next_cursor = visits.last().filter(|_| more).map(cursor);
        Ok::<_, Error>(Page { visits: view::of(tx, actor, visits, now).await?, next_cursor })
    };
    if !app.views.is_new(actor, None, now) {
        return db::scoped(&app.db, org, read).await;
    }
    db::audited(&app.db, org, actor, async |tx| {
        let page = read(tx).await?;
        let count = i64::try_from(page.visits.len()).unwrap_or(i64::MAX);
        Ok::<_, Error>((page, vec![Draft::new(EventType::VisitListed).fact("count", Fact::Number(count))]))
    })
    .await
}

/// Where a page ended: its last visit's start and id.
fn cursor(visit: &Visit) -> String {
    let mut bytes = [0; 24];
    let (head, tail) = bytes.split_at_mut(8);
    // A start time that PostgreSQL can hold fits 64 bits of microseconds.
    let micros = i64::try_from(visit.scheduled_start.unix_timestamp_nanos() / 1000).unwrap_or(i64::MAX);
    head.copy_from_slice(&micros.to_be_bytes());
    tail.copy_from_slice(visit.id.as_uuid().as_bytes());
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Reads a cursor; `None` for anything that is none.
#[must_use]
pub fn parse_cursor(text: &str) -> Option<(Timestamp, Uuid)> {
    let bytes: [u8; 24] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (micros, id) = bytes.split_first_chunk::<8>()?;
    let time = Timestamp::from_unix_timestamp_nanos(i128::from(i64::from_be_bytes(*micros)) * 1000).ok()?;
    Some((time, Uuid::from_slice(id).ok()?))
}
