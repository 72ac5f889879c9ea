//! The ids that stay inside signaling, beside those of `wire`.

use wire::id;
pub use wire::ids::{ParticipantId, RecordingId, RoomId, VisitId};

id!(
    /// The practice that owns visits, people, keys and policies.
    OrgId, "org"
);
id!(
    /// A one-time JoinToken; its JWT's `jti`.
    TokenId, "token"
);
id!(
    /// The session that a redeemed token gives a browser.
    SessionId, "session"
);
id!(
    /// One answer to one version of one consent text.
    ConsentId, "consent"
);
id!(
    /// A report of a technical problem.
    IssueId, "issue"
);

impl schemars::JsonSchema for ConsentId {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "ConsentId".into()
    }

    fn json_schema(_: &mut schemars::generate::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "format": "uuid"})
    }
}
