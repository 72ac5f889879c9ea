//! Visit: its data, its VisitStatus and the moves that are allowed between them. No HTTP and no SQL here.

pub mod chore;
pub mod command;
pub mod http;
pub mod issue;
pub mod list;
pub mod reference;
pub mod store;
#[cfg(test)]
mod tests;
pub mod view;
pub mod vocabulary;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use wire::Redacted;

use crate::audit::{Draft, EventType, Fact};
use crate::clinical;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::ids::{OrgId, VisitId};
use crate::phi::Field;
use crate::problem::Code;
use crate::state::StateCode;

/// Where a visit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum VisitStatus {
    /// Planned; nobody is there.
    Scheduled,
    /// Somebody is in the waiting room, and no clinician has begun.
    Waiting,
    /// Begun.
    InProgress,
    /// Ended as it should.
    Completed,
    /// The patient did not come.
    NoShow,
    /// Called off.
    Cancelled,
    /// Broken off for a technical reason; may be reopened for a while.
    Technical,
}

impl VisitStatus {
    /// All of them.
    pub const ALL: &[Self] = &[
        Self::Scheduled,
        Self::Waiting,
        Self::InProgress,
        Self::Completed,
        Self::NoShow,
        Self::Cancelled,
        Self::Technical,
    ];

    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Scheduled => "SCHEDULED",
            Self::Waiting => "WAITING",
            Self::InProgress => "IN_PROGRESS",
            Self::Completed => "COMPLETED",
            Self::NoShow => "NO_SHOW",
            Self::Cancelled => "CANCELLED",
            Self::Technical => "TECHNICAL",
        }
    }

    /// Reads that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|status| status.as_str() == text)
    }

    /// True when the visit is over. A technical end is over too, unless somebody reopens it.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Completed | Self::NoShow | Self::Cancelled | Self::Technical)
    }

    /// The status machine: every move that is allowed, and no other.
    #[must_use]
    pub const fn may_become(self, to: Self) -> bool {
        match self {
            Self::Scheduled => {
                matches!(to, Self::Waiting | Self::InProgress | Self::NoShow | Self::Cancelled | Self::Technical)
            }
            Self::Waiting => {
                matches!(to, Self::Scheduled | Self::InProgress | Self::NoShow | Self::Cancelled | Self::Technical)
            }
            Self::InProgress => matches!(to, Self::Completed | Self::NoShow | Self::Cancelled | Self::Technical),
            Self::Technical => matches!(to, Self::Waiting),
            Self::Completed | Self::NoShow | Self::Cancelled => false,
        }
    }

    /// Where one can move from here.
    #[must_use]
    pub fn targets(self) -> Vec<Self> {
        Self::ALL.iter().copied().filter(|to| self.may_become(*to)).collect()
    }
}

/// Whether a visit may be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum RecordingPolicy {
    /// Not at all.
    Never,
    /// When everyone present agrees.
    OptIn,
}

impl RecordingPolicy {
    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Never => "NEVER",
            Self::OptIn => "OPT_IN",
        }
    }
}

/// How the patient is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "plain words")]
pub enum Channel {
    Sms,
    Email,
    Both,
}

impl Channel {
    /// As the database has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sms => "SMS",
            Self::Email => "EMAIL",
            Self::Both => "BOTH",
        }
    }

    /// Reads the database's form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Sms, Self::Email, Self::Both].into_iter().find(|channel| channel.as_str() == text)
    }
}

/// Why a visit ended; it decides where the visit goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "plain words")]
pub enum EndReason {
    #[default]
    Normal,
    NoShow,
    Cancelled,
    Technical,
    Timeout,
    Admin,
}

impl EndReason {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::Normal, Self::NoShow, Self::Cancelled, Self::Technical, Self::Timeout, Self::Admin];

    /// Reads the database's form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }

    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "NORMAL",
            Self::NoShow => "NO_SHOW",
            Self::Cancelled => "CANCELLED",
            Self::Technical => "TECHNICAL",
            Self::Timeout => "TIMEOUT",
            Self::Admin => "ADMIN",
        }
    }

    /// Where the visit goes.
    #[must_use]
    pub const fn status(self) -> VisitStatus {
        match self {
            Self::Normal | Self::Timeout | Self::Admin => VisitStatus::Completed,
            Self::NoShow => VisitStatus::NoShow,
            Self::Cancelled => VisitStatus::Cancelled,
            Self::Technical => VisitStatus::Technical,
        }
    }
}

/// Why a visit was called off: a code, because what a person writes about an appointment can be clinical.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[expect(missing_docs, reason = "plain words")]
pub enum CancelReason {
    PatientRequest,
    ClinicianUnavailable,
    Rescheduled,
    BookedInError,
    Other,
}

impl CancelReason {
    /// All of them.
    pub const ALL: &[Self] =
        &[Self::PatientRequest, Self::ClinicianUnavailable, Self::Rescheduled, Self::BookedInError, Self::Other];

    /// As the database and the protocol have it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PatientRequest => "PATIENT_REQUEST",
            Self::ClinicianUnavailable => "CLINICIAN_UNAVAILABLE",
            Self::Rescheduled => "RESCHEDULED",
            Self::BookedInError => "BOOKED_IN_ERROR",
            Self::Other => "OTHER",
        }
    }

    /// Reads that form.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|reason| reason.as_str() == text)
    }
}

/// A scheduled encounter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Its id.
    pub id: VisitId,
    /// Whose it is.
    pub org: OrgId,
    /// The host system's id for it.
    pub appointment: Option<String>,
    /// The host system's id for the patient.
    pub patient_id: String,
    /// The clinician's id: the `sub` of their AccessToken.
    pub clinician_id: String,
    /// Where it stands.
    pub status: VisitStatus,
    /// Such as `follow_up`.
    pub visit_type: Option<String>,
    /// How the patient is told.
    pub channel: Channel,
    /// When it should begin.
    pub scheduled_start: Timestamp,
    /// How long it should last, minutes.
    pub duration_min: i32,
    /// When it began.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Why it ended.
    pub end_reason: Option<EndReason>,
    /// Why it was called off, if somebody said.
    pub cancel_reason: Option<CancelReason>,
    /// When it went on after it had broken off.
    pub reopened_at: Option<Timestamp>,
    /// Made to show the product: of no patient.
    pub demo: bool,
    /// Whether it may be recorded.
    pub recording_policy: RecordingPolicy,
    /// Grows with each change.
    pub row_version: i32,
}

impl Visit {
    /// Whole minutes from begin to end, once both are known.
    #[must_use]
    pub fn actual_minutes(&self) -> Option<i64> {
        Some((self.ended_at? - self.started_at?).whole_minutes())
    }
}

/// A visit to be planned.
#[derive(Clone, Debug)]
pub struct NewVisit {
    /// The host system's id for it, once per organisation.
    pub appointment: Option<String>,
    /// The host system's id for the patient.
    pub patient_id: String,
    /// As the clinician reads it.
    pub patient_name: Redacted<String>,
    /// The clinician's id.
    pub clinician_id: String,
    /// As the patient reads it.
    pub clinician_name: Redacted<String>,
    /// Such as `follow_up`.
    pub visit_type: Option<String>,
    /// How the patient is told.
    pub channel: Channel,
    /// When it should begin.
    pub scheduled_start: Timestamp,
    /// How long it should last, minutes.
    pub duration_min: i32,
    /// Whether it may be recorded.
    pub recording_policy: RecordingPolicy,
    /// Made to show the product: of no patient, and it may share its clinician's time with others.
    pub demo: bool,
    /// Why the patient comes. Kept sealed, shown to the clinician alone.
    pub chief_complaint: Option<Redacted<String>>,
    /// Where the patient will be, as far as it is known.
    pub patient_state: Option<StateCode>,
}

impl NewVisit {
    /// Refuses values that the database would, by their names in the request.
    ///
    /// # Errors
    /// `INVALID`, naming the field.
    pub fn validate(&self) -> Result<()> {
        check_text("patientId", &self.patient_id, 200)?;
        check_text("clinicianId", &self.clinician_id, 200)?;
        check_text("patientName", self.patient_name.reveal(), 100)?;
        check_text("clinicianName", self.clinician_name.reveal(), 100)?;
        self.appointment.as_deref().map_or(Ok(()), |text| check_text("appointmentId", text, 200))?;
        self.visit_type.as_deref().map_or(Ok(()), |text| check_text("visitType", text, 100))?;
        self.chief_complaint.as_ref().map_or(Ok(()), |text| clinical::check(Field::ChiefComplaint, text.reveal()))?;
        check_duration(self.duration_min)?;
        check_start(self.scheduled_start)
    }
}

/// Refuses a length that the database would.
///
/// # Errors
/// `INVALID`.
pub fn check_duration(minutes: i32) -> Result<()> {
    if (5..=480).contains(&minutes) {
        return Ok(());
    }
    Err(Code::Invalid.with("duration must be 5 to 480 minutes").into())
}

/// Refuses a time that no appointment has, before it overflows a range of the database.
///
/// # Errors
/// `INVALID`.
pub fn check_start(start: Timestamp) -> Result<()> {
    if (1970..=9000).contains(&start.year()) {
        return Ok(());
    }
    Err(Code::Invalid.with("scheduledAt must be a time of our days").into())
}

pub(crate) fn check_text(field: &'static str, text: &str, most: usize) -> Result<()> {
    let length = text.chars().count();
    if length == 0 || length > most || text.trim().is_empty() {
        return Err(Code::Invalid.with(format!("{field} must have 1 to {most} characters")).into());
    }
    if text.chars().any(char::is_control) {
        return Err(Code::Invalid.with(format!("{field} must not hold control characters")).into());
    }
    Ok(())
}

/// A move that was made.
#[derive(Clone, Debug)]
pub struct Moved {
    /// Where the visit came from.
    pub from: VisitStatus,
    /// The visit as it is now.
    pub visit: Visit,
}

impl Moved {
    /// The audit events of the move.
    #[must_use]
    pub fn events(&self) -> Vec<Draft> {
        let to = self.visit.status;
        move_events(self.visit.id, self.from, to, self.visit.row_version)
    }
}

/// The audit events of a move: the change itself, and what the visit model calls it.
#[must_use]
pub fn move_events(visit: VisitId, from: VisitStatus, to: VisitStatus, row_version: i32) -> Vec<Draft> {
    let changed = Draft::new(EventType::VisitStatusChanged)
        .visit(visit)
        .fact("from", Fact::Word(from.as_str()))
        .fact("to", Fact::Word(to.as_str()))
        .fact("rowVersion", Fact::Number(row_version.into()));
    let named = match to {
        VisitStatus::InProgress => Some(EventType::VisitStarted),
        VisitStatus::Completed => Some(EventType::VisitEnded),
        VisitStatus::NoShow => Some(EventType::VisitNoShow),
        VisitStatus::Cancelled => Some(EventType::VisitCancelled),
        VisitStatus::Technical => Some(EventType::VisitTechnical),
        VisitStatus::Waiting if from == VisitStatus::Technical => Some(EventType::VisitReopened),
        VisitStatus::Scheduled | VisitStatus::Waiting => None,
    };
    let mut events = vec![changed];
    events.extend(named.map(|event| Draft::new(event).visit(visit)));
    events
}

/// The refusal of a move that the status machine does not have, or whose guard says no.
#[must_use]
pub fn refuse_move(from: VisitStatus, to: VisitStatus) -> Error {
    let code = if from.is_over() { Code::VisitFinal } else { Code::InvalidTransition };
    let allowed: Vec<&str> = from.targets().into_iter().map(VisitStatus::as_str).collect();
    code.problem().member("from", from.as_str()).member("to", to.as_str()).member("allowed", allowed).into()
}
