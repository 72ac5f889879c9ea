//! What signaling may ask of a Room. Each command is answered exactly once.

use wire::control::{
    Assignment, Command, Door, MAX_PEERS_PER_ROOM, Manner, Reason, Refusal, Reply, Rights, SendingLine, Source, TapEnd,
};
use wire::{ParticipantId, PeerId, RecordingId, Redacted};

use super::Room;
use crate::Output;
use crate::context::Context;
use crate::door::{self, Move};
use crate::layer::Layer;
use crate::negotiate;
use crate::peer::{NewPeer, Peer};
use crate::tap::Tap;
use crate::track::Track;
use crate::transport::IceCredentials;

fn unknown_peer() -> Refusal {
    Refusal::new(Reason::UnknownPeer, "no such peer in the room")
}

impl Room {
    /// Carries out a command about this Room. `OpenRoom` and `CloseRoom` are the Engine's.
    pub(crate) fn handle_command(&mut self, ctx: &mut Context, ticket: u64, command: Command) {
        #[cfg(test)]
        Self::explode(self.explodes_at_commands);
        self.stir(ctx.now);
        self.hurry();
        let result = match command {
            Command::OpenRoom { .. } | Command::CloseRoom { .. } => Ok(Reply::Done),
            Command::AddPeer { peer, participant, door, manner, .. } => {
                self.add_peer(ctx, peer, participant, door, manner)
            }
            Command::Offer { peer, sdp, .. } => {
                let result = self.answer(ctx, peer, &sdp);
                let has_changed = result.is_ok();
                ctx.outputs.push_back(Output::Reply { ticket, result });
                // The answer comes first: it makes the slots that the events speak of.
                if has_changed {
                    self.reconcile(ctx);
                }
                return;
            }
            Command::Admit { peer, .. } => self.pass_door(ctx, peer, Move::Admit),
            Command::Deny { peer, .. } => self.pass_door(ctx, peer, Move::Deny),
            Command::SendBack { peer, .. } => self.pass_door(ctx, peer, Move::SendBack),
            Command::Remove { peer, .. } => {
                if let Some((index, _)) = self.find(peer) {
                    self.drop_peer(ctx, index);
                    self.reconcile(ctx);
                }
                Ok(Reply::Done)
            }
            Command::Mute { peer, source, muted, .. } => self.mute(ctx, peer, source, muted),
            Command::View { peer, mid, view, .. } => match self.find_mut(peer) {
                Some((_, peer)) => {
                    if let Some(slot) = peer.slots.iter_mut().find(|slot| *slot.mid == *mid) {
                        slot.view = view;
                        peer.downlink.touch(ctx.now);
                    }
                    Ok(Reply::Done)
                }
                None => Err(Refusal::new(Reason::UnknownPeer, "no such peer in the room")),
            },
            Command::Assign { peer, lines, .. } => self.assign(ctx, peer, lines),
            Command::SetRights { participant, rights, .. } => self.set_rights(ctx, participant, rights),
            Command::SetConsent { participant, consented, .. } => {
                let result = self.consents.set(participant, consented).map(|()| Reply::Done);
                self.guard_tap(ctx);
                self.forget_voices();
                result
            }
            Command::StartTap { recording, is_cut, .. } => self.start_tap(ctx, recording, is_cut),
            Command::Note { recording, note, .. } => {
                if let Some(tap) = self.tap.as_ref().filter(|tap| tap.recording == recording) {
                    tap.note(ctx, note);
                }
                Ok(Reply::Done)
            }
            Command::StopTap { recording, .. } => {
                if let Some(tap) = self.tap.take_if(|tap| tap.recording == recording) {
                    tap.end(ctx, TapEnd::Stopped);
                }
                Ok(Reply::Done)
            }
        };
        if result.as_ref().is_err_and(|refusal| refusal.reason == Reason::Capacity) {
            ctx.counters.refused_by_limit += 1;
        }
        ctx.outputs.push_back(Output::Reply { ticket, result });
    }

    fn add_peer(
        &mut self,
        ctx: &mut Context,
        id: PeerId,
        participant: ParticipantId,
        door: Door,
        manner: Manner,
    ) -> Result<Reply, Refusal> {
        if self.peers.len() >= MAX_PEERS_PER_ROOM {
            return Err(Refusal::new(Reason::Capacity, "the room is full"));
        }
        if self.find(id).is_some() {
            return Err(Refusal::new(Reason::Door, "the peer is in the room already"));
        }
        if door == Door::Removed {
            return Err(Refusal::new(Reason::Door, "a peer cannot begin as removed"));
        }
        let ours = IceCredentials::generate(&mut ctx.rng, ctx.shard);
        let key = self.key(self.peers.vacant_key());
        if !ctx.demux.insert(&ours.ufrag, key) {
            return Err(Refusal::new(Reason::Unavailable, "no unused credentials were found"));
        }
        self.generation += 1;
        let shares = manner == Manner::ChimeShare;
        let is_before = |peer: &Peer| peer.participant == participant && (peer.manner == Manner::ChimeShare) == shares;
        let before = self.peers.iter().map(|(_, peer)| peer).find(|peer| is_before(peer));
        let muted = before.map(|peer| peer.muted.clone());
        let key = self.key(self.peers.vacant_key());
        let new = NewPeer {
            key,
            room: self.id,
            id,
            participant,
            door,
            manner,
            rights: self.rights.of(participant),
            generation: self.generation,
            is_successor: before.is_some(),
        };
        let mut peer = Peer::new(ctx, ours, new);
        // A reconnection does not lift what the clinician muted.
        peer.muted = muted.unwrap_or_default();
        let index = self.peers.insert(peer);
        self.places.insert(id, index);
        ctx.counters.peers += 1;
        self.forget_recent();
        self.guard_tap(ctx);
        Ok(Reply::Done)
    }

    /// No packet from before a door moved is sent after it.
    fn forget_recent(&mut self) {
        for (_, peer) in &mut self.peers {
            peer.tracks.iter_mut().for_each(Track::forget_recent);
        }
        self.drop_waiting();
    }

    /// No sound from before a consent or a Tap is recorded after it.
    fn forget_voices(&mut self) {
        for (_, peer) in &mut self.peers {
            peer.tracks.iter_mut().for_each(Track::forget_voice);
        }
    }

    fn answer(&mut self, ctx: &mut Context, peer: PeerId, sdp: &Redacted<String>) -> Result<Reply, Refusal> {
        let (index, _) = self.find(peer).ok_or_else(unknown_peer)?;
        let key = self.key(index);
        let peer = self.peers.get_mut(index).ok_or_else(unknown_peer)?;
        // An offer costs the parsing of a long text, and everybody's slots may change with it.
        if !peer.allowance.offers.try_take(ctx.now) {
            ctx.counters.limited_offers += 1;
            return Err(Refusal::new(Reason::Capacity, "too many offers in a short time"));
        }
        let offer = negotiate::read(sdp.reveal())?;
        let sdp = Redacted::new(peer.apply(ctx, key, offer)?);
        let sending = peer.slots.iter().filter(|slot| slot.is_open);
        let sending = sending.map(|slot| SendingLine { mid: slot.mid.to_string(), ssrc: slot.sending.ssrc }).collect();
        Ok(Reply::Answer { sdp, sending })
    }

    fn assign(&mut self, ctx: &mut Context, peer: PeerId, lines: Vec<Assignment>) -> Result<Reply, Refusal> {
        let (index, peer) = self.find_mut(peer).ok_or_else(unknown_peer)?;
        peer.assign(lines)?;
        peer.downlink.touch(ctx.now);
        let published = self.published();
        let fresh = self.fill(ctx, index, &published);
        self.begin_pictures(ctx, &fresh);
        self.next_wishes = ctx.now;
        Ok(Reply::Done)
    }

    fn set_rights(&mut self, ctx: &mut Context, who: ParticipantId, rights: Rights) -> Result<Reply, Refusal> {
        self.rights.set(who, rights)?;
        for (_, peer) in self.peers.iter_mut().filter(|(_, peer)| peer.participant == who) {
            peer.rights = rights;
        }
        self.forget_recent();
        self.reconcile(ctx);
        Ok(Reply::Done)
    }

    fn pass_door(&mut self, ctx: &mut Context, peer: PeerId, step: Move) -> Result<Reply, Refusal> {
        let (index, peer) = self.find_mut(peer).ok_or_else(unknown_peer)?;
        peer.door = door::after(peer.door, step)?;
        if peer.door == Door::Removed {
            self.drop_peer(ctx, index);
        }
        self.forget_recent();
        self.reconcile(ctx);
        Ok(Reply::Done)
    }

    fn mute(&mut self, ctx: &mut Context, peer: PeerId, source: Source, muted: bool) -> Result<Reply, Refusal> {
        self.flush_waiting(ctx);
        let (_, peer) = self.find_mut(peer).ok_or_else(unknown_peer)?;
        peer.muted.retain(|other| *other != source);
        if muted {
            peer.muted.push(source);
        }
        let Some(track) = peer.tracks.iter_mut().find(|track| track.source == source) else {
            // The source may come later: then it is muted from its first packet.
            return Ok(Reply::Done);
        };
        track.is_muted = muted;
        track.forget_recent();
        let id = track.id;
        let mut waiting = Vec::new();
        for (_, receiver) in &mut self.peers {
            for slot in receiver.slots.iter_mut().filter(|slot| slot.carries(id)) {
                slot.set_muted(muted, ctx.now);
                waiting.extend(slot.waits_for());
            }
        }
        self.want_keyframes(&waiting);
        self.reconcile(ctx);
        Ok(Reply::Done)
    }

    fn start_tap(&mut self, ctx: &mut Context, recording: RecordingId, is_cut: bool) -> Result<Reply, Refusal> {
        if self.tap.is_some() || ctx.taps.contains_key(&recording) {
            return Err(Refusal::new(Reason::TapBusy, "a tap runs already"));
        }
        if !self.consents.all_hold(self.inside()) {
            return Err(Refusal::new(Reason::ConsentMissing, "somebody inside has not consented"));
        }
        let token = Redacted::new(ctx.fresh_token());
        ctx.outputs.push_back(Output::TapOpened { recording, token: token.clone() });
        self.tap = Some(Tap::start(ctx, self.id, recording, is_cut));
        self.forget_voices();
        for (_, peer) in &mut self.peers {
            for track in &mut peer.tracks {
                let layer = track.live(ctx.now).find(Layer::MAX).unwrap_or_default();
                track.want_keyframe(layer);
            }
        }
        self.request_keyframes(ctx);
        Ok(Reply::Tap { token })
    }
}
