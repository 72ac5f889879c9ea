//! The sealed format: a plain header, then AES-256-GCM chunks of 64 KiB in the STREAM layout, each openable by itself.
//!
//! ```text
//! header (96 bytes, plain)   magic 8 | version u16 | header length u16 | chunk size u32 | recording 16 | object 16
//!                            | epoch u32 | salt 32 | nonce prefix 7 | zero 5            (integers big-endian)
//! chunk i                    AES-256-GCM(subkey, nonce = prefix | i as u32 | last as u8, AAD = SHA-256(header), body) | tag 16
//! body                       65,536 bytes; the last one 0 to 65,536
//! subkey                     HKDF-SHA-256(data key, salt, info = label | recording | object | epoch)
//! ```
//!
//! Plain offset `p` lies in chunk `p / 65536`, which begins at sealed offset `96 + i * 65552`. Every writer draws a new
//! salt, so no two writers share a subkey and a nonce can never meet two plaintexts, whatever a second run of the
//! program would write.

use std::io::{self, Write};
use std::ops::Range;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::{digest, hkdf, rand};

use crate::keys::DataKey;
use crate::name::ObjectName;

pub mod record;
#[cfg(test)]
mod tests;

/// Plain bytes in every chunk but the last. One chunk is what a seek costs; the overhead is 0.024 %.
pub const CHUNK: usize = 65_536;

/// Bytes of the authentication tag.
pub const TAG: usize = 16;

/// Bytes of the header.
pub const HEADER: usize = 96;

const SEALED_CHUNK: usize = CHUNK + TAG;
const MAGIC: &[u8; 8] = b"ANTRSEAL";
const VERSION: u16 = 1;
const LABEL: &[u8] = b"anteroom seal 1";

/// Why bytes could not be sealed or opened.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Not this format, or a version that this program does not know.
    #[error("not a sealed object of a known version")]
    Format,
    /// The header belongs to another recording or object.
    #[error("sealed for another object")]
    WrongObject,
    /// The authentication failed: damaged, cut, moved, or another key.
    #[error("the sealed bytes do not open")]
    Refused,
    /// The object has as many chunks as it can.
    #[error("the object is full")]
    Full,
    /// The range does not lie inside the object.
    #[error("the range lies outside the object")]
    Range,
    /// The system gives no randomness.
    #[error("no randomness")]
    Randomness,
    /// The sink below failed.
    #[error("cannot write: {0}")]
    Write(#[from] io::Error),
}

/// Subkey, nonce prefix and AAD of one object: what both directions share.
#[derive(Debug)]
struct Cipher {
    key: LessSafeKey,
    prefix: [u8; 7],
    aad: [u8; 32],
}

impl Cipher {
    fn new(data_key: &DataKey, header: &Header) -> Result<Self, SealError> {
        let epoch = header.epoch.to_be_bytes();
        let info: [&[u8]; 4] = [LABEL, &header.recording, &header.object, &epoch];
        let prk = hkdf::Salt::new(hkdf::HKDF_SHA256, &header.salt).extract(data_key.bytes());
        let okm = prk.expand(&info, &AES_256_GCM).map_err(|_| SealError::Refused)?;
        let hash = digest::digest(&digest::SHA256, &header.encode());
        let aad = hash.as_ref().try_into().map_err(|_| SealError::Refused)?;
        Ok(Self { key: LessSafeKey::new(UnboundKey::from(okm)), prefix: header.prefix, aad })
    }

    fn nonce(&self, index: u32, last: bool) -> Nonce {
        let [a, b, c, d, e, f, g] = self.prefix;
        let [i0, i1, i2, i3] = index.to_be_bytes();
        Nonce::assume_unique_for_key([a, b, c, d, e, f, g, i0, i1, i2, i3, u8::from(last)])
    }

    fn seal(&self, index: u32, last: bool, body: &mut Vec<u8>) -> Result<(), SealError> {
        self.key
            .seal_in_place_append_tag(self.nonce(index, last), Aad::from(self.aad), body)
            .map_err(|_| SealError::Refused)
    }

    fn open<'a>(&self, index: u32, last: bool, chunk: &'a mut [u8]) -> Result<&'a [u8], SealError> {
        self.key
            .open_in_place(self.nonce(index, last), Aad::from(self.aad), chunk)
            .map(|body| &*body)
            .map_err(|_| SealError::Refused)
    }
}

/// The plain header.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Header {
    recording: [u8; 16],
    object: [u8; 16],
    epoch: u32,
    salt: [u8; 32],
    prefix: [u8; 7],
}

impl Header {
    fn fresh(name: &ObjectName, epoch: u32) -> Result<Self, SealError> {
        let mut salt = [0; 32];
        let mut prefix = [0; 7];
        rand::fill(&mut salt).map_err(|_| SealError::Randomness)?;
        rand::fill(&mut prefix).map_err(|_| SealError::Randomness)?;
        Ok(Self { recording: *name.recording().as_uuid().as_bytes(), object: name.object_id(), epoch, salt, prefix })
    }

    fn encode(&self) -> [u8; HEADER] {
        let header_len = u16::try_from(HEADER).unwrap_or(u16::MAX).to_be_bytes();
        let chunk = u32::try_from(CHUNK).unwrap_or(u32::MAX).to_be_bytes();
        let version = VERSION.to_be_bytes();
        let epoch = self.epoch.to_be_bytes();
        let parts: [&[u8]; 9] =
            [MAGIC, &version, &header_len, &chunk, &self.recording, &self.object, &epoch, &self.salt, &self.prefix];
        let mut bytes = [0; HEADER];
        for (to, from) in bytes.iter_mut().zip(parts.iter().flat_map(|part| part.iter())) {
            *to = *from;
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, SealError> {
        fn take<const N: usize>(rest: &mut &[u8]) -> Result<[u8; N], SealError> {
            let (head, tail) = rest.split_first_chunk::<N>().ok_or(SealError::Format)?;
            *rest = tail;
            Ok(*head)
        }
        let mut rest = bytes.get(..HEADER).ok_or(SealError::Format)?;
        let fixed: [u8; 16] = take(&mut rest)?;
        let header = Self {
            recording: take(&mut rest)?,
            object: take(&mut rest)?,
            epoch: u32::from_be_bytes(take(&mut rest)?),
            salt: take(&mut rest)?,
            prefix: take(&mut rest)?,
        };
        // Everything that this version fixes must be as this version writes it.
        let again = header.encode();
        let same = again.get(..16) == Some(&fixed[..]) && again.get(HEADER - 5..) == bytes.get(HEADER - 5..HEADER);
        if same { Ok(header) } else { Err(SealError::Format) }
    }
}

/// Seals chunks of one object. One sealer, one salt: it cannot be made again for bytes already written.
#[derive(Debug)]
pub struct Sealer {
    cipher: Cipher,
    header: [u8; HEADER],
    next: u32,
    ended: bool,
}

impl Sealer {
    /// A sealer with fresh salt. `epoch` is the writer's claim on the job.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn new(data_key: &DataKey, name: &ObjectName, epoch: u32) -> Result<Self, SealError> {
        let header = Header::fresh(name, epoch)?;
        Ok(Self { cipher: Cipher::new(data_key, &header)?, header: header.encode(), next: 0, ended: false })
    }

    /// The bytes before the first chunk.
    #[must_use]
    pub const fn header(&self) -> &[u8; HEADER] {
        &self.header
    }

    /// Seals the next chunk in place and appends its tag. Chunks come in order; nothing may follow the last.
    ///
    /// # Errors
    /// When a body has the wrong length for its place, after the last chunk, or after 2^32 of them.
    pub fn seal_chunk(&mut self, last: bool, body: &mut Vec<u8>) -> Result<(), SealError> {
        let fits = if last { body.len() <= CHUNK } else { body.len() == CHUNK };
        if self.ended || !fits {
            return Err(SealError::Range);
        }
        self.cipher.seal(self.next, last, body)?;
        self.ended = last;
        if !last {
            self.next = self.next.checked_add(1).ok_or(SealError::Full)?;
        }
        Ok(())
    }
}

/// How much a [`SealWriter`] took and gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Plain bytes.
    pub plain: u64,
    /// Sealed bytes, header included.
    pub sealed: u64,
}

/// Seals what is written to it into a sink. Without [`SealWriter::finish`] the object has no last chunk and never opens.
#[derive(Debug)]
pub struct SealWriter<W: Write> {
    sealer: Sealer,
    sink: W,
    body: Vec<u8>,
    count: Sealed,
}

impl<W: Write> SealWriter<W> {
    /// Writes the header.
    ///
    /// # Errors
    /// When the sink fails or the system gives no randomness.
    pub fn new(data_key: &DataKey, name: &ObjectName, epoch: u32, mut sink: W) -> Result<Self, SealError> {
        let sealer = Sealer::new(data_key, name, epoch)?;
        sink.write_all(sealer.header())?;
        let count = Sealed { plain: 0, sealed: HEADER as u64 };
        Ok(Self { sealer, sink, body: Vec::with_capacity(SEALED_CHUNK), count })
    }

    /// Seals the last chunk and gives the sink back, flushed but not synced.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn finish(mut self) -> Result<(W, Sealed), SealError> {
        self.emit(true)?;
        self.sink.flush()?;
        Ok((self.sink, self.count))
    }

    fn emit(&mut self, last: bool) -> Result<(), SealError> {
        self.count.plain += self.body.len() as u64;
        self.sealer.seal_chunk(last, &mut self.body)?;
        self.sink.write_all(&self.body)?;
        self.count.sealed += self.body.len() as u64;
        self.body.clear();
        Ok(())
    }
}

impl<W: Write> Write for SealWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full body waits until more comes: only then is it known not to be the last.
        if self.body.len() == CHUNK && !bytes.is_empty() {
            self.emit(false).map_err(io::Error::other)?;
        }
        let room = CHUNK - self.body.len();
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.body.extend_from_slice(taken);
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        // A started chunk cannot be flushed: it would have to be sealed twice under one nonce.
        self.sink.flush()
    }
}

/// Opens ranges of one sealed object. It knows where the sealed bytes lie; fetching them is the caller's part.
#[derive(Debug)]
pub struct Opener {
    cipher: Cipher,
    chunks: u32,
    plain: u64,
}

impl Opener {
    /// Reads the header of an object that is `sealed_len` bytes long. Before anything it says is believed, open
    /// [`Opener::last_chunk`] once: that proves the length.
    ///
    /// # Errors
    /// Another format, another object, or a length that no object has.
    pub fn new(data_key: &DataKey, name: &ObjectName, header: &[u8], sealed_len: u64) -> Result<Self, SealError> {
        let header = Header::decode(header)?;
        if header.recording != *name.recording().as_uuid().as_bytes() || header.object != name.object_id() {
            return Err(SealError::WrongObject);
        }
        let body = sealed_len.checked_sub(HEADER as u64).ok_or(SealError::Format)?;
        let chunks = body.div_ceil(SEALED_CHUNK as u64);
        let tags = chunks * TAG as u64;
        let plain = body.checked_sub(tags).ok_or(SealError::Format)?;
        // The last chunk must at least hold its tag.
        if chunks == 0 || body - (chunks - 1) * (SEALED_CHUNK as u64) < TAG as u64 {
            return Err(SealError::Format);
        }
        let chunks = u32::try_from(chunks).map_err(|_| SealError::Format)?;
        Ok(Self { cipher: Cipher::new(data_key, &header)?, chunks, plain })
    }

    /// Plain bytes in the object.
    #[must_use]
    pub const fn plain_size(&self) -> u64 {
        self.plain
    }

    /// The plain range whose opening proves that the object is whole: its last chunk's.
    #[must_use]
    pub fn last_chunk(&self) -> Range<u64> {
        u64::from(self.chunks - 1) * (CHUNK as u64)..self.plain
    }

    /// Which sealed bytes hold the plain range.
    ///
    /// # Errors
    /// When the range does not lie inside the object.
    pub fn sealed_range(&self, plain: &Range<u64>) -> Result<Range<u64>, SealError> {
        let (first, end) = self.chunk_span(plain)?;
        let at = |chunk: u64| HEADER as u64 + chunk * (SEALED_CHUNK as u64);
        let whole = HEADER as u64 + self.plain + u64::from(self.chunks) * (TAG as u64);
        Ok(at(first)..at(end).min(whole))
    }

    /// Opens the plain range out of the bytes of [`Opener::sealed_range`].
    ///
    /// # Errors
    /// When the range lies outside, or any chunk it touches does not open.
    pub fn open_range(&self, plain: &Range<u64>, mut sealed: Vec<u8>) -> Result<Vec<u8>, SealError> {
        let wanted = self.sealed_range(plain)?;
        if sealed.len() as u64 != wanted.end - wanted.start {
            return Err(SealError::Refused);
        }
        let (first, _) = self.chunk_span(plain)?;
        let length = usize::try_from(plain.end - plain.start).map_err(|_| SealError::Range)?;
        let mut out = Vec::with_capacity(length);
        for (index, chunk) in (first..).zip(sealed.chunks_mut(SEALED_CHUNK)) {
            let index = u32::try_from(index).map_err(|_| SealError::Range)?;
            let body = self.cipher.open(index, index + 1 == self.chunks, chunk)?;
            let begin = u64::from(index) * (CHUNK as u64);
            let from = usize::try_from(plain.start.saturating_sub(begin)).map_err(|_| SealError::Range)?;
            let to = usize::try_from(plain.end - begin).map_err(|_| SealError::Range)?.min(body.len());
            out.extend_from_slice(body.get(from..to).ok_or(SealError::Refused)?);
        }
        Ok(out)
    }

    /// First chunk and the one after the last that a range touches. An empty range touches the chunk it stands in, so that
    /// even the empty object can be proved whole.
    fn chunk_span(&self, plain: &Range<u64>) -> Result<(u64, u64), SealError> {
        if plain.start > plain.end || plain.end > self.plain {
            return Err(SealError::Range);
        }
        let chunk = CHUNK as u64;
        let first = (plain.start / chunk).min(u64::from(self.chunks - 1));
        Ok((first, plain.end.div_ceil(chunk).max(first + 1)))
    }
}
