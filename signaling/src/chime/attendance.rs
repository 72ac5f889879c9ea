//! From a join token to the person, the room and the rights that it stands for.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sqlx::types::Json;
use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::auth::keys::Keys;
use crate::auth::{Actor, Attendee};
use crate::chime::capability::Capabilities;
use crate::chime::names::{AttendeeId, MeetingId, SHARE_SUFFIX};
use crate::clock::Timestamp;
use crate::db;
use crate::error::Error;
use crate::ids::{OrgId, ParticipantId, SessionId, VisitId};
use crate::live::roster::Person;
use crate::organization;
use crate::participant::{self, Role};
use crate::visit::VisitStatus;
use crate::ws::message::{Practice, VisitCard};

/// What is signed of a token, in bytes: enough that nobody guesses one.
const TAG: usize = 24;

/// Organisation and attendee, then the tag.
const TOKEN: usize = 16 + 16 + TAG;

/// The longest credential that is looked at: a token and the suffix of a share.
const MAX_TOKEN: usize = 128;

/// Binds the tag to its use.
const PURPOSE: &[u8] = b"anteroom chime join token v1\0";

/// Where somebody with a join token belongs.
#[derive(Clone, Debug)]
pub(crate) struct Attendance {
    /// Whose meeting it is.
    pub(crate) org: OrgId,
    /// The visit whose room this is.
    pub(crate) visit: VisitId,
    /// A meeting of its own: everybody is let in, and nobody hosts it. Otherwise the visit's waiting room and consent hold.
    pub(crate) is_plain: bool,
    /// Nobody is captured who has not agreed. A plain meeting follows its application, unless its organisation wants more.
    pub(crate) needs_consent: bool,
    /// The room may be recorded at all.
    pub(crate) may_record: bool,
    /// What people of the native face read about the visit.
    pub(crate) card: VisitCard,
    /// Who comes.
    pub(crate) person: Person,
    /// The same, by the id that the API gave.
    pub(crate) attendee: AttendeeId,
    /// The same, by the application's own id.
    pub(crate) external_user_id: String,
    /// What they may send and be sent.
    pub(crate) capabilities: Capabilities,
    /// The content share's own connection, beside the person's.
    pub(crate) is_share: bool,
}

/// Why a token leads nowhere.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Absent {
    /// Forged, of another meeting, or its attendee was deleted.
    #[error("no such attendee")]
    Unknown,
    /// The meeting is over.
    #[error("the meeting has ended")]
    Ended,
    /// It could not be looked up.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// The join token of an attendee. It is the same whenever it is asked for, and dead as soon as the attendee is deleted; its letters are
/// those of a WebSocket subprotocol.
#[must_use]
pub(crate) fn token(keys: &Keys, org: OrgId, attendee: AttendeeId) -> Redacted<String> {
    let mut bytes = Vec::with_capacity(TOKEN);
    bytes.extend_from_slice(org.as_uuid().as_bytes());
    bytes.extend_from_slice(attendee.as_uuid().as_bytes());
    let tag = keys.tag(PURPOSE, &bytes);
    bytes.extend(tag.iter().take(TAG));
    Redacted::new(URL_SAFE_NO_PAD.encode(bytes))
}

/// Whose token this is, if it is ours; and whether it is that of a share.
fn open(keys: &Keys, text: &str) -> Option<(OrgId, AttendeeId, bool)> {
    if text.len() > MAX_TOKEN {
        return None;
    }
    let (text, is_share) = text.strip_suffix(SHARE_SUFFIX).map_or((text, false), |text| (text, true));
    let bytes: [u8; TOKEN] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
    let (named, tag) = bytes.split_at(TOKEN - TAG);
    if !keys.is_tag(PURPOSE, named, tag) {
        return None;
    }
    let (org, attendee) = named.split_at(16);
    let org = OrgId::from_uuid(Uuid::from_slice(org).ok()?);
    Some((org, AttendeeId::from_uuid(Uuid::from_slice(attendee).ok()?), is_share))
}

/// Whether this server made the token, whatever became of its attendee.
#[must_use]
pub(crate) fn is_ours(keys: &Keys, text: &str) -> bool {
    open(keys, text).is_some()
}

/// Who comes with this token to this meeting.
///
/// # Errors
/// [`Absent`], which is said inside the protocol: an upgrade that is refused is tried again for minutes.
pub(crate) async fn find(app: &App, meeting: MeetingId, join_token: &str) -> Result<Attendance, Absent> {
    let (org, attendee, is_share) = open(&app.keys, join_token).ok_or(Absent::Unknown)?;
    let now = app.now();
    db::scoped(&app.db, org, async |tx| {
        let row = sqlx::query!(
            r#"SELECT m.ended_at, m.visit_id,
                   v.kind, v.status, v.clinician_id, v.scheduled_start_at, v.recording_policy,
                   a.participant_id, a.external_user_id, a.capabilities AS "capabilities: Json<Capabilities>",
                   a.deleted_at, p.role, p.display_name, p.removed_at, o.meetings_need_consent
               FROM chime_attendee a
               JOIN chime_meeting m USING (meeting_id)
               JOIN visit v ON v.visit_id = m.visit_id
               JOIN participant p USING (participant_id)
               JOIN organization o ON o.org_id = m.org_id
               WHERE a.attendee_id = $1 AND a.meeting_id = $2"#,
            attendee.as_uuid(),
            meeting.as_uuid(),
        )
        .fetch_optional(&mut *tx)
        .await
        .map_err(Error::from)?
        .ok_or(Absent::Unknown)?;
        let is_over = VisitStatus::parse(&row.status).is_none_or(VisitStatus::is_over);
        if row.ended_at.is_some() || is_over {
            return Err(Absent::Ended);
        }
        if row.deleted_at.is_some() || row.removed_at.is_some() {
            return Err(Absent::Unknown);
        }
        let role = Role::parse(&row.role).ok_or_else(|| Error::Inside("a participant's role is unknown".to_owned()))?;
        let visit = VisitId::from_uuid(row.visit_id);
        let practice = organization::get(tx, org).await?;
        let clinician_name = match &row.clinician_id {
            Some(id) => participant::store::find_by_identity(tx, visit, Role::Clinician, id).await?.map(|it| it.name),
            None => None,
        };
        let name = Redacted::new(row.display_name);
        let participant = ParticipantId::from_uuid(row.participant_id);
        let may_record = row.recording_policy == "OPT_IN";
        Ok(Attendance {
            org,
            visit,
            is_plain: row.kind == "MEETING",
            needs_consent: row.kind != "MEETING" || row.meetings_need_consent,
            may_record,
            card: VisitCard {
                visit_id: visit,
                scheduled_at: row.scheduled_start_at,
                clinician_name: clinician_name.unwrap_or_default(),
                practice: Practice { name: practice.name, phone: practice.phone },
                recording_policy: if may_record { "OPT_IN" } else { "NEVER" },
            },
            person: Person {
                participant,
                role: role.into(),
                name: name.clone(),
                actor: Actor::Attendee(Attendee {
                    org,
                    visit,
                    participant,
                    role,
                    name,
                    session: SessionId::from_uuid(attendee.as_uuid()),
                    token: None,
                    expires_at: far(now),
                }),
            },
            attendee,
            external_user_id: row.external_user_id,
            capabilities: row.capabilities.0,
            is_share,
        })
    })
    .await
}

/// A token holds as long as its meeting, and no meeting lives longer than a few days.
fn far(now: Timestamp) -> Timestamp {
    now.saturating_add(time::Duration::days(7))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_token_is_always_the_same_and_names_its_attendee() {
        let keys = Keys::ephemeral().unwrap();
        let (org, attendee) = (OrgId::random(), AttendeeId::random());
        let text = token(&keys, org, attendee).reveal().clone();
        assert_eq!(&text, token(&keys, org, attendee).reveal());
        assert_eq!(open(&keys, &text), Some((org, attendee, false)));
        assert_eq!(open(&keys, &format!("{text}#content")), Some((org, attendee, true)));
        assert_eq!(open(&keys, &format!("{text}#content#content")), None);
        assert_eq!(open(&Keys::ephemeral().unwrap(), &text), None, "another server");
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')));
    }

    proptest! {
        #[test]
        fn a_changed_token_names_nobody(at in 0..75_usize, letter in "[A-Za-z0-9_-]") {
            let keys = Keys::ephemeral().unwrap();
            let text = token(&keys, OrgId::random(), AttendeeId::random()).reveal().clone();
            let mut changed = text.clone();
            changed.replace_range(at..=at, &letter);
            prop_assert!(changed == text || open(&keys, &changed).is_none());
        }

        #[test]
        fn no_text_breaks_the_reader(text in ".{0,200}") {
            prop_assert_eq!(open(&Keys::ephemeral().unwrap(), &text), None);
        }
    }
}
