//! Serves TapFrames to a recorder that holds the Tap's token. The recorder never slows the shard down: what does not fit is
//! dropped, counted and told.

use std::collections::{HashMap, VecDeque};

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use wire::control::Event;
use wire::tap::{NodeMicros, TapFrame};
use wire::tap_link::TapExchange;
use wire::{RecordingId, Redacted};

/// Open Taps of one shard, and ended ones whose last frames are not taken yet.
#[derive(Debug)]
pub(crate) struct Taps {
    exchange: TapExchange,
    open: HashMap<RecordingId, TapPort>,
    pub(crate) dropped: u64,
}

#[derive(Debug)]
struct TapPort {
    token: Redacted<String>,
    /// The word that frames flow, until a recorder has dialed: before that nobody gets them, and the sign would lie.
    flowing: Option<Event>,
    frames: mpsc::Sender<TapFrame>,
    /// Frames about the Tap itself, which are never dropped: a few for each Track. They wait here while the queue is full.
    waiting: VecDeque<TapFrame>,
    /// Packets dropped since the queue was last seen full.
    gap: u64,
    ended: bool,
}

impl Taps {
    pub(crate) fn new(exchange: TapExchange) -> Self {
        Self { exchange, open: HashMap::new(), dropped: 0 }
    }

    /// The engine opened a Tap: from now on it can be dialed.
    pub(crate) fn open(&mut self, recording: RecordingId, token: &Redacted<String>) {
        let frames = self.exchange.open(token);
        self.open.insert(
            recording,
            TapPort { token: token.clone(), flowing: None, frames, waiting: VecDeque::new(), gap: 0, ended: false },
        );
    }

    /// The engine says that frames flow. Given back at once when a recorder takes them, else by [`Self::poll_flowing`] once one does.
    pub(crate) fn flowing(&mut self, recording: RecordingId, event: Event) -> Option<Event> {
        match self.open.get_mut(&recording) {
            Some(port) if !self.exchange.is_dialed(&port.token) => {
                port.flowing = Some(event);
                None
            }
            Some(_) | None => Some(event),
        }
    }

    /// The next such word that has become true.
    pub(crate) fn poll_flowing(&mut self) -> Option<Event> {
        let exchange = &self.exchange;
        self.open
            .values_mut()
            .filter(|port| port.flowing.is_some() && exchange.is_dialed(&port.token))
            .find_map(|port| port.flowing.take())
    }

    /// Passes one frame on. False when the recorder is gone and the engine should end the Tap.
    pub(crate) fn push(&mut self, recording: RecordingId, frame: TapFrame, now: NodeMicros) -> bool {
        let Some(port) = self.open.get_mut(&recording) else { return true };
        let dropped = port.push(frame, now);
        self.dropped += dropped;
        if port.frames.is_closed() {
            self.open.remove(&recording);
            return false;
        }
        if port.ended && port.waiting.is_empty() {
            self.open.remove(&recording);
        }
        true
    }

    /// Tries again what waited; called every turn of the loop.
    pub(crate) fn flush(&mut self, now: NodeMicros) {
        self.open.retain(|_, port| {
            port.flush(now);
            !(port.frames.is_closed() || (port.ended && port.waiting.is_empty()))
        });
    }

    /// True while something waits for a slow recorder, so that the loop does not sleep long.
    pub(crate) fn is_waiting(&self) -> bool {
        self.open.values().any(|port| !port.waiting.is_empty() || port.gap > 0 || port.flowing.is_some())
    }
}

impl TapPort {
    /// Returns how many packets were dropped: none or one.
    fn push(&mut self, frame: TapFrame, now: NodeMicros) -> u64 {
        self.flush(now);
        if !matches!(frame, TapFrame::Rtp { .. }) {
            self.ended |= matches!(frame, TapFrame::Ended { .. });
            if self.gap > 0 && matches!(frame, TapFrame::Ended { .. }) {
                self.waiting.push_back(TapFrame::Gap { packets: self.gap, at: now });
                self.gap = 0;
            }
            self.waiting.push_back(frame);
            self.flush(now);
            return 0;
        }
        if !self.waiting.is_empty() || self.gap > 0 {
            self.gap += 1;
            return 1;
        }
        match self.frames.try_send(frame) {
            Ok(()) | Err(TrySendError::Closed(_)) => 0,
            Err(TrySendError::Full(_)) => {
                self.gap += 1;
                1
            }
        }
    }

    fn flush(&mut self, now: NodeMicros) {
        while let Some(frame) = self.waiting.pop_front() {
            if let Err(TrySendError::Full(frame)) = self.frames.try_send(frame) {
                self.waiting.push_front(frame);
                return;
            }
        }
        if self.gap > 0 {
            match self.frames.try_send(TapFrame::Gap { packets: self.gap, at: now }) {
                Ok(()) | Err(TrySendError::Closed(_)) => self.gap = 0,
                Err(TrySendError::Full(_)) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use wire::TrackId;
    use wire::control::TapEnd;
    use wire::tap_link::TAP_QUEUE;

    use super::*;

    const NOW: NodeMicros = NodeMicros(5);

    fn packet(track: TrackId) -> TapFrame {
        TapFrame::Rtp { track, at: NOW, packet: Bytes::from_static(b"p") }
    }

    fn ended() -> TapFrame {
        TapFrame::Ended { reason: TapEnd::Stopped, at: NOW }
    }

    #[test]
    fn a_slow_recorder_loses_packets_but_is_told_how_many_and_never_the_end() {
        let exchange = TapExchange::default();
        let mut taps = Taps::new(exchange.clone());
        let (recording, track, token) = (RecordingId::random(), TrackId::random(), Redacted::new("t".to_owned()));
        taps.open(recording, &token);
        let extra = 10;
        for _ in 0..TAP_QUEUE + extra {
            assert!(taps.push(recording, packet(track), NOW));
        }
        assert!(taps.push(recording, ended(), NOW));
        assert_eq!(taps.dropped, extra as u64);
        assert!(taps.is_waiting());

        let mut frames = exchange.dial(&token).unwrap();
        let mut got = Vec::new();
        while let Ok(frame) = frames.try_recv() {
            got.push(frame);
            taps.flush(NOW);
        }
        assert_eq!(got.len(), TAP_QUEUE + 2);
        assert_eq!(got[TAP_QUEUE], TapFrame::Gap { packets: extra as u64, at: NOW });
        assert_eq!(got[TAP_QUEUE + 1], ended());
        assert!(!taps.is_waiting());
    }

    #[test]
    fn frames_flow_only_once_a_recorder_takes_them() {
        let exchange = TapExchange::default();
        let mut taps = Taps::new(exchange.clone());
        let (recording, token) = (RecordingId::random(), Redacted::new("t".to_owned()));
        let event = Event::TapFlowing { room: wire::RoomId::random(), recording };
        taps.open(recording, &token);
        assert_eq!(taps.flowing(recording, event.clone()), None);
        assert!(taps.is_waiting());
        assert_eq!(taps.poll_flowing(), None);
        let _frames = exchange.dial(&token).unwrap();
        assert_eq!(taps.poll_flowing(), Some(event.clone()));
        assert_eq!(taps.poll_flowing(), None);
        assert!(!taps.is_waiting());
        assert_eq!(taps.flowing(recording, event.clone()), Some(event));
    }

    #[test]
    fn a_recorder_that_left_ends_the_tap() {
        let exchange = TapExchange::default();
        let mut taps = Taps::new(exchange.clone());
        let (recording, track, token) = (RecordingId::random(), TrackId::random(), Redacted::new("t".to_owned()));
        taps.open(recording, &token);
        drop(exchange.dial(&token).unwrap());
        assert!(!taps.push(recording, packet(track), NOW));
        assert!(taps.push(recording, packet(track), NOW), "told once");
    }
}
