//! The same cipher for a log: a header, then records of any length up to a bound, each readable when written.
//!
//! ```text
//! header 96 | (length u32 of the sealed record | AES-256-GCM(subkey, nonce = prefix | counter | last, AAD, body) | tag 16) ...
//! ```
//!
//! A torn tail is what a crash leaves: reading stops there. The record flagged last says that the log was closed in order.

use std::io::{self, Read, Write};

use super::{Cipher, HEADER, Header, SealError, TAG};
use crate::keys::DataKey;
use crate::name::ObjectName;

/// The longest body of one record. A length beyond it in a file is damage, not a reason to allocate.
pub const MAX_RECORD: usize = 4 * 1024 * 1024;

/// Appends sealed records to a sink.
#[derive(Debug)]
pub struct RecordWriter<W: Write> {
    cipher: Cipher,
    sink: W,
    next: u32,
}

impl<W: Write> RecordWriter<W> {
    /// Writes the header, with fresh salt.
    ///
    /// # Errors
    /// When the sink fails or the system gives no randomness.
    pub fn new(data_key: &DataKey, name: &ObjectName, epoch: u32, mut sink: W) -> Result<Self, SealError> {
        let header = Header::fresh(name, epoch)?;
        sink.write_all(&header.encode())?;
        Ok(Self { cipher: Cipher::new(data_key, &header)?, sink, next: 0 })
    }

    /// Seals one record and writes it with one call. After an error the log must not be written again: its tail is unknown.
    ///
    /// # Errors
    /// When the sink fails, the body is too long, or after 2^32 records.
    pub fn append(&mut self, body: Vec<u8>) -> Result<(), SealError> {
        self.write(body, false)
    }

    /// Writes the closing record and gives the sink back, flushed but not synced.
    ///
    /// # Errors
    /// When the sink fails.
    pub fn close(mut self) -> Result<W, SealError> {
        self.write(Vec::new(), true)?;
        self.sink.flush()?;
        Ok(self.sink)
    }

    /// The sink, to sync it.
    pub fn sink(&self) -> &W {
        &self.sink
    }

    fn write(&mut self, mut body: Vec<u8>, last: bool) -> Result<(), SealError> {
        if body.len() > MAX_RECORD {
            return Err(SealError::Range);
        }
        self.cipher.seal(self.next, last, &mut body)?;
        self.next = self.next.checked_add(1).ok_or(SealError::Full)?;
        let length = u32::try_from(body.len()).map_err(|_| SealError::Range)?;
        body.splice(..0, length.to_be_bytes());
        self.sink.write_all(&body)?;
        Ok(())
    }
}

/// What follows in a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Record {
    /// One record's body.
    Body(Vec<u8>),
    /// The log was closed in order here.
    Closed,
    /// The log ends here without having been closed, or is damaged from here on.
    Torn,
}

/// Reads sealed records in order.
#[derive(Debug)]
pub struct RecordReader<R: Read> {
    cipher: Cipher,
    source: R,
    next: u32,
}

impl<R: Read> RecordReader<R> {
    /// Reads the header; `None` when the log is torn inside it, which holds nothing then.
    ///
    /// # Errors
    /// When the source fails, or it is another log.
    pub fn new(data_key: &DataKey, name: &ObjectName, mut source: R) -> Result<Option<Self>, SealError> {
        let mut header = [0; HEADER];
        if !fill(&mut source, &mut header)? {
            return Ok(None);
        }
        let header = Header::decode(&header)?;
        if header.recording != *name.recording().as_uuid().as_bytes() || header.object != name.object_id() {
            return Err(SealError::WrongObject);
        }
        Ok(Some(Self { cipher: Cipher::new(data_key, &header)?, source, next: 0 }))
    }

    /// The next record. After `Closed` or `Torn` nothing more is to be read.
    ///
    /// # Errors
    /// When the source fails.
    pub fn next_record(&mut self) -> Result<Record, SealError> {
        let mut length = [0; 4];
        if !fill(&mut self.source, &mut length)? {
            return Ok(Record::Torn);
        }
        let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
        if !(TAG..=MAX_RECORD + TAG).contains(&length) {
            return Ok(Record::Torn);
        }
        let mut sealed = vec![0; length];
        if !fill(&mut self.source, &mut sealed)? {
            return Ok(Record::Torn);
        }
        // Only an empty record can be the closing one; an open attempt spoils the bytes, hence the copy of 16.
        if length == TAG && self.cipher.open(self.next, true, &mut sealed.clone()).is_ok() {
            return Ok(Record::Closed);
        }
        match self.cipher.open(self.next, false, &mut sealed) {
            Ok(body) => {
                let length = body.len();
                sealed.truncate(length);
                let Some(next) = self.next.checked_add(1) else { return Ok(Record::Torn) };
                self.next = next;
                Ok(Record::Body(sealed))
            }
            Err(_) => Ok(Record::Torn),
        }
    }
}

/// Fills the buffer, or says that the source ended before.
fn fill(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match source.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::RecordingId;

    fn all(key: &DataKey, name: &ObjectName, log: &[u8]) -> (Vec<Vec<u8>>, bool) {
        let mut bodies = Vec::new();
        let Some(mut reader) = RecordReader::new(key, name, log).unwrap() else { return (bodies, false) };
        loop {
            match reader.next_record().unwrap() {
                Record::Body(body) => bodies.push(body),
                Record::Closed => return (bodies, true),
                Record::Torn => return (bodies, false),
            }
        }
    }

    #[test]
    fn a_log_cut_anywhere_gives_the_whole_records_before() {
        let key = DataKey::generate().unwrap();
        let name = ObjectName::new(RecordingId::random(), "journal-1").unwrap();
        let mut writer = RecordWriter::new(&key, &name, 1, Vec::new()).unwrap();
        let bodies = [b"one".to_vec(), Vec::new(), vec![7; 300]];
        for body in &bodies {
            writer.append(body.clone()).unwrap();
        }
        let log = writer.close().unwrap();
        assert_eq!(all(&key, &name, &log), (bodies.to_vec(), true));
        let ends = [HEADER + 4 + 16 + 3, HEADER + 2 * 20 + 3, HEADER + 3 * 20 + 303];
        for keep in 0..log.len() {
            let whole = ends.iter().filter(|end| **end <= keep).count();
            assert_eq!(all(&key, &name, &log[..keep]), (bodies[..whole].to_vec(), false), "{keep}");
        }
        for at in HEADER..log.len() {
            let mut damaged = log.clone();
            damaged[at] ^= 0x10;
            let (read, closed) = all(&key, &name, &damaged);
            assert!(!closed && bodies.starts_with(&read));
        }
        let other = ObjectName::new(name.recording(), "journal-2").unwrap();
        assert!(matches!(RecordReader::new(&key, &other, &log[..]), Err(SealError::WrongObject)));
    }
}
