//! Datagrams in batches: recvmmsg with kernel times and the address they came to, sendmmsg with the address they leave from.
#![allow(unsafe_code, reason = "recvmmsg, sendmmsg and their control messages have no safe form")]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::ptr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Messages per system call.
pub const BATCH: usize = 64;
const BATCH_LENGTH: libc::c_uint = 64;
/// Longer datagrams are cut, and passed over.
const MAX_DATAGRAM: usize = 2048;
/// What the kernel may keep for us: a generator that is held up must not be the one that loses.
const KERNEL_BUFFER: usize = 32 << 20;
/// Room for a timestamp and a packet-info, or for a packet-info and a segment size.
const CONTROL: usize = 128;
/// Bytes and segments that one UDP_SEGMENT message may hold.
const MAX_SEGMENTED: usize = 60_000;
const MAX_SEGMENTS: usize = 64;

/// One UDP socket in non-blocking mode.
#[derive(Debug)]
pub struct Port {
    socket: Socket,
    local: SocketAddr,
    /// Send runs of equal datagrams to one destination as one message (UDP_SEGMENT).
    pub segments: bool,
}

/// A received datagram.
#[derive(Clone, Copy, Debug)]
pub struct Received<'a> {
    /// Its sender.
    pub from: SocketAddr,
    /// The address of ours that it came to, over IPv4.
    pub to: Option<Ipv4Addr>,
    /// When the kernel took it in, by the wall clock.
    pub at: Option<Duration>,
    /// What it holds.
    pub bytes: &'a [u8],
}

/// Space for one batch; one serves many ports.
pub struct Inbox {
    data: Vec<[u8; MAX_DATAGRAM]>,
    names: [libc::sockaddr_storage; BATCH],
    control: [Control; BATCH],
}

#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

impl std::fmt::Debug for Inbox {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inbox").finish_non_exhaustive()
    }
}

impl Default for Inbox {
    fn default() -> Self {
        // SAFETY: all-zero bytes are a valid sockaddr_storage (it is plain old data).
        let name: libc::sockaddr_storage = unsafe { mem::zeroed() };
        Self { data: vec![[0; MAX_DATAGRAM]; BATCH], names: [name; BATCH], control: [Control([0; CONTROL]); BATCH] }
    }
}

/// Datagrams to send, one behind the other in one piece of memory.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    to: SocketAddr,
    from: Option<Ipv4Addr>,
    range: Range<usize>,
}

impl Outbox {
    /// Adds a datagram. `from` is the address of ours that it shall leave from, where the port has several.
    pub fn push(&mut self, to: SocketAddr, from: Option<Ipv4Addr>, datagram: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(datagram);
        self.entries.push(Entry { to, from, range: start..self.bytes.len() });
    }

    /// As [`Self::push`], of what `write` leaves behind the bytes that are there.
    pub fn push_with(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        if self.bytes.len() > start {
            self.entries.push(Entry { to, from: None, range: start..self.bytes.len() });
        }
    }

    /// How many datagrams wait.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none waits.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
    }
}

impl Port {
    /// Binds an address.
    ///
    /// # Errors
    /// When the system refuses the socket or the address.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), Some(Protocol::UDP))?;
        for (name, forced) in [(libc::SO_RCVBUF, libc::SO_RCVBUFFORCE), (libc::SO_SNDBUF, libc::SO_SNDBUFFORCE)] {
            // Only an administrator may go beyond the system's limit; others get what it allows.
            let size = libc::c_int::try_from(KERNEL_BUFFER).unwrap_or(libc::c_int::MAX);
            if !set_option(&socket, libc::SOL_SOCKET, forced, size) {
                set_option(&socket, libc::SOL_SOCKET, name, size);
            }
        }
        set_option(&socket, libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1);
        if address.is_ipv4() {
            set_option(&socket, libc::IPPROTO_IP, libc::IP_PKTINFO, 1);
        }
        socket.bind(&address.into())?;
        let local = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { socket, local, segments: false })
    }

    /// What was bound.
    #[must_use]
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// Reads up to one batch and hands each datagram on. Returns how many there were; [`BATCH`] means that there may be more.
    pub fn receive(&self, inbox: &mut Inbox, mut handle: impl FnMut(Received<'_>)) -> usize {
        let mut vectors: [libc::iovec; BATCH] =
            std::array::from_fn(|_| libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 });
        for (vector, data) in vectors.iter_mut().zip(inbox.data.iter_mut()) {
            *vector = libc::iovec { iov_base: data.as_mut_ptr().cast(), iov_len: MAX_DATAGRAM };
        }
        // SAFETY: all-zero bytes are a valid mmsghdr: null pointers with zero lengths.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for (((header, vector), name), control) in
            headers.iter_mut().zip(&mut vectors).zip(&mut inbox.names).zip(&mut inbox.control)
        {
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
            header.msg_hdr.msg_namelen = length_of::<libc::sockaddr_storage>();
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
        for ((header, data), name) in headers.iter().zip(&inbox.data).zip(&inbox.names).take(count) {
            if header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
                continue;
            }
            let Some(from) = address_of(name) else { continue };
            let (at, to) = control_of(&header.msg_hdr);
            let length = usize::try_from(header.msg_len).unwrap_or(0);
            if let Some(bytes) = data.get(..length) {
                handle(Received { from, to, at, bytes });
            }
        }
        count
    }

    /// Sends everything in order and empties the outbox. Returns how many datagrams the kernel did not take: media never waits.
    pub fn send(&self, outbox: &mut Outbox) -> usize {
        let mut unsent = 0;
        let mut rest = outbox.entries.as_slice();
        while !rest.is_empty() {
            let mut runs: [&[Entry]; BATCH] = [&[]; BATCH];
            let mut used = 0;
            while let (Some(run), false) = (runs.get_mut(used), rest.is_empty()) {
                let (head, tail) = rest.split_at(if self.segments { run_length(rest) } else { 1 });
                *run = head;
                used += 1;
                rest = tail;
            }
            unsent += self.send_runs(runs.get(..used).unwrap_or(&[]), &outbox.bytes);
        }
        outbox.clear();
        unsent
    }

    fn send_runs(&self, runs: &[&[Entry]], bytes: &[u8]) -> usize {
        let mut vectors: [libc::iovec; BATCH] =
            std::array::from_fn(|_| libc::iovec { iov_base: ptr::null_mut(), iov_len: 0 });
        let mut names: [Name; BATCH] = [Name::default(); BATCH];
        let mut control: [Control; BATCH] = [Control([0; CONTROL]); BATCH];
        // SAFETY: all-zero bytes are a valid mmsghdr: null pointers with zero lengths.
        let mut headers: [libc::mmsghdr; BATCH] = unsafe { mem::zeroed() };
        for ((((run, header), vector), name), control) in
            runs.iter().zip(&mut headers).zip(&mut vectors).zip(&mut names).zip(&mut control)
        {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            // A run lies in one piece, because entries are pushed one behind the other.
            let Some(whole) = bytes.get(first.range.start..last.range.end) else { continue };
            *vector = libc::iovec { iov_base: whole.as_ptr().cast_mut().cast(), iov_len: whole.len() };
            *name = Name::of(first.to);
            header.msg_hdr.msg_name = ptr::from_mut(&mut name.storage).cast();
            header.msg_hdr.msg_namelen = name.length;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            let segment = (run.len() > 1).then(|| u16::try_from(first.range.len()).unwrap_or(u16::MAX));
            put_control(&mut header.msg_hdr, control, first.from, segment);
        }
        let (mut done, mut unsent) = (0, 0);
        while let Some(pending) = headers.get_mut(done..runs.len()).filter(|pending| !pending.is_empty()) {
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
                done += sent;
                continue;
            }
            if io::Error::last_os_error().raw_os_error() != Some(libc::EINTR) {
                unsent += runs.get(done).map_or(0, |run| run.len());
                done += 1;
            }
        }
        unsent
    }
}

impl AsFd for Port {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// How many datagrams from the front go from one address to one destination with one size; the last may be shorter.
fn run_length(entries: &[Entry]) -> usize {
    let Some(head) = entries.first() else { return 0 };
    let mut total = 0;
    let mut length = 0;
    for next in entries.iter().take(MAX_SEGMENTS) {
        total += next.range.len();
        if next.to != head.to || next.from != head.from || next.range.len() > head.range.len() || total > MAX_SEGMENTED
        {
            break;
        }
        length += 1;
        if next.range.len() < head.range.len() {
            break;
        }
    }
    length.max(1)
}

fn set_option(socket: &Socket, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> bool {
    // SAFETY: the option value is a live c_int of the stated size.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, ptr::from_ref(&value).cast(), length_of::<libc::c_int>())
    };
    result == 0
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
    fn of(to: SocketAddr) -> Self {
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
            let ip = IpAddr::V4(Ipv4Addr::from(u32::from_be(v4.sin_addr.s_addr)));
            Some((ip, u16::from_be(v4.sin_port)).into())
        }
        libc::AF_INET6 => {
            // SAFETY: as above, for a sockaddr_in6.
            let v6 = unsafe { &*ptr::from_ref(name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(v6.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(v6.sin6_port), 0, v6.sin6_scope_id)))
        }
        _ => None,
    }
}

/// The kernel's time and the address that a datagram came to.
fn control_of(header: &libc::msghdr) -> (Option<Duration>, Option<Ipv4Addr>) {
    let (mut at, mut to) = (None, None);
    // SAFETY: the header came from recvmmsg with its control space still alive, so the walk stays inside it.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        while !message.is_null() {
            match ((*message).cmsg_level, (*message).cmsg_type) {
                (libc::SOL_SOCKET, libc::SCM_TIMESTAMPNS) => {
                    let stamp = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::timespec>());
                    if let (Ok(seconds), Ok(nanos)) = (u64::try_from(stamp.tv_sec), u32::try_from(stamp.tv_nsec)) {
                        at = Some(Duration::new(seconds, nanos));
                    }
                }
                (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                    let info = ptr::read_unaligned(libc::CMSG_DATA(message).cast::<libc::in_pktinfo>());
                    to = Some(Ipv4Addr::from(u32::from_be(info.ipi_addr.s_addr)));
                }
                _ => {}
            }
            message = libc::CMSG_NXTHDR(header, message);
        }
    }
    (at, to)
}

fn put_control(header: &mut libc::msghdr, control: &mut Control, from: Option<Ipv4Addr>, segment: Option<u16>) {
    /// Sizes of an in_pktinfo and of a u16.
    const INFO: libc::c_uint = 12;
    const SIZE: libc::c_uint = 2;
    const _: () = assert!(size_of::<libc::in_pktinfo>() == 12);
    // SAFETY: CMSG_SPACE only computes.
    let (info_space, size_space) = unsafe { (libc::CMSG_SPACE(INFO), libc::CMSG_SPACE(SIZE)) };
    let space = from.map_or(0, |_| info_space) + segment.map_or(0, |_| size_space);
    if space == 0 {
        return;
    }
    header.msg_control = control.0.as_mut_ptr().cast();
    header.msg_controllen = space as _;
    // SAFETY: both messages together take 56 of the 128 aligned bytes, and msg_controllen is exactly what is written, so neither
    // CMSG_FIRSTHDR nor CMSG_NXTHDR is null where it is used.
    unsafe {
        let mut message = libc::CMSG_FIRSTHDR(header);
        if let Some(from) = from {
            (*message).cmsg_level = libc::IPPROTO_IP;
            (*message).cmsg_type = libc::IP_PKTINFO;
            (*message).cmsg_len = libc::CMSG_LEN(INFO) as _;
            let source = libc::in_addr { s_addr: u32::from(from).to_be() };
            let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: libc::in_addr { s_addr: 0 } };
            ptr::write_unaligned(libc::CMSG_DATA(message).cast(), info);
            message = libc::CMSG_NXTHDR(header, message);
        }
        if let Some(segment) = segment {
            (*message).cmsg_level = libc::SOL_UDP;
            (*message).cmsg_type = libc::UDP_SEGMENT;
            (*message).cmsg_len = libc::CMSG_LEN(SIZE) as _;
            ptr::write_unaligned(libc::CMSG_DATA(message).cast::<u16>(), segment);
        }
    }
}

fn length_of<T>() -> libc::socklen_t {
    libc::socklen_t::try_from(size_of::<T>()).unwrap_or(libc::socklen_t::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Datagrams on the loopback are there when sendmmsg returns.
    fn all(port: &Port) -> Vec<(SocketAddr, Option<Ipv4Addr>, Vec<u8>, bool)> {
        let mut inbox = Inbox::default();
        let mut found = Vec::new();
        while port.receive(&mut inbox, |got| found.push((got.from, got.to, got.bytes.to_vec(), got.at.is_some()))) > 0 {
        }
        found
    }

    #[test]
    fn one_port_speaks_from_many_addresses() {
        let server = Port::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let client = Port::bind("0.0.0.0:0".parse().unwrap()).unwrap();
        let sources = [Ipv4Addr::new(127, 1, 0, 1), Ipv4Addr::new(127, 1, 0, 2)];
        let mut outbox = Outbox::default();
        for source in sources {
            outbox.push(server.local(), Some(source), &source.octets());
        }
        assert_eq!((client.send(&mut outbox), outbox.is_empty()), (0, true));
        let came = all(&server);
        assert_eq!(came.len(), 2);
        for ((from, _, bytes, stamped), source) in came.iter().zip(sources) {
            assert_eq!((from.ip(), &bytes[..], *stamped), (IpAddr::V4(source), &source.octets()[..], true));
            outbox.push(*from, None, bytes);
        }
        server.send(&mut outbox);
        for ((_, to, bytes, _), source) in all(&client).iter().zip(sources) {
            assert_eq!((*to, &bytes[..]), (Some(source), &source.octets()[..]));
        }
    }

    #[test]
    fn segmented_runs_arrive_as_they_were_pushed() {
        let server = Port::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let mut client = Port::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        client.segments = true;
        let mut outbox = Outbox::default();
        let lengths: Vec<usize> = (0..200).map(|at| if at % 6 == 5 { 300 } else { 1100 }).collect();
        for (number, length) in lengths.iter().enumerate() {
            outbox.push(server.local(), None, &vec![u8::try_from(number).unwrap(); *length]);
        }
        assert_eq!(client.send(&mut outbox), 0);
        let came = all(&server);
        assert_eq!(came.iter().map(|(_, _, bytes, _)| bytes.len()).collect::<Vec<_>>(), lengths);
        assert!(came.iter().enumerate().all(|(number, (_, _, bytes, _))| usize::from(bytes[0]) == number));
    }
}
