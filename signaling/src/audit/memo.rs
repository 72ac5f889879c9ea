//! Keeps polling out of the audit chain: the same view by the same person is one event per five minutes.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use time::Duration;

use crate::auth::Actor;
use crate::clock::Timestamp;
use crate::ids::{OrgId, VisitId};

/// How long a view stands for the ones that follow it.
const SPAN: Duration = Duration::minutes(5);

/// Views remembered at most. When full, all are forgotten: the next views are audited again, which errs on the right side.
const CAPACITY: usize = 10_000;

/// Who looked at what, lately.
#[derive(Debug, Default)]
pub struct Memo(Mutex<HashMap<Key, Timestamp>>);

/// Organisation, person, and the visit or (`None`) the list.
type Key = (OrgId, String, Option<VisitId>);

impl Memo {
    /// True when this view should be written: the first one of its span. A restart forgets, so a view may be written twice, never not at all.
    pub fn is_new(&self, actor: &Actor, visit: Option<VisitId>, now: Timestamp) -> bool {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (actor.org(), actor.id(), visit);
        if seen.get(&key).is_some_and(|at| now - *at < SPAN && now >= *at) {
            return false;
        }
        if seen.len() >= CAPACITY {
            seen.clear();
        }
        seen.insert(key, now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    #[test]
    fn polling_is_one_view_per_span() {
        let memo = Memo::default();
        let actor = Actor::System { org: OrgId::random() };
        let visit = Some(VisitId::random());
        let start = datetime!(2026-11-21 10:00 UTC);
        assert!(memo.is_new(&actor, visit, start));
        assert!(!memo.is_new(&actor, visit, start + Duration::minutes(4)));
        assert!(memo.is_new(&actor, None, start));
        assert!(memo.is_new(&actor, visit, start + SPAN));
    }
}
