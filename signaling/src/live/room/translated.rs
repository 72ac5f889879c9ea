//! The Room as clients of a translated face have it: what they ask, and what they are told.

use std::sync::Arc;

use wire::control::{Command, Level, PublishedTrack, Rights, Source};
use wire::{ParticipantId, Redacted};

use super::{Code, Fault, Outgoing, Outside, RoomState, to_error};
use crate::live::codecs::Codecs;
use crate::live::face::{
    Alias, Answered, Ask, Draft, Gallery, Newcomer, Notice, Picture, Post, Presence, Present, Share, Side, Subscribe,
    Translated,
};
use crate::live::roster::{Line, Moment, Seat, SocketId};
use crate::live::streams::MAX_CAMERAS;
use crate::ws::message::{EndReason, RequestId, ServerMessage};

/// The most shares at once.
const MAX_SHARES: usize = 2;

/// What all translated clients inside were told last.
#[derive(Debug, Default)]
pub(crate) struct Told {
    presence: Arc<Presence>,
    gallery: Arc<Gallery>,
}

impl<O: Outside> RoomState<O> {
    /// A translated client asks something. One that lost its seat is not heard.
    pub(crate) async fn handle_ask(&mut self, now: Moment, socket: SocketId, ask: Ask) {
        self.now = now;
        let Some((who, side)) = self.roster.find_side(socket) else { return };
        match ask {
            Ask::Subscribe(subscribe) => {
                let id = RequestId::Number(subscribe.id);
                if let Err(fault) = self.subscribe(who, side, socket, *subscribe).await {
                    self.notify(who, side, Notice::Said(Box::new(to_error(Some(id), fault))));
                }
            }
            Ask::Watch(lines) => {
                if let Some(peer) = self.roster.find(who).and_then(Seat::peer).filter(|_| side == Side::Main) {
                    self.try_command(Command::Assign { room: self.facts.room, peer, lines }).await;
                }
            }
            Ask::Mute(is_muted) => self.note_muted(who, side, is_muted),
            Ask::Post(drafts) => self.post(who, side, drafts),
            Ask::Measured { rtt_ms } => {
                if let Some(seat) = self.roster.find_mut(who).filter(|_| side == Side::Main) {
                    seat.rtt_ms = Some(rtt_ms);
                }
            }
            Ask::Leave => match side {
                Side::Main => {
                    if let Some(seat) = self.roster.find_mut(who) {
                        seat.let_go(now);
                    }
                    self.give_up_seat(who).await;
                }
                Side::Share => self.drop_share(who, None).await,
            },
        }
        self.publish();
    }

    /// What somebody may send and be sent has changed. The media node first, so that nothing more passes.
    pub(crate) async fn handle_rights(&mut self, now: Moment, who: ParticipantId, rights: Rights) {
        self.now = now;
        let Some(face) = self.roster.find_mut(who).and_then(|seat| seat.face.as_mut()) else { return };
        face.rights = rights;
        self.try_command(Command::SetRights { room: self.facts.room, participant: who, rights }).await;
        if !rights.sends_content {
            self.drop_share(who, Some(EndReason::Removed)).await;
        }
        self.notify(who, Side::Main, Notice::Rights(rights));
        self.publish();
    }

    /// Says what somebody may do before they have a Peer. If the media node does not take it, they do not come in: what was
    /// forbidden must not flow.
    pub(super) async fn bring_rights(&self, who: ParticipantId, rights: Rights) -> Result<(), Fault> {
        if rights == Rights::default() {
            return Ok(());
        }
        let command = Command::SetRights { room: self.facts.room, participant: who, rights };
        self.outside.command(command).await.map(|_| ()).map_err(|refusal| self.to_fault(&refusal))
    }

    /// The second connection of somebody who is inside.
    pub(super) async fn join_share(&mut self, who: ParticipantId, newcomer: Newcomer, line: Line) -> Result<(), Fault> {
        let now = self.now;
        let others = self.roster.iter().filter(|s| s.person.participant != who);
        let shares = others.filter(|s| s.face.as_ref().is_some_and(|f| f.share.is_some())).count();
        let Some(seat) = self.roster.find_mut(who).filter(|seat| seat.is_admitted()) else {
            return Err(Code::Unavailable.with("Nobody who is inside shares this."));
        };
        let Some(face) = seat.face.as_mut() else { return Err(Code::Unavailable.problem()) };
        if !face.rights.sends_content {
            return Err(Code::Forbidden.problem());
        }
        if shares >= MAX_SHARES {
            return Err(full());
        }
        let number = self.numbers.next();
        if let Some(share) = &mut face.share {
            let is_same = share.client == newcomer.client;
            if let Some(old) = share.line.replace(line) {
                if !is_same {
                    put(&old, Outgoing::Notice(Box::new(ended(EndReason::Superseded))));
                }
                put(&old, Outgoing::Close(super::close::SUPERSEDED));
            }
            (share.client, share.number, share.away_since, share.is_fresh) = (newcomer.client, number, None, true);
        } else {
            face.share = Some(Share {
                line: Some(line),
                away_since: None,
                media: None,
                client: newcomer.client,
                alias: newcomer.alias,
                number,
                is_muted: false,
                is_fresh: true,
            });
        }
        tracing::debug!(participant = ?who, at = ?now.steady, "a share comes in");
        Ok(())
    }

    /// Somebody's seat becomes that of a translated client, or of a native one again.
    pub(super) fn set_face(&mut self, who: ParticipantId, newcomer: Option<Newcomer>) {
        let number = self.numbers.next();
        let Some(seat) = self.roster.find_mut(who) else { return };
        let share = seat.face.take().and_then(|face| face.share);
        seat.number = number;
        seat.face = newcomer.map(Translated::new);
        if let Some(face) = &mut seat.face {
            face.share = share;
        }
    }

    /// Ends what somebody shares: nothing of it flows any more, and its client is told why, if there is a why.
    pub(super) async fn drop_share(&mut self, who: ParticipantId, reason: Option<EndReason>) {
        let share = self.roster.find_mut(who).and_then(|seat| seat.face.as_mut()).and_then(|face| face.share.take());
        let Some(share) = share else { return };
        self.end_share(share, reason).await;
        self.streams.forget(who, Source::Screen);
    }

    /// The same for a share whose seat is gone already.
    pub(super) async fn end_share(&self, share: Share, reason: Option<EndReason>) {
        if let Some(line) = &share.line {
            if let Some(reason) = reason {
                put(line, Outgoing::Notice(Box::new(ended(reason))));
            }
            put(line, Outgoing::Close(super::close::NORMAL));
        }
        // A closed Room has no Peers any more.
        if let Some(media) = share.media.filter(|_| !self.is_over) {
            self.try_command(Command::Remove { room: self.facts.room, peer: media.peer }).await;
        }
    }

    async fn subscribe(
        &mut self,
        who: ParticipantId,
        side: Side,
        socket: SocketId,
        subscribe: Subscribe,
    ) -> Result<(), Fault> {
        let Subscribe { id, sdp, sends, is_muted } = subscribe;
        let had = self.media(who, side).map(|media| media.peer);
        let (sdp, sending) = self.answer(who, side, sdp).await?;
        if let Some(media) = self.media_mut(who, side) {
            media.socket = Some(socket);
        }
        let source = match side {
            Side::Main => Source::Camera,
            Side::Share => Source::Screen,
        };
        let given = self.streams.announce(&mut self.numbers, (who, source), socket, &sends);
        self.note_muted(who, side, is_muted);
        if let (Some(seat), Side::Main) = (self.roster.find_mut(who), side) {
            seat.camera = !sends.is_empty();
        }
        self.notify(who, side, Notice::Answered(Box::new(Answered { id, sdp, sending, given })));
        if had != self.media(who, side).map(|media| media.peer) {
            self.set_fresh(who, side);
            let kept = self.board.read(self.now);
            let is_reader = side == Side::Main && self.roster.find(who).is_some_and(Seat::is_admitted);
            if !kept.is_empty() && is_reader {
                self.notify(who, side, Notice::Posts(kept.into()));
            }
        }
        Ok(())
    }

    fn note_muted(&mut self, who: ParticipantId, side: Side, is_muted: bool) {
        let Some(seat) = self.roster.find_mut(who) else { return };
        match side {
            Side::Main => seat.microphone = !is_muted,
            Side::Share => {
                if let Some(share) = seat.face.as_mut().and_then(|face| face.share.as_mut()) {
                    share.is_muted = is_muted;
                }
            }
        }
    }

    /// Words from somebody inside reach everybody else inside; those that are too many go back.
    fn post(&mut self, who: ParticipantId, side: Side, drafts: Vec<Draft>) {
        let now = self.now;
        let Some(seat) = self.roster.find_mut(who).filter(|seat| seat.is_admitted()) else { return };
        let Some(face) = seat.face.as_mut() else { return };
        let from = face.alias.clone();
        let (mut told, mut back) = (Vec::new(), Vec::new());
        for draft in drafts {
            if face.posts.take(now.steady) && self.board.may_post(now) {
                let post = Post { draft, from: from.clone(), at: Some(now.wall) };
                self.board.keep(now, post.clone());
                told.push(post);
            } else {
                back.push(Post { draft, from: from.clone(), at: None });
            }
        }
        if !back.is_empty() {
            self.notify(who, side, Notice::Posts(back.into()));
        }
        if told.is_empty() {
            return;
        }
        self.note_posts(&told);
        let told: Arc<[Post]> = told.into();
        let others = self.roster.iter_mut().filter(|s| s.is_admitted() && s.face.is_some());
        for seat in others.filter(|s| s.person.participant != who) {
            seat.notify(now, Notice::Posts(Arc::clone(&told)));
        }
    }

    pub(super) fn note_published(&mut self, tracks: Vec<PublishedTrack>) {
        self.streams.publish(&mut self.numbers, tracks);
        let rates: Arc<[(u32, u32)]> = self.streams.rates().into();
        self.notify_inside(|| Notice::Rates(Arc::clone(&rates)));
    }

    pub(super) fn note_levels(&mut self, levels: Vec<Level>) {
        let levels: Arc<[Level]> = levels.into();
        self.notify_inside(|| Notice::Levels(Arc::clone(&levels)));
    }

    /// Tells translated clients what changed for them since the last time. Who waits sees nobody but oneself.
    pub(super) fn tell_translated(&mut self) {
        if self.roster.iter().all(|seat| seat.face.is_none()) {
            self.tell_outside(&[], &Gallery::default());
            self.dropped.clear();
            return;
        }
        let now = self.now;
        let gallery = self.to_gallery();
        let present = self.to_present(&gallery);
        let is_presence_new = present != self.told.presence.present;
        let is_gallery_new = gallery != *self.told.gallery;
        if is_presence_new || is_gallery_new {
            self.tell_outside(&present, &gallery);
        }
        if is_presence_new {
            let dropped = std::mem::take(&mut self.dropped);
            self.told.presence = Arc::new(Presence { present, dropped });
        }
        if is_gallery_new {
            self.told.gallery = Arc::new(gallery);
        }
        for seat in self.roster.iter_mut() {
            let is_inside = seat.is_admitted();
            let alone = to_own_entry(seat);
            let Some(face) = &mut seat.face else { continue };
            let is_fresh = std::mem::take(&mut face.is_fresh) || face.was_inside != is_inside;
            face.was_inside = is_inside;
            let share_is_fresh = face.share.as_mut().is_some_and(|share| std::mem::take(&mut share.is_fresh));
            let (gallery, presence) = if is_inside {
                (Arc::clone(&self.told.gallery), Arc::clone(&self.told.presence))
            } else {
                let nothing = Gallery { people: 1, ..Gallery::default() };
                let presence = Presence { present: alone.into_iter().collect(), dropped: Vec::new() };
                (Arc::new(nothing), Arc::new(presence))
            };
            if let Some(line) = face.share.as_ref().and_then(|share| share.line.as_ref()) {
                if share_is_fresh {
                    put(line, Outgoing::Notice(Box::new(Notice::Pictures(Arc::clone(&gallery)))));
                }
                if share_is_fresh || is_presence_new {
                    put(line, Outgoing::Notice(Box::new(Notice::Present(Arc::clone(&presence)))));
                }
            }
            if is_fresh || (is_inside && is_gallery_new) {
                seat.notify(now, Notice::Pictures(gallery));
            }
            if is_fresh || (is_inside && is_presence_new) {
                seat.notify(now, Notice::Present(presence));
            }
        }
    }

    pub(super) fn to_gallery(&self) -> Gallery {
        let mut pictures = Vec::new();
        for (track, group, streams) in self.streams.iter() {
            let who = track.participant;
            let Some(seat) = self.roster.find(who).filter(|seat| seat.is_admitted()) else { continue };
            let is_share = track.source == Source::Screen;
            let is_on = match &seat.face {
                Some(_) => self.streams.is_announced(who, track.source),
                None => is_share || seat.camera,
            };
            if !is_on || streams.is_empty() {
                continue;
            }
            let alias = to_alias(seat, is_share);
            let is_held = !is_share && (seat.camera_held || self.streams.is_stuck(who, track.source));
            pictures.push(Picture { who, alias, is_share, is_held, group, track: track.track, streams });
        }
        let cameras = pictures.iter().filter(|picture| !picture.is_share).count();
        let people = self.roster.iter().filter(|seat| is_present(seat)).count();
        let inside = self.roster.iter().filter(|seat| is_present(seat));
        let codecs = inside.filter_map(|seat| seat.media.as_ref()?.codecs).reduce(Codecs::and);
        let people = u32::try_from(people).unwrap_or(u32::MAX);
        Gallery { pictures, people, is_full: cameras >= MAX_CAMERAS, codecs }
    }

    pub(super) fn to_present(&self, gallery: &Gallery) -> Vec<Present> {
        let mut present = Vec::new();
        for seat in self.roster.iter().filter(|seat| seat.is_admitted()) {
            present.extend(to_own_entry(seat));
            let who = seat.person.participant;
            let shown = gallery.pictures.iter().find(|picture| picture.who == who && picture.is_share);
            let (number, is_muted) = match (seat.face.as_ref(), shown) {
                (Some(face), _) => match face.share.as_ref().filter(|share| share.media.is_some()) {
                    Some(share) => (share.number, share.is_muted),
                    None => continue,
                },
                // What a native client shares has no connection of its own: the number of its picture is as good.
                (None, Some(picture)) => (picture.group, false),
                (None, None) => continue,
            };
            present.push(Present { number, who, alias: to_alias(seat, true), is_share: true, is_muted });
        }
        present.sort_by_key(|entry| entry.number);
        present
    }

    fn set_fresh(&mut self, who: ParticipantId, side: Side) {
        let Some(face) = self.roster.find_mut(who).and_then(|seat| seat.face.as_mut()) else { return };
        match (side, &mut face.share) {
            (Side::Main, _) => face.is_fresh = true,
            (Side::Share, Some(share)) => share.is_fresh = true,
            (Side::Share, None) => {}
        }
    }

    fn notify(&mut self, who: ParticipantId, side: Side, notice: Notice) {
        let now = self.now;
        let Some(seat) = self.roster.find_mut(who) else { return };
        match side {
            Side::Main => seat.notify(now, notice),
            Side::Share => {
                let share = seat.face.as_ref().and_then(|face| face.share.as_ref());
                if let Some(line) = share.and_then(|share| share.line.as_ref()) {
                    put(line, Outgoing::Notice(Box::new(notice)));
                }
            }
        }
    }

    fn notify_inside(&mut self, notice: impl Fn() -> Notice) {
        let now = self.now;
        for seat in self.roster.iter_mut().filter(|seat| seat.is_admitted() && seat.face.is_some()) {
            seat.notify(now, notice());
        }
    }
}

/// There is no place: told apart from what may be tried again.
pub(super) fn full() -> Fault {
    Code::Unavailable.with("This visit is full.").member("isFull", true)
}

/// Hands something to a share's socket. One that does not read loses its queue, and with that its socket ends.
fn put(line: &Line, outgoing: Outgoing) {
    if line.out.try_send(outgoing).is_err() {
        tracing::debug!(socket = ?line.socket, "a share does not read");
    }
}

fn ended(reason: EndReason) -> Notice {
    Notice::Said(Box::new(ServerMessage::Ended { reason }))
}

/// True for somebody who takes part: a native client with a socket, a translated one whose offer was answered.
fn is_present(seat: &Seat) -> bool {
    seat.is_admitted() && to_own_entry(seat).is_some()
}

fn to_own_entry(seat: &Seat) -> Option<Present> {
    let is_here = match &seat.face {
        Some(_) => seat.media.is_some(),
        None => seat.line.is_some() || seat.peer().is_some(),
    };
    let is_muted = !seat.microphone || seat.muted.contains(&Source::Microphone);
    is_here.then(|| Present {
        number: seat.number,
        who: seat.person.participant,
        alias: to_alias(seat, false),
        is_share: false,
        is_muted,
    })
}

/// What somebody is called. A native client's person has the id of their place in the visit.
fn to_alias(seat: &Seat, is_share: bool) -> Alias {
    let own = match &seat.face {
        Some(face) => face.alias.clone(),
        None => Alias {
            id: seat.person.participant.to_string().into(),
            name: Redacted::new(seat.person.name.reveal().as_str().into()),
        },
    };
    match seat.face.as_ref().and_then(|face| face.share.as_ref()).filter(|_| is_share) {
        Some(share) => share.alias.clone(),
        None if is_share => Alias { id: format!("{}{SHARED}", own.id).into(), name: own.name },
        None => own,
    }
}

/// What follows somebody's id where their share is meant.
pub(super) const SHARED: &str = "#content";
