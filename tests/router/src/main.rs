//! `tun-router -- COMMAND`: runs a command in one namespace, joined to a second one by a network that is as bad as the command asks.
//!
//! The command finds the way to change the network in `ANTEROOM_ROUTER` (see `tun_router::control`), the other namespace in
//! `ANTEROOM_FAR` and the addresses in `ANTEROOM_NEAR_ADDRESS` and `ANTEROOM_FAR_ADDRESS`. When it ends, so does everything.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitCode, ExitStatus};

use clap::Parser;
use tokio::process::Command;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tun_router::control;
use tun_router::namespace::{Namespace, Side, sweep};
use tun_router::router::Router;

/// Tests send one order at a time; a few tests may do so at once.
const ORDERS: usize = 16;

/// Runs a command behind a bad network.
#[derive(Debug, Parser)]
struct Options {
    /// The same seed gives the same losses to the same packets.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// What to run, in the near namespace.
    #[arg(required = true, last = true)]
    command: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(run(&options))) {
        Ok(status) => ExitCode::from(code_of(status)),
        Err(error) => {
            eprintln!("tun-router: {error}");
            ExitCode::FAILURE
        }
    }
}

/// As a shell says it.
fn code_of(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

async fn run(options: &Options) -> io::Result<ExitStatus> {
    sweep()?;
    let (near, near_device) = Namespace::create(Side::Near)?;
    let (far, far_device) = Namespace::create(Side::Far)?;
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("control");
    let (orders, taken) = mpsc::channel(ORDERS);
    let control = tokio::spawn({
        let socket = socket.clone();
        async move { control::serve(&socket, orders).await }
    });
    let router = tokio::spawn(Router::new(near_device, far_device, options.seed).run(taken));

    let (program, arguments) = options.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::from(near.command(program));
    command.args(arguments).env("ANTEROOM_ROUTER", &socket).env("ANTEROOM_FAR", far.name());
    command.env("ANTEROOM_NEAR_ADDRESS", Side::Near.addresses()[0].to_string());
    command.env("ANTEROOM_FAR_ADDRESS", Side::Far.addresses()[0].to_string());
    // A command that outlives us would find its network gone.
    let mut child = command.kill_on_drop(true).spawn()?;
    // The terminal's Ctrl-C reaches the command too; a plain kill of ours must end it, gently.
    let (mut interrupted, mut terminated) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let status = tokio::select! {
        status = child.wait() => status?,
        ended = router => return Err(ended.map_or_else(io::Error::other, |ended| ended.err().unwrap_or_else(|| io::Error::other("the router ended")))),
        ended = control => return Err(ended.map_or_else(io::Error::other, |ended| ended.err().unwrap_or_else(|| io::Error::other("the control ended")))),
        _ = interrupted.recv() => child.wait().await?,
        _ = terminated.recv() => {
            end(&child);
            child.wait().await?
        }
    };
    Ok(status)
}

/// Asks the command to end.
fn end(child: &tokio::process::Child) {
    if let Some(process) = child.id() {
        drop(std::process::Command::new("kill").arg("-TERM").arg(process.to_string()).status());
    }
}
