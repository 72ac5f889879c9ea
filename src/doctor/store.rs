//! Where recordings rest: whether an object can be written, read and removed, and whether the bucket keeps what it was given.

use std::io::Write as _;

use vault::store::StoreError;
use vault::{ObjectName, Store, StoreConfig, StoreKind};
use wire::RecordingId;

use super::Finding;

/// What is written. It is no secret.
const PROBE: &[u8] = b"anteroom doctor";

const USABLE: &str = "a store for recordings that can be written, read and cleared";
const LOCKED: &str = "a bucket that keeps recordings (Object Lock)";

pub(super) async fn look(config: &StoreConfig) -> Vec<Finding> {
    let store = match vault::store::open(config).await {
        Ok(store) => store,
        Err(error) => return vec![Finding::new(USABLE, Some(in_words(&error, config)))],
    };
    let mut findings =
        vec![Finding::new(USABLE, probe(store.as_ref()).await.err().map(|error| in_words(&error, config)))];
    if config.kind == StoreKind::S3 {
        findings.push(match store.is_locked().await {
            Ok(Some(true)) => Finding::new(LOCKED, None),
            Ok(Some(false)) => Finding::new(
                LOCKED,
                Some(format!("{} can lose what it holds to a mistake: make a bucket with Object Lock", config.bucket)),
            ),
            Ok(None) => Finding::unknown(LOCKED, "this kind of store has none"),
            Err(error) => Finding::unknown(LOCKED, in_words(&error, config)),
        });
    }
    findings
}

async fn probe(store: &dyn Store) -> Result<(), StoreError> {
    let name = ObjectName::new(RecordingId::random(), "doctor.probe")
        .map_err(|_| StoreError::Settings("the probe has no name"))?;
    let path = std::env::temp_dir().join(format!("anteroom-doctor-{}", name.to_string().replace('/', "-")));
    std::fs::File::create_new(&path)?.write_all(PROBE)?;
    let put = store.put(&name, &path).await;
    std::fs::remove_file(&path)?;
    put?;
    let read = store.read(&name, 0..PROBE.len() as u64).await;
    store.delete(&name).await?;
    match read? {
        bytes if bytes == PROBE => Ok(()),
        _ => Err(StoreError::Unavailable("it gives back other bytes than it was given".to_owned())),
    }
}

fn in_words(error: &StoreError, config: &StoreConfig) -> String {
    let place = match config.kind {
        StoreKind::Folder => config.folder.display().to_string(),
        StoreKind::S3 => format!("bucket {}", config.bucket),
    };
    match error {
        StoreError::Denied => format!(
            "{place}: access is denied. The credentials need s3:PutObject, s3:GetObject, s3:DeleteObject and s3:AbortMultipartUpload"
        ),
        StoreError::File(error) => format!("{place}: {error}. Give the folder to the program's user"),
        StoreError::NotFound => format!("{place}: it is not there"),
        StoreError::Unavailable(_) | StoreError::Settings(_) | StoreError::Exists | StoreError::Short => {
            format!("{place}: {error}. Are `endpoint`, `region` and `bucket` right, and can this machine reach it?")
        }
    }
}
