//! The names of pieces: `<prefix>/<folder>/<yyyy-mm-dd-hour-min-seconds-milliseconds>[-<whose>].<ending>`, in UTC.

use time::OffsetDateTime;
use wire::delivery::Folder;

/// An instant, from microseconds since the Unix epoch. No clock of ours shows what cannot be told.
fn instant(micros: u64) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(micros) * 1000).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

/// As in a name.
#[must_use]
pub fn stamp(millis: u64) -> String {
    let at = instant(millis.saturating_mul(1000));
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, milli) = at.to_hms_milli();
    format!("{year:04}-{:02}-{day:02}-{hour:02}-{minute:02}-{second:02}-{milli:03}", u8::from(month))
}

/// As inside a text.
#[must_use]
pub fn iso(micros: u64) -> String {
    let at = instant(micros);
    let (year, month, day) = at.to_calendar_date();
    let (hour, minute, second, milli) = at.to_hms_milli();
    format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", u8::from(month))
}

/// The name of a piece.
#[must_use]
pub fn piece(prefix: &str, folder: Folder, millis: u64, whose: Option<&str>) -> String {
    let whose = whose.map(|whose| format!("-{whose}")).unwrap_or_default();
    format!("{prefix}/{}/{}{whose}.{}", folder.as_str(), stamp(millis), folder.ending())
}

/// The name of a joined file. `turn` tells those of one person in several codings apart.
#[must_use]
pub fn joined(prefix: &str, folder: Folder, id: wire::OrderId, whose: Option<&str>, turn: usize) -> String {
    let whose = whose.map(|whose| format!("-{whose}")).unwrap_or_default();
    let turn = if turn == 0 { String::new() } else { format!("-{}", turn + 1) };
    format!("{prefix}/{}/{id}{whose}{turn}.{}", folder.as_str(), folder.ending())
}

/// What a bucket is told of the content.
#[must_use]
pub const fn mime(folder: Folder) -> &'static str {
    match folder {
        Folder::Audio | Folder::Video => "video/mp4",
        Folder::Events | Folder::Posts => "text/plain; charset=utf-8",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_times_in_utc() {
        assert_eq!(stamp(1_790_000_000_042), "2026-09-21-14-13-20-042");
        assert_eq!(iso(1_790_000_000_042_999), "2026-09-21T14:13:20.042Z");
        assert_eq!(piece("a/b", Folder::Audio, 0, None), "a/b/audio/1970-01-01-00-00-00-000.mp4");
        assert_eq!(piece("a", Folder::Video, 1, Some("x#content")), "a/video/1970-01-01-00-00-00-001-x#content.mp4");
        assert_eq!(piece("a", Folder::Posts, 1, None), "a/data-channel/1970-01-01-00-00-00-001.txt");
    }
}
