//! `junk-flood`: sends junk from many addresses to a media port of this machine, at a steady rate, for a bounded time.

mod junk;

use std::io::{self, IoSlice, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
use socket2::{Domain, Protocol, Socket, Type};

/// Datagrams of one system call.
const BATCH: usize = 32;
/// Different datagrams; they are sent in turn.
const DATAGRAMS: usize = 7 * 64;
/// A sender that the machine kept from its work does not make up for more than this.
const LATEST: Duration = Duration::from_millis(20);
const MAX_SECONDS: u64 = 600;
const MAX_RATE: u32 = 5_000_000;

/// Sends junk to a media port on this machine.
#[derive(Debug, Parser)]
struct Options {
    /// Where to: a loopback address, because a flood must not leave the machine.
    #[arg(long)]
    to: SocketAddr,
    /// Datagrams a second.
    #[arg(long, default_value_t = 200_000)]
    rate: u32,
    /// For how long.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// From how many addresses.
    #[arg(long, default_value_t = 64)]
    sources: u8,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("junk-flood: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> io::Result<()> {
    if !options.to.ip().is_loopback() || !options.to.is_ipv4() {
        return Err(io::Error::other("`--to` must be an IPv4 loopback address"));
    }
    if options.rate == 0 || options.rate > MAX_RATE || options.seconds > MAX_SECONDS || options.sources == 0 {
        return Err(io::Error::other("this rate, time or number of sources is out of range"));
    }
    let sources = (1..=options.sources).map(|host| source(host, options.to)).collect::<io::Result<Vec<_>>>()?;
    let datagrams = junk::datagrams(DATAGRAMS, 1);
    let flood = Flood { sources, datagrams, rate: options.rate, length: Duration::from_secs(options.seconds) };
    flood.send(|done| {
        let said = serde_json::json!({
            "sent": done.sent,
            "refused": done.refused,
            "seconds": done.took.as_secs_f64(),
            "perSecond": f64_of(done.sent) / done.took.as_secs_f64().max(0.001),
        });
        writeln!(io::stdout(), "{said}")
    })
}

/// A socket with an address of its own, as far as the server can tell.
fn source(host: u8, to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.bind(&SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 77, host)), 0).into())?;
    socket.connect(&to.into())?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

struct Flood {
    sources: Vec<Socket>,
    datagrams: Vec<Vec<u8>>,
    rate: u32,
    length: Duration,
}

struct Done {
    sent: u64,
    /// The kernel did not take them.
    refused: u64,
    took: Duration,
}

#[expect(clippy::disallowed_methods, reason = "the flood runs in real time")]
fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::cast_precision_loss, reason = "counts of one run fit a double")]
const fn f64_of(count: u64) -> f64 {
    count as f64
}

impl Flood {
    /// Tells once a second, and at the end, what was sent so far: whoever ends us early has the last word before.
    fn send(&self, mut tell: impl FnMut(&Done) -> io::Result<()>) -> io::Result<()> {
        let begin = now();
        let mut told = Duration::ZERO;
        let each = Duration::from_secs(1) * u32::try_from(BATCH).unwrap_or(1) / self.rate;
        let mut due = begin;
        let mut done = Done { sent: 0, refused: 0, took: Duration::ZERO };
        let mut turns = self.sources.iter().cycle().zip(self.datagrams.chunks(BATCH).cycle());
        loop {
            let at = now();
            done.took = at.duration_since(begin);
            if done.took >= self.length {
                return tell(&done);
            }
            if done.took - told >= Duration::from_secs(1) {
                told = done.took;
                tell(&done)?;
            }
            if at < due {
                // Sleeping ends late by more than one batch takes, so several are sent after each.
                thread::sleep((due - at).max(Duration::from_millis(1)));
                continue;
            }
            if at - due > LATEST {
                due = at;
            }
            due += each;
            let Some((socket, datagrams)) = turns.next() else { return Ok(()) };
            let taken = send_batch(socket, datagrams);
            done.sent += taken;
            done.refused += u64::try_from(datagrams.len()).unwrap_or(0) - taken;
        }
    }
}

fn send_batch(socket: &Socket, datagrams: &[Vec<u8>]) -> u64 {
    let slices: Vec<[IoSlice<'_>; 1]> = datagrams.iter().map(|bytes| [IoSlice::new(bytes)]).collect();
    let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> =
        slices.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<MMsgHdr<'_>> =
        slices.iter().zip(&mut controls).map(|(slice, control)| MMsgHdr::new(slice, control)).collect();
    // An answer of the server to an address that nobody reads, or a port that is closed, shows as an error of the next call.
    let taken = sendmmsg(socket, &mut messages, SendFlags::DONTWAIT).unwrap_or(0);
    u64::try_from(taken).unwrap_or(0)
}
