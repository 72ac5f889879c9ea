//! One media connection of the generator: its client, what it sends, and when what happened.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::mpsc;

use super::media::{Media, Mix};
use crate::client::{Client, ClientEvent, ClientStats};

/// What signaling waits for. A leg has each at most once, so the channel of four never fills.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notice {
    Connected,
    Flowing,
    Failed,
}

/// When what happened to a leg.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Marks {
    pub(super) offered: Option<Instant>,
    pub(super) answered: Option<Instant>,
    pub(super) connected: Option<Instant>,
    /// The later of admission and the answer: from here on media may come.
    pub(super) admitted: Option<Instant>,
    /// The first packet.
    pub(super) flowing: Option<Instant>,
    /// When the other side last sent before that packet came, which is when it sent it.
    pub(super) spoken: Option<Instant>,
}

/// When each seat of a visit last sent media.
#[derive(Clone, Default)]
pub(super) struct Board(Arc<Mutex<Vec<Option<Instant>>>>);

impl Board {
    fn note(&self, seat: usize, at: Instant) {
        let mut seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seats.len() <= seat {
            seats.resize(seat + 1, None);
        }
        if let Some(last) = seats.get_mut(seat) {
            *last = Some(at);
        }
    }

    /// The latest of the others.
    fn others(&self, seat: usize) -> Option<Instant> {
        let seats = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seats.iter().enumerate().filter(|(other, _)| *other != seat).filter_map(|(_, last)| *last).max()
    }
}

/// A leg, as signaling and the media thread share it.
#[derive(Clone)]
pub(super) struct Leg {
    pub(super) index: usize,
    state: Arc<Mutex<LegState>>,
}

pub(super) struct LegState {
    pub(super) client: Client,
    pub(super) marks: Marks,
    /// What it sends once connected and inside; `None` for a leg that only receives.
    mix: Option<Mix>,
    /// Let in: media may be sent.
    pub(super) inside: bool,
    media: Option<Media>,
    board: Board,
    seat: usize,
    notices: mpsc::Sender<Notice>,
    /// The media thread's: when it looks at the leg next, and by which port and address it speaks.
    pub(super) due: Option<Instant>,
    pub(super) port: Option<(usize, Option<std::net::Ipv4Addr>)>,
}

/// The next leg's number.
static NEXT: AtomicUsize = AtomicUsize::new(0);

impl Leg {
    /// At a seat of the visit that has this board.
    pub(super) fn new(
        client: Client,
        mix: Option<Mix>,
        (board, seat): (&Board, usize),
    ) -> (Self, mpsc::Receiver<Notice>) {
        let (notices, heard) = mpsc::channel(4);
        let state = LegState {
            client,
            marks: Marks::default(),
            mix,
            inside: false,
            media: None,
            board: board.clone(),
            seat,
            notices,
            due: None,
            port: None,
        };
        let index = NEXT.fetch_add(1, Ordering::Relaxed);
        (Self { index, state: Arc::new(Mutex::new(state)) }, heard)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, LegState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn stats(&self) -> ClientStats {
        self.state().client.stats()
    }
}

impl LegState {
    /// Media that is due, when it may flow.
    pub(super) fn send_media(&mut self, now: Instant, open: bool) {
        if !open || !self.inside || !self.client.is_connected() {
            self.media = None;
            return;
        }
        let Some(mix) = self.mix else { return };
        let seed = self.client.ssrc(crate::client::sdp::SectionKind::Audio).unwrap_or(1);
        let media = self.media.get_or_insert_with(|| Media::new(now, u64::from(seed), mix));
        if media.send(now, &mut self.client) {
            self.board.note(self.seat, now);
        }
    }

    /// When the leg is due next.
    pub(super) fn next(&self) -> Option<Instant> {
        [self.client.poll_timeout(), self.media.as_ref().map(Media::next)].into_iter().flatten().min()
    }

    /// Handles what happened; `delay` gets stamps of packets with the time of their arrival.
    pub(super) fn take_events(&mut self, now: Instant, mut delay: impl FnMut(u64, Instant)) {
        while let Some(event) = self.client.poll_event() {
            match event {
                ClientEvent::Connected => {
                    self.marks.connected = Some(now);
                    self.note(Notice::Connected);
                }
                ClientEvent::Rtp(packet) => {
                    if self.marks.flowing.is_none() {
                        self.marks.flowing = Some(now);
                        // What was sent after the packet had come was another one: then nothing is known.
                        self.marks.spoken = self.board.others(self.seat).filter(|sent| *sent <= packet.at);
                        self.note(Notice::Flowing);
                    }
                    if let Some(sent) = packet.sent_micros.filter(|_| !packet.recovered) {
                        delay(sent, packet.at);
                    }
                }
                ClientEvent::KeyframeRequested { .. } => {
                    if let Some(media) = &mut self.media {
                        media.request_keyframe();
                    }
                }
                // A load generator sends what it was told to send.
                ClientEvent::Limited { .. } => {}
                ClientEvent::Failed => self.note(Notice::Failed),
            }
        }
    }

    fn note(&self, notice: Notice) {
        // Never full, see `Notice`; closed when signaling has given up.
        let _ = self.notices.try_send(notice);
    }
}
