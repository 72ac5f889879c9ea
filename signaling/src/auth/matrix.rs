//! The role matrix: every permission there is, and who has it. One table; everything else asks it.
//!
//! A row has two words. The first is for people and programs with a credential of their own, the second for the session of a redeemed
//! link. A letter grants, a dot refuses; each letter has its own place:
//!
//! | `C` | `P` | `S` | `A` | `U` | `V` | | `H` | `G` | `O` |
//! |---|---|---|---|---|---|---|---|---|---|
//! | clinician | patient of the portal | scheduler | admin | auditor | service | | clinician by link | patient, guest, interpreter, caregiver, supervisor by link | observer by link |
//!
//! A permission is half of the answer. The other half is reach: a clinician's rights hold for their own visits, a patient's for theirs,
//! a link's for its visit. [`Actor::require_for`](crate::auth::Actor::require_for) asks both.

use crate::auth::StaffRole;
use crate::participant::Role;

/// The places of the first word.
const CREDENTIALS: &[u8; 6] = b"CPSAUV";

/// The places of the second word.
const LINKS: &[u8; 3] = b"HGO";

macro_rules! matrix {
    ($($(#[$doc:meta])* $name:ident = $text:literal $credentials:literal $links:literal;)*) => {
        /// One thing that somebody may be allowed to do.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Permission { $($(#[$doc])* $name,)* }

        impl Permission {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable name, as service tokens and documents have it.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            const fn row(self) -> (&'static [u8; 6], &'static [u8; 3]) {
                match self { $(Self::$name => ($credentials, $links),)* }
            }
        }
    };
}

matrix! {
    /// Plan a visit.
    CreateVisit = "create_visit"                    b"C.SA.V" b"...";
    /// See the list of visits, as far as one's reach goes.
    ListVisits = "list_visits"                      b"C.SA.V" b"...";
    /// See one visit.
    ReadVisit = "read_visit"                        b"CPSA.V" b"HGO";
    /// Change or move a visit that has not begun.
    UpdateVisit = "update_visit"                    b"C.SA.V" b"...";
    /// Call a visit off.
    CancelVisit = "cancel_visit"                    b"C.SA.V" b"...";
    /// Open a visit again that ended for a technical reason.
    ReopenVisit = "reopen_visit"                    b"C..A.." b"...";
    /// Say that the patient did not come.
    MarkNoShow = "mark_no_show"                     b"C.SA.." b"H..";
    /// End a visit.
    EndVisit = "end_visit"                          b"C..A.." b"H..";
    /// Come into a visit in a place of one's own.
    JoinVisit = "join_visit"                        b"CP...." b"HGO";
    /// Take the clinician's seat in the room; admit, deny, remove, mute.
    HostVisit = "host_visit"                        b"C....." b"H..";
    /// See who waits.
    ReadWaitingRoom = "read_waiting_room"           b"C.SA.." b"H..";
    /// Begin to share a screen, where the place in the visit has that capability.
    ShareScreen = "share_screen"                    b"C....." b"HG.";
    /// Mint join links.
    IssueLinks = "issue_links"                      b"C.SA.V" b"...";
    /// Send a fresh link to the contact on file.
    ResendLink = "resend_link"                      b"C.SA.V" b"...";
    /// Send a notice to the contact on file, and see what became of it.
    NotifyPatient = "notify_patient"                b"C.SA.V" b"...";
    /// Start a recording.
    StartRecording = "start_recording"              b"C....." b"H..";
    /// Stop a recording. Whoever is in a visit can stop its recording.
    StopRecording = "stop_recording"                b"C....." b"HG.";
    /// See which recordings there are, and play them.
    PlayRecordings = "play_recordings"              b"C..A.." b"...";
    /// Keep a recording from being deleted, or lift that.
    HoldRecording = "hold_recording"                b"...A.." b"...";
    /// See how the network was for the people of a visit.
    ReadQuality = "read_quality"                    b"C..A.." b"...";
    /// See consents.
    ReadConsent = "read_consent"                    b"CPSA.." b"HG.";
    /// Sign, decline or revoke a consent: one's own, or as staff what somebody said or signed on paper.
    GiveConsent = "give_consent"                    b"CPSA.." b"HG.";
    /// Admit somebody without a consent that is due, in an emergency.
    OverrideConsent = "override_consent"            b"C....." b"H..";
    /// See clinicians' licences.
    ReadLicences = "read_licences"                  b"C.SA.V" b"...";
    /// Change them.
    WriteLicences = "write_licences"                b"...A.." b"...";
    /// Begin a visit without a licence for the patient's state, with a reason.
    OverrideLicence = "override_licence"            b"C....." b"H..";
    /// Say where somebody is.
    AttestLocation = "attest_location"              b"CP...." b"HG.";
    /// See the emergency contact and address.
    ReadEmergency = "read_emergency"                b"C....." b"H..";
    /// Read clinical words: complaint, notes, questionnaire. Which of them, the projection of the role says.
    ReadPhi = "read_phi"                            b"C....." b"H..";
    /// Write clinical words into a visit that is there.
    WritePhi = "write_phi"                          b"C....." b"H..";
    /// Answer the questions before a visit.
    SubmitQuestionnaire = "submit_questionnaire"    b".P...." b".G.";
    /// Set place of service and modifiers.
    SetBilling = "set_billing"                      b"C..A.." b"...";
    /// Report a technical problem.
    ReportIssue = "report_issue"                    b"CPSA.." b"HGO";
    /// Read the table of recording rules by state.
    ReadRules = "read_rules"                        b"CPSAUV" b"HGO";
    /// See how the media provider is and what it can do.
    ReadProviderStatus = "read_provider_status"     b"C.SAUV" b"...";
    /// Read the audit chain.
    ReadAudit = "read_audit"                        b"...AU." b"...";
    /// Take audit events out as a file.
    ExportAudit = "export_audit"                    b"...AU." b"...";
    /// Have the audit chain checked.
    VerifyAudit = "verify_audit"                    b"...AU." b"...";
    /// Change what the organisation decides for itself.
    ManageOrganization = "manage_organization"      b"...A.." b"...";
    /// Make and revoke service tokens.
    ManageServiceTokens = "manage_service_tokens"   b"...A.." b"...";
    /// End every session of somebody who has left.
    RevokeAccess = "revoke_access"                  b"...A.V" b"...";
    /// Read a visit beyond one's reach for an hour, with a reason, in an emergency.
    BreakGlass = "break_glass"                      b"C....." b"...";
}

impl Permission {
    /// By its stable name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|permission| permission.as_str() == text)
    }

    /// Whether people come to it with a second factor only, where their organisation asks for one: all that shows or changes what
    /// belongs to a patient or to the practice.
    #[must_use]
    pub const fn needs_mfa(self) -> bool {
        !matches!(self, Self::ReadRules | Self::ReadProviderStatus | Self::ReadLicences)
    }

    /// Whether the second factor must have been shown within the last minutes.
    #[must_use]
    pub const fn needs_fresh_mfa(self) -> bool {
        matches!(self, Self::ExportAudit | Self::BreakGlass | Self::ManageOrganization | Self::ManageServiceTokens)
    }

    /// Whether it only shows what belongs to one visit: this much is open to whoever broke the glass.
    #[must_use]
    pub const fn is_reading(self) -> bool {
        matches!(
            self,
            Self::ReadVisit
                | Self::ReadWaitingRoom
                | Self::ReadQuality
                | Self::ReadConsent
                | Self::ReadEmergency
                | Self::ReadPhi
        )
    }

    /// Whether it is a clinical act, which is a person's alone.
    #[must_use]
    pub const fn is_clinical(self) -> bool {
        matches!(
            self,
            Self::HostVisit
                | Self::JoinVisit
                | Self::StartRecording
                | Self::StopRecording
                | Self::ReadPhi
                | Self::WritePhi
                | Self::ReadEmergency
                | Self::OverrideConsent
                | Self::OverrideLicence
                | Self::AttestLocation
                | Self::GiveConsent
                | Self::BreakGlass
        )
    }
}

/// Whether a person with an account has the permission.
#[must_use]
pub const fn staff_may(role: StaffRole, permission: Permission) -> bool {
    let place = match role {
        StaffRole::Clinician => 0,
        StaffRole::Patient => 1,
        StaffRole::Scheduler => 2,
        StaffRole::Admin => 3,
        StaffRole::Auditor => 4,
    };
    permission.row().0[place] != b'.'
}

/// Whether a program with a key or token of the organisation may have the permission. Its token may hold less.
#[must_use]
pub const fn service_may(permission: Permission) -> bool {
    permission.row().0[5] != b'.'
}

/// Whether the session of a redeemed link has the permission; it reaches that visit alone.
#[must_use]
pub const fn session_may(role: Role, permission: Permission) -> bool {
    let place = match role {
        Role::Clinician => 0,
        Role::Patient | Role::Guest | Role::Interpreter | Role::Caregiver | Role::Supervisor => 1,
        Role::Observer => 2,
    };
    permission.row().1[place] != b'.'
}

/// A letter in a foreign place would grant something by a slip of the pen: such a table does not compile.
const _: () = {
    let mut at = 0;
    while at < Permission::ALL.len() {
        let (credentials, links) = Permission::ALL[at].row();
        let mut place = 0;
        while place < CREDENTIALS.len() {
            assert!(credentials[place] == b'.' || credentials[place] == CREDENTIALS[place]);
            place += 1;
        }
        place = 0;
        while place < LINKS.len() {
            assert!(links[place] == b'.' || links[place] == LINKS[place]);
            place += 1;
        }
        at += 1;
    }
};

#[cfg(test)]
mod tests;
