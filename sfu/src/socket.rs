//! The shard's own UDP port, shared by all its Peers: batches in, batches out, and the wait for either. The only place with `unsafe`.
#![allow(unsafe_code, reason = "ppoll and socket options that no crate offers")]

mod receive;
mod send;

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant, SystemTime};

use engine::Outgoing;
use socket2::{Domain, Protocol, Socket, Type};

use receive::ReceiveBatch;
pub(crate) use receive::Received;
use send::SendBatch;

/// Messages per system call.
pub(crate) const BATCH: usize = 64;
/// Room for the bursts of a keyframe from many Peers between two turns of the loop.
const KERNEL_BUFFER: usize = 8 << 20;
/// Control space for a timestamp and an address of ours in, or a segment size and an address of ours out.
const CONTROL: usize = 96;

/// What the socket did, for metrics.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct SocketCounters {
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Longer than any datagram may be.
    pub(crate) truncated: u64,
    /// The kernel's send buffer was full or it refused the destination: media drops, and NACK repairs.
    pub(crate) send_dropped: u64,
}

/// One UDP port in non-blocking mode.
pub(crate) struct UdpPort {
    socket: Socket,
    local: SocketAddr,
    /// True for a dual-stack socket, which speaks of IPv4 addresses in their mapped form.
    v6: bool,
    receive: ReceiveBatch,
    send: SendBatch,
    pub(crate) counters: SocketCounters,
}

impl std::fmt::Debug for UdpPort {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UdpPort")
            .field("port", &self.local.port())
            .field("counters", &self.counters)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

impl UdpPort {
    /// Binds the wildcard address, IPv6 and IPv4 together where the machine has IPv6.
    pub(crate) fn bind(port: u16) -> io::Result<Self> {
        let (socket, v6) = match bind_family(Domain::IPV6, port) {
            Ok(socket) => (socket, true),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => return Err(error),
            Err(_) => (bind_family(Domain::IPV4, port)?, false),
        };
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        let on: libc::c_int = 1;
        // SAFETY: the option value is a live c_int of the stated size.
        let stamped = unsafe {
            libc::setsockopt(
                socket.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_TIMESTAMPNS,
                ptr::from_ref(&on).cast(),
                size_of_socklen::<libc::c_int>(),
            )
        };
        if stamped != 0 {
            tracing::warn!("the kernel gives no receive timestamps; arrival times are those of the read");
        }
        let (level, name) =
            if v6 { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) } else { (libc::IPPROTO_IP, libc::IP_PKTINFO) };
        // SAFETY: as above.
        let addressed = unsafe {
            let (value, length) = (ptr::from_ref(&on).cast(), size_of_socklen::<libc::c_int>());
            libc::setsockopt(socket.as_raw_fd(), level, name, value, length)
        };
        if addressed != 0 {
            tracing::warn!("the kernel does not say which address was reached; answers leave as routing has it");
        }
        Ok(Self {
            socket,
            local,
            v6,
            receive: ReceiveBatch::new(),
            send: SendBatch::new(v6),
            counters: SocketCounters::default(),
        })
    }

    /// The port that was bound.
    pub(crate) fn port(&self) -> u16 {
        self.local.port()
    }

    /// True when IPv6 peers can be reached.
    pub(crate) fn speaks_v6(&self) -> bool {
        self.v6
    }

    /// Waits until a datagram is there, the waker rings, or the time is over. Tells whether the waker rang.
    pub(crate) fn wait(&self, waker: RawFd, timeout: Duration) -> bool {
        let mut fds = [
            libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: waker, events: libc::POLLIN, revents: 0 },
        ];
        let timeout = timespec(timeout);
        // SAFETY: both arrays live through the call, and the count is theirs. An interrupted wait is just a short one.
        unsafe { libc::ppoll(fds.as_mut_ptr(), 2, &raw const timeout, ptr::null()) };
        fds.iter().skip(1).any(|fd| fd.revents != 0)
    }

    /// Lets datagrams gather in the kernel for a while; the waker ends it. Tells whether it rang.
    pub(crate) fn gather(&self, waker: RawFd, time: Duration) -> bool {
        let mut fd = libc::pollfd { fd: waker, events: libc::POLLIN, revents: 0 };
        let time = timespec(time);
        // SAFETY: the descriptor and the time live through the call, and the count is one.
        unsafe { libc::ppoll(&raw mut fd, 1, &raw const time, ptr::null()) };
        fd.revents != 0
    }

    /// Reads up to one batch and hands each datagram on. Returns how many there were; 64 means there may be more.
    pub(crate) fn receive(&mut self, now: Instant, wall: SystemTime, handle: impl FnMut(Received<'_>)) -> usize {
        self.receive.receive(self.socket.as_fd(), (now, wall), &mut self.counters, handle)
    }

    /// Sends everything; what goes to one destination stays in order, and as much of it as possible goes as one UDP_SEGMENT
    /// message. What the kernel does not take at once is dropped and counted: media never waits.
    pub(crate) fn send(&mut self, outgoing: &Outgoing) {
        self.send.send(self.socket.as_fd(), outgoing, &mut self.counters);
    }
}

fn timespec(time: Duration) -> libc::timespec {
    libc::timespec {
        tv_sec: libc::time_t::try_from(time.as_secs()).unwrap_or(1),
        tv_nsec: libc::c_long::from(time.subsec_nanos().min(999_999_999)),
    }
}

fn bind_family(domain: Domain, port: u16) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
    let any: SocketAddr = if domain == Domain::IPV6 {
        socket.set_only_v6(false)?;
        (Ipv6Addr::UNSPECIFIED, port).into()
    } else {
        (Ipv4Addr::UNSPECIFIED, port).into()
    };
    // The kernel may grant less than asked (net.core.rmem_max); the loop then drops earlier and counts it.
    socket.set_recv_buffer_size(KERNEL_BUFFER)?;
    socket.set_send_buffer_size(KERNEL_BUFFER)?;
    socket.bind(&any.into())?;
    Ok(socket)
}

fn size_of_socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

#[cfg(test)]
#[path = "socket/tests.rs"]
mod tests;
