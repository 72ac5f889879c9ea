//! An anchor: a signed statement of the hashes that stood in one organisation's chain, kept where the database's owner cannot change it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::audit::signer::{Signer, Trust};
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::OrgId;

/// The most events that one anchor covers.
pub const MOST: usize = 1000;

/// The longest text of an anchor, in bytes: [`MOST`] hashes in base 64, and what else there is.
pub const MAX_BYTES: u64 = 64 * 1024;

/// A hash of the chain.
pub type Hash = [u8; 32];

/// What an anchor states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Whose chain.
    pub org: OrgId,
    /// The first event that it covers.
    pub from_seq: i64,
    /// The hash of each event from there on, without a gap. The last one is the root.
    pub hashes: Vec<Hash>,
    /// The digest of the anchor before it.
    pub previous: Option<Hash>,
    /// When it was made.
    pub at: Timestamp,
}

impl Statement {
    /// The last event that it covers.
    #[must_use]
    pub fn to_seq(&self) -> i64 {
        self.from_seq + i64::try_from(self.hashes.len()).unwrap_or(0) - 1
    }

    /// The hash of that one.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.hashes.last().copied().unwrap_or_default()
    }

    /// The bytes that are signed: numbers big-endian, the time in microseconds since 1970, the key's name last.
    fn message(&self, kid: &str) -> Vec<u8> {
        let mut message = b"anteroom audit anchor v1\0".to_vec();
        message.extend(self.org.as_uuid().as_bytes());
        message.extend(self.from_seq.to_be_bytes());
        message.extend(self.to_seq().to_be_bytes());
        message.extend(self.root());
        message.extend(Sha256::digest(self.hashes.concat()));
        message.extend(self.previous.unwrap_or_default());
        message.extend((self.at.unix_timestamp_nanos() / 1000).to_be_bytes());
        message.extend(kid.as_bytes());
        message
    }
}

/// An anchor as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// What it states.
    pub statement: Statement,
    /// Who signed it.
    pub kid: String,
    /// The signature: r and s.
    pub signature: [u8; 64],
    /// SHA-256 of what was signed.
    pub digest: Hash,
}

/// The text of an anchor: JSON, hashes as one base 64 text.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Text {
    version: u8,
    org: Uuid,
    from_seq: i64,
    to_seq: i64,
    root_hash: String,
    hashes: String,
    previous: Option<String>,
    at: String,
    kid: String,
    signature: String,
}

impl Anchor {
    /// Signs a statement.
    ///
    /// # Errors
    /// The signer's.
    pub async fn sign(statement: Statement, signer: &dyn Signer) -> Result<Self> {
        let kid = signer.kid().to_owned();
        let message = statement.message(&kid);
        let signature = signer.sign(&message).await?;
        Ok(Self { digest: Sha256::digest(&message).into(), statement, kid, signature })
    }

    /// The text that is kept.
    ///
    /// # Errors
    /// A time that cannot be written, which would be a defect.
    pub fn to_text(&self) -> Result<String> {
        let at = self.statement.at.format(&Rfc3339);
        let text = Text {
            version: 1,
            org: self.statement.org.as_uuid(),
            from_seq: self.statement.from_seq,
            to_seq: self.statement.to_seq(),
            root_hash: hex::encode(self.statement.root()),
            hashes: STANDARD.encode(self.statement.hashes.concat()),
            previous: self.statement.previous.map(hex::encode),
            at: at.map_err(|_| Error::Inside("an anchor's time cannot be written".to_owned()))?,
            kid: self.kid.clone(),
            signature: STANDARD.encode(self.signature),
        };
        serde_json::to_string(&text).map_err(|_| Error::Inside("an anchor cannot be written".to_owned()))
    }

    /// Reads a text. `None` when it is no anchor, or nobody whom we believe signed it.
    #[must_use]
    pub fn open(text: &[u8], trust: &Trust) -> Option<Self> {
        let text: Text = serde_json::from_slice(text).ok()?;
        let bytes = STANDARD.decode(&text.hashes).ok()?;
        let (hashes, rest) = bytes.as_chunks::<32>();
        if text.version != 1 || hashes.is_empty() || hashes.len() > MOST || !rest.is_empty() || text.from_seq < 1 {
            return None;
        }
        let previous = match text.previous {
            Some(hex) => Some(decode_hash(&hex)?),
            None => None,
        };
        let at = Timestamp::parse(&text.at, &Rfc3339).ok()?;
        let org = OrgId::from_uuid(text.org);
        let statement = Statement { org, from_seq: text.from_seq, hashes: hashes.to_vec(), previous, at };
        if statement.to_seq() != text.to_seq || decode_hash(&text.root_hash)? != statement.root() {
            return None;
        }
        let signature: [u8; 64] = STANDARD.decode(&text.signature).ok()?.try_into().ok()?;
        let message = statement.message(&text.kid);
        if !trust.has_signed(&text.kid, &message, &signature) {
            return None;
        }
        Some(Self { digest: Sha256::digest(&message).into(), statement, kid: text.kid, signature })
    }
}

fn decode_hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::signer::LocalSigner;
    use proptest::prelude::*;
    use time::macros::datetime;

    fn statement() -> Statement {
        Statement {
            org: OrgId::random(),
            from_seq: 11,
            hashes: vec![[1; 32], [2; 32], [3; 32]],
            previous: Some([9; 32]),
            at: datetime!(2026-11-21 10:00:00.000_123 UTC),
        }
    }

    #[tokio::test]
    async fn an_anchor_opens_as_it_was_signed_and_no_byte_of_it_can_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let signer = LocalSigner::read_or_create(folder.path()).unwrap();
        let trust = Trust::read(folder.path()).unwrap();
        let anchor = Anchor::sign(statement(), &signer).await.unwrap();
        assert_eq!((anchor.statement.to_seq(), anchor.statement.root()), (13, [3; 32]));
        let text = anchor.to_text().unwrap();
        assert_eq!(Anchor::open(text.as_bytes(), &trust), Some(anchor));
        for (from, to) in [
            ("\"fromSeq\":11", "\"fromSeq\":12"),
            ("\"toSeq\":13", "\"toSeq\":14"),
            ("AQEB", "AQEC"),
            ("0909", "0908"),
            ("10:00:00", "10:00:01"),
            ("\"version\":1", "\"version\":2"),
            ("\"kid\":\"", "\"kid\":\"x"),
        ] {
            assert!(text.contains(from), "{from} in {text}");
            assert_eq!(Anchor::open(text.replacen(from, to, 1).as_bytes(), &trust), None, "{from}");
        }
        let stranger = tempfile::tempdir().unwrap();
        LocalSigner::read_or_create(stranger.path()).unwrap();
        assert_eq!(Anchor::open(text.as_bytes(), &Trust::read(stranger.path()).unwrap()), None);
    }

    #[tokio::test]
    async fn a_full_anchor_is_within_its_bound() {
        let folder = tempfile::tempdir().unwrap();
        let signer = LocalSigner::read_or_create(folder.path()).unwrap();
        let full = Statement { hashes: vec![[255; 32]; MOST], from_seq: i64::MAX - 2000, ..statement() };
        let text = Anchor::sign(full, &signer).await.unwrap().to_text().unwrap();
        assert!(u64::try_from(text.len()).unwrap() < MAX_BYTES);
    }

    proptest! {
        #[test]
        fn no_bytes_break_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert_eq!(Anchor::open(&bytes, &Trust::default()), None);
        }
    }
}
