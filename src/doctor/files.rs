//! Files: keys that only the program's user reads, a spool with room, enough open files, and a backup that is not old.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use signaling::SignalingConfig;
use signaling::auth::keys::Keys;
use time::OffsetDateTime;
use vault::KeysConfig;

use super::Finding;

/// Room that a spool should have: four hours of a two-party visit in 720p.
const ROOM: u64 = 5 * 1024 * 1024 * 1024;

/// How old a backup may be.
const BACKUP_WITHIN: Duration = Duration::from_secs(24 * 60 * 60);

/// Files that are open beside connections: the database's, media sockets, journals.
const OTHER_FILES: u64 = 512;

pub(super) fn look_at_keys(folder: &Path, config: &KeysConfig) -> Vec<Finding> {
    let recordings = folder.join("recordings.key");
    let open: Vec<String> = ["signing.pem", "lookup.key", "recordings.key"]
        .iter()
        .map(|name| folder.join(name))
        .filter(|path| is_open_to_others(path))
        .map(|path| path.display().to_string())
        .collect();
    vec![
        Finding::new(
            "keys for tokens and codes",
            Keys::read(folder).err().map(|error| format!("{error}: `anteroom init` makes those that are missing")),
        ),
        Finding::new(
            "a key for recordings",
            config.open(&recordings).err().map(|error| {
                format!(
                    "{}: {error}. `anteroom init` makes it; if it is lost, restore it: old recordings need it",
                    recordings.display()
                )
            }),
        ),
        Finding::new(
            "keys that nobody else can read",
            (!open.is_empty()).then(|| format!("chmod 600 {}", open.join(" "))),
        ),
    ]
}

/// True when others than the owner may read it.
pub(super) fn is_open_to_others(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|meta| meta.permissions().mode() & 0o077 != 0)
}

pub(super) fn look_at_spool(spool: &Path) -> Vec<Finding> {
    let room = rustix::fs::statvfs(existing(spool)).map(|disk| disk.f_bavail.saturating_mul(disk.f_frsize));
    vec![
        look_at_folder("a spool that can be written", spool),
        match room {
            Ok(room) => {
                Finding::new("room in the spool", little_room(room).map(|text| format!("{}: {text}", spool.display())))
            }
            Err(error) => Finding::unknown("room in the spool", error.to_string()),
        },
    ]
}

/// A folder that has to be written.
pub(super) fn look_at_folder(what: &'static str, folder: &Path) -> Finding {
    let trouble = unwritable(folder);
    Finding::new(
        what,
        trouble.map(|error| format!("{}: {error}. Give the folder to the program's user", folder.display())),
    )
}

/// What is wrong with this many free bytes.
pub(super) fn little_room(bytes: u64) -> Option<String> {
    (bytes < ROOM).then(|| {
        format!(
            "{} MB are free. A visit in 720p takes 1.1 GB an hour until it is stored: make room for 5 GB at least",
            bytes / 1_000_000
        )
    })
}

pub(super) fn look_at_limits(config: &SignalingConfig) -> Finding {
    let wanted = config.connections as u64 + config.websockets as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    Finding::new("enough open files", few_files(limit, wanted))
}

/// What is wrong with a limit of open files.
pub(super) fn few_files(limit: u64, wanted: u64) -> Option<String> {
    (limit < wanted).then(|| {
        format!("{limit} may be open and `connections` and `websockets` need {wanted}: LimitNOFILE= in systemd, or ulimit -n")
    })
}

pub(super) fn look_at_backup(stamp: Option<&Path>) -> Option<Finding> {
    let stamp = stamp?;
    let trouble = match std::fs::metadata(stamp).and_then(|meta| meta.modified()) {
        Err(error) => Some(format!("{}: {error}. The backup script has to touch it at its end", stamp.display())),
        Ok(at) => {
            let age = OffsetDateTime::now_utc() - OffsetDateTime::from(at);
            (age > BACKUP_WITHIN)
                .then(|| format!("the last one is {} hours old: does the backup still run?", age.whole_hours()))
        }
    };
    Some(Finding::new("a backup of the last 24 hours", trouble))
}

/// Why nothing can be written there. The folder is not made: its nearest parent that exists is tried.
pub(super) fn unwritable(dir: &Path) -> Option<std::io::Error> {
    let probe = existing(dir).join(format!(".anteroom-probe-{}", std::process::id()));
    std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe)).err()
}

/// The folder, or its nearest parent that exists.
fn existing(dir: &Path) -> std::path::PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    absolute.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}
