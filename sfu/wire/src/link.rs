//! The joint between signaling and the sfu: typed requests with replies one way, events the other. Both ends are the same
//! whether the two roles share a process or not; this file holds the in-process form.

use tokio::sync::{mpsc, oneshot};

use crate::control::{Command, Event, Reason, Refusal, Reply};

/// Commands wait here when the sfu is busy: control waits, it is never dropped.
const COMMANDS: usize = 256;

/// Events wait here when signaling is busy. The sfu never blocks on it: it keeps what does not fit and drops only replaceable events.
const EVENTS: usize = 4096;

/// Makes the two ends of one in-process link.
#[must_use]
pub fn in_process() -> (SignalingEnd, SfuEnd) {
    let (commands, requests) = mpsc::channel(COMMANDS);
    let (events, received) = mpsc::channel(EVENTS);
    (SignalingEnd { requester: Requester { commands }, events: received }, SfuEnd { requests, events })
}

/// Signaling's end of the link.
#[derive(Debug)]
pub struct SignalingEnd {
    requester: Requester,
    events: mpsc::Receiver<Event>,
}

impl SignalingEnd {
    /// The half that sends commands; cheap to clone.
    #[must_use]
    pub fn requester(&self) -> Requester {
        self.requester.clone()
    }

    /// The next event; `None` when the sfu is gone.
    pub async fn next_event(&mut self) -> Option<Event> {
        self.events.recv().await
    }
}

/// Sends commands and awaits their replies.
#[derive(Clone, Debug)]
pub struct Requester {
    commands: mpsc::Sender<Request>,
}

impl Requester {
    /// Sends one command and waits for what became of it.
    ///
    /// # Errors
    /// The sfu's refusal; `Unavailable` when it is gone.
    pub async fn request(&self, command: Command) -> Result<Reply, Refusal> {
        let gone = || Refusal::new(Reason::Unavailable, "the media node is gone");
        let (reply, answer) = oneshot::channel();
        self.commands.send(Request { command, reply: ReplyTo(reply) }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

/// The sfu's end of the link.
#[derive(Debug)]
pub struct SfuEnd {
    requests: mpsc::Receiver<Request>,
    events: mpsc::Sender<Event>,
}

impl SfuEnd {
    /// Takes the end apart: requests in, events out.
    #[must_use]
    pub fn split(self) -> (mpsc::Receiver<Request>, mpsc::Sender<Event>) {
        (self.requests, self.events)
    }
}

/// One command under way.
#[derive(Debug)]
pub struct Request {
    /// What is asked.
    pub command: Command,
    /// Where the answer goes.
    pub reply: ReplyTo,
}

/// Answers one command, once. Dropping it answers `Unavailable`.
#[derive(Debug)]
pub struct ReplyTo(oneshot::Sender<Result<Reply, Refusal>>);

impl ReplyTo {
    /// Sends the answer; an asker that went away is no error.
    pub fn answer(self, result: Result<Reply, Refusal>) {
        // The asker may have timed out or closed: then nobody needs the answer.
        drop(self.0.send(result));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RoomId;

    #[tokio::test]
    async fn a_dropped_reply_reads_as_unavailable() {
        let (signaling, sfu) = in_process();
        let (mut requests, _events) = sfu.split();
        let asker = signaling.requester();
        let ask = tokio::spawn(async move { asker.request(Command::OpenRoom { room: RoomId::random() }).await });
        drop(requests.recv().await.unwrap());
        assert_eq!(ask.await.unwrap().unwrap_err().reason, Reason::Unavailable);
    }
}
