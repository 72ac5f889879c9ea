//! Who belongs to a Visit, with which Role.

pub mod http;
pub mod store;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::Redacted;

use crate::ids::{ParticipantId, VisitId};

/// What somebody is in a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "plain words")]
pub enum Role {
    Patient,
    Clinician,
    Guest,
    Interpreter,
    Caregiver,
    Supervisor,
    Observer,
}

impl Role {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Patient,
        Self::Clinician,
        Self::Guest,
        Self::Interpreter,
        Self::Caregiver,
        Self::Supervisor,
        Self::Observer,
    ];

    /// As the database has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Patient => "PATIENT",
            Self::Clinician => "CLINICIAN",
            Self::Guest => "GUEST",
            Self::Interpreter => "INTERPRETER",
            Self::Caregiver => "CAREGIVER",
            Self::Supervisor => "SUPERVISOR",
            Self::Observer => "OBSERVER",
        }
    }

    /// As the protocol has it: lower case.
    #[must_use]
    pub const fn as_word(self) -> &'static str {
        match self {
            Self::Patient => "patient",
            Self::Clinician => "clinician",
            Self::Guest => "guest",
            Self::Interpreter => "interpreter",
            Self::Caregiver => "caregiver",
            Self::Supervisor => "supervisor",
            Self::Observer => "observer",
        }
    }

    /// Reads the database's form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.as_str() == text)
    }
}

/// A person's place in a Visit.
#[derive(Clone, Debug)]
pub struct Participant {
    /// Its id.
    pub id: ParticipantId,
    /// The visit.
    pub visit: VisitId,
    /// What they are in it.
    pub role: Role,
    /// Their id in the host system.
    pub identity: String,
    /// How they are called on the screen.
    pub name: Redacted<String>,
}

/// The first name as a patient reads it before joining: "Dr. Maria" of "Dr. Maria Alvarez".
#[must_use]
pub fn short_name(name: &str) -> String {
    let mut words = name.split_whitespace();
    let first = words.next().unwrap_or_default();
    match words.next() {
        Some(second) if first.ends_with('.') => format!("{first} {second}"),
        _ => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_read_back() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(*role));
        }
    }

    #[test]
    fn titles_stay_with_the_first_name() {
        assert_eq!(short_name("Dr. Maria Alvarez"), "Dr. Maria");
        assert_eq!(short_name("Maria Alvarez"), "Maria");
        assert_eq!(short_name(""), "");
        assert_eq!(short_name("Dr."), "Dr.");
    }
}
