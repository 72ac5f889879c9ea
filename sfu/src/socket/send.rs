//! Batches out: `sendmmsg`, with `UDP_SEGMENT` for what goes to one destination in one size.
#![allow(unsafe_code, reason = "sendmmsg and UDP_SEGMENT have no safe form")]

use std::io;
use std::mem;
use std::net::{IpAddr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use engine::Outgoing;
use engine::transport::{Local, Path};

use super::{BATCH, CONTROL, Control, SocketCounters, size_of_socklen};

/// Bytes that one UDP_SEGMENT message may hold (the UDP length field ends at 65,535).
const MAX_SEGMENTED: usize = 60_000;
/// Kernel limit of segments in one message.
const MAX_SEGMENTS: u32 = 64;
/// Places in which the open run of a destination is found. Destinations that share a place only get shorter runs.
const PLACES: usize = 256;
/// No run, no datagram.
const NONE: u32 = u32::MAX;

/// Datagrams to one destination, all of one size but for a shorter last one, in their order.
#[derive(Clone, Copy)]
struct Run {
    to: Path,
    first: u32,
    last: u32,
    count: u32,
    /// Of each datagram but the last.
    size: usize,
    total: usize,
    is_closed: bool,
}

/// What is sent, with the next datagram of the same run for each of them.
#[derive(Clone, Copy)]
struct Chained<'a> {
    outgoing: &'a Outgoing,
    next: &'a [u32],
}

/// What `sendmmsg` reads. It lives in a box and does not move while the headers point into it.
struct Space {
    names: [libc::sockaddr_storage; BATCH],
    control: [Control; BATCH],
    headers: [libc::mmsghdr; BATCH],
}

/// Room for putting batches together, kept from one to the next.
pub(super) struct SendBatch {
    space: Box<Space>,
    vectors: Vec<libc::iovec>,
    /// Where in `vectors` each message of a batch begins.
    begins: Vec<usize>,
    runs: Vec<Run>,
    next: Vec<u32>,
    places: [u32; PLACES],
    v6: bool,
    segmentation: bool,
}

// SAFETY: the pointers inside are written before each call and read by nobody after it.
unsafe impl Send for SendBatch {}

impl SendBatch {
    pub(super) fn new(v6: bool) -> Self {
        Self {
            // SAFETY: all-zero bytes are valid for every field: plain data, null pointers, zero lengths.
            space: unsafe { Box::<Space>::new_zeroed().assume_init() },
            vectors: Vec::new(),
            begins: Vec::new(),
            runs: Vec::new(),
            next: Vec::new(),
            places: [NONE; PLACES],
            v6,
            segmentation: true,
        }
    }

    /// Sends everything; what goes to one destination stays in order. What the kernel does not take at once is dropped and
    /// counted: media never waits.
    pub(super) fn send(&mut self, socket: BorrowedFd<'_>, outgoing: &Outgoing, counters: &mut SocketCounters) {
        self.find_runs(outgoing);
        let (runs, next) = (mem::take(&mut self.runs), mem::take(&mut self.next));
        let chained = Chained { outgoing, next: &next };
        for batch in runs.chunks(BATCH) {
            if !self.send_runs(socket, batch, chained, counters) {
                break;
            }
        }
        (self.runs, self.next) = (runs, next);
    }

    /// Chains the datagrams of each run. The first datagram of a run decides its place in the order.
    fn find_runs(&mut self, outgoing: &Outgoing) {
        self.runs.clear();
        self.next.clear();
        self.places.fill(NONE);
        for ((path, bytes), index) in outgoing.iter().zip(0..NONE) {
            let to = path;
            self.next.push(NONE);
            // Those of TCP connections have another way out.
            if path.is_tcp() {
                continue;
            }
            let Some(place) = self.places.get_mut(place_of(&to.remote)) else { continue };
            let open = self.runs.get_mut(*place as usize).filter(|run| run.to == to && self.segmentation);
            if let Some(run) = open
                && run.takes(bytes.len())
            {
                run.is_closed = bytes.len() < run.size;
                run.count += 1;
                run.total += bytes.len();
                if let Some(next) = self.next.get_mut(run.last as usize) {
                    *next = index;
                }
                run.last = index;
                continue;
            }
            *place = u32::try_from(self.runs.len()).unwrap_or(NONE);
            let (size, total) = (bytes.len(), bytes.len());
            self.runs.push(Run { to, first: index, last: index, count: 1, size, total, is_closed: size == 0 });
        }
    }

    /// False when the kernel takes no more.
    fn send_runs(
        &mut self,
        socket: BorrowedFd<'_>,
        runs: &[Run],
        chained: Chained<'_>,
        counters: &mut SocketCounters,
    ) -> bool {
        self.vectors.clear();
        self.begins.clear();
        for run in runs {
            self.begins.push(self.vectors.len());
            gather(run, chained, &mut self.vectors);
        }
        let Space { names, control, headers } = &mut *self.space;
        let mut ends = self.begins.iter().copied().skip(1).chain([self.vectors.len()]);
        for ((((run, header), name), control), begin) in
            runs.iter().zip(headers.iter_mut()).zip(names).zip(control).zip(&self.begins)
        {
            let end = ends.next().unwrap_or(*begin);
            let vectors = self.vectors.get_mut(*begin..end).unwrap_or_default();
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = put_name(name, run.to.remote, self.v6);
            header.msg_hdr.msg_iov = vectors.as_mut_ptr();
            header.msg_hdr.msg_iovlen = vectors.len() as _;
            let segment = (run.count > 1).then(|| u16::try_from(run.size).unwrap_or(u16::MAX));
            put_control(&mut header.msg_hdr, control, segment, run.to.local, self.v6);
        }
        let mut done = 0;
        while let (Some(pending @ [_, ..]), Some(waiting @ [current, ..])) =
            (headers.get_mut(done..runs.len()), runs.get(done..))
        {
            let length = libc::c_uint::try_from(pending.len()).unwrap_or(1);
            // SAFETY: the headers point at live names, vectors and control space; `pending` is inside the array.
            let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), pending.as_mut_ptr(), length, libc::MSG_DONTWAIT) };
            if let Ok(sent @ 1..) = usize::try_from(sent) {
                counters.sent += waiting.iter().take(sent).map(|run| u64::from(run.count)).sum::<u64>();
                done += sent;
                continue;
            }
            let error = io::Error::last_os_error();
            match error.raw_os_error() {
                Some(libc::EINTR) => {}
                // Perhaps the address of ours that this run leaves from is gone: segmentation is not to blame for that.
                Some(libc::EINVAL) if current.count > 1 && current.to.local != Local::Udp(None) => {
                    let singles: Vec<Run> = current.singles(chained).collect();
                    let after: Vec<Run> = waiting.iter().skip(1).copied().collect();
                    return singles
                        .chunks(BATCH)
                        .chain(after.chunks(BATCH))
                        .all(|batch| self.send_runs(socket, batch, chained, counters));
                }
                // Some devices and old kernels refuse segmentation: go on without it, beginning with this run.
                Some(libc::EIO | libc::EINVAL | libc::EOPNOTSUPP) if self.segmentation && current.count > 1 => {
                    tracing::warn!("the network device refuses UDP segmentation; sending datagrams one by one");
                    self.segmentation = false;
                    let singles: Vec<Run> = waiting.iter().flat_map(|run| run.singles(chained)).collect();
                    return singles.chunks(BATCH).all(|batch| self.send_runs(socket, batch, chained, counters));
                }
                // A full buffer stays full for the rest of the batch; any other error is about this destination alone.
                Some(libc::EAGAIN | libc::ENOBUFS) => {
                    counters.send_dropped += waiting.iter().map(|run| u64::from(run.count)).sum::<u64>();
                    return false;
                }
                _ => {
                    counters.send_dropped += u64::from(current.count);
                    done += 1;
                }
            }
        }
        true
    }
}

impl Run {
    const fn takes(&self, length: usize) -> bool {
        !self.is_closed
            && length > 0
            && length <= self.size
            && self.count < MAX_SEGMENTS
            && self.total + length <= MAX_SEGMENTED
    }

    /// Every datagram of it as a run of one.
    fn singles(self, chained: Chained<'_>) -> impl Iterator<Item = Self> {
        chained.follow(&self).map(move |(index, bytes)| Self {
            to: self.to,
            first: index,
            last: index,
            count: 1,
            size: bytes.len(),
            total: bytes.len(),
            is_closed: true,
        })
    }
}

impl<'a> Chained<'a> {
    /// The datagrams of a run, and their places.
    fn follow(self, run: &Run) -> impl Iterator<Item = (u32, &'a [u8])> + use<'a> {
        let mut next = run.first;
        std::iter::from_fn(move || {
            let index = usize::try_from(next).ok()?;
            let (_, bytes) = self.outgoing.get(index)?;
            let after = self.next.get(index).copied().unwrap_or(NONE);
            Some((mem::replace(&mut next, after), bytes))
        })
    }
}

/// The memory of a run, in as few pieces as it lies in.
fn gather(run: &Run, chained: Chained<'_>, vectors: &mut Vec<libc::iovec>) {
    let begin = vectors.len();
    for (_, bytes) in chained.follow(run) {
        let mut own = vectors.iter_mut().skip(begin);
        let is_behind =
            |last: &&mut libc::iovec| ptr::eq(last.iov_base.cast::<u8>().wrapping_add(last.iov_len), bytes.as_ptr());
        match own.next_back().filter(is_behind) {
            Some(last) => last.iov_len += bytes.len(),
            None => vectors.push(libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() }),
        }
    }
}

/// Browsers of one clinic share an address, and their ports are near each other: the port's low bits spread best.
fn place_of(to: &SocketAddr) -> usize {
    let address = match to {
        SocketAddr::V4(v4) => u32::from(*v4.ip()),
        SocketAddr::V6(v6) => v6.ip().segments().iter().fold(0, |sum, part| sum ^ u32::from(*part)),
    };
    let mixed = u32::from(to.port()) ^ address ^ address >> 8 ^ address >> 16;
    mixed as usize % PLACES
}

/// Writes a destination as the socket wants it: a dual-stack one speaks of IPv4 addresses in their mapped form.
fn put_name(name: &mut libc::sockaddr_storage, to: SocketAddr, v6: bool) -> libc::socklen_t {
    match to {
        SocketAddr::V4(v4) if v6 => put_v6(name, SocketAddrV6::new(v4.ip().to_ipv6_mapped(), v4.port(), 0, 0)),
        SocketAddr::V4(v4) => put_v4(name, v4),
        SocketAddr::V6(v6) => put_v6(name, v6),
    }
}

fn put_v4(name: &mut libc::sockaddr_storage, to: SocketAddrV4) -> libc::socklen_t {
    // SAFETY: all-zero bytes are a valid sockaddr_in; some systems have more fields than are set here.
    let mut address: libc::sockaddr_in = unsafe { mem::zeroed() };
    address.sin_family = libc::sa_family_t::try_from(libc::AF_INET).unwrap_or_default();
    address.sin_port = to.port().to_be();
    address.sin_addr = libc::in_addr { s_addr: u32::from(*to.ip()).to_be() };
    // SAFETY: a sockaddr_storage has room and alignment for a sockaddr_in.
    unsafe { ptr::from_mut(name).cast::<libc::sockaddr_in>().write(address) };
    size_of_socklen::<libc::sockaddr_in>()
}

fn put_v6(name: &mut libc::sockaddr_storage, to: SocketAddrV6) -> libc::socklen_t {
    // SAFETY: as for IPv4.
    let mut address: libc::sockaddr_in6 = unsafe { mem::zeroed() };
    address.sin6_family = libc::sa_family_t::try_from(libc::AF_INET6).unwrap_or_default();
    address.sin6_port = to.port().to_be();
    address.sin6_addr = libc::in6_addr { s6_addr: to.ip().octets() };
    address.sin6_scope_id = to.scope_id();
    // SAFETY: a sockaddr_storage has room and alignment for a sockaddr_in6.
    unsafe { ptr::from_mut(name).cast::<libc::sockaddr_in6>().write(address) };
    size_of_socklen::<libc::sockaddr_in6>()
}

/// Says in how large pieces the kernel must cut, and from which address of ours they leave.
fn put_control(header: &mut libc::msghdr, control: &mut Control, segment: Option<u16>, local: Local, v6: bool) {
    header.msg_control = ptr::null_mut();
    header.msg_controllen = 0;
    let mut used = 0;
    if let Some(segment) = segment {
        used += put_message(control, used, (libc::SOL_UDP, libc::UDP_SEGMENT), segment);
    }
    match local {
        Local::Udp(Some(ip)) if v6 => {
            let octets = match ip {
                IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
                IpAddr::V6(v6) => v6.octets(),
            };
            let info = libc::in6_pktinfo { ipi6_addr: libc::in6_addr { s6_addr: octets }, ipi6_ifindex: 0 };
            used += put_message(control, used, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), info);
        }
        Local::Udp(Some(IpAddr::V4(v4))) => {
            let any = libc::in_addr { s_addr: 0 };
            let ours = libc::in_addr { s_addr: u32::from(v4).to_be() };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: ours, ipi_addr: any };
            used += put_message(control, used, (libc::IPPROTO_IP, libc::IP_PKTINFO), info);
        }
        Local::Udp(_) | Local::Tcp(_) => {}
    }
    if used > 0 {
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = used as _;
    }
}

/// Writes one control message behind `used` bytes. Returns the bytes that it takes.
fn put_message<T>(control: &mut Control, used: usize, (level, kind): (libc::c_int, libc::c_int), value: T) -> usize {
    let length = size_of_socklen::<T>();
    // SAFETY: pure arithmetic.
    let (space, told) = unsafe { (libc::CMSG_SPACE(length) as usize, libc::CMSG_LEN(length)) };
    const _: () = assert!(CONTROL >= 24 + 40);
    debug_assert!(used + space <= CONTROL, "a segment size and an address fit the control space");
    // SAFETY: the space holds both messages, see above; it is aligned for a cmsghdr, and so is every multiple of CMSG_SPACE behind its beginning.
    unsafe {
        let message = control.0.as_mut_ptr().add(used).cast::<libc::cmsghdr>();
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = told as _;
        ptr::write_unaligned(libc::CMSG_DATA(message).cast::<T>(), value);
    }
    space
}
