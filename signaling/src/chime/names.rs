//! The only dictionary between Chime's words and ours: ids, resource names, and what a person is called.

use wire::id;

use crate::ids::OrgId;
use crate::participant::Role;

id!(
    /// A Meeting of the Chime API: a Visit of kind MEETING, or one more way into the room of an ordinary Visit.
    MeetingId, "meeting"
);
id!(
    /// An Attendee of the Chime API: a Participant with a join token.
    AttendeeId, "attendee"
);
id!(
    /// A media pipeline of the Chime API.
    PipelineId, "pipeline"
);

/// What follows a join token, an attendee id or an external user id where the content share's own connection is meant.
pub(crate) const SHARE_SUFFIX: &str = "#content";

/// Twelve digits that name an organisation where AWS has an account number: always the same for one organisation.
#[must_use]
pub(crate) fn account(org: OrgId) -> String {
    format!("{:012}", org.as_uuid().as_u128() % 1_000_000_000_000)
}

/// What an ARN of this API names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Resource {
    /// `meeting/<id>`.
    Meeting(MeetingId),
    /// `media-pipeline/<id>`.
    Pipeline(PipelineId),
}

impl Resource {
    /// The ARN of this resource of an organisation.
    #[must_use]
    pub(crate) fn to_arn(self, org: OrgId, region: &str) -> String {
        let (kind, id) = match self {
            Self::Meeting(id) => ("meeting", id.as_uuid()),
            Self::Pipeline(id) => ("media-pipeline", id.as_uuid()),
        };
        format!("arn:aws:chime:{region}:{}:{kind}/{id}", account(org))
    }

    /// Reads an ARN of this organisation. The region is not compared: there is one server behind all of them.
    #[must_use]
    pub(crate) fn parse(arn: &str, org: OrgId) -> Option<Self> {
        let owner = arn.split(':').nth(4)?;
        Self::parse_of_anybody(arn).filter(|_| owner == account(org))
    }

    /// Reads an ARN whose account is not looked at: applications write the number of their own account into those that they build
    /// themselves. Whose the resource is says the key that signed.
    #[must_use]
    pub(crate) fn parse_of_anybody(arn: &str) -> Option<Self> {
        let mut parts = arn.splitn(6, ':');
        let is_one = parts.next()? == "arn"
            && parts.next()?.starts_with("aws")
            && parts.next()? == "chime"
            && parts.next().is_some()
            && parts.next().is_some();
        let (kind, id) = parts.next()?.split_once('/')?;
        match (is_one, kind) {
            (true, "meeting") => Some(Self::Meeting(id.parse().ok()?)),
            (true, "media-pipeline") => Some(Self::Pipeline(id.parse().ok()?)),
            _ => None,
        }
    }
}

/// What a person is in a visit's room, by the external user id that an application gave: the visit's own people are known by their
/// ids, everybody else is a guest.
#[must_use]
pub(crate) fn role(external_user: &str, patient_id: &str, clinician_id: &str) -> Role {
    if external_user == clinician_id {
        Role::Clinician
    } else if external_user == patient_id {
        Role::Patient
    } else {
        Role::Guest
    }
}

/// What others read beside a person's picture. Chime's own demos put an id before a name, with a number sign between them.
#[must_use]
pub(crate) fn display_name(external_user: &str) -> &str {
    match external_user.rsplit_once('#') {
        Some((_, name)) if !name.trim().is_empty() => name.trim(),
        _ => external_user,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn an_arn_reads_back_for_its_own_organisation_alone() {
        let org = OrgId::from_uuid(Uuid::from_u128(42));
        let meeting = Resource::Meeting(MeetingId::from_uuid(Uuid::from_u128(7)));
        let arn = meeting.to_arn(org, "eu-central-1");
        assert_eq!(arn, "arn:aws:chime:eu-central-1:000000000042:meeting/00000000-0000-0000-0000-000000000007");
        assert_eq!(Resource::parse(&arn, org), Some(meeting));
        assert_eq!(Resource::parse(&arn, OrgId::from_uuid(Uuid::from_u128(43))), None);
        let pipeline = Resource::Pipeline(PipelineId::from_uuid(Uuid::from_u128(8)));
        assert_eq!(Resource::parse(&pipeline.to_arn(org, "us-east-1"), org), Some(pipeline));
        for bad in [
            "",
            "arn",
            "arn:aws:s3:::bucket",
            "arn:aws:chime:x:000000000042:meeting/x",
            "arn:aws:chime:x:000000000042:meeting",
        ] {
            assert_eq!(Resource::parse(bad, org), None, "{bad}");
        }
    }

    #[test]
    fn a_name_follows_the_last_number_sign() {
        assert_eq!(display_name("3f2a#Maria Alvarez"), "Maria Alvarez");
        assert_eq!(display_name("maria"), "maria");
        assert_eq!(display_name("maria#"), "maria#");
    }
}
