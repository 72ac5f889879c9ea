//! CreateMeeting, CreateMeetingWithAttendees, GetMeeting, DeleteMeeting.

use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::audit::{Draft, EventType, Fact};
use crate::chime::attendees::{self, AttendeeItem};
use crate::chime::call::{Answer, Call, Outcome};
use crate::chime::capability::Features;
use crate::chime::error::{Fault, Kind};
use crate::chime::names::{MeetingId, Resource};
use crate::chime::notifications::{self, MeetingChange};
use crate::chime::store::{self, Meeting, NewMeeting, Tags};
use crate::chime::{check, notices, tags};
use crate::clock::Timestamp;
use crate::config::PublicAddress;
use crate::db::{self, Tx};
use crate::ids::{OrgId, VisitId};
use crate::visit::{self, EndReason, VisitStatus};

/// Attendees that a meeting may be created with at once.
const MOST_AT_ONCE: usize = 20;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
struct CreateBody {
    client_request_token: Option<String>,
    media_region: Option<String>,
    external_meeting_id: Option<String>,
    meeting_host_id: Option<String>,
    notifications_configuration: Option<Map<String, Value>>,
    meeting_features: Option<Features>,
    primary_meeting_id: Option<String>,
    tenant_ids: Option<Vec<String>>,
    tags: Option<Vec<tags::Tag>>,
    media_placement_network_type: Option<String>,
    attendees: Option<Vec<AttendeeItem>>,
}

impl CreateBody {
    /// Checks every constraint of the members.
    fn into_new(self, call: &Call, hash: [u8; 32]) -> Result<(NewMeeting, Vec<AttendeeItem>), Fault> {
        let request_token = check::request_token(self.client_request_token)?;
        let media_region = check::required("MediaRegion", self.media_region)?;
        check::length("MediaRegion", &media_region, 2, 64)?;
        let external_id = check::required("ExternalMeetingId", self.external_meeting_id)?;
        check::external_id("ExternalMeetingId", &external_id)?;
        if let Some(host) = &self.meeting_host_id {
            check::external_id("MeetingHostId", host)?;
        }
        if let Some(primary) = &self.primary_meeting_id {
            check::length("PrimaryMeetingId", primary, 2, 64)?;
            return Err(Kind::BadRequest.with("PrimaryMeetingId: replica meetings are not supported by this server"));
        }
        if let Some(ids) = &self.tenant_ids {
            check::tenant_ids(ids)?;
        }
        if let Some(network) = &self.media_placement_network_type
            && !matches!(network.as_str(), "Ipv4Only" | "DualStack")
        {
            return Err(Kind::BadRequest.with("MediaPlacementNetworkType must be Ipv4Only or DualStack"));
        }
        if let Some(rule) = self.meeting_features.as_ref().and_then(Features::broken_rule) {
            return Err(Kind::BadRequest.with(rule));
        }
        let new = NewMeeting {
            request_token,
            request_hash: hash,
            external_id,
            media_region,
            region: call.region.clone(),
            host_id: self.meeting_host_id,
            features: self.meeting_features,
            tenant_ids: self.tenant_ids.unwrap_or_default(),
            network_type: self.media_placement_network_type,
            notifications: self.notifications_configuration.map(check_notifications).transpose()?,
            tags: tags::merge(&Tags::new(), self.tags.unwrap_or_default())?,
        };
        Ok((new, self.attendees.unwrap_or_default()))
    }
}

fn check_notifications(map: Map<String, Value>) -> Result<Value, Fault> {
    for name in ["LambdaFunctionArn", "SnsTopicArn", "SqsQueueArn"] {
        let Some(value) = map.get(name).filter(|value| !value.is_null()) else { continue };
        let text = value.as_str().filter(|text| text.starts_with("arn") && text.len() <= 1024);
        if text.is_none() {
            return Err(Kind::BadRequest.with(format!("NotificationsConfiguration.{name} must be an ARN")));
        }
    }
    Ok(Value::Object(map))
}

/// The same parameters give the same hash, in whatever order they come.
fn hash(operation: &str, body: &[u8]) -> Result<[u8; 32], Fault> {
    let value: Value = check::body(body)?;
    let mut hasher = Sha256::new();
    hasher.update(operation);
    hasher.update(b"\0");
    hasher.update(value.to_string());
    Ok(hasher.finalize().into())
}

/// CreateMeeting.
pub(crate) async fn create(call: &Call) -> Outcome {
    let body: CreateBody = check::body(&call.body)?;
    let (new, _) = body.into_new(call, hash("CreateMeeting", &call.body)?)?;
    let meeting = get_or_create(call, &new).await?;
    Ok(Answer::Ok(json!({ "Meeting": view(call, &meeting) })))
}

/// CreateMeetingWithAttendees. The meeting comes first; what is wrong with single attendees is told beside it.
pub(crate) async fn create_with_attendees(call: &Call) -> Outcome {
    let body: CreateBody = check::body(&call.body)?;
    let (new, items) = body.into_new(call, hash("CreateMeetingWithAttendees", &call.body)?)?;
    check::count("Attendees", &items, 1, MOST_AT_ONCE)?;
    let wanted = attendees::read_items(items, &new.features.clone().unwrap_or_default())?;
    let meeting = get_or_create(call, &new).await?;
    let (made, errors) = attendees::get_or_create_all(call, meeting.id, wanted).await?;
    Ok(Answer::Ok(json!({ "Meeting": view(call, &meeting), "Attendees": made, "Errors": errors })))
}

pub(super) async fn get_or_create(call: &Call, new: &NewMeeting) -> Result<Meeting, Fault> {
    let (org, now) = (call.org, call.app.now());
    db::audited(&call.app.db, org, &call.actor, async |tx| {
        store::lock_creation(tx, org).await?;
        for over in store::end_with_their_visits(tx, org, now).await? {
            notifications::meeting(tx, org, &over, MeetingChange::Ended, now).await?;
        }
        if let Some(found) = store::find_by_request(tx, org, &new.request_token).await? {
            if found.request_hash != new.request_hash {
                return Err(Kind::Conflict.with("ClientRequestToken was used for a meeting with other parameters"));
            }
            let seen = Draft::new(EventType::VisitViewed).visit(found.visit);
            return Ok((found, vec![seen]));
        }
        if store::count_open(tx, org).await? >= i64::from(call.app.config.chime_meetings) {
            return Err(Kind::LimitExceeded.with("There are as many active meetings as the quota allows"));
        }
        let (visit, mut drafts) = find_or_make_visit(tx, call, &new.external_id, now).await?;
        let meeting = MeetingId::random();
        store::insert(tx, (org, visit), meeting, new, now).await?;
        drafts.push(Draft::new(EventType::RoomCreated).visit(visit).subject("meeting", meeting));
        let made = store::find(tx, meeting).await?.ok_or_else(|| Kind::Failure.with("A new meeting is not there"))?;
        notifications::meeting(tx, org, &(&made).into(), MeetingChange::Started, now).await?;
        Ok((made, drafts))
    })
    .await
}

/// The visit whose room the meeting is: the one that its external id names, if that is not over; a new one of its own otherwise.
async fn find_or_make_visit(
    tx: &mut Tx,
    call: &Call,
    external_id: &str,
    now: Timestamp,
) -> Result<(VisitId, Vec<Draft>), Fault> {
    let named = match external_id.parse::<Uuid>() {
        Ok(id) => visit::store::find(tx, VisitId::from_uuid(id)).await?,
        Err(_) => None,
    };
    let named = match named {
        Some(visit) => Some(visit),
        None => visit::store::find_by_appointment(tx, call.org, external_id).await?,
    };
    if let Some(visit) = named.filter(|visit| !visit.status.is_over()) {
        return Ok((visit.id, Vec::new()));
    }
    let visit = VisitId::random();
    store::insert_visit(tx, call.org, visit, &call.actor.id(), now).await?;
    Ok((visit, [EventType::VisitCreated, EventType::VisitStarted].map(|event| Draft::new(event).visit(visit)).to_vec()))
}

/// A meeting that lives.
///
/// # Errors
/// `NotFound`.
pub(crate) async fn require(tx: &mut Tx, meeting: MeetingId) -> Result<Meeting, Fault> {
    store::find(tx, meeting).await?.ok_or_else(|| Kind::NotFound.with("There is no such meeting, or it has ended"))
}

/// GetMeeting.
pub(crate) async fn get(call: &Call, meeting: MeetingId) -> Outcome {
    let found = look_up(call, meeting).await?;
    Ok(Answer::Ok(json!({ "Meeting": view(call, &found) })))
}

/// Reads a meeting, and notes that it was looked at.
pub(crate) async fn look_up(call: &Call, meeting: MeetingId) -> Result<Meeting, Fault> {
    let found = db::scoped(&call.app.db, call.org, async |tx| require(tx, meeting).await).await?;
    note_view(call, found.visit).await?;
    Ok(found)
}

/// The audit event of a look: one in five minutes, as for the native API.
pub(crate) async fn note_view(call: &Call, visit: VisitId) -> Result<(), Fault> {
    if call.app.views.is_new(&call.actor, Some(visit), call.app.now()) {
        let seen = Draft::new(EventType::VisitViewed).visit(visit);
        db::audited(&call.app.db, call.org, &call.actor, async |_| Ok::<_, Fault>(((), vec![seen]))).await?;
    }
    Ok(())
}

/// DeleteMeeting: disconnects everyone. The visit of a plain meeting is over with it; so is a visit that had begun, with the last
/// meeting that is its room. A visit that had not begun stays as it was.
pub(crate) async fn delete(call: &Call, meeting: MeetingId) -> Outcome {
    let now = call.app.now();
    let ended = db::audited(&call.app.db, call.org, &call.actor, async |tx| {
        store::lock(tx, meeting).await?;
        let found = require(tx, meeting).await?;
        let by = call.actor.id();
        end(tx, call.org, &found, Ending { reason: "DELETED", visit: EndReason::Normal, by: &by, now }).await
    })
    .await?;
    notices::ended(&call.app, &ended, Some(call.actor.clone())).await;
    Ok(Answer::NoContent)
}

/// How a meeting ends.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ending<'a> {
    /// As the table has it.
    pub(crate) reason: &'static str,
    /// As the visit has it.
    pub(crate) visit: EndReason,
    /// Who ended it.
    pub(crate) by: &'a str,
    /// When.
    pub(crate) now: Timestamp,
}

/// What has to be told to the room of a meeting that ended.
#[derive(Clone, Debug)]
pub(crate) struct Ended {
    /// Whose room.
    pub(crate) visit: VisitId,
    /// The visit is over, and so is its room.
    pub(crate) is_visit_over: bool,
    /// Otherwise, who has to go.
    pub(crate) attendees: Vec<crate::ids::ParticipantId>,
}

/// Ends a meeting in the books.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn end(
    tx: &mut Tx,
    org: OrgId,
    meeting: &Meeting,
    ending: Ending<'_>,
) -> Result<(Ended, Vec<Draft>), Fault> {
    let Ending { reason, visit: end_reason, by, now } = ending;
    let visit = meeting.visit;
    store::end(tx, meeting.id, reason, now).await?;
    notifications::meeting(tx, org, &meeting.into(), MeetingChange::Ended, now).await?;
    let mut drafts = vec![Draft::new(EventType::RoomEnded).visit(visit).subject("meeting", meeting.id).because(reason)];
    let is_visit_over = if meeting.is_plain {
        let is_over = store::complete_visit(tx, visit, by, end_reason.as_str(), now).await?;
        if is_over {
            let changed = Draft::new(EventType::VisitStatusChanged).visit(visit);
            let changed = changed.fact("from", Fact::Word(VisitStatus::InProgress.as_str()));
            drafts.push(changed.fact("to", Fact::Word(VisitStatus::Completed.as_str())));
            drafts.push(Draft::new(EventType::VisitEnded).visit(visit));
        }
        is_over
    } else if reason == "DELETED" {
        end_clinical_visit(tx, visit, by, now, &mut drafts).await?
    } else {
        false
    };
    let rows = store::list_attendees(tx, meeting.id, 0, i64::MAX).await?;
    let attendees = rows.iter().map(store::AttendeeRow::participant).collect();
    for row in &rows {
        store::delete_attendee(tx, row.id(), now).await?;
    }
    Ok((Ended { visit, is_visit_over, attendees }, drafts))
}

/// Ends a visit of the native face when the last meeting that is its room was deleted, as `POST /api/visits/:id/end` would.
async fn end_clinical_visit(
    tx: &mut Tx,
    visit: VisitId,
    by: &str,
    now: Timestamp,
    drafts: &mut Vec<Draft>,
) -> Result<bool, Fault> {
    let found = visit::store::lock(tx, visit).await?;
    if found.status != VisitStatus::InProgress || store::count_of_visit(tx, visit).await? > 0 {
        return Ok(false);
    }
    let (_, events) = visit::command::finish(tx, &found, EndReason::Normal, by, now).await?;
    drafts.extend(events);
    Ok(true)
}

/// A meeting as the API shows it.
pub(super) fn view(call: &Call, meeting: &Meeting) -> Value {
    let mut view = json!({
        "MeetingId": meeting.id,
        "ExternalMeetingId": meeting.external_id,
        "MediaRegion": meeting.media_region,
        "MediaPlacement": placement(&call.app.public, meeting.id),
        "TenantIds": meeting.tenant_ids,
        "MeetingArn": arn(call.org, meeting),
    });
    if let Value::Object(map) = &mut view {
        if let Some(host) = &meeting.host_id {
            map.insert("MeetingHostId".to_owned(), host.as_str().into());
        }
        if let Some(features) = &meeting.features {
            map.insert("MeetingFeatures".to_owned(), json!(features));
        }
    }
    view
}

/// The ARN of a meeting.
#[must_use]
pub(crate) fn arn(org: OrgId, meeting: &Meeting) -> String {
    Resource::Meeting(meeting.id).to_arn(org, &meeting.region)
}

/// Where the client finds the meeting. It uses the first three; the others are there for applications with types that need them.
fn placement(public: &PublicAddress, meeting: MeetingId) -> Value {
    let (scheme, web) = if public.is_https { ("wss", "https") } else { ("ws", "http") };
    let authority = &public.authority;
    let host = host_of(authority);
    json!({
        "SignalingUrl": format!("{scheme}://{authority}/control/{meeting}"),
        "AudioHostUrl": format!("{}.{host}:3478", meeting.as_uuid().simple()),
        "EventIngestionUrl": format!("{web}://{authority}/client-events"),
        "AudioFallbackUrl": format!("{scheme}://{authority}/calls/{meeting}"),
        "TurnControlUrl": format!("{web}://{authority}/v2/turn_sessions"),
        "ScreenDataUrl": format!("{scheme}://{authority}/v2/screen/{meeting}"),
        "ScreenViewingUrl": format!("{scheme}://{authority}/ws/connect?passcode=null&viewer_uuid=null&X-BitHub-Call-Id={meeting}"),
        "ScreenSharingUrl": format!("{scheme}://{authority}/v2/screen/{meeting}"),
    })
}

fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}
