//! From Tap frames to the pieces of a delivery, as ffmpeg plays and joins them, and as our own joining does.
#![allow(clippy::unwrap_used, reason = "a test may fail by panic")]

#[path = "support/media.rs"]
#[allow(dead_code, reason = "shared with the tests of rendering")]
mod media;

use std::fs;
use std::path::{Path, PathBuf};

use media::{Script, probe};
use recorder::delivery::joined::{self, Joiner};
use recorder::delivery::{Cutter, Object, name};
use serde_json::Value;
use wire::control::{Codec, Source};
use wire::delivery::{Delivered, Folder, Note, Order, Piece, Place, Series};
use wire::tap::TapFrame;
use wire::{OrderId, ParticipantId, Redacted};

fn order() -> Order {
    Order {
        id: OrderId::random(),
        place: Place { bucket: "captures".to_owned(), prefix: "x".to_owned() },
        key: None,
        with_speaker: false,
        cameras: true,
        shares: true,
        only: Vec::new(),
    }
}

fn cut(order: Order, frames: Vec<TapFrame>) -> Vec<Object> {
    let mut cutter = Cutter::new(order).unwrap();
    let mut out = Vec::new();
    for frame in frames {
        cutter.feed(frame, &mut out).unwrap();
    }
    cutter.finish(&mut out).unwrap();
    out
}

fn joins(participant: ParticipantId, alias: &str, name: &str) -> Note {
    Note::Joined { participant, alias: alias.to_owned(), name: Redacted::new(name.to_owned()), is_share: false }
}

fn of<'a>(objects: &'a [Object], folder: Folder, whose: Option<&str>) -> Vec<&'a Object> {
    objects.iter().filter(|object| object.folder == folder && object.whose.as_deref() == whose).collect()
}

/// The objects as files of a folder, under their names.
fn keep(dir: &Path, objects: &[&Object]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for object in objects {
        let name = name::piece("x", object.folder, object.begins / 1000, object.whose.as_deref());
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &object.body).unwrap();
        paths.push(path);
    }
    paths
}

/// Joins files as Chime's guide tells its users to.
fn concat(dir: &Path, files: &[PathBuf], into: &str) -> PathBuf {
    let list: String = files.iter().map(|file| format!("file '{}'\n", file.display())).collect();
    fs::write(dir.join("list"), list).unwrap();
    let (list, out) = (dir.join("list"), dir.join(into));
    let (list, path) = (list.to_str().unwrap(), out.to_str().unwrap());
    media::run("ffmpeg", &["-v", "error", "-y", "-f", "concat", "-safe", "0", "-i", list, "-c", "copy", path]);
    out
}

/// Joins objects as a concatenation does.
fn join(dir: &Path, objects: &[&Object]) -> PathBuf {
    let mut series: Vec<Series> = Vec::new();
    for object in objects {
        let piece = Piece { named: object.begins / 1000, begins: object.begins, lasts: object.lasts };
        let (folder, whose, codecs) = (object.folder, object.whose.clone(), object.codecs.clone());
        series.push(Series { folder, whose, codecs, pieces: vec![piece] });
    }
    let wholes = joined::plan(&[Delivered { series }]);
    let [whole] = &wholes[..] else { panic!("one file: {wholes:?}") };
    let find = |piece: &Piece| &objects.iter().find(|object| object.begins == piece.begins).unwrap().body;
    let (mut joiner, mut bytes) = Joiner::begin(whole, find(&whole.head)).unwrap();
    for piece in &whole.pieces {
        bytes.extend(joiner.add(*piece, find(piece)).unwrap());
    }
    let path = dir.join("joined.mp4");
    fs::write(&path, bytes).unwrap();
    path
}

fn near(a: f64, b: f64, within: f64) {
    assert!((a - b).abs() <= within, "{a} is not {b} within {within}");
}

/// Twelve seconds of two people: one from the beginning in H.264, one in VP8 from 3 s to 11 s.
fn conversation() -> (Script, [ParticipantId; 2]) {
    let mut script = Script::new();
    let people = [ParticipantId::random(), ParticipantId::random()];
    for (participant, alias) in people.iter().zip(["att-1", "att-2"]) {
        script.note(1, &joins(*participant, alias, &format!("user of {alias}")));
    }
    let mut camera = script.track(0, people[0], Source::Camera, Codec::H264);
    let mut voice = script.track(0, people[0], Source::Microphone, Codec::Opus);
    script.show(&mut camera, 0, &media::h264("320x180", 12));
    script.say(&mut voice, 0, &media::tone(440.0, 12));
    let mut other = script.track(3_000_000, people[1], Source::Camera, Codec::Vp8);
    script.show(&mut other, 3_000_000, &media::vp8("320x180", 8));
    (script, people)
}

#[test]
fn pieces_play_alone_and_join_without_loss() {
    let (script, _) = conversation();
    let objects = cut(order(), script.frames(true));
    let dir = tempfile::tempdir().unwrap();

    let sound = of(&objects, Folder::Audio, None);
    let lasts: Vec<u64> = sound.iter().map(|object| object.lasts / 1000).collect();
    assert_eq!((lasts.len(), lasts[0], lasts[1]), (3, 5000, 5000));
    near(lasts[2] as f64, 2_040.0, 60.0);
    assert!(sound.iter().all(|object| object.codecs == [Codec::Opus]));
    assert_eq!(sound.iter().map(|o| o.begins - media::ZERO).collect::<Vec<_>>(), [0, 5_000_000, 10_000_000]);
    let files = keep(dir.path(), &sound);
    for file in &files {
        media::decode_all(file);
    }
    assert!(files[0].ends_with("x/audio/2026-09-21-14-13-20-000.mp4"), "{files:?}");
    let whole = concat(dir.path(), &files, "audio.mp4");
    near(media::duration(&whole), 12.04, 0.1);
    assert!(media::strength(&media::sound(&whole)[48_000..96_000], 440.0) > 0.3);

    let face = of(&objects, Folder::Video, Some("att-1"));
    assert_eq!(face.len(), 3, "a keyframe each second: cut at each mark");
    for (object, begin) in face.iter().zip([20_000, 5_020_000, 10_020_000]) {
        near((object.begins - media::ZERO) as f64, begin as f64, 5_000.0);
    }
    let files = keep(dir.path(), &face);
    let frames: Vec<usize> = files.iter().map(|file| probe(file, "v:0").unwrap().frames).collect();
    assert_eq!(frames, [150, 150, 60]);
    files.iter().for_each(|file| media::decode_all(file));
    let whole = concat(dir.path(), &files, "face.mp4");
    let probed = probe(&whole, "v:0").unwrap();
    assert_eq!((probed.frames, probed.codec.as_str()), (360, "h264"));
    near(media::duration(&whole), 12.0, 0.05);
    media::decode_all(&whole);

    // What ffmpeg cannot write into MP4 it joins into Matroska.
    let other = of(&objects, Folder::Video, Some("att-2"));
    assert_eq!(other.len(), 3, "3 to 5, 5 to 10, 10 to 11");
    let files = keep(dir.path(), &other);
    let whole = concat(dir.path(), &files, "other.mkv");
    assert_eq!(probe(&whole, "v:0").unwrap().frames, 240);
    media::decode_all(&whole);

    // Ours joins all of them.
    for (objects, stream, frames, codec, lasts) in
        [(&sound, "a:0", 602, "opus", 12.04), (&face, "v:0", 360, "h264", 12.0), (&other, "v:0", 240, "vp8", 8.0)]
    {
        let whole = join(dir.path(), objects);
        let probed = probe(&whole, stream).unwrap();
        assert_eq!(probed.codec, codec);
        near(probed.frames as f64, f64::from(frames), 3.0);
        near(media::duration(&whole), lasts, 0.06);
        media::decode_all(&whole);
    }
}

#[test]
fn the_same_journal_gives_the_same_objects() {
    let (script, _) = conversation();
    let frames = script.frames(true);
    let order = order();
    assert_eq!(cut(order.clone(), frames.clone()), cut(order, frames));
}

#[test]
fn a_break_keeps_its_time_and_nothing_is_lost() {
    let mut script = Script::new();
    let who = ParticipantId::random();
    script.note(1, &joins(who, "att", "somebody"));
    let mut camera = script.track(0, who, Source::Camera, Codec::H264);
    let small = media::h264("320x180", 3);
    script.show(&mut camera, 0, &small);
    // Off for 19 s; on again in another size.
    script.show(&mut camera, 22_000_000, &media::h264("640x360", 3));
    let objects = cut(order(), script.frames(true));
    let face = of(&objects, Folder::Video, Some("att"));
    let at: Vec<(u64, u64)> = face.iter().map(|o| ((o.begins - media::ZERO) / 10_000, o.lasts / 10_000)).collect();
    // The first is held to its mark; the other begins when it begins.
    assert_eq!(at.len(), 2, "{at:?}");
    near(at[0].1 as f64, 498.0, 2.0);
    near(at[1].0 as f64, 2202.0, 2.0);
    let dir = tempfile::tempdir().unwrap();
    let whole = join(dir.path(), &face);
    let probed = probe(&whole, "v:0").unwrap();
    assert_eq!(probed.frames, 180);
    near(probed.last, 25.0 - 1.0 / 30.0, 0.05);
    media::decode_all(&whole);
}

#[test]
fn a_picture_that_gives_no_keyframe_at_the_mark_is_cut_at_its_next_one() {
    let mut script = Script::new();
    let who = ParticipantId::random();
    let mut camera = script.track(0, who, Source::Camera, Codec::H264);
    let pictures = media::h264("320x180", 14);
    // Keyframes at 0, 8 and 9 s alone: the others are left out with their seconds' pictures in between kept decodable.
    let second = |n: usize| &pictures[n * 30..(n + 1) * 30];
    script.show(&mut camera, 0, second(0));
    for n in 1..8 {
        for (k, picture) in (0u64..).zip(&second(0)[1..]) {
            script.send(&mut camera, n * 1_000_000 + k * 33_333, &picture.data);
        }
    }
    script.show(&mut camera, 8_000_000, second(8));
    script.show(&mut camera, 9_700_000, second(9));
    let objects = cut(order(), script.frames(true));
    let begins: Vec<u64> = of(&objects, Folder::Video, Some(&who.to_string()))
        .iter()
        .map(|o| (o.begins - media::ZERO) / 100_000)
        .collect();
    assert_eq!(begins, [0, 80, 97], "at 8 s, and a keyframe 300 ms before the mark at 10 s begins the next piece");
}

#[test]
fn the_speaker_is_seen_beside_the_mix() {
    let mut script = Script::new();
    let people = [ParticipantId::random(), ParticipantId::random()];
    for (index, participant) in people.iter().enumerate() {
        script.note(1, &joins(*participant, &format!("att-{index}"), "somebody"));
        let mut camera = script.track(0, *participant, Source::Camera, Codec::H264);
        script.show(&mut camera, 0, &media::h264(if index == 0 { "320x180" } else { "640x360" }, 16));
    }
    let mut voice = script.track(0, people[0], Source::Microphone, Codec::Opus);
    script.say(&mut voice, 0, &media::tone(440.0, 16));
    for (at, who) in [(500_000, 0), (6_000_000, 1), (9_000_000, 0), (9_500_000, 1), (11_000_000, 0)] {
        script.note(at, &Note::Speaking { participant: Some(people[who]) });
    }
    let objects = cut(Order { with_speaker: true, cameras: false, ..order() }, script.frames(true));
    assert!(of(&objects, Folder::Video, Some("att-0")).is_empty());
    let pieces = of(&objects, Folder::Audio, None);
    let dir = tempfile::tempdir().unwrap();
    let files = keep(dir.path(), &pieces);
    let width = |file: &PathBuf| {
        let args = ["-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width", "-of", "csv=p=0"];
        let text = media::run("ffprobe", &[&args[..], &[file.to_str().unwrap()]].concat());
        String::from_utf8(text).unwrap().trim().trim_end_matches(',').to_owned()
    };
    // 5 to 10 s belongs to the second person, who speaks 3.5 s of it.
    assert_eq!(files.iter().map(width).collect::<Vec<_>>(), ["320", "640", "320", "320"]);
    files.iter().for_each(|file| media::decode_all(file));
    for whole in [concat(dir.path(), &files, "speaker.mp4"), join(dir.path(), &pieces)] {
        near(media::duration(&whole), 16.04, 0.15);
        let (sound, picture) = (probe(&whole, "a:0").unwrap(), probe(&whole, "v:0").unwrap());
        near(sound.frames as f64, 802.0, 4.0);
        near(picture.frames as f64, 480.0, 4.0);
        near(picture.last, sound.last, 0.1);
        media::decode_all(&whole);
    }
}

#[test]
fn events_and_words_are_lines_of_json() {
    let (mut script, people) = conversation();
    let posted = |body: &str| Note::Posted {
        alias: "att-1".to_owned(),
        topic: Redacted::new("chat".to_owned()),
        body: Redacted::new(body.to_owned()),
    };
    script.note(2_000_000, &posted("hello"));
    script.note(2_500_000, &posted("are you there?\n"));
    script.note(7_000_000, &posted("yes"));
    script.note(4_000_000, &Note::Muted { alias: "att-1".to_owned(), is_muted: true });
    script.note(4_100_000, &Note::Speaking { participant: Some(people[1]) });
    script.note(4_200_000, &Note::Speaking { participant: None });
    script.note(8_000_000, &Note::Left { alias: "att-2".to_owned() });
    let objects = cut(order(), script.frames(true));
    let lines = |folder| -> Vec<Value> {
        let objects = of(&objects, folder, None);
        let texts = objects.iter().flat_map(|object| std::str::from_utf8(&object.body).unwrap().lines());
        texts.map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let events = lines(Folder::Events);
    let kinds: Vec<&str> = events.iter().map(|event| event["EventType"].as_str().unwrap()).collect();
    let expected = ["CaptureStarted", "AttendeeJoined", "AttendeeJoined", "AudioTrackMute", "ActiveSpeaker"];
    assert_eq!(kinds, [&expected[..], &["AttendeeLeft", "CaptureEnded"]].concat());
    assert_eq!(events[1]["EventParameters"]["AttendeeId"], "att-1");
    assert_eq!(events[4]["EventParameters"]["ExternalUserId"], "user of att-2");
    assert_eq!(events[0]["Timestamp"], "2026-09-21T14:13:20.000Z");
    assert_eq!(of(&objects, Folder::Events, None).len(), 3, "0 to 5, 5 to 10, 10 to the end");
    let words = lines(Folder::Posts);
    assert_eq!(
        words.iter().map(|w| w["Data"].as_str().unwrap()).collect::<Vec<_>>(),
        ["hello", "are you there?\n", "yes"]
    );
    assert_eq!((&words[2]["Topic"], &words[2]["SenderAttendeeId"]), (&Value::from("chat"), &Value::from("att-1")));
    assert_eq!(of(&objects, Folder::Posts, None).len(), 2);
}

#[test]
fn only_those_who_are_named_are_seen() {
    let (script, people) = conversation();
    let frames = script.frames(true);
    let seen = |only: &str| -> Vec<String> {
        let objects = cut(Order { only: vec![only.to_owned()], ..order() }, frames.clone());
        let mut whose: Vec<String> = objects.into_iter().filter_map(|object| object.whose).collect();
        whose.dedup();
        whose
    };
    assert_eq!(seen("att-2"), ["att-2"]);
    assert_eq!(seen("user of att-1"), ["att-1"]);
    assert_eq!(seen(&people[0].to_string()), Vec::<String>::new());
}

#[test]
fn a_capture_that_was_cut_off_has_its_end_where_it_came_to() {
    let (script, _) = conversation();
    let mut frames = script.frames(false);
    frames.truncate(frames.len() / 2);
    let objects = cut(order(), frames);
    let last = of(&objects, Folder::Events, None).last().copied().unwrap().clone();
    assert!(std::str::from_utf8(&last.body).unwrap().contains("CaptureEnded"));
    assert!(!of(&objects, Folder::Audio, None).is_empty());
    // Of a capture in which nobody was seen or heard there is nothing but its events.
    let objects = cut(order(), Script::new().frames(true));
    assert!(objects.iter().all(|object| object.folder == Folder::Events) && objects.len() == 1, "{objects:?}");
}
