//! Every kind of event that the audit chain knows.

macro_rules! events {
    ($($name:ident = $text:literal $(, $core:ident)?;)*) => {
        /// Everything that this program writes into the audit chain. A new act needs a new line here: there is no other way to name one.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[expect(missing_docs, reason = "the names say it; the list is in the visit model")]
        pub enum EventType { $($name,)* }

        impl EventType {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stored name.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// True for the sixteen that make the core profile: the view `audit_core` shows these alone.
            #[must_use]
            pub const fn is_core(self) -> bool {
                match self { $(Self::$name => events!(@is $($core)?),)* }
            }
        }
    };
    (@is core) => { true };
    (@is) => { false };
}

events! {
    // Visits.
    VisitCreated = "VISIT_CREATED", core;
    VisitUpdated = "VISIT_UPDATED";
    VisitRescheduled = "VISIT_RESCHEDULED";
    VisitViewed = "VISIT_VIEWED", core;
    VisitListed = "VISIT_LISTED";
    VisitStatusChanged = "VISIT_STATUS_CHANGED";
    VisitStarted = "VISIT_STARTED", core;
    VisitEnded = "VISIT_ENDED", core;
    VisitCancelled = "VISIT_CANCELLED", core;
    VisitNoShow = "VISIT_NO_SHOW";
    VisitTechnical = "VISIT_TECHNICAL";
    VisitReopened = "VISIT_REOPENED";
    BillingCodesSet = "BILLING_CODES_SET";
    LicenceChecked = "LICENCE_CHECKED";
    LocationAttested = "LOCATION_ATTESTED";
    EmergencyInfoViewed = "EMERGENCY_INFO_VIEWED";
    QualityViewed = "QUALITY_VIEWED";
    // Tokens and links.
    TokenIssued = "TOKEN_ISSUED", core;
    TokenValidated = "TOKEN_VALIDATED", core;
    TokenRedeemed = "TOKEN_REDEEMED", core;
    TokenExpired = "TOKEN_EXPIRED", core;
    TokenRevoked = "TOKEN_REVOKED", core;
    LinkResent = "LINK_RESENT", core;
    LinkResendLimitHit = "LINK_RESEND_LIMIT_HIT";
    TokenContextMismatch = "TOKEN_CONTEXT_MISMATCH";
    // Notices.
    NotificationSent = "NOTIFICATION_SENT", core;
    NotificationDelivered = "NOTIFICATION_DELIVERED";
    NotificationFailed = "NOTIFICATION_FAILED";
    NotificationFallback = "NOTIFICATION_FALLBACK";
    NotificationOptedOut = "NOTIFICATION_OPTED_OUT";
    // Access.
    SessionIssued = "SESSION_ISSUED";
    SessionSuperseded = "SESSION_SUPERSEDED";
    SessionExpired = "SESSION_EXPIRED";
    SessionRevoked = "SESSION_REVOKED";
    Login = "LOGIN";
    Logout = "LOGOUT";
    MfaChallenged = "MFA_CHALLENGED";
    AccessDenied = "ACCESS_DENIED";
    RateLimited = "RATE_LIMITED";
    BreakGlassUsed = "BREAK_GLASS_USED";
    // The waiting room.
    WaitingEntered = "WAITING_ENTERED";
    WaitingAdmitted = "WAITING_ADMITTED";
    WaitingDenied = "WAITING_DENIED";
    WaitingLeft = "WAITING_LEFT";
    WaitingTimedOut = "WAITING_TIMED_OUT";
    WaitingReturned = "WAITING_RETURNED";
    DeviceCheckDone = "DEVICE_CHECK_DONE";
    QuestionnaireSubmitted = "QUESTIONNAIRE_SUBMITTED";
    // Participants.
    ParticipantJoined = "PARTICIPANT_JOINED", core;
    ParticipantLeft = "PARTICIPANT_LEFT", core;
    ParticipantReconnected = "PARTICIPANT_RECONNECTED";
    ParticipantRemoved = "PARTICIPANT_REMOVED";
    ParticipantMuted = "PARTICIPANT_MUTED";
    ParticipantCapabilityChanged = "PARTICIPANT_CAPABILITY_CHANGED";
    ParticipantAdded = "PARTICIPANT_ADDED";
    ParticipantRightsChanged = "PARTICIPANT_RIGHTS_CHANGED";
    ScreenShareStarted = "SCREEN_SHARE_STARTED";
    ScreenShareStopped = "SCREEN_SHARE_STOPPED";
    ScreenShareRefused = "SCREEN_SHARE_REFUSED";
    // Consent.
    ConsentRequested = "CONSENT_REQUESTED";
    ConsentSigned = "CONSENT_SIGNED";
    ConsentDeclined = "CONSENT_DECLINED";
    ConsentExpired = "CONSENT_EXPIRED";
    ConsentRevoked = "CONSENT_REVOKED";
    ConsentSuperseded = "CONSENT_SUPERSEDED";
    ConsentViewed = "CONSENT_VIEWED";
    ConsentOverridden = "CONSENT_OVERRIDDEN";
    // Recordings.
    RecordingRequested = "RECORDING_REQUESTED";
    RecordingRefused = "RECORDING_REFUSED";
    RecordingStarted = "RECORDING_STARTED", core;
    RecordingPaused = "RECORDING_PAUSED";
    RecordingResumed = "RECORDING_RESUMED";
    RecordingStopped = "RECORDING_STOPPED", core;
    RecordingStored = "RECORDING_STORED";
    RecordingFailed = "RECORDING_FAILED";
    RecordingAccessed = "RECORDING_ACCESSED";
    RecordingExported = "RECORDING_EXPORTED";
    RecordingRetentionExtended = "RECORDING_RETENTION_EXTENDED";
    RecordingHoldSet = "RECORDING_HOLD_SET";
    RecordingHoldReleased = "RECORDING_HOLD_RELEASED";
    RecordingDeleted = "RECORDING_DELETED";
    RecordingIntegrityChecked = "RECORDING_INTEGRITY_CHECKED";
    // Protected fields.
    PhiRead = "PHI_READ";
    PhiWritten = "PHI_WRITTEN";
    // The provider.
    RoomCreated = "ROOM_CREATED";
    RoomEnded = "ROOM_ENDED";
    RoomFallback = "ROOM_FALLBACK";
    WebhookAccepted = "WEBHOOK_ACCEPTED";
    WebhookRejected = "WEBHOOK_REJECTED";
    ProviderStatusChanged = "PROVIDER_STATUS_CHANGED";
    TechnicalIssueReported = "TECHNICAL_ISSUE_REPORTED";
    // The system.
    ConfigChanged = "CONFIG_CHANGED";
    RoleGranted = "ROLE_GRANTED";
    RoleRevoked = "ROLE_REVOKED";
    KeyRotated = "KEY_ROTATED";
    AuditViewed = "AUDIT_VIEWED";
    AuditExported = "AUDIT_EXPORTED";
    AuditAnchored = "AUDIT_ANCHORED";
    AuditVerified = "AUDIT_VERIFIED";
    AuditReviewed = "AUDIT_REVIEWED";
    BackupRestored = "BACKUP_RESTORED";
    RetentionJobRun = "RETENTION_JOB_RUN";
    MigrationApplied = "MIGRATION_APPLIED";
}

impl EventType {
    /// The kind with this stored name.
    #[must_use]
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|kind| kind.as_str() == name)
    }
}

/// The keys that facts of an event may have. Whoever needs another one adds it here, and thereby says that its values are no clinical
/// words, names, addresses or secrets. A draft with another key is refused with its change.
pub const KEYS: &[&str] = &[
    "acknowledged",
    "anchor",
    "artefact",
    "attempt",
    "attempts",
    "broken",
    "bytes",
    "camera",
    "capability",
    "category",
    "channel",
    "consent",
    "consentVersion",
    "count",
    "days",
    "direction",
    "durationMs",
    "durationSeconds",
    "endReason",
    "errorCode",
    "events",
    "expired",
    "fallback",
    "field",
    "format",
    "from",
    "fromSeq",
    "granted",
    "hold",
    "isDemanded",
    "keyId",
    "kind",
    "late",
    "limit",
    "locale",
    "method",
    "mfa",
    "microphone",
    "minutes",
    "modality",
    "muted",
    "notification",
    "organizations",
    "override",
    "participant",
    "participants",
    "permission",
    "policy",
    "provider",
    "purpose",
    "recording",
    "relation",
    "remaining",
    "replacedBy",
    "resends",
    "role",
    "rowVersion",
    "rule",
    "scope",
    "score",
    "seconds",
    "segments",
    "session",
    "setting",
    "severity",
    "source",
    "spooled",
    "state",
    "status",
    "step",
    "supersedes",
    "template",
    "to",
    "toSeq",
    "token",
    "type",
    "version",
    "waitSeconds",
    "webhook",
];

/// Whether facts may have this key.
#[must_use]
pub fn is_known_key(key: &str) -> bool {
    KEYS.binary_search(&key).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;
    use std::path::Path;

    #[test]
    fn sixteen_events_are_the_core_and_no_name_is_there_twice() {
        assert_eq!(EventType::ALL.iter().filter(|kind| kind.is_core()).count(), 16);
        let names: HashSet<_> = EventType::ALL.iter().map(|kind| kind.as_str()).collect();
        assert_eq!(names.len(), EventType::ALL.len());
        for kind in EventType::ALL {
            assert_eq!(EventType::find(kind.as_str()), Some(*kind));
        }
        assert_eq!(EventType::find("VISIT_INVENTED"), None);
    }

    #[test]
    fn the_view_of_the_core_is_that_of_the_enum() {
        let sql = include_str!("../../../migrations/0020_audit_context.sql");
        let view = sql.split("CREATE VIEW audit_core").nth(1).unwrap();
        let named: HashSet<_> = view.split('\'').filter(|part| EventType::find(part).is_some()).collect();
        let core: HashSet<_> = EventType::ALL.iter().filter(|kind| kind.is_core()).map(|kind| kind.as_str()).collect();
        assert_eq!(named, core);
    }

    /// The source is read, so that a key is found before the first event with it is written.
    #[test]
    fn m_07_every_fact_in_the_source_has_a_listed_key() {
        assert!(KEYS.is_sorted(), "the keys are searched by halving: keep them sorted");
        let mut found = 0;
        let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for call in text.split(concat!(".fact", "(")).skip(1) {
                    let Some(key) = call.trim_start().strip_prefix('"').and_then(|rest| rest.split('"').next()) else {
                        continue;
                    };
                    assert!(is_known_key(key), "{}: the key {key} is not in audit::event::KEYS", path.display());
                    found += 1;
                }
            }
        }
        assert!(found > 10, "the facts of {found} events were found: does the source still call `fact`?");
    }
}
