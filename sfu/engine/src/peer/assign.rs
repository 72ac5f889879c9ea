//! What a Peer in the Chime manner receives: on each video line what signaling assigned to it, on its one audio line all voices.

use bandwidth::{Bitrate, Emphasis};
use wire::control::{Assignment, Kind, MAX_ASSIGNMENTS, Manner, Reason, Refusal, SlotTrack};
use wire::{RoomId, TrackId};

use super::{Peer, Wanted};
use crate::context::Context;
use crate::layer::Layer;

impl Peer {
    /// Takes over what signaling says of the video lines. It holds for lines and Tracks of the future as well.
    ///
    /// # Errors
    /// `Door` for a Peer that is not served this way, `Capacity` for more lines than a client has.
    pub(crate) fn assign(&mut self, lines: Vec<Assignment>) -> Result<(), Refusal> {
        if self.manner != Manner::Chime {
            return Err(Refusal::new(Reason::Door, "nothing is assigned to this peer"));
        }
        if lines.len() > MAX_ASSIGNMENTS {
            return Err(Refusal::new(Reason::Capacity, "too many lines"));
        }
        self.assigned = lines;
        Ok(())
    }

    fn line(&self, mid: &str) -> Option<&Assignment> {
        self.assigned.iter().find(|line| line.mid == mid)
    }

    /// Puts on each video line what is assigned to it, if `find` finds that among what the Peer may have, and `sound` on its audio
    /// line. A Track that is assigned twice is sent once, on the first of the lines. Returns the Tracks that were newly put in.
    pub(crate) fn attach_assigned<'a>(
        &mut self,
        ctx: &mut Context,
        room: RoomId,
        find: impl Fn(&Self, TrackId) -> Option<&'a Wanted>,
        sound: Option<&'a Wanted>,
    ) -> Vec<SlotTrack> {
        let before = self.carried();
        let mut taken = Vec::new();
        for index in 0..self.slots.len() {
            let Some(slot) = self.slots.get(index) else { continue };
            let line = self.line(&slot.mid);
            let right = match slot.kind {
                Kind::Audio => sound,
                Kind::Video => line.and_then(|line| line.track).and_then(|track| find(self, track)),
            };
            let right = right
                .filter(|wanted| slot.can_carry(wanted.carries.source.kind(), wanted.coding))
                .filter(|wanted| !taken.contains(&wanted.carries.track));
            taken.extend(right.map(|wanted| wanted.carries.track));
            let at_most = line.and_then(|line| line.at_most);
            let is_same = match (&slot.subscription, right) {
                (Some(now), Some(right)) => now.carries == right.carries && now.coding == right.coding,
                (None, None) => true,
                _ => false,
            };
            let Some(slot) = self.slots.get_mut(index) else { continue };
            if !is_same {
                slot.detach();
                if let Some(Wanted { carries, coding }) = right {
                    slot.attach(carries.clone(), *coding);
                }
            }
            slot.passage.limit(at_most, ctx.now);
        }
        self.tell_changed(ctx, room, before)
    }

    /// How much the picture on a line matters, by its priority among all; `None` for a Peer that is not assigned to.
    pub(crate) fn rank(&self, mid: &str) -> Option<(u32, Emphasis)> {
        if self.manner != Manner::Chime {
            return None;
        }
        let priority = self.line(mid).map_or(0, |line| line.priority);
        let lines = || self.assigned.iter().filter(|line| line.track.is_some()).map(|line| line.priority);
        let first = lines().max().unwrap_or_default();
        let second = lines().filter(|other| *other < first).max();
        // While all are alike, none stands out.
        let emphasis = match second {
            Some(_) if priority >= first => Emphasis::Pinned,
            Some(second) if priority == second => Emphasis::Speaker,
            _ => Emphasis::Plain,
        };
        Some((priority, emphasis))
    }

    /// What the viewer of a line wants at most: a Layer, and a rate.
    pub(crate) fn most(&self, mid: &str) -> (Option<Layer>, Option<Bitrate>) {
        self.line(mid)
            .map_or((None, None), |line| (line.at_most, line.target_kbits.map(|kbits| Bitrate::kbps(u64::from(kbits)))))
    }
}
