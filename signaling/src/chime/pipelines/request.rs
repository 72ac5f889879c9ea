//! What the requests of media pipelines must hold.

use serde::Deserialize;
use serde_json::Value;

use crate::chime::check;
use crate::chime::error::{Fault, Kind};
use crate::chime::tags::{self, Tag};

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
        let is_name = (3..=63).contains(&bucket.len())
            && bucket
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'.' | b'-'));
        let is_path = !prefix.chars().any(char::is_control) && !prefix.split('/').any(|part| part == "..");
        if !is_name || !is_path {
            return Err(Kind::BadRequest.with(format!("{name} must look like arn:aws:s3:::bucket/prefix")));
        }
        Ok(Self { bucket: bucket.to_owned(), prefix: prefix.trim_end_matches('/').to_owned() })
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
    tags: Option<Vec<Tag>>,
}

/// A capture that was asked for rightly.
#[derive(Clone, Debug)]
pub(super) struct Capture {
    pub(super) source_arn: String,
    pub(super) sink: Sink,
}

impl CaptureBody {
    /// Checks every constraint.
    pub(super) fn read(self) -> Result<Capture, Fault> {
        word("SourceType", self.source_type.as_deref(), &["ChimeSdkMeeting"])?;
        let source_arn = check::required("SourceArn", self.source_arn)?;
        check::length("SourceArn", &source_arn, 1, 1024)?;
        word("SinkType", self.sink_type.as_deref(), &["S3Bucket"])?;
        let sink = Sink::parse("SinkArn", &check::required("SinkArn", self.sink_arn)?)?;
        check_token(self.client_request_token)?;
        check_tags(self.tags)?;
        if let Some(configuration) = self.chime_sdk_meeting_configuration.filter(|it| !it.is_null()) {
            check_artifacts(&configuration)?;
        }
        Ok(Capture { source_arn, sink })
    }
}

fn check_token(value: Option<String>) -> Result<(), Fault> {
    value.map_or(Ok(()), |token| check::request_token(Some(token)).map(drop))
}

fn check_tags(value: Option<Vec<Tag>>) -> Result<(), Fault> {
    let Some(tags) = value else { return Ok(()) };
    check::count("Tags", &tags, 1, MOST_TAGS)?;
    tags::check(&tags)
}

fn check_artifacts(configuration: &Value) -> Result<(), Fault> {
    let Some(artifacts) = configuration.get("ArtifactsConfiguration").filter(|it| !it.is_null()) else { return Ok(()) };
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
    Ok(())
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
pub(super) struct Concatenation {
    pub(super) sink: Sink,
}

/// The parts of a concatenation: all of them have to be named.
const PARTS: [&str; 7] =
    ["Audio", "Video", "Content", "DataChannel", "TranscriptionMessages", "MeetingEvents", "CompositedVideo"];

impl ConcatenationBody {
    /// Checks every constraint.
    pub(super) fn read(self) -> Result<Concatenation, Fault> {
        check_token(self.client_request_token)?;
        check_tags(self.tags)?;
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
        Ok(Concatenation { sink })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn capture(change: impl FnOnce(&mut Value)) -> Result<Capture, Fault> {
        let mut body = json!({
            "SourceType": "ChimeSdkMeeting",
            "SourceArn": "arn:aws:chime:us-east-1:000000000001:meeting/x",
            "SinkType": "S3Bucket",
            "SinkArn": "arn:aws:s3:::captures/of/one/",
            "ClientRequestToken": "token-1",
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
        assert!(capture(|body| body["ChimeSdkMeetingConfiguration"] = Value::Null).is_ok());
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
        let parts: serde_json::Map<String, Value> =
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
