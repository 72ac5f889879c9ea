//! `chime-sdk-media-pipelines`: captures and concatenations, and which operations this server does not have.
//!
//! A capture is an order: the room's Tap is recorded as for the native API, sealed copy and audit included, and the recorder delivers
//! the pieces that the API promises to the bucket that the request names. [`state`] owns what state a pipeline is in, [`chore`] begins
//! and ends what is to begin and end.

pub(crate) mod chore;
mod request;
pub(crate) mod state;
pub(crate) mod store;

use axum::http::Method;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use time::format_description::well_known::Rfc3339;
use wire::OrderId;
use wire::delivery::{Join, Order, Place};

use crate::audit::{Draft, EventType};
use crate::chime::call::{Answer, Call, Outcome, no_such_operation};
use crate::chime::error::{Fault, Kind};
use crate::chime::names::{PipelineId, Resource};
use crate::chime::{buckets, check, meetings};
use crate::clock::Timestamp;
use crate::db::{self, Tx};
use crate::problem::Code;

use request::{CaptureBody, ConcatenationBody, Sink};
use state::Status;
use store::{New, Row};

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

/// How long a pipeline that is over is remembered, and a capture can be joined.
const REMEMBERED: time::Duration = time::Duration::days(30);

/// The operation that method and path name.
pub(crate) async fn dispatch(call: &Call, method: &Method, segments: &[&str]) -> Outcome {
    let capture = Some(store::Kind::Capture);
    match (method.as_str(), segments) {
        ("POST", ["sdk-media-capture-pipelines"]) => create_capture(call).await,
        ("GET", ["sdk-media-capture-pipelines"]) => list(call, capture, "MediaCapturePipelines").await,
        ("GET", ["sdk-media-capture-pipelines", id]) => get(call, capture, id).await,
        ("DELETE", ["sdk-media-capture-pipelines", id]) => delete(call, capture, id).await,
        ("POST", ["sdk-media-concatenation-pipelines"]) => create_concatenation(call).await,
        ("GET", ["sdk-media-pipelines"]) => list(call, None, "MediaPipelines").await,
        ("GET", ["sdk-media-pipelines", id]) => get(call, None, id).await,
        ("DELETE", ["sdk-media-pipelines", id]) => delete(call, None, id).await,
        (_, ["sdk-media-capture-pipelines" | "sdk-media-pipelines" | "sdk-media-concatenation-pipelines", ..]) => {
            Err(no_such_operation())
        }
        _ => Err(Kind::BadRequest.with("This kind of media pipeline is not supported by this server")),
    }
}

/// CreateMediaCapturePipeline.
async fn create_capture(call: &Call) -> Outcome {
    let body: CaptureBody = check::body(&call.body)?;
    let wanted = body.read()?;
    if wanted.key.is_some() && !call.app.config.has_bucket_keys {
        let why = "SseAwsKeyManagementParams: the buckets of this server are folders, which have no keys";
        return Err(Kind::BadRequest.with(why));
    }
    // The account in the ARN is the application's own; the meeting is one of the organisation whose key signed.
    let Some(Resource::Meeting(meeting)) = Resource::parse_of_anybody(&wanted.source_arn) else {
        return Err(no_source());
    };
    let found = meetings::look_up(call, meeting).await;
    let found = found.map_err(|fault| if fault.kind == Kind::NotFound { no_source() } else { fault })?;

    let (org, now, id) = (call.org, call.app.now(), PipelineId::random());
    let order = Order {
        id: OrderId::from_uuid(id.as_uuid()),
        place: to_place(&wanted.sink, id),
        key: wanted.key,
        with_speaker: wanted.with_speaker,
        cameras: wanted.cameras,
        shares: wanted.shares,
        only: wanted.only,
    };
    let new = New {
        id,
        kind: store::Kind::Capture,
        meeting: Some(meeting),
        source: None,
        status: Status::Initializing,
        region: call.region.clone(),
        request_token: wanted.token,
        request_hash: hash(&call.body)?,
        request: wanted.echo,
        wanted: json!(order),
        tags: wanted.tags,
        by: call.actor.id(),
    };
    let id = match find_earlier(call, &new).await? {
        Some(earlier) => earlier,
        None => {
            if let Some(room) = call.app.live.find(found.visit) {
                room.may_capture().await.map_err(|problem| to_fault(problem.code))?;
            }
            db::audited(&call.app.db, org, &call.actor, async |tx| {
                store::lock_creation(tx, org).await?;
                require_bucket(tx, call, "SinkArn", &wanted.sink).await?;
                if !store::may_record(tx, found.visit).await? {
                    return Err(to_fault(Code::Forbidden));
                }
                if store::is_captured(tx, meeting).await? {
                    return Err(to_fault(Code::AlreadyRecording));
                }
                insert(tx, call, &new, now).await?;
                let draft = Draft::new(EventType::ConfigChanged).visit(found.visit).subject("pipeline", id);
                Ok::<_, Fault>(((), vec![draft.because("PIPELINE_CREATED")]))
            })
            .await?;
            chore::look(&call.app, org, id, Some(&call.actor)).await?;
            id
        }
    };
    let row = require(call, None, id).await?;
    Ok(Answer::Created(json!({ "MediaCapturePipeline": view(call, &row) })))
}

/// CreateMediaConcatenationPipeline.
async fn create_concatenation(call: &Call) -> Outcome {
    let body: ConcatenationBody = check::body(&call.body)?;
    let wanted = body.read()?;
    let missing = || Kind::BadRequest.with("MediaPipelineArn names no capture pipeline of this organisation");
    let Some(Resource::Pipeline(source)) = Resource::parse_of_anybody(&wanted.source_arn) else {
        return Err(missing());
    };
    let (org, now, id) = (call.org, call.app.now(), PipelineId::random());
    let found = find(call, Some(store::Kind::Capture), source).await?.ok_or_else(missing)?;
    if now - found.created_at > REMEMBERED {
        return Err(Kind::BadRequest.with("MediaPipelineArn names a capture that is older than 30 days"));
    }
    let join = Join {
        id: OrderId::from_uuid(id.as_uuid()),
        from: found.order()?.place,
        to: to_place(&wanted.sink, id),
        cameras: wanted.cameras,
        shares: wanted.shares,
        events: wanted.events,
        posts: wanted.posts,
        delivered: Vec::new(),
    };
    let new = New {
        id,
        kind: store::Kind::Concatenation,
        meeting: None,
        source: Some(source),
        status: Status::NotStarted,
        region: call.region.clone(),
        request_token: wanted.token,
        request_hash: hash(&call.body)?,
        request: wanted.echo,
        wanted: json!(join),
        tags: wanted.tags,
        by: call.actor.id(),
    };
    let id = match find_earlier(call, &new).await? {
        Some(earlier) => earlier,
        None => {
            db::audited(&call.app.db, org, &call.actor, async |tx| {
                store::lock_creation(tx, org).await?;
                require_bucket(tx, call, "Destination", &wanted.sink).await?;
                insert(tx, call, &new, now).await?;
                let draft = Draft::new(EventType::ConfigChanged).visit(found.visit).subject("pipeline", id);
                Ok::<_, Fault>(((), vec![draft.because("PIPELINE_CREATED")]))
            })
            .await?;
            chore::look(&call.app, org, id, None).await?;
            id
        }
    };
    let row = require(call, None, id).await?;
    Ok(Answer::Created(json!({ "MediaConcatenationPipeline": view(call, &row) })))
}

/// The pipeline that the same request made before, if it made one.
async fn find_earlier(call: &Call, new: &New) -> Result<Option<PipelineId>, Fault> {
    let Some(token) = &new.request_token else { return Ok(None) };
    let since = call.app.now() - REMEMBERED;
    db::scoped(&call.app.db, call.org, async |tx| {
        let Some(id) = store::find_by_request(tx, call.org, new.kind, token).await? else { return Ok(None) };
        let earlier = store::find(tx, id, since).await?;
        if earlier.is_some_and(|row| row.request_hash != new.request_hash) {
            return Err(Kind::Conflict.with("ClientRequestToken was used for a pipeline with other parameters"));
        }
        Ok(Some(id))
    })
    .await
}

async fn insert(tx: &mut Tx, call: &Call, new: &New, now: Timestamp) -> Result<(), Fault> {
    if store::count_open(tx, call.org).await? >= i64::from(call.app.config.chime_pipelines) {
        return Err(Kind::LimitExceeded.with("There are as many active pipelines as the quota allows"));
    }
    if let Some(token) = &new.request_token
        && store::find_by_request(tx, call.org, new.kind, token).await?.is_some()
    {
        // Made since we looked, by the same request at the same moment.
        return Err(Kind::Conflict.with("The same request is under way"));
    }
    Ok(store::insert(tx, call.org, new, now).await?)
}

async fn require_bucket(tx: &mut Tx, call: &Call, name: &'static str, sink: &Sink) -> Result<(), Fault> {
    if buckets::is_allowed(tx, &call.app.config, call.org, &sink.bucket).await? {
        return Ok(());
    }
    Err(Kind::Forbidden.with(format!("{name} names a bucket that this organisation may not write to: allow it first")))
}

/// Names begin with what the request says, else with the pipeline's id, so that two captures never mix.
fn to_place(sink: &Sink, id: PipelineId) -> Place {
    let prefix = if sink.prefix.is_empty() { id.to_string() } else { sink.prefix.clone() };
    Place { bucket: sink.bucket.clone(), prefix }
}

/// The same parameters give the same hash, in whatever order they come.
fn hash(body: &[u8]) -> Result<[u8; 32], Fault> {
    let value: Value = check::body(body)?;
    Ok(Sha256::digest(value.to_string()).into())
}

/// Why a meeting cannot be captured, in the words of the API.
fn to_fault(code: Code) -> Fault {
    match code {
        Code::AlreadyRecording => {
            Kind::LimitExceeded.with("This meeting is being captured already: one capture pipeline a meeting")
        }
        Code::ConsentRequired => {
            Kind::Forbidden.with("Somebody in this visit has not agreed to being recorded: ask for consent first")
        }
        Code::Forbidden => Kind::Forbidden.with("This visit may not be recorded"),
        other => other.into(),
    }
}

/// The model has no NotFound for this operation.
fn no_source() -> Fault {
    Kind::BadRequest.with("SourceArn names no active meeting of this organisation")
}

async fn list(call: &Call, kind: Option<store::Kind>, name: &str) -> Outcome {
    let (most, after) = check::page(&call.query)?;
    let since = call.app.now() - REMEMBERED;
    let page = (after, most + 1);
    let mut rows = db::scoped(&call.app.db, call.org, async |tx| store::list(tx, kind, page, since).await).await?;
    let has_more = i64::try_from(rows.len()).unwrap_or(i64::MAX) > most;
    rows.truncate(usize::try_from(most).unwrap_or(usize::MAX));
    let item = |(_, id, region): &(i64, PipelineId, String)| {
        let arn = Resource::Pipeline(*id).to_arn(call.org, region);
        json!({ "MediaPipelineId": id, "MediaPipelineArn": arn })
    };
    let mut answer = Map::new();
    answer.insert(name.to_owned(), rows.iter().map(item).collect());
    if let Some((seq, ..)) = rows.last().filter(|_| has_more) {
        answer.insert("NextToken".to_owned(), check::next_token(*seq).into());
    }
    Ok(Answer::Ok(answer.into()))
}

async fn get(call: &Call, kind: Option<store::Kind>, id: &str) -> Outcome {
    let id = pipeline_id(id)?;
    // What the caller reads is what is so now, not what was so at the last look.
    chore::look(&call.app, call.org, id, None).await?;
    let row = require(call, kind, id).await?;
    let view = view(call, &row);
    Ok(Answer::Ok(match (kind, row.kind) {
        (Some(_), _) => json!({ "MediaCapturePipeline": view }),
        (None, store::Kind::Capture) => json!({ "MediaPipeline": { "MediaCapturePipeline": view } }),
        (None, store::Kind::Concatenation) => json!({ "MediaPipeline": { "MediaConcatenationPipeline": view } }),
    }))
}

/// Stops a pipeline. What was captured is delivered all the same. One that has stopped stays as it is.
async fn delete(call: &Call, kind: Option<store::Kind>, id: &str) -> Outcome {
    let id = pipeline_id(id)?;
    let row = require(call, kind, id).await?;
    if row.status.is_over() {
        return Ok(Answer::NoContent);
    }
    let now = call.app.now();
    db::audited(&call.app.db, call.org, &call.actor, async |tx| {
        store::ask_to_stop(tx, id, now).await?;
        let draft = Draft::new(EventType::ConfigChanged).visit(row.visit).subject("pipeline", id);
        Ok::<_, Fault>(((), vec![draft.because("PIPELINE_DELETED")]))
    })
    .await?;
    chore::look(&call.app, call.org, id, Some(&call.actor)).await?;
    call.app.orders.notify_one();
    Ok(Answer::NoContent)
}

fn pipeline_id(id: &str) -> Result<PipelineId, Fault> {
    id.parse().map_err(|_| Kind::BadRequest.with("MediaPipelineId must be a UUID"))
}

async fn find(call: &Call, kind: Option<store::Kind>, id: PipelineId) -> Result<Option<Row>, Fault> {
    let since = call.app.now() - REMEMBERED;
    let row = db::scoped(&call.app.db, call.org, async |tx| store::find(tx, id, since).await).await?;
    Ok(row.filter(|row| kind.is_none_or(|kind| row.kind == kind)))
}

async fn require(call: &Call, kind: Option<store::Kind>, id: PipelineId) -> Result<Row, Fault> {
    find(call, kind, id).await?.ok_or_else(|| Kind::NotFound.with("There is no such media pipeline"))
}

/// A pipeline as the API shows it: what was asked for, and what became of it.
fn view(call: &Call, row: &Row) -> Value {
    let mut view = match &row.request {
        Value::Object(echo) => echo.clone(),
        _ => Map::new(),
    };
    let mut put = |name: &str, value: Value| view.insert(name.to_owned(), value);
    put("MediaPipelineId", json!(row.id));
    put("MediaPipelineArn", Resource::Pipeline(row.id).to_arn(call.org, &row.region).into());
    put("Status", row.status.as_str().into());
    put("CreatedTimestamp", iso(row.created_at).into());
    put("UpdatedTimestamp", iso(row.updated_at).into());
    view.into()
}

fn iso(at: Timestamp) -> String {
    let whole = at.replace_nanosecond(at.nanosecond() / 1_000_000 * 1_000_000).unwrap_or(at);
    whole.format(&Rfc3339).unwrap_or_default()
}

/// What a tagged pipeline is.
///
/// # Errors
/// `NotFound`, as the operations on tags name it.
pub(crate) async fn require_tagged(tx: &mut Tx, id: PipelineId, arn: &str, now: Timestamp) -> Result<Row, Fault> {
    let missing = || Kind::ResourceNotFound.with("There is no such media pipeline").resource(arn);
    store::find(tx, id, now - REMEMBERED).await?.ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_as_the_sdks_read_them() {
        let at = time::macros::datetime!(2026-01-02 03:04:05.678901 UTC);
        assert_eq!(iso(at), "2026-01-02T03:04:05.678Z");
    }

    #[test]
    fn without_a_prefix_the_pipelines_id_is_one() {
        let id = PipelineId::random();
        let sink = |prefix: &str| Sink { bucket: "b".to_owned(), prefix: prefix.to_owned() };
        assert_eq!(to_place(&sink(""), id).prefix, id.to_string());
        assert_eq!(to_place(&sink("a/b"), id).prefix, "a/b");
    }
}
