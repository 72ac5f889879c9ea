//! What each state's law asks before a talk is recorded: a table of facts in `data/recording-consent.csv`. It never loosens the product's
//! own rule, which is that everybody agrees; it chooses the words of the notice, the note for staff and the floor.

use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::Date;

use crate::state::StateCode;

/// The table, as it is in the repository.
const TABLE: &str = include_str!("../../data/recording-consent.csv");

/// How long a row may rest without somebody looking at the law again, in calendar months.
pub const REVIEW_MONTHS: i32 = 12;

/// What the law of a state is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Law {
    /// One of those who speak may agree for the recording.
    OneParty,
    /// Everybody must agree.
    AllParty,
    /// Several rules that do not fit each other.
    Mixed,
}

/// The least that must be asked, whatever the product asks beyond it. The order is that of strictness.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Floor {
    /// One person's consent.
    OneParty,
    /// Everybody's.
    AllParty,
}

/// How good the source of a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SourceKind {
    /// The statute itself, or an official page.
    Primary,
    /// Somebody's account of it.
    Secondary,
}

/// Whether the law has a stricter rule for pictures taken where somebody lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PrivatePlace {
    /// No such rule is known.
    None,
    /// There may be one; counsel is to confirm it.
    Verify,
    /// Everybody who is filmed must agree.
    AllParty,
}

/// One row.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// Where.
    pub state_code: StateCode,
    /// Its name.
    pub state: String,
    /// What the law is called.
    pub rule: Law,
    /// What must be asked at least.
    pub floor: Floor,
    /// Where the law is written.
    pub statute: String,
    /// Addresses of what the row rests on, with spaces between.
    pub sources: String,
    /// What those are.
    pub source_kind: SourceKind,
    /// `found` where a source was read; anything else is to be verified.
    pub confidence: String,
    /// About pictures at home.
    pub private_place_video: PrivatePlace,
    /// The announcement has to be heard or seen in the recording itself.
    pub announce_in_recording: bool,
    /// When somebody last looked.
    #[serde(with = "day")]
    pub last_reviewed: Date,
    /// What is special; empty where nothing is.
    pub note: String,
}

impl Rule {
    /// What staff should know of this state's law before they record.
    #[must_use]
    pub fn legal_note(&self) -> &str {
        if self.note.is_empty() {
            "The law asks for one person's consent to a recording of their own talk. We ask everybody all the same."
        } else {
            &self.note
        }
    }

    /// What people are told when a recording begins.
    #[must_use]
    pub const fn notice(&self) -> &'static str {
        notice(self.floor, self.announce_in_recording)
    }

    /// True while the row was looked at within [`REVIEW_MONTHS`].
    #[must_use]
    pub fn is_fresh(&self, today: Date) -> bool {
        let year = self.last_reviewed.year() + REVIEW_MONTHS / 12;
        // A leap day has no anniversary; the day after it stands in.
        let due = self
            .last_reviewed
            .replace_year(year)
            .unwrap_or_else(|_| Date::from_calendar_date(year, time::Month::March, 1).unwrap_or(self.last_reviewed));
        today <= due
    }
}

/// The words of the notice for a floor.
#[must_use]
pub const fn notice(floor: Floor, announce: bool) -> &'static str {
    match (floor, announce) {
        (_, true) => {
            "This visit is being recorded. Everybody in it agreed. This notice is part of the recording. You can stop it at any time."
        }
        (Floor::AllParty, false) => {
            "This visit is being recorded. The law asks that everybody agrees, and everybody in it did. You can stop it at any time."
        }
        (Floor::OneParty, false) => {
            "This visit is being recorded. Everybody in it agreed. You can stop it at any time."
        }
    }
}

static RULES: LazyLock<Vec<Rule>> = LazyLock::new(|| {
    let rows: Result<Vec<Rule>, csv::Error> = csv::Reader::from_reader(TABLE.as_bytes()).deserialize().collect();
    rows.expect("the table in the repository can be read, which a test holds")
});

/// All 51 rows.
#[must_use]
pub fn rules() -> &'static [Rule] {
    &RULES
}

/// The row of a state.
#[must_use]
pub fn find(state: StateCode) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.state_code == state)
}

mod day {
    use serde::{Deserialize, Deserializer};
    use time::Date;
    use time::macros::format_description;

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
        let text = String::deserialize(deserializer)?;
        Date::parse(&text, format_description!("[year]-[month]-[day]")).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use time::macros::date;

    /// Compliance check C-08. It fails when the table has not been looked at for a year: that is what it is for.
    #[test]
    fn c_08_the_table_is_whole_and_was_reviewed_within_a_year() {
        let rows = rules();
        let states: BTreeSet<StateCode> = rows.iter().map(|rule| rule.state_code).collect();
        assert_eq!((rows.len(), states.len()), (51, 51), "each state once");
        let today = time::OffsetDateTime::now_utc().date();
        for rule in rows {
            assert_eq!(rule.state, rule.state_code.name());
            assert!(!rule.statute.is_empty() && rule.sources.starts_with("https://"), "{:?}", rule.state_code);
            assert_eq!(rule.confidence, "found", "{:?}", rule.state_code);
            assert!(rule.is_fresh(today), "{:?} was last reviewed on {}", rule.state_code, rule.last_reviewed);
            assert!(rule.last_reviewed >= date!(2026 - 01 - 01));
            let is_strict = rule.rule != Law::OneParty || rule.private_place_video == PrivatePlace::AllParty;
            assert_eq!(rule.floor == Floor::AllParty, is_strict, "{:?}: floor and rule", rule.state_code);
        }
        let announced: Vec<&str> =
            rows.iter().filter(|rule| rule.announce_in_recording).map(|rule| rule.state_code.as_str()).collect();
        assert_eq!(announced, ["CT", "WA"]);
        assert_eq!(rows.iter().filter(|rule| rule.rule == Law::OneParty).count(), 37);
    }

    #[test]
    fn a_row_ages_by_calendar_years() {
        let mut rule = rules()[0].clone();
        rule.last_reviewed = date!(2026 - 11 - 21);
        assert!(rule.is_fresh(date!(2027 - 11 - 21)));
        assert!(!rule.is_fresh(date!(2027 - 11 - 22)));
        rule.last_reviewed = date!(2028 - 02 - 29);
        assert!(rule.is_fresh(date!(2029 - 03 - 01)));
        assert!(!rule.is_fresh(date!(2029 - 03 - 02)));
    }
}
