//! One task per socket: frames in, parsed and counted; frames out, in order; the ends of section 4.3 of the protocol.

use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::extract::ws::{CloseFrame, Message, Utf8Bytes, WebSocket};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use wire::Redacted;

use crate::live::room::close;
use crate::live::roster::{Line, Outgoing, SocketId};
use crate::live::{Request, RoomHandle};
use crate::metrics::{Metrics, Outcome};
use crate::problem::Code;
use crate::ws::message::{ClientMessage, ParseError, Resume};

/// How long the first message may take.
const HELLO_WITHIN: Duration = Duration::from_secs(5);

/// How long a client may be silent. Clients send something every 30 s.
const SILENCE: Duration = Duration::from_secs(60);

/// How long one frame may take to leave, and how long we wait for the other side's close.
const SEND_WITHIN: Duration = Duration::from_secs(10);
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Messages a second, and the burst beyond which they are too many.
const RATE: f64 = 50.0;
const BURST: f64 = 100.0;

/// What waits to be written to one socket. A socket that does not keep up is let go and resumes; a resumed client may
/// get all kept messages at once, so this holds them and then some.
pub(crate) const OUTBOX: usize = crate::ws::resume::KEPT + 64;

static NEXT_SOCKET: AtomicU64 = AtomicU64::new(1);

/// A line to a new socket: the Room's half and the socket's.
pub(crate) fn new_line() -> (Line, mpsc::Receiver<Outgoing>) {
    let (out, outgoing) = mpsc::channel(OUTBOX);
    (Line { socket: SocketId(NEXT_SOCKET.fetch_add(1, Ordering::Relaxed)), out }, outgoing)
}

/// What the first message brings.
pub(crate) struct Hello {
    /// When coming back.
    pub(crate) resume: Option<Resume>,
    /// Over the nonce of `challenge`.
    pub(crate) proof: Option<Redacted<String>>,
}

/// Reads the first message, which must be `hello`. `None` means that the socket was closed with the reason's code.
pub(crate) async fn read_hello(socket: &mut WebSocket) -> Option<Hello> {
    let deadline = Instant::now() + HELLO_WITHIN;
    loop {
        match timeout_at(deadline, socket.recv()).await {
            Ok(Some(Ok(Message::Text(text)))) => match ClientMessage::parse(&text) {
                Ok(ClientMessage::Hello { resume, proof, .. }) => return Some(Hello { resume, proof }),
                Ok(_) | Err(ParseError::Malformed) => end(socket, close::MALFORMED).await,
                Err(ParseError::TooLarge) => end(socket, close::TOO_LARGE).await,
            },
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(Some(Ok(Message::Binary(_)))) => end(socket, close::MALFORMED).await,
            Ok(Some(Err(_))) => end(socket, close::TOO_LARGE).await,
            Ok(Some(Ok(Message::Close(_))) | None) => {}
            Err(_) => end(socket, close::SILENT).await,
        }
        return None;
    }
}

/// Runs a socket that has its seat until either side ends it, or `signed_out` comes.
pub(crate) async fn run(
    mut socket: WebSocket,
    (id, mut outgoing): (SocketId, mpsc::Receiver<Outgoing>),
    room: RoomHandle,
    metrics: &Metrics,
    signed_out: impl Future<Output = ()>,
) {
    let _counted = metrics.count_socket();
    let mut bucket = Bucket::new(Instant::now(), RATE, BURST);
    let mut silent_at = Instant::now() + SILENCE;
    let mut signed_out = pin!(signed_out);
    let code = loop {
        let frame = tokio::select! {
            biased;
            () = &mut signed_out => {
                // The seat is given up too: nobody resumes it, and its media ends now.
                let _ = room.send(Request::Message(id, ClientMessage::Leave {})).await;
                break Some(close::UNAUTHENTICATED);
            }
            out = outgoing.recv() => match out {
                Some(Outgoing::Text(text)) => {
                    let sent = timeout(SEND_WITHIN, socket.send(Message::Text(Utf8Bytes::from(text)))).await;
                    if matches!(sent, Ok(Ok(()))) { continue }
                    break None;
                }
                // Those are for translated clients.
                Some(Outgoing::Notice(_)) => continue,
                Some(Outgoing::Close(code)) => break Some(code),
                // The Room let this line go without a word: it failed, or we did not keep up.
                None => break Some(close::FAILED),
            },
            frame = timeout_at(silent_at, socket.recv()) => frame,
        };
        silent_at = Instant::now() + SILENCE;
        let text = match frame {
            Err(_) => break Some(close::SILENT),
            Ok(None | Some(Ok(Message::Close(_)))) => break None,
            Ok(Some(Err(error))) => {
                let is_too_large = is_capacity(&error);
                break is_too_large.then_some(close::TOO_LARGE);
            }
            Ok(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => continue,
            Ok(Some(Ok(Message::Binary(_)))) => Err(ParseError::Malformed),
            Ok(Some(Ok(Message::Text(text)))) => ClientMessage::parse(&text),
        };
        let (request, outcome) = match text {
            _ if !bucket.take(Instant::now()) => {
                (Request::Unreadable(id, Code::RateLimited, close::TOO_MANY), Outcome::TooMany)
            }
            Ok(message) => (Request::Message(id, message), Outcome::Taken),
            Err(ParseError::Malformed) => {
                (Request::Unreadable(id, Code::Malformed, close::MALFORMED), Outcome::Malformed)
            }
            Err(ParseError::TooLarge) => (Request::Unreadable(id, Code::TooLarge, close::TOO_LARGE), Outcome::TooLarge),
        };
        metrics.note_message(outcome);
        if room.send(request).await.is_err() {
            // What it said last may still wait for us.
            drain(&mut socket, &mut outgoing).await;
            return;
        }
    };
    // A seat that has another line by now is not touched by this.
    let _ = room.send(Request::Gone(id)).await;
    if let Some(code) = code {
        end(&mut socket, code).await;
    }
}

/// Writes what the Room said last, then closes.
async fn drain(socket: &mut WebSocket, outgoing: &mut mpsc::Receiver<Outgoing>) {
    while let Some(out) = outgoing.recv().await {
        match out {
            Outgoing::Text(text) => {
                let sent = timeout(SEND_WITHIN, socket.send(Message::Text(Utf8Bytes::from(text)))).await;
                if !matches!(sent, Ok(Ok(()))) {
                    return;
                }
            }
            Outgoing::Notice(_) => {}
            Outgoing::Close(code) => return end(socket, code).await,
        }
    }
    end(socket, close::FAILED).await;
}

/// Sends a close frame and waits a moment for the other side's, so that what was said before it is read.
pub(crate) async fn end(socket: &mut WebSocket, code: u16) {
    let closing = async {
        let frame = CloseFrame { code, reason: Utf8Bytes::from_static("") };
        if socket.send(Message::Close(Some(frame))).await.is_err() {
            return;
        }
        while let Some(Ok(message)) = socket.recv().await {
            if matches!(message, Message::Close(_)) {
                return;
            }
        }
    };
    // A client that does not answer the close is cut off.
    drop(timeout(CLOSE_WITHIN, closing).await);
}

/// True when the frame was over the limit of the socket itself.
pub(crate) fn is_capacity(error: &axum::Error) -> bool {
    let text = error.to_string();
    text.contains("too long") || text.contains("too big") || text.contains("capacity")
}

/// A token bucket: so many a second, and so many at once.
#[derive(Debug)]
pub(crate) struct Bucket {
    rate: f64,
    burst: f64,
    left: f64,
    at: Instant,
}

impl Bucket {
    pub(crate) const fn new(now: Instant, rate: f64, burst: f64) -> Self {
        Self { rate, burst, left: burst, at: now }
    }

    /// True when one more is allowed.
    pub(crate) fn take(&mut self, now: Instant) -> bool {
        let refill = now.saturating_duration_since(self.at).as_secs_f64() * self.rate;
        self.left = (self.left + refill).min(self.burst);
        self.at = now;
        if self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_passes_and_a_flood_does_not() {
        let start = Instant::now();
        let mut bucket = Bucket::new(start, RATE, BURST);
        assert_eq!((0..300).filter(|_| bucket.take(start)).count(), 100);
        assert_eq!((0..300).filter(|_| bucket.take(start + Duration::from_secs(1))).count(), 50);
    }
}
