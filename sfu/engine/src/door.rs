//! The door of a Room: Waiting, Admitted or Removed, what each may do, and who consented to being recorded.
//! Asked before every forward and every tap.

use rustc_hash::FxHashMap;
use wire::ParticipantId;
use wire::control::{Door, Reason, Refusal};

/// Consents that one Room remembers: more Participants than a visit can have.
const CONSENTS: usize = 256;

/// Media may go from one Peer to another only when both are inside.
pub(crate) const fn may_forward(from: Door, to: Door) -> bool {
    matches!((from, to), (Door::Admitted, Door::Admitted))
}

/// Only what admitted Peers send may enter a Tap.
pub(crate) const fn may_tap(from: Door) -> bool {
    matches!(from, Door::Admitted)
}

/// Only an admitted Peer may cause work at others, such as a keyframe.
pub(crate) const fn may_ask(who: Door) -> bool {
    matches!(who, Door::Admitted)
}

/// The moves that signaling may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Move {
    Admit,
    Deny,
    SendBack,
}

/// Where a move leads.
///
/// # Errors
/// `Door` when the Peer does not stand where the move starts.
pub(crate) fn after(door: Door, step: Move) -> Result<Door, Refusal> {
    match (door, step) {
        // Asking twice for what is so already is no error: a reply may have been lost.
        (Door::Waiting | Door::Admitted, Move::Admit) => Ok(Door::Admitted),
        (Door::Waiting, Move::Deny) => Ok(Door::Removed),
        (Door::Admitted | Door::Waiting, Move::SendBack) => Ok(Door::Waiting),
        (Door::Admitted, Move::Deny) => Err(Refusal::new(Reason::Door, "the peer is admitted: remove it instead")),
        (Door::Removed, _) => Err(Refusal::new(Reason::Door, "the peer is gone")),
    }
}

/// Who consented to recording. Nobody did until signaling says so.
#[derive(Debug, Default)]
pub(crate) struct Consents {
    held: FxHashMap<ParticipantId, bool>,
}

impl Consents {
    /// Notes whether a consent holds.
    ///
    /// # Errors
    /// `Capacity` beyond [`CONSENTS`] participants: the caller must then not assume consent, and nothing does.
    pub(crate) fn set(&mut self, participant: ParticipantId, consented: bool) -> Result<(), Refusal> {
        if self.held.len() >= CONSENTS && !self.held.contains_key(&participant) {
            return Err(Refusal::new(Reason::Capacity, "too many consents in one room"));
        }
        self.held.insert(participant, consented);
        Ok(())
    }

    /// True only for a consent that holds.
    pub(crate) fn holds(&self, participant: ParticipantId) -> bool {
        self.held.get(&participant).copied().unwrap_or(false)
    }

    /// True when everybody inside consented.
    pub(crate) fn all_hold(&self, mut inside: impl Iterator<Item = ParticipantId>) -> bool {
        inside.all(|participant| self.holds(participant))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_two_admitted_peers_exchange_media() {
        let all = [Door::Waiting, Door::Admitted, Door::Removed];
        let open: Vec<_> =
            all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))).filter(|(a, b)| may_forward(*a, *b)).collect();
        assert_eq!(open, [(Door::Admitted, Door::Admitted)]);
    }

    #[test]
    fn nothing_leads_out_of_removed() {
        for step in [Move::Admit, Move::Deny, Move::SendBack] {
            assert_eq!(after(Door::Removed, step).unwrap_err().reason, Reason::Door);
        }
    }

    #[test]
    fn nobody_consented_until_said_so() {
        let mut consents = Consents::default();
        let who = ParticipantId::random();
        assert!(!consents.all_hold([who].into_iter()));
        consents.set(who, true).unwrap();
        assert!(consents.all_hold([who].into_iter()));
        consents.set(who, false).unwrap();
        assert!(!consents.all_hold([who].into_iter()));
    }
}
