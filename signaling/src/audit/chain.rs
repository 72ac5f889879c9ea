//! The hash chain: each event carries the hash of the one before it in its organisation, from 32 zero bytes on.

use serde_json::Value;
use sha2::{Digest, Sha256};
use sqlx::types::Json;
use uuid::Uuid;

use crate::audit::walk::{Found, Walk};
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::OrgId;

/// The hash before the first event.
pub const GENESIS: [u8; 32] = [0; 32];

/// The version of [`Entry::hash`]'s input in new rows.
pub const SCHEMA: i16 = 2;

/// How many rows the verifier holds at a time.
const PAGE: i64 = 1000;

/// One row of `audit_event`.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the columns of audit_event, which the migration describes")]
pub struct Entry {
    pub event_id: Uuid,
    pub org_id: Uuid,
    pub seq: i64,
    pub at: Timestamp,
    pub event_type: String,
    pub actor_type: String,
    pub actor_id: String,
    pub role: Option<String>,
    pub visit_id: Option<Uuid>,
    pub subject: Option<String>,
    pub success: bool,
    pub reason_code: Option<String>,
    pub request_id: Option<String>,
    pub metadata: Json<Value>,
    pub ip_truncated: Option<String>,
    pub ua_hash: Option<Vec<u8>>,
    pub trace_id: Option<String>,
    pub schema_version: i16,
    pub prev_hash: Vec<u8>,
    pub hash: Vec<u8>,
}

impl Entry {
    /// SHA-256 over the canonical form: every column but `hash`, in this order; texts and byte strings with a 32-bit
    /// big-endian length before them, optional ones with a byte 0 or 1 first, numbers big-endian, the time in microseconds
    /// since 1970, metadata as JSON with sorted keys and no spaces. Version 2 goes on with the network, the browser's hash and the
    /// trace, which version 1 did not have.
    #[must_use]
    pub fn compute_hash(&self) -> [u8; 32] {
        let mut form = Form(Sha256::new());
        form.bytes(b"anteroom audit");
        form.0.update(self.schema_version.to_be_bytes());
        form.bytes(&self.prev_hash);
        form.0.update(self.event_id.as_bytes());
        form.0.update(self.org_id.as_bytes());
        form.0.update(self.seq.to_be_bytes());
        form.0.update((self.at.unix_timestamp_nanos() / 1000).to_be_bytes());
        form.bytes(self.event_type.as_bytes());
        form.bytes(self.actor_type.as_bytes());
        form.bytes(self.actor_id.as_bytes());
        form.optional(self.role.as_deref().map(str::as_bytes));
        form.optional(self.visit_id.as_ref().map(|id| id.as_bytes().as_slice()));
        form.optional(self.subject.as_deref().map(str::as_bytes));
        form.0.update([u8::from(self.success)]);
        form.optional(self.reason_code.as_deref().map(str::as_bytes));
        form.optional(self.request_id.as_deref().map(str::as_bytes));
        let mut json = String::new();
        write_sorted(&self.metadata.0, &mut json);
        form.bytes(json.as_bytes());
        if self.schema_version >= 2 {
            form.optional(self.ip_truncated.as_deref().map(str::as_bytes));
            form.optional(self.ua_hash.as_deref());
            form.optional(self.trace_id.as_deref().map(str::as_bytes));
        }
        form.0.finalize().into()
    }

    /// Whether the row's version covers all that is in it: nothing may stand beside the hash.
    #[must_use]
    pub const fn is_covered(&self) -> bool {
        match self.schema_version {
            1 => self.ip_truncated.is_none() && self.ua_hash.is_none() && self.trace_id.is_none(),
            2 => true,
            _ => false,
        }
    }
}

struct Form(Sha256);

impl Form {
    fn bytes(&mut self, bytes: &[u8]) {
        // No column holds 4 GiB: the text columns are bounded by the requests that they come from.
        self.0.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
        self.0.update(bytes);
    }

    fn optional(&mut self, bytes: Option<&[u8]>) {
        self.0.update([u8::from(bytes.is_some())]);
        if let Some(bytes) = bytes {
            self.bytes(bytes);
        }
    }
}

/// jsonb keeps no key order of ours, and a map type's order may change with a build's features: sort here.
fn write_sorted(value: &Value, out: &mut String) {
    match value {
        Value::Object(map) => {
            let mut members: Vec<_> = map.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            out.push('{');
            for (n, (key, value)) in members.into_iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                write_sorted(value, out);
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate() {
                if n > 0 {
                    out.push(',');
                }
                write_sorted(item, out);
            }
            out.push(']');
        }
        scalar => out.push_str(&scalar.to_string()),
    }
}

/// What a walk along the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every event is as it was written.
    Whole {
        /// How many there are.
        events: i64,
        /// The hash of the last one.
        head: [u8; 32],
    },
    /// Something was changed, taken out or put in.
    Broken {
        /// The first place in the chain that does not hold.
        seq: i64,
        /// What does not.
        reason: Break,
    },
}

/// How a chain can be broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// There is no event with this number, but there is or was a later one.
    Missing,
    /// The event does not name its predecessor's hash.
    Unlinked,
    /// The event's own hash does not fit its content.
    Altered,
    /// The chain's end is not the one that the writers know.
    Head,
    /// The event fits its neighbours, but it is not the one that was anchored: it was written anew, and all that follow with it.
    Rewritten,
    /// An anchor from here on is not where it was put.
    AnchorMissing,
    /// The anchor that ends here cannot be read, or nobody known signed it.
    AnchorInvalid,
}

impl Break {
    /// As a code.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Missing => "MISSING",
            Self::Unlinked => "UNLINKED",
            Self::Altered => "ALTERED",
            Self::Head => "HEAD",
            Self::Rewritten => "REWRITTEN",
            Self::AnchorMissing => "ANCHOR_MISSING",
            Self::AnchorInvalid => "ANCHOR_INVALID",
        }
    }

    /// In words.
    #[must_use]
    pub const fn in_words(self) -> &'static str {
        match self {
            Self::Missing => "there is no event with this number, although there was one",
            Self::Unlinked => "the event does not follow the one before it",
            Self::Altered => "the event was changed after it was written",
            Self::Head => "the chain does not end where its last writer left it",
            Self::Rewritten => "the event is not the one that was anchored: the chain was written anew from here on",
            Self::AnchorMissing => "an anchor from this event on is not where it was put",
            Self::AnchorInvalid => "the anchor that ends at this event cannot be read, or nobody known signed it",
        }
    }
}

/// Walks an organisation's chain from the first event to the head and names the first place that does not hold.
///
/// # Errors
/// The database's own failures.
pub async fn verify(tx: &mut Tx, org: OrgId) -> Result<Verdict> {
    let mut walk = Walk::default();
    loop {
        let page = super::store::page(tx, org, walk.last(), PAGE).await?;
        if page.is_empty() {
            break;
        }
        for entry in page {
            if let Err(Found { seq, reason }) = walk.take(&entry) {
                return Ok(Verdict::Broken { seq, reason });
            }
        }
    }
    let head = super::store::head(tx, org).await?;
    Ok(match check_head(&walk, head.as_ref()) {
        None => Verdict::Whole { events: walk.last(), head: walk.head() },
        Some(Found { seq, reason }) => Verdict::Broken { seq, reason },
    })
}

/// Whether the chain ends where its writers know that it does.
pub(crate) fn check_head(walk: &Walk, head: Option<&(i64, Vec<u8>)>) -> Option<Found> {
    let last = walk.last();
    match head {
        None if last == 0 => None,
        Some((seq, hash)) if *seq == last && *hash == walk.head() => None,
        Some((seq, _)) if *seq > last => Some(Found { seq: last + 1, reason: Break::Missing }),
        _ => Some(Found { seq: last, reason: Break::Head }),
    }
}
