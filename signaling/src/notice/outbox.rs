//! The development page `/dev/outbox`: what would have been sent, so that a person can click the link. In memory, and for this profile alone.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::config::Profile;
use crate::error::Error;
use crate::notice::carrier::{Body, Carrier, Failure, Message};
use crate::problem::Code;

/// Messages kept; the oldest goes first.
const KEPT: usize = 200;

/// Messages of this process, newest last.
#[derive(Debug, Default)]
pub struct Outbox(Mutex<VecDeque<Message>>);

impl Outbox {
    /// What was sent so far, newest last.
    #[must_use]
    pub fn messages(&self) -> Vec<Message> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[async_trait]
impl Carrier for Outbox {
    fn name(&self) -> &'static str {
        "outbox"
    }

    async fn send(&self, message: &Message) -> Result<String, Failure> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.pop_front();
        }
        kept.push_back(message.clone());
        Ok(message.id.to_string())
    }
}

/// The page.
///
/// # Errors
/// `NOT_FOUND` outside development.
pub async fn page(State(app): State<App>) -> Result<Response, Error> {
    if app.config.profile != Profile::Development {
        return Err(Code::NotFound.into());
    }
    let messages = app.carriers.outbox.messages();
    let items: String = messages.iter().rev().map(item).collect();
    let empty = if items.is_empty() { "<p>Nothing was sent yet.</p>" } else { "" };
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>Outbox</title>\n</head>\n<body>\n<main>\n<h1>Outbox</h1>\n<p>Messages that this development server would have sent, newest \
         first. Reload to see more.</p>\n{empty}{items}</main>\n</body>\n</html>\n"
    );
    Ok(([(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CACHE_CONTROL, "no-store")], page)
        .into_response())
}

fn item(message: &Message) -> String {
    let (kind, to, subject, text, calendar) = match &message.body {
        Body::Sms { to, text } => ("SMS", to.mask(), None, text, false),
        Body::Email { to, subject, text, calendar, .. } => {
            ("E-mail", to.mask(), Some(subject.reveal()), text, calendar.is_some())
        }
    };
    let subject = subject.map(|subject| format!("<p><strong>{}</strong></p>\n", escape(subject))).unwrap_or_default();
    let calendar = if calendar { "<p>With a calendar entry.</p>\n" } else { "" };
    format!(
        "<article>\n<h2>{kind} to {}</h2>\n{subject}<pre>{}</pre>\n{calendar}</article>\n",
        escape(&to),
        linked(text.reveal())
    )
}

/// The text with its addresses as links.
fn linked(text: &str) -> String {
    let mut out = String::new();
    for (n, part) in text.split_inclusive([' ', '\n']).enumerate() {
        let word = part.trim_end();
        let rest = part.get(word.len()..).unwrap_or_default();
        if word.starts_with("https://") || word.starts_with("http://") {
            let word = escape(word);
            out.push_str(&format!("<a href=\"{word}\" id=\"link-{n}\">{word}</a>{rest}"));
        } else {
            out.push_str(&escape(part));
        }
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;").replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_as_text_and_its_address_as_a_link() {
        assert_eq!(
            linked("<b> & https://a.example/j/x\"y z"),
            "&lt;b&gt; &amp; <a href=\"https://a.example/j/x&quot;y\" id=\"link-2\">https://a.example/j/x&quot;y</a> z"
        );
    }
}
