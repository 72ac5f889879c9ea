//! Rows 29 and 30: how the media provider is, and what it can do. There is one, our own.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use schemars::JsonSchema;
use serde::Serialize;
use wire::control::Command;
use wire::ids::RoomId;

use crate::app::App;
use crate::error::Result;
use crate::health::PATIENCE;
use crate::superset::Shape;

/// What we call ourselves.
const NATIVE: &str = "NATIVE";

/// One provider's health.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    provider: &'static str,
    /// `UP`, `DRAINING` or `DOWN`.
    status: &'static str,
    is_available: bool,
    is_default: bool,
}

/// Every provider's.
#[derive(Debug, Serialize, JsonSchema)]
pub struct StatusView {
    providers: Vec<ProviderStatus>,
}

/// `GET /api/v1/telehealth/providers/status`.
///
/// # Errors
/// None of its own.
pub async fn status(State(app): State<App>, shape: Shape) -> Result<Response> {
    // Closing a room that is not there changes nothing and is always answered.
    let probe = app.sfu.request(Command::CloseRoom { room: RoomId::random() });
    let answers = matches!(tokio::time::timeout(PATIENCE, probe).await, Ok(Ok(_)));
    let status = match (answers, app.live.is_draining()) {
        (false, _) => "DOWN",
        (true, true) => "DRAINING",
        (true, false) => "UP",
    };
    let native = ProviderStatus { provider: NATIVE, status, is_available: status == "UP", is_default: true };
    shape.reply(StatusCode::OK, &StatusView { providers: vec![native] })
}

/// What the provider can do.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CapabilitiesView {
    provider: &'static str,
    waiting_room: bool,
    recording: bool,
    screen_share: bool,
    simulcast: bool,
    end_to_end_encryption: bool,
    captions: bool,
    dial_out: bool,
    codecs: [&'static str; 4],
    max_participants: usize,
}

/// `GET /api/v1/telehealth/providers/capabilities`.
///
/// # Errors
/// None of its own.
pub async fn capabilities(State(app): State<App>, shape: Shape) -> Result<Response> {
    shape.reply(
        StatusCode::OK,
        &CapabilitiesView {
            provider: NATIVE,
            waiting_room: true,
            // Without a store nothing can be kept.
            recording: app.config.vault.is_some(),
            screen_share: true,
            simulcast: true,
            // A node that records sees media: docs/security.md.
            end_to_end_encryption: false,
            captions: false,
            dial_out: false,
            codecs: ["opus", "VP8", "VP9", "H264"],
            max_participants: crate::live::room::VISIT_SEATS,
        },
    )
}
