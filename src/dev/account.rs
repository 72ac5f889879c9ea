//! The unprivileged user that the database runs as when `anteroom dev` is started by root, because PostgreSQL refuses root.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Command;

/// Users that may run it, best first. Debian's package makes the first; the second we make ourselves.
const NAMES: [&str; 2] = ["postgres", "anteroom-dev"];

/// Why there is no such user.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// It could not be made.
    #[error("PostgreSQL does not run as root, and no other user could be made for it: {0}")]
    NotMade(String),
}

/// One line of the user list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
}

impl Account {
    /// Whom to become; `None` when this process is unprivileged already.
    ///
    /// # Errors
    /// When there is no suitable user and none can be made.
    pub(crate) fn unprivileged() -> Result<Option<Self>, Error> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        if let Some(account) = find() {
            return Ok(Some(account));
        }
        let output = Command::new("/usr/sbin/useradd")
            .args(["--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", "anteroom-dev"])
            .output()
            .map_err(|error| Error::NotMade(error.to_string()))?;
        find().map(Some).ok_or_else(|| Error::NotMade(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }

    /// True when this user may pass through every folder down to `path` and through `path` itself.
    pub(crate) fn can_reach(&self, path: &Path) -> bool {
        let Ok(path) = path.canonicalize() else { return false };
        path.ancestors().all(|dir| {
            std::fs::metadata(dir).is_ok_and(|found| {
                let bit = if found.uid() == self.uid {
                    0o100
                } else if found.gid() == self.gid {
                    0o010
                } else {
                    0o001
                };
                found.mode() & bit != 0
            })
        })
    }
}

fn find() -> Option<Account> {
    let users = std::fs::read_to_string("/etc/passwd").ok()?;
    NAMES.iter().find_map(|name| find_in(&users, name))
}

fn find_in(users: &str, name: &str) -> Option<Account> {
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        (uid != 0).then_some(Account { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_found_by_its_whole_name() {
        let users = "root:x:0:0::/root:/bin/sh\npostgres2:x:5:5::/:/bin/sh\npostgres:x:101:104:,,,:/var/lib/postgresql:/bin/bash\n";
        assert_eq!(find_in(users, "postgres"), Some(Account { uid: 101, gid: 104 }));
        assert_eq!(find_in(users, "root"), None);
    }

    #[test]
    fn a_closed_folder_on_the_way_is_in_the_way() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let inner = dir.path().join("inner");
        std::fs::create_dir(&inner).unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let stranger = Account { uid: 65_533, gid: 65_533 };
        assert!(!stranger.can_reach(&inner));
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        assert!(stranger.can_reach(&inner));
    }
}
