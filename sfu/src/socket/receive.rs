//! Batches in: `recvmmsg` into buffers that are set up once, with the kernel's time of arrival.
#![allow(unsafe_code, reason = "recvmmsg and its control messages have no safe form")]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use engine::transport::{Local, Path};

use super::{BATCH, CONTROL, Control, SocketCounters, size_of_socklen};

/// No datagram of ours or of a browser is longer; a longer one is cut by the kernel and counted.
const MAX_DATAGRAM: usize = 2048;

/// One received datagram.
#[derive(Debug)]
pub(crate) struct Received<'a> {
    pub(crate) from: SocketAddr,
    /// Which address of ours it reached.
    pub(crate) local: Option<IpAddr>,
    /// When the kernel took it off the wire, on the loop's clock.
    pub(crate) at: Instant,
    pub(crate) bytes: &'a [u8],
}

impl Received<'_> {
    /// The way it came, which answers take back.
    pub(crate) const fn path(&self) -> Path {
        Path { remote: self.from, local: Local::Udp(self.local) }
    }
}

/// Everything that the kernel writes into. It lives in a box and never moves, because the headers point into it.
struct Space {
    data: [[u8; MAX_DATAGRAM]; BATCH],
    names: [libc::sockaddr_storage; BATCH],
    control: [Control; BATCH],
    vectors: [libc::iovec; BATCH],
    headers: [libc::mmsghdr; BATCH],
}

/// The buffers of one port.
pub(super) struct ReceiveBatch {
    space: Box<Space>,
    /// Headers that the last call changed and that have to be made ready again.
    used: usize,
}

// SAFETY: the pointers inside point into the same box, which moves between threads with them.
unsafe impl Send for ReceiveBatch {}

impl ReceiveBatch {
    pub(super) fn new() -> Self {
        // SAFETY: all-zero bytes are valid for every field: plain data, null pointers, zero lengths.
        let space: Box<Space> = unsafe { Box::<Space>::new_zeroed().assume_init() };
        let mut batch = Self { space, used: 0 };
        let Space { data, names, control, vectors, headers } = &mut *batch.space;
        for ((((header, vector), data), name), control) in
            headers.iter_mut().zip(vectors).zip(data).zip(names).zip(control)
        {
            *vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: MAX_DATAGRAM };
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = size_of_socklen::<libc::sockaddr_storage>();
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        batch
    }

    /// Reads up to one batch. Returns how many datagrams there were.
    pub(super) fn receive(
        &mut self,
        socket: BorrowedFd<'_>,
        (now, wall): (Instant, SystemTime),
        counters: &mut SocketCounters,
        mut handle: impl FnMut(Received<'_>),
    ) -> usize {
        let Space { data, names, headers, .. } = &mut *self.space;
        for header in headers.iter_mut().take(self.used) {
            header.msg_hdr.msg_namelen = size_of_socklen::<libc::sockaddr_storage>();
            header.msg_hdr.msg_controllen = CONTROL as _;
        }
        let length = libc::c_uint::try_from(BATCH).unwrap_or(1);
        // SAFETY: every header points at its own live name, vector and control space of the stated sizes.
        let count = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), length, libc::MSG_DONTWAIT, ptr::null_mut())
        };
        let count = usize::try_from(count).unwrap_or(0);
        self.used = count;
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        for ((header, data), name) in headers.iter().zip(data.iter()).zip(names.iter()).take(count) {
            counters.received += 1;
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                counters.truncated += 1;
                continue;
            }
            let Some(from) = address_of(name) else { continue };
            let told = read_control(&header.msg_hdr);
            let at = told.stamp.map_or(now, |stamp| on_loop_clock(stamp, now, wall));
            let length = usize::try_from(header.msg_len).unwrap_or(0);
            if let Some(bytes) = data.get(..length) {
                handle(Received { from, local: told.local, at, bytes });
            }
        }
        count
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

/// What the kernel tells beside the bytes.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    /// Of the wall clock.
    stamp: Option<Duration>,
    local: Option<IpAddr>,
}

fn read_control(header: &libc::msghdr) -> Told {
    let mut told = Told::default();
    // SAFETY: the header came from recvmmsg with its control space still alive, so the walk stays inside it; each message holds
    // what its level and type say.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let stamp = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::timespec>());
                    let (seconds, nanos) = (u64::try_from(stamp.tv_sec), u32::try_from(stamp.tv_nsec));
                    told.stamp = seconds.ok().zip(nanos.ok()).map(|(seconds, nanos)| Duration::new(seconds, nanos));
                }
                // A dual-stack socket tells of IPv4 in the mapped form.
                (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                    let info = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::in6_pktinfo>());
                    told.local = Some(IpAddr::from(info.ipi6_addr.s6_addr).to_canonical());
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::in_pktinfo>());
                    told.local = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)).into());
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    told
}

/// A kernel timestamp on the loop's monotonic clock; both it and `wall` count from 1970. A wall clock that was set meanwhile
/// must not throw packets about: ages beyond a second are not believed.
pub(super) fn on_loop_clock(stamp: Duration, now: Instant, wall: Duration) -> Instant {
    let age = wall.saturating_sub(stamp);
    if age > Duration::from_secs(1) { now } else { now.checked_sub(age).unwrap_or(now) }
}

const _: () = assert!(size_of::<Space>() < 1 << 18);
