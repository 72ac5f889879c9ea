//! What AWS would tell by EventBridge, told by our webhooks: the same JSON. What happens in the books is written with them, in their
//! transaction; what happens in a room goes through [`writer`].

#[cfg(test)]
mod tests;
pub mod writer;

use serde_json::{Map, Value, json};
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::chime::names::{self, AttendeeId, MeetingId, PipelineId};
use crate::chime::store::{AttendeeRow, Meeting};
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::OrgId;
use crate::webhook::{self, Event};

/// What happens to a meeting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MeetingChange {
    Started,
    Ended,
}

/// What happens to an attendee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AttendeeChange {
    Added,
    Deleted,
    /// The token was accepted.
    Authorized,
    /// Media has been agreed upon.
    Joined,
    Left,
    Dropped,
    VideoStarted,
    VideoStopped,
    ContentJoined,
    ContentLeft,
    ContentDropped,
    ContentVideoStarted,
    ContentVideoStopped,
}

/// What happens to a media pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PipelineChange {
    InProgress,
    Deleted,
    TemporaryFailure,
    Resumed,
    PermanentFailure,
}

impl MeetingChange {
    const fn event_type(self) -> &'static str {
        match self {
            Self::Started => "chime:MeetingStarted",
            Self::Ended => "chime:MeetingEnded",
        }
    }
}

impl AttendeeChange {
    const fn event_type(self) -> &'static str {
        match self {
            Self::Added => "chime:AttendeeAdded",
            Self::Deleted => "chime:AttendeeDeleted",
            Self::Authorized => "chime:AttendeeAuthorized",
            Self::Joined => "chime:AttendeeJoined",
            Self::Left => "chime:AttendeeLeft",
            Self::Dropped => "chime:AttendeeDropped",
            Self::VideoStarted => "chime:AttendeeVideoStarted",
            Self::VideoStopped => "chime:AttendeeVideoStopped",
            Self::ContentJoined => "chime:AttendeeContentJoined",
            Self::ContentLeft => "chime:AttendeeContentLeft",
            Self::ContentDropped => "chime:AttendeeContentDropped",
            Self::ContentVideoStarted => "chime:AttendeeContentVideoStarted",
            Self::ContentVideoStopped => "chime:AttendeeContentVideoStopped",
        }
    }

    /// Whether the event says by which kind of network somebody is connected.
    const fn has_network(self) -> bool {
        matches!(
            self,
            Self::Joined | Self::Left | Self::Dropped | Self::ContentJoined | Self::ContentLeft | Self::ContentDropped
        )
    }
}

impl PipelineChange {
    const fn event_type(self) -> &'static str {
        match self {
            Self::InProgress => "chime:MediaPipelineInProgress",
            Self::Deleted => "chime:MediaPipelineDeleted",
            Self::TemporaryFailure => "chime:MediaPipelineTemporaryFailure",
            Self::Resumed => "chime:MediaPipelineResumed",
            Self::PermanentFailure => "chime:MediaPipelinePermanentFailure",
        }
    }
}

/// The meeting that something happens in.
#[derive(Clone, Debug)]
pub(crate) struct Scene {
    pub(crate) meeting: MeetingId,
    pub(crate) external_id: String,
    pub(crate) media_region: String,
    /// Of the request that made it.
    pub(crate) region: String,
}

impl From<&Meeting> for Scene {
    fn from(meeting: &Meeting) -> Self {
        Self {
            meeting: meeting.id,
            external_id: meeting.external_id.clone(),
            media_region: meeting.media_region.clone(),
            region: meeting.region.clone(),
        }
    }
}

/// What one event is about.
#[derive(Clone, Copy, Debug)]
enum Told<'a> {
    Meeting(MeetingChange),
    Attendee(AttendeeChange, AttendeeId, &'a str),
    Pipeline(PipelineChange, PipelineId),
}

impl Told<'_> {
    fn into_event(self, id: Uuid, org: OrgId, scene: &Scene, at: Timestamp) -> Event {
        let (detail_type, event_type, mut detail) = match self {
            Self::Meeting(change) => ("Chime Meeting State Change", change.event_type(), Map::new()),
            Self::Attendee(change, attendee, external_user_id) => {
                let mut detail = Map::new();
                detail.insert("attendeeId".to_owned(), attendee.to_string().into());
                detail.insert("externalUserId".to_owned(), external_user_id.into());
                if change.has_network() {
                    detail.insert("networkType".to_owned(), "Voip".into());
                }
                ("Chime Meeting State Change", change.event_type(), detail)
            }
            Self::Pipeline(change, pipeline) => {
                let mut detail = Map::new();
                detail.insert("mediaPipelineId".to_owned(), pipeline.to_string().into());
                ("Chime Media Pipeline State Change", change.event_type(), detail)
            }
        };
        let millis = i64::try_from(at.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
        for (name, value) in [
            ("version", Value::from("0")),
            ("eventType", event_type.into()),
            ("timestamp", millis.into()),
            ("meetingId", scene.meeting.to_string().into()),
            ("externalMeetingId", scene.external_id.as_str().into()),
            ("mediaRegion", scene.media_region.as_str().into()),
        ] {
            detail.insert(name.to_owned(), value);
        }
        let seconds = at.replace_nanosecond(0).unwrap_or(at);
        let envelope = json!({
            "version": "0",
            "id": id,
            "source": "aws.chime",
            "account": names::account(org),
            "region": scene.region,
            "time": seconds.format(&Rfc3339).unwrap_or_default(),
            "resources": [],
            "detail-type": detail_type,
            "detail": detail,
        });
        Event { id, body: envelope.to_string() }
    }
}

/// Tells that a meeting began or ended, in the transaction that says so.
pub(crate) async fn meeting(
    tx: &mut Tx,
    org: OrgId,
    scene: &Scene,
    change: MeetingChange,
    at: Timestamp,
) -> Result<()> {
    put(tx, org, scene, Told::Meeting(change), at).await
}

/// Tells that a meeting ended of which only the row was left to be closed.
pub(crate) async fn over(tx: &mut Tx, org: OrgId, meeting: MeetingId, at: Timestamp) -> Result<()> {
    let Some(scene) = find_scene(tx, meeting).await? else { return Ok(()) };
    put(tx, org, &scene, Told::Meeting(MeetingChange::Ended), at).await
}

/// Tells that an attendee was added or deleted, in the transaction that says so.
pub(crate) async fn attendee(
    tx: &mut Tx,
    org: OrgId,
    (meeting, row): (&Meeting, &AttendeeRow),
    change: AttendeeChange,
    at: Timestamp,
) -> Result<()> {
    put(tx, org, &meeting.into(), Told::Attendee(change, row.id(), &row.external_user_id), at).await
}

/// Tells that a media pipeline changed, in the transaction that says so; its meeting may be over.
pub(crate) async fn pipeline(
    tx: &mut Tx,
    org: OrgId,
    (meeting, pipeline): (MeetingId, PipelineId),
    change: PipelineChange,
    at: Timestamp,
) -> Result<()> {
    let Some(scene) = find_scene(tx, meeting).await? else { return Ok(()) };
    put(tx, org, &scene, Told::Pipeline(change, pipeline), at).await
}

async fn put(tx: &mut Tx, org: OrgId, scene: &Scene, told: Told<'_>, at: Timestamp) -> Result<()> {
    webhook::store::enqueue(tx, org, &told.into_event(Uuid::new_v4(), org, scene, at), at).await?;
    Ok(())
}

async fn find_scene(tx: &mut Tx, meeting: MeetingId) -> Result<Option<Scene>> {
    let row = sqlx::query!(
        "SELECT external_meeting_id, media_region, region FROM chime_meeting WHERE meeting_id = $1",
        meeting.as_uuid()
    )
    .fetch_optional(tx)
    .await?;
    Ok(row.map(|row| Scene {
        meeting,
        external_id: row.external_meeting_id,
        media_region: row.media_region,
        region: row.region,
    }))
}
