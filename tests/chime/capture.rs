//! Captures and concatenations from the request to the objects in a real S3 server, with real media.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::attendee::Attendee;
use crate::http::{Answer, Http};
use crate::media::{probe, vp8_frames};
use crate::person::Practice;
use crate::server::{ACCESS_KEY, ObjectStore, SECRET_KEY, Server};
use crate::{AccessKey, FAST, make_key, soon};

/// The API, signed as the SDKs sign.
struct Api {
    http: Http,
    host: String,
    key: AccessKey,
}

impl Api {
    async fn open(server: &Server) -> Self {
        Self { http: Http::new(&server.addr), host: server.addr.clone(), key: make_key(server).await }
    }

    async fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let identity = Credentials::new(&self.key.id, &self.key.secret, None, None, "story").into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("us-east-1")
            .name("chime")
            .time(now())
            .settings(SigningSettings::default())
            .build()
            .unwrap()
            .into();
        let text = body.map(Value::to_string).unwrap_or_default();
        let uri = format!("http://{}{path}", self.host);
        let headers = [("host", self.host.as_str())].into_iter();
        let request = SignableRequest::new(method, &uri, headers, SignableBody::Bytes(text.as_bytes())).unwrap();
        let (instructions, _) = sign(request, &params).unwrap().into_parts();
        let signed: Vec<(&str, &str)> = instructions.headers().collect();
        self.http.ask(method, path, body, &signed).await
    }

    async fn meeting(&self, external: &str) -> Value {
        let body = json!({
            "ClientRequestToken": format!("token-{external}"), "MediaRegion": "us-east-1", "ExternalMeetingId": external,
        });
        self.ask("POST", "/meetings", Some(&body)).await.ok()["Meeting"].clone()
    }

    async fn attendee(&self, meeting: &Value, user: &str) -> Value {
        let path = format!("/meetings/{}/attendees", meeting["MeetingId"].as_str().unwrap());
        self.ask("POST", &path, Some(&json!({ "ExternalUserId": user }))).await.ok()["Attendee"].clone()
    }

    async fn capture(&self, meeting: &Value, sink: &str) -> Answer {
        let body = json!({
            "SourceType": "ChimeSdkMeeting",
            // With the account number of the application's own, as applications write it.
            "SourceArn": format!("arn:aws:chime:us-east-1:123456789012:meeting/{}", meeting["MeetingId"].as_str().unwrap()),
            "SinkType": "S3Bucket",
            "SinkArn": format!("arn:aws:s3:::{sink}"),
            "ChimeSdkMeetingConfiguration": {"ArtifactsConfiguration": {
                "Audio": {"MuxType": "AudioOnly"},
                "Video": {"State": "Enabled", "MuxType": "VideoOnly"},
                "Content": {"State": "Enabled", "MuxType": "ContentOnly"},
            }},
        });
        self.ask("POST", "/sdk-media-capture-pipelines", Some(&body)).await
    }

    async fn concatenation(&self, capture: &Value, sink: &str) -> Value {
        let names =
            ["Audio", "Video", "Content", "DataChannel", "TranscriptionMessages", "MeetingEvents", "CompositedVideo"];
        let parts: serde_json::Map<String, Value> =
            names.iter().map(|name| ((*name).to_owned(), json!({"State": "Enabled"}))).collect();
        let body = json!({
            "Sources": [{"Type": "MediaCapturePipeline", "MediaCapturePipelineSourceConfiguration": {
                "MediaPipelineArn": capture["MediaPipelineArn"],
                "ChimeSdkMeetingConfiguration": {"ArtifactsConfiguration": parts},
            }}],
            "Sinks": [{"Type": "S3Bucket", "S3BucketSinkConfiguration": {"Destination": format!("arn:aws:s3:::{sink}")}}],
        });
        let made = self.ask("POST", "/sdk-media-concatenation-pipelines", Some(&body)).await;
        assert_eq!(made.status, 201, "{made:?}");
        made.json()["MediaConcatenationPipeline"].clone()
    }

    async fn pipeline(&self, id: &str) -> Value {
        let found = self.ask("GET", &format!("/sdk-media-pipelines/{id}"), None).await.ok()["MediaPipeline"].clone();
        found.as_object().unwrap().values().next().unwrap().clone()
    }

    /// Waits until a pipeline is in this state; what it then is.
    async fn becomes(&self, id: &str, status: &str) -> Value {
        soon(&format!("{id} becomes {status}"), async {
            let mut again = tokio::time::interval(Duration::from_millis(100));
            loop {
                again.tick().await;
                let found = self.pipeline(id).await;
                if found["Status"] == status {
                    return found;
                }
                assert_ne!(found["Status"], "Failed", "{found}");
            }
        })
        .await
    }

    async fn delete(&self, path: &str) {
        let deleted = self.ask("DELETE", path, None).await;
        assert_eq!(deleted.status, 204, "{deleted:?}");
    }
}

#[allow(clippy::disallowed_methods, reason = "requests are signed with the time at which they are sent")]
fn now() -> SystemTime {
    SystemTime::now()
}

fn id(pipeline: &Value) -> String {
    pipeline["MediaPipelineId"].as_str().unwrap().to_owned()
}

/// A server whose buckets are in an S3 server, with one bucket allowed by the operator.
async fn open() -> (ObjectStore, Server) {
    let store = ObjectStore::start().await;
    store.make_bucket("captures").await;
    let server = Server::start_with(&[
        FAST,
        ("ANTEROOM_BUCKETS_KIND", "s3"),
        ("ANTEROOM_BUCKETS_ENDPOINT", &store.endpoint),
        ("ANTEROOM_BUCKETS_ACCESS_KEY_ID", ACCESS_KEY),
        ("ANTEROOM_BUCKETS_SECRET_ACCESS_KEY", SECRET_KEY),
    ])
    .await;
    let allowed = chime_bucket(&server, &["allow", "captures"]).await;
    assert_eq!(allowed["bucket"], "captures", "{allowed}");
    (store, server)
}

/// `anteroom chime-bucket` beside the running server.
async fn chime_bucket(server: &Server, arguments: &[&str]) -> Value {
    let data_dir = server.data_dir().to_str().unwrap();
    let output =
        crate::server::command().arg("chime-bucket").args(arguments).args(["--data-dir", data_dir]).output().await;
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Everything in the bucket under a prefix, brought to this machine.
async fn download(store: &ObjectStore, prefix: &str) -> (TempDir, Vec<PathBuf>) {
    let dir = TempDir::new().unwrap();
    let mut files = Vec::new();
    for (name, body) in store.objects("captures", prefix).await {
        let path = dir.path().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, body).unwrap();
        files.push(path);
    }
    files.sort();
    (dir, files)
}

fn of<'a>(files: &'a [PathBuf], folder: &str) -> Vec<&'a PathBuf> {
    files.iter().filter(|file| file.parent().unwrap().ends_with(folder)).collect()
}

async fn lasts(files: &[&PathBuf]) -> f64 {
    let mut sum = 0.0;
    for file in files {
        sum += probe(file).await.duration;
    }
    sum
}

fn lines(files: &[&PathBuf]) -> Vec<Value> {
    let texts: Vec<String> = files.iter().map(|file| std::fs::read_to_string(file).unwrap()).collect();
    texts.iter().flat_map(|text| text.lines()).map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn near(a: f64, b: f64, within: f64, what: &str) {
    assert!((a - b).abs() <= within, "{what}: {a} is not {b} within {within}");
}

/// The decoder has nothing to complain of.
async fn decodes(file: &Path) {
    let out = tokio::process::Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-i"])
        .arg(file)
        .args(["-f", "null", "-"])
        .output()
        .await
        .expect("ffmpeg is installed");
    assert!(out.status.success() && out.stderr.is_empty(), "{}: {out:?}", file.display());
}

/// Two attendees of a plain meeting, captured on their application's word, and joined to one file for each kind.
#[tokio::test]
async fn a_meeting_is_captured_and_joined_in_the_applications_bucket() {
    let (store, server) = open().await;
    let api = Api::open(&server).await;
    let meeting = api.meeting("consultation").await;
    let (one, two) = (api.attendee(&meeting, "maria").await, api.attendee(&meeting, "ana").await);
    let join = |attendee: Value, client| {
        let (addr, meeting) = (server.addr.clone(), meeting["MeetingId"].as_str().unwrap().to_owned());
        async move {
            let pictures = vp8_frames(if client == 1 { "red" } else { "blue" }).await;
            Attendee::join(&addr, &meeting, attendee["JoinToken"].as_str().unwrap(), client, pictures).await
        }
    };

    let refused = api.capture(&meeting, "elsewhere").await;
    assert_eq!((refused.status, refused.headers["x-amzn-errortype"].as_bytes()), (403, &b"ForbiddenException"[..]));
    // Asked for before anybody is there: it waits, and begins with the first of them.
    let made = api.capture(&meeting, "captures/of/one").await;
    assert_eq!(made.status, 201, "{made:?}");
    let capture = made.json()["MediaCapturePipeline"].clone();
    assert_eq!(
        (capture["Status"].as_str(), capture["SinkArn"].as_str()),
        (Some("Initializing"), Some("arn:aws:s3:::captures/of/one"))
    );
    let again = api.capture(&meeting, "captures/of/another").await;
    assert_eq!(again.headers["x-amzn-errortype"], "ResourceLimitExceededException");
    let concatenation = api.concatenation(&capture, "captures/joined").await;
    assert_eq!(concatenation["Status"], "NotStarted");

    let mut maria = join(one.clone(), 1).await;
    api.becomes(&id(&capture), "InProgress").await;
    let began = tokio::time::Instant::now();
    let mut ana = join(two.clone(), 2).await;
    let ana_came = tokio::time::Instant::now();
    ana.post("chat", "hello").await;
    maria.peer.sends(600).await;
    ana.post("chat", "good bye").await;
    // As the seed's service stops it.
    api.delete(&format!("/sdk-media-capture-pipelines/{}", id(&capture))).await;
    let (lasted, ana_lasted) = (began.elapsed().as_secs_f64(), ana_came.elapsed().as_secs_f64());
    api.becomes(&id(&capture), "Stopped").await;

    let (_dir, files) = download(&store, "of/one").await;
    let sound = of(&files, "audio");
    assert!(sound.len() >= 3, "{files:?}");
    near(lasts(&sound).await, lasted, 1.5, "the mix");
    let whose = |attendee: &Value| -> Vec<&PathBuf> {
        let id = attendee["AttendeeId"].as_str().unwrap();
        of(&files, "video").into_iter().filter(|file| file.to_str().unwrap().contains(id)).collect()
    };
    for (attendee, lasted) in [(&one, lasted), (&two, ana_lasted)] {
        let pieces = whose(attendee);
        assert!(pieces.len() >= 3, "{files:?}");
        near(lasts(&pieces).await, lasted, 1.5, "a camera");
    }
    assert_eq!(whose(&one).len() + whose(&two).len(), of(&files, "video").len(), "{files:?}");
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "mp4")) {
        decodes(file).await;
    }
    let events = lines(&of(&files, "meeting-events"));
    let kinds: Vec<&str> = events.iter().map(|event| event["EventType"].as_str().unwrap()).collect();
    assert_eq!((kinds.first(), kinds.last()), (Some(&"CaptureStarted"), Some(&"CaptureEnded")), "{kinds:?}");
    for attendee in [&one, &two] {
        let joined = |event: &&Value| {
            event["EventType"] == "AttendeeJoined"
                && event["EventParameters"]["AttendeeId"] == attendee["AttendeeId"]
                && event["EventParameters"]["ExternalUserId"] == attendee["ExternalUserId"]
        };
        assert_eq!(events.iter().filter(joined).count(), 1, "{events:?}");
    }
    assert!(kinds.contains(&"AttendeeVideoJoined"), "{kinds:?}");
    let words = lines(&of(&files, "data-channel"));
    let said: Vec<_> = words.iter().map(|w| (w["Topic"].as_str().unwrap(), w["Data"].as_str().unwrap())).collect();
    assert_eq!(said, [("chat", "hello"), ("chat", "good bye")]);
    assert!(words.iter().all(|word| word["SenderAttendeeId"] == two["AttendeeId"]));

    api.becomes(&id(&concatenation), "Stopped").await;
    let (_dir, joined) = download(&store, "joined").await;
    let named = |folder: &str, ending: &str| {
        let name = format!("joined/{folder}/{}{ending}", id(&concatenation));
        joined.iter().find(|file| file.ends_with(&name)).unwrap_or_else(|| panic!("no {name}: {joined:?}")).clone()
    };
    let whole = named("audio", ".mp4");
    near(probe(&whole).await.duration, lasts(&sound).await, 0.1, "the joined mix");
    decodes(&whole).await;
    for attendee in [&one, &two] {
        let whole = named("video", &format!("-{}.mp4", attendee["AttendeeId"].as_str().unwrap()));
        near(probe(&whole).await.duration, lasts(&whose(attendee)).await, 0.3, "a joined camera");
        decodes(&whole).await;
    }
    assert_eq!(lines(&[&named("meeting-events", ".txt")]), events);
    assert_eq!(lines(&[&named("data-channel", ".txt")]), words);
    assert_eq!(joined.len(), 5, "{joined:?}");

    // Nothing of it is in the clear on the server's own disk, and the sealed copy is there.
    assert!(!walk(&server.data_dir().join("recordings")).is_empty());
    drop((maria, ana));
}

/// A meeting that is a visit's room: the native consent is asked for before anything is captured, and its loss ends the capture.
#[tokio::test]
async fn a_visits_room_is_captured_with_everybodys_consent_alone() {
    let (store, server) = open().await;
    let api = Api::open(&server).await;
    let practice = Practice::open(&server).await;
    let meeting = api.meeting(&practice.visit).await;
    let mut clinician = practice.arrive().await;
    let mut patient = practice.patient_arrives().await;
    clinician.connect(vp8_frames("red").await).await;
    patient.connect(vp8_frames("blue").await).await;
    clinician.socket.ask_ok(json!({"type": "admit", "participantId": patient.id})).await;
    let refused = api.capture(&meeting, "captures").await;
    assert_eq!(refused.headers["x-amzn-errortype"], "ForbiddenException", "{refused:?}");

    clinician.socket.ask_ok(json!({"type": "request_consent"})).await;
    clinician.answer_consent("SIGN").await;
    patient.answer_consent("SIGN").await;
    let capture = api.capture(&meeting, "captures").await.ok()["MediaCapturePipeline"].clone();
    patient.socket.hear_where("the recording sign", |m| m["type"] == "recording" && m["state"] == "on").await;
    api.becomes(&id(&capture), "InProgress").await;
    patient.peer.sends(150).await;
    patient.socket.ask_ok(json!({"type": "consent", "version": 1, "decision": "REVOKE"})).await;
    api.becomes(&id(&capture), "Stopped").await;
    // Without a prefix its own id is one. What was agreed to is there.
    let (_dir, files) = download(&store, &id(&capture)).await;
    assert_eq!(of(&files, "audio").len(), 1, "{files:?}");
    for person in [&clinician, &patient] {
        assert!(files.iter().any(|file| file.to_str().unwrap().contains(&person.id)), "{files:?}");
    }
    let stored = practice.recordings().await;
    assert_eq!(stored[0]["stopReason"], "CONSENT_LOST", "{stored:?}");
}

/// Killed in the middle of a capture, the server delivers what it had after the next start, and goes on.
#[tokio::test]
async fn what_was_captured_before_a_crash_is_delivered_after_it() {
    let (store, server) = open().await;
    let api = Api::open(&server).await;
    let meeting = api.meeting("crash").await;
    let one = api.attendee(&meeting, "maria").await;
    let token = one["JoinToken"].as_str().unwrap().to_owned();
    let meeting_id = meeting["MeetingId"].as_str().unwrap().to_owned();
    let mut maria = Attendee::join(&server.addr, &meeting_id, &token, 1, vp8_frames("red").await).await;
    let capture = api.capture(&meeting, "captures/crash").await.ok()["MediaCapturePipeline"].clone();
    api.becomes(&id(&capture), "InProgress").await;
    maria.peer.sends(350).await;
    let server = server
        .crash_and_restart(&[
            FAST,
            ("ANTEROOM_BUCKETS_KIND", "s3"),
            ("ANTEROOM_BUCKETS_ENDPOINT", &store.endpoint),
            ("ANTEROOM_BUCKETS_ACCESS_KEY_ID", ACCESS_KEY),
            ("ANTEROOM_BUCKETS_SECRET_ACCESS_KEY", SECRET_KEY),
        ])
        .await;
    drop(maria);
    let api = Api { http: Http::new(&server.addr), host: server.addr.clone(), key: api.key };
    let delivered = soon("what was captured is in the bucket", async {
        let mut again = tokio::time::interval(Duration::from_millis(300));
        loop {
            again.tick().await;
            let (dir, files) = download(&store, "crash").await;
            // The last thing that is written tells where the capture was cut off.
            if lines(&of(&files, "meeting-events")).iter().any(|event| event["EventType"] == "CaptureEnded") {
                return (dir, files);
            }
        }
    });
    let (_dir, files) = delivered.await;
    let whole = lasts(&of(&files, "audio")).await;
    assert!(whole > 5.5, "7 s were sent, and a crash costs less than one: {whole}");
    // It goes on when somebody is there again, into the same place.
    api.becomes(&id(&capture), "Paused").await;
    let mut maria = Attendee::join(&server.addr, &meeting_id, &token, 2, vp8_frames("red").await).await;
    api.becomes(&id(&capture), "InProgress").await;
    maria.peer.sends(100).await;
    api.delete(&format!("/meetings/{meeting_id}")).await;
    api.becomes(&id(&capture), "Stopped").await;
    let (_dir, files) = download(&store, "crash").await;
    assert!(lasts(&of(&files, "audio")).await > whole + 1.5);
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    entries
        .flatten()
        .flat_map(|entry| if entry.path().is_dir() { walk(&entry.path()) } else { vec![entry.path()] })
        .collect()
}
