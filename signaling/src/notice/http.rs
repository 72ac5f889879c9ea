//! `PUT` and `GET /api/visits/:id/contacts`, `POST /api/visits/:id/notify`, `GET /api/visits/:id/notices`, and `POST /api/link-request`.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use time::serde::rfc3339;
use uuid::Uuid;
use wire::Redacted;

use crate::app::App;
use crate::auth::Permission;
use crate::auth::extract::Caller;
use crate::body::{Body, Id};
use crate::clock::Timestamp;
use crate::db;
use crate::error::{Error, Result};
use crate::ids::VisitId;
use crate::notice::command::{self, Ask};
use crate::notice::contact::{self, Contact, NewContact};
use crate::notice::reach::{Email, Phone};
use crate::notice::store::{self, Notice};
use crate::notice::{Medium, Reason, Status, Template};
use crate::participant::Role;
use crate::problem::Code;
use crate::visit::{self, Channel};

const NO_STORE: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];

/// The contacts of a visit's people.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct ContactsBody {
    patient: Option<ContactBody>,
    clinician: Option<ContactBody>,
}

/// How one person is reached. A channel without consent is kept and not used.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ContactBody {
    phone: Option<Redacted<String>>,
    email: Option<Redacted<String>>,
    #[serde(default)]
    sms_consent: bool,
    #[serde(default)]
    email_consent: bool,
    #[serde(default)]
    time_consent: bool,
    time_zone: Option<String>,
    locale: Option<String>,
}

impl ContactBody {
    fn into_contact(self) -> Result<NewContact> {
        let phone = self.phone.as_ref().map(|text| {
            let words = "phone must be a number in international form, such as +15551230100";
            Phone::parse(text.reveal()).ok_or_else(|| Error::from(Code::Invalid.with(words)))
        });
        let email = self.email.as_ref().map(|text| {
            Email::parse(text.reveal())
                .ok_or_else(|| Error::from(Code::Invalid.with("email must be one e-mail address")))
        });
        Ok(NewContact {
            phone: phone.transpose()?,
            email: email.transpose()?,
            sms_consent: self.sms_consent,
            email_consent: self.email_consent,
            time_consent: self.time_consent,
            time_zone: self.time_zone.unwrap_or_else(|| "UTC".to_owned()),
            locale: self.locale.unwrap_or_else(|| "en".to_owned()),
        })
    }
}

impl ContactsBody {
    /// By role.
    ///
    /// # Errors
    /// `INVALID`, naming the field.
    pub fn into_contacts(self) -> Result<Vec<(Role, NewContact)>> {
        let mut contacts = Vec::new();
        for (role, body) in [(Role::Patient, self.patient), (Role::Clinician, self.clinician)] {
            if let Some(body) = body {
                let contact = body.into_contact()?;
                contact.validate()?;
                contacts.push((role, contact));
            }
        }
        Ok(contacts)
    }
}

/// A contact as it is shown: masked.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ContactView {
    role: &'static str,
    phone: Option<String>,
    email: Option<String>,
    sms_consent: bool,
    email_consent: bool,
    time_consent: bool,
    time_zone: String,
    locale: String,
}

impl From<(Role, Contact)> for ContactView {
    fn from((role, contact): (Role, Contact)) -> Self {
        Self {
            role: role.as_word(),
            phone: contact.mask(Medium::Sms),
            email: contact.mask(Medium::Email),
            sms_consent: contact.given.sms_consent,
            email_consent: contact.given.email_consent,
            time_consent: contact.given.time_consent,
            time_zone: contact.given.time_zone,
            locale: contact.given.locale,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct ContactsView {
    contacts: Vec<ContactView>,
}

/// Puts contacts on file. Whoever is named replaces what was there; whoever is not stays.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`, `VISIT_FINAL`, `INVALID`.
pub async fn put_contacts(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(id): Id<VisitId>,
    Body(body): Body<ContactsBody>,
) -> Result<Response> {
    let contacts = body.into_contacts()?;
    let put = command::put_contacts(&app, &actor, id, &contacts).await?;
    let view = ContactsView { contacts: put.into_iter().map(ContactView::from).collect() };
    Ok((NO_STORE, Json(view)).into_response())
}

/// Contacts on file, masked.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn get_contacts(State(app): State<App>, Caller(actor): Caller, Id(id): Id<VisitId>) -> Result<Response> {
    actor.require(Permission::IssueLinks)?;
    let contacts = db::scoped(&app.db, actor.org(), async |tx| {
        let visit = visit::store::get(tx, id).await?;
        actor.require_on(Permission::IssueLinks, visit.id, &visit.clinician_id)?;
        let mut contacts = Vec::new();
        for person in command::people_of(tx, id).await? {
            let found = contact::find(tx, &app, person.id).await?;
            contacts.extend(found.map(|contact| ContactView::from((person.role, contact))));
        }
        Ok::<_, Error>(contacts)
    })
    .await?;
    Ok((NO_STORE, Json(ContactsView { contacts })).into_response())
}

/// Whom to tell what.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct NotifyBody {
    channel: Option<Channel>,
    recipient_role: Recipient,
    template: AskedTemplate,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Recipient {
    #[default]
    Patient,
    Clinician,
    Both,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum AskedTemplate {
    #[default]
    Initial,
    Reminder,
    Link,
    Rescheduled,
    Cancelled,
}

impl NotifyBody {
    fn into_ask(self) -> Ask {
        Ask {
            channel: self.channel,
            roles: match self.recipient_role {
                Recipient::Patient => vec![Role::Patient],
                Recipient::Clinician => vec![Role::Clinician],
                Recipient::Both => vec![Role::Patient, Role::Clinician],
            },
            template: match self.template {
                AskedTemplate::Initial => Template::Initial,
                AskedTemplate::Reminder => Template::Reminder,
                AskedTemplate::Link => Template::Link,
                AskedTemplate::Rescheduled => Template::Rescheduled,
                AskedTemplate::Cancelled => Template::Cancelled,
            },
        }
    }
}

/// A message as it is shown.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliveryView {
    #[schemars(with = "String")]
    notification_id: Uuid,
    recipient_role: &'static str,
    channel: Medium,
    template: Template,
    status: Status,
    reason: Option<Reason>,
    attempt: i32,
    #[schemars(with = "Option<String>")]
    fallback_of: Option<Uuid>,
    masked_destination: String,
    #[serde(with = "rfc3339")]
    #[schemars(with = "crate::schema::Time")]
    created_at: Timestamp,
}

impl From<Notice> for DeliveryView {
    fn from(notice: Notice) -> Self {
        Self {
            notification_id: notice.id,
            recipient_role: notice.role.as_word(),
            channel: notice.medium,
            template: notice.template,
            status: notice.status,
            reason: notice.reason,
            attempt: notice.attempt,
            fallback_of: notice.fallback_of,
            masked_destination: notice.masked_destination,
            created_at: notice.created_at,
        }
    }
}

#[derive(Debug, Serialize, JsonSchema)]
pub(crate) struct DeliveriesView {
    deliveries: Vec<DeliveryView>,
}

fn deliveries(notices: Vec<Notice>) -> Response {
    let view = DeliveriesView { deliveries: notices.into_iter().map(DeliveryView::from).collect() };
    (NO_STORE, Json(view)).into_response()
}

/// Tells people of a visit something.
///
/// # Errors
/// As [`command::notify`].
pub async fn notify(
    State(app): State<App>,
    Caller(actor): Caller,
    Id(id): Id<VisitId>,
    Body(body): Body<NotifyBody>,
) -> Result<Response> {
    command::notify(&app, &actor, id, &body.into_ask()).await.map(deliveries)
}

/// What people of a visit were told, and what became of it.
///
/// # Errors
/// `FORBIDDEN`, `NOT_FOUND`.
pub async fn list(State(app): State<App>, Caller(actor): Caller, Id(id): Id<VisitId>) -> Result<Response> {
    actor.require(Permission::IssueLinks)?;
    let notices = db::scoped(&app.db, actor.org(), async |tx| {
        let visit = visit::store::get(tx, id).await?;
        actor.require_on(Permission::IssueLinks, visit.id, &visit.clinician_id)?;
        store::of_visit(tx, id).await
    })
    .await?;
    Ok(deliveries(notices))
}

/// A page's handle, as the address of a message had it.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct LinkRequestBody {
    handle: Redacted<String>,
}

/// Sends the link of a visit to the contact on file. The answer is the same whatever became of it.
///
/// # Errors
/// `RATE_LIMITED`; the database's own failures.
pub async fn request_link(State(app): State<App>, Body(body): Body<LinkRequestBody>) -> Result<StatusCode> {
    command::request_link(&app, body.handle.reveal()).await?;
    Ok(StatusCode::ACCEPTED)
}
