//! The spool folder: journals and sealed files until they are stored, and the name under which its recorder takes jobs.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use wire::RecorderId;

use crate::error::{Error, Result};

/// A spool, held by this process alone. The lock goes with the process, however it ends.
#[derive(Debug)]
pub struct Spool {
    path: PathBuf,
    recorder: RecorderId,
    _lock: File,
}

impl Spool {
    /// Opens the folder, or makes it.
    ///
    /// # Errors
    /// When it cannot be used, or another recorder uses it.
    pub fn open(path: &Path) -> Result<Self> {
        use std::os::unix::fs::DirBuilderExt;
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = File::create(path.join("lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::SpoolBusy),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        Ok(Self { path: path.to_owned(), recorder: find_or_create_name(path)?, _lock: lock })
    }

    /// Whose spool it is. The name is made once and outlives the process: the next recorder on this spool has the jobs of the one
    /// before, whose journals are here.
    #[must_use]
    pub const fn recorder(&self) -> RecorderId {
        self.recorder
    }

    /// The folder.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

fn find_or_create_name(spool: &Path) -> Result<RecorderId> {
    let path = spool.join("worker");
    match fs::read_to_string(&path) {
        Ok(name) => {
            if let Ok(name) = name.parse() {
                return Ok(name);
            }
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => return Err(error.into()),
    }
    let name = RecorderId::random();
    // All at once: a name cut short by a crash would be replaced, and the jobs under it would wait for nobody.
    let draft = spool.join("worker.draft");
    fs::write(&draft, name.to_string())?;
    File::open(&draft)?.sync_all()?;
    fs::rename(draft, path)?;
    File::open(spool)?.sync_all()?;
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_keeps_its_name_and_is_held_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("spool");
        let spool = Spool::open(&path).unwrap();
        let name = spool.recorder();
        assert!(matches!(Spool::open(&path), Err(Error::SpoolBusy)));
        drop(spool);
        assert_eq!(Spool::open(&path).unwrap().recorder(), name);
        assert_ne!(Spool::open(&folder.path().join("other")).unwrap().recorder(), name);
    }
}
