//! SRTP and SRTCP of one Peer: a cipher each way, replay windows, and no memory for strangers' SSRCs.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use rtc_crypto::RTCCryptoProvider;
use rtc_rtp::Header;
use rtc_shared::error::Error as RtcError;
use rtc_shared::marshal::{MarshalSize, Unmarshal};
use rtc_srtp::config::Config;
use rtc_srtp::context::Context;
use rtc_srtp::option::{srtcp_replay_protection, srtp_replay_protection};
use rtc_srtp::protection_profile::ProtectionProfile;
use rustc_hash::FxHashSet;

use super::DropReason;
use super::gcm::{self, Clear, Gcm};

/// The same for both ciphers.
const RTP_WINDOW: usize = 1024;
const _: () = assert!(RTP_WINDOW as u64 == gcm::WINDOW);
const RTCP_WINDOW: usize = 64;

/// After this many failures of SSRCs never seen authentic, the context that tried them is thrown away with all it remembers.
pub const MAX_STRANGERS: u32 = 64;

/// How many authentic SSRCs one Peer may use in its life, RTP and RTCP counted apart. A browser with camera layers, screen and
/// their repair streams uses about ten; changing devices adds some.
pub const MAX_SSRCS: usize = 256;

/// The keys that a finished DTLS handshake gave.
pub(super) struct SrtpKeys {
    /// Its profile chooses the cipher; its session keys are set.
    pub(super) config: Config,
    pub(super) crypto: Arc<dyn RTCCryptoProvider>,
}

impl SrtpKeys {
    fn outbound(&self) -> Result<Context, RtcError> {
        let keys = &self.config.keys;
        let (key, salt) = (&keys.local_master_key, &keys.local_master_salt);
        Context::new(key, salt, self.config.profile, None, None, self.crypto.crypto())
    }

    fn inbound(&self) -> Result<Context, RtcError> {
        let keys = &self.config.keys;
        let (rtp, rtcp) = (srtp_replay_protection(RTP_WINDOW), srtcp_replay_protection(RTCP_WINDOW));
        let (key, salt) = (&keys.remote_master_key, &keys.remote_master_salt);
        Context::new(key, salt, self.config.profile, Some(rtp), Some(rtcp), self.crypto.crypto())
    }

    /// For packets of SSRCs that never authenticated. Without replay windows on purpose: a window is set up by the first packet
    /// before that is authenticated, so one forged packet would make the genuine stream look too old.
    fn probation(&self) -> Result<Context, RtcError> {
        let keys = &self.config.keys;
        let (key, salt) = (&keys.remote_master_key, &keys.remote_master_salt);
        Context::new(key, salt, self.config.profile, None, None, self.crypto.crypto())
    }
}

/// Both directions.
///
/// RTP under AEAD_AES_128_GCM is ours, in place; the rest goes through `rtc-srtp`. That keeps state for every SSRC *before* it
/// authenticates a packet. So an unknown SSRC is tried in a context of its own, and only a packet that is authentic there reaches
/// the lasting one. The trial context is replaced after [`MAX_STRANGERS`] failures: a flood of forged SSRCs costs no memory and
/// shuts nobody out.
pub(super) struct Srtp {
    keys: SrtpKeys,
    gcm: Option<Gcm>,
    /// Received packets are decrypted here, one behind the other, and share its memory until the last of them is dropped.
    block: BytesMut,
    outbound: Context,
    inbound: Context,
    probation: Context,
    /// Failures in `probation` since it was made.
    strangers: u32,
    known_rtp: FxHashSet<u32>,
    known_rtcp: FxHashSet<u32>,
}

/// One allocation for about 14 packets of video. A packet that is kept keeps its block, so a Peer's history wastes two of them at
/// most; a silent Peer holds one.
const BLOCK: usize = 16 * 1024;

impl Srtp {
    pub(super) fn new(keys: SrtpKeys) -> Result<Self, RtcError> {
        let gcm = matches!(keys.config.profile, ProtectionProfile::AeadAes128Gcm).then(|| {
            let pairs = &keys.config.keys;
            let local = (&*pairs.local_master_key, &*pairs.local_master_salt);
            let remote = (&*pairs.remote_master_key, &*pairs.remote_master_salt);
            Gcm::new(local, remote, keys.crypto.crypto())
        });
        Ok(Self {
            gcm: gcm.flatten(),
            block: BytesMut::new(),
            outbound: keys.outbound()?,
            inbound: keys.inbound()?,
            probation: keys.probation()?,
            strangers: 0,
            known_rtp: FxHashSet::default(),
            known_rtcp: FxHashSet::default(),
            keys,
        })
    }

    pub(super) fn unprotect_rtp(&mut self, bytes: &[u8]) -> Result<Bytes, DropReason> {
        let Some(gcm) = &mut self.gcm else { return self.unprotect_by_crate(bytes).map(BytesMut::freeze) };
        let clear = Clear::read(bytes).ok_or(DropReason::MalformedMedia)?;
        if gcm.known() >= MAX_SSRCS && !gcm.is_known(clear.ssrc) {
            return Err(DropReason::TooManySources);
        }
        if self.block.capacity() < bytes.len() {
            self.block = BytesMut::with_capacity(BLOCK.max(bytes.len()));
        }
        self.block.extend_from_slice(bytes);
        match gcm.open(clear, &mut self.block) {
            Ok(length) => {
                self.block.truncate(length);
                Ok(self.block.split().freeze())
            }
            Err(reason) => {
                self.block.clear();
                Err(reason)
            }
        }
    }

    fn unprotect_by_crate(&mut self, bytes: &[u8]) -> Result<BytesMut, DropReason> {
        let header = read_header(bytes)?;
        if !self.known_rtp.contains(&header.ssrc) {
            self.check_room(self.known_rtp.len())?;
            if self.probation.decrypt_rtp_with_header(bytes, &header).is_err() {
                return Err(self.count_stranger());
            }
            self.known_rtp.insert(header.ssrc);
        }
        self.inbound.decrypt_rtp_with_header(bytes, &header).map_err(|error| refusal(&error))
    }

    pub(super) fn unprotect_rtcp(&mut self, bytes: &[u8]) -> Result<BytesMut, DropReason> {
        // Every browser encrypts its RTCP. The flag that says so is not covered by the tag of GCM here, so it is checked.
        let trailer = match self.keys.config.profile {
            ProtectionProfile::AeadAes128Gcm | ProtectionProfile::AeadAes256Gcm => 4,
            _ => 14,
        };
        let flag = bytes.len().checked_sub(trailer).and_then(|at| bytes.get(at)).ok_or(DropReason::MalformedMedia)?;
        let &[_, _, _, _, a, b, c, d, ..] = bytes else { return Err(DropReason::MalformedMedia) };
        if flag & 0x80 == 0 {
            return Err(DropReason::Forged);
        }
        let ssrc = u32::from_be_bytes([a, b, c, d]);
        if !self.known_rtcp.contains(&ssrc) {
            self.check_room(self.known_rtcp.len())?;
            if self.probation.decrypt_rtcp(bytes).is_err() {
                return Err(self.count_stranger());
            }
            self.known_rtcp.insert(ssrc);
        }
        self.inbound.decrypt_rtcp(bytes).map_err(|error| refusal(&error))
    }

    /// Encrypts the packet that begins at `start`, in place or by a copy. What is there after an error means nothing.
    pub(super) fn protect_rtp(&mut self, packet: &mut Vec<u8>, start: usize) -> Result<(), DropReason> {
        if let Some(gcm) = &mut self.gcm {
            return gcm.seal(packet, start);
        }
        let plain = packet.get(start..).ok_or(DropReason::NotProtected)?;
        let header = read_header(plain)?;
        let protected = self.outbound.encrypt_rtp_with_header(plain, &header).map_err(|_| DropReason::NotProtected)?;
        packet.truncate(start);
        packet.extend_from_slice(&protected);
        Ok(())
    }

    pub(super) fn protect_rtcp(&mut self, plain: &[u8]) -> Result<BytesMut, DropReason> {
        self.outbound.encrypt_rtcp(plain).map_err(|_| DropReason::NotProtected)
    }

    const fn check_room(&self, known: usize) -> Result<(), DropReason> {
        if known >= MAX_SSRCS { Err(DropReason::TooManySources) } else { Ok(()) }
    }

    /// Counts a packet of an unknown SSRC that was not authentic.
    fn count_stranger(&mut self) -> DropReason {
        self.strangers += 1;
        if self.strangers >= MAX_STRANGERS
            && let Ok(fresh) = self.keys.probation()
        {
            self.probation = fresh;
            self.strangers = 0;
        }
        DropReason::Forged
    }

    /// How many SSRCs have state here: proven ones of both kinds, and at most that many on probation.
    pub(super) fn remembered(&self) -> (usize, u32) {
        let known = self.gcm.as_ref().map_or(self.known_rtp.len(), Gcm::known);
        (known + self.known_rtcp.len(), self.strangers)
    }
}

/// Parses the RTP header and makes sure that, counted again, it fits the packet: the ciphers split there without looking.
fn read_header(bytes: &[u8]) -> Result<Header, DropReason> {
    let mut rest = bytes;
    let header = Header::unmarshal(&mut rest).map_err(|_| DropReason::MalformedMedia)?;
    if header.marshal_size() > bytes.len() {
        return Err(DropReason::MalformedMedia);
    }
    Ok(header)
}

fn refusal(error: &RtcError) -> DropReason {
    match error {
        RtcError::SrtpSsrcDuplicated(..) | RtcError::SrtcpSsrcDuplicated(..) => DropReason::Replayed,
        _ => DropReason::Forged,
    }
}
