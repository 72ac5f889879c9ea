//! `anteroom doctor`: what this machine lacks, in words, with what helps. With the settings of `serve` it looks at all that `serve` needs.

mod clock;
mod database;
mod files;
mod network;
mod store;
mod tls;

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use recorder::RecorderConfig;
use sfu::SfuConfig;
use signaling::SignalingConfig;
use signaling::auth::keys::Keys;
use vault::{KeysConfig, StoreConfig};
use wire::settings;

use crate::Error;
use crate::dev::postgres;
use crate::turn;

/// What `anteroom doctor` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The settings file of `anteroom serve`: look at what that needs. Implied where ANTEROOM_DATABASE_URL is set.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// The data directory that `anteroom dev` would use.
    #[arg(long, default_value = ".anteroom", value_name = "DIR")]
    data_dir: PathBuf,
    /// The address that `anteroom dev` would serve pages on.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    http: SocketAddr,
    /// The relay's coturn configuration, to be checked.
    #[arg(long, value_name = "FILE")]
    turn_config: Option<PathBuf>,
    /// The relay's address, to be reached over TCP.
    #[arg(long, value_name = "ADDR")]
    turn: Option<SocketAddr>,
}

/// One thing that was looked at.
#[derive(Debug)]
pub(crate) struct Finding {
    what: &'static str,
    verdict: Verdict,
}

/// How it is.
#[derive(Debug)]
enum Verdict {
    Good,
    /// The trouble and its remedy.
    Missing(String),
    /// Why it could not be looked at.
    Unknown(String),
}

impl Finding {
    /// Good unless there is trouble.
    fn new(what: &'static str, trouble: Option<String>) -> Self {
        Self { what, verdict: trouble.map_or(Verdict::Good, Verdict::Missing) }
    }

    fn unknown(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, verdict: Verdict::Unknown(why.into()) }
    }

    #[cfg(test)]
    fn trouble(&self) -> Option<&str> {
        match &self.verdict {
            Verdict::Missing(trouble) => Some(trouble),
            Verdict::Good | Verdict::Unknown(_) => None,
        }
    }
}

/// Prints one line for each thing looked at; fails when something is missing.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let findings = look(&options).await;
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        match &finding.verdict {
            Verdict::Good => writeln!(out, "ok       {}", finding.what)?,
            Verdict::Missing(trouble) => writeln!(out, "MISSING  {}: {trouble}", finding.what)?,
            Verdict::Unknown(why) => writeln!(out, "?        {}: {why}", finding.what)?,
        }
    }
    match findings.iter().filter(|finding| matches!(finding.verdict, Verdict::Missing(_))).count() {
        0 => Ok(()),
        1 => Err("one thing is missing".into()),
        n => Err(format!("{n} things are missing").into()),
    }
}

async fn look(options: &Options) -> Vec<Finding> {
    let is_served = options.settings.is_some() || settings::env("ANTEROOM_DATABASE_URL").is_some();
    let mut findings = if is_served { look_at_served(options).await } else { look_here(options) };
    if let Some(file) = &options.turn_config {
        findings.push(Finding::new("a relay that reaches nothing but the media node", turn::look(file)));
    }
    if let Some(address) = options.turn {
        findings.push(Finding::new("the relay's address", turn::reach(address)));
    }
    findings
}

/// All settings that `anteroom serve` reads.
struct Served {
    signaling: SignalingConfig,
    sfu: SfuConfig,
    recorder: RecorderConfig,
    store: StoreConfig,
    keys: KeysConfig,
}

impl Served {
    fn load(options: &Options) -> Result<Self, Error> {
        let file = options.settings.as_deref();
        let recorder = RecorderConfig::load(file, settings::env)?;
        recorder.validate()?;
        let sfu: SfuConfig = settings::load("sfu", SfuConfig::FIELDS, file, settings::env)?;
        sfu.validate()?;
        let signaling = SignalingConfig::load(file, settings::env)?;
        let store = StoreConfig::load(file, settings::env)?;
        crate::serve::demand_protection(&signaling, &recorder, &[&store])?;
        let keys = KeysConfig::load(file, settings::env)?;
        Ok(Self { signaling, sfu, recorder, store, keys })
    }
}

/// What `anteroom serve` needs. Whatever else is wrong, each thing is looked at.
async fn look_at_served(options: &Options) -> Vec<Finding> {
    let served = match Served::load(options) {
        Ok(served) => served,
        Err(error) => return vec![Finding::new("settings that can be used", Some(error.to_string()))],
    };
    let mut findings = vec![Finding::new("settings that can be used", None)];
    let signaling = &served.signaling;
    findings.extend(database::look(signaling).await);
    findings.extend(files::look_at_keys(&signaling.key_dir, &served.keys));
    findings.extend(store::look(&served.store).await);
    findings.extend(files::look_at_spool(&served.recorder.spool));
    findings.push(files::look_at_folder("an audit spool that can be written", &signaling.audit.spool));
    findings.push(files::look_at_limits(signaling));
    findings.extend(files::look_at_backup(signaling.backup_stamp.as_deref()));
    findings.push(clock::look());
    let (is_running, pages) = network::look_at_pages(signaling.http);
    findings.push(pages);
    findings.extend(network::look_at_media(&served.sfu, is_running));
    findings.extend(tls::look(signaling));
    let keys = Keys::read(&signaling.key_dir).ok();
    findings.extend(network::look_at_public_address(signaling, keys.as_ref(), is_running).await);
    findings.extend(network::look_at_relays(&signaling.turn_urls).await);
    findings
}

/// What `anteroom dev` needs.
fn look_here(options: &Options) -> Vec<Finding> {
    vec![
        Finding::new(
            "PostgreSQL 15 or later",
            postgres::bin_dir().is_none().then(|| "on Debian: apt-get install postgresql-15".to_owned()),
        ),
        Finding::new(
            "setpriv, to run the database as an unprivileged user",
            (!std::path::Path::new("/usr/bin/setpriv").exists())
                .then(|| "on Debian: apt-get install util-linux".to_owned()),
        ),
        Finding::new(
            "a data directory that can be written",
            files::unwritable(&options.data_dir).map(|error| format!("{}: {error}", options.data_dir.display())),
        ),
        Finding::new(
            "a free address for the pages",
            TcpListener::bind(options.http).err().map(|error| {
                format!("{}: {error}. Is `anteroom dev` running already? Otherwise use --http", options.http)
            }),
        ),
        Finding::new(
            "UDP sockets, for sound and picture",
            UdpSocket::bind("0.0.0.0:0").err().map(|error| error.to_string()),
        ),
    ]
}

#[cfg(test)]
mod tests;
