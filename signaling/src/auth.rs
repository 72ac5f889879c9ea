//! Who asks, and what they may do. The role comes from a credential, never from a body or an address.

pub mod binding;
pub mod claims;
pub mod extract;
pub mod keys;
pub mod matrix;
pub mod origin;
pub mod rotation;
pub mod signing_config;

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::Redacted;

use crate::clock::Timestamp;
use crate::error::Error;
use crate::ids::{OrgId, ParticipantId, SessionId, TokenId, VisitId};
use crate::participant::Role;
use crate::problem::Code;
use crate::visit::Visit;

pub use crate::auth::matrix::{Permission, service_may, session_may, staff_may};

/// The role in an AccessToken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StaffRole {
    /// Holds visits of their own.
    Clinician,
    /// A patient of the portal; most patients come by join links.
    Patient,
    /// Plans visits for everyone.
    Scheduler,
    /// Runs the practice.
    Admin,
    /// Reads the audit chain, and writes nothing.
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

    /// By its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|role| role.as_str() == text)
    }
}

/// What is known of a person's second factor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assurance {
    /// The organisation asks for one, and none was shown.
    Missing,
    /// None was shown, and none is asked for.
    NotAsked,
    /// One was shown.
    Shown,
    /// One was shown within the last [`FRESH`].
    Fresh,
}

impl Assurance {
    /// What follows from a credential: `is_asked` is the organisation's ruling, `auth_at` when the person showed who they are.
    #[must_use]
    pub fn of(has_mfa: bool, auth_at: Option<Timestamp>, is_asked: bool, now: Timestamp) -> Self {
        match (has_mfa, auth_at) {
            (true, Some(at)) if now < at + FRESH => Self::Fresh,
            (true, _) => Self::Shown,
            (false, _) if is_asked => Self::Missing,
            (false, _) => Self::NotAsked,
        }
    }
}

/// How long a second factor counts as just shown.
pub const FRESH: Duration = Duration::from_secs(15 * 60);

/// Who asks.
#[derive(Clone, Debug)]
pub enum Actor {
    /// The holder of an AccessToken.
    Staff(Staff),
    /// The holder of a redeemed link's session.
    Attendee(Attendee),
    /// A program, with an access key or a service token of the organisation.
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
    /// What is known of their second factor.
    pub assurance: Assurance,
    /// What they came in by.
    pub credential: Credential,
    /// Visits beyond their own that they may read for now: see [`crate::break_glass`].
    pub opened: Vec<VisitId>,
}

/// What a staff member came in by.
#[derive(Clone, Debug)]
pub enum Credential {
    /// A session of this server.
    Session(SessionId),
    /// A bearer.
    Token {
        /// Its `jti`.
        id: Option<String>,
        /// Its `iat`.
        issued_at: Timestamp,
    },
}

impl Credential {
    /// The session, if it is one.
    #[must_use]
    pub const fn session(&self) -> Option<SessionId> {
        match self {
            Self::Session(session) => Some(*session),
            Self::Token { .. } => None,
        }
    }
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

/// A program.
#[derive(Clone, Debug)]
pub struct Service {
    /// The organisation of its key or token.
    pub org: OrgId,
    /// The id of the key or token.
    pub id: String,
    /// What it was made for. What programs may not do at all, the role matrix says.
    pub grants: Grants,
}

/// A set of permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grants(u64);

impl Grants {
    /// None.
    pub const NONE: Self = Self(0);
    /// All that there are.
    pub const ALL: Self = Self(u64::MAX);

    /// With one more.
    #[must_use]
    pub const fn with(self, permission: Permission) -> Self {
        Self(self.0 | 1 << permission as u64)
    }

    /// Whether it is among them.
    #[must_use]
    pub const fn has(self, permission: Permission) -> bool {
        self.0 & 1 << permission as u64 != 0
    }
}

/// Each permission has a bit.
const _: () = assert!(Permission::ALL.len() <= 64);

impl FromIterator<Permission> for Grants {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        permissions.into_iter().fold(Self::NONE, Self::with)
    }
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
            Self::Service(service) => service.id.clone(),
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
            Self::Service(service) => service_may(permission) && service.grants.has(permission),
            Self::System { .. } => true,
            Self::Anonymous { .. } => false,
        }
    }

    /// Decides whether the credential opens what needs this permission: the role has it, and the second factor is as the organisation
    /// asks. This is the one question of the router for every route; which visits are within reach, [`require_for`](Self::require_for)
    /// says once the visit is known.
    ///
    /// # Errors
    /// `FORBIDDEN` for the role, `MFA_REQUIRED` for the second factor.
    pub fn require(&self, permission: Permission) -> Result<(), Error> {
        if !self.may(permission) {
            return Err(Code::Forbidden.into());
        }
        let Self::Staff(staff) = self else { return Ok(()) };
        if permission.needs_mfa() && staff.assurance == Assurance::Missing {
            return Err(Code::MfaRequired.into());
        }
        // Where no second factor is asked for, there is none that could be fresh.
        if permission.needs_fresh_mfa() && staff.assurance == Assurance::Shown {
            return Err(Code::MfaRequired.problem().member("maxAge", FRESH.as_secs()).into());
        }
        Ok(())
    }

    /// Whether a visit of this organisation is the actor's business: a clinician's own, a session's own, any for the rest; none for a
    /// patient of the portal, whose visits [`reaches`](Self::reaches) knows. A visit that is not reads as one that does not exist.
    #[must_use]
    pub fn may_touch(&self, visit: VisitId, clinician_id: &str) -> bool {
        match self {
            Self::Staff(staff) => match staff.role {
                StaffRole::Clinician => staff.sub == clinician_id,
                StaffRole::Patient => false,
                StaffRole::Scheduler | StaffRole::Admin | StaffRole::Auditor => true,
            },
            Self::Service(_) | Self::System { .. } => true,
            Self::Attendee(attendee) => attendee.visit == visit,
            Self::Anonymous { .. } => false,
        }
    }

    /// Whether this visit is the actor's business, as [`may_touch`](Self::may_touch), and to a patient of the portal their own.
    #[must_use]
    pub fn reaches(&self, visit: &Visit) -> bool {
        match self {
            Self::Staff(staff) if staff.role == StaffRole::Patient => {
                staff.org == visit.org && staff.sub == visit.patient_id
            }
            _ => self.may_touch(visit.id, &visit.clinician_id),
        }
    }

    /// Permission and reach in one, patients of the portal included.
    ///
    /// # Errors
    /// As [`require`](Self::require); `NOT_FOUND` for the visit.
    pub fn require_for(&self, permission: Permission, visit: &Visit) -> Result<(), Error> {
        self.require(permission)?;
        if self.reaches(visit) || self.has_opened(permission, visit.id) { Ok(()) } else { Err(Code::NotFound.into()) }
    }

    /// Permission and reach in one, for everybody but patients of the portal.
    ///
    /// # Errors
    /// As [`require`](Self::require); `NOT_FOUND` for the visit.
    pub fn require_on(&self, permission: Permission, visit: VisitId, clinician_id: &str) -> Result<(), Error> {
        self.require(permission)?;
        if self.may_touch(visit, clinician_id) || self.has_opened(permission, visit) {
            Ok(())
        } else {
            Err(Code::NotFound.into())
        }
    }

    /// Whether glass was broken for this visit, which is for reading alone.
    fn has_opened(&self, permission: Permission, visit: VisitId) -> bool {
        matches!(self, Self::Staff(staff) if permission.is_reading() && staff.opened.contains(&visit))
    }
}
