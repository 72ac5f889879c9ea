//! What a person has to be told, by what they know and what is true now. A pure function: whoever moved the visit, and however often this
//! is asked, each thing is told once.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::notice::Template;
use crate::visit::VisitStatus;

/// How long after its start a visit is still worth a link: a patient later than this is called, not written to.
const LATE: Duration = Duration::from_secs(15 * 60);

/// How long before the start of a visit things are sent.
#[derive(Clone, Copy, Debug)]
pub struct Leads {
    /// The reminder.
    pub reminder: Duration,
    /// The link.
    pub link: Duration,
}

/// What somebody was told so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The start that they know.
    pub told: Option<Timestamp>,
    /// The start that they were reminded of.
    pub reminded: Option<Timestamp>,
    /// The start that they have a link for.
    pub linked: Option<Timestamp>,
    /// They know that it will not be.
    pub is_told_over: bool,
}

/// What to do now, what is known after it, and when to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Tell this.
    pub tell: Option<Template>,
    /// The calendar entry is new, or no longer true.
    pub is_calendar_due: bool,
    /// What they know then.
    pub known: Known,
    /// Ask again then; never, when the visit does not change.
    pub look_at: Option<Timestamp>,
}

/// Decides for one person of a visit that begins at `start` and stands at `status`.
#[must_use]
pub fn plan(status: VisitStatus, start: Timestamp, known: Known, leads: Leads, now: Timestamp) -> Plan {
    let nothing = Plan { tell: None, is_calendar_due: false, known, look_at: None };
    if status.is_over() {
        // Nobody who never heard of a visit is told that it is off, and nobody hears it after the fact.
        let is_news = status == VisitStatus::Cancelled && known.told.is_some_and(|told| now < told + LATE);
        if !is_news || known.is_told_over {
            return nothing;
        }
        let known = Known { is_told_over: true, ..known };
        return Plan { tell: Some(Template::Cancelled), is_calendar_due: true, known, look_at: None };
    }
    if now >= start + LATE {
        return nothing;
    }
    let is_moved = known.told != Some(start);
    if now >= start - leads.link {
        if known.linked == Some(start) {
            return nothing;
        }
        let known = Known { told: Some(start), reminded: Some(start), linked: Some(start), is_told_over: false };
        return Plan { tell: Some(Template::Link), is_calendar_due: is_moved, known, look_at: None };
    }
    let is_near = now >= start - leads.reminder;
    let tell = match known.told {
        None => Some(Template::Initial),
        Some(told) if told != start => Some(Template::Rescheduled),
        Some(_) if is_near && known.reminded != Some(start) => Some(Template::Reminder),
        Some(_) => None,
    };
    // Whoever hears of a visit this late needs no reminder of it.
    let reminded = if is_near { Some(start) } else { known.reminded };
    let known = Known { told: Some(start), reminded, is_told_over: false, ..known };
    let next = if is_near { start - leads.link } else { start - leads.reminder };
    Plan { tell, is_calendar_due: is_moved, known, look_at: Some(next) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::macros::datetime;

    const START: Timestamp = datetime!(2026-11-25 10:00 UTC);
    const LEADS: Leads = Leads { reminder: Duration::from_secs(24 * 3600), link: Duration::from_secs(30 * 60) };

    fn hours(hours: u64) -> Duration {
        Duration::from_secs(hours * 3600)
    }

    /// Asks as the chore does: now, and whenever a plan says so, until `end`.
    fn told(mut now: Timestamp, mut known: Known, end: Timestamp) -> (Vec<(Template, Timestamp)>, Known) {
        let mut told = Vec::new();
        loop {
            let plan = plan(VisitStatus::Scheduled, START, known, LEADS, now);
            known = plan.known;
            told.extend(plan.tell.map(|template| (template, now)));
            match plan.look_at {
                Some(next) if next <= end => {
                    assert!(next > now, "time goes on");
                    now = next;
                }
                _ => return (told, known),
            }
        }
    }

    #[test]
    fn a_visit_is_told_of_reminded_of_and_linked_once_each() {
        let made = START - hours(96);
        let (heard, known) = told(made, Known::default(), START);
        let expected =
            [(Template::Initial, made), (Template::Reminder, START - hours(24)), (Template::Link, START - LEADS.link)];
        assert_eq!(heard, expected);
        for later in [START - LEADS.link, START, START + LATE] {
            assert_eq!(plan(VisitStatus::Waiting, START, known, LEADS, later).tell, None);
        }
    }

    #[test]
    fn a_visit_made_late_is_told_of_once() {
        let made = START - hours(3);
        let (heard, _) = told(made, Known::default(), START);
        assert_eq!(heard, [(Template::Initial, made), (Template::Link, START - LEADS.link)]);
        let (heard, _) = told(START, Known::default(), START);
        assert_eq!(heard, [(Template::Link, START)]);
        assert_eq!(told(START + LATE, Known::default(), START + LATE).0, []);
    }

    #[test]
    fn a_moved_visit_is_told_again_with_its_calendar_entry() {
        let old = START - hours(48);
        let known = Known { told: Some(old), reminded: Some(old), linked: None, is_told_over: false };
        let moved = plan(VisitStatus::Scheduled, START, known, LEADS, START - hours(72));
        assert_eq!((moved.tell, moved.is_calendar_due), (Some(Template::Rescheduled), true));
        assert_eq!(moved.look_at, Some(START - hours(24)), "and reminded of anew");
        // Moved into the next minutes: the link says it all, and the calendar is put right.
        let soon = plan(VisitStatus::Scheduled, START, known, LEADS, START - hours(0));
        assert_eq!((soon.tell, soon.is_calendar_due), (Some(Template::Link), true));
    }

    #[test]
    fn only_who_knew_of_a_visit_hears_that_it_is_off_and_only_in_time() {
        let known = Known { told: Some(START), ..Known::default() };
        let off = |status, known, now| plan(status, START, known, LEADS, now);
        let first = off(VisitStatus::Cancelled, known, START - hours(1));
        assert_eq!((first.tell, first.is_calendar_due), (Some(Template::Cancelled), true));
        assert_eq!(off(VisitStatus::Cancelled, first.known, START - hours(1)).tell, None);
        assert_eq!(off(VisitStatus::Cancelled, Known::default(), START - hours(1)).tell, None);
        assert_eq!(off(VisitStatus::Cancelled, known, START + LATE).tell, None);
        assert_eq!(off(VisitStatus::NoShow, known, START).tell, None);
        assert_eq!(off(VisitStatus::Completed, known, START).tell, None);
    }
}
