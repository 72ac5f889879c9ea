//! The calendar entry (RFC 5545, iTIP RFC 5546) that goes with an e-mail: a neutral title, a time and a page. No attendee, no link that
//! opens anything, no word about why.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use uuid::Uuid;

use crate::clock::Timestamp;

const STAMP: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// What a calendar does with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// Adds the entry, or changes the one with the same UID and a lower sequence.
    Publish,
    /// Takes it away.
    Cancel,
}

impl Method {
    /// As the `method` parameter of the MIME type has it.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Publish => "PUBLISH",
            Self::Cancel => "CANCEL",
        }
    }
}

/// One entry.
#[derive(Clone, Debug)]
pub(crate) struct Entry<'a> {
    /// The same for every version of it.
    pub(crate) id: Uuid,
    /// Grows with each.
    pub(crate) sequence: i32,
    pub(crate) method: Method,
    pub(crate) start: Timestamp,
    pub(crate) minutes: i32,
    /// Shown as the title, with nothing beside it.
    pub(crate) practice: &'a str,
    /// The page that sends the link.
    pub(crate) page: &'a str,
    /// The host part of the UID.
    pub(crate) host: &'a str,
    pub(crate) now: Timestamp,
}

/// Writes the file, CRLF and folded lines included.
pub(crate) fn write(entry: &Entry<'_>) -> String {
    let stamp = |at: Timestamp| at.to_offset(time::UtcOffset::UTC).format(STAMP).unwrap_or_default();
    let end = entry.start + time::Duration::minutes(entry.minutes.into());
    let (status, busy) = match entry.method {
        Method::Publish => ("CONFIRMED", "OPAQUE"),
        Method::Cancel => ("CANCELLED", "TRANSPARENT"),
    };
    let mut lines = vec![
        "BEGIN:VCALENDAR".to_owned(),
        "VERSION:2.0".to_owned(),
        "PRODID:-//Anteroom//Visits//EN".to_owned(),
        format!("METHOD:{}", entry.method.as_str()),
        "BEGIN:VEVENT".to_owned(),
        format!("UID:{}@{}", entry.id, escape(entry.host)),
        format!("SEQUENCE:{}", entry.sequence),
        format!("DTSTAMP:{}", stamp(entry.now)),
        format!("DTSTART:{}", stamp(entry.start)),
        format!("DTEND:{}", stamp(end)),
        format!("SUMMARY:{}", escape(&format!("Visit - {}", entry.practice))),
        format!("STATUS:{status}"),
        format!("TRANSP:{busy}"),
        // Shared calendars show that somebody is busy, and no more.
        "CLASS:PRIVATE".to_owned(),
    ];
    if entry.method == Method::Publish {
        lines.push(format!(
            "DESCRIPTION:{}",
            escape(&format!("Get your link here when it is nearly time: {}", entry.page))
        ));
        lines.push(format!("URL:{}", entry.page));
    }
    lines.extend(["END:VEVENT".to_owned(), "END:VCALENDAR".to_owned()]);
    lines.iter().map(|line| fold(line)).collect()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | ';' | ',' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// A content line of at most 75 bytes each, never cut inside a character.
fn fold(line: &str) -> String {
    let mut out = String::with_capacity(line.len() + 8);
    let mut width = 0;
    for c in line.chars() {
        if width + c.len_utf8() > 75 {
            out.push_str("\r\n ");
            width = 1;
        }
        out.push(c);
        width += c.len_utf8();
    }
    out.push_str("\r\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    fn entry(method: Method, sequence: i32, practice: &str) -> String {
        write(&Entry {
            id: Uuid::nil(),
            sequence,
            method,
            start: datetime!(2026-11-21 23:45 UTC),
            minutes: 30,
            practice,
            page: "https://visits.example.org/m/abc",
            host: "visits.example.org",
            now: datetime!(2026-11-20 08:00 UTC),
        })
    }

    #[test]
    fn versions_share_the_uid_and_a_cancellation_says_so() {
        let (first, last) = (entry(Method::Publish, 0, "Our practice"), entry(Method::Cancel, 2, "Our practice"));
        for (file, method, sequence, status) in [(&first, "PUBLISH", 0, "CONFIRMED"), (&last, "CANCEL", 2, "CANCELLED")]
        {
            assert!(file.contains(&format!("\r\nMETHOD:{method}\r\n")), "{file}");
            assert!(file.contains(&format!("\r\nSEQUENCE:{sequence}\r\n")));
            assert!(file.contains(&format!("\r\nSTATUS:{status}\r\n")));
            assert!(file.contains("\r\nUID:00000000-0000-0000-0000-000000000000@visits.example.org\r\n"));
            assert!(file.contains("\r\nDTSTART:20261121T234500Z\r\nDTEND:20261122T001500Z\r\n"), "over midnight");
            assert!(!file.contains("ATTENDEE") && !file.contains("ORGANIZER"));
        }
        assert!(!last.contains("URL:"));
    }

    #[test]
    fn names_cannot_add_lines_and_long_lines_are_folded() {
        let file = entry(Method::Publish, 0, &format!("A;B,C\\\r\nATTENDEE:x {}", "é".repeat(80)));
        assert!(file.contains("SUMMARY:Visit - A\\;B\\,C\\\\\\nATTENDEE"), "{file}");
        for line in file.split("\r\n") {
            assert!(line.len() <= 75, "{line}");
        }
    }
}
