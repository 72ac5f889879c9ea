//! The ICE-lite responder of one Peer (RFC 8445 section 2.5): authenticated binding requests in, answers out, consent (RFC 7675).

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rand::{Rng, RngExt};
use rtc_crypto::RTCCryptoProvider;
use rtc_stun::attributes::{ATTR_MESSAGE_INTEGRITY, ATTR_USE_CANDIDATE, ATTR_USERNAME, AttrType};
use rtc_stun::fingerprint::FINGERPRINT;
use rtc_stun::integrity::MessageIntegrity;
use rtc_stun::message::{BINDING_REQUEST, BINDING_SUCCESS, Message, TransactionId};
use rtc_stun::xoraddr::XorMappedAddress;

use super::{DropReason, Path};

/// A Peer that sends no authenticated STUN for this long has gone (RFC 7675 section 5.1).
pub const CONSENT_TIME: Duration = Duration::from_secs(30);

/// The longest STUN message that is read. A browser's binding request is about 120 bytes.
const MAX_STUN_BYTES: usize = 1280;

/// How long the path in use must be quiet before another authentic one takes its place without being nominated. A browser whose NAT gave
/// it another port does not know that it moved, and nominates nothing; one that merely checks a spare path keeps using the other.
pub const PATH_QUIET: Duration = Duration::from_secs(1);

/// How many request ids are remembered, so that a copied request sent from elsewhere does not move the call there.
const REMEMBERED_REQUESTS: usize = 32;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Our side's ICE username fragment and password for one Peer.
#[derive(Clone, PartialEq, Eq)]
pub struct IceCredentials {
    /// 12 characters: the shard's, then 66 random bits. Also the key by which STUN finds the shard and the Peer.
    pub ufrag: String,
    /// 32 characters, 192 random bits.
    pub pwd: String,
}

impl IceCredentials {
    /// Draws fresh credentials. The generator must be one that cannot be guessed (seeded by the operating system in service).
    #[must_use]
    pub fn generate(rng: &mut impl Rng, shard: u8) -> Self {
        let mut text = |length: usize| -> String {
            (0..length)
                .map(|_| char::from(ALPHABET.get(rng.random_range(0..ALPHABET.len())).copied().unwrap_or(b'A')))
                .collect()
        };
        let random = text(11);
        let mark = char::from(ALPHABET.get(usize::from(shard) % ALPHABET.len()).copied().unwrap_or(b'A'));
        Self { ufrag: format!("{mark}{random}"), pwd: text(32) }
    }
}

/// The shard that made this ufrag of ours, so that what arrives where all shards listen together can be handed on. Proves nothing.
#[must_use]
pub fn find_shard(ufrag: &str) -> Option<usize> {
    let mark = ufrag.bytes().next()?;
    ALPHABET.iter().position(|letter| *letter == mark)
}

impl fmt::Debug for IceCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IceCredentials")
    }
}

/// An authenticated binding request.
pub(super) struct Checked {
    /// Whether this address becomes the one we send to.
    pub(super) nominated: bool,
    /// The binding success response for the sender.
    pub(super) answer: Bytes,
}

/// The responder.
pub(super) struct Ice {
    ours: IceCredentials,
    /// What held before an ICE restart: until the browser nominates with the new ones (RFC 8445 section 9).
    previous: Option<IceCredentials>,
    /// Credentials that hold no more, for the demultiplexer to forget: at most two restarts' worth between two polls.
    retired: Vec<IceCredentials>,
    /// Where we send.
    path: Option<Path>,
    /// When something authentic last came on that path.
    path_heard: Instant,
    heard: Instant,
    /// A ring: the oldest is overwritten.
    requests: [Option<(TransactionId, Path)>; REMEMBERED_REQUESTS],
    next_request: usize,
}

impl Ice {
    pub(super) fn new(ours: IceCredentials, now: Instant) -> Self {
        Self {
            ours,
            previous: None,
            retired: Vec::new(),
            path: None,
            path_heard: now,
            heard: now,
            requests: [None; REMEMBERED_REQUESTS],
            next_request: 0,
        }
    }

    pub(super) const fn path(&self) -> Option<Path> {
        self.path
    }

    /// Begins an ICE restart: `ours` hold from now on, those in use until the browser nominates with the new ones.
    pub(super) fn restart(&mut self, ours: IceCredentials) {
        let before = std::mem::replace(&mut self.ours, ours);
        match &self.previous {
            // The browser restarted again before it used the last ones.
            Some(_) => self.retired.push(before),
            None => self.previous = Some(before),
        }
    }

    /// Credentials that hold no more.
    pub(super) fn poll_retired(&mut self) -> Option<IceCredentials> {
        self.retired.pop()
    }

    /// Something authentic came on this path, which must be one that STUN bound. True when it becomes the path in use.
    pub(super) fn note_heard(&mut self, now: Instant, from: Path) -> bool {
        if self.path == Some(from) {
            self.path_heard = now;
            return false;
        }
        let moves = self.is_quiet(now);
        if moves {
            self.take_path(now, from);
        }
        moves
    }

    fn is_quiet(&self, now: Instant) -> bool {
        self.path.is_none() || now.saturating_duration_since(self.path_heard) >= PATH_QUIET
    }

    fn take_path(&mut self, now: Instant, path: Path) {
        self.path = Some(path);
        self.path_heard = now;
    }

    /// When consent ends, unless another request comes.
    pub(super) fn consent_ends(&self) -> Instant {
        self.heard + CONSENT_TIME
    }

    /// Authenticates one datagram as a binding request for us and prepares the answer.
    pub(super) fn handle(
        &mut self,
        now: Instant,
        from: Path,
        bytes: &[u8],
        crypto: &dyn RTCCryptoProvider,
    ) -> Result<Checked, DropReason> {
        if bytes.len() > MAX_STUN_BYTES || !bytes.len().is_multiple_of(4) {
            return Err(DropReason::MalformedStun);
        }
        let mut message = Message::new();
        message.unmarshal_binary(bytes).map_err(|_| DropReason::MalformedStun)?;
        // Bytes after the message would be covered by no check.
        if message.typ != BINDING_REQUEST || usize::try_from(message.length).ok() != bytes.len().checked_sub(20) {
            return Err(DropReason::MalformedStun);
        }
        let ufrag = username(&message).ok_or(DropReason::UnknownUser)?;
        let is_current = ufrag == self.ours.ufrag;
        let previous = self.previous.as_ref().filter(|previous| previous.ufrag == ufrag);
        let pwd = if is_current { &self.ours.pwd } else { &previous.ok_or(DropReason::UnknownUser)?.pwd }.clone();
        FINGERPRINT.check(&message).map_err(|_| DropReason::BadFingerprint)?;
        MessageIntegrity::check(&mut message, pwd.as_bytes(), crypto.crypto()).map_err(|_| DropReason::BadIntegrity)?;
        if self.is_copied(message.transaction_id, from) {
            return Err(DropReason::CopiedRequest);
        }
        let answer = answer(&message, from, &pwd, crypto).map_err(|_| DropReason::MalformedStun)?;
        self.heard = now;
        let nominates = authenticated(&message, ATTR_USE_CANDIDATE).is_some();
        if nominates && is_current {
            // The restart is complete.
            self.retired.extend(self.previous.take());
        }
        let moves = self.note_heard(now, from);
        if nominates {
            self.take_path(now, from);
        }
        let nominated = nominates || moves;
        Ok(Checked { nominated, answer })
    }

    /// True when this request was seen before, from another address.
    fn is_copied(&mut self, id: TransactionId, from: Path) -> bool {
        if let Some((_, address)) = self.requests.iter().flatten().find(|(known, _)| *known == id) {
            return *address != from;
        }
        if let Some(slot) = self.requests.get_mut(self.next_request) {
            *slot = Some((id, from));
        }
        self.next_request = (self.next_request + 1) % REMEMBERED_REQUESTS;
        false
    }
}

fn answer(
    request: &Message,
    from: Path,
    pwd: &str,
    crypto: &dyn RTCCryptoProvider,
) -> Result<Bytes, rtc_shared::error::Error> {
    let mut answer = Message::new();
    answer.build(&[
        Box::new(BINDING_SUCCESS),
        Box::new(request.transaction_id),
        Box::new(XorMappedAddress { ip: from.remote.ip().to_canonical(), port: from.remote.port() }),
        Box::new(MessageIntegrity::new_raw_integrity_with_provider(pwd.as_bytes(), crypto.crypto())),
        Box::new(FINGERPRINT),
    ])?;
    Ok(Bytes::from(answer.raw))
}

/// The first attribute of this type before MESSAGE-INTEGRITY. What follows it is covered by no key and ignored (RFC 8489 section 14.5).
fn authenticated(message: &Message, kind: AttrType) -> Option<&[u8]> {
    let covered = message.attributes.0.iter().take_while(|attribute| attribute.typ != ATTR_MESSAGE_INTEGRITY);
    covered.into_iter().find(|attribute| attribute.typ == kind).map(|attribute| attribute.value.as_slice())
}

fn username(message: &Message) -> Option<&str> {
    let text = std::str::from_utf8(authenticated(message, ATTR_USERNAME)?).ok()?;
    text.split_once(':').map(|(ours, _)| ours)
}
