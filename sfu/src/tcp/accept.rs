//! The one listener of the node: reads who each connection is for, and leaves it with that Peer's shard.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use engine::transport::{Class, classify, find_shard, find_ufrag};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::limit::{Limits, Place};
use super::{Arrival, KERNEL_BUFFER, TcpDesk};

/// How long a connection may take to say whom it is for.
const SPEAK_WITHIN: Duration = Duration::from_secs(5);
/// The longest first frame: a binding request.
const FIRST_FRAME: usize = 1280;
/// Connections that the kernel holds for us.
const BACKLOG: i32 = 256;
/// Without descriptors there is nothing to do but wait until some come back.
const PAUSE: Duration = Duration::from_millis(100);

/// What the acceptor refused, for metrics.
#[derive(Debug, Default)]
pub(crate) struct AcceptCounters {
    /// Too many at once, in all or from one address.
    pub(crate) refused: AtomicU64,
    /// Said nothing in time, or nothing that names a Peer.
    pub(crate) strangers: AtomicU64,
}

/// Opens the port: IPv6 and IPv4 together where the machine has IPv6.
pub(crate) fn bind(port: u16) -> io::Result<std::net::TcpListener> {
    match bind_family(Domain::IPV6, port) {
        Err(error) if error.kind() != io::ErrorKind::AddrInUse => bind_family(Domain::IPV4, port),
        result => result,
    }
}

fn bind_family(domain: Domain, port: u16) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    let any: SocketAddr = if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
        (Ipv6Addr::UNSPECIFIED, port).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, port).into()
    };
    // A restart finds connections of before in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&any.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Takes connections until told to stop.
#[derive(Debug)]
pub(crate) struct Acceptor {
    pub(crate) listener: std::net::TcpListener,
    pub(crate) desks: Arc<Vec<TcpDesk>>,
    pub(crate) counters: Arc<AcceptCounters>,
}

impl Acceptor {
    pub(crate) async fn run(self, stop: CancellationToken) {
        let Ok(listener) = TcpListener::from_std(self.listener) else { return };
        let limits = Limits::default();
        // Bounded by the places.
        let mut waiting = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                Some(_) = waiting.join_next() => continue,
                accepted = listener.accept() => accepted,
            };
            let Ok((stream, remote)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let Some(place) = limits.take(remote.ip()) else {
                self.counters.refused.fetch_add(1, Ordering::Relaxed);
                continue;
            };
            let remote = SocketAddr::new(remote.ip().to_canonical(), remote.port());
            let (desks, counters) = (Arc::clone(&self.desks), Arc::clone(&self.counters));
            waiting.spawn(async move {
                let introduced = tokio::time::timeout(SPEAK_WITHIN, introduce(stream, remote, place, &desks)).await;
                if !matches!(introduced, Ok(Some(()))) {
                    counters.strangers.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
    }
}

/// Reads the first frame, which must be STUN for a Peer of ours, and leaves the connection with its shard.
async fn introduce(mut stream: TcpStream, remote: SocketAddr, mut place: Place, desks: &[TcpDesk]) -> Option<()> {
    let mut held = Vec::with_capacity(256);
    let shard = loop {
        if let Some(found) = find(&held) {
            break found?;
        }
        let read = (&mut stream).take(FIRST_FRAME as u64).read_buf(&mut held).await.ok()?;
        if read == 0 {
            return None;
        }
    };
    let desk = desks.get(shard)?;
    let stream = stream.into_std().ok()?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_nodelay(true).ok()?;
    socket.set_send_buffer_size(KERNEL_BUFFER).ok()?;
    place.settle();
    desk.leave(Arrival { stream, remote, held, place });
    Some(())
}

/// Whose it is, as soon as the first frame is whole; `Some(None)` when it is nobody's.
fn find(held: &[u8]) -> Option<Option<usize>> {
    let (header, tail) = held.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*header));
    if !(20..=FIRST_FRAME).contains(&length) {
        return Some(None);
    }
    let frame = tail.get(..length)?;
    let is_stun = classify(frame) == Class::Stun;
    Some(find_ufrag(frame).filter(|_| is_stun).and_then(find_shard))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_first_frame_of_stun_finds_a_shard() {
        let mut stun = vec![0, 1, 0, 12, 0x21, 0x12, 0xa4, 0x42];
        stun.extend([0; 12]);
        stun.extend([0, 6, 0, 6]);
        stun.extend(b"Cxyz:a\0\0");
        let framed = [&u16::try_from(stun.len()).unwrap().to_be_bytes()[..], &stun].concat();
        assert_eq!(find(&framed), Some(Some(2)));
        for cut in 0..framed.len() {
            assert_eq!(find(&framed[..cut]), None, "{cut} bytes");
        }
        assert_eq!(find(b"GET / HTTP/1.1\r\n"), Some(None));
        assert_eq!(find(&[0xff, 0xff]), Some(None));
        assert_eq!(find(&[0, 20, 22, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Some(None));
    }
}
