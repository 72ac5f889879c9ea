//! The crate's `Error`: what was refused, and what failed.

use crate::problem::Problem;

/// Everything that can go wrong in signaling.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The caller asked for something that cannot be; the problem says what, in words fit for a person.
    #[error("refused: {}", .0.code.as_str())]
    Refused(Problem),
    /// The database failed or is away. The text names the class and the constraint, never a value.
    #[error("database: {}", describe(.0))]
    Database(#[from] sqlx::Error),
    /// A migration could not run.
    #[error("migration: {0}")]
    Migration(#[from] sqlx::migrate::MigrateError),
    /// A setting cannot be used.
    #[error("settings: {0}")]
    Settings(String),
    /// The signing or lookup key cannot be read or made.
    #[error("keys: {0}")]
    Keys(String),
    /// The service that holds the wrapping keys is away; the code is its own.
    #[error("keys: {0}")]
    KeyService(String),
    /// A socket or a file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// Something of ours is broken; the text is for the log.
    #[error("inside: {0}")]
    Inside(String),
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// True when trying again later can help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::Database(error) => match error {
                sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed | sqlx::Error::Tls(_) => true,
                // Classes 08 connection, 53 resources, 57 operator intervention, 55P03 lock not available.
                sqlx::Error::Database(error) => error.code().is_some_and(|code| {
                    code.starts_with("08") || code.starts_with("53") || code.starts_with("57") || code == "55P03"
                }),
                _ => false,
            },
            Self::KeyService(_) => true,
            _ => false,
        }
    }
}

/// A database error in words that hold no value of any row: messages and details of the server may.
fn describe(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => format!(
            "sqlstate {} constraint {}",
            error.code().as_deref().unwrap_or("none"),
            error.constraint().unwrap_or("none"),
        ),
        sqlx::Error::Io(error) => format!("i/o: {}", error.kind()),
        sqlx::Error::PoolTimedOut => "no free connection in time".to_owned(),
        sqlx::Error::PoolClosed => "the pool is closed".to_owned(),
        sqlx::Error::RowNotFound => "a row that must exist does not".to_owned(),
        sqlx::Error::Tls(_) => "tls".to_owned(),
        sqlx::Error::Configuration(_) => "the database URL cannot be used".to_owned(),
        sqlx::Error::Protocol(_) => "protocol".to_owned(),
        _ => "a query or its types".to_owned(),
    }
}
