//! What the one audio line of a Peer in the Chime manner carries: the only other voice as it came, or the mix of all others, which is
//! made elsewhere. Between the two it goes over without a gap: the voice flows until the mix does.

use std::time::{Duration, Instant};

use bytes::Bytes;
use wire::control::{Codec, Kind, Manner, SlotTrack, Source};
use wire::tap::NodeMicros;
use wire::{PeerId, RoomId, TrackId};

use super::{Room, may_receive};
use crate::Output;
use crate::context::Context;
use crate::door;
use crate::mix::{MixListener, MixPlan, MixedPacket, VoicePacket};
use crate::negotiate::Coding;
use crate::peer::{Peer, Wanted};
use crate::track::{Detail, Incoming, Track};

/// How often the receiver of a mix learns what time it is in it.
const REPORTS: Duration = Duration::from_secs(1);
/// From 1900 to 1970.
const NTP_EPOCH: u64 = 2_208_988_800;
/// What a mix is coded in.
const CODING: Coding = Coding { codec: Codec::Opus, profile: None };

/// What each Peer in the Chime manner hears, and the plan by which the Room is mixed.
#[derive(Debug, Default)]
pub(super) struct Mixing {
    /// One for each Peer in the Chime manner.
    ears: Vec<Ear>,
    plan: MixPlan,
    /// Sounds of screens that were not silent. At most one for each Peer; those that ended go with the next plan.
    loud: Vec<TrackId>,
}

/// One Peer that has a single line for all voices.
#[derive(Debug)]
struct Ear {
    peer: PeerId,
    sound: Option<Wanted>,
    /// The name under which its slot carries the mix: a Track of nobody.
    mix: TrackId,
    /// A mix is made for it.
    is_mixed: bool,
    /// The mix flows, and nothing else does.
    has_mix: bool,
    /// Packets made by an earlier plan hold what it may not hear.
    since: u64,
    /// Of the next packet.
    number: u64,
    reported: Option<Instant>,
}

impl Mixing {
    /// What the audio line of this Peer carries.
    pub(super) fn sound_for(&self, peer: PeerId) -> Option<Wanted> {
        self.ears.iter().find(|ear| ear.peer == peer).and_then(|ear| ear.sound.clone())
    }

    /// Gives the mix a packet that may be heard by others.
    pub(super) fn feed(&self, ctx: &mut Context, room: RoomId, incoming: &Incoming) {
        if incoming.payload.is_empty() || !self.plan.voices.contains(&incoming.track) {
            return;
        }
        let (voice, payload) = (incoming.track, incoming.payload.clone());
        let packet = VoicePacket { voice, number: incoming.number, level: incoming.audio_level, payload };
        ctx.outputs.push_back(Output::Voice { room, packet });
    }

    /// True when a packet is the first that is heard of what a screen sounds like. Most screens are silent all the time, and
    /// whoever has one other voice beside such a one needs no mix.
    pub(super) fn is_first_sound(&self, track: &Track, incoming: &Incoming) -> bool {
        let is_silent = incoming.audio_level.is_some_and(|level| level & 0x7f == 0x7f) || incoming.payload.is_empty();
        track.source == Source::ScreenSound && !is_silent && !self.loud.contains(&track.id)
    }

    /// Notes it. The plan has to be made anew.
    pub(super) fn note_sound(&mut self, track: TrackId) {
        self.loud.push(track);
    }

    /// Nobody listens any more.
    pub(super) fn end(&mut self, ctx: &mut Context, room: RoomId) {
        self.ears.clear();
        self.follow(ctx, room, Vec::new());
    }

    /// Makes a plan of what each Peer may hear, and tells it when it is another one.
    fn follow(&mut self, ctx: &mut Context, room: RoomId, heard: Vec<(PeerId, Vec<TrackId>)>) {
        let mut voices: Vec<TrackId> = heard.iter().flat_map(|(_, tracks)| tracks.iter().copied()).collect();
        voices.sort_unstable();
        voices.dedup();
        let listeners = heard.iter().map(|(peer, tracks)| MixListener {
            peer: *peer,
            without: voices.iter().copied().filter(|voice| !tracks.contains(voice)).collect(),
        });
        let number = self.plan.number + 1;
        let plan = MixPlan { number, listeners: listeners.collect(), voices };
        if plan.voices == self.plan.voices && plan.listeners == self.plan.listeners {
            return;
        }
        for (peer, tracks) in heard {
            let before = self.plan.listeners.iter().find(|listener| listener.peer == peer);
            // Who listened and may still hear all that may be under way goes on without a gap.
            let goes_on = before.is_some_and(|before| {
                self.plan.voices.iter().all(|voice| before.without.contains(voice) || tracks.contains(voice))
            });
            if let Some(ear) = self.ears.iter_mut().find(|ear| ear.peer == peer && !goes_on) {
                ear.since = number;
            }
        }
        self.plan = plan.clone();
        ctx.outputs.push_back(Output::MixWanted { room, plan });
    }
}

impl Ear {
    fn new(ctx: &mut Context, peer: PeerId) -> Self {
        let mix = ctx.fresh_track();
        Self { peer, sound: None, mix, is_mixed: false, has_mix: false, since: 0, number: 0, reported: None }
    }

    /// Decides what flows, of what may be heard.
    fn choose(&mut self, peer: &Peer, audible: &[Wanted]) {
        // Without keys there is nobody to send a mix to.
        self.is_mixed = audible.len() > 1 && peer.is_connected();
        self.has_mix &= self.is_mixed;
        self.sound = match audible {
            [only] => Some(only.clone()),
            _ if self.has_mix => {
                let (participant, source) = (peer.participant, Source::Microphone);
                Some(Wanted { carries: SlotTrack { participant, source, track: self.mix }, coding: CODING })
            }
            // What flowed so far goes on until the mix comes.
            many => self.sound.take().filter(|sound| many.iter().any(|one| one.carries == sound.carries)),
        };
    }
}

impl Room {
    /// Decides what each Peer in the Chime manner hears. Called after every change of who is inside and what they publish.
    pub(super) fn plan_sound(&mut self, ctx: &mut Context) {
        let Self { peers, mixing, .. } = self;
        mixing.loud.retain(|id| peers.iter().any(|(_, peer)| peer.tracks.iter().any(|track| track.id == *id)));
        let is_here = |ear: &Ear| peers.iter().any(|(_, peer)| peer.id == ear.peer);
        mixing.ears.retain(is_here);
        let mut heard = Vec::new();
        for (_, peer) in peers.iter().filter(|(_, peer)| peer.manner == Manner::Chime) {
            let is_audible = |track: &Track| {
                let is_silent = track.source == Source::ScreenSound && !mixing.loud.contains(&track.id);
                track.source.kind() == Kind::Audio && track.is_sending && !track.is_muted && !is_silent
            };
            let audible: Vec<Wanted> = peers
                .iter()
                .flat_map(|(_, publisher)| {
                    let tracks = publisher.tracks.iter().filter(|track| is_audible(track));
                    let tracks = tracks.filter(|track| may_receive(peer, publisher, track.source));
                    tracks.map(|track| Wanted { carries: publisher.slot_track(track), coding: track.coding })
                })
                .collect();
            if !mixing.ears.iter().any(|ear| ear.peer == peer.id) {
                let ear = Ear::new(ctx, peer.id);
                mixing.ears.push(ear);
            }
            let Some(ear) = mixing.ears.iter_mut().find(|ear| ear.peer == peer.id) else { continue };
            ear.choose(peer, &audible);
            if ear.is_mixed {
                heard.push((peer.id, audible.iter().map(|wanted| wanted.carries.track).collect()));
            }
        }
        mixing.follow(ctx, self.id, heard);
    }

    /// Sends a packet of the mix to those who are to have it and may.
    pub(crate) fn handle_mixed(&mut self, ctx: &mut Context, mixed: &MixedPacket) {
        let may_have = |ear: &&mut Ear| ear.is_mixed && ear.since <= mixed.plan && mixed.listeners.contains(&ear.peer);
        let mut begins = false;
        for ear in self.mixing.ears.iter_mut().filter(may_have) {
            begins |= !std::mem::replace(&mut ear.has_mix, true);
        }
        if begins {
            self.reconcile(ctx);
        }
        let clock = (ntp(ctx.node_time()), mixed.timestamp);
        let Self { peers, places, mixing, .. } = self;
        for ear in mixing.ears.iter_mut().filter(may_have) {
            let peer = places.get(&ear.peer).and_then(|index| peers.get_mut(*index));
            let Some(peer) = peer.filter(|peer| door::may_ask(peer.door)) else { continue };
            if peer.send_media(ctx, &incoming(ear, mixed)) {
                ear.reported = None;
            }
            ear.number += 1;
            ctx.counters.mixed += 1;
            if ear.reported.is_none_or(|at| ctx.now.saturating_duration_since(at) >= REPORTS) {
                ear.reported = Some(ctx.now);
                peer.send_sender_report(ctx, (ear.mix, 0), clock);
            }
        }
    }
}

/// A packet of the mix, as if somebody had published it.
fn incoming(ear: &Ear, mixed: &MixedPacket) -> Incoming {
    Incoming {
        track: ear.mix,
        layer: 0,
        packet: Bytes::new(),
        number: ear.number,
        timestamp: mixed.timestamp,
        marker: ear.reported.is_none(),
        coding: CODING,
        payload: mixed.payload.clone(),
        audio_level: Some(mixed.level),
        starts_run: false,
        is_newest: true,
        detail: Detail::Plain,
        picture: None,
        descriptor: None,
        dependency: None,
        frame: None,
        clock: None,
        unwrapped: None,
    }
}

/// The time of day as RTCP has it.
fn ntp(NodeMicros(micros): NodeMicros) -> u64 {
    let fraction = ((micros % 1_000_000) << 32) / 1_000_000;
    ((micros / 1_000_000 + NTP_EPOCH) << 32) | fraction
}
