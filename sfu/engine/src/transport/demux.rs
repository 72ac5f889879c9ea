//! What kind of datagram this is (RFC 7983), and whose: by bound address, or by ICE username.

use std::hash::Hash;
use std::net::SocketAddr;

use rustc_hash::FxHashMap;

/// How many addresses one Peer may have bound at once. A browser checks a pair for each of its candidates, then keeps one.
/// When a ninth comes, the one that was bound or renewed longest ago is forgotten.
pub const MAX_ADDRESSES: usize = 8;

/// The protocols that share one UDP port (RFC 7983, RFC 5761).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A STUN message by its first byte and magic cookie; not authenticated.
    Stun,
    /// A DTLS record.
    Dtls,
    /// SRTP.
    Rtp,
    /// SRTCP.
    Rtcp,
    /// Nothing that we speak.
    Junk,
}

/// Tells by the first two bytes and the shortest length that each protocol can have. Looks at nothing else.
#[must_use]
pub fn classify(bytes: &[u8]) -> Class {
    let &[first, second, ..] = bytes else { return Class::Junk };
    match (first, second) {
        (0..=3, _) if bytes.len() >= 20 && bytes.get(4..8) == Some(&[0x21, 0x12, 0xa4, 0x42]) => Class::Stun,
        (20..=63, _) if bytes.len() > 13 => Class::Dtls,
        (128..=191, 192..=223) if bytes.len() >= 8 => Class::Rtcp,
        (128..=191, 0..=191 | 224..=255) if bytes.len() >= 12 => Class::Rtp,
        _ => Class::Junk,
    }
}

/// The part of a STUN USERNAME before the colon: our ufrag, by which the Peer is found. Not authenticated.
#[must_use]
pub fn find_ufrag(bytes: &[u8]) -> Option<&str> {
    let mut rest = bytes.get(20..)?;
    // A message of 20 attributes is already stranger than any browser's.
    for _ in 0..20 {
        let (header, tail) = rest.split_at_checked(4)?;
        let &[kind_high, kind_low, length_high, length_low] = header else { return None };
        let length = usize::from(u16::from_be_bytes([length_high, length_low]));
        if u16::from_be_bytes([kind_high, kind_low]) == 0x0006 {
            let username = std::str::from_utf8(tail.get(..length)?).ok()?;
            return username.split_once(':').map(|(ours, _)| ours);
        }
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    None
}

/// Whose datagram it is: bound address to key, and ufrag to key. `K` is whatever the Engine names a Peer by.
#[derive(Debug)]
pub struct Demux<K> {
    addresses: FxHashMap<SocketAddr, K>,
    ufrags: FxHashMap<String, K>,
    /// The addresses of each key, the longest unused first; at most [`MAX_ADDRESSES`].
    bound: FxHashMap<K, Vec<SocketAddr>>,
}

impl<K> Default for Demux<K> {
    fn default() -> Self {
        Self { addresses: FxHashMap::default(), ufrags: FxHashMap::default(), bound: FxHashMap::default() }
    }
}

impl<K: Copy + Eq + Hash> Demux<K> {
    /// An empty table.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces a Peer by our ufrag. False, and nothing changed, when the ufrag is taken.
    pub fn insert(&mut self, ufrag: &str, key: K) -> bool {
        if self.ufrags.contains_key(ufrag) {
            return false;
        }
        self.ufrags.insert(ufrag.to_owned(), key);
        true
    }

    /// The Peer that authenticated STUN bound this address to.
    #[must_use]
    pub fn find(&self, address: SocketAddr) -> Option<K> {
        self.addresses.get(&address).copied()
    }

    /// The Peer whose ufrag a STUN message names. It must still authenticate.
    #[must_use]
    pub fn find_stun(&self, bytes: &[u8]) -> Option<K> {
        self.ufrags.get(find_ufrag(bytes)?).copied()
    }

    /// Binds an address after its STUN was authenticated, or renews it. False when another live Peer holds the address:
    /// whoever has credentials of their own could otherwise cut somebody else off with a forged source address.
    pub fn bind(&mut self, address: SocketAddr, key: K) -> bool {
        if self.addresses.get(&address).is_some_and(|holder| *holder != key) {
            return false;
        }
        let bound = self.bound.entry(key).or_default();
        if bound.last() == Some(&address) {
            return true;
        }
        bound.retain(|other| *other != address);
        if bound.len() >= MAX_ADDRESSES {
            self.addresses.remove(&bound.remove(0));
        }
        bound.push(address);
        self.addresses.insert(address, key);
        true
    }

    /// Forgets a Peer, its addresses and its ufrag.
    pub fn remove(&mut self, key: K) {
        for address in self.bound.remove(&key).unwrap_or_default() {
            self.addresses.remove(&address);
        }
        self.ufrags.retain(|_, holder| *holder != key);
    }

    /// How many addresses are bound in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.addresses.len()
    }

    /// True when no address is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.addresses.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    #[test]
    fn each_protocol_is_told_by_its_first_bytes() {
        let mut stun = vec![0u8, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42];
        stun.resize(20, 0);
        assert_eq!(classify(&stun), Class::Stun);
        stun.insert(1, 1);
        assert_eq!(classify(&stun), Class::Junk);
        assert_eq!(classify(&[22; 14]), Class::Dtls);
        assert_eq!(classify(&[22; 13]), Class::Junk);
        assert_eq!(classify(&[0x80, 96, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]), Class::Rtp);
        assert_eq!(classify(&[0x80, 200, 0, 0, 0, 0, 0, 0]), Class::Rtcp);
        assert_eq!(classify(&[0x80, 96, 0]), Class::Junk);
        assert_eq!(classify(&[]), Class::Junk);
        assert_eq!(classify(&[64; 100]), Class::Junk);
    }

    #[test]
    fn an_address_belongs_to_one_peer_until_that_peer_is_gone() {
        let mut demux = Demux::new();
        assert!(demux.insert("aaaa", 1));
        assert!(!demux.insert("aaaa", 2));
        assert!(demux.bind(address(1), 1));
        assert!(!demux.bind(address(1), 2));
        assert_eq!(demux.find(address(1)), Some(1));
        demux.remove(1);
        assert_eq!(demux.find(address(1)), None);
        assert!(demux.insert("aaaa", 2));
        assert!(demux.bind(address(1), 2));
    }

    #[test]
    fn a_ninth_address_replaces_the_longest_unused() {
        let mut demux = Demux::new();
        for port in 1..=8 {
            assert!(demux.bind(address(port), 7));
        }
        assert!(demux.bind(address(1), 7));
        assert!(demux.bind(address(9), 7));
        assert_eq!(demux.len(), MAX_ADDRESSES);
        assert_eq!(demux.find(address(1)), Some(7));
        assert_eq!(demux.find(address(2)), None);
        demux.remove(7);
        assert!(demux.is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_class_and_perhaps_a_ufrag(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = classify(&bytes);
            let _ = find_ufrag(&bytes);
        }
    }
}
