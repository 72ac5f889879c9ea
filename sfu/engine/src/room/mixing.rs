//! What the one audio line of a Peer in the Chime manner carries.

use wire::PeerId;
use wire::control::{Kind, Manner};

use super::{Room, may_receive};
use crate::context::Context;
use crate::peer::{Peer, Wanted};

/// What each Peer in the Chime manner hears.
#[derive(Debug, Default)]
pub(super) struct Mixing {
    /// At most one for each Peer of the Room.
    sounds: Vec<(PeerId, Wanted)>,
}

impl Mixing {
    /// What the audio line of this Peer carries.
    pub(super) fn sound_for(&self, peer: PeerId) -> Option<Wanted> {
        self.sounds.iter().find(|(id, _)| *id == peer).map(|(_, wanted)| wanted.clone())
    }
}

impl Room {
    /// Decides what each Peer in the Chime manner hears: the only other voice as it came.
    pub(super) fn plan_sound(&mut self, _ctx: &mut Context) {
        let peers = &self.peers;
        let chime = peers.iter().map(|(_, peer)| peer).filter(|peer| peer.manner == Manner::Chime);
        self.mixing.sounds = chime.filter_map(|peer| Some((peer.id, only_voice(peers, peer)?))).collect();
    }
}

fn only_voice(peers: &slab::Slab<Peer>, receiver: &Peer) -> Option<Wanted> {
    let mut voices = peers.iter().flat_map(|(_, publisher)| {
        let audible = publisher.tracks.iter().filter(|track| track.is_sending && !track.is_muted);
        let audible = audible.filter(|track| track.source.kind() == Kind::Audio);
        let audible = audible.filter(move |track| may_receive(receiver, publisher, track.source));
        audible.map(move |track| Wanted { carries: publisher.slot_track(track), coding: track.coding })
    });
    voices.next().filter(|_| voices.next().is_none())
}
