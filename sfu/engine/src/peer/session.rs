//! What an offer makes of a Peer: its Tracks, its slots, the answer; and which Track goes into which slot.

use std::sync::Arc;

use rand::RngExt;
use wire::RoomId;
use wire::control::{Event, Kind, Manner, Reason, Refusal, SlotTrack, Source};

use super::{Binding, Peer};
use crate::context::{Context, PeerKey};
use crate::negotiate::{self, Answer, Coding, Offer, PayloadTable, Section, SectionAnswer, Sending};
use crate::subscription::Slot;
use crate::track::Track;
use crate::transport::{IceCredentials, RemoteParameters};

/// A Track that somebody should receive.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) carries: SlotTrack,
    pub(crate) coding: Coding,
}

impl Peer {
    /// Applies an offer, first or later. Mids, slots and SSRCs of before stay as they are, and so do our credentials, unless the
    /// browser restarts ICE.
    ///
    /// # Errors
    /// `BadOffer` when it contradicts what the connection is built on; nothing has changed then.
    pub(crate) fn apply(&mut self, ctx: &mut Context, key: PeerKey, offer: Offer) -> Result<String, Refusal> {
        let Offer { ufrag, pwd, fingerprint, mixes_extensions, sections } = offer;
        let remote = RemoteParameters { ufrag, pwd, fingerprint };
        let restarts = self.transport.set_remote(remote);
        if restarts.map_err(|error| Refusal::new(Reason::BadOffer, error.to_string()))? {
            self.restart(ctx, key)?;
        }
        self.payloads = PayloadTable::of(&sections);
        self.ids = negotiate::all_ids(&sections);
        let takes_limits = |section: &Section| section.formats.iter().any(|format| format.feedback.remb);
        self.can_be_limited = sections.iter().any(|section| section.sends && takes_limits(section));
        self.apply_tracks(ctx, &sections);
        self.apply_slots(ctx, &sections);
        self.is_negotiated = true;
        self.version += 1;
        let parts = sections.iter().map(|section| SectionAnswer {
            receives: self.tracks.iter().any(|track| track.is_sending && track.mid == section.mid),
            sending: self.find_slot(&section.mid).filter(|slot| slot.is_open).map(|slot| slot.sending.clone()),
            section,
        });
        let answer = Answer {
            session_id: self.session_id,
            version: self.version,
            ufrag: &self.ours.ufrag,
            pwd: &self.ours.pwd,
            fingerprint: ctx.identity.fingerprint(),
            addresses: &ctx.addresses,
            tcp_addresses: &ctx.tcp_addresses,
            mixes_extensions,
            manner: self.manner,
            sections: parts.collect(),
        };
        Ok(negotiate::write(&answer))
    }

    /// ICE begins anew with other credentials of ours; what flows goes on by the old ones meanwhile.
    fn restart(&mut self, ctx: &mut Context, key: PeerKey) -> Result<(), Refusal> {
        let ours = IceCredentials::generate(&mut ctx.rng, ctx.shard);
        if !ctx.demux.insert(&ours.ufrag, key) {
            return Err(Refusal::new(Reason::Unavailable, "no unused credentials were found"));
        }
        self.transport.restart(ours.clone());
        while let Some(retired) = self.transport.poll_retired() {
            ctx.demux.forget(&retired.ufrag);
        }
        self.ours = ours;
        Ok(())
    }

    fn find_slot(&self, mid: &str) -> Option<&Slot> {
        self.slots.iter().find(|slot| &*slot.mid == mid)
    }

    fn apply_tracks(&mut self, ctx: &mut Context, sections: &[Section]) {
        let now = ctx.now;
        // Places change when a Track goes, so the bindings are made anew from what each Track knows.
        self.tracks.retain(|track| sections.iter().any(|section| section.mid == track.mid));
        for track in &mut self.tracks {
            track.is_sending = sections.iter().any(|section| section.mid == track.mid && section.sends);
        }
        for section in sections.iter().filter(|section| section.sends) {
            let (Some(kind), Some(format)) = (section.kind, section.formats.first()) else { continue };
            let index = match self.tracks.iter().position(|track| track.mid == section.mid) {
                Some(index) => index,
                None => {
                    let order: &[Source] = match (self.manner, kind) {
                        (Manner::Native | Manner::Chime, Kind::Audio) => &[Source::Microphone],
                        (Manner::Native, Kind::Video) => &[Source::Camera, Source::Screen],
                        (Manner::Chime, Kind::Video) => &[Source::Camera],
                        (Manner::ChimeShare, Kind::Audio) => &[Source::ScreenSound],
                        (Manner::ChimeShare, Kind::Video) => &[Source::Screen],
                    };
                    let is_free = |source: &&Source| !self.tracks.iter().any(|track| track.source == **source);
                    // More than one voice and two pictures of one person are not received.
                    let Some(source) = order.iter().find(is_free) else { continue };
                    let id = ctx.fresh_track();
                    let mut track = Track::new(id, Arc::clone(&section.mid), *source, format.coding(), now);
                    track.is_muted = self.muted.contains(source);
                    self.tracks.push(track);
                    self.tracks.len() - 1
                }
            };
            let Some(track) = self.tracks.get_mut(index) else { continue };
            if !section.formats.iter().any(|format| format.coding() == track.coding) {
                // What it was coded in is no longer offered.
                *track = track.reborn(ctx.fresh_track(), format.coding(), now);
            }
            if track.set_sources(&section.sources, now) {
                track.rename(ctx.fresh_track(), now);
            }
        }
        self.bindings.clear();
        for (index, track) in self.tracks.iter().enumerate() {
            for (stream, layer) in track.streams.iter().zip(0u8..) {
                for (ssrc, is_rtx) in [(stream.ssrc, false), (stream.rtx_ssrc, true)] {
                    if let Some(ssrc) = ssrc {
                        self.bindings.insert(ssrc, Binding { track: index, layer, is_rtx });
                    }
                }
            }
        }
    }

    fn apply_slots(&mut self, ctx: &mut Context, sections: &[Section]) {
        self.slots.retain(|slot| sections.iter().any(|section| section.mid == slot.mid));
        for section in sections {
            let Some(kind) = section.kind else {
                if let Some(slot) = self.slots.iter_mut().find(|slot| slot.mid == section.mid) {
                    slot.is_open = false;
                }
                continue;
            };
            let index = match self.slots.iter().position(|slot| slot.mid == section.mid) {
                Some(index) => index,
                None if section.receives => {
                    let is_taken = |pair: &usize| self.slots.iter().any(|s| s.kind == kind && s.pair == *pair);
                    let pair = (0..).find(|pair| !is_taken(pair)).unwrap_or_default();
                    let (stream, track) = names(self.manner, kind, &section.mid, pair);
                    let sending = Sending { stream, track, ssrc: ctx.fresh_ssrc(), rtx_ssrc: ctx.fresh_ssrc() };
                    let (first, first_rtx) = ctx.rng.random();
                    self.slots.push(Slot::new(Arc::clone(&section.mid), kind, pair, sending, first, first_rtx));
                    self.slots.len() - 1
                }
                None => continue,
            };
            if let Some(slot) = self.slots.get_mut(index) {
                slot.is_open = section.receives && slot.kind == kind;
                slot.formats.clone_from(&section.formats);
                let receives = self.tracks.iter().any(|track| track.is_sending && track.mid == section.mid);
                slot.ids = negotiate::writable_ids(section, receives);
            }
        }
    }

    /// Puts Tracks into slots so that exactly `wanted` is carried, as far as slots go, and tells signaling what changed.
    /// What is carried already stays where it is. Returns the Tracks that were newly put in.
    pub(crate) fn attach(&mut self, ctx: &mut Context, room: RoomId, wanted: &[&Wanted]) -> Vec<SlotTrack> {
        let before = self.carried();
        for slot in &mut self.slots {
            let is_wanted = slot.subscription.as_ref().is_some_and(|subscription| {
                wanted.iter().any(|w| w.carries == subscription.carries && w.coding == subscription.coding)
                    && slot.can_carry(slot.kind, subscription.coding)
            });
            if !is_wanted {
                slot.detach();
            }
        }
        let (mut lacking_audio, mut lacking_video) = (0u8, 0u8);
        for want in wanted {
            if self.slots.iter().any(|slot| slot.carries(want.carries.track)) {
                continue;
            }
            let kind = want.carries.source.kind();
            match self.free_slot(kind, want) {
                Some(index) => {
                    if let Some(slot) = self.slots.get_mut(index) {
                        slot.attach(want.carries.clone(), want.coding);
                    }
                }
                // A codec that the browser does not have would not come with more slots either.
                None if self.knows(kind, want.coding) => {
                    let lacking = if kind == Kind::Audio { &mut lacking_audio } else { &mut lacking_video };
                    *lacking = lacking.saturating_add(1);
                }
                None => {}
            }
        }
        let fresh = self.tell_changed(ctx, room, before);
        if self.is_negotiated {
            self.tell_wanted(ctx, room, lacking_audio, lacking_video);
        }
        fresh
    }

    /// What each slot carries.
    pub(super) fn carried(&self) -> Vec<Option<SlotTrack>> {
        self.slots.iter().map(carried).collect()
    }

    /// Tells signaling which slots no longer carry what they did. Returns the Tracks that were newly put in.
    pub(super) fn tell_changed(
        &self,
        ctx: &mut Context,
        room: RoomId,
        before: Vec<Option<SlotTrack>>,
    ) -> Vec<SlotTrack> {
        let mut fresh = Vec::new();
        for (slot, before) in self.slots.iter().zip(before) {
            let after = carried(slot);
            if after == before {
                continue;
            }
            fresh.extend(after.clone());
            ctx.tell(Event::SlotChanged { room, peer: self.id, mid: slot.mid.to_string(), carries: after });
        }
        fresh
    }

    /// The best free slot: beside the same person's other Track, else one whose neighbour is free too, else any.
    fn free_slot(&self, kind: Kind, want: &Wanted) -> Option<usize> {
        let rank = |slot: &Slot| {
            let neighbours = self.slots.iter().filter(|other| other.pair == slot.pair && other.kind != slot.kind);
            let mut carried = neighbours.filter_map(|other| other.subscription.as_ref());
            match carried.next() {
                Some(other) if other.carries.participant == want.carries.participant => 0,
                None => 1,
                Some(_) => 2,
            }
        };
        let free = self.slots.iter().enumerate();
        let free = free.filter(|(_, slot)| slot.subscription.is_none() && slot.can_carry(kind, want.coding));
        free.min_by_key(|(_, slot)| rank(slot)).map(|(index, _)| index)
    }

    fn knows(&self, kind: Kind, coding: Coding) -> bool {
        let mut formats = self.slots.iter().filter(|slot| slot.kind == kind).flat_map(|slot| &slot.formats).peekable();
        formats.peek().is_none() || formats.any(|format| format.codec == coding.codec)
    }

    fn tell_wanted(&mut self, ctx: &mut Context, room: RoomId, lacking_audio: u8, lacking_video: u8) {
        let open = |kind| self.slots.iter().filter(|slot| slot.is_open && slot.kind == kind).count();
        let total = |kind, lacking: u8| u8::try_from(open(kind)).unwrap_or(u8::MAX).saturating_add(lacking);
        let needed = (total(Kind::Audio, lacking_audio), total(Kind::Video, lacking_video));
        if lacking_audio == 0 && lacking_video == 0 {
            self.slots_wanted = (0, 0);
        } else if self.slots_wanted != needed {
            self.slots_wanted = needed;
            ctx.tell(Event::SlotsWanted { room, peer: self.id, audio: needed.0, video: needed.1 });
        }
    }
}

/// What the answer calls the MediaStream and the MediaStreamTrack of a slot. A Chime client knows a video by its m-line's mid.
fn names(manner: Manner, kind: Kind, mid: &str, pair: usize) -> (String, String) {
    match (manner, kind) {
        (Manner::Native, _) => (format!("pair-{pair}"), format!("slot-{mid}")),
        (Manner::Chime | Manner::ChimeShare, Kind::Audio) => ("voices".to_owned(), format!("at_{mid}")),
        (Manner::Chime | Manner::ChimeShare, Kind::Video) => (format!("v_{mid}"), format!("vt_{mid}")),
    }
}

fn carried(slot: &Slot) -> Option<SlotTrack> {
    slot.subscription.as_ref().map(|subscription| subscription.carries.clone())
}
