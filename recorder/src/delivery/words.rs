//! Events and messages as lines of JSON, one file for each five seconds in which there are any.

use bytes::Bytes;
use serde_json::{Value, json};
use wire::delivery::{Folder, Note};

use super::{Object, PIECE, People, absolute};
use crate::delivery::name::iso;
use crate::packet::Micros;

/// Lines of one file.
#[derive(Debug)]
struct Page {
    folder: Folder,
    begins: Micros,
    last: Micros,
    lines: String,
}

/// The pages under way.
#[derive(Debug, Default)]
pub(super) struct Words {
    events: Option<Page>,
    posts: Option<Page>,
}

impl Words {
    pub(super) fn begin(&mut self, zero: u64, now: Micros, out: &mut Vec<Object>) {
        self.event(zero, now, "CaptureStarted", &json!({}), out);
    }

    pub(super) fn end(&mut self, zero: u64, now: Micros, out: &mut Vec<Object>) {
        self.event(zero, now, "CaptureEnded", &json!({}), out);
    }

    /// A note in the words of whoever reads it.
    pub(super) fn note(&mut self, zero: u64, now: Micros, note: Note, people: &People, out: &mut Vec<Object>) {
        let named = |alias: String| {
            let name = people.known.values().find(|(known, _)| *known == alias).map(|(_, name)| name.clone());
            match name {
                Some(name) => json!({ "AttendeeId": alias, "ExternalUserId": name }),
                None => json!({ "AttendeeId": alias }),
            }
        };
        let (kind, parameters) = match note {
            Note::Joined { alias, name, .. } => {
                ("AttendeeJoined", json!({ "AttendeeId": alias, "ExternalUserId": name.into_revealed() }))
            }
            Note::Left { alias } => ("AttendeeLeft", named(alias)),
            Note::PictureOn { alias } => ("AttendeeVideoJoined", named(alias)),
            Note::PictureOff { alias } => ("AttendeeVideoLeft", named(alias)),
            Note::Muted { alias, is_muted: true } => ("AudioTrackMute", named(alias)),
            Note::Muted { alias, is_muted: false } => ("AudioTrackUnmute", named(alias)),
            Note::Speaking { participant: Some(participant) } => ("ActiveSpeaker", named(people.alias(participant))),
            Note::Speaking { participant: None } => return,
            Note::Posted { alias, topic, body } => {
                let line = json!({
                    "Timestamp": iso(absolute(zero, now)),
                    "Topic": topic.into_revealed(),
                    "Data": body.into_revealed(),
                    "SenderAttendeeId": alias,
                });
                add(&mut self.posts, Folder::Posts, (zero, now), &line, out);
                return;
            }
        };
        self.event(zero, now, kind, &parameters, out);
    }

    pub(super) fn finish(self, zero: u64, out: &mut Vec<Object>) {
        out.extend([self.events, self.posts].into_iter().flatten().map(|page| page.into_object(zero)));
    }

    fn event(&mut self, zero: u64, now: Micros, kind: &str, parameters: &Value, out: &mut Vec<Object>) {
        let line = json!({ "Timestamp": iso(absolute(zero, now)), "EventType": kind, "EventParameters": parameters });
        add(&mut self.events, Folder::Events, (zero, now), &line, out);
    }
}

fn add(page: &mut Option<Page>, folder: Folder, (zero, now): (u64, Micros), line: &Value, out: &mut Vec<Object>) {
    let is_over = page.as_ref().is_some_and(|page| now.div_euclid(PIECE) > page.begins.div_euclid(PIECE));
    if is_over {
        out.extend(page.take().map(|page| page.into_object(zero)));
    }
    let page = page.get_or_insert_with(|| Page { folder, begins: now, last: now, lines: String::new() });
    page.last = now;
    page.lines.push_str(&line.to_string());
    page.lines.push('\n');
}

impl Page {
    fn into_object(self, zero: u64) -> Object {
        Object {
            folder: self.folder,
            whose: None,
            codecs: Vec::new(),
            begins: absolute(zero, self.begins),
            lasts: absolute(0, self.last - self.begins),
            body: Bytes::from(self.lines),
        }
    }
}
