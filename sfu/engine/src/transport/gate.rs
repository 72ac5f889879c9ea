//! The gate in front of `rtc-dtls`: whatever arrives, the crate sees one whole, unfragmented, expected record at a time.
//!
//! The crate reassembles fragments by recursion, counts empty ones as nothing, queues records of the next epoch without limit and
//! lets a plaintext alert end a handshake. So none of these reaches it: the gate reassembles handshake messages itself, knows which
//! message a client must send next (RFC 6347 section 4.2.4), holds CCS and Finished back until the keys exist, and drops the rest.
//! It also verifies cookies itself, without any state, so that the crate hears of a client only when the client has shown that it
//! receives at its address: a stranger's ClientHello costs nothing and spoils nothing.

use std::collections::VecDeque;

use bytes::{BufMut, BytesMut};

use super::hello::{self, ClientHello, Cookie};

/// The longest handshake message that is reassembled, in bytes. Browsers' largest, a ClientHello, is about 1,500.
pub const MAX_MESSAGE: usize = 16 * 1024;
/// What all unfinished messages of one Peer may hold together, in bytes.
pub const MAX_PENDING: usize = 32 * 1024;
/// Into how many separate pieces a message may be torn at once; a fragment that would make one more is dropped.
const MAX_PIECES: usize = 16;
/// How far ahead of the expected message fragments are kept.
const LOOK_AHEAD: u16 = 3;
/// Records of epoch 1 that wait for the keys; a ninth replaces the oldest.
const MAX_HELD: usize = 8;
/// Records of epoch 1 that the crate may see before it is connected.
const MAX_FINISHED: u32 = 64;
/// Body of an encrypted Finished: 8 bytes of nonce, 24 of message, 16 of tag, with the only cipher suite that we allow.
const FINISHED_LENGTH: usize = 48;
/// Records that are looked at in one datagram.
const MAX_RECORDS: usize = 32;

const RECORD_HEADER: usize = 13;
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;

const CLIENT_HELLO: u8 = 1;

/// The types a client's plaintext messages must have, by message sequence: two ClientHello (without and with cookie), Certificate,
/// ClientKeyExchange, CertificateVerify.
const EXPECTED: [u8; 5] = [CLIENT_HELLO, CLIENT_HELLO, 11, 16, 15];

/// What the gate has to say next.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// A first ClientHello came: answer with this HelloVerifyRequest. The gate has forgotten it already.
    Verify(BytesMut),
    /// A ClientHello came back with our cookie: two records for the crate, which wants to see both ClientHellos.
    Hello {
        /// The first ClientHello, made from the second. The crate's answer to it must not be sent.
        first: BytesMut,
        /// The second ClientHello.
        second: BytesMut,
        /// Whether AEAD_AES_128_GCM is offered for SRTP.
        gcm: bool,
    },
    /// Another record for the crate.
    Record(BytesMut),
}

/// What one datagram contained besides records that were let through.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// The client repeats what we have consumed: our last flight was lost.
    pub repeated: bool,
    /// Records or datagrams dropped.
    pub dropped: u32,
}

#[derive(Debug)]
struct Partial {
    sequence: u16,
    kind: u8,
    /// As long as the message will be.
    bytes: Vec<u8>,
    /// Disjoint, sorted, not touching.
    have: Vec<(usize, usize)>,
}

/// The gate of one Peer, server side.
#[derive(Debug)]
pub struct Gate {
    /// Message sequence that the client must send next: 0 until a ClientHello brought our cookie, then 2 and more.
    next: u16,
    pending: Vec<Partial>,
    /// Random, the same for all hellos of this Peer: whichever HelloVerifyRequest reaches the client is the right one.
    cookie: Cookie,
    /// Our own record numbers of epoch 0, so that the crate's replay window never meets a stranger's.
    records: u64,
    change_cipher_spec: bool,
    change_cipher_spec_passed: bool,
    held: VecDeque<BytesMut>,
    finished_passed: u32,
    connected: bool,
    closed: bool,
}

impl Gate {
    /// A gate that expects a ClientHello.
    #[must_use]
    pub const fn new(cookie: Cookie) -> Self {
        Self {
            next: 0,
            pending: Vec::new(),
            cookie,
            records: 0,
            change_cipher_spec: false,
            change_cipher_spec_passed: false,
            held: VecDeque::new(),
            finished_passed: 0,
            connected: false,
            closed: false,
        }
    }

    /// Takes one datagram. Then call [`Self::poll`] until it has nothing.
    pub fn handle_datagram(&mut self, bytes: &[u8]) -> Seen {
        let mut seen = Seen::default();
        if self.closed {
            seen.dropped = 1;
            return seen;
        }
        let mut rest = bytes;
        for _ in 0..MAX_RECORDS {
            if rest.is_empty() {
                return seen;
            }
            let Some((record, tail)) = Record::read(rest) else {
                seen.dropped += 1;
                return seen;
            };
            rest = tail;
            let known = if self.connected {
                self.handle_connected(&record, &mut seen)
            } else {
                self.handle_handshaking(&record, &mut seen)
            };
            if !known {
                seen.dropped += 1;
            }
        }
        seen.dropped += u32::from(!rest.is_empty());
        seen
    }

    /// The next record for the crate. `keys_ready` says whether the crate can decrypt epoch 1 by now: ask it after each step.
    pub fn poll(&mut self, keys_ready: bool) -> Option<Step> {
        if self.closed {
            return None;
        }
        if self.connected {
            return self.held.pop_front().map(Step::Record);
        }
        while let Some(at) = self.find_whole() {
            let partial = self.pending.swap_remove(at);
            if let Some(step) = self.pass(&partial) {
                return Some(step);
            }
        }
        if !keys_ready {
            return None;
        }
        if self.change_cipher_spec && !self.change_cipher_spec_passed {
            self.change_cipher_spec_passed = true;
            let mut record = self.record_header(CHANGE_CIPHER_SPEC, 1);
            record.put_u8(1);
            return Some(Step::Record(record));
        }
        if !self.change_cipher_spec_passed || self.finished_passed >= MAX_FINISHED {
            return None;
        }
        let record = self.held.pop_front()?;
        self.finished_passed += 1;
        Some(Step::Record(record))
    }

    /// How many of the client's plaintext messages were let through.
    #[must_use]
    pub const fn passed(&self) -> u16 {
        self.next
    }

    /// The handshake is complete: from now on only encrypted alerts and application data pass.
    pub fn connect(&mut self) {
        self.connected = true;
        self.pending = Vec::new();
        self.held.clear();
    }

    /// Nothing passes any more.
    pub fn close(&mut self) {
        self.closed = true;
        self.pending = Vec::new();
        self.held = VecDeque::new();
    }

    /// Bytes held for unfinished messages and waiting records.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.pending.iter().map(|partial| partial.bytes.len()).sum::<usize>()
            + self.held.iter().map(BytesMut::len).sum::<usize>()
    }

    fn handle_connected(&mut self, record: &Record<'_>, seen: &mut Seen) -> bool {
        match (record.kind, record.epoch) {
            (ALERT | APPLICATION_DATA, 1) => {
                // Drained after each datagram, so bounded by the records of one.
                self.held.push_back(BytesMut::from(record.whole));
                true
            }
            (CHANGE_CIPHER_SPEC | HANDSHAKE, _) => {
                seen.repeated = true;
                true
            }
            _ => false,
        }
    }

    fn handle_handshaking(&mut self, record: &Record<'_>, seen: &mut Seen) -> bool {
        match (record.kind, record.epoch) {
            (HANDSHAKE, 0) => self.handle_fragments(record.body, seen),
            (CHANGE_CIPHER_SPEC, 0) if record.body == [1] => {
                self.change_cipher_spec = true;
                true
            }
            (HANDSHAKE, 1) if record.body.len() == FINISHED_LENGTH => {
                if self.held.len() >= MAX_HELD {
                    self.held.pop_front();
                    seen.dropped += 1;
                }
                self.held.push_back(BytesMut::from(record.whole));
                true
            }
            _ => false,
        }
    }

    /// Takes the fragments of one plaintext handshake record.
    fn handle_fragments(&mut self, body: &[u8], seen: &mut Seen) -> bool {
        let mut rest = body;
        while !rest.is_empty() {
            let Some((fragment, tail)) = Fragment::read(rest) else { return false };
            rest = tail;
            if fragment.sequence == 1 && self.next == 2 {
                seen.repeated = true;
            } else if !self.keep(&fragment) {
                seen.dropped += 1;
            }
        }
        true
    }

    fn keep(&mut self, fragment: &Fragment<'_>) -> bool {
        let sequence = fragment.sequence;
        if EXPECTED.get(usize::from(sequence)) != Some(&fragment.kind)
            || !(self.next..=self.next + LOOK_AHEAD).contains(&sequence)
            || fragment.length > MAX_MESSAGE
            || fragment.body.is_empty()
        {
            return false;
        }
        // When two disagree about a message, the later one is believed: a forged fragment then delays a handshake by one repeat.
        self.pending.retain(|partial| partial.sequence != sequence || partial.bytes.len() == fragment.length);
        if !self.pending.iter().any(|partial| partial.sequence == sequence) {
            let others: usize = self.pending.iter().map(|partial| partial.bytes.len()).sum();
            if others + fragment.length > MAX_PENDING {
                if sequence != self.next {
                    return false;
                }
                self.pending.clear();
            }
            let bytes = vec![0; fragment.length];
            self.pending.push(Partial { sequence, kind: fragment.kind, bytes, have: Vec::new() });
        }
        self.pending
            .iter_mut()
            .find(|partial| partial.sequence == sequence)
            .is_some_and(|partial| partial.insert(fragment.offset, fragment.body))
    }

    /// A whole message that may pass now: the expected one, or either ClientHello at the beginning.
    fn find_whole(&self) -> Option<usize> {
        let expected = self.next..=if self.next == 0 { 1 } else { self.next };
        self.pending.iter().position(|partial| expected.contains(&partial.sequence) && partial.is_whole())
    }

    /// Lets a whole message through, unless it is a ClientHello that could only fail.
    fn pass(&mut self, partial: &Partial) -> Option<Step> {
        if partial.kind != CLIENT_HELLO {
            self.next += 1;
            return Some(Step::Record(self.message(partial.kind, partial.sequence, &partial.bytes)));
        }
        let hello = ClientHello::read(&partial.bytes).filter(ClientHello::is_acceptable)?;
        if partial.sequence == 0 {
            return Some(Step::Verify(BytesMut::from(&hello::write_hello_verify_request(&self.cookie)[..])));
        }
        // Forged or stale: in the crate a wrong cookie would end the handshake.
        if hello.cookie != self.cookie {
            return None;
        }
        let gcm = hello.gcm;
        let first = self.message(CLIENT_HELLO, 0, &hello::without_cookie(&partial.bytes)?);
        let second = self.message(CLIENT_HELLO, 1, &partial.bytes);
        self.next = 2;
        self.pending.retain(|other| other.sequence >= 2);
        Some(Step::Hello { first, second, gcm })
    }

    /// A record with one whole handshake message.
    fn message(&mut self, kind: u8, sequence: u16, body: &[u8]) -> BytesMut {
        let mut record = self.record_header(HANDSHAKE, 12 + body.len());
        record.put_u8(kind);
        put_u24(&mut record, body.len());
        record.put_u16(sequence);
        put_u24(&mut record, 0);
        put_u24(&mut record, body.len());
        record.extend_from_slice(body);
        record
    }

    fn record_header(&mut self, kind: u8, length: usize) -> BytesMut {
        let mut record = BytesMut::with_capacity(RECORD_HEADER + length);
        record.put_slice(&[kind, 254, 253]);
        // Epoch 0 and the 48-bit record number; a handshake has six of them.
        record.put_u64(self.records);
        self.records += 1;
        record.put_u16(u16::try_from(length).unwrap_or(u16::MAX));
        record
    }
}

impl Partial {
    fn is_whole(&self) -> bool {
        self.have.first() == Some(&(0, self.bytes.len()))
    }

    /// Copies a piece in; false when it does not fit or would tear the message into too many pieces.
    fn insert(&mut self, offset: usize, body: &[u8]) -> bool {
        let end = offset + body.len();
        let Some(place) = self.bytes.get_mut(offset..end) else { return false };
        let mut have = Vec::with_capacity(self.have.len() + 1);
        let (mut from, mut to) = (offset, end);
        for &(start, stop) in &self.have {
            if stop < from || to < start {
                have.push((start, stop));
            } else {
                from = from.min(start);
                to = to.max(stop);
            }
        }
        have.push((from, to));
        if have.len() > MAX_PIECES {
            return false;
        }
        have.sort_unstable();
        place.copy_from_slice(body);
        self.have = have;
        true
    }
}

/// One DTLS record, whole.
struct Record<'a> {
    kind: u8,
    epoch: u16,
    body: &'a [u8],
    whole: &'a [u8],
}

impl<'a> Record<'a> {
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let &[kind, major, _, epoch_high, epoch_low, _, _, _, _, _, _, length_high, length_low, ..] = bytes else {
            return None;
        };
        if major != 254 {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        let (whole, tail) = bytes.split_at_checked(RECORD_HEADER + length)?;
        let body = whole.get(RECORD_HEADER..).filter(|body| !body.is_empty())?;
        Some((Self { kind, epoch: u16::from_be_bytes([epoch_high, epoch_low]), body, whole }, tail))
    }
}

/// One fragment of a handshake message (RFC 6347 section 4.2.2), its lengths consistent and its bytes all present.
struct Fragment<'a> {
    kind: u8,
    length: usize,
    sequence: u16,
    offset: usize,
    body: &'a [u8],
}

impl<'a> Fragment<'a> {
    fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let &[kind, l2, l1, l0, s1, s0, o2, o1, o0, f2, f1, f0, ..] = bytes else { return None };
        let length = u24(l2, l1, l0);
        let offset = u24(o2, o1, o0);
        let (body, tail) = bytes.get(12..)?.split_at_checked(u24(f2, f1, f0))?;
        if offset + body.len() > length {
            return None;
        }
        Some((Self { kind, length, sequence: u16::from_be_bytes([s1, s0]), offset, body }, tail))
    }
}

fn u24(high: u8, middle: u8, low: u8) -> usize {
    (usize::from(high) << 16) | (usize::from(middle) << 8) | usize::from(low)
}

fn put_u24(bytes: &mut BytesMut, value: usize) {
    let [.., high, middle, low] = value.to_be_bytes();
    bytes.put_slice(&[high, middle, low]);
}

#[cfg(test)]
mod tests;
