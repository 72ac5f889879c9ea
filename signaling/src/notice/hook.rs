//! `POST /webhooks/{provider}`: signed news of providers. `ses` and `sms` take messages of AWS SNS topics that the settings name;
//! `standard` takes Standard Webhooks.

pub mod aws;

use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;
use wire::Redacted;

use crate::address::Address;
use crate::app::App;
use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::notice::delivery::{self, Fate, News, What};
use crate::notice::hook::aws::Heard;
use crate::notice::reach::{Phone, parse_answer};
use crate::problem::{Code, Problem};
use crate::webhook::sign::Secret;

/// How far the time in a Standard Webhooks signature may be from ours.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// News about a message that is not known yet may have overtaken the answer that names it: for so long the provider is asked to come again.
const OVERTAKES: Duration = Duration::from_secs(120);

/// Takes news.
///
/// # Errors
/// `NOT_FOUND` for a provider that is not set up, `WEBHOOK_SIGNATURE`, `MALFORMED`, `RATE_LIMITED`.
pub async fn receive(
    State(app): State<App>,
    Address(from): Address,
    Path(provider): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<StatusCode> {
    // Whoever sends wrong signatures is heard a few times a second, and no more.
    if !app.chime_strangers.has_left(from, app.now()) {
        return Err(Problem { retry_after: Some(1), ..Code::RateLimited.problem() }.into());
    }
    let outcome = match provider.as_str() {
        "ses" | "sms" => Box::pin(topic(&app, &provider, &body)).await,
        "standard" => standard(&app, &headers, &body).await,
        _ => Err(Code::NotFound.into()),
    };
    let is_forged = matches!(&outcome, Err(Error::Refused(problem)) if problem.code == Code::WebhookSignature);
    if is_forged {
        app.metrics.note_bad_signature();
        let _ = app.chime_strangers.take(from, app.now());
        tracing::warn!(provider = known(&provider), "news of a provider with a wrong signature were refused");
    }
    outcome
}

fn known(provider: &str) -> &'static str {
    match provider {
        "ses" => "ses",
        "sms" => "sms",
        _ => "standard",
    }
}

fn malformed() -> Error {
    Code::Malformed.into()
}

/// News that came over an SNS topic.
async fn topic(app: &App, provider: &str, body: &[u8]) -> Result<StatusCode> {
    if app.config.notices.sns_topics.is_empty() {
        return Err(Code::NotFound.into());
    }
    let envelope: aws::Envelope = serde_json::from_slice(body).map_err(|_| malformed())?;
    let heard = match aws::open(&app.config.notices, &app.certificates, &envelope, app.now()).await {
        Ok(heard) => heard,
        Err(error) => {
            if let Some(What::Message { provider, id, .. }) = parse_topic(provider, &envelope.message) {
                delivery::note_rejected(app, provider, &id, "SIGNATURE").await?;
            }
            return Err(error);
        }
    };
    match heard {
        Heard::Confirmed => Ok(StatusCode::NO_CONTENT),
        Heard::News { id, at } => {
            let source = known(provider);
            // News of other kinds are none of ours, and no mistake of the sender.
            let Some(what) = parse_topic(provider, &envelope.message) else { return Ok(StatusCode::NO_CONTENT) };
            take(app, &News { source, id, what }, at).await
        }
    }
}

async fn take(app: &App, news: &News, at: Timestamp) -> Result<StatusCode> {
    let is_known = delivery::take(app, news).await?;
    let is_fresh = app.now() < at + OVERTAKES;
    if !is_known && is_fresh && matches!(news.what, What::Message { .. }) {
        return Err(Problem { retry_after: Some(5), ..Code::Unavailable.problem() }.into());
    }
    Ok(StatusCode::NO_CONTENT)
}

fn parse_topic(provider: &str, message: &str) -> Option<What> {
    if provider == "ses" { parse_ses(message) } else { parse_sms(message) }
}

/// The parts of an SES event that are used. SES adds fields as it likes, so the rest is not looked at.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SesEvent {
    #[serde(alias = "notificationType")]
    event_type: String,
    mail: SesMail,
    bounce: Option<SesBounce>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SesMail {
    message_id: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SesBounce {
    bounce_type: String,
}

fn parse_ses(message: &str) -> Option<What> {
    let event: SesEvent = serde_json::from_str(message).ok()?;
    let fate = match (event.event_type.as_str(), event.bounce) {
        ("Delivery", _) => Fate::Delivered,
        // A full mailbox may empty itself: SES goes on trying.
        ("Bounce", Some(bounce)) if bounce.bounce_type == "Transient" => return None,
        ("Bounce" | "Reject" | "Rendering Failure", _) => Fate::Failed,
        ("Complaint", _) => Fate::Complained,
        _ => return None,
    };
    id(event.mail.message_id).map(|id| What::Message { provider: "ses", id, fate })
}

fn id(text: String) -> Option<String> {
    (1..=200).contains(&text.len()).then_some(text)
}

/// An answer (two-way SMS) or the fate of a message (an event destination) of AWS End User Messaging.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SmsEvent {
    origination_number: Option<Redacted<String>>,
    message_body: Option<Redacted<String>>,
    event_type: Option<String>,
    message_id: Option<String>,
}

fn parse_sms(message: &str) -> Option<What> {
    let event: SmsEvent = serde_json::from_str(message).ok()?;
    if let (Some(from), Some(text)) = (&event.origination_number, &event.message_body) {
        let answer = parse_answer(text.reveal())?;
        return Phone::parse(from.reveal()).map(|from| What::Answered { from, answer });
    }
    let fate = match event.event_type?.as_str() {
        "TEXT_DELIVERED" => Fate::Delivered,
        "TEXT_BLOCKED"
        | "TEXT_CARRIER_BLOCKED"
        | "TEXT_CARRIER_UNREACHABLE"
        | "TEXT_INVALID"
        | "TEXT_INVALID_MESSAGE"
        | "TEXT_PROTECT_BLOCKED"
        | "TEXT_SPAM"
        | "TEXT_TTL_EXPIRED"
        | "TEXT_UNKNOWN"
        | "TEXT_UNREACHABLE" => Fate::Failed,
        _ => return None,
    };
    id(event.message_id?).map(|id| What::Message { provider: "sns", id, fate })
}

/// News in our own words, for gateways of other providers.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct StandardEvent {
    #[serde(rename = "type")]
    kind: StandardKind,
    /// With `delivered`, `failed` and `complained`: who carried the message, and their id of it.
    provider: Option<String>,
    message_id: Option<String>,
    /// With `answered`: who, and the words.
    from: Option<Redacted<String>>,
    text: Option<Redacted<String>>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum StandardKind {
    Delivered,
    Failed,
    Complained,
    Answered,
}

async fn standard(app: &App, headers: &HeaderMap, body: &[u8]) -> Result<StatusCode> {
    let secret = app.config.notices.delivery_secret.as_ref().and_then(|secret| Secret::parse(secret.reveal()));
    let Some(secret) = secret else { return Err(Code::NotFound.into()) };
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| text.len() <= 1000);
    let body = std::str::from_utf8(body).map_err(|_| malformed())?;
    let signed = (header("webhook-id"), header("webhook-timestamp"), header("webhook-signature"));
    let at = match signed {
        (Some(id), Some(timestamp), Some(signatures)) => {
            let at = timestamp.parse().ok().and_then(|seconds| Timestamp::from_unix_timestamp(seconds).ok());
            at.filter(|at| (app.now() - *at).abs() <= TOLERANCE && secret.is_signed(id, *at, body, signatures))
        }
        _ => None,
    };
    let event: StandardEvent = serde_json::from_str(body).map_err(|_| malformed())?;
    let provider = match event.provider.as_deref() {
        Some("sns") => "sns",
        Some("ses") => "ses",
        Some("outbox") => "outbox",
        _ => "smtp",
    };
    let (Some(at), Some(news_id)) = (at, signed.0) else {
        if let Some(message) = event.message_id.and_then(id) {
            delivery::note_rejected(app, provider, &message, "SIGNATURE").await?;
        }
        return Err(Code::WebhookSignature.into());
    };
    let message = |fate| event.message_id.clone().and_then(id).map(|id| What::Message { provider, id, fate });
    let what = match event.kind {
        StandardKind::Delivered => message(Fate::Delivered),
        StandardKind::Failed => message(Fate::Failed),
        StandardKind::Complained => message(Fate::Complained),
        StandardKind::Answered => {
            let from = event.from.as_ref().and_then(|from| Phone::parse(from.reveal())).ok_or_else(malformed)?;
            let text = event.text.as_ref().ok_or_else(malformed)?;
            // An answer in other words is an answer that nobody reads.
            let Some(answer) = parse_answer(text.reveal()) else { return Ok(StatusCode::NO_CONTENT) };
            Some(What::Answered { from, answer })
        }
    };
    let what = what.ok_or_else(malformed)?;
    let news_id = id(news_id.to_owned()).ok_or_else(malformed)?;
    take(app, &News { source: "standard", id: news_id, what }, at).await
}
