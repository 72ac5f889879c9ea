//! One Peer's path: ICE-lite, DTLS and SRTP in one sans-IO value. Only authenticated STUN gives it an address, only DTLS gives it keys.

pub mod demux;
mod dtls;
pub mod gate;
mod gcm;
pub mod hello;
mod ice;
mod path;
mod srtp;

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use wire::control::Lost;

pub use demux::{Class, Demux, MAX_PATHS, classify, find_ufrag};
pub use dtls::{HANDSHAKE_TIME, Identity};
pub use ice::{CONSENT_TIME, IceCredentials, PATH_QUIET, find_shard};
pub use path::{Local, Path};
pub use srtp::{MAX_SSRCS, MAX_STRANGERS};

use crate::Error;
use dtls::{Dtls, Outcome};
use ice::Ice;
use srtp::Srtp;

/// Datagrams that wait to be sent: answers to STUN and DTLS flights. The caller drains after each input, so this is only reached by
/// one that does not; then the newest is dropped and counted, and the other side asks again.
const MAX_TRANSMITS: usize = 64;

/// What the browser's offer says about its end.
#[derive(Clone, PartialEq, Eq)]
pub struct RemoteParameters {
    /// `a=ice-ufrag`.
    pub ufrag: String,
    /// `a=ice-pwd`.
    pub pwd: String,
    /// The digest of `a=fingerprint:sha-256`.
    pub fingerprint: [u8; 32],
}

impl fmt::Debug for RemoteParameters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RemoteParameters")
    }
}

/// What became of a STUN message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StunVerdict {
    /// Authentic: the caller binds the source address to this Peer; the answer is queued.
    Bound {
        /// Whether we send to this address from now on.
        nominated: bool,
    },
    /// Not for us, or not authentic.
    Dropped(DropReason),
}

/// Why something was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DropReason {
    /// Not a STUN binding request, or a ragged one.
    MalformedStun,
    /// STUN for another ufrag.
    UnknownUser,
    /// STUN whose FINGERPRINT is missing or wrong.
    BadFingerprint,
    /// STUN whose MESSAGE-INTEGRITY is missing or wrong.
    BadIntegrity,
    /// A STUN request seen before, from another address.
    CopiedRequest,
    /// A DTLS record that the gate refused, or data that nobody asked for.
    RefusedDtls,
    /// Media before the handshake gave keys, or after the end.
    NoKeys,
    /// RTP or RTCP whose header cannot be read.
    MalformedMedia,
    /// SRTP or SRTCP that is not authentic.
    Forged,
    /// SRTP or SRTCP that came before, or is older than the replay window.
    Replayed,
    /// More SSRCs than one Peer may use.
    TooManySources,
    /// Our own packet could not be protected.
    NotProtected,
    /// The queue of datagrams to send was full.
    QueueFull,
    /// Anything after the end.
    Ended,
}

impl DropReason {
    /// Every reason, in the order of the counters.
    pub const ALL: [Self; 14] = [
        Self::MalformedStun,
        Self::UnknownUser,
        Self::BadFingerprint,
        Self::BadIntegrity,
        Self::CopiedRequest,
        Self::RefusedDtls,
        Self::NoKeys,
        Self::MalformedMedia,
        Self::Forged,
        Self::Replayed,
        Self::TooManySources,
        Self::NotProtected,
        Self::QueueFull,
        Self::Ended,
    ];
}

/// What one Transport dropped, and why.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransportCounters {
    dropped: [u64; DropReason::ALL.len()],
    /// Authenticated STUN requests.
    pub stun: u64,
}

impl TransportCounters {
    /// How many things were dropped for this reason.
    #[must_use]
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason as usize).copied().unwrap_or(0)
    }

    /// How many things were dropped in all.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    fn count(&mut self, reason: DropReason) {
        self.add(reason, 1);
    }

    fn add(&mut self, reason: DropReason, times: u64) {
        if let Some(slot) = self.dropped.get_mut(reason as usize) {
            *slot += times;
        }
    }
}

/// What happened to a Transport, each at most once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransportEvent {
    /// Keys exist: media may flow.
    Connected,
    /// The end; every later datagram is dropped.
    Lost(Lost),
}

/// One Peer's path.
pub struct Transport {
    identity: Arc<Identity>,
    ice: Ice,
    /// The browser's ufrag and password.
    remote: Option<(String, String)>,
    /// Made by the first offer.
    dtls: Option<Dtls>,
    srtp: Option<Box<Srtp>>,
    ended: bool,
    transmits: VecDeque<(Path, Bytes)>,
    /// Two at most: `Connected`, then `Lost`.
    events: VecDeque<TransportEvent>,
    counters: TransportCounters,
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = (self.srtp.is_some(), self.ended);
        f.debug_struct("Transport").field("connected", &state.0).field("ended", &state.1).finish_non_exhaustive()
    }
}

impl Transport {
    /// A path that nobody uses yet. Consent time starts now.
    #[must_use]
    pub fn new(identity: Arc<Identity>, ours: IceCredentials, now: Instant) -> Self {
        Self {
            identity,
            ice: Ice::new(ours, now),
            remote: None,
            dtls: None,
            srtp: None,
            ended: false,
            transmits: VecDeque::new(),
            events: VecDeque::new(),
            counters: TransportCounters::default(),
        }
    }

    /// Takes what an offer says; a later offer may repeat it, or restart ICE by other credentials: then this is true, and
    /// [`Self::restart`] must follow before the answer. DTLS and its keys stay.
    ///
    /// # Errors
    /// When a later offer names another certificate: that would be another person on the same connection.
    pub fn set_remote(&mut self, remote: RemoteParameters) -> Result<bool, Error> {
        // As a lite agent we never check towards the browser, so its credentials only have to exist.
        let RemoteParameters { ufrag, pwd, fingerprint } = remote;
        if ufrag.is_empty() || pwd.is_empty() {
            return Err(Error::Remote("ICE credentials are missing"));
        }
        match &self.dtls {
            Some(dtls) if *dtls.expected() != fingerprint => {
                return Err(Error::Remote("the certificate fingerprint changed"));
            }
            Some(_) => {}
            None => self.dtls = Some(Dtls::new(Arc::clone(&self.identity), fingerprint)?),
        }
        let before = self.remote.replace((ufrag, pwd));
        Ok(before.is_some() && before != self.remote)
    }

    /// Begins an ICE restart (RFC 8445 section 9): these are our credentials from now on. The old ones hold until the browser
    /// nominates with the new ones, and media goes on where it flows meanwhile.
    pub fn restart(&mut self, ours: IceCredentials) {
        self.ice.restart(ours);
    }

    /// Our credentials that no longer hold, so that the demultiplexer forgets them.
    pub fn poll_retired(&mut self) -> Option<IceCredentials> {
        self.ice.poll_retired()
    }

    /// Media that came on this path, bound by STUN, was authentic. True when we send there from now on: the path in use is quiet.
    pub fn note_heard(&mut self, now: Instant, from: Path) -> bool {
        self.ice.note_heard(now, from)
    }

    /// Handles a datagram of class [`Class::Stun`] that names our ufrag.
    pub fn handle_stun(&mut self, now: Instant, from: impl Into<Path>, bytes: &[u8]) -> StunVerdict {
        let from = from.into();
        if self.ended {
            return StunVerdict::Dropped(self.drop_one(DropReason::Ended));
        }
        match self.ice.handle(now, from, bytes, self.identity.crypto().as_ref()) {
            Ok(checked) => {
                self.counters.stun += 1;
                self.transmit(from, checked.answer);
                StunVerdict::Bound { nominated: checked.nominated }
            }
            Err(reason) => StunVerdict::Dropped(self.drop_one(reason)),
        }
    }

    /// Handles a datagram of class [`Class::Dtls`] from an address that is bound to this Peer.
    pub fn handle_dtls(&mut self, now: Instant, bytes: &[u8]) {
        match &mut self.dtls {
            Some(dtls) if !self.ended => {
                let before = dtls.dropped();
                let outcome = dtls.handle_datagram(now, bytes);
                let dropped = dtls.dropped() - before;
                self.counters.add(DropReason::RefusedDtls, dropped);
                self.handle_outcome(outcome);
            }
            _ => {
                self.drop_one(DropReason::Ended);
            }
        }
    }

    /// Authenticates and decrypts one SRTP packet. Packets of one Peer share blocks of memory: keep them for a short while only.
    ///
    /// # Errors
    /// Why it was dropped; counted already.
    pub fn unprotect_rtp(&mut self, bytes: &[u8]) -> Result<Bytes, DropReason> {
        self.with_srtp(|srtp| srtp.unprotect_rtp(bytes))
    }

    /// Authenticates and decrypts one SRTCP packet.
    ///
    /// # Errors
    /// Why it was dropped; counted already.
    pub fn unprotect_rtcp(&mut self, bytes: &[u8]) -> Result<BytesMut, DropReason> {
        self.with_srtp(|srtp| srtp.unprotect_rtcp(bytes))
    }

    /// Encrypts the RTP packet of ours that `packet` holds from `start` on. Sequence numbers must start below 32,768, and a
    /// number may not be used for two packets.
    ///
    /// # Errors
    /// Why it cannot be sent; counted already. What is then behind `start` means nothing.
    pub fn protect_rtp(&mut self, packet: &mut Vec<u8>, start: usize) -> Result<(), DropReason> {
        self.with_srtp(|srtp| srtp.protect_rtp(packet, start))
    }

    /// Encrypts one compound RTCP packet of ours.
    ///
    /// # Errors
    /// Why it cannot be sent; counted already.
    pub fn protect_rtcp(&mut self, plain: &[u8]) -> Result<BytesMut, DropReason> {
        self.with_srtp(|srtp| srtp.protect_rtcp(plain))
    }

    /// Where to send; `None` until the first authenticated STUN.
    #[must_use]
    pub const fn path(&self) -> Option<Path> {
        self.ice.path()
    }

    /// Whether media can flow.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.srtp.is_some() && !self.ended
    }

    /// The next datagram to send.
    pub fn poll_transmit(&mut self) -> Option<(Path, Bytes)> {
        self.transmits.pop_front()
    }

    /// What happened since.
    pub fn poll_event(&mut self) -> Option<TransportEvent> {
        self.events.pop_front()
    }

    /// Does what is due at `now`.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        if let Some(dtls) = &mut self.dtls {
            let outcome = dtls.handle_timeout(now);
            self.handle_outcome(outcome);
        }
        if !self.ended && now >= self.ice.consent_ends() {
            if let Some(dtls) = &mut self.dtls {
                dtls.close(now);
            }
            self.end(Lost::Silent);
        }
    }

    /// When [`Self::handle_timeout`] is due; never after the end.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        if self.ended {
            return None;
        }
        let dtls = self.dtls.as_ref().and_then(Dtls::poll_timeout);
        dtls.into_iter().chain([self.ice.consent_ends()]).min()
    }

    /// Ends the path on our side and tells the browser by close_notify. No event follows.
    pub fn close(&mut self, now: Instant) {
        if self.ended {
            return;
        }
        if let Some(dtls) = &mut self.dtls {
            dtls.close(now);
        }
        self.flush_dtls();
        self.ended = true;
        self.srtp = None;
    }

    /// What was dropped, and why.
    #[must_use]
    pub const fn counters(&self) -> &TransportCounters {
        &self.counters
    }

    /// How many SSRCs this path remembers: authentic ones, and unproven ones since the last cleaning.
    #[must_use]
    pub fn remembered_ssrcs(&self) -> (usize, u32) {
        self.srtp.as_ref().map_or((0, 0), |srtp| srtp.remembered())
    }

    fn with_srtp<T>(&mut self, work: impl FnOnce(&mut Srtp) -> Result<T, DropReason>) -> Result<T, DropReason> {
        let result = match &mut self.srtp {
            Some(srtp) if !self.ended => work(srtp),
            _ => Err(DropReason::NoKeys),
        };
        result.map_err(|reason| self.drop_one(reason))
    }

    fn handle_outcome(&mut self, outcome: Option<Outcome>) {
        self.flush_dtls();
        match outcome {
            None => {}
            Some(Outcome::Connected(keys)) => match Srtp::new(*keys) {
                Ok(srtp) => {
                    self.srtp = Some(Box::new(srtp));
                    self.events.push_back(TransportEvent::Connected);
                }
                Err(_) => self.end(Lost::Dtls),
            },
            Some(Outcome::Lost(lost)) => self.end(lost),
        }
    }

    fn end(&mut self, lost: Lost) {
        self.flush_dtls();
        self.ended = true;
        self.srtp = None;
        self.events.push_back(TransportEvent::Lost(lost));
    }

    fn flush_dtls(&mut self) {
        let outgoing = self.dtls.as_mut().map(Dtls::take_outgoing).unwrap_or_default();
        let Some(to) = self.ice.path() else { return };
        for datagram in outgoing {
            self.transmit(to, datagram);
        }
    }

    fn transmit(&mut self, to: Path, bytes: Bytes) {
        if self.transmits.len() >= MAX_TRANSMITS {
            self.drop_one(DropReason::QueueFull);
        } else {
            self.transmits.push_back((to, bytes));
        }
    }

    fn drop_one(&mut self, reason: DropReason) -> DropReason {
        self.counters.count(reason);
        reason
    }
}

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
