//! The router between two real namespaces: what a test asks for is what packets meet.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test, in real time through a real network")]

use std::fs::File;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Set in the process that runs behind the router.
const INSIDE: &str = "ANTEROOM_ROUTER_TEST_INSIDE";

/// This machine can make namespaces and TUN devices. Where continuous integration says that it must, it must.
fn is_possible() -> bool {
    let possible = rustix::process::geteuid().is_root() && Path::new("/dev/net/tun").exists();
    let required = std::env::var_os("ANTEROOM_REQUIRE_TUN").is_some();
    assert!(possible || !required, "this needs root and /dev/net/tun, and ANTEROOM_REQUIRE_TUN is set");
    possible
}

#[test]
fn packets_meet_the_network_that_was_asked_for() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    if !is_possible() {
        eprintln!("SKIPPED: the router needs root and /dev/net/tun");
        return;
    }
    let status = Command::new(env!("CARGO_BIN_EXE_tun-router"))
        .arg("--")
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "packets_meet_the_network_that_was_asked_for", "--nocapture"])
        .env(INSIDE, "1")
        .status()
        .unwrap();
    assert!(status.success(), "{status}");
}

#[test]
fn what_a_killed_router_leaves_the_next_one_sweeps() {
    if !is_possible() {
        eprintln!("SKIPPED: the router needs root and /dev/net/tun");
        return;
    }
    let router = env!("CARGO_BIN_EXE_tun-router");
    let mut killed = Command::new(router)
        .args(["--", "sh", "-c", "echo $ANTEROOM_FAR; exec cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut far = String::new();
    BufReader::new(killed.stdout.take().unwrap()).read_line(&mut far).unwrap();
    let left = Path::new("/run/netns").join(far.trim());
    assert!(left.exists());
    killed.kill().unwrap();
    // Its command reads to the end of our pipe, which is now.
    killed.wait().unwrap();
    assert!(left.exists(), "a killed process cannot tidy up");
    assert!(Command::new(router).args(["--", "true"]).status().unwrap().success());
    assert!(!left.exists());
    // The command's own answer is the router's.
    assert_eq!(Command::new(router).args(["--", "sh", "-c", "exit 7"]).status().unwrap().code(), Some(7));
}

/// The way to the router.
struct Control(BufReader<UnixStream>);

impl Control {
    fn open() -> Self {
        Self(BufReader::new(UnixStream::connect(std::env::var_os("ANTEROOM_ROUTER").unwrap()).unwrap()))
    }

    fn ask(&mut self, order: &str) -> serde_json::Value {
        writeln!(self.0.get_mut(), "{order}").unwrap();
        let mut answer = String::new();
        self.0.read_line(&mut answer).unwrap();
        serde_json::from_str(&answer).unwrap()
    }
}

/// Runs something in the server's namespace.
fn in_far<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> T {
    let far = std::env::var("ANTEROOM_FAR").unwrap();
    let namespace = File::open(Path::new("/run/netns").join(far)).unwrap();
    thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
        run()
    })
    .join()
    .unwrap()
}

/// Sends every datagram back, from the server's side.
fn echo(address: &'static str) -> SocketAddr {
    let socket = in_far(move || UdpSocket::bind((address, 0)).unwrap());
    let at = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    });
    at
}

/// Sends so many at once and counts what comes back, and how long the first took.
fn exchange(to: SocketAddr, count: usize) -> (usize, Duration) {
    let socket = UdpSocket::bind(if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" }).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
    let begin = Instant::now();
    for _ in 0..count {
        socket.send(&[0; 100]).unwrap();
        // The loss below is the router's, not that of a full socket.
        thread::sleep(Duration::from_micros(200));
    }
    let mut first = Duration::ZERO;
    let mut buffer = [0; 200];
    for n in 0..count {
        if socket.recv(&mut buffer).is_err() {
            return (n, first);
        }
        if n == 0 {
            first = begin.elapsed();
        }
    }
    (count, first)
}

fn inside() {
    let mut control = Control::open();
    let [v4, v6] = [echo("10.78.0.1"), echo("fd78::1")];
    assert_eq!(exchange(v4, 200).0, 200);
    assert_eq!(exchange(v6, 200).0, 200);

    control.ask(r#"{"both": {"delayMs": 60}}"#);
    let (back, took) = exchange(v4, 1);
    assert_eq!(back, 1);
    // There is no upper bound here: the machine may be busy.
    assert!(took >= Duration::from_millis(120), "{took:?}");

    control.ask(r#"{"up": {"loss": 0.5}, "down": {}}"#);
    let (back, _) = exchange(v4, 400);
    assert!((120..280).contains(&back), "{back} of 400");

    let counters = control.ask(r#"{"both": {"block": ["udp"]}}"#);
    assert!(counters["up"]["lost"].as_u64().unwrap() >= 120, "{counters}");
    assert_eq!(exchange(v4, 3).0, 0);
    assert_eq!(exchange(v6, 3).0, 0);
    let listener = in_far(|| TcpListener::bind("10.78.0.1:0").unwrap());
    let tcp = TcpStream::connect_timeout(&listener.local_addr().unwrap(), Duration::from_secs(5));
    assert!(tcp.is_ok(), "TCP passes: {tcp:?}");

    assert!(control.ask(r#"{"both": {"delay": 1}}"#)["error"].as_str().unwrap().contains("unknown field"));
    control.ask(r#"{"both": {"down": true}}"#);
    assert_eq!(exchange(v4, 3).0, 0);
    control.ask(r#"{"both": {}}"#);
    assert_eq!(exchange(v4, 200).0, 200);
}
