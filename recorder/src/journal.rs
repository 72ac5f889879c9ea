//! What arrived, on this machine's disk, sealed. Everything after it is a function of it, so a crash costs a quarter second.

use std::fs::{File, OpenOptions};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::mpsc;
use vault::seal::record::{Record, RecordReader, RecordWriter};
use vault::{DataKey, ObjectName, SealError};
use wire::RecordingId;
use wire::tap::TapFrame;

mod codec;

/// Plain bytes of one record at most.
const BATCH: usize = 64 * 1024;

/// Batches on their way to the disk: 4 MiB, 13 s of a two-party visit. When full, reading the tap waits; then the tap's own
/// queue fills, and what the sfu drops there it says in a gap.
const QUEUE: usize = 64;

/// What waits in memory for at most this long is what a crash of the process loses.
pub const FLUSH: Duration = Duration::from_millis(250);

/// How often the disk is made to keep what was written: what a crash of the machine loses.
const SYNC: Duration = Duration::from_secs(1);

/// The journal of one writer of a recording. A later writer (another epoch) has a file of its own.
fn file_name(epoch: u32) -> String {
    format!("journal-{epoch}")
}

/// Collects frames into batches and hands them to the disk.
#[derive(Debug)]
pub struct Journal {
    batch: Vec<u8>,
    batches: mpsc::Sender<Vec<u8>>,
    writer: tokio::task::JoinHandle<Result<(), SealError>>,
    bytes: u64,
}

impl Journal {
    /// Begins the journal of an epoch in the recording's folder.
    ///
    /// # Errors
    /// When the file exists (an epoch has one writer) or cannot be made.
    pub fn create(folder: &Path, recording: RecordingId, epoch: u32, key: &DataKey) -> Result<Self, SealError> {
        use std::os::unix::fs::OpenOptionsExt;

        let name = named(recording, epoch)?;
        let path = folder.join(name.artefact());
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let writer = RecordWriter::new(key, &name, epoch, file)?;
        let (batches, queue) = mpsc::channel(QUEUE);
        let writer = tokio::task::spawn_blocking(move || write(writer, queue));
        Ok(Self { batch: Vec::with_capacity(BATCH), batches, writer, bytes: 0 })
    }

    /// Plain bytes so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Takes one frame; waits when the disk is behind.
    ///
    /// # Errors
    /// When the disk failed.
    pub async fn append(&mut self, frame: &TapFrame) -> Result<(), SealError> {
        let before = self.batch.len();
        codec::encode(frame, &mut self.batch);
        self.bytes += (self.batch.len() - before) as u64;
        if self.batch.len() >= BATCH { self.flush().await } else { Ok(()) }
    }

    /// Hands what waits to the disk.
    ///
    /// # Errors
    /// When the disk failed.
    pub async fn flush(&mut self) -> Result<(), SealError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH));
        let failed = |_| SealError::Write(std::io::Error::other("the journal's disk failed"));
        self.batches.send(batch).await.map_err(failed)
    }

    /// Writes what waits, closes the journal in order and syncs it.
    ///
    /// # Errors
    /// When the disk failed, now or before.
    pub async fn close(mut self) -> Result<(), SealError> {
        let flushed = self.flush().await;
        drop(self.batches);
        // The writer's own error says more than the queue's.
        self.writer.await.map_err(std::io::Error::other)??;
        flushed
    }
}

fn named(recording: RecordingId, epoch: u32) -> Result<ObjectName, SealError> {
    ObjectName::new(recording, &file_name(epoch)).map_err(|_| SealError::Format)
}

/// The disk's side, on a thread of its own.
fn write(mut writer: RecordWriter<File>, mut queue: mpsc::Receiver<Vec<u8>>) -> Result<(), SealError> {
    let clock = tokio::time::Instant::now;
    let mut synced = clock();
    while let Some(batch) = queue.blocking_recv() {
        writer.append(batch)?;
        if synced.elapsed() >= SYNC {
            writer.sink().sync_data()?;
            synced = clock();
        }
    }
    writer.close()?.sync_all()?;
    Ok(())
}

/// The journals in a recording's folder, oldest epoch first.
///
/// # Errors
/// When the folder cannot be read; a missing one holds none.
pub fn find(folder: &Path) -> std::io::Result<Vec<(u32, PathBuf)>> {
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if let Some(epoch) = name.strip_prefix("journal-").and_then(|epoch| epoch.parse().ok()) {
            found.push((epoch, path));
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Reads every journal of a folder in order and gives each frame to `each`. A torn tail ends its journal silently: that is
/// what a crash leaves. Returns whether the last one was closed in order.
///
/// # Errors
/// When a file cannot be read, is another recording's, or `each` fails.
pub fn replay<E: From<SealError>>(
    folder: &Path,
    recording: RecordingId,
    key: &DataKey,
    mut each: impl FnMut(TapFrame) -> Result<(), E>,
) -> Result<bool, E> {
    let mut closed = false;
    for (epoch, path) in find(folder).map_err(SealError::from)? {
        closed = false;
        let file = BufReader::with_capacity(1 << 17, File::open(path).map_err(SealError::from)?);
        let Some(mut reader) = RecordReader::new(key, &named(recording, epoch)?, file)? else { continue };
        loop {
            match reader.next_record()? {
                Record::Body(body) => {
                    let mut rest = bytes::Bytes::from(body);
                    while let Some(frame) = codec::decode(&mut rest) {
                        each(frame)?;
                    }
                }
                Record::Closed => {
                    closed = true;
                    break;
                }
                Record::Torn => break,
            }
        }
    }
    Ok(closed)
}
