//! From Tap frames to files that ffmpeg plays: frames counted, times checked, every picture decoded without complaint.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

#[path = "support/media.rs"]
mod media;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use media::{Script, probe};
use recorder::journal::{Journal, replay};
use recorder::render::{Job, object_name, render};
use vault::seal::{HEADER, Opener};
use vault::{DataKey, SealError};
use wire::control::{Codec, Source};
use wire::manifest::{Artefact, Content, Manifest};
use wire::tap::TapFrame;
use wire::{ParticipantId, RecordingId, RoomId};

struct Case {
    recording: RecordingId,
    room: RoomId,
    key: DataKey,
    folder: tempfile::TempDir,
}

impl Case {
    /// Journals the frames as a capture does.
    async fn journaled(script_ids: (RecordingId, RoomId), frames: &[TapFrame]) -> Self {
        let (recording, room) = script_ids;
        let key = DataKey::generate().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut journal = Journal::create(folder.path(), recording, 1, &key).unwrap();
        for frame in frames {
            journal.append(frame).await.unwrap();
        }
        journal.close().await.unwrap();
        Self { recording, room, key, folder }
    }

    fn render(&self, epoch: u32) -> recorder::Result<Manifest> {
        let (recording, room) = (self.recording, self.room);
        render(&Job { recording, room, epoch, key: &self.key, folder: self.folder.path() })
    }

    /// Opens a sealed file and leaves the plaintext where ffmpeg can read it.
    fn open(&self, artefact: &Artefact) -> PathBuf {
        let sealed = fs::read(self.folder.path().join(format!("{}.sealed", artefact.name))).unwrap();
        assert_eq!(sealed.len() as u64, artefact.sealed_bytes);
        let name = object_name(self.recording, &artefact.name).unwrap();
        let opener = Opener::new(&self.key, &name, &sealed[..HEADER], sealed.len() as u64).unwrap();
        let plain = opener.open_range(&(0..opener.plain_size()), sealed[HEADER..].to_vec()).unwrap();
        assert_eq!(plain.len() as u64, artefact.bytes);
        let path = self.folder.path().join("plain").join(&artefact.name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, plain).unwrap();
        path
    }
}

fn of(manifest: &Manifest, who: ParticipantId, what: Source) -> &Artefact {
    let is = |artefact: &&Artefact| matches!(&artefact.content, Content::Participant { participant, sources } if *participant == who && sources.contains(&what));
    manifest.artefacts.iter().find(is).unwrap()
}

fn mix(manifest: &Manifest) -> &Artefact {
    manifest.artefacts.iter().find(|artefact| artefact.content == Content::Mix).unwrap()
}

fn near(a: f64, b: f64, within: f64) {
    assert!((a - b).abs() <= within, "{a} is not {b} within {within}");
}

#[tokio::test]
async fn two_people_in_vp8_become_two_files_and_a_mix() {
    let mut script = Script::new();
    let (doctor, patient) = (ParticipantId::random(), ParticipantId::random());
    let pictures = media::vp8("320x180", 4);
    assert_eq!(pictures.len(), 120);
    let (low, high) = (media::tone(440.0, 4), media::tone(1000.0, 3));
    let mut camera = script.track(0, doctor, Source::Camera, Codec::Vp8);
    let mut microphone = script.track(0, doctor, Source::Microphone, Codec::Opus);
    script.show(&mut camera, 0, &pictures);
    script.say(&mut microphone, 0, &low);
    // The patient comes a second later, and changes the size after two more.
    let mut other = script.track(1_000_000, patient, Source::Camera, Codec::Vp8);
    let mut voice = script.track(1_000_000, patient, Source::Microphone, Codec::Opus);
    script.show(&mut other, 1_000_000, &pictures[..60]);
    script.show(&mut other, 3_000_000, &media::vp8("640x360", 1));
    script.say(&mut voice, 1_000_000, &high);
    let ids = (script.recording, script.room);
    let mut frames = script.frames(true);
    // Reordered and repeated on the way.
    for at in (40..frames.len() - 40).step_by(37) {
        let copy = frames[at].clone();
        frames.insert(at + 9, copy);
    }
    let case = Case::journaled(ids, &frames).await;
    let manifest = case.render(1).unwrap();

    assert_eq!((manifest.recording, manifest.room, manifest.started_at_us), (ids.0, ids.1, media::ZERO));
    assert_eq!(manifest.artefacts.len(), 3);
    assert_eq!(manifest.gaps, []);
    near(manifest.duration_ms as f64, 4_020.0, 60.0);
    for (who, begin, seconds) in [(doctor, 0.02, 4), (patient, 1.02, 3)] {
        let artefact = of(&manifest, who, Source::Camera);
        assert_eq!((artefact.mime.as_str(), &artefact.codecs[..]), ("video/webm", &[Codec::Vp8, Codec::Opus][..]));
        near(artefact.offset_ms as f64 / 1000.0, begin, 0.005);
        let file = case.open(artefact);
        let (video, audio) = (probe(&file, "v:0").unwrap(), probe(&file, "a:0").unwrap());
        assert_eq!((video.codec.as_str(), video.frames), ("vp8", seconds * 30));
        assert_eq!((audio.codec.as_str(), audio.frames), ("opus", seconds * 50));
        let seconds = seconds as f64;
        near(video.last - video.first, seconds - 1.0 / 30.0, 0.01);
        near(audio.last - audio.first, seconds - 0.02, 0.01);
        near(video.first, audio.first, 0.005);
        near(media::duration(&file), seconds, 0.05);
        media::decode_all(&file);
    }
    let file = case.open(mix(&manifest));
    let heard = media::sound(&file);
    near(heard.len() as f64 / 48_000.0, 4.02, 0.06);
    assert!(
        media::strength(&heard[9_600..43_200], 440.0) > 0.3 && media::strength(&heard[9_600..43_200], 1000.0) < 0.02
    );
    assert!(
        media::strength(&heard[96_000..144_000], 440.0) > 0.3 && media::strength(&heard[96_000..144_000], 1000.0) > 0.3
    );
    media::decode_all(&file);

    // Rendered again by another writer: the same plaintext under other keys.
    let sealed = |a: &Artefact| fs::read(case.folder.path().join(format!("{}.sealed", a.name))).unwrap();
    let before: Vec<_> = manifest.artefacts.iter().map(sealed).collect();
    assert_eq!(case.render(2).unwrap(), manifest);
    for (artefact, before) in manifest.artefacts.iter().zip(before) {
        assert_ne!(sealed(artefact)[HEADER..], before[HEADER..]);
    }

    // No packet's bytes lie in the clear in the spool.
    fs::remove_dir_all(case.folder.path().join("plain")).unwrap();
    let needles: HashSet<Vec<u8>> = media::needles(&frames).iter().map(|needle| needle.to_vec()).collect();
    assert!(needles.len() > 300);
    for entry in fs::read_dir(case.folder.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        assert!(!bytes.windows(32).any(|window| needles.contains(window)));
    }
}

#[tokio::test]
async fn h264_becomes_fragmented_mp4_that_follows_a_size_change_and_keeps_a_gap() {
    let mut script = Script::new();
    let who = ParticipantId::random();
    let mut camera = script.track(0, who, Source::Camera, Codec::H264);
    let mut microphone = script.track(0, who, Source::Microphone, Codec::Opus);
    let small = media::h264("320x180", 2);
    assert_eq!(small.len(), 60);
    script.show(&mut camera, 0, &small);
    script.say(&mut microphone, 0, &media::tone(440.0, 2));
    script.show(&mut camera, 4_000_000, &media::h264("640x360", 2));
    script.say(&mut microphone, 4_000_000, &media::tone(440.0, 2));
    let ids = (script.recording, script.room);
    let case = Case::journaled(ids, &script.frames(true)).await;
    let manifest = case.render(1).unwrap();
    let artefact = of(&manifest, who, Source::Camera);
    assert_eq!((artefact.mime.as_str(), artefact.name.ends_with(".mp4")), ("video/mp4", true));
    let file = case.open(artefact);
    let (video, audio) = (probe(&file, "v:0").unwrap(), probe(&file, "a:0").unwrap());
    assert_eq!((video.codec.as_str(), video.frames, audio.frames), ("h264", 120, 200));
    near(video.last, 6.0 - 1.0 / 30.0, 0.01);
    near(audio.last, 6.0 - 0.02, 0.01);
    near(media::duration(&file), 6.0, 0.05);
    media::decode_all(&file);
    let sizes = media::run(
        "ffprobe",
        &[
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "frame=width",
            "-of",
            "csv=p=0",
            file.to_str().unwrap(),
        ],
    );
    let sizes = String::from_utf8(sizes).unwrap();
    assert_eq!(sizes.lines().filter(|line| line.starts_with("320")).count(), 60);
    assert_eq!(sizes.lines().filter(|line| line.starts_with("640")).count(), 60);
}

#[tokio::test]
async fn a_lost_packet_freezes_until_the_next_keyframe_and_the_manifest_says_so() {
    let mut script = Script::new();
    let who = ParticipantId::random();
    let mut camera = script.track(0, who, Source::Camera, Codec::Vp8);
    let pictures = media::vp8("320x180", 3);
    script.show(&mut camera, 0, &pictures[..40]);
    camera.sequence = camera.sequence.wrapping_add(2);
    script.show(&mut camera, 1_333_333, &pictures[40..]);
    let ids = (script.recording, script.room);
    let case = Case::journaled(ids, &script.frames(true)).await;
    let manifest = case.render(1).unwrap();
    let file = case.open(of(&manifest, who, Source::Camera));
    // Pictures 40 to 59 refer to what was lost; 60 is a keyframe.
    assert_eq!(probe(&file, "v:0").unwrap().frames, 70);
    media::decode_all(&file);
    let [gap] = &manifest.gaps[..] else { panic!("{:?}", manifest.gaps) };
    assert_eq!((gap.participant, gap.packets), (Some(who), 2));
    near(gap.duration_ms as f64, 700.0, 40.0);
}

#[tokio::test]
async fn a_person_who_comes_back_goes_on_in_the_same_file() {
    let mut script = Script::new();
    let who = ParticipantId::random();
    let pictures = media::vp8("320x180", 2);
    let mut first = script.track(0, who, Source::Camera, Codec::Vp8);
    script.show(&mut first, 0, &pictures);
    let mut second = script.track(5_000_000, who, Source::Camera, Codec::Vp8);
    script.show(&mut second, 5_000_000, &pictures);
    let mut screen = script.track(3_000_000, who, Source::Screen, Codec::Vp8);
    script.show(&mut screen, 3_000_000, &pictures);
    let mut alone = script.track(0, ParticipantId::random(), Source::Microphone, Codec::Opus);
    script.say(&mut alone, 0, &media::tone(440.0, 2));
    let ids = (script.recording, script.room);
    // The sfu died: there is no orderly end.
    let case = Case::journaled(ids, &script.frames(false)).await;
    let manifest = case.render(1).unwrap();
    assert_eq!(manifest.artefacts.len(), 4);
    let camera = case.open(of(&manifest, who, Source::Camera));
    let probed = probe(&camera, "v:0").unwrap();
    assert_eq!(probed.frames, 120);
    near(probed.last, 7.0 - 1.0 / 30.0, 0.02);
    let shared = of(&manifest, who, Source::Screen);
    near(shared.offset_ms as f64, 3_020.0, 5.0);
    assert_eq!(probe(&case.open(shared), "v:0").unwrap().frames, 60);
    let voice = manifest.artefacts.iter().find(|a| a.mime == "audio/mp4" && a.content != Content::Mix).unwrap();
    let voice = case.open(voice);
    assert_eq!(probe(&voice, "a:0").unwrap().frames, 100);
    media::decode_all(&voice);
}

#[tokio::test]
async fn a_journal_cut_at_every_byte_of_its_tail_is_read_up_to_the_cut() {
    let mut script = Script::new();
    let who = ParticipantId::random();
    let mut microphone = script.track(0, who, Source::Microphone, Codec::Opus);
    script.say(&mut microphone, 0, &media::tone(440.0, 1));
    let ids = (script.recording, script.room);
    let frames = script.frames(true);
    let folder = tempfile::tempdir().unwrap();
    let key = DataKey::generate().unwrap();
    let mut journal = Journal::create(folder.path(), ids.0, 1, &key).unwrap();
    for part in frames.chunks(20) {
        for frame in part {
            journal.append(frame).await.unwrap();
        }
        journal.flush().await.unwrap();
    }
    journal.close().await.unwrap();
    let path = folder.path().join("journal-1");
    let whole = fs::read(&path).unwrap();
    let read = |folder: &Path| {
        let mut got = Vec::new();
        let closed = replay::<SealError>(folder, ids.0, &key, |frame| {
            got.push(frame);
            Ok(())
        });
        (got, closed.unwrap())
    };
    assert_eq!(read(folder.path()), (frames.clone(), true));
    let mut counts = HashSet::new();
    for keep in (0..whole.len()).rev().take(3000).chain([0, 50, HEADER, HEADER + 3]) {
        fs::write(&path, &whole[..keep]).unwrap();
        let (got, closed) = read(folder.path());
        assert!(!closed && frames.starts_with(&got) && (got.len() % 20 == 0 || got.len() == frames.len()), "{keep}");
        counts.insert(got.len());
    }
    assert!(counts.len() > 2);
    // What is left makes playable files, or says that there is nothing.
    for keep in [whole.len() - 1, whole.len() * 2 / 3] {
        fs::write(&path, &whole[..keep]).unwrap();
        let (recording, room) = ids;
        let case = Case { recording, room, key: key.clone(), folder: tempfile::tempdir().unwrap() };
        fs::copy(&path, case.folder.path().join("journal-1")).unwrap();
        let manifest = case.render(2).unwrap();
        media::decode_all(&case.open(of(&manifest, who, Source::Microphone)));
        media::decode_all(&case.open(mix(&manifest)));
    }
    fs::write(&path, &whole[..HEADER]).unwrap();
    let case = Case { recording: ids.0, room: ids.1, key, folder };
    assert!(matches!(case.render(2), Err(recorder::Error::Empty)));
}
