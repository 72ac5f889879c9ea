//! What each of the APIs that clients may come from calls the states of a visit. A dictionary, and nothing else.

use crate::visit::VisitStatus;

/// Whose words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Vocabulary {
    /// Our own.
    Canonical,
    /// `/api/visits`: tokens and notices.
    S0,
    /// The action-style endpoint: a meeting is there, or it is not.
    S1,
    /// Sessions with an admission.
    S2,
    /// Sessions with consents.
    S3,
    /// Procedures with providers.
    S4,
}

impl Vocabulary {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Canonical, Self::S0, Self::S1, Self::S2, Self::S3, Self::S4];

    /// As the header `X-Status-Vocabulary` names it, in any case.
    #[must_use]
    pub fn named(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|vocabulary| vocabulary.as_str().eq_ignore_ascii_case(text))
    }

    /// Its name in that header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Canonical => "canonical",
            Self::S0 => "s0",
            Self::S1 => "s1",
            Self::S2 => "s2",
            Self::S3 => "s3",
            Self::S4 => "s4",
        }
    }

    /// Its word for a state.
    #[must_use]
    pub const fn write(self, status: VisitStatus) -> &'static str {
        use VisitStatus as V;
        match (self, status) {
            (Self::S0, V::Scheduled | V::Waiting) => "SCHEDULED",
            (Self::S0 | Self::S2, V::InProgress) => "ACTIVE",
            (Self::S1, V::Scheduled | V::Waiting | V::InProgress) => "EXISTS",
            (Self::S1, V::Completed | V::NoShow | V::Cancelled | V::Technical) => "DELETED",
            (Self::S2, V::Scheduled | V::Waiting) => "WAITING",
            (Self::S2, V::Completed | V::NoShow | V::Cancelled | V::Technical) => "ENDED",
            (Self::S3, V::Waiting) => "WAITING_ROOM",
            (Self::S3, V::Technical) => "COMPLETED",
            (Self::S4, V::Technical) => "TECHNICAL_ISSUES",
            _ => status.as_str(),
        }
    }

    /// Every state that its word can mean: what a filter asks for.
    #[must_use]
    pub fn read(self, word: &str) -> Vec<VisitStatus> {
        VisitStatus::ALL.iter().copied().filter(|status| self.write(*status).eq_ignore_ascii_case(word)).collect()
    }
}

/// The state that a word of any vocabulary names as a goal. Our own words mean what they say; of a foreign word with several meanings
/// the one that a command can bring about is taken: `ENDED` is `COMPLETED`.
#[must_use]
pub fn parse(word: &str) -> Option<VisitStatus> {
    let own = VisitStatus::ALL.iter().copied().find(|status| status.as_str().eq_ignore_ascii_case(word));
    own.or_else(|| Vocabulary::ALL.iter().find_map(|vocabulary| vocabulary.read(word).first().copied()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn vocabularies() -> impl Strategy<Value = Vocabulary> {
        proptest::sample::select(Vocabulary::ALL)
    }

    fn states() -> impl Strategy<Value = VisitStatus> {
        proptest::sample::select(VisitStatus::ALL)
    }

    proptest! {
        #[test]
        fn whatever_is_written_reads_back_among_its_meanings(vocabulary in vocabularies(), status in states()) {
            let word = vocabulary.write(status);
            let meanings = vocabulary.read(word);
            prop_assert!(meanings.contains(&status));
            prop_assert!(meanings.iter().all(|other| vocabulary.write(*other) == word));
            prop_assert!(parse(word).is_some());
            prop_assert!(parse(&word.to_lowercase()).is_some());
            // A state that is over is never written as one that is not, and the other way round.
            prop_assert!(meanings.iter().all(|other| other.is_over() == status.is_over()));
        }

        #[test]
        fn what_nobody_says_means_nothing(word in "[A-Za-z_ ]{0,24}") {
            let is_known = Vocabulary::ALL.iter().any(|vocabulary| !vocabulary.read(&word).is_empty());
            prop_assert_eq!(parse(&word).is_some(), is_known);
        }
    }

    #[test]
    fn the_table_of_the_visit_model() {
        use VisitStatus as V;
        use Vocabulary as W;
        for (status, words) in [
            (V::Scheduled, ["SCHEDULED", "SCHEDULED", "EXISTS", "WAITING", "SCHEDULED", "SCHEDULED"]),
            (V::Waiting, ["WAITING", "SCHEDULED", "EXISTS", "WAITING", "WAITING_ROOM", "WAITING"]),
            (V::InProgress, ["IN_PROGRESS", "ACTIVE", "EXISTS", "ACTIVE", "IN_PROGRESS", "IN_PROGRESS"]),
            (V::Completed, ["COMPLETED", "COMPLETED", "DELETED", "ENDED", "COMPLETED", "COMPLETED"]),
            (V::NoShow, ["NO_SHOW", "NO_SHOW", "DELETED", "ENDED", "NO_SHOW", "NO_SHOW"]),
            (V::Cancelled, ["CANCELLED", "CANCELLED", "DELETED", "ENDED", "CANCELLED", "CANCELLED"]),
            (V::Technical, ["TECHNICAL", "TECHNICAL", "DELETED", "ENDED", "COMPLETED", "TECHNICAL_ISSUES"]),
        ] {
            assert_eq!(W::ALL.iter().map(|vocabulary| vocabulary.write(status)).collect::<Vec<_>>(), words);
            assert_eq!(parse(status.as_str()), Some(status));
        }
        for (word, status) in [
            ("ACTIVE", V::InProgress),
            ("WAITING_ROOM", V::Waiting),
            ("ENDED", V::Completed),
            ("TECHNICAL_ISSUES", V::Technical),
        ] {
            assert_eq!(parse(word), Some(status));
        }
        assert_eq!(W::named("S3"), Some(W::S3));
        assert_eq!(W::named("s9"), None);
    }
}
