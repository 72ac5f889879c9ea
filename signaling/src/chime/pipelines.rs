//! `chime-sdk-media-pipelines`: which operations there are, what their requests must hold, and which of them this server does not
//! have. Nothing captures yet, so nothing is made: a request that is right in every way is answered that the service is not available.

use axum::http::Method;
use serde_json::json;

use crate::chime::error::{Fault, Kind};
use crate::chime::http::{Answer, Call, Outcome, no_such_operation};
use crate::chime::names::{PipelineId, Resource};
use crate::chime::{check, meetings};
use crate::config::SignalingConfig;
use crate::ids::OrgId;

mod request;

use request::{CaptureBody, ConcatenationBody};

/// Where the service lives.
pub(crate) const PATHS: [&str; 14] = [
    "/sdk-media-capture-pipelines",
    "/sdk-media-capture-pipelines/{pipeline}",
    "/sdk-media-concatenation-pipelines",
    "/sdk-media-pipelines",
    "/sdk-media-pipelines/{pipeline}",
    "/sdk-media-live-connector-pipelines",
    "/sdk-media-stream-pipelines",
    "/media-pipeline-kinesis-video-stream-pools",
    "/media-pipeline-kinesis-video-stream-pools/{*rest}",
    "/media-insights-pipelines",
    "/media-insights-pipelines/{*rest}",
    "/media-insights-pipeline-configurations",
    "/media-insights-pipeline-configurations/{*rest}",
    "/media-insights-pipeline-status/{identifier}",
];

/// The operation that method and path name.
pub(crate) async fn dispatch(call: &Call, method: &Method, segments: &[&str]) -> Outcome {
    match (method.as_str(), segments) {
        ("POST", ["sdk-media-capture-pipelines"]) => create_capture(call).await,
        ("GET", ["sdk-media-capture-pipelines"]) => list(call, "MediaCapturePipelines"),
        ("GET", ["sdk-media-pipelines"]) => list(call, "MediaPipelines"),
        ("GET" | "DELETE", ["sdk-media-capture-pipelines" | "sdk-media-pipelines", id]) => Err(find(id)),
        ("POST", ["sdk-media-concatenation-pipelines"]) => create_concatenation(call),
        (_, ["sdk-media-capture-pipelines" | "sdk-media-pipelines" | "sdk-media-concatenation-pipelines", ..]) => {
            Err(no_such_operation())
        }
        _ => Err(Kind::BadRequest.with("This kind of media pipeline is not supported by this server")),
    }
}

/// CreateMediaCapturePipeline, up to the capture itself.
async fn create_capture(call: &Call) -> Outcome {
    let body: CaptureBody = check::body(&call.body)?;
    let wanted = body.read()?;
    let Some(Resource::Meeting(meeting)) = Resource::parse(&wanted.source_arn, call.org) else {
        return Err(no_source());
    };
    if !is_allowed(&call.app.config, call.org, &wanted.sink.bucket) {
        return Err(
            Kind::Forbidden.with("SinkArn names a bucket that this organisation may not write to: see chime_buckets")
        );
    }
    let found = meetings::look_up(call, meeting).await;
    found.map_err(|fault| if fault.kind == Kind::NotFound { no_source() } else { fault })?;
    Err(Kind::Unavailable.with("This server does not capture meetings into buckets yet"))
}

/// CreateMediaConcatenationPipeline, up to the look for its source.
fn create_concatenation(call: &Call) -> Outcome {
    let body: ConcatenationBody = check::body(&call.body)?;
    let wanted = body.read()?;
    if !is_allowed(&call.app.config, call.org, &wanted.sink.bucket) {
        return Err(Kind::Forbidden
            .with("Destination names a bucket that this organisation may not write to: see chime_buckets"));
    }
    Err(Kind::BadRequest.with("MediaPipelineArn names no capture pipeline of this organisation"))
}

/// The model has no NotFound for this operation.
fn no_source() -> Fault {
    Kind::BadRequest.with("SourceArn names no active meeting of this organisation")
}

fn list(call: &Call, name: &str) -> Outcome {
    check::page(&call.query)?;
    Ok(Answer::Ok(json!({ name: [] })))
}

fn find(id: &str) -> Fault {
    match id.parse::<PipelineId>() {
        Ok(_) => Kind::NotFound.with("There is no such media pipeline"),
        Err(_) => Kind::BadRequest.with("MediaPipelineId must be a UUID"),
    }
}

/// Whether an organisation's captures may go into a bucket: one of its own, or one for everybody.
fn is_allowed(config: &SignalingConfig, org: OrgId, bucket: &str) -> bool {
    config.chime_buckets.iter().any(|entry| {
        entry.split_once('/').is_some_and(|(who, which)| which == bucket && (who == "*" || who == org.to_string()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_for_one_organisation_or_for_all() {
        let (org, other) = (OrgId::random(), OrgId::random());
        let config = SignalingConfig {
            chime_buckets: vec![format!("{org}/own"), "*/all".to_owned()],
            ..SignalingConfig::default()
        };
        assert!(
            is_allowed(&config, org, "own") && is_allowed(&config, org, "all") && is_allowed(&config, other, "all")
        );
        assert!(!is_allowed(&config, other, "own") && !is_allowed(&config, org, "none"));
        assert!(!is_allowed(&SignalingConfig::default(), org, "own"));
    }
}
