//! A certificate in files that somebody else renews. What a new file holds is shown only if it is good; until then the old one stays.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::tls::Shown;
use crate::tls::certificate::Certificate;

/// More than any chain and key hold, in bytes.
const MOST: u64 = 1024 * 1024;

/// Two files and what they last held.
#[derive(Debug)]
pub(super) struct Files {
    chain: PathBuf,
    key: PathBuf,
    /// The digest of both, so that the key is not kept a second time.
    seen: Option<[u8; 32]>,
    trouble: Option<String>,
}

impl Files {
    pub(super) fn new(chain: &Path, key: &Path) -> Self {
        Self { chain: chain.to_owned(), key: key.to_owned(), seen: None, trouble: None }
    }

    /// What the files hold now.
    pub(super) fn read(&mut self) -> Result<Certificate, String> {
        let (chain, key) = self.contents()?;
        self.seen = Some(digest(&chain, &key));
        Certificate::parse(&chain, &key).map_err(|error| format!("{}: {error}", self.chain.display()))
    }

    /// What is new in the files since they were last read: nothing, something good, or something bad, which is told once.
    fn look(&mut self, clock: &Clock) -> Option<Result<Certificate, String>> {
        let found = match self.contents() {
            Ok((chain, key)) if self.seen == Some(digest(&chain, &key)) => {
                self.trouble = None;
                return None;
            }
            Ok(_) => self.read().and_then(|new| {
                if new.not_after <= clock.now() {
                    return Err(format!("{}: it has expired", self.chain.display()));
                }
                Ok(new)
            }),
            Err(error) => Err(error),
        };
        match found {
            Err(trouble) if self.trouble.as_ref() == Some(&trouble) => None,
            Err(trouble) => {
                self.trouble = Some(trouble.clone());
                Some(Err(trouble))
            }
            Ok(new) => {
                self.trouble = None;
                Some(Ok(new))
            }
        }
    }

    fn contents(&self) -> Result<(Vec<u8>, Vec<u8>), String> {
        Ok((contents(&self.chain)?, contents(&self.key)?))
    }
}

fn contents(path: &Path) -> Result<Vec<u8>, String> {
    let told = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    if std::fs::metadata(path).map_err(told)?.len() > MOST {
        return Err(format!("{} is too large for a certificate or a key", path.display()));
    }
    std::fs::read(path).map_err(told)
}

fn digest(chain: &[u8], key: &[u8]) -> [u8; 32] {
    use sha2::{Digest as _, Sha256};
    // Each by itself, so that no byte moves from one to the other unseen.
    Sha256::digest([Sha256::digest(chain), Sha256::digest(key)].concat()).into()
}

/// Looks at the files again and again until told to stop.
pub(super) async fn keep(mut files: Files, every: Duration, shown: &Shown, clock: &Clock, stop: &CancellationToken) {
    let mut look = tokio::time::interval(every);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = match signal(SignalKind::hangup()) {
        Ok(told) => Some(told),
        Err(error) => {
            tracing::warn!(%error, "SIGHUP is not heard; the certificate's files are looked at all the same");
            None
        }
    };
    let mut hear = async || match &mut told {
        Some(told) => told.recv().await,
        None => std::future::pending().await,
    };
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = look.tick() => {}
            _ = hear() => {}
        }
        match files.look(clock) {
            None => {}
            Some(Ok(new)) => {
                shown.show(new, clock);
                shown.metrics.note_certificate("taken");
            }
            Some(Err(trouble)) => {
                tracing::error!(%trouble, "a new certificate cannot be used: the old one stays");
                shown.metrics.note_certificate("refused");
            }
        }
    }
}
