//! The routes of this slice, for the table in [`crate::router`].

use crate::auth::Permission as P;
use crate::notice::{hook, http, outbox};
use crate::problem::Code;
use crate::route::{Access, Endpoint, get, post, put};
use crate::schema::Object;

/// All of them.
pub(crate) fn endpoints() -> Vec<Endpoint> {
    vec![
        get("/api/visits/{id}/contacts", Access::Needs(P::IssueLinks), http::get_contacts)
            .says("How the people of a visit are reached, masked")
            .answers::<http::ContactsView>(200),
        put("/api/visits/{id}/contacts", Access::Needs(P::CreateVisit), http::put_contacts)
            .says("Puts numbers, addresses and consents to use them on file")
            .takes::<http::ContactsBody>()
            .answers::<http::ContactsView>(200)
            .refuses(&[Code::VisitFinal]),
        post("/api/visits/{id}/notify", Access::Needs(P::IssueLinks), http::notify)
            .says("Tells people of a visit something by SMS or e-mail")
            .takes::<http::NotifyBody>()
            .answers::<http::DeliveriesView>(200)
            .refuses(&[Code::NoContact, Code::OptedOut, Code::VisitFinal]),
        get("/api/visits/{id}/notices", Access::Needs(P::IssueLinks), http::list)
            .says("What the people of a visit were told, and what became of it")
            .answers::<http::DeliveriesView>(200),
        post("/api/link-request", Access::Public, http::request_link)
            .says("Sends a visit's link to the contact on file; the answer is always the same")
            .takes::<http::LinkRequestBody>()
            .answers_nothing(202),
        post("/webhooks/{provider}", Access::Signed, hook::receive)
            .says("News of those who carry messages, signed by them")
            .takes::<Object>()
            .answers_nothing(204)
            .refuses(&[Code::WebhookSignature, Code::Unavailable]),
        get("/dev/outbox", Access::Public, outbox::page)
            .says("Messages that a development server would have sent; in development alone")
            .answers_with(200, "text/html")
            .refuses(&[Code::NotFound]),
    ]
}
