//! Every route in one list, and the middleware in order.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::StatusCode;
use axum::middleware::{from_fn, from_fn_with_state, map_response_with_state};
use tower_http::timeout::TimeoutLayer;

use crate::app::App;
use crate::auth::{Permission as P, origin};
use crate::body::MAX_BODY;
use crate::consent::ConsentView;
use crate::problem::{Code, Problem};
use crate::recording::RecordingView;
use crate::route::{Access, Endpoint, delete, get, mount, page, patch, post, put};
use crate::schema::Object;
use crate::superset::Superset;
use crate::visit::view::VisitView;
use crate::{
    audit, billing, break_glass, chime, clinical, consent, health, idempotency, identity, join, licence, location,
    notice, organization, pages, participant, problem, quality, recording, service_token, sign_in, telehealth,
    telemetry, visit, ws,
};

/// How long an ordinary request may take. The WebSocket and playback have their own limits.
const TIMEOUT: Duration = Duration::from_secs(15);

/// Every route but those of the Chime API, which authenticates and answers in AWS's way (`chime/http.rs`).
#[must_use]
pub fn endpoints() -> Vec<Endpoint> {
    let mut all = ordinary();
    all.extend(long());
    all
}

/// Routes that answer within [`TIMEOUT`].
fn ordinary() -> Vec<Endpoint> {
    [
        first_face(),
        telehealth::routes::endpoints(),
        planning(),
        clinical_words(),
        notice::route::endpoints(),
        recordings(),
        consents(),
        places(),
        signing_in(),
        provider(),
        rights(),
        operations(),
        auditing(),
        pages(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What is planned and decided by the practice.
fn planning() -> Vec<Endpoint> {
    vec![
        patch("/api/v1/telehealth/sessions/{id}", Access::Needs(P::CreateVisit), visit::http::patch)
            .says("Changes details of a visit, or its time")
            .header("If-Match", "The row version that the caller saw, in quotation marks")
            .takes::<visit::http::PatchBody>()
            .answers::<VisitView>(200)
            .refuses(&[Code::VisitFinal, Code::InvalidTransition, Code::VersionConflict, Code::DoubleBooked]),
        post("/api/v1/telehealth/sessions/{id}/participants", Access::Needs(P::CreateVisit), participant::http::add)
            .says("Adds an interpreter, a caregiver, a guest, a supervisor or an observer")
            .takes::<participant::http::AddBody>()
            .answers::<participant::http::ParticipantView>(201)
            .answers::<participant::http::ParticipantView>(200)
            .refuses(&[Code::VisitFinal]),
        get(
            "/api/v1/telehealth/organization/settings",
            Access::Needs(P::ManageOrganization),
            organization::http::get_settings,
        )
        .says("What the practice decides for itself")
        .answers::<organization::Settings>(200),
        patch(
            "/api/v1/telehealth/organization/settings",
            Access::Needs(P::ManageOrganization),
            organization::http::patch_settings,
        )
        .says("Changes what the practice decides for itself")
        .takes::<organization::settings::SettingsPatch>()
        .answers::<organization::Settings>(200),
    ]
}

/// `/api/visits` and `/api/token`: the vocabulary of the first face.
fn first_face() -> Vec<Endpoint> {
    vec![
        get("/api/visits", Access::Needs(P::ListVisits), visit::http::list)
            .says("Visits by start time, a page at a time; a clinician's own")
            .query::<visit::http::ListParams>()
            .answers::<visit::http::ListView>(200),
        post("/api/visits", Access::Needs(P::CreateVisit), visit::http::create)
            .says("Plans a visit")
            .takes::<visit::http::CreateBody>()
            .answers::<VisitView>(201)
            .answers::<VisitView>(200)
            .refuses(&[Code::DoubleBooked, Code::AppointmentTaken]),
        get("/api/visits/{id}", Access::Needs(P::ReadVisit), visit::http::get)
            .says("One visit")
            .answers::<VisitView>(200),
        post("/api/visits/{id}/links", Access::Needs(P::IssueLinks), join::http::links)
            .says("A link for each asked role; the role's unspent one is withdrawn")
            .takes::<join::http::LinksBody>()
            .answers::<BTreeMap<String, join::http::LinkView>>(200)
            .refuses(&[Code::VisitFinal]),
        post("/api/visits/{id}/resend-link", Access::Public, join::http::resend)
            .says("Sends a new link to the contact on file: for staff, or for the holder of an old link")
            .may_take::<join::http::ResendBody>()
            .answers::<join::http::ResendView>(200)
            .refuses(&[Code::Unauthenticated, Code::Forbidden, Code::VisitFinal, Code::NoContact, Code::ResendLimit]),
        post("/api/visits/{id}/handover", Access::Caller, join::http::hand_over)
            .says("A link of two minutes for the caller's own seat at another device")
            .answers::<join::http::LinkView>(200)
            .refuses(&[Code::Forbidden, Code::VisitFinal]),
        post("/api/visits/{id}/end", Access::Needs(P::EndVisit), visit::http::end)
            .says("Ends a visit with its links, sessions and room")
            .may_take::<visit::http::EndBody>()
            .answers::<visit::http::EndView>(200)
            .header("If-Match", "The row version that the caller saw, in quotation marks")
            .refuses(&[Code::VisitFinal, Code::InvalidTransition, Code::VersionConflict, Code::IssueMissing]),
        get("/api/visits/{id}/quality", Access::Needs(P::ReadQuality), quality::http::get)
            .says("How the network was for each person")
            .answers::<quality::http::QualityView>(200),
        post("/api/token/redeem", Access::Public, join::http::redeem)
            .says("Looks at a link, or keeps it for a browser's key")
            .takes::<join::http::RedeemBody>()
            .answers::<join::http::RedeemView>(200)
            .refuses(&[
                Code::TokenInvalid,
                Code::KeyRequired,
                Code::ProofInvalid,
                Code::TokenInUse,
                Code::TokenNotYetValid,
                Code::TokenAlreadyUsed,
                Code::TokenExpired,
                Code::TokenRevoked,
                Code::Draining,
            ]),
        post("/api/token/confirm", Access::Public, join::http::confirm)
            .says("Spends a kept link by a proof of its key, for clients that open no WebSocket")
            .answers::<join::http::ConfirmView>(200)
            .refuses(&[Code::Unauthenticated, Code::ProofInvalid]),
    ]
}

/// What happened, for those who look after the practice's records.
fn auditing() -> Vec<Endpoint> {
    vec![
        get("/api/v1/telehealth/audit", Access::Needs(P::ReadAudit), audit::http::list)
            .says("Audit events, the newest first, a page at a time")
            .query::<audit::http::AuditQuery>()
            .answers::<audit::http::AuditView>(200),
    ]
}

/// What is sealed in a visit; it is read with the visit.
fn clinical_words() -> Vec<Endpoint> {
    vec![
        patch("/api/v1/telehealth/sessions/{id}/clinical", Access::Needs(P::WritePhi), clinical::http::patch)
            .says("Writes why the patient comes, and notes")
            .takes::<clinical::http::ClinicalBody>()
            .answers_nothing(204),
        put(
            "/api/v1/telehealth/sessions/{id}/questionnaire",
            Access::Needs(P::SubmitQuestionnaire),
            clinical::http::submit,
        )
        .says("Keeps what the caller answers before the door")
        .takes::<clinical::http::QuestionnaireBody>()
        .answers_nothing(204)
        .refuses(&[Code::VisitFinal]),
    ]
}

fn recordings() -> Vec<Endpoint> {
    vec![
        post("/api/visits/{id}/recording/start", Access::Needs(P::StartRecording), recording::http::start)
            .says("Starts a recording, if everyone present has agreed")
            .may_take::<recording::http::StartBody>()
            .answers::<RecordingView>(202)
            .refuses(&[Code::ConsentRequired, Code::AlreadyRecording]),
        post("/api/visits/{id}/recording/stop", Access::Needs(P::StopRecording), recording::http::stop)
            .says("Stops the recording; anybody inside may")
            .may_take::<recording::http::Empty>()
            .answers::<RecordingView>(200)
            .refuses(&[Code::NotRecording]),
        get("/api/visits/{id}/recordings", Access::Needs(P::PlayRecordings), recording::http::list)
            .says("A visit's recordings")
            .answers::<recording::command::RecordingList>(200),
        post("/api/recordings/{id}/playback", Access::Needs(P::PlayRecordings), recording::http::grant)
            .says("A URL for one file and one person")
            .takes::<recording::http::PlaybackRequest>()
            .answers::<recording::http::PlaybackGrant>(200),
    ]
}

/// Consents, their texts, and what the law says about recordings.
fn consents() -> Vec<Endpoint> {
    let refused = [Code::AckMissing, Code::VersionOutdated, Code::GuardianRequired];
    // One place in the path for two kinds of id, as other systems have it: whose to read, which one to change.
    vec![
        get("/api/v1/telehealth/consent/{id}", Access::Needs(P::ReadConsent), consent::http::list)
            .says("A patient's consents, and the newest of each type")
            .query::<consent::http::ListQuery>()
            .answers::<Superset<consent::http::ConsentList>>(200),
        post("/api/v1/telehealth/consent", Access::Needs(P::GiveConsent), consent::http::submit)
            .says("Signs or declines a consent, or asks a patient for it")
            .takes::<consent::http::SubmitBody>()
            .answers::<Superset<ConsentView>>(201)
            .refuses(&refused),
        put("/api/v1/telehealth/consent/{id}", Access::Needs(P::GiveConsent), consent::http::update)
            .says("Changes a consent by a new one that follows it")
            .takes::<consent::http::UpdateBody>()
            .answers::<Superset<ConsentView>>(200)
            .refuses(&refused)
            .refuses(&[Code::ConsentFinal]),
        delete("/api/v1/telehealth/consent/{id}", Access::Needs(P::GiveConsent), consent::http::revoke)
            .says("Takes a consent back; it stays on record")
            .may_take::<consent::http::RevokeBody>()
            .answers::<Superset<ConsentView>>(200)
            .refuses(&[Code::ConsentFinal]),
        get("/api/v1/telehealth/consent-texts", Access::Caller, consent::http::text)
            .says("The text in force")
            .query::<consent::http::TextQuery>()
            .answers::<consent::http::TextView>(200)
            .refuses(&[Code::NotFound]),
        post("/api/v1/telehealth/consent-texts", Access::Needs(P::ManageOrganization), consent::http::publish)
            .says("Publishes the next version of a text, or a translation")
            .takes::<consent::http::PublishBody>()
            .answers::<consent::http::TextView>(201)
            .refuses(&[Code::VersionOutdated]),
        get("/api/v1/telehealth/admission-policy", Access::Needs(P::ReadConsent), consent::gate::http::get)
            .says("What is asked of a patient before they are let in")
            .answers::<consent::gate::http::PolicyBody>(200),
        put("/api/v1/telehealth/admission-policy", Access::Needs(P::ManageOrganization), consent::gate::http::put)
            .says("Sets what is asked of a patient before they are let in")
            .takes::<consent::gate::http::PolicyBody>()
            .answers::<consent::gate::http::PolicyBody>(200),
        put("/api/v1/telehealth/patients/{id}/minor", Access::Needs(P::CreateVisit), consent::http::set_minor)
            .says("Through which year a parent or guardian signs for a patient")
            .takes::<consent::http::MinorBody>()
            .answers_nothing(204),
        get("/api/v1/telehealth/recording-rules/{state}", Access::Needs(P::ReadRules), consent::http::rule)
            .says("What a state's law asks before a recording")
            .answers::<consent::http::RuleView>(200),
    ]
}

/// Where patients are, whom to call, and where clinicians may practise.
fn places() -> Vec<Endpoint> {
    vec![
        post("/api/v1/telehealth/sessions/{id}/location", Access::Needs(P::AttestLocation), location::http::attest)
            .says("Says where somebody of the visit is")
            .takes::<location::http::LocationBody>()
            .answers::<Superset<location::http::LocationView>>(201)
            .refuses(&[Code::VisitFinal]),
        get("/api/v1/telehealth/sessions/{id}/requirements", Access::Needs(P::ReadVisit), location::http::due)
            .says("What the patient still has to do before they can be let in")
            .query::<location::http::DueQuery>()
            .answers::<location::http::DueView>(200),
        get("/api/v1/telehealth/sessions/{id}/emergency", Access::Needs(P::ReadEmergency), location::http::emergency)
            .says("Where to send help, and whom to call")
            .answers::<location::http::EmergencyView>(200),
        put(
            "/api/v1/telehealth/sessions/{id}/emergency",
            Access::Needs(P::AttestLocation),
            location::http::set_contact,
        )
        .says("Says whom to call")
        .takes::<location::Contact>()
        .answers_nothing(204),
        get("/api/v1/telehealth/clinicians/{id}/licences", Access::Needs(P::ReadLicences), licence::http::list)
            .says("In which states a clinician may practise")
            .answers::<licence::http::LicenceList>(200),
        put("/api/v1/telehealth/clinicians/{id}/licences", Access::Needs(P::WriteLicences), licence::http::put)
            .says("Sets a clinician's licences; what is not on the list is withdrawn")
            .takes::<licence::http::PutBody>()
            .answers::<licence::http::LicenceList>(200),
        get("/api/v1/telehealth/sessions/{id}/billing", Access::Needs(P::SetBilling), billing::http::get)
            .says("The codes of a visit, and what the table suggests")
            .query::<billing::http::BillingQuery>()
            .answers::<billing::http::BillingView>(200),
        put("/api/v1/telehealth/sessions/{id}/billing", Access::Needs(P::SetBilling), billing::http::put)
            .says("Confirms the codes of a visit")
            .takes::<billing::http::BillingBody>()
            .answers::<billing::http::SetView>(200),
    ]
}

fn signing_in() -> Vec<Endpoint> {
    vec![
        get("/api/session", Access::Staff, sign_in::get).says("Who is signed in").answers::<Object>(200),
        post("/api/session", Access::Public, sign_in::create)
            .says("Keeps an access token as a cookie")
            .takes::<sign_in::SignInBody>()
            .answers_nothing(204)
            .refuses(&[Code::Unauthenticated]),
        delete("/api/session", Access::Public, sign_in::delete).says("Ends the cookie").answers_nothing(204),
        post("/dev/login", Access::Public, sign_in::demo_login)
            .says("Signs a demo user in; in development alone")
            .takes::<sign_in::DemoBody>()
            .answers_nothing(204)
            .refuses(&[Code::NotFound]),
        get("/dev/users", Access::Public, sign_in::demo_users)
            .says("The demo users; in development alone")
            .answers::<Object>(200)
            .refuses(&[Code::NotFound]),
    ]
}

/// To the OpenID provider and back, and the provider that development brings along.
fn provider() -> Vec<Endpoint> {
    vec![
        get("/auth/ways", Access::Public, identity::http::ways)
            .says("How one can sign in here")
            .answers::<identity::http::Ways>(200),
        get("/auth/login", Access::Public, identity::http::login)
            .says("Sends a browser to the sign-in service")
            .query::<identity::http::LoginQuery>()
            .answers_nothing(303)
            .refuses(&[Code::NotFound, Code::Unavailable]),
        get("/auth/callback", Access::Public, identity::http::callback)
            .says("Where the sign-in service sends a browser back to; what fails leads to the sign-in page")
            .query::<identity::http::CallbackQuery>()
            .answers_nothing(303)
            .refuses(&[Code::NotFound, Code::Unavailable]),
        post("/auth/logout", Access::Public, identity::http::logout)
            .says("Ends the session and its sockets, and says where the sign-in service ends its own")
            .answers::<identity::http::SignedOut>(200),
        post("/auth/backchannel-logout", Access::Public, identity::http::backchannel_logout)
            .says("The sign-in service says that somebody is signed out: a form with `logout_token`")
            .answers_nothing(200)
            .refuses(&[Code::NotFound, Code::Unavailable]),
        get("/dev/issuer/.well-known/openid-configuration", Access::Public, identity::issuer::discovery)
            .says("The built-in sign-in service; in development alone")
            .answers::<Object>(200)
            .refuses(&[Code::NotFound]),
        get("/dev/issuer/jwks", Access::Public, identity::issuer::jwks)
            .says("Its keys")
            .answers::<Object>(200)
            .refuses(&[Code::NotFound]),
        get("/dev/issuer/authorize", Access::Public, identity::issuer::authorize)
            .says("Its page with the demo people")
            .query::<identity::issuer::AuthorizeQuery>()
            .answers_with(200, "text/html")
            .refuses(&[Code::NotFound]),
        get("/dev/issuer/choose", Access::Public, identity::issuer::choose)
            .says("Back from there, as one of them")
            .query::<identity::issuer::ChooseQuery>()
            .answers_nothing(303)
            .refuses(&[Code::NotFound]),
        post("/dev/issuer/token", Access::Public, identity::issuer::token)
            .says("Its tokens, for a code: a form as in RFC 6749")
            .answers::<Object>(200)
            .refuses(&[Code::NotFound, Code::TooLarge, Code::UnsupportedMediaType, Code::Invalid]),
        get("/dev/issuer/logout", Access::Public, identity::issuer::logout)
            .says("Back from signing out there")
            .query::<identity::issuer::LogoutQuery>()
            .answers_nothing(303)
            .refuses(&[Code::NotFound]),
    ]
}

/// Who may do what, beyond the role matrix.
fn rights() -> Vec<Endpoint> {
    vec![
        post("/api/v1/telehealth/break-glass", Access::Needs(P::BreakGlass), break_glass::http::create)
            .says("Opens a visit to a clinician whose it is not, for an hour, in an emergency")
            .takes::<break_glass::http::BreakGlassBody>()
            .answers::<break_glass::http::OpeningView>(201)
            .refuses(&[Code::MfaRequired]),
        post("/api/v1/telehealth/access/revoke", Access::Needs(P::RevokeAccess), service_token::http::revoke)
            .says("Ends the sessions, tokens and sockets of somebody who has left")
            .takes::<service_token::http::RevokeBody>()
            .answers::<service_token::http::RevokedView>(200)
            .refuses(&[Code::MfaRequired]),
        get("/api/v1/telehealth/service-tokens", Access::Needs(P::ManageServiceTokens), service_token::http::list)
            .says("The tokens of programs, without the tokens themselves")
            .answers::<service_token::http::ListView>(200)
            .refuses(&[Code::MfaRequired]),
        post("/api/v1/telehealth/service-tokens", Access::Needs(P::ManageServiceTokens), service_token::http::create)
            .says("Makes a token for a program; it is shown this once")
            .takes::<service_token::http::CreateBody>()
            .answers::<service_token::http::CreatedView>(201)
            .refuses(&[Code::MfaRequired]),
        delete(
            "/api/v1/telehealth/service-tokens/{id}",
            Access::Needs(P::ManageServiceTokens),
            service_token::http::delete,
        )
        .says("Refuses a token from now on")
        .answers::<service_token::TokenView>(200)
        .refuses(&[Code::MfaRequired]),
    ]
}

fn operations() -> Vec<Endpoint> {
    vec![
        get("/healthz", Access::Public, health::live).says("The process runs").answers_with(200, "text/plain"),
        get("/readyz", Access::Public, health::ready)
            .says("Visits can be taken")
            .answers::<Object>(200)
            .refuses(&[Code::Draining]),
        get("/.well-known/jwks.json", Access::Public, health::jwks)
            .says("The keys that our tokens verify with (RFC 7517)")
            .answers::<Object>(200),
        get("/openapi.json", Access::Public, page::document).says("This document").answers::<Object>(200),
        get("/api", Access::Public, page::read).says("This document, to read").answers_with(200, "text/html"),
        get("/api/page.css", Access::Public, page::style).says("How that page looks").answers_with(200, "text/css"),
    ]
}

/// Inert files, all of them.
fn pages() -> Vec<Endpoint> {
    let page =
        |path| get(path, Access::Public, pages::index).says("A page of the web app").answers_with(200, "text/html");
    let mut all: Vec<Endpoint> = ["/", "/desk", "/visit", "/j/{code}", "/m/{handle}"].into_iter().map(page).collect();
    all.push(
        get("/assets/{*path}", Access::Public, pages::asset)
            .says("A file of the web app")
            .answers_with(200, "application/octet-stream"),
    );
    all.push(
        get("/{name}", Access::Public, pages::root_file)
            .says("A file of the web app")
            .answers_with(200, "application/octet-stream"),
    );
    all
}

/// Routes that outlive the ordinary time limit: the WebSockets and the streams of playback.
fn long() -> Vec<Endpoint> {
    vec![
        get("/ws", Access::Public, ws::upgrade)
            .says("The WebSocket of a visit; what its credential is worth it says itself")
            .query::<ws::WsQuery>()
            .answers_nothing(101)
            .refuses(&[Code::CrossOrigin]),
        get("/control/{meeting}", Access::Public, chime::socket::upgrade)
            .says("The WebSocket of a meeting in the Chime protocol")
            .answers_nothing(101),
        get("/api/v1/telehealth/audit/export", Access::Needs(P::ExportAudit), audit::http::export)
            .says("All audit events that the query means, as CSV or JSON; itself audited")
            .query::<audit::http::ExportQuery>()
            .answers_with(200, "text/csv")
            .answers_with(200, "application/json")
            .refuses(&[Code::Invalid]),
        get("/api/v1/telehealth/audit/verify", Access::Needs(P::VerifyAudit), audit::http::check)
            .says("Checks the chain of audit events against itself and its anchors")
            .answers::<audit::verify::Report>(200),
        get("/api/playback/{grant}", Access::Staff, recording::playback::play)
            .says("A recording's bytes, in ranges")
            .answers_with(200, "application/octet-stream")
            .answers_with(206, "application/octet-stream")
            .refuses(&[Code::RangeNotSatisfiable]),
    ]
}

/// Builds the service. A request passes the layers from the last one named here to the first.
pub fn router(app: App) -> Router {
    let ordinary = mount(&app, ordinary()).layer(TimeoutLayer::with_status_code(StatusCode::REQUEST_TIMEOUT, TIMEOUT));
    ordinary
        .merge(mount(&app, long()))
        .fallback(async || Problem::from(Code::NotFound))
        .method_not_allowed_fallback(async || Problem::from(Code::MethodNotAllowed))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(from_fn_with_state(app.clone(), idempotency::guard))
        .layer(from_fn_with_state(app.clone(), origin::guard))
        .layer(from_fn(problem::finish))
        // Signed by themselves, and answered in AWS's own words: no cookie, origin or problem is their business.
        .merge(chime::http::router())
        .layer(map_response_with_state(app.clone(), pages::security_headers))
        .layer(from_fn_with_state(app.clone(), telemetry::trace))
        .with_state(app)
}
