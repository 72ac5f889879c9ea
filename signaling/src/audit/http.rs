//! `GET /api/v1/telehealth/audit`, `.../audit/export` and `.../audit/verify`: for those who look after the practice's records.

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::format_description::well_known::Rfc3339;

use crate::app::App;
use crate::audit::query::{EventView, Filter, Format};
use crate::audit::{Draft, EventType, Fact, store, verify};
use crate::auth::extract::Caller;
use crate::auth::{Actor, Permission};
use crate::body::Params;
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::{OrgId, VisitId};
use crate::problem::Code;

/// Events in one answer.
const PAGE: i64 = 100;

/// Events in one piece of an export.
const PIECE: i64 = 1000;

/// Events in one export: what a spreadsheet and a browser can still open. `anteroom audit export` has no such bound.
const MOST: i64 = 100_000;

/// The longest actor id that is looked for.
const MAX_ACTOR: usize = 200;

/// Which events, and from where on.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct AuditQuery {
    visit_id: Option<VisitId>,
    actor: Option<String>,
    event_type: Option<String>,
    success: Option<bool>,
    from: Option<String>,
    to: Option<String>,
    cursor: Option<String>,
}

/// Which events, and how they are written.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct ExportQuery {
    visit_id: Option<VisitId>,
    actor: Option<String>,
    event_type: Option<String>,
    success: Option<bool>,
    from: Option<String>,
    to: Option<String>,
    format: Option<Format>,
}

/// The newest events first.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AuditView {
    /// At most a hundred.
    pub events: Vec<EventView>,
    /// Where the next answer goes on; `null` at the end.
    pub next_cursor: Option<String>,
}

/// Reads what a query says; every part of it is bounded.
fn to_filter(query: AuditQuery) -> Result<Filter> {
    let unreadable = |what: &'static str| Error::from(Code::Malformed.with(what));
    let moment = |text: Option<String>| {
        let parsed = text.map(|text| Timestamp::parse(&text, &Rfc3339)).transpose();
        parsed.map_err(|_| unreadable("`from` and `to` are times such as 2026-11-21T10:00:00Z."))
    };
    if query.actor.as_ref().is_some_and(|actor| actor.len() > MAX_ACTOR || actor.contains('\0')) {
        return Err(unreadable("`actor` is no id."));
    }
    let find = |name: String| EventType::find(&name).ok_or_else(|| unreadable("`eventType` is none that exists."));
    Ok(Filter {
        visit: query.visit_id,
        actor: query.actor,
        event_type: query.event_type.map(find).transpose()?,
        success: query.success,
        from: moment(query.from)?,
        to: moment(query.to)?,
    })
}

/// Who looks may see everything of their organisation, and is written down for it.
///
/// # Errors
/// `FORBIDDEN`; `MALFORMED` for what cannot be read.
pub async fn list(
    State(app): State<App>,
    Caller(actor): Caller,
    Params(query): Params<AuditQuery>,
) -> Result<Response> {
    actor.require(Permission::ReadAudit)?;
    let no_cursor = || Error::from(Code::Malformed.with("`cursor` is none that was given."));
    let before = query.cursor.as_ref().map(|text| text.parse::<i64>()).transpose().map_err(|_| no_cursor())?;
    let filter = to_filter(query)?;
    let org = actor.org();
    let mut events = db::audited(&app.db, org, &actor, async |tx| {
        let events = store::newest(tx, org, &filter, before, PAGE + 1).await?;
        let count = i64::try_from(events.len()).unwrap_or(PAGE).min(PAGE);
        Ok::<_, Error>((events, vec![about(EventType::AuditViewed, &filter).fact("count", Fact::Number(count))]))
    })
    .await?;
    let has_more = i64::try_from(events.len()).is_ok_and(|count| count > PAGE);
    events.truncate(usize::try_from(PAGE).unwrap_or(usize::MAX));
    let next_cursor = events.last().filter(|_| has_more).map(|event| event.seq.to_string());
    let view = AuditView { events: events.into_iter().map(EventView::from).collect(), next_cursor };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(view)).into_response())
}

/// All events that a filter means, oldest first, as `format=csv` or `format=json`. What is exported was written down before the first byte
/// leaves.
///
/// # Errors
/// `FORBIDDEN`; `MALFORMED`; `INVALID` when the filter means more events than one export holds.
pub async fn export(
    State(app): State<App>,
    Caller(actor): Caller,
    Params(query): Params<ExportQuery>,
) -> Result<Response> {
    actor.require(Permission::ExportAudit)?;
    let ExportQuery { visit_id, actor: by, event_type, success, from, to, format } = query;
    let filter = to_filter(AuditQuery { visit_id, actor: by, event_type, success, from, to, cursor: None })?;
    let format = format.unwrap_or(Format::Csv);
    let org = actor.org();
    let to_seq = begin_export(&app.db, org, &actor, &filter, format, Some(MOST)).await?;
    let disposition = format!("attachment; filename=\"audit.{}\"", format.as_str());
    let headers = [
        (header::CONTENT_TYPE, format.media_type().to_owned()),
        (header::CONTENT_DISPOSITION, disposition),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, Body::from_stream(pieces(app.db.clone(), org, filter, format, to_seq))).into_response())
}

/// Writes down an export, and says with which event it ends.
///
/// # Errors
/// `INVALID` when there are more than `most`; the database's own failures.
pub async fn begin_export(
    db: &db::Db,
    org: OrgId,
    actor: &Actor,
    filter: &Filter,
    format: Format,
    most: Option<i64>,
) -> Result<i64> {
    db::audited(db, org, actor, async |tx| {
        let to_seq = store::head(tx, org).await?.map_or(0, |(seq, _)| seq);
        let count = store::count(tx, org, filter, to_seq).await?;
        if most.is_some_and(|most| count > most) {
            let detail = "These are more events than one export holds: ask for a shorter time with `from` and `to`.";
            return Err(Error::from(Code::Invalid.with(detail)));
        }
        let draft = about(EventType::AuditExported, filter)
            .fact("format", Fact::Word(format.as_str()))
            .fact("count", Fact::Number(count))
            .fact("toSeq", Fact::Number(to_seq));
        Ok((to_seq, vec![draft]))
    })
    .await
}

/// The text of an export, piece by piece; it holds one piece at a time.
pub fn pieces(
    db: db::Db,
    org: OrgId,
    filter: Filter,
    format: Format,
    to_seq: i64,
) -> impl stream::Stream<Item = Result<String>> + Send + 'static {
    /// Where an export is.
    enum At {
        Event(i64),
        End,
    }
    stream::try_unfold((At::Event(0), true), move |(at, is_first)| {
        let (db, filter) = (db.clone(), filter.clone());
        async move {
            let At::Event(after) = at else { return Ok(None) };
            let page = db::scoped(&db, org, async |tx| store::oldest(tx, org, &filter, (after, to_seq), PIECE).await);
            let page = page.await?;
            let mut text = if is_first && after == 0 { format.head().to_owned() } else { String::new() };
            let mut is_first = is_first;
            let next = page.last().map(|entry| entry.seq);
            for entry in page {
                format.write(&EventView::from(entry), is_first, &mut text);
                is_first = false;
            }
            let at = next.map_or(At::End, At::Event);
            if next.is_none() {
                text.push_str(format.foot());
            }
            Ok(Some((text, (at, is_first))))
        }
    })
}

/// Checks the organisation's chain against itself and its anchors.
///
/// # Errors
/// `FORBIDDEN`. A broken chain is an answer like another one.
pub async fn check(State(app): State<App>, Caller(actor): Caller) -> Result<Response> {
    actor.require(Permission::VerifyAudit)?;
    let report = verify::check(&app.db, actor.org(), app.config.anchoring.as_ref()).await?;
    app.metrics.note_chain_check(report.is_whole);
    if !report.is_whole {
        tracing::error!(org = ?report.organization, first_bad = report.first_bad, reason = report.reason, "an audit chain is broken");
    }
    verify::note(&app.db, &actor, &report).await?;
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(report)).into_response())
}

fn about(event: EventType, filter: &Filter) -> Draft {
    let draft = Draft::new(event);
    let draft = filter.visit.map_or(draft.clone(), |visit| draft.visit(visit));
    match filter.event_type {
        Some(kind) => draft.fact("type", Fact::Word(kind.as_str())),
        None => draft,
    }
}
