//! Once a second each publisher's voice learns how its listeners hear it.

use std::time::Duration;

use wire::control::Kind;

use super::Room;
use crate::context::Context;
use crate::door;
use crate::peer::Peer;

/// As often as publishers get reports.
const INTERVAL: Duration = Duration::from_secs(1);

impl Room {
    /// Takes the worst loss among the listeners of each voice to its publisher.
    pub(super) fn note_hearing(&mut self, ctx: &Context) {
        if ctx.now.saturating_duration_since(self.heard) < INTERVAL {
            return;
        }
        self.heard = ctx.now;
        let voices: Vec<_> = self
            .peers
            .iter()
            .filter(|(_, peer)| peer.is_connected())
            .filter_map(|(index, peer)| Some((index, peer.tracks.iter().find(|t| t.source.kind() == Kind::Audio)?.id)))
            .collect();
        for (index, voice) in voices {
            let listeners = self.peers.iter().filter(|(other, _)| *other != index).map(|(_, peer)| peer);
            let listening = listeners.filter(|peer| door::may_ask(peer.door) && peer.is_connected());
            let lost = listening.filter_map(|peer| {
                let slot = peer.slots.iter().find(|slot| slot.carries(voice))?;
                Some(peer.downlink.sound_loss(ctx.now, f32::from(slot.loss) / 256.0))
            });
            let worst = lost.fold(0.0, f32::max);
            if let Some(publisher) = self.peers.get_mut(index) {
                publisher.hearing.note(ctx.now, worst);
            }
        }
    }
}

impl Peer {
    /// Decides how much redundancy the voices are owed that this Peer hears.
    pub(crate) fn guard_sound(&mut self, ctx: &Context) {
        let (mut packets, mut bytes, mut reported) = (0, 0, 0u8);
        for slot in self.slots.iter_mut().filter(|slot| slot.kind == Kind::Audio) {
            let amount = slot.past.take_amount();
            if slot.subscription.is_some() {
                (packets, bytes, reported) = (packets + amount.0, bytes + amount.1, reported.max(slot.loss));
            }
        }
        let has_picture = self
            .slots
            .iter()
            .any(|slot| slot.kind == Kind::Video && slot.subscription.is_some() && slot.passage.wanted().is_some());
        self.downlink.guard_sound(ctx.now, (packets, bytes), f32::from(reported) / 256.0, has_picture);
    }
}
