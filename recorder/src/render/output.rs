//! The second reading: one file being sealed as its frames come.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;

use bytes::Bytes;
use sha2::{Digest, Sha256};
use vault::SealWriter;
use wire::control::Codec;
use wire::manifest::Artefact;

use super::{File, Job, object_name};
use crate::error::{Error, Result};
use crate::mux::{Coding, Container, MuxError};
use crate::packet::Micros;

/// One file being written. Frames wait here until their chunk is complete: about a chunk and what the streams are apart,
/// which the timeline bounds to a few seconds.
#[derive(Debug)]
pub(super) struct Output {
    file: File,
    container: Container,
    /// How many frames of each stream came.
    counts: Vec<usize>,
    waiting: BTreeMap<(usize, usize), Bytes>,
    next_chunk: usize,
    sealer: SealWriter<BufWriter<fs::File>>,
    hash: Sha256,
}

impl Output {
    pub(super) fn create(job: &Job<'_>, file: File) -> Result<Self> {
        let name = object_name(job.recording, &file.name)?;
        let path = job.sealed_path(&file.name);
        // Left over from a rendering that did not end; a sealed file counts only once the manifest is there.
        let sink = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
        let sealer = SealWriter::new(job.key, &name, job.epoch, BufWriter::with_capacity(1 << 17, sink))?;
        let container = if file.name.ends_with(".webm") { Container::Webm } else { Container::Mp4 };
        let counts = vec![0; file.streams.len()];
        let hash = Sha256::new();
        let mut output = Self { file, container, counts, waiting: BTreeMap::new(), next_chunk: 0, sealer, hash };
        let head = output.file.plan.head(container)?;
        output.write(&head)?;
        Ok(output)
    }

    /// Whether a stream of the assembly belongs here.
    pub(super) fn takes(&self, stream: usize) -> bool {
        self.file.streams.contains(&stream)
    }

    /// Takes the next frame of one of its streams and writes the chunks that became complete.
    pub(super) fn push(&mut self, stream: usize, data: Bytes) -> Result<()> {
        let place = self.file.streams.iter().position(|own| *own == stream).ok_or(MuxError::Plan)?;
        let count = self.counts.get_mut(place).ok_or(MuxError::Plan)?;
        self.waiting.insert((place, *count), data);
        *count += 1;
        while let Some(chunk) = self.file.plan.chunks.get(self.next_chunk) {
            if !chunk.items.iter().all(|item| self.waiting.contains_key(item)) {
                break;
            }
            let payloads: Vec<Bytes> = chunk.items.iter().filter_map(|item| self.waiting.remove(item)).collect();
            let bytes = self.file.plan.chunk(self.container, self.next_chunk, &payloads)?;
            self.write(&bytes)?;
            self.next_chunk += 1;
        }
        Ok(())
    }

    /// Seals the end and syncs the file.
    pub(super) fn finish(self) -> Result<Artefact> {
        if self.next_chunk != self.file.plan.chunks.len() || !self.waiting.is_empty() {
            // The second reading gave other frames than the first: the journal changed under us.
            return Err(MuxError::Plan.into());
        }
        let (sink, count) = self.sealer.finish()?;
        sink.into_inner().map_err(|error| Error::File(error.into_error()))?.sync_all()?;
        let codec = |coding: &Coding| match coding {
            Coding::Video { codec, .. } => *codec,
            Coding::Audio { .. } => Codec::Opus,
        };
        let codecs: Vec<Codec> = self.file.plan.streams.iter().map(|stream| codec(&stream.coding)).collect();
        let pictures = codecs.iter().any(|codec| *codec != Codec::Opus);
        let mime = match (self.container, pictures) {
            (Container::Webm, _) => "video/webm",
            (Container::Mp4, true) => "video/mp4",
            (Container::Mp4, false) => "audio/mp4",
        };
        let millis = |at: Micros| u64::try_from(at / 1000).unwrap_or(0);
        let digest = self.hash.finalize();
        Ok(Artefact {
            name: self.file.name,
            content: self.file.content,
            mime: mime.to_owned(),
            codecs,
            offset_ms: millis(self.file.offset),
            duration_ms: millis(self.file.plan.duration()),
            bytes: count.plain,
            sealed_bytes: count.sealed,
            sha256: digest.iter().map(|byte| format!("{byte:02x}")).collect(),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.hash.update(bytes);
        Ok(self.sealer.write_all(bytes)?)
    }
}
