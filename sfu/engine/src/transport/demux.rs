//! What kind of datagram this is (RFC 7983), and whose: by bound address, or by ICE username.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use super::Path;

/// How many paths one Peer may have bound at once. A browser checks a pair for each of its candidates and each of ours, then keeps one.
/// When another one comes, the one that was bound or renewed longest ago is forgotten.
pub const MAX_PATHS: usize = 16;

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

/// What one key is found by.
#[derive(Debug, Default)]
struct Bound {
    ufrags: Vec<String>,
    /// The longest unused first; at most [`MAX_PATHS`].
    paths: Vec<Path>,
}

/// Whose datagram it is: bound path to key, and ufrag to key. `K` is whatever the Engine names a Peer by.
#[derive(Debug)]
pub struct Demux<K> {
    paths: FxHashMap<Path, K>,
    ufrags: FxHashMap<String, K>,
    bound: FxHashMap<K, Bound>,
}

impl<K> Default for Demux<K> {
    fn default() -> Self {
        Self { paths: FxHashMap::default(), ufrags: FxHashMap::default(), bound: FxHashMap::default() }
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
        self.bound.entry(key).or_default().ufrags.push(ufrag.to_owned());
        true
    }

    /// Forgets a ufrag that no longer holds; the paths that it bound stay.
    pub fn forget(&mut self, ufrag: &str) {
        let Some(key) = self.ufrags.remove(ufrag) else { return };
        if let Some(bound) = self.bound.get_mut(&key) {
            bound.ufrags.retain(|other| other != ufrag);
        }
    }

    /// The Peer that authenticated STUN bound this path to.
    #[must_use]
    pub fn find(&self, path: Path) -> Option<K> {
        self.paths.get(&path).copied()
    }

    /// The Peer whose ufrag a STUN message names. It must still authenticate.
    #[must_use]
    pub fn find_stun(&self, bytes: &[u8]) -> Option<K> {
        self.ufrags.get(find_ufrag(bytes)?).copied()
    }

    /// Binds a path after its STUN was authenticated, or renews it. False when another live Peer holds it: whoever has credentials of
    /// their own could otherwise cut somebody else off with a forged source address.
    pub fn bind(&mut self, path: Path, key: K) -> bool {
        if self.paths.get(&path).is_some_and(|holder| *holder != key) {
            return false;
        }
        let bound = &mut self.bound.entry(key).or_default().paths;
        if bound.last() == Some(&path) {
            return true;
        }
        bound.retain(|other| *other != path);
        if bound.len() >= MAX_PATHS {
            self.paths.remove(&bound.remove(0));
        }
        bound.push(path);
        self.paths.insert(path, key);
        true
    }

    /// Forgets a Peer, its paths and its ufrags.
    pub fn remove(&mut self, key: K) {
        let Bound { ufrags, paths } = self.bound.remove(&key).unwrap_or_default();
        for path in paths {
            self.paths.remove(&path);
        }
        for ufrag in ufrags {
            self.ufrags.remove(&ufrag);
        }
    }

    /// How many paths are bound in all.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// True when no path is bound.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(port: u16) -> Path {
        std::net::SocketAddr::from(([192, 0, 2, 1], port)).into()
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
    fn a_path_too_many_replaces_the_longest_unused() {
        let mut demux = Demux::new();
        for port in 1..=16 {
            assert!(demux.bind(address(port), 7));
        }
        assert!(demux.bind(address(1), 7));
        assert!(demux.bind(address(17), 7));
        assert_eq!(demux.len(), MAX_PATHS);
        assert_eq!(demux.find(address(1)), Some(7));
        assert_eq!(demux.find(address(2)), None);
        demux.remove(7);
        assert!(demux.is_empty());
    }

    #[test]
    fn the_same_remote_over_another_transport_or_to_another_address_of_ours_is_another_path() {
        let mut demux = Demux::new();
        let remote = address(1).remote;
        let ours = |last| std::net::IpAddr::from([127, 0, 0, last]);
        assert!(demux.bind(Path::udp(remote, ours(1)), 1));
        assert!(demux.bind(Path::udp(remote, ours(2)), 2));
        assert!(demux.bind(Path::tcp(remote, 1), 3));
        assert_eq!(demux.find(Path::udp(remote, ours(2))), Some(2));
        assert_eq!(demux.find(Path::tcp(remote, 1)), Some(3));
        assert_eq!(demux.find(Path::tcp(remote, 2)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_have_a_class_and_perhaps_a_ufrag(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = classify(&bytes);
            let _ = find_ufrag(&bytes);
        }
    }
}
