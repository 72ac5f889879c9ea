//! A journal to sealed files and a manifest, in two readings: the first plans every file, the second writes it.
//! The same journal gives the same plaintext, whenever and however often it is rendered.

use std::path::{Path, PathBuf};

use vault::{DataKey, ObjectName};
use wire::manifest::{Artefact, Content, Manifest};
use wire::tap::TapFrame;
use wire::{RecordingId, RoomId};

use crate::assembly::{Assembly, Piece};
use crate::error::{Error, Result};
use crate::journal;
use crate::mux::Plan;
use crate::packet::Micros;

mod output;
mod survey;

use output::Output;
use survey::Survey;

/// What to render, and where to.
#[derive(Debug)]
pub struct Job<'a> {
    /// The Recording.
    pub recording: RecordingId,
    /// Its Room.
    pub room: RoomId,
    /// The writer's epoch: sealed files of another epoch have other subkeys.
    pub epoch: u32,
    /// The recording's data key.
    pub key: &'a DataKey,
    /// Holds the journals, and gets the sealed files.
    pub folder: &'a Path,
}

/// One file of the recording before it is opened.
#[derive(Debug)]
struct File {
    name: String,
    content: Content,
    /// Numbers of its streams in the assembly, in the order of the plan's.
    streams: Vec<usize>,
    /// Its zero on the recording's timeline.
    offset: Micros,
    plan: Plan,
}

impl Job<'_> {
    /// Where a sealed file lies until it is stored.
    #[must_use]
    pub fn sealed_path(&self, artefact: &str) -> PathBuf {
        self.folder.join(format!("{artefact}.sealed"))
    }

    fn read<E: From<vault::SealError>>(&self, each: impl FnMut(TapFrame) -> Result<(), E>) -> Result<bool, E> {
        journal::replay(self.folder, self.recording, self.key, each)
    }
}

/// Renders every file of a recording. Blocks: runs on a thread of its own.
///
/// # Errors
/// When nothing was captured, or a file fails.
pub fn render(job: &Job<'_>) -> Result<Manifest> {
    let mut assembly = Assembly::default();
    let mut survey = Survey::new()?;
    job.read::<Error>(|frame| {
        assembly.feed(frame, &mut |piece| survey.note(piece))?;
        survey.mix_until(assembly.now())
    })?;
    assembly.finish(&mut |piece| survey.note(piece))?;
    let (files, mix) = survey.plan(&assembly)?;
    if files.is_empty() {
        return Err(Error::Empty);
    }

    let mut outputs = Vec::new();
    for file in files {
        outputs.push(Output::create(job, file)?);
    }
    let mut again = Assembly::default();
    let mut write = |piece: Piece| -> Result<()> {
        match outputs.iter_mut().find(|output| output.takes(piece.stream)) {
            Some(output) => output.push(piece.stream, piece.frame.data),
            None => Ok(()),
        }
    };
    job.read::<Error>(|frame| again.feed(frame, &mut write))?;
    again.finish(&mut write)?;

    let mut artefacts: Vec<Artefact> = Vec::new();
    for output in outputs {
        artefacts.push(output.finish()?);
    }
    let (file, packets) = mix;
    let mut output = Output::create(job, file)?;
    for packet in packets {
        output.push(0, packet)?;
    }
    artefacts.push(output.finish()?);

    let duration_ms = artefacts.iter().map(|artefact| artefact.offset_ms + artefact.duration_ms).max().unwrap_or(0);
    Ok(Manifest {
        version: 1,
        recording: job.recording,
        room: job.room,
        started_at_us: assembly.zero(),
        duration_ms,
        artefacts,
        gaps: assembly.gaps().to_vec(),
    })
}

/// The name in the store of one artefact.
///
/// # Errors
/// When the name is none; ours always are.
pub fn object_name(recording: RecordingId, artefact: &str) -> Result<ObjectName> {
    Ok(ObjectName::new(recording, artefact)?)
}
