//! The door of a Room: Waiting, Admitted or Removed, what each may do, and who consented to being recorded.
//! Asked before every forward and every tap. Beside it stand rights: what an admitted Participant may send and be sent.

use rustc_hash::FxHashMap;
use wire::ParticipantId;
use wire::control::{Door, Reason, Refusal, Rights, Source};

/// Participants whose rights one Room remembers.
const RIGHTS: usize = 512;
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

/// Whether what this source gives may go to others.
pub(crate) const fn may_send(rights: Rights, source: Source) -> bool {
    match source {
        Source::Microphone => rights.sends_audio,
        Source::Camera => rights.sends_video,
        Source::Screen | Source::ScreenSound => rights.sends_content,
    }
}

/// Whether what such a source of others gives may be sent to somebody.
pub(crate) const fn may_be_sent(rights: Rights, source: Source) -> bool {
    match source {
        Source::Microphone => rights.receives_audio,
        Source::Camera => rights.receives_video,
        Source::Screen | Source::ScreenSound => rights.receives_content,
    }
}

/// What Participants may send and be sent, where signaling said so: all of it for everybody else.
#[derive(Debug, Default)]
pub(crate) struct Granted {
    held: FxHashMap<ParticipantId, Rights>,
}

impl Granted {
    /// Notes somebody's rights.
    ///
    /// # Errors
    /// `Capacity` beyond [`RIGHTS`] restricted Participants; what was said before holds then.
    pub(crate) fn set(&mut self, participant: ParticipantId, rights: Rights) -> Result<(), Refusal> {
        if rights == Rights::default() {
            self.held.remove(&participant);
            return Ok(());
        }
        if self.held.len() >= RIGHTS && !self.held.contains_key(&participant) {
            return Err(Refusal::new(Reason::Capacity, "too many restricted participants in one room"));
        }
        self.held.insert(participant, rights);
        Ok(())
    }

    pub(crate) fn of(&self, participant: ParticipantId) -> Rights {
        self.held.get(&participant).copied().unwrap_or_default()
    }
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
    fn each_right_opens_its_own_source_and_no_other() {
        let none = Rights {
            sends_audio: false,
            receives_audio: false,
            sends_video: false,
            receives_video: false,
            sends_content: false,
            receives_content: false,
        };
        let all = [Source::Microphone, Source::Camera, Source::Screen, Source::ScreenSound];
        let sends = |rights| all.iter().copied().filter(|source| may_send(rights, *source)).collect::<Vec<_>>();
        let gets = |rights| all.iter().copied().filter(|source| may_be_sent(rights, *source)).collect::<Vec<_>>();
        assert_eq!((sends(none), gets(none)), (vec![], vec![]));
        assert_eq!(sends(Rights { sends_audio: true, ..none }), [Source::Microphone]);
        assert_eq!(sends(Rights { sends_video: true, ..none }), [Source::Camera]);
        assert_eq!(sends(Rights { sends_content: true, ..none }), [Source::Screen, Source::ScreenSound]);
        assert_eq!(gets(Rights { receives_audio: true, ..none }), [Source::Microphone]);
        assert_eq!(gets(Rights { receives_video: true, ..none }), [Source::Camera]);
        assert_eq!(gets(Rights { receives_content: true, ..none }), [Source::Screen, Source::ScreenSound]);
        assert_eq!((sends(Rights::default()).len(), gets(Rights::default()).len()), (4, 4));
    }

    #[test]
    fn rights_are_remembered_for_so_many_and_full_ones_cost_nothing() {
        let mut granted = Granted::default();
        let mute = Rights { sends_audio: false, ..Rights::default() };
        let people: Vec<_> = (0..RIGHTS).map(|_| ParticipantId::random()).collect();
        for who in &people {
            granted.set(*who, mute).unwrap();
            granted.set(ParticipantId::random(), Rights::default()).unwrap();
        }
        assert_eq!(granted.set(ParticipantId::random(), mute).unwrap_err().reason, Reason::Capacity);
        granted.set(people[0], Rights::default()).unwrap();
        assert_eq!((granted.of(people[0]), granted.of(people[1])), (Rights::default(), mute));
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
