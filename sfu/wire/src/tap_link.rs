//! The joint between the sfu and a recorder: a recorder shows a token and gets the frames of one Tap. In-process form.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::mpsc;

use crate::Redacted;
use crate::tap::TapFrame;

/// Frames wait here when the recorder is busy: about 20 s of a two-party visit with video. When it is full the sfu drops
/// the newest packets, counts them, and says so in a [`TapFrame::Gap`].
pub const TAP_QUEUE: usize = 8192;

/// Where open Taps wait to be dialed. Cloned to both roles.
#[derive(Clone, Debug, Default)]
pub struct TapExchange {
    open: Arc<Mutex<HashMap<String, mpsc::Receiver<TapFrame>>>>,
}

/// Why a Tap could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DialError {
    /// Unknown, used or ended.
    #[error("no open tap for this token")]
    UnknownToken,
}

impl TapExchange {
    /// The sfu opens a Tap under a fresh token and gets the sending half.
    pub fn open(&self, token: &Redacted<String>) -> mpsc::Sender<TapFrame> {
        let (frames, receiver) = mpsc::channel(TAP_QUEUE);
        self.lock().insert(token.reveal().clone(), receiver);
        frames
    }

    /// The recorder takes the receiving half, once.
    ///
    /// # Errors
    /// When the token opens nothing.
    pub fn dial(&self, token: &Redacted<String>) -> Result<mpsc::Receiver<TapFrame>, DialError> {
        self.lock().remove(token.reveal()).ok_or(DialError::UnknownToken)
    }

    /// Whether a recorder holds the receiving half.
    #[must_use]
    pub fn is_dialed(&self, token: &Redacted<String>) -> bool {
        !self.lock().contains_key(token.reveal())
    }

    /// The sfu ended a Tap that nobody dialed.
    pub fn forget(&self, token: &Redacted<String>) {
        self.lock().remove(token.reveal());
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, mpsc::Receiver<TapFrame>>> {
        // A panic while the map was held leaves it whole: each operation is one call.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_opens_its_tap_once() {
        let exchange = TapExchange::default();
        let token = Redacted::new("t".to_owned());
        let _frames = exchange.open(&token);
        assert!(!exchange.is_dialed(&token));
        assert!(exchange.dial(&token).is_ok());
        assert!(exchange.is_dialed(&token));
        assert_eq!(exchange.dial(&token).unwrap_err(), DialError::UnknownToken);
    }
}
