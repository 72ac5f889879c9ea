//! Who is speaking, from the audio levels that browsers send with each packet (RFC 6464).

use std::time::{Duration, Instant};

use wire::ParticipantId;
use wire::control::Level;

/// Levels are smoothed over about this many packets of 20 ms.
const SMOOTHING: f32 = 8.0;
/// Below this a voice counts as silence, in decibels above digital silence at -127 dBov.
const SILENCE: f32 = 70.0;
/// How much louder another voice must be to take over.
const MARGIN: f32 = 6.0;
/// How long the last voice keeps its place in a pause.
const HOLD: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, Debug)]
struct Voice {
    participant: ParticipantId,
    loudness: f32,
    heard: Instant,
}

/// The loudest voice of a Room.
#[derive(Debug, Default)]
pub(crate) struct Speaker {
    /// One for each Participant with a microphone: bounded by the Room's Peers.
    voices: Vec<Voice>,
    current: Option<(ParticipantId, Instant)>,
}

impl Speaker {
    /// Notes the level of one packet: the low 7 bits are -dBov.
    pub(crate) fn note(&mut self, participant: ParticipantId, level: u8, now: Instant) {
        let loudness = 127.0 - f32::from(level & 0x7f);
        match self.voices.iter_mut().find(|voice| voice.participant == participant) {
            Some(voice) => {
                voice.loudness += (loudness - voice.loudness) / SMOOTHING;
                voice.heard = now;
            }
            None => self.voices.push(Voice { participant, loudness: loudness / SMOOTHING, heard: now }),
        }
    }

    /// Forgets who is not in the Room any more.
    pub(crate) fn retain(&mut self, is_here: impl Fn(ParticipantId) -> bool) {
        self.voices.retain(|voice| is_here(voice.participant));
    }

    /// Who is heard, loudest first, at most `most`: how loud as of the last [`Self::poll`].
    pub(crate) fn levels(&self, most: usize) -> Vec<Level> {
        let mut heard: Vec<&Voice> = self.voices.iter().filter(|voice| voice.loudness > SILENCE).collect();
        heard.sort_by(|a, b| b.loudness.total_cmp(&a.loudness));
        let level = |voice: &&Voice| {
            #[allow(clippy::cast_possible_truncation, reason = "it lies between 0 and 127")]
            let below = (127.0 - voice.loudness).clamp(0.0, 127.0).round() as u8;
            Level { participant: voice.participant, below }
        };
        heard.iter().take(most).map(level).collect()
    }

    /// The new speaker when it changed: call a few times a second.
    pub(crate) fn poll(&mut self, now: Instant) -> Option<Option<ParticipantId>> {
        for voice in &mut self.voices {
            // Muted browsers may send nothing at all.
            if now.saturating_duration_since(voice.heard) > Duration::from_millis(300) {
                voice.loudness = 0.0;
            }
        }
        let before = self.current.map(|(who, _)| who);
        let of = |who| self.voices.iter().find(|v| v.participant == who).map_or(0.0, |v| v.loudness);
        let loudest =
            self.voices.iter().filter(|v| v.loudness > SILENCE).max_by(|a, b| a.loudness.total_cmp(&b.loudness));
        self.current = match (self.current, loudest) {
            (None, loudest) => loudest.map(|voice| (voice.participant, now)),
            (Some((who, since)), Some(voice)) => {
                let current = of(who);
                if voice.participant == who || current > SILENCE && voice.loudness < current + MARGIN {
                    Some((who, if current > SILENCE { now } else { since }))
                } else {
                    Some((voice.participant, now))
                }
            }
            (Some((who, since)), None) => {
                let is_here = self.voices.iter().any(|v| v.participant == who);
                (is_here && now.saturating_duration_since(since) < HOLD).then_some((who, since))
            }
        };
        let after = self.current.map(|(who, _)| who);
        (before != after).then_some(after)
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "any instant serves as the origin of a test's virtual time")]
mod tests {
    use super::*;

    #[test]
    fn a_voice_takes_over_only_when_clearly_louder_and_keeps_its_place_in_a_pause() {
        let start = Instant::now();
        let (a, b) = (ParticipantId::random(), ParticipantId::random());
        let mut speaker = Speaker::default();
        let mut told = Vec::new();
        // 20 ms steps: a alone, then both alike, then b louder, then silence.
        for step in 0..400u32 {
            let now = start + Duration::from_millis(20) * step;
            let (level_a, level_b) = match step {
                0..100 => (30, 127),
                100..200 => (30, 28),
                200..300 => (40, 20),
                _ => (127, 127),
            };
            speaker.note(a, level_a, now);
            speaker.note(b, level_b, now);
            if step % 10 == 0 {
                told.extend(speaker.poll(now).map(|who| (step / 100, who)));
            }
        }
        assert_eq!(told, [(0, Some(a)), (2, Some(b)), (3, None)]);
        assert_eq!(speaker.levels(9), [], "nobody is heard any more");
    }

    #[test]
    fn levels_are_told_loudest_first_and_of_so_many() {
        let now = Instant::now();
        let people: Vec<_> = (0..4).map(|_| ParticipantId::random()).collect();
        let mut speaker = Speaker::default();
        for _ in 0..100 {
            for (who, level) in people.iter().zip([40, 20, 127, 30]) {
                speaker.note(*who, level, now);
            }
        }
        let level = |at: usize, below| Level { participant: people[at], below };
        assert_eq!(speaker.levels(9), [level(1, 20), level(3, 30), level(0, 40)]);
        assert_eq!(speaker.levels(1), [level(1, 20)]);
    }

    #[test]
    fn who_left_does_not_speak() {
        let now = Instant::now();
        let a = ParticipantId::random();
        let mut speaker = Speaker::default();
        for _ in 0..50 {
            speaker.note(a, 10, now);
        }
        assert_eq!(speaker.poll(now), Some(Some(a)));
        speaker.retain(|_| false);
        assert_eq!(speaker.poll(now), Some(None));
    }
}
