//! A whole recording job against a real PostgreSQL: from a Tap to sealed, playable files, and over a crash in the middle.
#![allow(
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "a test may unwrap, and its numbers are small"
)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use recorder::{RecorderConfig, Spool};
use sqlx::PgConnection;
use sqlx::postgres::PgListener;
use test_postgres::TestDatabase;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;
use vault::keys::recording_context;
use vault::{KeyProvider, LocalKeys, ObjectName, SealedObject, Store, StoreConfig, WrappedKey};
use wire::control::{Codec, Source, TapEnd};
use wire::manifest::{Content, Manifest};
use wire::tap::{NodeMicros, TapFrame};
use wire::tap_link::TapExchange;
use wire::{ParticipantId, RecorderId, RecordingId, Redacted, RoomId, TrackId};

const PATIENCE: Duration = Duration::from_secs(30);
/// Recordings begin on this day of the node's clock.
const ZERO: u64 = 1_790_000_000_000_000;
const FPS: u64 = 30;

/// Coded pictures of a test pattern, and coded sound of a tone.
struct Media {
    pictures: Vec<Bytes>,
    sounds: Vec<Bytes>,
}

impl Media {
    fn make(seconds: u32) -> Self {
        let source = format!("testsrc2=size=320x180:rate={FPS}:duration={seconds}");
        let ivf = Command::new("ffmpeg")
            .args([
                "-v",
                "error",
                "-f",
                "lavfi",
                "-i",
                &source,
                "-c:v",
                "libvpx",
                "-deadline",
                "realtime",
                "-g",
                "30",
                "-f",
                "ivf",
                "-",
            ])
            .output()
            .expect("ffmpeg is installed");
        assert!(ivf.status.success(), "{}", String::from_utf8_lossy(&ivf.stderr));
        let mut pictures = Vec::new();
        let mut rest = &ivf.stdout[32..];
        while rest.len() > 12 {
            let length = u32::from_le_bytes(rest[..4].try_into().unwrap()) as usize;
            pictures.push(Bytes::copy_from_slice(&rest[12..12 + length]));
            rest = &rest[12 + length..];
        }
        let mut encoder = opus::Encoder::new(48_000, opus::Channels::Mono, opus::Application::Audio).unwrap();
        let tone = |n: u32| (f64::from(n) * 440.0 * std::f64::consts::TAU / 48_000.0).sin() as f32 * 0.5;
        let sounds = (0..seconds * 50)
            .map(|packet| {
                let samples: Vec<f32> = (packet * 960..(packet + 1) * 960).map(tone).collect();
                Bytes::from(encoder.encode_vec_float(&samples, 1500).unwrap())
            })
            .collect();
        Self { pictures, sounds }
    }

    /// Everything as a Tap delivers it, in order of arrival.
    fn frames(&self, people: &[ParticipantId]) -> Vec<TapFrame> {
        let mut frames = Vec::new();
        for (index, participant) in people.iter().enumerate() {
            let (voice, face) = (TrackId::random(), TrackId::random());
            let base = ZERO + 20_000 * index as u64;
            for (track, source, codec) in [(voice, Source::Microphone, Codec::Opus), (face, Source::Camera, Codec::Vp8)]
            {
                frames.push(TapFrame::Track { track, participant: *participant, source, codec, at: NodeMicros(base) });
            }
            for (number, sound) in (0..).zip(&self.sounds) {
                let at = NodeMicros(base + number * 20_000);
                frames.push(rtp(voice, at, 111, 7 + number as u16, 1000 + number as u32 * 960, true, &[], sound));
            }
            let mut sequence = 30_000_u16;
            for (number, picture) in (0..).zip(&self.pictures) {
                let at = NodeMicros(base + number * 1_000_000 / FPS);
                let pieces: Vec<&[u8]> = picture.chunks(1100).collect();
                for (place, piece) in pieces.iter().enumerate() {
                    let descriptor = [if place == 0 { 0x10 } else { 0 }];
                    let last = place + 1 == pieces.len();
                    frames.push(rtp(face, at, 96, sequence, 5000 + number as u32 * 3000, last, &descriptor, piece));
                    sequence += 1;
                }
            }
        }
        frames.sort_by_key(|frame| match frame {
            TapFrame::Rtp { at, .. } | TapFrame::Track { at, .. } => *at,
            _ => NodeMicros(0),
        });
        frames
    }
}

#[allow(clippy::too_many_arguments, reason = "the fields of an RTP header")]
fn rtp(
    track: TrackId,
    at: NodeMicros,
    kind: u8,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    head: &[u8],
    body: &[u8],
) -> TapFrame {
    let mut packet = vec![0x80, kind | if marker { 0x80 } else { 0 }];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend([1, 2, 3, kind]);
    packet.extend(head);
    packet.extend(body);
    TapFrame::Rtp { track, at, packet: packet.into() }
}

/// A node's recorder: a spool and Taps of its own.
struct Recorder {
    database: TestDatabase,
    folder: tempfile::TempDir,
    name: RecorderId,
    taps: TapExchange,
    store: Arc<dyn Store>,
    keys: Arc<dyn KeyProvider>,
}

struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<recorder::Result<()>>,
}

impl Running {
    /// Stops it in order.
    async fn end(self) {
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
    }
}

impl Recorder {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = vault::store::open(&StoreConfig::in_folder(folder.path().join("store"))).await.unwrap();
        let keys = Arc::new(LocalKeys::open_or_create(&folder.path().join("kek")).unwrap());
        Self::with(TestDatabase::fresh().await, folder, store, keys)
    }

    fn with(
        database: TestDatabase,
        folder: tempfile::TempDir,
        store: Arc<dyn Store>,
        keys: Arc<dyn KeyProvider>,
    ) -> Self {
        let name = Spool::open(&folder.path().join("spool")).unwrap().recorder();
        Self { database, folder, name, taps: TapExchange::default(), store, keys }
    }

    /// Another node's on the same database, store and keys.
    fn beside(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::with(self.database.clone(), folder, Arc::clone(&self.store), Arc::clone(&self.keys))
    }

    fn spool(&self) -> PathBuf {
        self.folder.path().join("spool")
    }

    fn start(&self) -> Running {
        let config = RecorderConfig {
            database_url: Redacted::new(self.database.app_url.clone()),
            spool: self.spool(),
            ..RecorderConfig::default()
        };
        let stop = CancellationToken::new();
        let (store, keys) = (Arc::clone(&self.store), Arc::clone(&self.keys));
        let spool = Spool::open(&config.spool).unwrap();
        let task = tokio::spawn(recorder::run(config, spool, store, keys, self.taps.clone(), stop.clone()));
        Running { stop, task }
    }

    /// What signaling does when a clinician starts: a Recording, its job, and a Tap.
    async fn request(&self, recording: RecordingId) -> mpsc::Sender<TapFrame> {
        self.request_for(recording, Some(self.name)).await
    }

    /// The same, for this recorder or, as older releases did, for nobody in particular.
    async fn request_for(&self, recording: RecordingId, recorder: Option<RecorderId>) -> mpsc::Sender<TapFrame> {
        let token = Redacted::new(Uuid::new_v4().to_string());
        let frames = self.taps.open(&token);
        let mut owner = self.database.owner().await;
        let (org, visit) = (Uuid::new_v4(), Uuid::new_v4());
        sqlx::query("INSERT INTO organization (org_id, name, phone) VALUES ($1, 'Practice', '555 0100')")
            .bind(org)
            .execute(&mut owner)
            .await
            .unwrap();
        sqlx::query(
            "INSERT INTO visit (visit_id, org_id, patient_id, clinician_id, scheduled_start_at, duration_min, created_by)
             VALUES ($2, $1, 'p', 'c', now(), 30, 'test')",
        )
        .bind(org)
        .bind(visit)
        .execute(&mut owner)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO recording (recording_id, org_id, visit_id, consent_snapshot, started_by, retain_until)
             VALUES ($3, $1, $2, '[]', 'test', now())",
        )
        .bind(org)
        .bind(visit)
        .bind(recording.as_uuid())
        .execute(&mut owner)
        .await
        .unwrap();
        sqlx::query(
            "INSERT INTO recording_job (recording_id, org_id, room_id, tap_token, worker) VALUES ($2, $1, $3, $4, $5)",
        )
        .bind(org)
        .bind(recording.as_uuid())
        .bind(RoomId::random().as_uuid())
        .bind(token.reveal())
        .bind(recorder.map(|recorder| recorder.to_string()))
        .execute(&mut owner)
        .await
        .unwrap();
        frames
    }

    /// Waits for the job to reach a state, hearing of each change.
    async fn reach(&self, recording: RecordingId, wanted: &str) {
        let mut listener = PgListener::connect(&self.database.owner_url).await.unwrap();
        listener.listen("recording_job").await.unwrap();
        let mut owner = self.database.owner().await;
        let search = async {
            loop {
                let state: String = column(&mut owner, "state", recording).await;
                assert!(state != "FAILED" || wanted == "FAILED", "the job failed");
                if state == wanted {
                    return;
                }
                listener.recv().await.unwrap();
            }
        };
        tokio::time::timeout(PATIENCE, search).await.expect("the job moves on");
    }

    /// Waits until the first claim's journal holds all this, and says where it is. It is on its way to the disk at most a quarter
    /// second after the last frame came: wait for its size to rest.
    async fn journaled(&self, recording: RecordingId, media: &Media) -> PathBuf {
        let journal = self.folder.path().join("spool").join(recording.to_string()).join("journal-1");
        let expected: usize = media.pictures.iter().chain(&media.sounds).map(Bytes::len).sum();
        let written = async {
            while std::fs::metadata(&journal).map_or(0, |file| file.len()) < expected as u64 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, written).await.expect("the journal is written");
        journal
    }

    /// Reads every file back as playback does.
    async fn play(&self, recording: RecordingId) -> (Manifest, Vec<(String, Vec<u8>)>) {
        let mut owner = self.database.owner().await;
        let manifest: serde_json::Value = column(&mut owner, "manifest", recording).await;
        let manifest: Manifest = serde_json::from_value(manifest).unwrap();
        let wrapped = WrappedKey {
            kek_id: column(&mut owner, "kek_id", recording).await,
            bytes: column(&mut owner, "dek_wrapped", recording).await,
        };
        let key = self.keys.unwrap(&wrapped, &recording_context(recording)).await.unwrap();
        let mut files = Vec::new();
        for artefact in &manifest.artefacts {
            let name = ObjectName::new(recording, &artefact.name).unwrap();
            let object = SealedObject::open(Arc::clone(&self.store), &name, &key).await.unwrap();
            let mut plain = Vec::new();
            while (plain.len() as u64) < object.plain_size() {
                let end = object.plain_size().min(plain.len() as u64 + (1 << 20));
                plain.extend(object.read_range(plain.len() as u64..end).await.unwrap());
            }
            assert_eq!(plain.len() as u64, artefact.bytes);
            files.push((artefact.name.clone(), plain));
        }
        (manifest, files)
    }
}

async fn column<T>(owner: &mut PgConnection, name: &'static str, recording: RecordingId) -> T
where
    T: for<'r> sqlx::Decode<'r, sqlx::Postgres> + sqlx::Type<sqlx::Postgres> + Send + Unpin,
{
    let query = sqlx::AssertSqlSafe(format!("SELECT {name} FROM recording_job WHERE recording_id = $1"));
    sqlx::query_scalar(query).bind(recording.as_uuid()).fetch_one(owner).await.unwrap()
}

/// What ffprobe says of one stream: packets, and the file's duration in seconds.
fn probe(file: &Path, stream: &str) -> (u32, f64) {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-count_packets", "-select_streams", stream, "-of", "csv=p=0"])
        .args(["-show_entries", "stream=nb_read_packets:format=duration"])
        .arg(file)
        .output()
        .expect("ffprobe is installed");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut words = text.split_whitespace().map(|word| word.trim_end_matches(','));
    (words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap())
}

/// Decodes everything; any complaint of the decoder is a failure.
fn decode(file: &Path) {
    let output =
        Command::new("ffmpeg").args(["-v", "error", "-i"]).arg(file).args(["-f", "null", "-"]).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_becomes_playable_sealed_files() {
    let recorder = Recorder::new().await;
    let running = recorder.start();
    let (media, recording) = (Media::make(4), RecordingId::random());
    let people = [ParticipantId::random(), ParticipantId::random()];
    let frames = recorder.request(recording).await;
    for frame in media.frames(&people) {
        frames.send(frame).await.unwrap();
    }
    frames.send(TapFrame::Ended { reason: TapEnd::Stopped, at: NodeMicros(ZERO + 4_020_000) }).await.unwrap();
    recorder.reach(recording, "STORED").await;

    let (manifest, files) = recorder.play(recording).await;
    assert_eq!(manifest.artefacts.len(), 3, "{manifest:?}");
    assert!((3_950..4_150).contains(&manifest.duration_ms), "{manifest:?}");
    assert_eq!(manifest.gaps, []);
    for (artefact, (name, plain)) in manifest.artefacts.iter().zip(&files) {
        let file = recorder.folder.path().join(name);
        std::fs::write(&file, plain).unwrap();
        decode(&file);
        match &artefact.content {
            Content::Participant { participant, sources } => {
                assert!(people.contains(participant) && sources.len() == 2);
                let (pictures, seconds) = probe(&file, "v:0");
                assert_eq!(pictures as usize, media.pictures.len());
                assert!((seconds - 4.0).abs() < 0.1, "{seconds}");
                assert_eq!(probe(&file, "a:0").0 as usize, media.sounds.len());
            }
            Content::Mix => assert!((probe(&file, "a:0").1 - 4.0).abs() < 0.1),
        }
        // What rests in the store holds none of what was said or shown.
        let sealed =
            recorder.store.read(&ObjectName::new(recording, name).unwrap(), 0..artefact.sealed_bytes).await.unwrap();
        for secret in media.pictures.iter().chain(&media.sounds).map(|secret| &secret[..secret.len().min(24)]) {
            assert!(!holds(&sealed, secret));
        }
    }
    assert!(!recorder.folder.path().join("spool").join(recording.to_string()).exists(), "the spool is cleared");

    running.stop.cancel();
    tokio::time::timeout(Duration::from_secs(3), running.task).await.expect("stops in time").unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recorder_that_dies_is_followed_by_one_that_finishes_from_the_journal() {
    let recorder = Recorder::new().await;
    let (media, recording) = (Media::make(4), RecordingId::random());
    let people = [ParticipantId::random()];
    let first = recorder.start();
    let frames = recorder.request(recording).await;
    for frame in media.frames(&people) {
        frames.send(frame).await.unwrap();
    }
    recorder.reach(recording, "CAPTURING").await;
    let journal = recorder.journaled(recording, &media).await;
    first.task.abort();
    assert!(first.task.await.unwrap_err().is_cancelled());
    // Nothing readable rests in the spool either.
    let resting = std::fs::read(&journal).unwrap();
    for secret in media.pictures.iter().chain(&media.sounds).map(|secret| &secret[..secret.len().min(24)]) {
        assert!(!holds(&resting, secret));
    }

    // The next one on this spool knows that the one before is dead, and does not wait for its lease of 30 s.
    let second = recorder.start();
    tokio::time::timeout(Duration::from_secs(15), recorder.reach(recording, "STORED"))
        .await
        .expect("no wait for the lease");
    let (manifest, files) = recorder.play(recording).await;
    assert_eq!(manifest.artefacts.len(), 2);
    for (name, plain) in files {
        let file = recorder.folder.path().join(name);
        std::fs::write(&file, plain).unwrap();
        decode(&file);
        let (_, seconds) = probe(&file, "a:0");
        assert!((seconds - 4.0).abs() < 0.35, "{seconds}");
    }
    second.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_that_is_gone_with_nothing_captured_fails_the_recording() {
    let recorder = Recorder::new().await;
    let recording = RecordingId::random();
    drop(recorder.request(recording).await);
    // Another process had the token, and died with it.
    let mut owner = recorder.database.owner().await;
    sqlx::query("UPDATE recording_job SET tap_token = 'unknown'").execute(&mut owner).await.unwrap();
    let running = recorder.start();
    recorder.reach(recording, "FAILED").await;
    let error: String = column(&mut owner, "error", recording).await;
    assert_eq!(error, "TAP_GONE");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tap_without_media_fails_and_says_so() {
    let recorder = Recorder::new().await;
    let running = recorder.start();
    let recording = RecordingId::random();
    let frames = recorder.request(recording).await;
    let started = TapFrame::Started { recording, room: RoomId::random(), at: NodeMicros(ZERO) };
    frames.send(started).await.unwrap();
    recorder.reach(recording, "CAPTURING").await;
    drop(frames);
    recorder.reach(recording, "FAILED").await;
    let error: String = column(&mut recorder.database.owner().await, "error", recording).await;
    assert_eq!(error, "EMPTY");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_recorders_never_share_a_spool() {
    let recorder = Recorder::new().await;
    let first = recorder.start();
    // A job that moves proves that the first is at work.
    let recording = RecordingId::random();
    let frames = recorder.request(recording).await;
    recorder.reach(recording, "CAPTURING").await;
    assert!(matches!(Spool::open(&recorder.spool()), Err(recorder::Error::SpoolBusy)));
    drop(frames);
    first.end().await;
}

/// Everything that a Tap of one person has to give, to its end.
async fn feed(frames: mpsc::Sender<TapFrame>, media: &Media) {
    for frame in media.frames(&[ParticipantId::random()]) {
        frames.send(frame).await.unwrap();
    }
    frames.send(TapFrame::Ended { reason: TapEnd::Stopped, at: NodeMicros(ZERO + 2_020_000) }).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_waits_for_the_recorder_of_the_node_that_has_its_tap() {
    let here = Recorder::new().await;
    let there = here.beside();
    let media = Media::make(2);
    let (ours, theirs) = (RecordingId::random(), RecordingId::random());
    // Ours is the older one: whoever takes any job takes it first.
    feed(here.request(ours).await, &media).await;
    let running = there.start();
    feed(there.request(theirs).await, &media).await;
    there.reach(theirs, "STORED").await;
    let mut owner = here.database.owner().await;
    assert_eq!(column::<String>(&mut owner, "state", ours).await, "QUEUED");
    assert_eq!(column::<i32>(&mut owner, "attempts", ours).await, 0);

    let own = here.start();
    here.reach(ours, "STORED").await;
    assert_eq!(here.play(ours).await.0.artefacts.len(), 2);
    own.end().await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_recorders_job_waits_for_its_own_spool_while_another_recorder_looks_on() {
    let here = Recorder::new().await;
    let there = here.beside();
    let media = Media::make(2);
    let (ours, theirs) = (RecordingId::random(), RecordingId::random());
    let first = here.start();
    let frames = here.request(ours).await;
    for frame in media.frames(&[ParticipantId::random()]) {
        frames.send(frame).await.unwrap();
    }
    here.reach(ours, "CAPTURING").await;
    here.journaled(ours, &media).await;
    first.task.abort();
    assert!(first.task.await.unwrap_err().is_cancelled());
    let mut owner = here.database.owner().await;
    let lapse = "UPDATE recording_job SET lease_until = now() - interval '1 second' WHERE recording_id = $1";
    sqlx::query(lapse).bind(ours.as_uuid()).execute(&mut owner).await.unwrap();

    // A look of the other one passes the older job by and takes its own.
    let running = there.start();
    feed(there.request(theirs).await, &media).await;
    there.reach(theirs, "STORED").await;
    assert_eq!(column::<String>(&mut owner, "state", ours).await, "CAPTURING");
    assert_eq!(column::<i32>(&mut owner, "attempts", ours).await, 1);

    let second = here.start();
    here.reach(ours, "STORED").await;
    assert_eq!(column::<i32>(&mut owner, "attempts", ours).await, 2);
    second.end().await;
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_of_a_release_that_named_no_recorder_is_taken_by_whoever_is_there() {
    let recorder = Recorder::new().await;
    let recording = RecordingId::random();
    let frames = recorder.request_for(recording, None).await;
    let running = recorder.start();
    feed(frames, &Media::make(2)).await;
    recorder.reach(recording, "STORED").await;
    let worker: String = column(&mut recorder.database.owner().await, "worker", recording).await;
    assert_eq!(worker, recorder.name.to_string());
    running.end().await;
}
