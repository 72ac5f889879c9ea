//! The mix of one live Room: packets in as they come, and every 20 ms packets out for those who listen. Everybody hears the loudest
//! voices but their own. Pure: time arrives as an argument.
//!
//! Who says nothing is not in the mix, so leaving out their voice changes nothing: everybody silent shares one encoder. Who is about to be
//! heard gets an encoder of their own one frame earlier, so that it is warm when it takes over.

mod choice;
mod jitter;
mod stream;

use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::{Error, FRAME, RATE};
use choice::Loudness;
use jitter::Jitter;
use stream::Stream;

/// Time between two frames.
pub const INTERVAL: Duration = Duration::from_millis(20);
/// So many frames may be made at once after a delay; what is due besides is left out.
const MOST_BEHIND: u32 = 5;
/// Frames for which an encoder that nobody listens to is kept: five seconds.
const KEPT: u32 = 250;

/// What happened in a mix so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Frames mixed.
    pub frames: u64,
    /// Frames left out because the mixer was late.
    pub skipped: u64,
    /// Packets encoded, warm-ups included.
    pub encoded: u64,
    /// Packets decoded.
    pub decoded: u64,
    /// Frames that the codec had to guess.
    pub concealed: u64,
    /// Packets that came after their turn.
    pub late: u64,
    /// Packets dropped because too much waited.
    pub overflowed: u64,
    /// Times that waiting sound was drawn together.
    pub hurried: u64,
    /// Packets that are not Opus.
    pub refused: u64,
    /// How long the decoded packets waited, all together.
    pub waited: Duration,
}

impl Counts {
    /// Adds what happened elsewhere.
    pub fn add(&mut self, other: &Self) {
        self.frames += other.frames;
        self.skipped += other.skipped;
        self.encoded += other.encoded;
        self.decoded += other.decoded;
        self.concealed += other.concealed;
        self.late += other.late;
        self.overflowed += other.overflowed;
        self.hurried += other.hurried;
        self.refused += other.refused;
        self.waited += other.waited;
    }
}

/// A packet of a voice.
#[derive(Clone, Debug)]
pub struct Spoken {
    /// When it came.
    pub arrived: Instant,
    /// Its sequence number, without roll-over.
    pub number: u64,
    /// How loud the sender says it is, in decibels below full scale (RFC 6464).
    pub level: Option<u8>,
    /// Opus.
    pub payload: Bytes,
}

/// A packet of the mix.
#[derive(Clone, Debug)]
pub struct Mixed<'a, L> {
    /// Of its first sample, at 48 kHz.
    pub timestamp: u32,
    /// Decibels below full scale.
    pub level: u8,
    /// Opus.
    pub payload: &'a [u8],
    /// Who gets it.
    pub listeners: &'a [L],
}

/// One voice.
#[derive(Debug)]
struct Voice<V> {
    id: V,
    jitter: Jitter,
    frame: [f32; FRAME],
    loudness: Loudness,
    /// When the oldest sound of this frame came.
    came: Option<Instant>,
    /// In the mix at the end of the last frame, of this one, of the next one: between two that differ it is faded.
    was_in: bool,
    is_in: bool,
    will_be_in: bool,
}

impl<V> Voice<V> {
    const fn is_heard(&self) -> bool {
        self.was_in || self.is_in
    }

    const fn will_be_heard(&self) -> bool {
        self.is_in || self.will_be_in
    }

    /// Fades the frame in or out where the voice comes or goes.
    fn fade(&mut self) {
        if self.was_in == self.is_in {
            return;
        }
        for (place, sample) in self.frame.iter_mut().enumerate() {
            #[allow(clippy::cast_precision_loss, reason = "below a thousand")]
            let share = (place as f32 + 0.5) / FRAME as f32;
            *sample *= if self.is_in { share } else { 1.0 - share };
        }
    }
}

/// Somebody who listens.
#[derive(Debug)]
struct Listener<L, V> {
    id: L,
    /// The voices that are not for it, its own among them.
    without: Vec<V>,
    /// What came before is not for it.
    since: Instant,
    /// The last frame held nothing of before.
    is_clean: bool,
    /// It gets packets.
    is_served: bool,
}

/// See the top of the file. `V` names voices, `L` listeners.
#[derive(Debug)]
pub struct Live<V, L> {
    voices: Vec<Voice<V>>,
    listeners: Vec<Listener<L, V>>,
    streams: Vec<Stream<V>>,
    next: Instant,
    timestamp: u32,
    counts: Counts,
    /// Whom the packet under way goes to.
    served: Vec<L>,
}

impl<V: Copy + Ord, L: Copy + PartialEq> Live<V, L> {
    /// Nobody speaks, nobody listens. The first frame is due at `first` and has this timestamp.
    #[must_use]
    pub fn new(first: Instant, timestamp: u32) -> Self {
        Self {
            voices: Vec::new(),
            listeners: Vec::new(),
            streams: Vec::new(),
            next: first,
            timestamp,
            counts: Counts::default(),
            served: Vec::new(),
        }
    }

    /// Says which voices may be heard, and who listens and without whom. A voice that is not named is gone at once, with what waits of it;
    /// somebody who did not listen before hears nothing that came before `now`.
    ///
    /// # Errors
    /// When a decoder cannot be made.
    pub fn plan(&mut self, now: Instant, voices: &[V], listeners: Vec<(L, Vec<V>)>) -> Result<(), Error> {
        self.voices.retain(|voice| voices.contains(&voice.id));
        for id in voices {
            if !self.voices.iter().any(|voice| voice.id == *id) {
                self.voices.push(Voice {
                    id: *id,
                    jitter: Jitter::new()?,
                    frame: [0.0; FRAME],
                    loudness: Loudness::default(),
                    came: None,
                    was_in: false,
                    is_in: false,
                    will_be_in: false,
                });
            }
        }
        self.listeners.retain(|listener| listeners.iter().any(|(id, _)| *id == listener.id));
        for (id, mut without) in listeners {
            without.sort_unstable();
            without.dedup();
            match self.listeners.iter_mut().find(|listener| listener.id == id) {
                Some(listener) => listener.without = without,
                None => {
                    self.listeners.push(Listener { id, without, since: now, is_clean: false, is_served: false });
                }
            }
        }
        Ok(())
    }

    /// Takes a packet of a voice; of one that is not in the plan it is dropped.
    pub fn push(&mut self, voice: V, packet: Spoken) {
        let Spoken { arrived, number, level, payload } = packet;
        if let Some(voice) = self.voices.iter_mut().find(|other| other.id == voice) {
            voice.jitter.push(arrived, number, level, payload, &mut self.counts);
        }
    }

    /// When the next frame is due.
    #[must_use]
    pub const fn due(&self) -> Instant {
        self.next
    }

    /// What happened so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Makes every frame that is due and hands its packets out.
    ///
    /// # Errors
    /// When the encoder fails; the frame is lost to those who should have had it.
    pub fn take_until(&mut self, now: Instant, mut sink: impl FnMut(Mixed<'_, L>)) -> Result<(), Error> {
        let late = now.saturating_duration_since(self.next);
        let frames = u32::try_from(late.as_millis() / INTERVAL.as_millis()).unwrap_or(u32::MAX);
        if frames > MOST_BEHIND {
            // Listeners take it for a short silence. What waits meanwhile is drawn together by and by.
            self.counts.skipped += u64::from(frames);
            self.next += INTERVAL * frames;
            self.timestamp = self.timestamp.wrapping_add(SAMPLES.wrapping_mul(frames));
        }
        let mut result = Ok(());
        while self.next <= now {
            let made = self.make_frame(now, &mut sink);
            result = result.and(made);
            self.next += INTERVAL;
            self.timestamp = self.timestamp.wrapping_add(SAMPLES);
        }
        result
    }

    fn make_frame(&mut self, now: Instant, sink: &mut impl FnMut(Mixed<'_, L>)) -> Result<(), Error> {
        self.counts.frames += 1;
        for voice in &mut self.voices {
            (voice.was_in, voice.is_in) = (voice.is_in, voice.will_be_in);
            voice.came = voice.jitter.pull(now, &mut voice.frame, &mut self.counts);
            voice.loudness.note(&voice.frame);
        }
        choice::choose(&mut self.voices);
        let mut total = [0.0; FRAME];
        for voice in self.voices.iter_mut().filter(|voice| voice.is_heard()) {
            voice.fade();
            add(&mut total, &voice.frame, 1.0);
        }
        self.admit();
        self.prepare()?;

        let mut result = Ok(());
        for stream in &mut self.streams {
            let voices = &self.voices;
            self.served.clear();
            let mine = self.listeners.iter().filter(|one| {
                one.is_served && left_out(voices, one, Voice::is_heard).eq(stream.without.iter().copied())
            });
            self.served.extend(mine.map(|one| one.id));
            let is_next = self
                .listeners
                .iter()
                .any(|one| left_out(voices, one, Voice::will_be_heard).eq(stream.without.iter().copied()));
            if self.served.is_empty() && !is_next {
                stream.idle = stream.idle.saturating_add(1);
                continue;
            }
            if stream.idle > 0 {
                stream.idle = 0;
                stream.restart()?;
            }
            let mut sum = total;
            for voice in voices.iter().filter(|voice| voice.is_heard() && stream.without.contains(&voice.id)) {
                add(&mut sum, &voice.frame, -1.0);
            }
            let level = choice::level(&sum);
            self.counts.encoded += 1;
            match stream.encode(&mut sum) {
                Ok(payload) if !self.served.is_empty() => {
                    sink(Mixed { timestamp: self.timestamp, level, payload, listeners: &self.served });
                }
                Ok(_) => {}
                Err(error) => result = Err(error),
            }
        }
        self.streams.retain(|stream| stream.idle < KEPT);
        result
    }

    /// Lets in who came to listen, once nothing from before is in the mix or in an encoder.
    fn admit(&mut self) {
        let oldest = self.voices.iter().filter(|voice| voice.is_heard()).filter_map(|voice| voice.came).min();
        for listener in self.listeners.iter_mut().filter(|listener| !listener.is_served) {
            let is_clean = oldest.is_none_or(|came| came > listener.since);
            listener.is_served = is_clean && listener.is_clean;
            listener.is_clean = is_clean;
        }
    }

    /// Makes the encoders that this frame and the next one need.
    fn prepare(&mut self) -> Result<(), Error> {
        for listener in &self.listeners {
            for is_heard in [Voice::is_heard, Voice::will_be_heard] {
                let has =
                    |stream: &Stream<V>| left_out(&self.voices, listener, is_heard).eq(stream.without.iter().copied());
                if !self.streams.iter().any(has) {
                    let without = left_out(&self.voices, listener, is_heard).collect();
                    self.streams.push(Stream::new(without)?);
                }
            }
        }
        Ok(())
    }
}

/// The voices in the mix that are not for this listener, in order.
fn left_out<'a, V: Copy + Ord, L>(
    voices: &'a [Voice<V>],
    listener: &'a Listener<L, V>,
    is_heard: impl Fn(&Voice<V>) -> bool + 'a,
) -> impl Iterator<Item = V> + 'a {
    let is_in = move |id: &V| voices.iter().any(|voice| voice.id == *id && is_heard(voice));
    listener.without.iter().copied().filter(is_in)
}

fn add(sum: &mut [f32; FRAME], frame: &[f32; FRAME], share: f32) {
    for (sum, sample) in sum.iter_mut().zip(frame) {
        *sum += share * sample;
    }
}

#[allow(clippy::cast_possible_truncation, reason = "960")]
const SAMPLES: u32 = FRAME as u32;

const _: () =
    assert!(RATE as u128 * INTERVAL.as_millis() / 1000 == SAMPLES as u128, "a frame is as long as an interval");

#[cfg(test)]
mod tests;
