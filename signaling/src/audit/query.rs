//! What is asked of a chain, and its events as people and other programs read them: JSON, and CSV that no spreadsheet takes for a formula.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use time::format_description::well_known::Rfc3339;
use uuid::Uuid;

use crate::audit::EventType;
use crate::audit::chain::Entry;
use crate::clock::Timestamp;
use crate::ids::VisitId;

/// Which events are meant. What is not said is not asked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this visit.
    pub visit: Option<VisitId>,
    /// By this actor.
    pub actor: Option<String>,
    /// Of this kind.
    pub event_type: Option<EventType>,
    /// That succeeded, or that did not.
    pub success: Option<bool>,
    /// Not before.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
}

/// An event, as it is shown.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventView {
    /// Its place in the chain.
    pub seq: i64,
    /// Its id.
    #[schemars(with = "String")]
    pub id: Uuid,
    /// When it happened, UTC.
    pub at: String,
    /// What happened.
    pub event_type: String,
    /// The class of who did it.
    pub actor_type: String,
    /// Who did it.
    pub actor_id: String,
    /// As what.
    pub role: Option<String>,
    /// In which visit.
    #[schemars(with = "Option<String>")]
    pub visit_id: Option<Uuid>,
    /// To which record.
    pub subject: Option<String>,
    /// False when it was tried and refused.
    pub success: bool,
    /// Why.
    pub reason_code: Option<String>,
    /// The request that it was done by.
    pub request_id: Option<String>,
    /// The trace that this is part of.
    pub trace_id: Option<String>,
    /// The client's network.
    pub ip_truncated: Option<String>,
    /// A keyed hash of the client's User-Agent, as hex.
    pub ua_hash: Option<String>,
    /// Further facts.
    pub metadata: Value,
    /// The hash of the event before it, as hex.
    pub prev_hash: String,
    /// Its own.
    pub hash: String,
    /// Which columns are under the hash.
    pub schema_version: i16,
}

impl From<Entry> for EventView {
    fn from(entry: Entry) -> Self {
        Self {
            seq: entry.seq,
            id: entry.event_id,
            // A time of the years that PostgreSQL gives us can always be written.
            at: entry.at.format(&Rfc3339).unwrap_or_default(),
            event_type: entry.event_type,
            actor_type: entry.actor_type,
            actor_id: entry.actor_id,
            role: entry.role,
            visit_id: entry.visit_id,
            subject: entry.subject,
            success: entry.success,
            reason_code: entry.reason_code,
            request_id: entry.request_id,
            trace_id: entry.trace_id,
            ip_truncated: entry.ip_truncated,
            ua_hash: entry.ua_hash.map(hex::encode),
            metadata: entry.metadata.0,
            prev_hash: hex::encode(entry.prev_hash),
            hash: hex::encode(entry.hash),
            schema_version: entry.schema_version,
        }
    }
}

/// How an export is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// RFC 4180, with a line of names.
    Csv,
    /// One array of [`EventView`].
    Json,
}

impl Format {
    /// As in the audit.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    /// As in `Content-Type`.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Json => "application/json",
        }
    }

    /// What comes before the first event.
    #[must_use]
    pub const fn head(self) -> &'static str {
        match self {
            Self::Csv => {
                "seq,id,at,eventType,actorType,actorId,role,visitId,subject,success,reasonCode,requestId,traceId,ipTruncated,\
                 uaHash,metadata,prevHash,hash,schemaVersion\r\n"
            }
            Self::Json => "[",
        }
    }

    /// What comes after the last one.
    #[must_use]
    pub const fn foot(self) -> &'static str {
        match self {
            Self::Csv => "",
            Self::Json => "]\n",
        }
    }

    /// Adds an event to `out`.
    pub fn write(self, event: &EventView, is_first: bool, out: &mut String) {
        match self {
            Self::Json => {
                out.push_str(if is_first { "\n" } else { ",\n" });
                // A struct of texts and numbers can always be written; its control characters are escaped.
                out.push_str(&serde_json::to_string(event).unwrap_or_default());
            }
            Self::Csv => write_csv(event, out),
        }
    }
}

fn write_csv(event: &EventView, out: &mut String) {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let cells = [
        event.seq.to_string(),
        event.id.to_string(),
        event.at.clone(),
        event.event_type.clone(),
        event.actor_type.clone(),
        event.actor_id.clone(),
        text(&event.role),
        event.visit_id.map(|id| id.to_string()).unwrap_or_default(),
        text(&event.subject),
        event.success.to_string(),
        text(&event.reason_code),
        text(&event.request_id),
        text(&event.trace_id),
        text(&event.ip_truncated),
        text(&event.ua_hash),
        event.metadata.to_string(),
        event.prev_hash.clone(),
        event.hash.clone(),
        event.schema_version.to_string(),
    ];
    for (n, cell) in cells.iter().enumerate() {
        if n > 0 {
            out.push(',');
        }
        out.push_str(&to_cell(cell));
    }
    out.push_str("\r\n");
}

/// A cell that stays on its line and is a text for every spreadsheet: what would begin a formula gets an apostrophe before it, and control
/// characters are spelled out.
fn to_cell(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 2);
    // Spreadsheets trim before they look.
    if text.trim_start().starts_with(['=', '+', '-', '@', '|', '%']) || text.starts_with(['\t', '\r', '\n']) {
        plain.push('\'');
    }
    for c in text.chars() {
        if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}') {
            plain.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            plain.push(c);
        }
    }
    if plain.contains([',', '"', ';', '\'']) { format!("\"{}\"", plain.replace('"', "\"\"")) } else { plain }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn m_08_no_cell_is_a_formula_or_breaks_its_line() {
        for (text, cell) in [
            ("dr-a", "dr-a"),
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("  +1", "\"'  +1\""),
            ("-2", "\"'-2\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("a\r\nLOGIN,forged", "\"a\\u000d\\u000aLOGIN,forged\""),
            ("say \"no\"", "\"say \"\"no\"\"\""),
            ("\u{2028}x\u{1b}[31m", "\\u2028x\\u001b[31m"),
        ] {
            assert_eq!(to_cell(text), cell, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn every_text_is_one_cell(text in "\\PC{0,20}|[=+\\-@\\t\\r\\n,\"']{1,8}") {
            let cell = to_cell(&text);
            prop_assert!(!cell.contains(['\n', '\r', '\t']));
            let inner = cell.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
            let plain = match inner {
                Some(inner) => {
                    prop_assert!(!inner.replace("\"\"", "").contains('"'));
                    inner
                }
                None => {
                    prop_assert!(!cell.contains([',', '"']));
                    &cell
                }
            };
            prop_assert!(!plain.trim_start().starts_with(['=', '+', '-', '@']));
        }
    }
}
