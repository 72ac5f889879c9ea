//! What the requests of media pipelines must hold.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use wire::delivery::StoreKey;

use crate::chime::error::{Fault, Kind};
use crate::chime::store::Tags;
use crate::chime::tags::{self, Tag};
use crate::chime::{buckets, check};

/// Tags that a pipeline may be created with.
const MOST_TAGS: usize = 200;

/// Where the artefacts of a pipeline go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sink {
    /// The bucket.
    pub(super) bucket: String,
    /// What names begin with; empty when the ARN names the bucket alone.
    pub(super) prefix: String,
}

impl Sink {
    /// Reads `arn:aws:s3:::bucket[/prefix]`.
    fn parse(name: &'static str, arn: &str) -> Result<Self, Fault> {
        check::length(name, arn, 1, 1024)?;
        let path = arn
            .strip_prefix("arn:aws")
            .and_then(|rest| rest.split_once(":s3:::"))
            .filter(|(partition, _)| partition.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'))
            .map(|(_, path)| path);
        let (bucket, prefix) = match path {
            Some(path) => path.split_once('/').unwrap_or((path, "")),
            None => ("", ""),
        };
        let is_name = buckets::is_name(bucket);
        let prefix = prefix.trim_end_matches('/');
        // As a name of a file, too, it has to make sense.
        let is_part = |part: &str| !part.is_empty() && part != "." && part != "..";
        let is_path = !prefix.chars().any(char::is_control) && !prefix.contains('\\');
        let is_path = is_path && (prefix.is_empty() || prefix.split('/').all(is_part));
        if !is_name || !is_path {
            return Err(Kind::BadRequest.with(format!("{name} must look like arn:aws:s3:::bucket/prefix")));
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

/// One of a few words.
fn word(name: &'static str, value: Option<&str>, words: &[&str]) -> Result<(), Fault> {
    match value {
        None => Err(Kind::BadRequest.with(format!("{name} is required"))),
        Some(value) if words.contains(&value) => Ok(()),
        Some(_) => Err(Kind::BadRequest.with(format!("{name} must be one of: {}", words.join(", ")))),
    }
}

/// A member of an object, as text.
fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct CaptureBody {
    source_type: Option<String>,
    source_arn: Option<String>,
    sink_type: Option<String>,
    sink_arn: Option<String>,
    client_request_token: Option<String>,
    chime_sdk_meeting_configuration: Option<Value>,
    sse_aws_key_management_params: Option<Value>,
    sink_iam_role_arn: Option<String>,
    tags: Option<Vec<Tag>>,
}

/// A capture that was asked for rightly.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) token: Option<String>,
    pub(super) source_arn: String,
    pub(super) sink: Sink,
    pub(super) key: Option<StoreKey>,
    /// Beside the mixed sound, the picture of whoever speaks.
    pub(super) with_speaker: bool,
    pub(super) cameras: bool,
    pub(super) shares: bool,
    /// Cameras of these alone, by attendee id or external user id.
    pub(super) only: Vec<String>,
    pub(super) tags: Tags,
    /// What was asked for, to be shown.
    pub(super) echo: Value,
}

/// Which artefacts are wanted.
#[derive(Clone, Copy, Debug)]
struct Artifacts {
    with_speaker: bool,
    cameras: bool,
    shares: bool,
}

/// Without a configuration: the speaker beside the sound, and what is shared.
const USUAL: Artifacts = Artifacts { with_speaker: true, cameras: false, shares: true };

/// The most people whose cameras are chosen.
const MOST_CHOSEN: usize = 25;

impl CaptureBody {
    /// Checks every constraint.
    pub(super) fn read(self) -> Result<Capture, Fault> {
        word("SourceType", self.source_type.as_deref(), &["ChimeSdkMeeting"])?;
        let source_arn = check::required("SourceArn", self.source_arn)?;
        check::length("SourceArn", &source_arn, 1, 1024)?;
        word("SinkType", self.sink_type.as_deref(), &["S3Bucket"])?;
        let sink_arn = check::required("SinkArn", self.sink_arn)?;
        let sink = Sink::parse("SinkArn", &sink_arn)?;
        let token = read_token(self.client_request_token)?;
        let tags = read_tags(self.tags)?;
        let configuration = self.chime_sdk_meeting_configuration.filter(|it| !it.is_null());
        let artifacts = configuration.as_ref().map_or(Ok(USUAL), read_artifacts)?;
        let only = configuration.as_ref().map_or(Ok(Vec::new()), read_chosen)?;
        let params = self.sse_aws_key_management_params.filter(|it| !it.is_null());
        let key = params.as_ref().map(read_key).transpose()?;
        if let Some(role) = &self.sink_iam_role_arn {
            check::length("SinkIamRoleArn", role, 1, 1024)?;
            if !role.starts_with("arn:") {
                return Err(Kind::BadRequest.with("SinkIamRoleArn must be an ARN"));
            }
        }
        let mut echo = Map::new();
        let mut put = |name: &str, value: Option<Value>| {
            if let Some(value) = value {
                echo.insert(name.to_owned(), value);
            }
        };
        put("SourceType", Some("ChimeSdkMeeting".into()));
        put("SourceArn", Some(source_arn.as_str().into()));
        put("SinkType", Some("S3Bucket".into()));
        put("SinkArn", Some(sink_arn.into()));
        put("ChimeSdkMeetingConfiguration", configuration);
        put("SseAwsKeyManagementParams", params);
        put("SinkIamRoleArn", self.sink_iam_role_arn.map(Value::from));
        let Artifacts { with_speaker, cameras, shares } = artifacts;
        let echo = Value::Object(echo);
        Ok(Capture { token, source_arn, sink, key, with_speaker, cameras, shares, only, tags, echo })
    }
}

fn read_token(value: Option<String>) -> Result<Option<String>, Fault> {
    value.map(|token| check::request_token(Some(token))).transpose()
}

fn read_tags(value: Option<Vec<Tag>>) -> Result<Tags, Fault> {
    let Some(given) = value else { return Ok(Tags::new()) };
    check::count("Tags", &given, 1, MOST_TAGS)?;
    tags::check(&given)?;
    Ok(given.into_iter().map(Tag::into_pair).collect())
}

/// `SseAwsKeyManagementParams`.
fn read_key(params: &Value) -> Result<StoreKey, Fault> {
    let id = check::required("SseAwsKeyManagementParams.AwsKmsKeyId", text(params, "AwsKmsKeyId"))?;
    check::length("SseAwsKeyManagementParams.AwsKmsKeyId", id, 1, 2048)?;
    let context = text(params, "AwsKmsEncryptionContext").map(str::to_owned);
    if let Some(context) = &context {
        check::length("SseAwsKeyManagementParams.AwsKmsEncryptionContext", context, 1, 8192)?;
        if !serde_json::from_str::<Value>(context).is_ok_and(|value| value.is_object()) {
            return Err(Kind::BadRequest.with("AwsKmsEncryptionContext must be a JSON object"));
        }
    }
    Ok(StoreKey { id: id.to_owned(), context })
}

/// `SourceConfiguration.SelectedVideoStreams`.
fn read_chosen(configuration: &Value) -> Result<Vec<String>, Fault> {
    let chosen = configuration.pointer("/SourceConfiguration/SelectedVideoStreams").filter(|it| !it.is_null());
    let Some(chosen) = chosen else { return Ok(Vec::new()) };
    let mut only = Vec::new();
    for name in ["AttendeeIds", "ExternalUserIds"] {
        let Some(list) = chosen.get(name).filter(|it| !it.is_null()) else { continue };
        let wrong = || Kind::BadRequest.with(format!("SelectedVideoStreams.{name} must be a list of ids"));
        let list = list.as_array().ok_or_else(wrong)?;
        check::count("SelectedVideoStreams", list, 1, MOST_CHOSEN)?;
        for id in list {
            let id = id.as_str().ok_or_else(wrong)?;
            check::length("SelectedVideoStreams", id, 1, 64)?;
            only.push(id.to_owned());
        }
    }
    Ok(only)
}

fn read_artifacts(configuration: &Value) -> Result<Artifacts, Fault> {
    let Some(artifacts) = configuration.get("ArtifactsConfiguration").filter(|it| !it.is_null()) else {
        return Ok(USUAL);
    };
    let part = |name: &'static str| artifacts.get(name).filter(|it| !it.is_null());
    let audio = check::required("ArtifactsConfiguration.Audio", part("Audio"))?;
    let composited = "AudioWithCompositedVideo";
    word("Audio.MuxType", text(audio, "MuxType"), &["AudioOnly", "AudioWithActiveSpeakerVideo", composited])?;
    let video = check::required("ArtifactsConfiguration.Video", part("Video"))?;
    word("Video.State", text(video, "State"), &["Enabled", "Disabled"])?;
    if let Some(kind) = text(video, "MuxType") {
        word("Video.MuxType", Some(kind), &["VideoOnly"])?;
    }
    let content = check::required("ArtifactsConfiguration.Content", part("Content"))?;
    word("Content.State", text(content, "State"), &["Enabled", "Disabled"])?;
    if let Some(kind) = text(content, "MuxType") {
        word("Content.MuxType", Some(kind), &["ContentOnly"])?;
    }
    if text(audio, "MuxType") == Some(composited) || part("CompositedVideo").is_some() {
        return Err(Kind::BadRequest.with("CompositedVideo is not supported by this server"));
    }
    Ok(Artifacts {
        with_speaker: text(audio, "MuxType") == Some("AudioWithActiveSpeakerVideo"),
        cameras: text(video, "State") == Some("Enabled"),
        shares: text(content, "State") == Some("Enabled"),
    })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct ConcatenationBody {
    sources: Option<Vec<Value>>,
    sinks: Option<Vec<Value>>,
    client_request_token: Option<String>,
    tags: Option<Vec<Tag>>,
}

/// A concatenation that was asked for rightly.
#[derive(Clone, Debug)]
#[allow(clippy::struct_excessive_bools, reason = "independent switches, as the API has them")]
pub(super) struct Concatenation {
    pub(super) token: Option<String>,
    pub(super) source_arn: String,
    pub(super) sink: Sink,
    pub(super) cameras: bool,
    pub(super) shares: bool,
    pub(super) events: bool,
    pub(super) posts: bool,
    pub(super) tags: Tags,
    /// What was asked for, to be shown.
    pub(super) echo: Value,
}

/// The parts of a concatenation: all of them have to be named.
const PARTS: [&str; 7] =
    ["Audio", "Video", "Content", "DataChannel", "TranscriptionMessages", "MeetingEvents", "CompositedVideo"];

impl ConcatenationBody {
    /// Checks every constraint.
    pub(super) fn read(self) -> Result<Concatenation, Fault> {
        let token = read_token(self.client_request_token)?;
        let tags = read_tags(self.tags)?;
        let sources = check::required("Sources", self.sources)?;
        let [source] = &sources[..] else { return Err(Kind::BadRequest.with("Sources must have 1 item")) };
        word("Sources.Type", text(source, "Type"), &["MediaCapturePipeline"])?;
        let configuration = source.get("MediaCapturePipelineSourceConfiguration").filter(|it| !it.is_null());
        let configuration = check::required("Sources.MediaCapturePipelineSourceConfiguration", configuration)?;
        let arn = check::required("MediaPipelineArn", text(configuration, "MediaPipelineArn"))?;
        check::length("MediaPipelineArn", arn, 1, 1024)?;
        let artifacts = configuration.pointer("/ChimeSdkMeetingConfiguration/ArtifactsConfiguration");
        let artifacts = check::required("ChimeSdkMeetingConfiguration.ArtifactsConfiguration", artifacts)?;
        for name in PARTS {
            let words: &[&str] = if name == "Audio" { &["Enabled"] } else { &["Enabled", "Disabled"] };
            let state = artifacts.get(name).and_then(|part| text(part, "State"));
            word("ArtifactsConfiguration: the State of each of the seven parts", state, words)?;
        }
        let sinks = check::required("Sinks", self.sinks)?;
        let [sink] = &sinks[..] else { return Err(Kind::BadRequest.with("Sinks must have 1 item")) };
        word("Sinks.Type", text(sink, "Type"), &["S3Bucket"])?;
        let destination = sink.pointer("/S3BucketSinkConfiguration/Destination").and_then(Value::as_str);
        let sink = Sink::parse("Destination", check::required("S3BucketSinkConfiguration.Destination", destination)?)?;
        let is_on = |name: &str| artifacts.get(name).and_then(|part| text(part, "State")) == Some("Enabled");
        let (cameras, shares) = (is_on("Video"), is_on("Content"));
        let (events, posts) = (is_on("MeetingEvents"), is_on("DataChannel"));
        let source_arn = arn.to_owned();
        let echo = json!({ "Sources": sources, "Sinks": sinks });
        Ok(Concatenation { token, source_arn, sink, cameras, shares, events, posts, tags, echo })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn capture(change: impl FnOnce(&mut Value)) -> Result<Capture, Fault> {
        let mut body = json!({
            "SourceType": "ChimeSdkMeeting",
            "SourceArn": "arn:aws:chime:us-east-1:000000000001:meeting/x",
            "SinkType": "S3Bucket",
            "SinkArn": "arn:aws:s3:::captures/of/one/",
            "ClientRequestToken": "token-1",
            "SseAwsKeyManagementParams": null,
            "SinkIamRoleArn": null,
            "ChimeSdkMeetingConfiguration": {"ArtifactsConfiguration": {
                "Audio": {"MuxType": "AudioOnly"},
                "Video": {"State": "Enabled", "MuxType": "VideoOnly"},
                "Content": {"State": "Disabled"},
            }},
        });
        change(&mut body);
        check::body::<CaptureBody>(body.to_string().as_bytes())?.read()
    }

    #[test]
    fn a_right_capture_names_bucket_and_prefix() {
        let sink = capture(|_| ()).unwrap().sink;
        assert_eq!((sink.bucket.as_str(), sink.prefix.as_str()), ("captures", "of/one"));
        let usual = capture(|body| body["ChimeSdkMeetingConfiguration"] = Value::Null).unwrap();
        assert!(usual.with_speaker && !usual.cameras && usual.shares);
        let wanted = capture(|_| ()).unwrap();
        assert!(!wanted.with_speaker && wanted.cameras && !wanted.shares);
        assert_eq!(wanted.echo["SinkArn"], "arn:aws:s3:::captures/of/one/");
    }

    #[test]
    fn keys_and_chosen_people_are_read() {
        let wanted = capture(|body| {
            body["SseAwsKeyManagementParams"] =
                json!({"AwsKmsKeyId": "alias/k", "AwsKmsEncryptionContext": "{\"a\":\"b\"}"});
            body["SinkIamRoleArn"] = json!("arn:aws:iam::1:role/x");
            body["ChimeSdkMeetingConfiguration"]["SourceConfiguration"] =
                json!({"SelectedVideoStreams": {"AttendeeIds": ["one"], "ExternalUserIds": ["two"]}});
        });
        let wanted = wanted.unwrap();
        assert_eq!(
            (wanted.key.unwrap().id.as_str(), wanted.only),
            ("alias/k", vec!["one".to_owned(), "two".to_owned()])
        );
        assert_eq!(wanted.echo["SinkIamRoleArn"], "arn:aws:iam::1:role/x");
    }

    #[test]
    fn each_constraint_of_a_capture_is_kept() {
        let wrong: &[(&str, Value)] = &[
            ("/SourceType", json!("Other")),
            ("/SourceArn", Value::Null),
            ("/SinkType", json!("Disk")),
            ("/SinkArn", json!("arn:aws:s3:::x")),
            ("/SinkArn", json!("arn:aws:s3:::good/../bad")),
            ("/SinkArn", json!("s3://captures")),
            ("/SinkArn", json!("arn:aws:s3:::captures//x")),
            ("/SseAwsKeyManagementParams", json!({})),
            ("/SseAwsKeyManagementParams", json!({"AwsKmsKeyId": "k", "AwsKmsEncryptionContext": "no object"})),
            ("/SinkIamRoleArn", json!("role")),
            ("/ClientRequestToken", json!("a b")),
            ("/ChimeSdkMeetingConfiguration/ArtifactsConfiguration/Audio/MuxType", json!("AudioWithCompositedVideo")),
            ("/ChimeSdkMeetingConfiguration/ArtifactsConfiguration/Audio", Value::Null),
            ("/ChimeSdkMeetingConfiguration/ArtifactsConfiguration/Video/State", json!("On")),
            ("/ChimeSdkMeetingConfiguration/ArtifactsConfiguration/Content/State", Value::Null),
        ];
        for (at, value) in wrong {
            let fault = capture(|body| *body.pointer_mut(at).unwrap() = value.clone()).unwrap_err();
            assert_eq!(fault.kind, Kind::BadRequest, "{at} {value}");
        }
    }

    fn concatenation(change: impl FnOnce(&mut Value)) -> Result<Concatenation, Fault> {
        let parts: Map<String, Value> =
            PARTS.iter().map(|name| ((*name).to_owned(), json!({"State": "Enabled"}))).collect();
        let mut body = json!({
            "Sources": [{"Type": "MediaCapturePipeline", "MediaCapturePipelineSourceConfiguration": {
                "MediaPipelineArn": "arn", "ChimeSdkMeetingConfiguration": {"ArtifactsConfiguration": parts}}}],
            "Sinks": [{"Type": "S3Bucket", "S3BucketSinkConfiguration": {"Destination": "arn:aws:s3:::captures"}}],
        });
        change(&mut body);
        check::body::<ConcatenationBody>(body.to_string().as_bytes())?.read()
    }

    #[test]
    fn each_constraint_of_a_concatenation_is_kept() {
        assert_eq!(concatenation(|_| ()).unwrap().sink.prefix, "");
        let artifacts =
            "/Sources/0/MediaCapturePipelineSourceConfiguration/ChimeSdkMeetingConfiguration/ArtifactsConfiguration";
        for part in PARTS {
            let at = format!("{artifacts}/{part}/State");
            assert!(concatenation(|body| *body.pointer_mut(&at).unwrap() = Value::Null).is_err(), "{part}");
        }
        for (at, value) in [("/Sources", json!([])), ("/Sinks", json!([])), ("/Sinks/0/Type", json!("Tape"))] {
            assert!(concatenation(|body| *body.pointer_mut(at).unwrap() = value).is_err(), "{at}");
        }
    }
}
