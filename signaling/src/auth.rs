//! Who asks, and what they may do. The role comes from a credential, never from a body or an address.

pub mod binding;
pub mod claims;
pub mod extract;
pub mod keys;
pub mod origin;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::Redacted;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{OrgId, ParticipantId, SessionId, TokenId, VisitId};
use crate::participant::Role;
use crate::problem::Code;

/// The role in an AccessToken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StaffRole {
    /// Holds visits of their own.
    Clinician,
    /// A patient of the portal: may do nothing here yet; patients come by join links.
    Patient,
    /// Plans visits for everyone.
    Scheduler,
    /// Runs the practice.
    Admin,
    /// Reads the audit and nothing else.
    Auditor,
}

impl StaffRole {
    /// All of them.
    pub const ALL: &[Self] = &[Self::Clinician, Self::Patient, Self::Scheduler, Self::Admin, Self::Auditor];

    /// As in tokens and audit events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clinician => "clinician",
            Self::Patient => "patient",
            Self::Scheduler => "scheduler",
            Self::Admin => "admin",
            Self::Auditor => "auditor",
        }
    }
}

/// One thing that somebody may be allowed to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Permission {
    /// Plan a visit.
    CreateVisit,
    /// See the list of visits.
    ListVisits,
    /// See one visit.
    ReadVisit,
    /// Mint join links.
    IssueLinks,
    /// End a visit.
    EndVisit,
    /// Take the clinician's seat in the room; admit, deny, remove, mute.
    HostVisit,
    /// Start a recording.
    StartRecording,
    /// Stop a recording.
    StopRecording,
    /// See which recordings there are, and play them.
    PlayRecordings,
    /// See how the network was for the people of a visit.
    ReadQuality,
    /// Change what the organisation decides for itself.
    ManageOrganization,
    /// Read, export and verify the audit.
    ReadAudit,
    /// See consents.
    ReadConsent,
    /// Sign, decline or revoke a consent: one's own, or as staff what somebody said or signed on paper.
    GiveConsent,
    /// See clinicians' licences.
    ReadLicences,
    /// Change them.
    WriteLicences,
    /// Say where somebody is.
    AttestLocation,
    /// See the emergency contact and address.
    ReadEmergency,
    /// Set place of service and modifiers.
    SetBilling,
    /// Read the table of recording rules by state.
    ReadRules,
}

impl Permission {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::CreateVisit,
        Self::ListVisits,
        Self::ReadVisit,
        Self::IssueLinks,
        Self::EndVisit,
        Self::HostVisit,
        Self::StartRecording,
        Self::StopRecording,
        Self::PlayRecordings,
        Self::ReadQuality,
        Self::ManageOrganization,
        Self::ReadAudit,
        Self::ReadConsent,
        Self::GiveConsent,
        Self::ReadLicences,
        Self::WriteLicences,
        Self::AttestLocation,
        Self::ReadEmergency,
        Self::SetBilling,
        Self::ReadRules,
    ];
}

/// The role matrix for AccessTokens. A clinician's rights reach their own visits alone: see [`Actor::may_touch`].
#[must_use]
pub const fn staff_may(role: StaffRole, permission: Permission) -> bool {
    use Permission as P;
    match role {
        StaffRole::Clinician => !matches!(permission, P::ManageOrganization | P::ReadAudit | P::WriteLicences),
        StaffRole::Scheduler => matches!(
            permission,
            P::CreateVisit
                | P::ListVisits
                | P::ReadVisit
                | P::IssueLinks
                | P::ReadConsent
                | P::GiveConsent
                | P::ReadLicences
                | P::ReadRules
        ),
        StaffRole::Admin => !matches!(
            permission,
            P::HostVisit | P::StartRecording | P::StopRecording | P::AttestLocation | P::ReadEmergency
        ),
        StaffRole::Auditor => matches!(permission, P::ReadAudit | P::ReadRules),
        // Their own alone, which each of these asks.
        StaffRole::Patient => {
            matches!(permission, P::ReadConsent | P::GiveConsent | P::AttestLocation | P::ReadRules)
        }
    }
}

/// The role matrix for the session of a redeemed link; it reaches that visit alone.
#[must_use]
pub const fn session_may(role: Role, permission: Permission) -> bool {
    use Permission as P;
    match role {
        Role::Clinician => {
            matches!(
                permission,
                P::ReadVisit
                    | P::EndVisit
                    | P::HostVisit
                    | P::StartRecording
                    | P::StopRecording
                    | P::ReadConsent
                    | P::GiveConsent
                    | P::AttestLocation
                    | P::ReadEmergency
                    | P::ReadRules
            )
        }
        // Whoever is in a visit can stop its recording.
        Role::Patient | Role::Guest | Role::Interpreter | Role::Caregiver | Role::Supervisor => matches!(
            permission,
            P::ReadVisit | P::StopRecording | P::ReadConsent | P::GiveConsent | P::AttestLocation | P::ReadRules
        ),
        Role::Observer => matches!(permission, P::ReadVisit | P::ReadRules),
    }
}

/// Who asks.
#[derive(Clone, Debug)]
pub enum Actor {
    /// The holder of an AccessToken.
    Staff(Staff),
    /// The holder of a redeemed link's session.
    Attendee(Attendee),
    /// An application that signs its requests with an access key of the organisation.
    Service(Service),
    /// The program itself: timers, the recorder's news.
    System {
        /// For which organisation.
        org: OrgId,
    },
    /// Somebody who has shown no more than a link that names this organisation.
    Anonymous {
        /// Which.
        org: OrgId,
    },
}

/// The holder of an AccessToken.
#[derive(Clone, Debug)]
pub struct Staff {
    /// Their organisation.
    pub org: OrgId,
    /// Their id there, as in a visit's `clinician_id`.
    pub sub: String,
    /// Their role.
    pub role: StaffRole,
    /// How they are called, if the token says.
    pub name: Option<Redacted<String>>,
    /// Until when the token holds.
    pub expires_at: Timestamp,
}

/// The holder of a session.
#[derive(Clone, Debug)]
pub struct Attendee {
    /// The visit's organisation.
    pub org: OrgId,
    /// The visit.
    pub visit: VisitId,
    /// Their place in it.
    pub participant: ParticipantId,
    /// Their role in it.
    pub role: Role,
    /// How they are called there.
    pub name: Redacted<String>,
    /// The session.
    pub session: SessionId,
    /// The token that it came from.
    pub token: Option<TokenId>,
    /// Until when it holds.
    pub expires_at: Timestamp,
}

/// An application that signs its requests.
#[derive(Clone, Debug)]
pub struct Service {
    /// The organisation of its key.
    pub org: OrgId,
    /// The key's id.
    pub access_key_id: String,
}

impl Actor {
    /// Whose organisation the act is in.
    #[must_use]
    pub const fn org(&self) -> OrgId {
        match self {
            Self::Staff(staff) => staff.org,
            Self::Attendee(attendee) => attendee.org,
            Self::Service(service) => service.org,
            Self::System { org } | Self::Anonymous { org } => *org,
        }
    }

    /// The actor's class in audit events.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Staff(_) => "STAFF",
            Self::Attendee(_) => "PARTICIPANT",
            Self::Service(_) => "SERVICE",
            Self::System { .. } => "SYSTEM",
            Self::Anonymous { .. } => "ANONYMOUS",
        }
    }

    /// The actor's id in audit events and in `created_by` columns.
    #[must_use]
    pub fn id(&self) -> String {
        match self {
            Self::Staff(staff) => staff.sub.clone(),
            Self::Attendee(attendee) => attendee.participant.to_string(),
            Self::Service(service) => service.access_key_id.clone(),
            Self::System { .. } => "system".to_owned(),
            Self::Anonymous { .. } => "anonymous".to_owned(),
        }
    }

    /// The role, as audit events have it.
    #[must_use]
    pub const fn role(&self) -> Option<&'static str> {
        match self {
            Self::Staff(staff) => Some(staff.role.as_str()),
            Self::Attendee(attendee) => Some(attendee.role.as_str()),
            Self::Service(_) | Self::System { .. } | Self::Anonymous { .. } => None,
        }
    }

    /// Whether the role has the permission. Whether it reaches the visit in question is [`may_touch`](Self::may_touch)'s to say.
    #[must_use]
    pub const fn may(&self, permission: Permission) -> bool {
        match self {
            Self::Staff(staff) => staff_may(staff.role, permission),
            Self::Attendee(attendee) => session_may(attendee.role, permission),
            // What an application may do is bounded by the operations that take its key.
            Self::Service(_) | Self::System { .. } => true,
            Self::Anonymous { .. } => false,
        }
    }

    /// Refuses what the role may not do.
    ///
    /// # Errors
    /// `FORBIDDEN`.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if self.may(permission) { Ok(()) } else { Err(Code::Forbidden.into()) }
    }

    /// Whether a visit of this organisation is the actor's business: a clinician's own, a session's own, any for the rest.
    /// A visit that is not reads as one that does not exist.
    #[must_use]
    pub fn may_touch(&self, visit: VisitId, clinician_id: &str) -> bool {
        match self {
            Self::Staff(staff) if staff.role == StaffRole::Clinician => staff.sub == clinician_id,
            Self::Staff(_) | Self::Service(_) | Self::System { .. } => true,
            Self::Attendee(attendee) => attendee.visit == visit,
            Self::Anonymous { .. } => false,
        }
    }

    /// Permission and reach in one.
    ///
    /// # Errors
    /// `FORBIDDEN` for the role, `NOT_FOUND` for the visit.
    pub fn require_on(&self, permission: Permission, visit: VisitId, clinician_id: &str) -> Result<(), Error> {
        self.require(permission)?;
        if self.may_touch(visit, clinician_id) { Ok(()) } else { Err(Code::NotFound.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole matrix, written out: a change of rights must change this table.
    #[test]
    fn role_matrix() {
        use Permission as P;
        let rows: &[(P, [bool; 5])] = &[
            // clinician, patient, scheduler, admin, auditor
            (P::CreateVisit, [true, false, true, true, false]),
            (P::ListVisits, [true, false, true, true, false]),
            (P::ReadVisit, [true, false, true, true, false]),
            (P::IssueLinks, [true, false, true, true, false]),
            (P::EndVisit, [true, false, false, true, false]),
            (P::HostVisit, [true, false, false, false, false]),
            (P::StartRecording, [true, false, false, false, false]),
            (P::StopRecording, [true, false, false, false, false]),
            (P::PlayRecordings, [true, false, false, true, false]),
            (P::ReadQuality, [true, false, false, true, false]),
            (P::ManageOrganization, [false, false, false, true, false]),
            (P::ReadAudit, [false, false, false, true, true]),
            (P::ReadConsent, [true, true, true, true, false]),
            (P::GiveConsent, [true, true, true, true, false]),
            (P::ReadLicences, [true, false, true, true, false]),
            (P::WriteLicences, [false, false, false, true, false]),
            (P::AttestLocation, [true, true, false, false, false]),
            (P::ReadEmergency, [true, false, false, false, false]),
            (P::SetBilling, [true, false, false, true, false]),
            (P::ReadRules, [true, true, true, true, true]),
        ];
        assert_eq!(rows.len(), Permission::ALL.len());
        for (permission, expected) in rows {
            let actual: Vec<bool> = StaffRole::ALL.iter().map(|role| staff_may(*role, *permission)).collect();
            assert_eq!(actual, expected, "{permission:?}");
        }
        for permission in Permission::ALL {
            let patient = matches!(
                permission,
                P::ReadVisit | P::StopRecording | P::ReadConsent | P::GiveConsent | P::AttestLocation | P::ReadRules
            );
            assert_eq!(session_may(Role::Patient, *permission), patient, "{permission:?}");
            let observer = matches!(permission, P::ReadVisit | P::ReadRules);
            assert_eq!(session_may(Role::Observer, *permission), observer, "{permission:?}");
        }
    }
}
