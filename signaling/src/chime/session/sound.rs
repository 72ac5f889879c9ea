//! Who is here and who is heard, as a Chime client learns of it: full once, then what changed.

use std::collections::BTreeMap;

use wire::ParticipantId;
use wire::control::Level;

use crate::chime::frames::{AttendeeState, AudioMetadata, AudioStream, AudioStreamIdInfo, Frame, FrameType};
use crate::live::face::{Presence, Present};
use crate::live::roster::Moment;

use super::{Session, frame};

/// So far below full scale that a client shows nothing.
const SILENT: u32 = 127;

/// The weakest and the best signal of this protocol.
const GOOD: u32 = 2;

/// Who the client knows of.
#[derive(Debug, Default)]
pub(super) struct Sound {
    known: Vec<Present>,
    /// Of those whose network is not good.
    weak: BTreeMap<ParticipantId, u32>,
}

impl Sound {
    /// Network bars, 0 to 4, become 0, 1 or 2.
    pub(super) fn note_bars(&mut self, who: ParticipantId, bars: u8) {
        let strength = u32::from(bars).min(GOOD);
        if strength == GOOD {
            self.weak.remove(&who);
        } else {
            self.weak.insert(who, strength);
        }
    }

    /// What to tell of a presence that may be another than the one known: everything the first time, then what changed.
    fn take(&mut self, presence: &Presence) -> Option<AudioStreamIdInfo> {
        let known = std::mem::replace(&mut self.known, presence.present.clone());
        let mut streams = Vec::new();
        for old in &known {
            let is_here = presence.present.iter().any(|now| now.alias.id == old.alias.id);
            // A greater number for the same person replaces the old one by itself.
            if !is_here {
                let dropped = presence.dropped.contains(&old.number).then_some(true);
                streams.push(AudioStream { audio_stream_id: Some(old.number), dropped, ..AudioStream::default() });
            }
        }
        for now in &presence.present {
            let audio_stream_id = Some(now.number);
            let muted = Some(now.is_muted);
            match known.iter().find(|old| old.number == now.number) {
                None => streams.push(AudioStream {
                    audio_stream_id,
                    attendee_id: Some(now.alias.id.to_string()),
                    muted,
                    external_user_id: Some(now.alias.name.reveal().to_string()),
                    dropped: None,
                }),
                Some(old) if old.is_muted != now.is_muted => {
                    streams.push(AudioStream { audio_stream_id, muted, ..AudioStream::default() });
                }
                Some(_) => {}
            }
        }
        let is_here = |who: &ParticipantId| presence.present.iter().any(|now| now.who == *who);
        self.weak.retain(|who, _| is_here(who));
        (!streams.is_empty()).then_some(AudioStreamIdInfo { streams })
    }

    /// Who is heard. Whoever is not in the frame is taken for silent, and for well connected if anybody's signal is in it.
    pub(super) fn to_metadata(&self, levels: &[Level]) -> Option<AudioMetadata> {
        let mut states = Vec::new();
        for present in self.known.iter().filter(|present| !present.is_share) {
            let level = levels.iter().find(|level| level.participant == present.who);
            let weak = self.weak.get(&present.who).copied();
            if level.is_none() && weak.is_none() {
                continue;
            }
            states.push(AttendeeState {
                audio_stream_id: Some(present.number),
                volume: Some(level.map_or(SILENT, |level| level.below.into())),
                muted: None,
                signal_strength: Some(weak.unwrap_or(GOOD)),
            });
        }
        if states.is_empty() {
            // Number 0 stands for everybody.
            states.push(AttendeeState { audio_stream_id: Some(0), volume: Some(SILENT), ..AttendeeState::default() });
        }
        (!self.known.is_empty()).then_some(AudioMetadata { attendee_states: states })
    }
}

impl Session {
    /// Tells who is here, once there was an answer: the first such frame must name everybody.
    pub(super) fn tell_presence(&mut self, now: Moment) {
        if !self.is_subscribed {
            return;
        }
        let Some(presence) = &self.presence else { return };
        if let Some(info) = self.sound.take(presence) {
            self.send(Frame { audio_stream_id_info: Some(info), ..frame(now, FrameType::AudioStreamIdInfo) });
        }
    }
}
