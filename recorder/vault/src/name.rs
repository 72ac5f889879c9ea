//! `ObjectName`: a Recording and one checked name inside it. The only names that a store is ever asked for.

use std::fmt;

use aws_lc_rs::digest;
use wire::RecordingId;

/// The longest name inside a recording, in bytes.
const MAX_BYTES: usize = 96;

/// One object of one Recording. It prints as `<recording id>/<artefact>`, which is also its place in every store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ObjectName {
    recording: RecordingId,
    artefact: String,
}

/// A name that no object can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an object's name is lower-case letters, digits and hyphens with one short ending")]
pub struct NameError;

impl ObjectName {
    /// Checks `[a-z0-9-]+` with at most one ending `\.[a-z0-9]+`, at most 96 bytes in all: nothing that could climb out of
    /// a folder or collide after normalisation.
    ///
    /// # Errors
    /// When the name is anything else.
    pub fn new(recording: RecordingId, artefact: &str) -> Result<Self, NameError> {
        let (stem, ending) = artefact.split_once('.').unwrap_or((artefact, "x"));
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let fits = artefact.len() <= MAX_BYTES
            && !stem.is_empty()
            && !ending.is_empty()
            && stem.bytes().all(|b| plain(b) || b == b'-')
            && ending.bytes().all(plain);
        if fits { Ok(Self { recording, artefact: artefact.to_owned() }) } else { Err(NameError) }
    }

    /// The Recording.
    #[must_use]
    pub const fn recording(&self) -> RecordingId {
        self.recording
    }

    /// The name inside the Recording.
    #[must_use]
    pub fn artefact(&self) -> &str {
        &self.artefact
    }

    /// What stands for the artefact in a sealed header: the first 16 bytes of the name's SHA-256. An object moved to
    /// another name does not open there.
    #[must_use]
    pub fn object_id(&self) -> [u8; 16] {
        let mut id = [0; 16];
        let hash = digest::digest(&digest::SHA256, self.artefact.as_bytes());
        for (to, from) in id.iter_mut().zip(hash.as_ref()) {
            *to = *from;
        }
        id
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.recording, self.artefact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_names_pass() {
        let recording = RecordingId::random();
        for good in ["mix.mp4", "a-1.webm", "journal", "9.x"] {
            assert_eq!(ObjectName::new(recording, good).unwrap().to_string(), format!("{recording}/{good}"));
        }
        for bad in ["", ".", "..", "../x", "a/b", "a.b.c", ".mp4", "a.", "A.mp4", "ä.mp4", "a b", "a\0", "a.mp4/"] {
            assert_eq!(ObjectName::new(recording, bad), Err(NameError), "{bad:?}");
        }
        assert!(ObjectName::new(recording, &"a".repeat(97)).is_err());
    }
}
