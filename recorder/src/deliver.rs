//! Brings what an order asks for to its bucket, piece by piece as the journal is read again. A piece is written whole or not at all,
//! and a delivery that broke off is taken up again from the same journal, which gives the same pieces.

use std::collections::BTreeMap;
use std::path::Path;

use tokio::sync::mpsc;
use vault::bucket::KeyName;
use vault::{Buckets, DataKey, StoreError};
use wire::control::Codec;
use wire::delivery::{Delivered, Folder, Order, Piece, Series};

use crate::delivery::{Cutter, Object, name};
use crate::error::{Error, Result};
use crate::job::Tools;
use crate::journal;
use crate::store::Claimed;

/// Pieces on their way: while these are uploaded the journal waits.
const QUEUE: usize = 4;

/// Names that are tried for a piece, a millisecond apart: another capture may have put a piece of the same time in the same place.
const NAMES: u64 = 20;

/// Delivers, and says so in the job's row. A delivery of which nothing was captured is one of nothing.
pub(crate) async fn deliver(tools: &Tools, job: &Claimed, order: &Order, key: &DataKey, folder: &Path) -> Result<()> {
    let buckets = tools.buckets.as_ref().ok_or(Error::NoBuckets)?;
    let (pieces, mut queue) = mpsc::channel::<Object>(QUEUE);
    let cutting = {
        let (order, key, folder, recording) = (order.clone(), key.clone(), folder.to_owned(), job.recording);
        tokio::task::spawn_blocking(move || cut(order, &key, &folder, recording, &pieces))
    };
    let mut ledger = Ledger::default();
    while let Some(object) = queue.recv().await {
        let bytes = object.body.len() as u64;
        ledger.note(put(buckets, order, object).await?);
        tools.metrics.note_delivered(bytes);
    }
    cutting.await.map_err(|error| Error::File(std::io::Error::other(error)))??;
    tools.jobs.delivered(job, &ledger.into_delivered()).await?;
    tracing::info!(recording = ?job.recording, order = ?order.id, "capture delivered");
    Ok(())
}

/// Reads the journal, on a thread of its own. Ends early when nobody takes the pieces any more: then the upload has failed, and says why.
fn cut(
    order: Order,
    key: &DataKey,
    folder: &Path,
    recording: wire::RecordingId,
    pieces: &mpsc::Sender<Object>,
) -> Result<()> {
    if journal::find(folder)?.is_empty() {
        return Ok(());
    }
    let mut cutter = Cutter::new(order)?;
    let mut out = Vec::new();
    let give = |out: &mut Vec<Object>| -> Result<()> {
        for object in out.drain(..) {
            pieces.blocking_send(object).map_err(|_| Error::LeaseLost)?;
        }
        Ok(())
    };
    journal::replay::<Error>(folder, recording, key, |frame| {
        cutter.feed(frame, &mut out)?;
        give(&mut out)
    })?;
    cutter.finish(&mut out)?;
    give(&mut out)
}

/// A piece in its place, under the name that it got.
struct Placed {
    folder: Folder,
    whose: Option<String>,
    codecs: Vec<Codec>,
    piece: Piece,
}

async fn put(buckets: &Buckets, order: &Order, object: Object) -> Result<Placed> {
    let by = order.key.as_ref().map(|key| KeyName { id: &key.id, context: key.context.as_deref() });
    let Object { folder, whose, codecs, begins, lasts, body } = object;
    let bucket = order.place.bucket.as_str();
    for turn in 0..NAMES {
        let named = begins / 1000 + turn;
        let key = name::piece(&order.place.prefix, folder, named, whose.as_deref());
        let at = (bucket, key.as_str());
        let is_there = match buckets.put(at, name::mime(folder), by, body.clone()).await {
            Ok(()) => true,
            // Of an earlier attempt it is the same; of another capture it is not.
            Err(StoreError::Exists) => buckets.read(at).await? == body,
            Err(error) => return Err(error.into()),
        };
        if is_there {
            return Ok(Placed { folder, whose, codecs, piece: Piece { named, begins, lasts } });
        }
    }
    Err(Error::Taken)
}

/// What was delivered so far.
#[derive(Debug, Default)]
struct Ledger {
    series: BTreeMap<(Folder, Option<String>, String), Series>,
}

impl Ledger {
    fn note(&mut self, placed: Placed) {
        let Placed { folder, whose, codecs, piece } = placed;
        let key = (folder, whose.clone(), format!("{codecs:?}"));
        let series = self.series.entry(key).or_insert(Series { folder, whose, codecs, pieces: Vec::new() });
        series.pieces.push(piece);
    }

    fn into_delivered(self) -> Delivered {
        Delivered { series: self.series.into_values().collect() }
    }
}
