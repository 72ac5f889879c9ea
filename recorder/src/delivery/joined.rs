//! Pieces to one file: the head of one of them, and every piece's fragments moved to their place. Nothing is coded again, and nothing
//! is held in memory but one piece.

use std::collections::BTreeMap;

use mp4_atom::{Atom, Codec, Decode, Encode, FourCC, Ftyp, Mehd, Moof, Moov};
use wire::delivery::{Delivered, Folder, Piece};

use crate::mux::MuxError;

/// What becomes one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Whole {
    /// Where it belongs.
    pub folder: Folder,
    /// Whose camera or share.
    pub whose: Option<String>,
    /// Tells files of one person in several codings apart.
    pub turn: usize,
    /// In order of time.
    pub pieces: Vec<Piece>,
    /// The piece whose head describes all of them.
    pub head: Piece,
}

/// Every file that the deliveries of some captures become. Sound with and without a picture is one file; what is coded in another way
/// is another one.
#[must_use]
pub fn plan(delivered: &[Delivered]) -> Vec<Whole> {
    let mut merged = wire::delivery::merge(delivered);
    merged.sort_by_key(|series| {
        let begins = series.pieces.iter().map(|piece| piece.begins).min();
        (series.folder, series.whose.clone(), begins)
    });
    let mut wholes: Vec<Whole> = Vec::new();
    let mut turns: BTreeMap<(Folder, Option<String>), usize> = BTreeMap::new();
    let mut richest = 0;
    for series in merged {
        let Some(head) = series.pieces.iter().min_by_key(|piece| piece.begins).copied() else { continue };
        let turn = turns.entry((series.folder, series.whose.clone())).or_default();
        let into = wholes.iter_mut().find(|whole| whole.folder == Folder::Audio && series.folder == Folder::Audio);
        if let Some(whole) = into {
            whole.pieces.extend(&series.pieces);
            if series.codecs.len() > richest {
                (whole.head, richest) = (head, series.codecs.len());
            }
            continue;
        }
        if series.folder == Folder::Audio {
            richest = series.codecs.len();
        }
        wholes.push(Whole { folder: series.folder, whose: series.whose, turn: *turn, pieces: series.pieces, head });
        *turn += 1;
    }
    for whole in &mut wholes {
        whole.pieces.sort_by_key(|piece| piece.begins);
    }
    wholes
}

impl Whole {
    /// From its first to the end of its last piece, in microseconds.
    #[must_use]
    pub fn lasts(&self) -> u64 {
        let end = self.pieces.iter().map(|piece| piece.begins + piece.lasts).max().unwrap_or(0);
        end.saturating_sub(self.begins())
    }

    /// Where its time begins.
    #[must_use]
    pub fn begins(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.begins).min().unwrap_or(0)
    }
}

/// Joins the pieces of one file.
#[derive(Debug)]
pub struct Joiner {
    begins: u64,
    sequence: u32,
    /// Of each track: its clock and what it is coded in.
    tracks: BTreeMap<u32, (u32, FourCC)>,
}

/// A box of a file: its kind and all its bytes.
fn boxes(mut rest: &[u8]) -> impl Iterator<Item = Result<(FourCC, &[u8]), MuxError>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let next = || {
            let &[a, b, c, d, kind @ ..] = rest.first_chunk::<8>()?;
            let size = usize::try_from(u32::from_be_bytes([a, b, c, d])).ok().filter(|size| *size >= 8)?;
            Some((FourCC::from(kind), rest.get(..size)?, rest.get(size..)?))
        };
        let Some((kind, whole, tail)) = next() else {
            rest = &[];
            return Some(Err(MuxError::Plan));
        };
        rest = tail;
        Some(Ok((kind, whole)))
    })
}

fn moov(piece: &[u8]) -> Result<Moov, MuxError> {
    for found in boxes(piece) {
        let (kind, whole) = found?;
        if kind == Moov::KIND {
            return Ok(Moov::decode(&mut &*whole)?);
        }
    }
    Err(MuxError::Plan)
}

fn tracks(moov: &Moov) -> BTreeMap<u32, (u32, FourCC)> {
    let of = |trak: &mp4_atom::Trak| {
        let kind = match trak.mdia.minf.stbl.stsd.codecs.first() {
            Some(Codec::Avc3(_)) => FourCC::new(b"avc3"),
            Some(Codec::Vp08(_)) => FourCC::new(b"vp08"),
            Some(Codec::Vp09(_)) => FourCC::new(b"vp09"),
            Some(Codec::Av01(_)) => FourCC::new(b"av01"),
            Some(Codec::Opus(_)) => FourCC::new(b"Opus"),
            _ => FourCC::new(b"none"),
        };
        (trak.tkhd.track_id, (trak.mdia.mdhd.timescale, kind))
    };
    moov.trak.iter().map(of).collect()
}

impl Joiner {
    /// Begins a file with the head of one of its pieces. Gives the first bytes of the file.
    ///
    /// # Errors
    /// When the piece is none of ours.
    pub fn begin(whole: &Whole, head: &[u8]) -> Result<(Self, Vec<u8>), MuxError> {
        let mut moov = moov(head)?;
        let scale = u64::from(moov.mvhd.timescale);
        if let Some(mvex) = &mut moov.mvex {
            mvex.mehd = Some(Mehd { fragment_duration: whole.lasts() * scale / 1_000_000 });
        }
        let mut bytes = Vec::new();
        let ftyp = boxes(head).find_map(|found| found.ok().filter(|(kind, _)| *kind == Ftyp::KIND));
        bytes.extend_from_slice(ftyp.map_or(&[], |(_, ftyp)| ftyp));
        moov.encode(&mut bytes)?;
        Ok((Self { begins: whole.begins(), sequence: 0, tracks: tracks(&moov) }, bytes))
    }

    /// The fragments of a piece, in their place. A track that the head does not describe is left out.
    ///
    /// # Errors
    /// When the piece is none of ours.
    pub fn add(&mut self, piece: Piece, bytes: &[u8]) -> Result<Vec<u8>, MuxError> {
        let own = tracks(&moov(bytes)?);
        let offset = u128::from(piece.begins.saturating_sub(self.begins));
        let mut out = Vec::with_capacity(bytes.len());
        for found in boxes(bytes) {
            let (kind, whole) = found?;
            if kind == FourCC::new(b"mdat") {
                out.extend_from_slice(whole);
            }
            if kind != Moof::KIND {
                continue;
            }
            let mut moof = Moof::decode(&mut &*whole)?;
            self.sequence += 1;
            moof.mfhd.sequence_number = self.sequence;
            moof.traf.retain(|traf| {
                let id = traf.tfhd.track_id;
                self.tracks.get(&id).is_some_and(|known| own.get(&id) == Some(known))
            });
            for traf in &mut moof.traf {
                let scale = self.tracks.get(&traf.tfhd.track_id).map_or(0, |(scale, _)| *scale);
                let moved = u64::try_from(offset * u128::from(scale) / 1_000_000).map_err(|_| MuxError::Size)?;
                if let Some(tfdt) = &mut traf.tfdt {
                    tfdt.base_media_decode_time += moved;
                }
            }
            let mut encoded = Vec::new();
            moof.encode(&mut encoded)?;
            // What precedes the data may have another length now.
            let before = i64::try_from(whole.len()).map_err(|_| MuxError::Size)?;
            let after = i64::try_from(encoded.len()).map_err(|_| MuxError::Size)?;
            let step = i32::try_from(after - before).map_err(|_| MuxError::Size)?;
            if step != 0 {
                for trun in moof.traf.iter_mut().flat_map(|traf| traf.trun.iter_mut()) {
                    trun.data_offset = trun.data_offset.and_then(|offset| offset.checked_add(step));
                }
                encoded.clear();
                moof.encode(&mut encoded)?;
            }
            out.extend(encoded);
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use wire::control::Codec as Coded;
    use wire::delivery::Series;

    fn series(folder: Folder, whose: Option<&str>, codecs: &[Coded], begins: &[u64]) -> Series {
        let pieces = begins.iter().map(|begins| Piece { named: begins / 1000, begins: *begins, lasts: 5_000_000 });
        Series { folder, whose: whose.map(str::to_owned), codecs: codecs.to_vec(), pieces: pieces.collect() }
    }

    #[test]
    fn sound_is_one_file_and_another_coding_another() {
        let delivered = Delivered {
            series: vec![
                series(Folder::Audio, None, &[Coded::Opus], &[0, 10_000_000]),
                series(Folder::Audio, None, &[Coded::Vp8, Coded::Opus], &[5_000_000]),
                series(Folder::Video, Some("a"), &[Coded::H264], &[7_000_000]),
                series(Folder::Video, Some("a"), &[Coded::Vp8], &[1_000_000]),
            ],
        };
        let wholes = plan(&[delivered]);
        assert_eq!(wholes.len(), 3);
        assert_eq!(wholes[0].pieces.iter().map(|p| p.begins).collect::<Vec<_>>(), [0, 5_000_000, 10_000_000]);
        assert_eq!((wholes[0].head.begins, wholes[0].lasts()), (5_000_000, 15_000_000));
        assert_eq!((wholes[1].turn, wholes[1].begins(), wholes[2].turn), (0, 1_000_000, 1));
    }

    proptest! {
        #[test]
        fn noise_is_refused_and_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let piece = Piece { named: 0, begins: 0, lasts: 1 };
            let whole = Whole { folder: Folder::Video, whose: None, turn: 0, pieces: vec![piece], head: piece };
            prop_assert!(Joiner::begin(&whole, &bytes).is_err());
            let mut joiner = Joiner { begins: 0, sequence: 0, tracks: BTreeMap::new() };
            drop(joiner.add(piece, &bytes));
        }
    }
}
