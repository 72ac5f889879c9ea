//! What state a media pipeline is in: a function of what is known of its captures, its meeting and its files. Every change of a state
//! is made by [`settle`], and told by [`announce`]; nothing else writes that column.

use crate::chime::names::PipelineId;
use crate::chime::notifications::{self, PipelineChange};
use crate::chime::pipelines::store::{self, Capture, Facts, Part, Source};
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::Result;
use crate::ids::OrgId;

/// The states of the API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// A concatenation that waits for its capture to stop.
    NotStarted,
    /// A capture that waits for somebody to be there, or for the first frame.
    Initializing,
    /// Frames flow, or files are being joined.
    InProgress,
    /// Frames flowed; just now nobody is there.
    Paused,
    /// It is to stop, and is being finished.
    Stopping,
    /// Everything is in its bucket.
    Stopped,
    /// Something could not be brought to its bucket.
    Failed,
}

impl Status {
    pub(crate) const ALL: [Self; 7] = [
        Self::NotStarted,
        Self::Initializing,
        Self::InProgress,
        Self::Paused,
        Self::Stopping,
        Self::Stopped,
        Self::Failed,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::NotStarted => "NotStarted",
            Self::Initializing => "Initializing",
            Self::InProgress => "InProgress",
            Self::Paused => "Paused",
            Self::Stopping => "Stopping",
            Self::Stopped => "Stopped",
            Self::Failed => "Failed",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }

    /// Nothing will become of it any more.
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Stopped | Self::Failed)
    }
}

/// Why a capture is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// It was deleted.
    Deleted,
    /// Its meeting is over.
    MeetingEnded,
    /// Somebody inside no longer agrees.
    ConsentLost,
}

impl Reason {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Deleted => "DELETED",
            Self::MeetingEnded => "MEETING_ENDED",
            Self::ConsentLost => "CONSENT_LOST",
        }
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        [Self::Deleted, Self::MeetingEnded, Self::ConsentLost].into_iter().find(|reason| reason.as_str() == text)
    }
}

/// Where a pipeline goes from here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Next {
    pub(crate) status: Status,
    pub(crate) reason: Option<Reason>,
    pub(crate) event: Option<PipelineChange>,
}

/// What has to be done besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Duty {
    /// Nothing.
    Rest,
    /// Capture, as soon as somebody is there.
    Start,
    /// End the capture that runs.
    Stop,
    /// Join what was delivered.
    Join,
}

/// The next state of a capture.
pub(crate) fn next_of_capture(now: Status, reason: Option<Reason>, capture: &Capture) -> (Next, Duty) {
    let Capture { parts, is_meeting_over } = capture;
    let lost = parts.iter().any(|part| part.stop_reason.as_deref() == Some("CONSENT_LOST"));
    let reason = reason
        .or_else(|| is_meeting_over.then_some(Reason::MeetingEnded))
        .or_else(|| lost.then_some(Reason::ConsentLost));
    let is_running = parts.iter().any(Part::is_running);
    let is_flowing = parts.iter().any(|part| part.status == "RECORDING");
    let status = if reason.is_some() {
        if is_running || parts.iter().any(Part::is_due) {
            Status::Stopping
        } else if parts.iter().any(Part::has_failed) {
            Status::Failed
        } else {
            Status::Stopped
        }
    } else if is_flowing {
        Status::InProgress
    } else if is_running {
        now
    } else if parts.iter().any(|part| part.has_flowed) {
        Status::Paused
    } else {
        Status::Initializing
    };
    // Of the parts that are over the last one tells why there is no other yet.
    let last = parts.iter().rev().find(|part| !part.is_running());
    let has_broken = last.is_some_and(Part::has_broken);
    let event = match (now, status) {
        (before, after) if before == after => None,
        (Status::Paused, Status::InProgress) => has_broken.then_some(PipelineChange::Resumed),
        (_, Status::InProgress) => Some(PipelineChange::InProgress),
        (Status::InProgress, Status::Paused) => has_broken.then_some(PipelineChange::TemporaryFailure),
        (_, Status::Failed) => Some(PipelineChange::PermanentFailure),
        (_, Status::Stopped) if reason == Some(Reason::ConsentLost) => Some(PipelineChange::PermanentFailure),
        (_, Status::Stopped) => Some(PipelineChange::Deleted),
        _ => None,
    };
    let duty = match (reason, is_running) {
        (Some(_), true) => Duty::Stop,
        (None, false) => Duty::Start,
        (Some(_), false) | (None, true) => Duty::Rest,
    };
    (Next { status, reason, event }, duty)
}

/// The next state of a concatenation.
pub(crate) fn next_of_concatenation(now: Status, reason: Option<Reason>, source: &Source) -> (Next, Duty) {
    let (status, duty) = match (&source.job, source.status.is_over()) {
        (Some(job), _) if job == "DONE" => (Status::Stopped, Duty::Rest),
        (Some(job), _) if job == "FAILED" => (Status::Failed, Duty::Rest),
        // What is being joined is finished, so that no file is left half-written.
        (Some(_), _) if reason.is_some() => (Status::Stopping, Duty::Rest),
        (Some(_), _) => (Status::InProgress, Duty::Rest),
        (None, _) if reason.is_some() => (Status::Stopped, Duty::Rest),
        (None, true) => (Status::InProgress, Duty::Join),
        (None, false) => (Status::NotStarted, Duty::Rest),
    };
    let event = match (now, status) {
        (before, after) if before == after => None,
        (_, Status::InProgress) => Some(PipelineChange::InProgress),
        (_, Status::Failed) => Some(PipelineChange::PermanentFailure),
        (_, Status::Stopped) => Some(PipelineChange::Deleted),
        _ => None,
    };
    (Next { status, reason, event }, duty)
}

/// Brings a pipeline's state in line with what is known, and says what has to be done. `None` when somebody else does so just now, or
/// nothing will become of it any more.
///
/// # Errors
/// The database's own failures.
pub(crate) async fn settle(
    tx: &mut Tx,
    org: OrgId,
    id: PipelineId,
    now: Timestamp,
) -> Result<Option<(store::Row, Duty)>> {
    let Some(mut row) = store::lock(tx, id).await?.filter(|row| !row.status.is_over()) else { return Ok(None) };
    let (next, duty) = match store::facts(tx, &row).await? {
        Facts::Capture(capture) => next_of_capture(row.status, row.reason, &capture),
        Facts::Concatenation(source) => next_of_concatenation(row.status, row.reason, &source),
    };
    if duty == Duty::Join {
        store::insert_join(tx, org, &row).await?;
    }
    if (next.status, next.reason) != (row.status, row.reason) {
        store::move_to(tx, id, next.status, next.reason, now).await?;
        (row.status, row.reason, row.updated_at) = (next.status, next.reason, now);
    }
    if let Some(kind) = next.event {
        announce(tx, org, &row, kind, now).await?;
    }
    Ok(Some((row, duty)))
}

/// The one place from which events of pipelines go out, in the transaction that makes them true.
async fn announce(tx: &mut Tx, org: OrgId, row: &store::Row, change: PipelineChange, at: Timestamp) -> Result<()> {
    tracing::info!(pipeline_id = %row.id, meeting_id = %row.captured, ?change, "a media pipeline");
    notifications::pipeline(tx, org, (row.captured, row.id), change, at).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(status: &str, delivery: &str) -> Part {
        Part {
            status: status.to_owned(),
            job: if matches!(status, "STORED" | "FAILED") { status } else { "CAPTURING" }.to_owned(),
            stop_reason: (!matches!(status, "REQUESTED" | "RECORDING")).then(|| "ROOM_EMPTY".to_owned()),
            has_flowed: status != "REQUESTED",
            delivery: delivery.to_owned(),
        }
    }

    fn capture(parts: Vec<Part>) -> Capture {
        Capture { parts, is_meeting_over: false }
    }

    #[test]
    fn a_capture_goes_through_its_states_in_order() {
        let mut now = (Status::Initializing, None);
        let mut step = |capture: &Capture, asked: Option<Reason>| {
            let (next, duty) = next_of_capture(now.0, now.1.or(asked), capture);
            now = (next.status, next.reason);
            (next.status, next.event, duty)
        };
        assert_eq!(step(&capture(vec![]), None), (Status::Initializing, None, Duty::Start));
        assert_eq!(step(&capture(vec![part("REQUESTED", "DUE")]), None), (Status::Initializing, None, Duty::Rest));
        let flowing = capture(vec![part("RECORDING", "DUE")]);
        assert_eq!(step(&flowing, None), (Status::InProgress, Some(PipelineChange::InProgress), Duty::Rest));
        // Everybody left, and came back: nothing failed, and nobody is told that something did.
        assert_eq!(step(&capture(vec![part("PROCESSING", "DUE")]), None), (Status::Paused, None, Duty::Start));
        let again = capture(vec![part("STORED", "DONE"), part("RECORDING", "DUE")]);
        assert_eq!(step(&again, None), (Status::InProgress, None, Duty::Rest));
        assert_eq!(step(&again, Some(Reason::Deleted)), (Status::Stopping, None, Duty::Stop));
        let late = capture(vec![part("STORED", "DONE"), part("STORED", "DUE")]);
        assert_eq!(step(&late, None), (Status::Stopping, None, Duty::Rest));
        let done = capture(vec![part("STORED", "DONE"), part("STORED", "DONE")]);
        assert_eq!(step(&done, None), (Status::Stopped, Some(PipelineChange::Deleted), Duty::Rest));
    }

    #[test]
    fn what_broke_is_told_and_so_is_that_it_goes_on() {
        let broken = Part { stop_reason: Some("ROOM_FAILED".to_owned()), ..part("PROCESSING", "DUE") };
        let (next, _) = next_of_capture(Status::InProgress, None, &capture(vec![broken.clone()]));
        assert_eq!((next.status, next.event), (Status::Paused, Some(PipelineChange::TemporaryFailure)));
        let (next, _) = next_of_capture(Status::Paused, None, &capture(vec![broken, part("RECORDING", "DUE")]));
        assert_eq!((next.status, next.event), (Status::InProgress, Some(PipelineChange::Resumed)));
    }

    #[test]
    fn what_cannot_be_delivered_fails_and_what_is_withdrawn_does_not_begin_again() {
        let failed = capture(vec![part("STORED", "FAILED")]);
        let (next, _) = next_of_capture(Status::Stopping, Some(Reason::Deleted), &failed);
        assert_eq!((next.status, next.event), (Status::Failed, Some(PipelineChange::PermanentFailure)));
        let withdrawn = Part { stop_reason: Some("CONSENT_LOST".to_owned()), ..part("PROCESSING", "DUE") };
        let (next, duty) = next_of_capture(Status::InProgress, None, &capture(vec![withdrawn]));
        assert_eq!((next.status, next.reason, duty), (Status::Stopping, Some(Reason::ConsentLost), Duty::Rest));
        let over = Capture { parts: vec![], is_meeting_over: true };
        let (next, _) = next_of_capture(Status::Initializing, None, &over);
        assert_eq!((next.status, next.reason), (Status::Stopped, Some(Reason::MeetingEnded)));
        // A recorder that is gone with what it has: nobody waits for it for ever.
        let gone = Part { job: "CAPTURING".to_owned(), ..part("FAILED", "DUE") };
        let (next, _) = next_of_capture(Status::Stopping, Some(Reason::Deleted), &capture(vec![gone]));
        assert_eq!(next.status, Status::Failed);
        // Nothing was captured, and so nothing is missing.
        let empty = capture(vec![part("FAILED", "DONE")]);
        assert_eq!(next_of_capture(Status::Stopping, Some(Reason::Deleted), &empty).0.status, Status::Stopped);
    }

    #[test]
    fn a_concatenation_begins_when_its_capture_has_stopped_and_ends_by_itself() {
        let source = |status, job: Option<&str>| Source { status, job: job.map(str::to_owned) };
        let next = |now, reason, source: &Source| {
            let (next, duty) = next_of_concatenation(now, reason, source);
            (next.status, next.event, duty)
        };
        let waiting = source(Status::InProgress, None);
        assert_eq!(next(Status::NotStarted, None, &waiting), (Status::NotStarted, None, Duty::Rest));
        assert_eq!(next(Status::NotStarted, Some(Reason::Deleted), &waiting).0, Status::Stopped);
        let begun = next(Status::NotStarted, None, &source(Status::Stopped, None));
        assert_eq!(begun, (Status::InProgress, Some(PipelineChange::InProgress), Duty::Join));
        assert_eq!(next(Status::InProgress, None, &source(Status::Stopped, Some("CLAIMED"))).1, None);
        let done = next(Status::InProgress, None, &source(Status::Stopped, Some("DONE")));
        assert_eq!(done, (Status::Stopped, Some(PipelineChange::Deleted), Duty::Rest));
        let failed = next(Status::InProgress, None, &source(Status::Stopped, Some("FAILED")));
        assert_eq!(failed.1, Some(PipelineChange::PermanentFailure));
    }

    #[test]
    fn words_of_states_come_back() {
        assert!(Status::ALL.into_iter().all(|status| Status::parse(status.as_str()) == Some(status)));
        assert_eq!(Reason::parse("CONSENT_LOST"), Some(Reason::ConsentLost));
    }
}
