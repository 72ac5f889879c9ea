//! WaitingRoom: where a Participant waits, and what becomes of the wait. An entry is never rewound; a new wait is a new entry.

pub mod command;
pub(crate) mod store;
#[cfg(test)]
pub(crate) mod tests;

/// What an entry can be (visit model, section 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WaitingStatus {
    /// In the waiting room.
    Waiting,
    /// Let in by a clinician.
    Admitted,
    /// Turned away; final for the session.
    Denied,
    /// Went, or was away for too long.
    Left,
    /// Waited too long.
    TimedOut,
}

impl WaitingStatus {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Waiting, Self::Admitted, Self::Denied, Self::Left, Self::TimedOut];

    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Waiting => "WAITING",
            Self::Admitted => "ADMITTED",
            Self::Denied => "DENIED",
            Self::Left => "LEFT",
            Self::TimedOut => "TIMED_OUT",
        }
    }

    /// Only an open entry moves.
    #[must_use]
    pub const fn can_become(self, next: Self) -> bool {
        matches!(self, Self::Waiting) && !matches!(next, Self::Waiting)
    }
}
