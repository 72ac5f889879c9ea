//! The keys of `anteroom dev`, and the mark that says they are a development issuer's.

use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use signaling::auth::keys::Keys;
use signaling::ids::OrgId;

use crate::Error;

/// What `anteroom dev` leaves in its data directory for the commands beside it. Nothing secret.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Development {
    /// The demo practice.
    pub(crate) organization: OrgId,
}

impl Development {
    /// Reads the mark; nothing where `anteroom dev` never ran.
    ///
    /// # Errors
    /// When it is there but cannot be read.
    pub(crate) fn find(data_dir: &Path) -> Result<Option<Self>, Error> {
        let path = data_dir.join("development.json");
        match std::fs::read(&path) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("cannot read {}: {error}", path.display()).into()),
        }
    }

    /// Reads the mark, or makes it with a fresh practice.
    ///
    /// # Errors
    /// When it can be neither read nor written.
    pub(crate) fn find_or_create(data_dir: &Path) -> Result<Self, Error> {
        if let Some(found) = Self::find(data_dir)? {
            return Ok(found);
        }
        let new = Self { organization: OrgId::random() };
        // Renamed into place, so that a kill between the two leaves no half of it.
        let draft = data_dir.join("development.json.draft");
        std::fs::write(&draft, serde_json::to_vec(&new)?)?;
        std::fs::rename(draft, data_dir.join("development.json"))?;
        Ok(new)
    }
}

/// The folder of all keys, for this user alone.
///
/// # Errors
/// When it cannot be made.
pub(crate) fn folder(data_dir: &Path) -> Result<PathBuf, Error> {
    let folder = data_dir.join("keys");
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    Ok(folder)
}

/// The signing keys, made at the first start.
///
/// # Errors
/// When they can be neither read nor made.
pub(crate) fn signing(data_dir: &Path) -> Result<Keys, Error> {
    Ok(Keys::read_or_create(&folder(data_dir)?)?)
}
