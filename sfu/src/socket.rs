//! The shard's own UDP port, shared by all its Peers: batches in, batches out, and the wait for either. The only file with `unsafe`.
#![allow(
    unsafe_code,
    reason = "recvmmsg, sendmmsg and their control messages have no safe form with batches and UDP_SEGMENT"
)]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};
use std::ptr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use socket2::{Domain, Protocol, Socket, Type};

/// Messages per system call.
const BATCH: usize = 64;
const BATCH_LENGTH: libc::c_uint = 64;
/// No datagram of ours or of a browser is longer; a longer one is cut by the kernel and counted.
const MAX_DATAGRAM: usize = 2048;
/// Bytes that one UDP_SEGMENT message may hold (the UDP length field ends at 65,535).
const MAX_SEGMENTED: usize = 60_000;
/// Kernel limit of segments in one message.
const MAX_SEGMENTS: usize = 64;
/// Room for the bursts of a keyframe from many Peers between two turns of the loop.
const KERNEL_BUFFER: usize = 8 << 20;
/// Control space for one timestamp in, or one segment size out.
const CONTROL: usize = 64;

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
    segmentation: bool,
    receive: Box<ReceiveBatch>,
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

struct ReceiveBatch {
    data: Vec<[u8; MAX_DATAGRAM]>,
    names: [libc::sockaddr_storage; BATCH],
    control: [Control; BATCH],
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

/// One received datagram.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) from: SocketAddr,
    /// When the kernel took it off the wire, on the loop's clock.
    pub(crate) at: Instant,
    pub(crate) bytes: &'a [u8],
}

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
        // SAFETY: all-zero bytes are a valid sockaddr_storage (it is plain old data).
        let zero_name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Ok(Self {
            socket,
            local,
            v6,
            segmentation: true,
            receive: Box::new(ReceiveBatch {
                data: vec![[0; MAX_DATAGRAM]; BATCH],
                names: [zero_name; BATCH],
                control: [Control([0; CONTROL]); BATCH],
            }),
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

    /// Waits until a datagram is there, the waker rings, or the time is over.
    pub(crate) fn wait(&self, waker: RawFd, timeout: Duration) {
        let mut fds = [
            libc::pollfd { fd: self.socket.as_raw_fd(), events: libc::POLLIN, revents: 0 },
            libc::pollfd { fd: waker, events: libc::POLLIN, revents: 0 },
        ];
        let spec = libc::timespec {
            tv_sec: libc::time_t::try_from(timeout.as_secs()).unwrap_or(1),
            tv_nsec: libc::c_long::from(timeout.subsec_nanos().min(999_999_999)),
        };
        // SAFETY: both arrays live through the call, and the count is theirs. An interrupted wait is just a short one.
        unsafe { libc::ppoll(fds.as_mut_ptr(), 2, &raw const spec, ptr::null()) };
    }

    /// Reads up to one batch and hands each datagram on. Returns how many there were; 64 means there may be more.
    pub(crate) fn receive(&mut self, now: Instant, wall: SystemTime, mut handle: impl FnMut(Received<'_>)) -> usize {
        let batch = &mut *self.receive;
        let mut vectors: [libc::iovec; BATCH] =
            std::array::from_fn(|_| libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 });
        for (vector, data) in vectors.iter_mut().zip(batch.data.iter_mut()) {
            *vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: MAX_DATAGRAM };
        }
        // SAFETY: all-zero bytes are a valid mmsghdr: null pointers with zero lengths.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (((header, vector), name), control) in
            headers.iter_mut().zip(&mut vectors).zip(&mut batch.names).zip(&mut batch.control)
        {
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of_socklen::<libc::sockaddr_storage>();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        // SAFETY: every header points at its own live name, vector and control space of the stated sizes.
        let count = unsafe {
            libc::recvmmsg(
                self.socket.as_raw_fd(),
                headers.as_mut_ptr(),
                BATCH_LENGTH,
                libc::MSG_DONTWAIT,
                ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).unwrap_or(0);
        for ((header, data), name) in headers.iter().zip(&batch.data).zip(&batch.names).take(count) {
            self.counters.received += 1;
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                self.counters.truncated += 1;
                continue;
            }
            let Some(from) = address_of(name) else { continue };
            let at = kernel_time(&header.msg_hdr).map_or(now, |stamp| on_loop_clock(stamp, now, wall));
            let length = usize::try_from(header.msg_len).unwrap_or(0);
            if let Some(bytes) = data.get(..length) {
                handle(Received { from, at, bytes });
            }
        }
        count
    }

    /// Sends everything in order. Runs of equal-size datagrams to one destination go as one UDP_SEGMENT message.
    /// What the kernel does not take at once is dropped and counted: media never waits.
    pub(crate) fn send(&mut self, outgoing: &[(SocketAddr, Bytes)]) {
        let mut rest = outgoing;
        while !rest.is_empty() {
            let mut runs: [Run<'_>; BATCH] =
                [Run { to: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0), datagrams: &[] }; BATCH];
            let mut used = 0;
            let mut after = rest;
            while used < BATCH && !after.is_empty() {
                let length = if self.segmentation { run_length(after) } else { 1 };
                let (head, tail) = after.split_at(length);
                if let (Some(run), Some((to, _))) = (runs.get_mut(used), head.first()) {
                    *run = Run { to: *to, datagrams: head };
                }
                used += 1;
                after = tail;
            }
            let Some(batch) = runs.get(..used) else { return };
            self.send_runs(batch);
            rest = after;
        }
    }

    fn send_runs(&mut self, runs: &[Run<'_>]) {
        let mut vectors: Vec<libc::iovec> = Vec::with_capacity(runs.iter().map(|run| run.datagrams.len()).sum());
        let mut names: [Name; BATCH] = [Name::default(); BATCH];
        let mut control: [Control; BATCH] = [Control([0; CONTROL]); BATCH];
        // SAFETY: all-zero bytes are a valid mmsghdr: null pointers with zero lengths.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for run in runs {
            vectors.extend(
                run.datagrams
                    .iter()
                    .map(|(_, bytes)| libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }),
            );
        }
        let mut first = vectors.as_mut_ptr();
        for (((run, header), name), control) in runs.iter().zip(&mut headers).zip(&mut names).zip(&mut control) {
            *name = Name::of(run.to, self.v6);
            header.msg_hdr.msg_name = ptr::from_mut(&mut name.storage).cast();
            header.msg_hdr.msg_namelen = name.length;
            header.msg_hdr.msg_iov = first;
            header.msg_hdr.msg_iovlen = run.datagrams.len() as _;
            // SAFETY: the vectors were pushed run by run, so this stays inside them or one past their end.
            first = unsafe { first.add(run.datagrams.len()) };
            if let [(_, head), _, ..] = run.datagrams {
                let segment = u16::try_from(head.len()).unwrap_or(u16::MAX);
                put_segment_size(&mut header.msg_hdr, control, segment);
            }
        }
        let mut done = 0;
        while let (Some(pending), Some(waiting)) = (headers.get_mut(done..runs.len()), runs.get(done..)) {
            let Some(current) = waiting.first() else { break };
            // SAFETY: the headers point at live names, vectors and control space; `pending` is inside the array.
            let sent = unsafe {
                libc::sendmmsg(
                    self.socket.as_raw_fd(),
                    pending.as_mut_ptr(),
                    libc::c_uint::try_from(pending.len()).unwrap_or(1),
                    libc::MSG_DONTWAIT,
                )
            };
            if let Ok(sent @ 1..) = usize::try_from(sent) {
                self.counters.sent += waiting.iter().take(sent).map(|run| run.datagrams.len() as u64).sum::<u64>();
                done += sent;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // Some devices and old kernels refuse segmentation: go on without it, beginning with this run.
                Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP)
                    if self.segmentation && current.datagrams.len() > 1 =>
                {
                    tracing::warn!("the network device refuses UDP segmentation; sending datagrams one by one");
                    self.segmentation = false;
                    let unsent: Vec<_> = waiting.iter().flat_map(|run| run.datagrams.iter().cloned()).collect();
                    self.send(&unsent);
                    return;
                }
                // A full buffer stays full for the rest of the batch; any other error is about this destination alone.
                Some(libc::EAGAIN | libc::ENOBUFS) => {
                    self.counters.send_dropped += waiting.iter().map(|run| run.datagrams.len() as u64).sum::<u64>();
                    return;
                }
                _ => {
                    self.counters.send_dropped += current.datagrams.len() as u64;
                    done += 1;
                }
            }
        }
    }
}

#[derive(Clone, Copy)]
struct Run<'a> {
    to: SocketAddr,
    datagrams: &'a [(SocketAddr, Bytes)],
}

/// How many datagrams from the front go to one destination with one size; the last may be shorter.
fn run_length(outgoing: &[(SocketAddr, Bytes)]) -> usize {
    let Some((to, head)) = outgoing.first() else { return 0 };
    let mut total = 0;
    let mut length = 0;
    for (next_to, bytes) in outgoing.iter().take(MAX_SEGMENTS) {
        total += bytes.len();
        if next_to != to || bytes.len() > head.len() || bytes.is_empty() || total > MAX_SEGMENTED {
            break;
        }
        length += 1;
        if bytes.len() < head.len() {
            break;
        }
    }
    length.max(1)
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

#[derive(Clone, Copy)]
struct Name {
    storage: libc::sockaddr_storage,
    length: libc::socklen_t,
}

impl Default for Name {
    fn default() -> Self {
        // SAFETY: all-zero bytes are a valid sockaddr_storage.
        Self { storage: unsafe { mem::zeroed() }, length: 0 }
    }
}

impl Name {
    fn of(to: SocketAddr, v6: bool) -> Self {
        let to = match to {
            SocketAddr::V4(v4) if v6 => SocketAddr::V6(SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)),
            other => other,
        };
        let address = socket2::SockAddr::from(to);
        let mut name = Self { length: address.len(), ..Self::default() };
        // SAFETY: SockAddr holds `len` bytes of a sockaddr, never more than a sockaddr_storage.
        unsafe {
            ptr::copy_nonoverlapping(
                address.as_ptr().cast::<u8>(),
                ptr::from_mut(&mut name.storage).cast::<u8>(),
                address.len() as usize,
            );
        }
        name
    }
}

fn address_of(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the kernel wrote a sockaddr_in, which a sockaddr_storage has room and alignment for.
            let v4 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in>() };
            Some((Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)), u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a sockaddr_in6.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            let port = u16::from_be(v6.sin6_port);
            // The engine knows a Peer by the address that the browser has, so mapped addresses are IPv4 again.
            Some(match ip.to_ipv4_mapped() {
                Some(v4) => (v4, port).into(),
                None => SocketAddr::V6(SocketAddrV6::new(ip, port, 0, v6.sin6_scope_id)),
            })
        }
        _ => None,
    }
}

fn put_segment_size(header: &mut libc::msghdr, control: &mut Control, segment: u16) {
    /// A u16 holds the segment size.
    const SIZE: libc::c_uint = 2;
    header.msg_control = control.0.as_mut_ptr().cast();
    // SAFETY: CMSG_SPACE of two bytes is 24, within the 64 aligned bytes of the control space; CMSG_FIRSTHDR is then not null.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(SIZE) as _;
        let message = libc::CMSG_FIRSTHDR(header);
        (*message).cmsg_level = libc::SOL_UDP;
        (*message).cmsg_type = libc::UDP_SEGMENT;
        (*message).cmsg_len = libc::CMSG_LEN(SIZE) as _;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<u16>(), segment);
    }
}

fn kernel_time(header: &libc::msghdr) -> Option<Duration> {
    // SAFETY: the header came from recvmmsg with its control space still alive, so the walk stays inside it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            if (*message).cmsg_level == libc::SOL_SOCKET && (*message).cmsg_type == libc::SCM_TIMESTAMPNS {
                let stamp = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::timespec>());
                return Some(Duration::new(u64::try_from(stamp.tv_sec).ok()?, u32::try_from(stamp.tv_nsec).ok()?));
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    None
}

/// A kernel timestamp (wall clock) on the loop's monotonic clock. A wall clock that was set meanwhile must not throw
/// packets about: ages beyond a second are not believed.
fn on_loop_clock(stamp: Duration, now: Instant, wall: SystemTime) -> Instant {
    let age = wall.duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(stamp);
    if age > Duration::from_secs(1) { now } else { now.checked_sub(age).unwrap_or(now) }
}

fn size_of_socklen<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

#[cfg(test)]
#[path = "socket/tests.rs"]
mod tests;
