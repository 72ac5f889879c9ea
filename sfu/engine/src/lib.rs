//! The whole media node without I/O: bytes and time arrive as arguments, actions come out. No socket, no clock, no runtime.

#![deny(clippy::indexing_slicing, clippy::unwrap_used, clippy::panic)]

mod counters;
mod error;
mod rtp;
pub mod transport;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Instant;

use bytes::Bytes;
use wire::control::{Command, Event, Reason, Refusal, Reply};
use wire::tap::{NodeMicros, TapFrame};
use wire::{RecordingId, Redacted};

pub use counters::Counters;
pub use error::Error;

/// What an Engine needs to know before its first datagram.
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Host candidates to announce in every answer: where clients reach the shard's socket.
    pub addresses: Vec<SocketAddr>,
    /// Seeds the random generator of credentials, SSRCs and tokens: from the operating system in service, fixed in tests.
    pub seed: [u8; 32],
    /// The same moment on both clocks. Every later instant is translated by the difference.
    pub epoch: (Instant, NodeMicros),
}

/// Something that happened outside.
#[derive(Debug)]
pub enum Input<'a> {
    /// One UDP datagram.
    Datagram {
        /// Its source.
        from: SocketAddr,
        /// Its payload.
        bytes: &'a [u8],
    },
    /// A request of signaling.
    Command {
        /// Comes back in [`Output::Reply`].
        ticket: u64,
        /// What is asked.
        command: Command,
    },
    /// The recorder let go of its end of the Tap.
    TapClosed {
        /// The Recording that the Tap fed.
        recording: RecordingId,
    },
    /// The instant of the last [`Output::Wait`] has come.
    Timeout,
}

/// Something to do outside.
#[derive(Debug)]
pub enum Output {
    /// Send this datagram.
    Send {
        /// Where to.
        to: SocketAddr,
        /// UDP payload.
        bytes: Bytes,
    },
    /// Answer a command. Each ticket is answered exactly once.
    Reply {
        /// The ticket of the command.
        ticket: u64,
        /// What became of it.
        result: Result<Reply, Refusal>,
    },
    /// Tell signaling.
    Event(Event),
    /// A Tap opened: make the place where the recorder finds its frames. Comes before the [`Reply::Tap`] with the same token.
    TapOpened {
        /// The Recording that the Tap feeds.
        recording: RecordingId,
        /// What the recorder must show.
        token: Redacted<String>,
    },
    /// One frame for the recorder. [`TapFrame::Ended`] is the last one.
    Tap {
        /// The Recording that the Tap feeds.
        recording: RecordingId,
        /// The frame.
        frame: TapFrame,
    },
    /// Nothing more to do until this instant, or until the next input when there is none.
    Wait(Option<Instant>),
}

/// One media node: Rooms, their Peers and everything that flows between them. Single owner, never blocks, reads no clock.
#[derive(Debug)]
pub struct Engine {
    /// Drained by the caller after each input, so its length is bounded by what one input causes.
    outputs: VecDeque<Output>,
    counters: Counters,
}

impl Engine {
    /// Makes an Engine and its DTLS identity.
    ///
    /// # Errors
    /// [`Error::Config`] without an address to announce, [`Error::Identity`] when the certificate cannot be made.
    pub fn new(config: EngineConfig) -> Result<Self, Error> {
        if config.addresses.is_empty() {
            return Err(Error::Config("no address to announce"));
        }
        Ok(Self { outputs: VecDeque::new(), counters: Counters::default() })
    }

    /// Takes one input. `now` must not run backwards. Drain [`Self::poll_output`] before the next input.
    pub fn handle_input(&mut self, _now: Instant, input: Input<'_>) {
        if let Input::Command { ticket, .. } = input {
            let result = Err(Refusal::new(Reason::Unavailable, "the media node is starting"));
            self.outputs.push_back(Output::Reply { ticket, result });
        }
    }

    /// The next thing to do; call until [`Output::Wait`].
    pub fn poll_output(&mut self) -> Output {
        self.outputs.pop_front().unwrap_or(Output::Wait(None))
    }

    /// What happened so far.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }
}
