//! What live Rooms could not write while the database was away: an encrypted file, in order, replayed exactly once when it is back.

mod record;

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use uuid::Uuid;
use wire::VisitId;

use crate::auth::keys::Keys;
use crate::error::{Error, Result};

pub(crate) use record::{By, Kept, Spooled};

/// The first bytes of the file; 16 random ones follow, so that no record of one file is taken for one of another.
const MAGIC: &[u8; 16] = b"anteroom spool 1";

/// What the sealing key is for.
const PURPOSE: &[u8] = b"anteroom audit spool v1\0";

/// No record is longer: ids, a code and a time.
const MAX_RECORD: usize = 16 * 1024;

/// The spool of this process. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct Spool(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    state: Mutex<State>,
    /// Told whenever something came or went.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    path: PathBuf,
    file: File,
    /// What the records of this file are bound to.
    id: [u8; 16],
    /// How many records the file holds, those that were replayed among them.
    written: u64,
    size: u64,
    limit: u64,
    waiting: VecDeque<Spooled>,
    /// Held as long as this process lives: two would take each other's records.
    _lock: File,
}

impl Spool {
    /// Opens the spool in a folder, making both when missing, and reads what an earlier process left there. A record that was cut off by
    /// a crash is dropped: it was never confirmed to anybody. A file that cannot be read is put aside, for a person to look at.
    ///
    /// # Errors
    /// When another process uses the folder, or it cannot be used.
    pub fn open(folder: &Path, limit: u64, keys: &Keys) -> Result<Self> {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(folder.join("lock"))?;
        if lock.try_lock().is_err() {
            return Err(Error::Settings("another process uses the folder of the audit's `spool`".to_owned()));
        }
        let path = folder.join("changes.spool");
        let mut file =
            OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o600).open(&path)?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let found = Found::read(&bytes, keys);
        if found.is_damaged {
            let aside = folder.join(format!("changes.damaged-{}", Uuid::new_v4().simple()));
            std::fs::copy(&path, &aside)?;
            tracing::error!(kept = found.records.len(), "the audit spool is damaged: a copy of it was put aside");
        }
        let mut state = State {
            path,
            file,
            id: found.id.unwrap_or_default(),
            written: u64::try_from(found.records.len()).unwrap_or(0),
            size: found.length,
            limit,
            waiting: found.records.into(),
            _lock: lock,
        };
        if state.waiting.is_empty() {
            state.begin()?;
        } else {
            state.file.set_len(state.size)?;
            state.file.seek(SeekFrom::End(0))?;
        }
        Ok(Self(Arc::new(Parts { state: Mutex::new(state), changed: Notify::new() })))
    }

    /// Keeps a change; when this returns, it is on the disk.
    ///
    /// # Errors
    /// When the spool is full, or the disk fails.
    pub(crate) async fn append(&self, keys: &Keys, record: Spooled) -> Result<()> {
        let text = record.to_bytes()?;
        let (place, id) = {
            let state = self.lock();
            (state.written, state.id)
        };
        // Sealed for its place: records cannot be taken out, repeated or moved.
        let sealed = keys.seal(PURPOSE, &context(&id, place), &text)?;
        let parts = Arc::clone(&self.0);
        let kept = tokio::task::spawn_blocking(move || {
            let mut state = parts.state.lock().unwrap_or_else(PoisonError::into_inner);
            if (state.written, state.id) != (place, id) {
                return Ok(Some(record));
            }
            state.append(&sealed)?;
            state.waiting.push_back(record);
            Ok::<_, Error>(None)
        });
        match kept.await.map_err(|_| Error::Inside("file work was cancelled".to_owned()))?? {
            None => {
                self.0.changed.notify_waiters();
                Ok(())
            }
            // Another Room was faster to this place.
            Some(record) => Box::pin(self.append(keys, record)).await,
        }
    }

    /// The change that has waited for longest.
    pub(crate) fn first(&self) -> Option<Spooled> {
        self.lock().waiting.front().cloned()
    }

    /// The first change is in the database.
    ///
    /// # Errors
    /// When the disk fails; the change is replayed once more then, which finds that it is there.
    pub(crate) fn done(&self) -> Result<()> {
        let mut state = self.lock();
        state.waiting.pop_front();
        let begun = if state.waiting.is_empty() { state.begin() } else { Ok(()) };
        drop(state);
        self.0.changed.notify_waiters();
        begun
    }

    /// How many changes wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// True when none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether a change of this visit waits.
    #[must_use]
    pub fn holds(&self, visit: VisitId) -> bool {
        self.lock().waiting.iter().any(|record| record.visit == visit)
    }

    /// Comes back when something came or went after this was called.
    pub(crate) fn changed(&self) -> Notified<'_> {
        self.0.changed.notified()
    }

    /// Comes back when no change of this visit waits.
    pub(crate) async fn drained(&self, visit: VisitId) {
        loop {
            // Before the look, so that what goes between the two is not missed.
            let changed = self.0.changed.notified();
            if !self.holds(visit) {
                return;
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, sealed: &[u8]) -> Result<()> {
        let length =
            u32::try_from(sealed.len()).map_err(|_| Error::Inside("a spooled change is too long".to_owned()))?;
        let more = u64::from(length) + 4;
        if self.size + more > self.limit {
            return Err(Error::Inside("the audit spool is full".to_owned()));
        }
        let record = [length.to_be_bytes().as_slice(), sealed].concat();
        let kept = self.file.write_all(&record).and_then(|()| self.file.sync_data());
        if let Err(error) = kept {
            // What is half there must not stand before the next one.
            self.file.set_len(self.size)?;
            self.file.seek(SeekFrom::End(0))?;
            return Err(error.into());
        }
        self.size += more;
        self.written += 1;
        Ok(())
    }

    /// An empty file with an id of its own.
    fn begin(&mut self) -> Result<()> {
        self.id = rand::random();
        let head = [MAGIC.as_slice(), &self.id].concat();
        // The old records go first: a crash in between leaves an empty file.
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.file.write_all(&head)?;
        self.file.sync_all()?;
        if let Some(folder) = self.path.parent() {
            File::open(folder)?.sync_all()?;
        }
        self.size = u64::try_from(head.len()).unwrap_or(0);
        self.written = 0;
        Ok(())
    }
}

/// What a file holds.
#[derive(Debug, Default)]
struct Found {
    id: Option<[u8; 16]>,
    records: Vec<Spooled>,
    /// Bytes up to the end of the last record.
    length: u64,
    is_damaged: bool,
}

impl Found {
    fn read(bytes: &[u8], keys: &Keys) -> Self {
        let mut found = Self::default();
        let Some((head, mut rest)) = bytes.split_first_chunk::<32>() else {
            // Cut off while it was begun: nothing was in it.
            return found;
        };
        let (magic, id) = head.split_at(MAGIC.len());
        let id = id.try_into().ok().filter(|_| magic == MAGIC);
        let Some(id) = id else {
            found.is_damaged = true;
            return found;
        };
        found.id = Some(id);
        found.length = 32;
        while let Some((length, tail)) = rest.split_first_chunk::<4>() {
            let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
            let Some((sealed, tail)) = tail.split_at_checked(length) else { return found };
            let place = u64::try_from(found.records.len()).unwrap_or(u64::MAX);
            let opened = (length <= MAX_RECORD).then(|| keys.unseal(PURPOSE, &context(&id, place), sealed));
            let Some(record) = opened.and_then(|text| Spooled::from_bytes(&text.ok()?)) else {
                found.is_damaged = true;
                return found;
            };
            found.records.push(record);
            found.length += 4 + u64::try_from(length).unwrap_or(0);
            rest = tail;
        }
        found
    }
}

fn context(id: &[u8; 16], place: u64) -> Vec<u8> {
    [id.as_slice(), &place.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::Actor;
    use crate::ids::{OrgId, ParticipantId};
    use crate::live::room::Change;
    use time::macros::datetime;

    const LIMIT: u64 = 1 << 20;

    fn record(visit: VisitId) -> Spooled {
        let (org, participant) = (OrgId::random(), ParticipantId::random());
        let actor = Actor::System { org };
        let change = Change::Left { participant, actor, was_admitted: true, is_queue_over: false };
        let (by, kept) = Kept::of(&change).unwrap();
        Spooled { event: Uuid::new_v4(), org, visit, at: datetime!(2026-11-21 10:00 UTC), by, kept }
    }

    #[tokio::test]
    async fn changes_wait_in_order_across_a_restart_and_nobody_reads_them() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::ephemeral().unwrap();
        let spool = Spool::open(folder.path(), LIMIT, &keys).unwrap();
        let visit = VisitId::random();
        let records: Vec<_> = (0..3).map(|_| record(visit)).collect();
        for record in &records {
            spool.append(&keys, record.clone()).await.unwrap();
        }
        assert!(spool.holds(visit) && !spool.holds(VisitId::random()));
        assert!(Spool::open(folder.path(), LIMIT, &keys).is_err(), "it is used by one process at a time");
        drop(spool);
        let bytes = std::fs::read(folder.path().join("changes.spool")).unwrap();
        let plain = visit.to_string();
        assert!(!bytes.windows(plain.len()).any(|window| window == plain.as_bytes()));
        let spool = Spool::open(folder.path(), LIMIT, &keys).unwrap();
        for record in &records {
            assert_eq!(spool.first().unwrap().event, record.event);
            spool.done().unwrap();
        }
        assert!(spool.is_empty());
        // An empty spool begins a new file: what was replayed cannot come back.
        drop(spool);
        assert!(Spool::open(folder.path(), LIMIT, &keys).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_record_cut_off_by_a_crash_is_dropped_and_a_changed_one_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("changes.spool");
        let keys = Keys::ephemeral().unwrap();
        let spool = Spool::open(folder.path(), LIMIT, &keys).unwrap();
        for _ in 0..3 {
            spool.append(&keys, record(VisitId::random())).await.unwrap();
        }
        drop(spool);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let spool = Spool::open(folder.path(), LIMIT, &keys).unwrap();
        assert_eq!(spool.len(), 2);
        // It goes on behind the last whole one.
        spool.append(&keys, record(VisitId::random())).await.unwrap();
        drop(spool);
        let mut changed = std::fs::read(&path).unwrap();
        let spool = Spool::open(folder.path(), LIMIT, &keys).unwrap();
        assert_eq!(spool.len(), 3);
        drop(spool);
        let last = changed.len() - 1;
        changed[last] ^= 1;
        std::fs::write(&path, &changed).unwrap();
        let spool = Spool::open(folder.path(), LIMIT, &keys).unwrap();
        assert_eq!(spool.len(), 2);
        let aside = std::fs::read_dir(folder.path()).unwrap();
        assert_eq!(aside.filter(|e| e.as_ref().unwrap().file_name().to_string_lossy().contains("damaged")).count(), 1);
        // Another server's key opens nothing.
        drop(spool);
        assert!(Spool::open(folder.path(), LIMIT, &Keys::ephemeral().unwrap()).unwrap().is_empty());
    }

    #[tokio::test]
    async fn a_full_spool_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let keys = Keys::ephemeral().unwrap();
        let spool = Spool::open(folder.path(), LIMIT, &keys).unwrap();
        spool.append(&keys, record(VisitId::random())).await.unwrap();
        drop(spool);
        let size = std::fs::metadata(folder.path().join("changes.spool")).unwrap().len();
        let spool = Spool::open(folder.path(), size + 10, &keys).unwrap();
        let full = spool.append(&keys, record(VisitId::random())).await;
        assert!(matches!(full, Err(Error::Inside(_))), "{full:?}");
        assert_eq!(spool.len(), 1);
    }
}
