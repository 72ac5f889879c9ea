//! The downlinks of a Room: each receiver's is divided among what it wants to see, and publishers hear what of them is wanted.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use bandwidth::{Bitrate, Claim, Class, Emphasis, Grant, Granted, MAX_RATE, Rung, Shape};
use wire::ParticipantId;
use wire::TrackId;
use wire::control::{Door, Encoding, Event, Kind, SlotTrack, Source, View};

use super::Room;
use crate::context::Context;
use crate::door;
use crate::layer::{Layer, LayerStep, Step};
use crate::peer::Peer;
use crate::subscription::Slot;
use crate::wish::{Settled, Voice, encoding_hold, voice_hold};

/// The most that one encoding is ever asked for.
const MOST: Bitrate = Bitrate::kbps(2500);
/// The same for a small tile.
const MOST_SMALL: Bitrate = Bitrate::kbps(150);
/// So much is explored even for a publisher who sends little at the moment.
const EXPLORED: Bitrate = Bitrate::kbps(2000);
/// A publisher is limited to this share of what its receivers have for it.
const RELAYED: f64 = 0.95;
/// No limit is lower: below it the picture is paused instead.
const LEAST: Bitrate = Bitrate::kbps(50);
/// What a limit leaves for the publisher's voice, which counts under it as well.
const VOICE: Bitrate = Bitrate::kbps(60);
/// Sent to a listener beside voices.
const CONTROL: Bitrate = Bitrate::kbps(5);
/// Voices that are reckoned with at a time.
const VOICES: u64 = 3;
/// What of publishers is wanted is looked at so often while no division says more: voices, holds and repeated limits.
const WISHES: Duration = Duration::from_millis(100);
/// Who speaks for so long gets more of the picture.
const SPEAKING: Duration = Duration::from_secs(2);
/// A picture is held back for so long before the viewer is told: a start looks the same.
const TOLD_AFTER: Duration = Duration::from_secs(1);

/// More than an estimate that was never disproved may come for so long: probes raise it sooner, or disprove it.
const UNPROVEN: Duration = Duration::from_secs(1);

/// What a receiver wants to see in one slot.
struct Wanted {
    slot: usize,
    key: u64,
    source: Source,
    emphasis: Emphasis,
    steps: Vec<Step>,
    ladder: Vec<Rung>,
    is_single: bool,
    /// Its publisher sends what this receiver has for it.
    is_followed: bool,
    /// What is of use to it while it has no steps: more than comes, as that may be little because little was asked for.
    explored: Bitrate,
    /// What other receivers keep it up to.
    least: Bitrate,
    /// The viewer wants no more.
    target: Bitrate,
}

impl Wanted {
    /// What comes at present, with all steps.
    fn rate(&self) -> Bitrate {
        self.steps.iter().map(|step| step.rate).max().unwrap_or_default()
    }
}

fn key(ssrc: u32, track: TrackId) -> u64 {
    let (high, low) = track.as_uuid().as_u64_pair();
    // Another Track in a slot is another claim.
    (high ^ low).rotate_left(7) ^ u64::from(ssrc)
}

const fn rung_id(step: LayerStep) -> u16 {
    (step.spatial as u16) << 8 | step.temporal as u16
}

/// Steps as a ladder: each dearer than the one before, more pixels before more frames. Without known sizes a spatial step
/// counts as four times the pixels. Of what is dearer than `target` only the cheapest is a rung, when there is no other.
fn ladder(steps: &[Step], target: Bitrate) -> Vec<Rung> {
    let mut steps = steps.to_vec();
    steps.sort_by_key(|step| step.step);
    let mut ladder: Vec<Rung> = Vec::new();
    for step in steps {
        let pixels = step.pixels.map_or(57_600 << (2 * u64::from(step.step.spatial.min(8))), u64::from);
        let rung = Rung {
            id: rung_id(step.step),
            rate: step.rate,
            worth: pixels * (2 + u64::from(step.step.temporal.min(8))),
        };
        if ladder.last().is_none_or(|last| rung.rate > last.rate && rung.rate <= target) {
            ladder.push(rung);
        }
    }
    ladder
}

/// Leaves out the Layers above this one; when only such come in, all but the smallest of those.
fn keep_below(steps: &mut Vec<Step>, at_most: Layer) {
    let smallest = steps.iter().map(|step| step.step.spatial).min().unwrap_or_default();
    steps.retain(|step| step.step.spatial <= at_most.max(smallest));
}

impl Slot {
    /// It shows a picture to somebody, or would if the way could carry it.
    fn is_watched(&self) -> bool {
        self.kind == Kind::Video && self.is_open && self.view != View::Hidden
    }
}

impl Room {
    /// Sends what waited for its time.
    pub(crate) fn pace(&mut self, ctx: &mut Context, index: usize) {
        if let Some(peer) = self.peers.get_mut(index) {
            peer.pace(ctx);
        }
    }

    /// What waits was accepted before something changed: it leaves before the change, so that no numbers are missing.
    pub(super) fn flush_waiting(&mut self, ctx: &mut Context) {
        for (_, peer) in &mut self.peers {
            peer.flush_waiting(ctx);
        }
    }

    /// After a door moved, a right was taken or somebody went: nothing leaves that waits for somebody outside or is of somebody
    /// outside, or that may not be sent any more.
    /// Everything else may: those whom it concerns are where they were when it was accepted.
    pub(super) fn drop_waiting(&mut self) {
        let inside = self.peers.iter().filter(|(_, peer)| door::may_forward(peer.door, Door::Admitted));
        let given = inside.flat_map(|(_, peer)| {
            peer.tracks.iter().filter(move |track| door::may_send(peer.rights, track.source)).map(|track| track.id)
        });
        let given: Vec<TrackId> = given.collect();
        for (_, peer) in &mut self.peers {
            let (is_outside, rights) = (!door::may_forward(Door::Admitted, peer.door), peer.rights);
            peer.drop_waiting(|slot| {
                let carried = slot.subscription.as_ref().map(|carried| &carried.carries);
                let may = |of: &SlotTrack| door::may_be_sent(rights, of.source) && given.contains(&of.track);
                is_outside || !carried.is_some_and(may)
            });
        }
    }

    /// Lets every downlink work, and divides those whose time has come.
    pub(super) fn tend_downlinks(&mut self, ctx: &mut Context) {
        for index in 0..self.peers.capacity() {
            if self.tend(ctx, index) {
                self.divide(ctx, index);
                self.next_wishes = ctx.now;
            }
        }
        // It depends on divisions and on who is there and looks; all else is slower than this.
        if ctx.now >= self.next_wishes {
            self.next_wishes = ctx.now + WISHES;
            for index in 0..self.peers.capacity() {
                self.tell_publisher(ctx, index);
            }
        }
    }

    /// Lets one downlink work. True when it is time to divide it, which the next tick does at the latest.
    pub(super) fn tend(&mut self, ctx: &mut Context, index: usize) -> bool {
        let Some(peer) = self.peers.get_mut(index).filter(|peer| peer.is_connected()) else { return false };
        peer.downlink.tend(ctx.now, peer.transport.path());
        peer.pace(ctx);
        let is_due = peer.is_divided() && peer.downlink.is_division_due(ctx.now);
        self.is_hurried |= is_due || peer.downlink.is_busy();
        is_due
    }

    /// Divides one receiver's downlink.
    fn divide(&mut self, ctx: &mut Context, index: usize) {
        let wanted = self.wanted_by(ctx, index);
        let elastic = wanted.iter().filter(|wanted| wanted.is_single).count();
        let mut best = Bitrate::ZERO;
        let mut claims = Vec::with_capacity(wanted.len());
        for one in &wanted {
            let explored = one.explored;
            let is_small = one.emphasis == Emphasis::Thumbnail;
            let most = match (is_small, elastic) {
                (true, _) => MOST_SMALL,
                (false, 1) => MOST,
                (false, _) => explored,
            };
            let most = most.min(one.target);
            let shape = if one.is_single {
                best = best + if is_small { MOST_SMALL } else { explored }.min(one.target);
                Shape::Elastic { most, least: one.least }
            } else {
                best =
                    best + if is_small { one.ladder.first() } else { one.ladder.last() }.map_or(MOST, |rung| rung.rate);
                Shape::Ladder(&one.ladder)
            };
            let class = if one.source == Source::Screen { Class::Screen } else { Class::Face };
            claims.push(Claim { key: one.key, class, emphasis: one.emphasis, shape });
        }
        let Some(receiver) = self.peers.get_mut(index) else { return };
        receiver.downlink.set_followed(!wanted.is_empty() && wanted.iter().all(|one| one.is_followed));
        let granted = receiver.downlink.divide(ctx.now, &claims, best);
        drop(claims);
        receiver.take_grants(ctx, &wanted, &granted);
    }

    /// What one receiver wants to see, in the order of its slots.
    fn wanted_by(&mut self, ctx: &Context, index: usize) -> Vec<Wanted> {
        let Some(receiver) = self.peers.get(index) else { return Vec::new() };
        let speaking = self.speaking.filter(|(_, since)| ctx.now.saturating_duration_since(*since) >= SPEAKING);
        let slots = receiver.slots.iter().enumerate().filter(|(_, slot)| slot.is_watched());
        let mut slots: Vec<_> = slots
            .filter_map(|(place, slot)| {
                let carries = &slot.subscription.as_ref()?.carries;
                let is_speaking = speaking.is_some_and(|(who, _)| who == carries.participant);
                let rank = receiver.rank(&slot.mid);
                let emphasis = match (slot.view, rank) {
                    (View::Thumbnail, _) => Emphasis::Thumbnail,
                    (View::Pinned, _) => Emphasis::Pinned,
                    (View::Full | View::Hidden, Some((_, emphasis))) => emphasis,
                    (View::Full | View::Hidden, None) if is_speaking => Emphasis::Speaker,
                    (View::Full | View::Hidden, None) => Emphasis::Plain,
                };
                let priority = rank.map_or(0, |(priority, _)| priority);
                let most = receiver.most(&slot.mid);
                Some((priority, place, slot.sending.ssrc, carries.track, carries.source, emphasis, most))
            })
            .collect();
        // Whom the viewer puts first is served first; otherwise who came first.
        slots.sort_by_key(|(priority, ..)| Reverse(*priority));
        let mut wanted = Vec::with_capacity(slots.len());
        for (_, slot, ssrc, track, source, emphasis, (at_most, target)) in slots {
            let others = self.viewers(track).filter(|(other, _)| *other != index);
            let others: Vec<Bitrate> = others.map(|(_, peer)| peer.granted(track)).collect();
            let Some((can_be_limited, is_layered, steps)) = self.steps_of(ctx, track, at_most) else { continue };
            let rate = steps.iter().map(|step| step.rate).max().unwrap_or_default();
            let kept_up = others.iter().max().map_or(Bitrate::ZERO, |other| other.scale(RELAYED));
            let least = if can_be_limited { rate.min(kept_up) } else { rate };
            let target = target.unwrap_or(MAX_RATE);
            let ladder = ladder(&steps, target);
            let is_followed = others.is_empty() && can_be_limited;
            let is_single = !is_layered || is_followed;
            let explored = (rate.scale(1.5) + Bitrate::kbps(100)).clamp(EXPLORED, MOST);
            let key = key(ssrc, track);
            wanted.push(Wanted {
                slot,
                key,
                source,
                emphasis,
                steps,
                ladder,
                is_single,
                is_followed,
                explored,
                least,
                target,
            });
        }
        wanted
    }

    /// Everybody who would see this Track if the way could carry it.
    fn viewers(&self, track: TrackId) -> impl Iterator<Item = (usize, &Peer)> {
        self.peers.iter().filter(move |(_, peer)| {
            peer.door == Door::Admitted
                && peer.is_connected()
                && peer.slots.iter().any(|slot| slot.is_watched() && slot.carries(track))
        })
    }

    /// Whether the publisher of a Track can be limited, whether the Track has layers, and what of it flows. `None` while
    /// nothing is to be forwarded.
    fn steps_of(&mut self, ctx: &Context, id: TrackId, at_most: Option<Layer>) -> Option<(bool, bool, Vec<Step>)> {
        for (_, peer) in &mut self.peers {
            let can_be_limited = peer.can_be_limited;
            let Some(track) = peer.tracks.iter_mut().find(|track| track.id == id) else { continue };
            if !track.is_sending || track.is_muted {
                return None;
            }
            let mut steps = track.steps(ctx.now);
            if let (Some(at_most), true) = (at_most, track.has_layers()) {
                keep_below(&mut steps, at_most);
            }
            let is_layered = track.has_layers() || steps.iter().any(|step| step.step.spatial > 0);
            return Some((can_be_limited, is_layered, steps));
        }
        None
    }

    /// Tells a publisher what of it is wanted: encodings, voice, limit.
    fn tell_publisher(&mut self, ctx: &mut Context, index: usize) {
        let Some(publisher) = self.peers.get(index).filter(|peer| peer.is_connected()) else { return };
        if publisher.door != Door::Admitted {
            return;
        }
        let is_taped = self.tap.is_some() && self.consents.holds(publisher.participant);
        // An encoder that slept takes longer to wake than a door to open. What it makes meanwhile goes no further than here.
        let is_awaited = self.peers.iter().any(|(_, peer)| peer.door == Door::Waiting && peer.is_connected());
        let mut encodings = Vec::new();
        let mut limits = Vec::new();
        let mut voice = None;
        for track in publisher.tracks.iter().filter(|track| track.is_sending) {
            if track.source.kind() == Kind::Audio {
                voice = self.poorest(track.id);
                continue;
            }
            let viewers: Vec<&Peer> = self.viewers(track.id).map(|(_, peer)| peer).collect();
            let looking = viewers.iter().filter(|peer| !peer.holds_back(track.id)).count();
            let encoding = match looking {
                _ if track.is_muted => Encoding::Asleep,
                0 if !is_taped && !is_awaited => Encoding::Asleep,
                0 | 1 => Encoding::Single,
                _ if track.has_layers() => Encoding::Layers,
                _ => Encoding::Single,
            };
            encodings.push((track.id, track.source, encoding));
            // Of several sizes a receiver takes the one that fits. A limit would only keep the larger ones from being made.
            let has_choice = track.live(ctx.now).has_choice();
            let is_free =
                has_choice || viewers.is_empty() || viewers.iter().any(|peer| peer.takes_all(ctx.now, track.id));
            let share = viewers.iter().map(|peer| peer.granted(track.id)).max().unwrap_or_default();
            limits.push((!is_free).then(|| share.scale(RELAYED).clamp(LEAST, MOST)));
        }
        let limit = limits.iter().any(Option::is_some).then(|| {
            let sum: Bitrate = limits.iter().map(|limit| limit.unwrap_or(MOST)).sum();
            sum + VOICE
        });
        let room = self.id;
        let Some(publisher) = self.peers.get_mut(index) else { return };
        publisher.tell_encodings(ctx, room, &encodings);
        publisher.tell_voice(ctx, room, voice);
        publisher.tell_limit(ctx, limit);
    }

    /// What the poorest listener of a voice has for it, with the redundancy that is owed to it.
    fn poorest(&self, voice: TrackId) -> Option<Voice> {
        let listeners = self.peers.iter().map(|(_, peer)| peer).filter(|peer| {
            door::may_ask(peer.door) && peer.is_connected() && peer.slots.iter().any(|slot| slot.carries(voice))
        });
        let budgets = listeners.map(|peer| {
            let voices = peer.slots.iter().filter(|slot| slot.kind == Kind::Audio && slot.subscription.is_some());
            let voices = (voices.count() as u64).clamp(1, VOICES);
            let budget = Bitrate::bps(peer.downlink.sound_target().saturating_sub(CONTROL).as_bps() / voices);
            let reads_red = peer.slots.iter().any(|slot| slot.carries(voice) && slot.reads_red());
            Voice::guarded(budget, if reads_red { peer.downlink.reach().wanted } else { 0 })
        });
        budgets.reduce(Voice::poorer)
    }

    /// Remembers since when somebody speaks.
    pub(super) fn note_speaking(&mut self, ctx: &Context, who: Option<ParticipantId>) {
        self.speaking = who.map(|who| (who, ctx.now));
    }
}

impl Peer {
    /// What this receiver has for a Track.
    fn granted(&self, track: TrackId) -> Bitrate {
        self.grants.iter().find(|(id, _)| *id == track).map_or(Bitrate::ZERO, |(_, granted)| granted.rate)
    }

    /// True when what it has for a Track is no limit for the publisher: it is all there can be, nothing has shown that the
    /// way carries no more, or nothing has been divided for it yet.
    fn takes_all(&self, now: Instant, track: TrackId) -> bool {
        let grant = self.grants.iter().find(|(id, _)| *id == track);
        let slot = self.slots.iter().find(|slot| slot.carries(track));
        let exceeded = slot.and_then(|slot| slot.exceeded_since);
        let is_exceeded = exceeded.is_some_and(|since| now.saturating_duration_since(since) >= UNPROVEN);
        let is_proven = is_exceeded || self.downlink.is_bound();
        grant.is_none_or(|(_, granted)| match granted.grant {
            Grant::Rung(_) => true,
            Grant::Elastic(rate) => rate >= MOST || !is_proven,
            Grant::Paused => false,
        })
    }

    /// The viewer was told that the network holds this Track back.
    fn holds_back(&self, track: TrackId) -> bool {
        self.slots.iter().any(|slot| slot.carries(track) && slot.is_told_paused)
    }

    /// Applies a division to the slots.
    fn take_grants(&mut self, ctx: &mut Context, wanted: &[Wanted], granted: &[Granted]) {
        self.grants.clear();
        for (place, slot) in self.slots.iter_mut().enumerate() {
            let one = wanted.iter().find(|one| one.slot == place);
            let grant = one.and_then(|one| granted.iter().find(|granted| granted.key == one.key));
            let (Some(one), Some(granted)) = (one, grant) else {
                slot.paused_since = None;
                if slot.kind == Kind::Video && slot.view == View::Hidden {
                    slot.select(None, ctx.now);
                }
                continue;
            };
            slot.exceeded_since = match granted.grant {
                Grant::Elastic(rate) if rate >= one.explored => None,
                Grant::Elastic(rate) if one.rate() > rate => slot.exceeded_since.or(Some(ctx.now)),
                _ => slot.exceeded_since,
            };
            if let Some(subscription) = &slot.subscription {
                self.grants.push((subscription.carries.track, *granted));
            }
            let step = match granted.grant {
                Grant::Paused => None,
                Grant::Rung(Some(id)) => one.steps.iter().map(|step| step.step).find(|step| rung_id(*step) == id),
                Grant::Rung(None) | Grant::Elastic(_) => Some(LayerStep::BEST),
            };
            let is_paused = granted.grant == Grant::Paused || self.downlink.rests(slot.sending.ssrc);
            slot.paused_since = is_paused.then(|| slot.paused_since.unwrap_or(ctx.now));
            slot.select(step.filter(|_| !is_paused), ctx.now);
        }
        for slot in &mut self.slots {
            let is_paused = slot.paused_since.is_some_and(|at| ctx.now.saturating_duration_since(at) >= TOLD_AFTER);
            if is_paused != slot.is_told_paused {
                slot.is_told_paused = is_paused;
                let (room, peer, mid) = (self.room, self.id, slot.mid.to_string());
                ctx.tell(Event::VideoPaused { room, peer, mid, paused: is_paused });
            }
        }
    }

    fn tell_encodings(&mut self, ctx: &mut Context, room: wire::RoomId, right: &[(TrackId, Source, Encoding)]) {
        self.encodings.retain(|(id, _)| right.iter().any(|(other, _, _)| other == id));
        for (id, source, encoding) in right {
            let place = self.encodings.iter().position(|(other, _)| other == id);
            let place = place.unwrap_or_else(|| {
                self.encodings.push((*id, Settled::new(Encoding::Single)));
                self.encodings.len() - 1
            });
            let Some((_, wish)) = self.encodings.get_mut(place) else { continue };
            if let Some(encoding) = wish.note(ctx.now, *encoding, encoding_hold) {
                ctx.tell(Event::EncodingWanted { room, peer: self.id, source: *source, encoding });
            }
        }
    }

    fn tell_voice(&mut self, ctx: &mut Context, room: wire::RoomId, right: Option<Voice>) {
        let Some(right) = right else { return };
        if let Some(Voice { bitrate, ptime_ms }) = self.voice.note(ctx.now, right, voice_hold) {
            ctx.tell(Event::AudioBudget { room, peer: self.id, bitrate, ptime_ms });
        }
    }

    fn tell_limit(&mut self, ctx: &mut Context, right: Option<Bitrate>) {
        if !self.can_be_limited {
            return;
        }
        if let Some(limit) = self.limit.poll(ctx.now, right) {
            self.send_limit(ctx, limit);
        }
    }

    /// True while the encoder of a Track was asked to sleep: it would not answer a request for a keyframe.
    pub(super) fn is_asleep(&self, track: TrackId) -> bool {
        self.encodings.iter().any(|(id, wish)| *id == track && wish.told() == Encoding::Asleep)
    }
}

#[cfg(test)]
mod tests;
