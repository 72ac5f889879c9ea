//! `anteroom dev`: all roles in one process, a private database, keys and demo people under one data directory.

mod account;
pub(crate) mod postgres;

use std::fs::{DirBuilder, File, TryLockError};
use std::net::SocketAddr;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use postgres::Postgres;
use tokio_util::sync::CancellationToken;

use crate::Error;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations");

/// What `anteroom dev` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the database, the keys and the recordings are kept.
    #[arg(long, default_value = ".anteroom", value_name = "DIR")]
    data_dir: PathBuf,
    /// Where browsers find the pages. Port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    http: SocketAddr,
    /// The UDP port for sound and picture. 0 takes a free one.
    #[arg(long, default_value_t = 0, value_name = "N")]
    media_port: u16,
    /// Do not wait for the disk: faster, but a power cut may lose data. For tests.
    #[arg(long)]
    no_fsync: bool,
}

/// Runs until told to stop.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let stop = crate::stop::on_signal()?;
    let data_dir = DataDir::open(&options.data_dir)?;
    let mut postgres = Postgres::start(data_dir.path(), !options.no_fsync).await?;
    let result = serve(&options, &mut postgres, stop).await;
    // Last, after everything that writes to it.
    postgres.stop().await;
    result
}

async fn serve(options: &Options, postgres: &mut Postgres, stop: CancellationToken) -> Result<(), Error> {
    MIGRATIONS.run(&sqlx::PgPool::connect(&postgres.owner_url()).await?).await?;
    postgres.grant_roles().await?;
    tracing::info!(http = %options.http, media_port = options.media_port, "database ready");
    tokio::select! {
        () = stop.cancelled() => Ok(()),
        () = postgres.ended() => Err("PostgreSQL ended by itself".into()),
    }
}

/// The data directory, held by this process alone. The lock goes with the process, however it ends.
#[derive(Debug)]
struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    fn open(path: &Path) -> Result<Self, Error> {
        let told = |error: std::io::Error| format!("cannot use the data directory {}: {error}", path.display());
        if !path.exists() {
            DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(told)?;
        }
        let path = path.canonicalize().map_err(told)?;
        let lock = File::create(path.join("lock")).map_err(told)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(format!(
                "another `anteroom dev` uses the data directory {}: stop it first, or give this one another --data-dir",
                path.display()
            )
            .into()),
            Err(TryLockError::Error(error)) => Err(told(error).into()),
        }
    }

    fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_directory_belongs_to_one_process() {
        let dir = tempfile::tempdir().unwrap();
        let held = DataDir::open(dir.path()).unwrap();
        assert!(DataDir::open(dir.path()).unwrap_err().to_string().contains("another `anteroom dev`"));
        drop(held);
        DataDir::open(dir.path()).unwrap();
    }
}
