//! An e-mail as mail servers take it, by `lettre`: text, HTML, and the calendar entry both inline and as a file.

use lettre::message::header::ContentType;
use lettre::message::{Attachment, Mailbox, MultiPart, SinglePart};
use lettre::{Address, Message as Mail};

use crate::notice::carrier::{Body, Failure, Message};

/// Builds it. What cannot be built is refused.
pub(crate) fn build(message: &Message, from: &str) -> Result<Mail, Failure> {
    let Body::Email { to, from_name, subject, text, html, calendar } = &message.body else {
        return Err(Failure::Refused);
    };
    let refused = |_| Failure::Refused;
    let from: Address = from.parse().map_err(refused)?;
    let domain = from.domain().to_owned();
    let to: Address = to.reveal().parse().map_err(refused)?;
    let mut body = MultiPart::alternative()
        .singlepart(SinglePart::plain(text.reveal().clone()))
        .singlepart(SinglePart::html(html.reveal().clone()));
    if let Some((file, method)) = calendar {
        let kind = format!("text/calendar; charset=utf-8; method={method}");
        let kind = ContentType::parse(&kind).map_err(|_| Failure::Refused)?;
        body = body.singlepart(SinglePart::builder().header(kind).body(file.reveal().clone()));
        let kind = ContentType::parse("text/calendar; charset=utf-8").map_err(|_| Failure::Refused)?;
        let file = Attachment::new("visit.ics".to_owned()).body(file.reveal().clone(), kind);
        body = MultiPart::mixed().multipart(body).singlepart(file);
    }
    Mail::builder()
        .from(Mailbox::new(Some(from_name.clone()), from))
        .to(Mailbox::new(None, to))
        .subject(subject.reveal().clone())
        // The same at every attempt: a mail server that was given it twice can tell.
        .message_id(Some(format!("<{}@{domain}>", message.id)))
        .multipart(body)
        .map_err(|_| Failure::Refused)
}
