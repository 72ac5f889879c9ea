//! What a Room tells outside of the people of translated faces.

use std::sync::Arc;

use wire::ParticipantId;

use super::{Outside, RoomState, What};
use crate::live::face::{Gallery, Present};
use crate::live::notable::Happening;

impl<O: Outside> RoomState<O> {
    /// Tells what is new since the last time. People of the native face are in the books as they are.
    pub(super) fn tell_outside(&mut self, present: &[Present], gallery: &Gallery) {
        let roster = &self.roster;
        let is_translated = |who| roster.find(who).is_some_and(|seat| seat.face.is_some());
        let present: Vec<&Present> = present.iter().filter(|entry| is_translated(entry.who)).collect();
        for happening in self.noted.compare(&present, gallery, &self.dropped, self.now.wall) {
            self.outside.tell(happening);
        }
    }

    /// The Room is lost to everybody in it: they come back to another one.
    pub(super) fn tell_all_dropped(&mut self) {
        for seat in self.roster.iter() {
            self.dropped.extend([Some(seat.number), seat.share_number()].into_iter().flatten());
        }
        self.tell_outside(&[], &Gallery::default());
        self.dropped.clear();
    }

    pub(super) fn tell_one(&self, id: Arc<str>, what: What) {
        self.outside.tell(Happening { id, is_share: false, what, at: self.now.wall });
    }

    /// True unless this very page holds the seat already.
    pub(super) fn is_new_client(&self, who: ParticipantId, client: u64) -> bool {
        let face = self.roster.find(who).and_then(|seat| seat.face.as_ref());
        face.is_none_or(|face| face.client != client)
    }
}
