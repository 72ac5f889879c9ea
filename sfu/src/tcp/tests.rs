//! Frames and connections against ordinary sockets of the standard library.

use std::net::TcpListener;

use rustix::event::{EventfdFlags, eventfd};

use super::limit::Limits;
use super::*;

fn frame(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).unwrap().to_be_bytes()[..], bytes].concat()
}

#[allow(clippy::disallowed_methods, reason = "real sockets carry real time")]
fn now() -> Instant {
    Instant::now()
}

/// A shard's connections, one of them, and the browser's end of it.
fn pair() -> (TcpPaths, TcpDesk, TcpStream) {
    let waker = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap());
    let (paths, desk) = TcpPaths::new(&waker, now()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let browser = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    browser.set_nodelay(true).unwrap();
    let (stream, remote) = listener.accept().unwrap();
    stream.set_nonblocking(true).unwrap();
    let place = Limits::default().take(remote.ip()).unwrap();
    desk.leave(Arrival { stream, remote, held: frame(b"first"), place });
    (paths, desk, browser)
}

/// Takes turns until so many frames came.
fn receive(paths: &mut TcpPaths, wanted: usize) -> Vec<Vec<u8>> {
    let mut got = Vec::new();
    while got.len() < wanted {
        wait(paths);
        let before = got.len();
        paths.receive(now(), |path, bytes| {
            assert!(path.is_tcp());
            got.push(bytes.to_vec());
        });
        assert!(got.len() > before || !paths.connections.is_empty(), "the connection was closed");
    }
    got
}

fn wait(paths: &TcpPaths) {
    let mut fds = [rustix::event::PollFd::new(&paths.poll, rustix::event::PollFlags::IN)];
    let patience = Timespec { tv_sec: 5, tv_nsec: 0 };
    assert!(rustix::event::poll(&mut fds, Some(&patience)).unwrap() > 0, "nothing came within five seconds");
}

#[test]
fn frames_come_whole_however_the_stream_is_cut() {
    let (mut paths, _desk, mut browser) = pair();
    assert_eq!(receive(&mut paths, 1), [b"first"]);
    let wanted: Vec<Vec<u8>> = (1..=40_u8).map(|n| vec![n; usize::from(n) * 37]).collect();
    let mut stream: Vec<u8> = wanted.iter().flat_map(|bytes| frame(bytes)).collect();
    stream.splice(0..0, [0, 0]);
    let mut got = Vec::new();
    // Each cut is read before the next is sent, so that frames really come in pieces.
    for piece in stream.chunks(701) {
        browser.write_all(piece).unwrap();
        wait(&paths);
        paths.receive(now(), |_, bytes| got.push(bytes.to_vec()));
    }
    while got.len() < wanted.len() {
        got.extend(receive(&mut paths, 1));
    }
    assert_eq!(got, wanted, "the empty frame is no datagram");
    assert_eq!(paths.counters.received, 41);
}

#[test]
fn a_length_that_no_frame_has_closes_the_connection() {
    let (mut paths, _desk, mut browser) = pair();
    receive(&mut paths, 1);
    browser.write_all(&[0xff, 0xff, 1, 2, 3]).unwrap();
    wait(&paths);
    paths.receive(now(), |_, _| unreachable!("nothing is a frame"));
    assert!(paths.connections.is_empty());
    assert_eq!((paths.counters.closed, paths.counters.connections), (1, 0));
    assert_eq!(browser.read(&mut [0; 8]).unwrap_or(0), 0, "the browser sees the end");
}

#[test]
fn one_that_does_not_read_loses_media_and_holds_nobody_up() {
    let (mut paths, _desk, mut browser) = pair();
    receive(&mut paths, 1);
    let payload = [7; 1200];
    let mut turns = 0;
    while paths.counters.dropped == 0 {
        for _ in 0..64 {
            paths.send(0, &payload);
        }
        paths.flush();
        turns += 1;
        assert!(turns < 10_000, "the queue has no bound");
    }
    let connection = paths.connections.get(&0).unwrap();
    assert!(connection.is_stuck && connection.queued.len() <= MAX_QUEUED);
    paths.send(99, &payload);
    // It reads again: what was queued comes whole and in order, and the way is free.
    let queued = paths.counters.sent;
    let reader = std::thread::spawn(move || {
        let mut frames = 0;
        let mut header = [0; 2];
        let mut bytes = [0; 1200];
        while frames < queued {
            browser.read_exact(&mut header).unwrap();
            assert_eq!(u16::from_be_bytes(header), 1200);
            browser.read_exact(&mut bytes).unwrap();
            assert_eq!(bytes, payload);
            frames += 1;
        }
    });
    while paths.connections.get(&0).is_some_and(|connection| connection.is_stuck) {
        wait(&paths);
        paths.receive(now(), |_, _| {});
    }
    reader.join().unwrap();
}

#[test]
fn what_nothing_binds_is_closed_after_a_while() {
    let (mut paths, _desk, _browser) = pair();
    receive(&mut paths, 1);
    let later = now() + UNBOUND_FOR + SWEEP;
    paths.sweep(later, |path| path == Path::tcp(path.remote, 0));
    assert_eq!(paths.counters.connections, 1, "a bound one stays");
    paths.sweep(later + SWEEP, |_| false);
    assert_eq!((paths.counters.connections, paths.counters.closed), (0, 1));
}
