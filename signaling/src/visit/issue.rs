//! TechnicalIssue: what went wrong with the technology of a visit, as a code. A visit can only end as technical once there is one.

pub mod store;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;

use crate::app::App;
use crate::audit::{Draft, EventType, Fact};
use crate::auth::{Actor, Permission};
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::{IssueId, ParticipantId, VisitId};
use crate::problem::Code;
use crate::visit;
use crate::words::words;

/// Reports of one visit that are kept: more tell nothing new.
const MOST: i64 = 50;

words!(
    /// What did not work.
    #[expect(missing_docs, reason = "plain words")]
    Category {
        Audio = "AUDIO",
        Video = "VIDEO",
        Connection = "CONNECTION",
        Device = "DEVICE",
        Browser = "BROWSER",
        ScreenShare = "SCREEN_SHARE",
        Other = "OTHER",
    }
);

words!(
    /// How much it hindered.
    #[expect(missing_docs, reason = "plain words")]
    Severity {
        Low = "LOW",
        Medium = "MEDIUM",
        High = "HIGH",
    }
);

/// A report. There is no free text: it would be about a patient.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct NewIssue {
    /// What did not work.
    pub category: Category,
    /// How much it hindered; in the middle when left out.
    pub severity: Option<Severity>,
}

/// A report that was written.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Issue {
    /// Its id.
    #[schemars(with = "VisitId")]
    pub issue_id: IssueId,
    /// Of which visit.
    pub visit_id: VisitId,
    /// Whose trouble it was, when somebody in the visit reported it.
    pub participant_id: Option<ParticipantId>,
    /// What did not work.
    pub category: Category,
    /// How much it hindered.
    pub severity: Severity,
    /// When it was reported.
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    pub reported_at: Timestamp,
}

/// Writes a report, by staff or by somebody in the visit (row 39).
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`; `RATE_LIMITED` when the visit has fifty reports.
pub async fn report(app: &App, actor: &Actor, id: VisitId, new: NewIssue) -> Result<Issue> {
    actor.require(Permission::ReadVisit)?;
    let participant_id = match actor {
        Actor::Attendee(attendee) => Some(attendee.participant),
        _ => None,
    };
    let issue = Issue {
        issue_id: IssueId::random(),
        visit_id: id,
        participant_id,
        category: new.category,
        severity: new.severity.unwrap_or(Severity::Medium),
        reported_at: app.now(),
    };
    db::audited(&app.db, actor.org(), actor, async |tx| {
        let visit = visit::store::lock(tx, id).await?;
        actor.require_on(Permission::ReadVisit, visit.id, &visit.clinician_id)?;
        if store::count(tx, id).await? >= MOST {
            return Err(Code::RateLimited.with("This visit has many reports already.").into());
        }
        store::insert(tx, visit.org, &issue, &actor.id()).await?;
        let event = Draft::new(EventType::TechnicalIssueReported).visit(id).subject("issue", issue.issue_id.as_uuid());
        let event = event.fact("category", Fact::Word(issue.category.as_str()));
        Ok::<_, Error>(((), vec![event.fact("severity", Fact::Word(issue.severity.as_str()))]))
    })
    .await?;
    Ok(issue)
}
