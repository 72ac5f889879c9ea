//! Breaking the glass (45 CFR 164.312(a)(2)(ii)): in an emergency a clinician reads a visit that is not theirs, for an hour, with a
//! reason, and everybody who should know is told.

pub mod http;
pub mod store;

use std::time::Duration;

use wire::Redacted;

use crate::error::Error;
use crate::problem::Code;

/// How long the visit stays open to that person.
pub const LASTS: Duration = Duration::from_secs(60 * 60);

/// The shortest reason, in characters: a word that says nothing is none.
pub const SHORTEST: usize = 10;

/// The longest.
pub const LONGEST: usize = 500;

/// Why the glass is broken, in the person's own words. They may hold what nobody else should read, so they rest sealed.
#[derive(Clone, Debug)]
pub struct Reason(pub Redacted<String>);

impl Reason {
    /// Takes a reason of 10 to 500 characters.
    ///
    /// # Errors
    /// `INVALID` for a shorter or longer one.
    pub fn parse(text: &Redacted<String>) -> Result<Self, Error> {
        let text = text.reveal().trim();
        if (SHORTEST..=LONGEST).contains(&text.chars().count()) {
            Ok(Self(Redacted::new(text.to_owned())))
        } else {
            Err(Code::Invalid.with("Give a reason of 10 to 500 characters.").into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_says_something() {
        let of = |text: &str| Reason::parse(&Redacted::new(text.to_owned())).is_ok();
        assert!(of("unconscious, allergies unknown"));
        assert!(!of("emergency"));
        assert!(!of("          x          "));
        assert!(!of(&"x".repeat(501)));
        assert!(!format!("{:?}", Reason(Redacted::new("canary".to_owned()))).contains("canary"));
    }
}
