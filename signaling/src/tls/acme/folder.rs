//! What an authority gave us, kept between starts: the account's credentials, and a certificate with its key in one file, so that both
//! change in one step. Nobody but the program's own user reads them.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use instant_acme::AccountCredentials;
use serde::{Deserialize, Serialize};

/// The key and the certificate with its chain, PEM.
const CERTIFICATE: &str = "certificate.pem";

/// The account.
const ACCOUNT: &str = "account.json";

/// A folder with mode 0700.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

/// The account belongs to one authority: with another directory a new one is made.
#[derive(Deserialize, Serialize)]
struct Kept<C> {
    directory: String,
    credentials: C,
}

impl Folder {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        }
        let mode = std::fs::metadata(path)?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(io::Error::other("others than the program's user can open it: chmod 700"));
        }
        Ok(Self(path.to_owned()))
    }

    pub(super) fn read_certificate(&self) -> Option<Vec<u8>> {
        std::fs::read(self.0.join(CERTIFICATE)).ok()
    }

    pub(super) fn write_certificate(&self, bundle: &[u8]) -> io::Result<()> {
        self.write(CERTIFICATE, bundle)
    }

    pub(super) fn read_account(&self, directory: &str) -> Option<AccountCredentials> {
        let text = std::fs::read(self.0.join(ACCOUNT)).ok()?;
        let kept: Kept<AccountCredentials> = serde_json::from_slice(&text).ok()?;
        (kept.directory == directory).then_some(kept.credentials)
    }

    pub(super) fn write_account(&self, directory: &str, credentials: &AccountCredentials) -> io::Result<()> {
        let kept = Kept { directory: directory.to_owned(), credentials };
        self.write(ACCOUNT, &serde_json::to_vec(&kept)?)
    }

    /// Either all of it is there after a power cut, or the old file.
    fn write(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let new = self.0.join(format!("{name}.new"));
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&new, self.0.join(name))?;
        File::open(&self.0)?.sync_all()
    }
}
