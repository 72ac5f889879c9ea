//! The Room's dealings with its media node: offers one way, events the other.

use wire::control::{Command, Event, Lost, Manner, Reply, SendingLine, View};
use wire::{ParticipantId, PeerId, Redacted};

use super::{Done, Fault, Outside, RoomState, StopReason, close};
use crate::consent::ConsentStatus;
use crate::live::codecs::Codecs;
use crate::live::face::{Notice, Side};
use crate::live::roster::{Media, Moment};
use crate::problem::Code;
use crate::quality::{Measured, Sample};
use crate::ws::message::{Carries, EndReason, RequestId, ServerMessage};

/// The longest origin and fingerprint that tell one `RTCPeerConnection` from another.
const MAX_MARK: usize = 256;

/// The most m-lines remembered for one connection: more than any answer has.
const MAX_SLOTS: usize = 128;

impl<O: Outside> RoomState<O> {
    /// Answers an offer. One from another `RTCPeerConnection` than the last gets a new Peer, and the old one goes once the new one
    /// has its answer. Other ICE credentials on the same connection are an ICE restart, which the Peer survives.
    pub(super) async fn offer(
        &mut self,
        who: ParticipantId,
        id: Option<RequestId>,
        sdp: Redacted<String>,
    ) -> Result<Done, Fault> {
        let (sdp, _) = self.answer(who, Side::Main, sdp).await?;
        self.send(who, &ServerMessage::Answer { id, sdp });
        Ok(Done::Quiet)
    }

    /// The answer to an offer on one of somebody's connections, and by which SSRC its lines are sent.
    pub(super) async fn answer(
        &mut self,
        who: ParticipantId,
        side: Side,
        sdp: Redacted<String>,
    ) -> Result<(Redacted<String>, Vec<SendingLine>), Fault> {
        let bad = Code::Invalid.with("sdp: this offer cannot be used");
        let mark = find_mark(sdp.reveal()).ok_or(bad)?;
        let codecs = Codecs::of_offer(sdp.reveal());
        let room = self.facts.room;
        self.seat(who)?;
        let media = self.media(who, side);
        let before = media.map(|m| m.peer);
        let same = media.filter(|m| m.mark == mark);
        if same.is_some_and(|m| m.is_lost) {
            // Its DTLS association is gone, and a browser makes no second one on the same connection.
            return Err(Code::Invalid.with("sdp: this connection has ended, make another one"));
        }
        let known = same.map(|m| m.peer);
        let peer = match known {
            Some(peer) => peer,
            None => self.add_peer(who, side).await?,
        };
        let answer = match self.outside.command(Command::Offer { room, peer, sdp }).await {
            Ok(Reply::Answer { sdp, sending }) => (sdp, sending),
            Ok(Reply::Done | Reply::Tap { .. }) => return Err(Code::Unavailable.problem()),
            Err(refusal) => {
                if known.is_none() {
                    self.try_command(Command::Remove { room, peer }).await;
                }
                return Err(self.to_fault(&refusal));
            }
        };
        if known.is_none() {
            if let Some(old) = before {
                self.try_command(Command::Remove { room, peer: old }).await;
            }
            let media = Some(Media::new(peer, mark, self.now.steady));
            if let Some(seat) = self.roster.find_mut(who) {
                match (side, seat.face.as_mut().and_then(|face| face.share.as_mut())) {
                    (Side::Main, _) => seat.media = media,
                    (Side::Share, Some(share)) => share.media = media,
                    (Side::Share, None) => {}
                }
            }
        }
        if let Some(media) = self.media_mut(who, side) {
            media.codecs = codecs;
        }
        Ok(answer)
    }

    /// One of somebody's media connections.
    pub(super) fn media_mut(&mut self, who: ParticipantId, side: Side) -> Option<&mut Media> {
        let seat = self.roster.find_mut(who)?;
        match side {
            Side::Main => seat.media.as_mut(),
            Side::Share => seat.face.as_mut()?.share.as_mut()?.media.as_mut(),
        }
    }

    /// The same, to be read.
    pub(super) fn media(&self, who: ParticipantId, side: Side) -> Option<&Media> {
        let seat = self.roster.find(who)?;
        match side {
            Side::Main => seat.media.as_ref(),
            Side::Share => seat.face.as_ref()?.share.as_ref()?.media.as_ref(),
        }
    }

    /// Makes a Peer on the side of the door where its person stands, with the mutes and the consent that hold.
    async fn add_peer(&self, who: ParticipantId, side: Side) -> Result<PeerId, Fault> {
        let room = self.facts.room;
        let peer = PeerId::random();
        let seat = self.seat(who)?;
        let is_captured_anyway = self.capture.is_running() && self.is_agreed(seat.consent);
        let consented = seat.consent == ConsentStatus::Signed || is_captured_anyway;
        if consented {
            // Before the Peer, so that a running Tap never sees an admitted person without consent.
            self.try_command(Command::SetConsent { room, participant: who, consented }).await;
        }
        let manner = match (side, &seat.face) {
            (Side::Share, _) => Manner::ChimeShare,
            (Side::Main, Some(_)) => Manner::Chime,
            (Side::Main, None) => Manner::Native,
        };
        let add = Command::AddPeer { room, peer, participant: who, door: seat.door, manner };
        self.outside.command(add).await.map_err(|refusal| self.to_fault(&refusal))?;
        for source in seat.muted.iter().copied() {
            let mute = Command::Mute { room, peer, source, muted: true };
            if let Err(refusal) = self.outside.command(mute).await {
                self.try_command(Command::Remove { room, peer }).await;
                return Err(self.to_fault(&refusal));
            }
        }
        Ok(peer)
    }

    /// Passes on how somebody shows what a slot of their own carries. Without a connection there is nothing to show, and the
    /// next one begins with every slot in full view.
    pub(super) async fn view(&mut self, who: ParticipantId, mid: String, view: View) -> Result<Done, Fault> {
        if let Some(peer) = self.seat(who)?.peer() {
            self.ask(Command::View { room: self.facts.room, peer, mid, view }).await?;
        }
        Ok(Done::Quiet)
    }

    /// Tells what each m-line carries and what is wanted of the client's encoders, to one that may have missed it.
    pub(super) fn tell_media(&mut self, who: ParticipantId) {
        let now = self.now;
        let Some(seat) = self.roster.find_mut(who) else { return };
        let Some(media) = &seat.media else { return };
        let (slots, paused) = (media.slots.clone(), media.paused.clone());
        let (encodings, budget) = (media.encodings.clone(), media.audio_budget);
        for (mid, carried) in slots {
            let carries = carried.map(|c| Carries { participant_id: c.participant, source: c.source });
            seat.send(now, &ServerMessage::Slot { mid, carries });
        }
        for mid in paused {
            seat.send(now, &ServerMessage::Paused { mid, paused: true });
        }
        for (source, encoding) in encodings {
            seat.send(now, &ServerMessage::Encode { source, encoding });
        }
        if let Some((bitrate, ptime_ms)) = budget {
            seat.send(now, &ServerMessage::AudioBudget { bitrate, ptime_ms });
        }
    }

    /// A media connection is gone. A client of a translated face learns of that by its socket alone: while the socket belongs to that very
    /// connection, it closes, and the client makes both anew. Otherwise it has begun to do so already.
    async fn note_lost(&mut self, peer: PeerId, reason: Lost) {
        let now = self.now;
        if let Some(seat) = self.roster.find_peer(peer) {
            tracing::info!(participant = ?seat.person.participant, ?peer, ?reason, "a media connection is lost");
            let Some(media) = &mut seat.media else { return };
            media.lose();
            let is_its_own = media.socket.is_some() && media.socket == seat.line.as_ref().map(|line| line.socket);
            if seat.face.is_some() && is_its_own {
                seat.end(now, EndReason::Failed, close::FAILED);
            }
        } else if let Some((who, share)) = self.roster.find_share(peer) {
            tracing::info!(participant = ?who, ?peer, ?reason, "the media connection of a share is lost");
            let Some(media) = &mut share.media else { return };
            media.lose();
            let number = share.number;
            if media.socket.is_some() && media.socket == share.line.as_ref().map(|line| line.socket) {
                self.dropped.push(number);
                self.drop_share(who, Some(EndReason::Failed)).await;
            }
        }
    }

    /// The sfu tells what happened.
    pub(crate) async fn handle_event(&mut self, now: Moment, event: Event) {
        self.now = now;
        match event {
            Event::PeerConnected { peer, .. } => {
                let media = self.roster.find_peer(peer).and_then(|seat| seat.media.as_mut());
                // Once for each connection: an ICE restart is no join.
                let offered = media.and_then(|media| media.offered.take());
                self.joins.extend(offered.map(|at| now.steady.saturating_sub(at)));
            }
            Event::PeerLost { peer, reason, .. } => self.note_lost(peer, reason).await,
            Event::SlotChanged { peer, mid, carries, .. } => {
                let Some(seat) = self.roster.find_peer(peer) else { return };
                if let Some(media) = &mut seat.media
                    && (media.slots.len() < MAX_SLOTS || media.slots.contains_key(&mid))
                {
                    // What held the old picture back says nothing of the new one.
                    media.paused.remove(&mid);
                    media.slots.insert(mid.clone(), carries.clone());
                }
                let carries = carries.map(|c| Carries { participant_id: c.participant, source: c.source });
                seat.send(now, &ServerMessage::Slot { mid, carries });
            }
            Event::SlotsWanted { peer, audio, video, .. } => {
                if let Some(seat) = self.roster.find_peer(peer) {
                    seat.send(now, &ServerMessage::SlotsWanted { audio, video });
                }
            }
            Event::Speaking { participant, .. } => {
                self.note_speaking(participant);
                self.roster.tell_inside(now, &ServerMessage::Speaking { participant_id: participant });
            }
            Event::Quality {
                peer,
                bars,
                rtt_ms,
                loss_up_permille: loss_up,
                loss_down_permille: loss_down,
                jitter_ms,
                kbits_up,
                kbits_down,
                target_kbits,
                ..
            } => {
                let Some(seat) = self.roster.find_peer(peer) else { return };
                let measured = Measured {
                    bars: bars.min(4),
                    rtt_ms: rtt_ms.or(seat.rtt_ms),
                    loss_up,
                    loss_down,
                    jitter_ms,
                    kbits_up,
                    kbits_down,
                    target_kbits,
                    freezes: seat.freezes,
                    frames_decoded: seat.frames_decoded,
                };
                let participant = seat.person.participant;
                if let Some(measured) = seat.gather.take(now.steady, measured) {
                    self.outside.note(Sample { participant, at: now.wall, measured });
                }
                if let (Some(seat), Some(kbits)) = (self.roster.find_mut(participant), target_kbits)
                    && seat.face.is_some()
                {
                    seat.notify(now, Notice::Way(kbits));
                }
                let Some(seat) = self.roster.find(participant).filter(|s| s.is_admitted()) else { return };
                let quality = ServerMessage::Quality {
                    participant_id: seat.person.participant,
                    bars: measured.bars,
                    rtt_ms: measured.rtt_ms,
                    loss_up,
                    loss_down,
                };
                self.roster.tell_inside(now, &quality);
            }
            Event::EncodingWanted { peer, source, encoding, .. } => {
                let Some(seat) = self.roster.find_peer(peer) else { return };
                if let Some(media) = &mut seat.media {
                    media.encodings.insert(source, encoding);
                }
                seat.send(now, &ServerMessage::Encode { source, encoding });
            }
            Event::VideoPaused { peer, mid, paused, .. } => {
                let Some(seat) = self.roster.find_peer(peer) else { return };
                if let Some(media) = &mut seat.media {
                    if !paused {
                        media.paused.remove(&mid);
                    } else if media.paused.len() < MAX_SLOTS {
                        media.paused.insert(mid.clone());
                    }
                }
                seat.send(now, &ServerMessage::Paused { mid, paused });
            }
            Event::AudioBudget { peer, bitrate, ptime_ms, .. } => {
                let Some(seat) = self.roster.find_peer(peer) else { return };
                if let Some(media) = &mut seat.media {
                    media.audio_budget = Some((bitrate, ptime_ms));
                }
                seat.send(now, &ServerMessage::AudioBudget { bitrate, ptime_ms });
            }
            Event::PeerSilent { peer, .. } => {
                let Some(who) = self.roster.find_peer(peer).map(|seat| seat.person.participant) else { return };
                self.ask_for_restart(who);
            }
            Event::Published { tracks, .. } => self.note_published(tracks),
            Event::Levels { levels, .. } => {
                // Five times a second: nobody's roster changes by it.
                return self.note_levels(levels);
            }
            Event::TapFlowing { recording, .. } => self.note_flowing(recording).await,
            Event::TapEnded { recording, reason, .. } => {
                if self.capture.recording() == Some(recording) {
                    self.note_capture_ended(StopReason::from(reason)).await;
                }
            }
            Event::RoomFailed { .. } => self.handle_failure(now).await,
        }
        if !self.is_over {
            self.publish();
        }
    }

    /// Somebody outside the Room thinks that a client should look for another way. False when it has no connection.
    pub(crate) fn restart_ice(&mut self, now: Moment, who: ParticipantId) -> bool {
        self.now = now;
        let is_connected = self.roster.find(who).is_some_and(|seat| seat.line.is_some() && seat.media.is_some());
        if is_connected {
            self.ask_for_restart(who);
            self.publish();
        }
        is_connected
    }

    fn ask_for_restart(&mut self, who: ParticipantId) {
        self.tell_relay(who);
        self.send(who, &ServerMessage::RestartIce {});
    }
}

/// What stays the same in all offers of one `RTCPeerConnection`, and differs in another's: the session id of its origin (RFC 8829
/// section 5.2.1), and its certificate. BUNDLE is required, so all sections have the same.
fn find_mark(sdp: &str) -> Option<String> {
    let value = |prefix: &str| sdp.lines().find_map(|line| line.strip_prefix(prefix)).map(str::trim);
    let fingerprint = value("a=fingerprint:").filter(|text| (1..=MAX_MARK).contains(&text.len()))?;
    let session = value("o=")?.split(' ').nth(1).filter(|text| (1..=MAX_MARK).contains(&text.len()))?;
    Some(format!("{session} {fingerprint}"))
}
