//! In which states a clinician may practise, and whether that fits where the patient is.

pub mod http;
pub mod store;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::Date;
use uuid::Uuid;

use crate::ids::VisitId;
use crate::state::StateCode;

/// What became of a licence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum LicenceStatus {
    /// It holds, between its dates.
    Active,
    /// Its board suspended it.
    Suspended,
    /// It is no longer on the clinician's list.
    Withdrawn,
}

impl LicenceStatus {
    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "ACTIVE",
            Self::Suspended => "SUSPENDED",
            Self::Withdrawn => "WITHDRAWN",
        }
    }

    /// Reads that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Withdrawn].into_iter().find(|status| status.as_str() == text)
    }
}

/// A right to practise in one state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Licence {
    /// Its row.
    pub id: Uuid,
    /// Where.
    pub state: StateCode,
    /// As its board has it.
    pub number: String,
    /// The first day.
    pub valid_from: Date,
    /// The last day.
    pub valid_to: Date,
    /// What became of it.
    pub status: LicenceStatus,
}

/// Why a check does not pass. In the order of how near it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lacking {
    /// Nobody has said where the patient is.
    StateUnknown,
    /// No licence for that state.
    NoLicence,
    /// One that has ended.
    Expired,
    /// One that has not begun.
    NotYetValid,
    /// One that is suspended.
    Suspended,
}

impl Lacking {
    /// As audited and told.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::StateUnknown => "STATE_UNKNOWN",
            Self::NoLicence => "NO_LICENCE",
            Self::Expired => "EXPIRED",
            Self::NotYetValid => "NOT_YET_VALID",
            Self::Suspended => "SUSPENDED",
        }
    }
}

/// What a check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// This licence holds.
    Pass(Uuid),
    /// None does.
    Fail(Lacking),
    /// None does, and the clinician goes on for a reason.
    Override(Lacking),
}

impl Verdict {
    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pass(_) => "PASS",
            Self::Fail(_) => "FAIL",
            Self::Override(_) => "OVERRIDE",
        }
    }

    /// Why it is no pass.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Pass(_) => "LICENSED",
            Self::Fail(lacking) | Self::Override(lacking) => lacking.as_str(),
        }
    }
}

/// A check of a visit, to be written down.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// Which visit.
    pub visit: VisitId,
    /// Whose licence.
    pub clinician: &'a str,
    /// Where the patient is.
    pub state: Option<StateCode>,
    /// What was found.
    pub verdict: Verdict,
}

/// Whether one of a clinician's licences holds on a day in the patient's state. Days are those of UTC, and both ends of a licence count.
#[must_use]
pub fn judge(licences: &[Licence], state: Option<StateCode>, today: Date) -> Verdict {
    let Some(state) = state else { return Verdict::Fail(Lacking::StateUnknown) };
    let mut nearest = Lacking::NoLicence;
    for licence in licences.iter().filter(|licence| licence.state == state) {
        let lacking = match licence.status {
            LicenceStatus::Withdrawn => continue,
            LicenceStatus::Suspended => Lacking::Suspended,
            LicenceStatus::Active if today > licence.valid_to => Lacking::Expired,
            LicenceStatus::Active if today < licence.valid_from => Lacking::NotYetValid,
            LicenceStatus::Active => return Verdict::Pass(licence.id),
        };
        nearest = nearest.max(lacking);
    }
    Verdict::Fail(nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::date;

    fn licence(state: &str, status: LicenceStatus) -> Licence {
        Licence {
            id: Uuid::new_v4(),
            state: StateCode::parse(state).unwrap(),
            number: "1".to_owned(),
            valid_from: date!(2026 - 01 - 01),
            valid_to: date!(2026 - 12 - 31),
            status,
        }
    }

    #[test]
    fn a_licence_holds_in_its_state_between_its_days() {
        let georgia = StateCode::parse("GA");
        let held = licence("GA", LicenceStatus::Active);
        let all = [licence("AL", LicenceStatus::Active), held.clone()];
        assert_eq!(judge(&all, georgia, date!(2026 - 12 - 31)), Verdict::Pass(held.id));
        assert_eq!(judge(&all, georgia, date!(2026 - 01 - 01)), Verdict::Pass(held.id));
        assert_eq!(judge(&all, georgia, date!(2027 - 01 - 01)), Verdict::Fail(Lacking::Expired));
        assert_eq!(judge(&all, georgia, date!(2025 - 12 - 31)), Verdict::Fail(Lacking::NotYetValid));
        assert_eq!(judge(&all, StateCode::parse("FL"), date!(2026 - 06 - 01)), Verdict::Fail(Lacking::NoLicence));
        assert_eq!(judge(&all, None, date!(2026 - 06 - 01)), Verdict::Fail(Lacking::StateUnknown));
        let today = date!(2026 - 06 - 01);
        let suspended = [licence("GA", LicenceStatus::Suspended)];
        assert_eq!(judge(&suspended, georgia, today), Verdict::Fail(Lacking::Suspended));
        let withdrawn = [licence("GA", LicenceStatus::Withdrawn)];
        assert_eq!(judge(&withdrawn, georgia, today), Verdict::Fail(Lacking::NoLicence));
        let second = [suspended[0].clone(), held.clone()];
        assert_eq!(judge(&second, georgia, today), Verdict::Pass(held.id), "one that holds is enough");
    }
}
