//! The crate's error, and the class of it that a job row shows.

use vault::{KeyError, NameError, SealError, StoreError};
use wire::settings::SettingsError;

use crate::mux::MuxError;

/// Why the recorder, or one of its jobs, failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The settings cannot work.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The spool folder is in use by another recorder.
    #[error("another recorder uses this spool folder")]
    SpoolBusy,
    /// The database failed.
    #[error("database: {0}")]
    Database(#[from] sqlx::Error),
    /// The key provider failed.
    #[error("key: {0}")]
    Key(#[from] KeyError),
    /// Sealing, or the journal, failed.
    #[error("seal: {0}")]
    Seal(#[from] SealError),
    /// The store failed.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// A stored object could not be read back.
    #[error("store: {0}")]
    Read(#[from] vault::ReadError),
    /// A file could not be written in its container.
    #[error("mux: {0}")]
    Mux(#[from] MuxError),
    /// The mix failed.
    #[error("mix: {0}")]
    Mix(#[from] mixer::Error),
    /// A local file failed.
    #[error("file: {0}")]
    File(#[from] std::io::Error),
    /// A kept manifest cannot be read.
    #[error("manifest: {0}")]
    Manifest(#[from] serde_json::Error),
    /// A name that no object can have.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The Tap was gone before it was dialed, and nothing was captured before.
    #[error("the tap is gone and there is no journal")]
    TapGone,
    /// No sound and no picture came.
    #[error("nothing was captured")]
    Empty,
    /// The data key of a begun job is missing.
    #[error("the job has no data key")]
    NoKey,
    /// Something was ordered, and there are no buckets.
    #[error("no buckets are configured")]
    NoBuckets,
    /// Other objects have all the names that a piece could have.
    #[error("the names of a piece are taken")]
    Taken,
    /// Another worker has the job.
    #[error("the lease was lost")]
    LeaseLost,
}

impl Error {
    /// A word for the job row and for metrics.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Settings(_) | Self::SpoolBusy => "SETTINGS",
            Self::Database(_) => "DATABASE",
            Self::Key(_) | Self::NoKey => "KEY",
            Self::Seal(_) => "SEAL",
            Self::Store(_) | Self::Read(_) => "STORE",
            Self::NoBuckets | Self::Taken => "BUCKET",
            Self::Mux(_) => "MUX",
            Self::Mix(_) => "MIX",
            Self::File(_) | Self::Manifest(_) | Self::Name(_) => "FILE",
            Self::TapGone => "TAP_GONE",
            Self::Empty => "EMPTY",
            Self::LeaseLost => "LEASE_LOST",
        }
    }

    /// Whether trying again cannot help.
    #[must_use]
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::TapGone | Self::Empty | Self::NoKey)
    }
}

/// The crate's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;
