//! The table of codes and the profiles of payers: `data/telehealth-codes.csv` and `data/payer-profiles.csv`.

use std::sync::LazyLock;

use serde::Deserialize;

/// Which state of the table this is. Every suggestion says it; a new table has a new one.
pub const VERSION: &str = "2026-11-21";

const CODES: &str = include_str!("../../data/telehealth-codes.csv");
const PROFILES: &str = include_str!("../../data/payer-profiles.csv");

/// What a code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CodeKind {
    /// A place of service.
    Pos,
    /// A modifier.
    Modifier,
}

/// A code, in our own words.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Code {
    /// What it is.
    pub kind: CodeKind,
    /// As it stands on the claim.
    pub code: String,
    /// Whose code it is.
    pub set: String,
    /// What it means.
    pub meaning: String,
    /// First day, `YYYY-MM-DD`.
    pub valid_from: String,
    /// Last day; empty while it holds.
    pub valid_to: String,
    /// `found` where a source was read, `verify` where not.
    pub confidence: String,
    /// What the row rests on.
    pub sources: String,
}

/// What one payer asks for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Its key.
    pub profile: String,
    /// In words.
    pub name: String,
    /// For sound and picture; the first is suggested, each is taken. Empty where the place of service says enough.
    pub audio_video_modifier: String,
    /// For sound alone; the first is suggested, each is taken.
    pub audio_only_modifiers: String,
    /// Sound alone is paid for a patient at home only.
    pub audio_only_needs_home: bool,
    /// Pairs that may stand together although the rules forbid it: `93+FQ`.
    pub together: String,
    /// As [`Code::confidence`].
    pub confidence: String,
}

impl Profile {
    /// For sound and picture.
    pub fn audio_video(&self) -> impl Iterator<Item = &str> {
        words(&self.audio_video_modifier)
    }

    /// For sound alone.
    pub fn audio_only(&self) -> impl Iterator<Item = &str> {
        words(&self.audio_only_modifiers)
    }

    /// Whether two codes may stand together.
    #[must_use]
    pub fn allows_together(&self, one: &str, other: &str) -> bool {
        words(&self.together)
            .filter_map(|pair| pair.split_once('+'))
            .any(|(a, b)| (a, b) == (one, other) || (b, a) == (one, other))
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('|').filter(|word| !word.is_empty())
}

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Vec<T> {
    let rows: Result<Vec<T>, csv::Error> = csv::Reader::from_reader(text.as_bytes()).deserialize().collect();
    rows.expect("the tables in the repository can be read, which a test holds")
}

static TABLE: LazyLock<(Vec<Code>, Vec<Profile>)> = LazyLock::new(|| (read(CODES), read(PROFILES)));

/// All codes.
#[must_use]
pub fn codes() -> &'static [Code] {
    &TABLE.0
}

/// All profiles.
#[must_use]
pub fn profiles() -> &'static [Profile] {
    &TABLE.1
}

/// The profile of this key.
#[must_use]
pub fn find_profile(key: &str) -> Option<&'static Profile> {
    profiles().iter().find(|profile| profile.profile == key)
}

/// Whether a code holds on a day, `YYYY-MM-DD`.
#[must_use]
pub fn holds(kind: CodeKind, code: &str, day: &str) -> bool {
    codes().iter().any(|row| {
        row.kind == kind
            && row.code == code
            && row.valid_from.as_str() <= day
            && (row.valid_to.is_empty() || day <= row.valid_to.as_str())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_can_be_read_and_fit_each_other() {
        assert_eq!(codes().len(), 9);
        for row in codes() {
            assert!(!row.meaning.is_empty() && !row.sources.is_empty() && row.valid_from.len() == 10, "{}", row.code);
        }
        for profile in profiles() {
            for code in profile.audio_video().chain(profile.audio_only()) {
                assert!(holds(CodeKind::Modifier, code, VERSION), "{}: {code}", profile.profile);
            }
        }
        assert!(find_profile("medicaid_ak").unwrap().allows_together("FQ", "93"));
        assert!(!find_profile("medicare").unwrap().allows_together("FQ", "93"));
        assert!(!holds(CodeKind::Pos, "10", "2021-12-31"), "the code is younger than that");
        assert!(!holds(CodeKind::Pos, "11", VERSION));
    }
}
