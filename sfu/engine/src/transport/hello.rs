//! Reads what must be known of a ClientHello before the crate sees it, and writes our HelloVerifyRequest (RFC 6347 section 4.2.1).

/// SRTP_AEAD_AES_128_GCM (RFC 7714) and SRTP_AES128_CM_HMAC_SHA1_80 (RFC 5764).
const SRTP_GCM: u16 = 0x0007;
const SRTP_CM: u16 = 0x0001;
/// TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, the suite of every browser.
const CIPHER_SUITE: u16 = 0xc02b;
/// secp256r1, secp384r1, x25519.
const GROUPS: [u16; 3] = [23, 24, 29];

const SUPPORTED_GROUPS: u16 = 10;
const USE_SRTP: u16 = 14;
const EXTENDED_MASTER_SECRET: u16 = 23;

/// What a client must bring back to show that it receives at its address. As long as the crate's own.
pub type Cookie = [u8; 20];

/// What a ClientHello offers, as far as it concerns us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHello<'a> {
    /// Empty in the first one.
    pub cookie: &'a [u8],
    /// AEAD_AES_128_GCM is offered for SRTP.
    pub gcm: bool,
    /// AES128_CM_HMAC_SHA1_80 is offered for SRTP.
    pub cm: bool,
    version: u16,
    suite: bool,
    group: bool,
    extended_master_secret: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads the body of a whole ClientHello (RFC 6347 section 4.2.1), without the handshake header.
    #[must_use]
    pub fn read(body: &'a [u8]) -> Option<Self> {
        let mut reader = Reader(body);
        let version = reader.u16()?;
        reader.take(32)?;
        let session = reader.block8()?;
        if session.len() > 32 {
            return None;
        }
        let cookie = reader.block8()?;
        let suites = reader.block16()?;
        reader.block8()?;
        let mut hello = Self {
            cookie,
            gcm: false,
            cm: false,
            version,
            suite: has(suites, CIPHER_SUITE),
            group: false,
            extended_master_secret: false,
        };
        let mut extensions = Reader(reader.block16()?);
        while let Some(kind) = extensions.u16() {
            let mut extension = Reader(extensions.block16()?);
            match kind {
                SUPPORTED_GROUPS => {
                    let groups = extension.block16()?;
                    hello.group = GROUPS.iter().any(|group| has(groups, *group));
                }
                USE_SRTP => {
                    let profiles = extension.block16()?;
                    hello.gcm = has(profiles, SRTP_GCM);
                    hello.cm = has(profiles, SRTP_CM);
                }
                EXTENDED_MASTER_SECRET => hello.extended_master_secret = true,
                _ => {}
            }
        }
        Some(hello)
    }

    /// Whether a handshake that begins so can succeed with us at all.
    #[must_use]
    pub const fn is_acceptable(&self) -> bool {
        self.version == 0xfefd && self.suite && self.group && self.extended_master_secret && (self.gcm || self.cm)
    }
}

/// A ClientHello body without its cookie: as the client sent it before it had one.
#[must_use]
pub fn without_cookie(body: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader(body);
    reader.take(34)?;
    reader.block8()?;
    let before = body.len() - reader.0.len();
    reader.block8()?;
    Some([body.get(..before)?, &[0], reader.0].concat())
}

/// The whole datagram. Always the same bytes for one cookie, record number included, so that a client takes the first and drops
/// repeats.
#[must_use]
pub fn write_hello_verify_request(cookie: &Cookie) -> Vec<u8> {
    // Version, length of the cookie, cookie.
    let body = [&[0xfe, 0xfd, 20][..], cookie].concat();
    let record = [22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 35];
    let handshake = [3, 0, 0, 23, 0, 0, 0, 0, 0, 0, 0, 23];
    [&record[..], &handshake, &body].concat()
}

fn has(list: &[u8], wanted: u16) -> bool {
    list.chunks_exact(2).any(|item| item == wanted.to_be_bytes())
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        let &[high, low] = self.take(2)? else { return None };
        Some(u16::from_be_bytes([high, low]))
    }

    fn block8(&mut self) -> Option<&'a [u8]> {
        let &[length] = self.take(1)? else { return None };
        self.take(usize::from(length))
    }

    fn block16(&mut self) -> Option<&'a [u8]> {
        let length = self.u16()?;
        self.take(usize::from(length))
    }
}
