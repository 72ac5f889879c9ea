//! What a Chime client sees: the index of pictures, which line carries which, what they take.

use wire::control::Assignment;

use super::{MAX_ASSIGNMENTS, Session, Want, frame};
use crate::chime::frames::{
    Bitrate, Bitrates, Frame, FrameType, Index, MediaType, PauseResume, RemoteVideoUpdate, StreamDescriptor, VideoCodec,
};
use crate::chime::offer;
use crate::live::codecs::Codecs;
use crate::live::face::{Picture, Stream};
use crate::live::roster::Moment;

/// What clients call a picture's track.
const LABEL: &str = "AmazonChimeExpressVideo";

/// The most streams that a client may have paused.
const MAX_PAUSED: usize = 256;

/// What comes first when a client has no opinion: what is shared, then faces.
const SHARES_FIRST: u32 = 2;
const FACES_NEXT: u32 = 1;

impl Session {
    /// True when the client may send a picture on this connection.
    pub(super) fn may_send(&self) -> bool {
        let Ok(own) = &self.own else { return false };
        if own.is_share {
            return own.rights.sends_content;
        }
        own.rights.sends_video && (!self.gallery.is_full || self.is_sending)
    }

    /// Whether a picture is for this client.
    fn may_see(&self, picture: &Picture) -> bool {
        let Ok(own) = &self.own else { return false };
        let is_allowed = if picture.is_share { own.rights.receives_content } else { own.rights.receives_video };
        // A share's connection receives nothing, and nobody is shown what they send themselves.
        is_allowed && !own.is_share && picture.who != own.who
    }

    /// Sends INDEX if it says something else than the last one. Rates are not part of it, or it would never rest.
    pub(super) fn tell_index(&mut self, now: Moment) {
        if self.stage != super::Stage::Indexed {
            return;
        }
        let pictures = || self.gallery.pictures.iter().filter(|picture| self.may_see(picture));
        let sources =
            pictures().flat_map(|picture| picture.streams.iter().map(|stream| to_descriptor(picture, stream)));
        let held = pictures().filter(|picture| picture.is_held);
        let mut index = Index {
            at_capacity: Some(!self.may_send()),
            sources: sources.collect(),
            paused_at_source_ids: held.flat_map(|picture| &picture.streams).map(|stream| stream.number).collect(),
            num_participants: Some(self.gallery.people),
            supported_receive_codec_intersection: self.gallery.codecs.map(to_codecs).unwrap_or_default(),
        };
        if self.index.as_ref() == Some(&index) {
            return;
        }
        self.index = Some(index.clone());
        for source in &mut index.sources {
            let rate = self.rates.iter().find(|(stream, _)| source.stream_id == Some(*stream));
            // Nothing is known of a stream that has just begun; then its bound has to do, as the client itself takes it.
            if let Some((_, kbits)) = rate {
                source.avg_bitrate_bps = Some(kbits.saturating_mul(1000));
            }
        }
        self.send(Frame { index: Some(index), ..frame(now, FrameType::Index) });
    }

    pub(super) fn pause(&mut self, is_paused: bool, streams: &[u32]) {
        for stream in streams {
            if !is_paused {
                self.paused.remove(stream);
            } else if self.paused.len() < MAX_PAUSED {
                self.paused.insert(*stream);
            }
        }
        self.watch();
    }

    /// Another layer or priority on lines that were negotiated. No answer is expected.
    pub(super) fn update(&mut self, update: RemoteVideoUpdate) {
        for config in update.added_or_updated_video_subscriptions.into_iter().take(MAX_ASSIGNMENTS) {
            let known = self.wants.iter().position(|want| want.mid == config.mid);
            let at = match known {
                Some(at) => at,
                // A line that carried nothing so far, if there was one at all: the media node knows.
                None if self.wants.len() < MAX_ASSIGNMENTS && config.mid.len() <= offer::MAX_MID_BYTES => {
                    self.wants.push(Want { mid: config.mid, ..Want::default() });
                    self.wants.len() - 1
                }
                None => continue,
            };
            let Some(want) = self.wants.get_mut(at) else { continue };
            if let Some(stream) = config.stream_id {
                want.stream = stream;
            }
            if let Some(group) = config.group_id {
                want.group = group;
            }
            (want.priority, want.target_kbits) = (config.priority, config.target_bitrate_kbps);
        }
        self.wants.retain(|want| !update.removed_video_subscription_mids.contains(&want.mid));
        self.watch();
    }

    /// Asks the Room for what the lines should carry, if that is not what was asked last.
    pub(super) fn watch(&mut self) {
        if !self.is_subscribed {
            return;
        }
        let lines: Vec<_> = self.wants.iter().map(|want| self.to_assignment(want)).collect();
        let is_new = std::mem::take(&mut self.is_new) && !lines.is_empty();
        if is_new || lines != self.asked {
            self.asked.clone_from(&lines);
            self.ask(super::Ask::Watch(lines));
        }
    }

    fn to_assignment(&self, want: &Want) -> Assignment {
        let found = self.find(want).filter(|(picture, _)| self.may_see(picture));
        let is_paused = |picture: &Picture| picture.streams.iter().any(|stream| self.paused.contains(&stream.number));
        let found = found.filter(|(picture, _)| !is_paused(picture));
        let usual = |picture: &Picture| if picture.is_share { SHARES_FIRST } else { FACES_NEXT };
        Assignment {
            mid: want.mid.clone(),
            track: found.map(|(picture, _)| picture.track),
            // The client chose a layer, unless it leaves that to us.
            at_most: found
                .filter(|(picture, _)| !self.is_delegating && picture.streams.len() > 1)
                .map(|(_, s)| s.layer),
            target_kbits: want.target_kbits.filter(|kbits| *kbits > 0),
            priority: want.priority.unwrap_or_else(|| found.map_or(0, |(picture, _)| usual(picture))),
        }
    }

    /// The picture of a line, and the stream of it that was asked for.
    fn find(&self, want: &Want) -> Option<(&Picture, &Stream)> {
        self.gallery.pictures.iter().find_map(|picture| {
            let by_stream = picture.streams.iter().find(|stream| stream.number == want.stream);
            let by_group = picture.streams.last().filter(|_| want.group == picture.group);
            Some((picture, by_stream.or(by_group)?))
        })
    }

    /// The network holds a picture back, or lets it through again: of interest to clients that leave the choice to us.
    pub(super) fn tell_paused(&mut self, now: Moment, mid: &str, is_paused: bool) {
        if !self.is_delegating || !self.is_subscribed {
            return;
        }
        let want = self.wants.iter().find(|want| want.mid == mid);
        let Some(group) = want.and_then(|want| self.find(want)).map(|(picture, _)| picture.group) else { return };
        let kind = if is_paused { FrameType::Pause } else { FrameType::Resume };
        let pause = PauseResume { stream_ids: Vec::new(), group_ids: vec![group] };
        self.send(Frame { pause: Some(pause), ..frame(now, kind) });
    }

    /// What each stream that the client knows of takes at present.
    pub(super) fn tell_bitrates(&mut self, now: Moment) {
        let known = self.index.as_ref().map(|index| index.sources.as_slice()).unwrap_or_default();
        let is_known = |stream: u32| known.iter().any(|source| source.stream_id == Some(stream));
        let bitrates = self.rates.iter().filter(|(stream, _)| is_known(*stream)).map(|(stream, kbits)| Bitrate {
            source_stream_id: Some(*stream),
            avg_bitrate_bps: Some(kbits.saturating_mul(1000)),
        });
        let bitrates = Bitrates { bitrates: bitrates.collect(), server_available_outgoing_bitrate: self.way_kbits };
        self.send(Frame { bitrates: Some(bitrates), ..frame(now, FrameType::Bitrates) });
    }
}

/// In the words of the protocol, the one that everybody has first.
fn to_codecs(codecs: Codecs) -> Vec<i32> {
    let all = [
        (Codecs::VP8, VideoCodec::Vp8),
        (Codecs::H264_BASELINE, VideoCodec::H264Baseline),
        (Codecs::H264_CONSTRAINED_BASELINE, VideoCodec::H264ConstrainedBaseline),
        (Codecs::H264_MAIN, VideoCodec::H264Main),
        (Codecs::H264_HIGH, VideoCodec::H264High),
        (Codecs::H264_CONSTRAINED_HIGH, VideoCodec::H264ConstrainedHigh),
        (Codecs::VP9, VideoCodec::Vp9Profile0),
    ];
    all.into_iter().filter(|(codec, _)| codecs.has(*codec)).map(|(_, word)| word.into()).collect()
}

fn to_descriptor(picture: &Picture, stream: &Stream) -> StreamDescriptor {
    StreamDescriptor {
        stream_id: Some(stream.number),
        framerate: Some(stream.framerate),
        max_bitrate_kbps: Some(stream.most_kbits),
        track_label: Some(LABEL.to_owned()),
        group_id: Some(picture.group),
        avg_bitrate_bps: Some(stream.most_kbits.saturating_mul(1000)),
        attendee_id: Some(picture.alias.id.to_string()),
        media_type: Some(MediaType::Video.into()),
        external_user_id: Some(picture.alias.name.reveal().to_string()),
        width: stream.size.map(|(width, _)| width.into()),
        height: stream.size.map(|(_, height)| height.into()),
    }
}
