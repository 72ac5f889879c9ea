//! `anteroom doctor`: what this machine lacks, in words, with the command that helps.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;

use crate::Error;
use crate::dev::postgres;
use crate::turn;

/// What `anteroom doctor` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
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
struct Finding {
    what: &'static str,
    /// The trouble and its remedy.
    trouble: Option<String>,
}

/// Prints one line for each thing looked at; fails when something is missing.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let findings = look(options);
    let mut out = std::io::stdout().lock();
    for finding in &findings {
        match &finding.trouble {
            None => writeln!(out, "ok       {}", finding.what)?,
            Some(trouble) => writeln!(out, "MISSING  {}: {trouble}", finding.what)?,
        }
    }
    match findings.iter().filter(|finding| finding.trouble.is_some()).count() {
        0 => Ok(()),
        1 => Err("one thing is missing".into()),
        n => Err(format!("{n} things are missing").into()),
    }
}

fn look(options: &Options) -> Vec<Finding> {
    let mut findings = look_here(options);
    if let Some(file) = &options.turn_config {
        findings.push(Finding { what: "a relay that reaches nothing but the media node", trouble: turn::look(file) });
    }
    if let Some(address) = options.turn {
        findings.push(Finding { what: "the relay's address", trouble: turn::reach(address) });
    }
    findings
}

fn look_here(options: &Options) -> Vec<Finding> {
    vec![
        Finding {
            what: "PostgreSQL 15 or later",
            trouble: postgres::bin_dir().is_none().then(|| "on Debian: apt-get install postgresql-15".to_owned()),
        },
        Finding {
            what: "setpriv, to run the database as an unprivileged user",
            trouble: (!std::path::Path::new("/usr/bin/setpriv").exists())
                .then(|| "on Debian: apt-get install util-linux".to_owned()),
        },
        Finding {
            what: "a data directory that can be written",
            trouble: unwritable(&options.data_dir).map(|error| format!("{}: {error}", options.data_dir.display())),
        },
        Finding {
            what: "a free address for the pages",
            trouble: TcpListener::bind(options.http).err().map(|error| {
                format!("{}: {error}. Is `anteroom dev` running already? Otherwise use --http", options.http)
            }),
        },
        Finding {
            what: "UDP sockets, for sound and picture",
            trouble: UdpSocket::bind("0.0.0.0:0").err().map(|error| error.to_string()),
        },
    ]
}

/// Why nothing can be written there. The folder is not made: its nearest parent that exists is tried.
fn unwritable(dir: &std::path::Path) -> Option<std::io::Error> {
    let absolute = match std::path::absolute(dir) {
        Ok(path) => path,
        Err(error) => return Some(error),
    };
    let existing = absolute.ancestors().find(|path| path.exists())?;
    let probe = existing.join(format!(".anteroom-probe-{}", std::process::id()));
    std::fs::File::create_new(&probe).and_then(|_| std::fs::remove_file(&probe)).err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_address_is_named_with_a_remedy() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let options = Options {
            data_dir: dir.path().join("new"),
            http: taken.local_addr().unwrap(),
            turn_config: None,
            turn: None,
        };
        let findings = look(&options);
        let address = findings.iter().find(|finding| finding.what.contains("address")).unwrap();
        assert!(address.trouble.as_deref().unwrap().contains("--http"));
        assert!(findings.iter().find(|finding| finding.what.contains("data directory")).unwrap().trouble.is_none());
        assert!(!dir.path().join("new").exists());
    }
}
