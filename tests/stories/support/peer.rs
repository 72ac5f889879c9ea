//! A media connection by the `webrtc` crate: a whole stack of its own, so that what works with it works between implementations.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use rtc::media::Sample;
use rtc::media_stream::MediaStreamTrack;
use rtc::peer_connection::configuration::media_engine::{MIME_TYPE_OPUS, MIME_TYPE_VP8};
use rtc::rtp_transceiver::rtp_sender::{RTCRtpCodec, RTCRtpCodingParameters, RTCRtpEncodingParameters, RtpCodecKind};
use tokio::sync::watch;
use tokio::task::JoinSet;
use webrtc::media_stream::Track as _;
use webrtc::media_stream::track_local::TrackLocal;
use webrtc::media_stream::track_local::static_sample::TrackLocalStaticSample;
use webrtc::media_stream::track_remote::{TrackRemote, TrackRemoteEvent};
use webrtc::peer_connection::{
    MediaEngine, PeerConnection, PeerConnectionBuilder, PeerConnectionEventHandler, RTCConfigurationBuilder,
    RTCPeerConnectionState, RTCSessionDescription, Registry, register_default_interceptors,
};
use webrtc::rtp_transceiver::RtpSender;

use super::media::{FRAMES_PER_SECOND, OPUS_SILENCE};
use super::soon;

/// Packets that came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) audio: u64,
    pub(crate) video: u64,
}

/// One connection that sends a voice and a picture as soon as it may, and counts what comes.
pub(crate) struct Peer {
    connection: Arc<dyn PeerConnection>,
    connected: watch::Receiver<bool>,
    received: watch::Receiver<Received>,
    sent: watch::Receiver<u64>,
    audio: Sending,
    video: Sending,
    sent_by: watch::Sender<u64>,
    senders: JoinSet<()>,
}

struct Sending {
    track: Arc<TrackLocalStaticSample>,
    sender: Arc<dyn RtpSender>,
}

struct Watcher {
    connected: watch::Sender<bool>,
    received: watch::Sender<Received>,
}

#[async_trait::async_trait]
impl PeerConnectionEventHandler for Watcher {
    async fn on_connection_state_change(&self, state: RTCPeerConnectionState) {
        if state == RTCPeerConnectionState::Connected {
            self.connected.send_replace(true);
        }
    }

    async fn on_track(&self, track: Arc<dyn TrackRemote>) {
        let received = self.received.clone();
        tokio::spawn(async move {
            let is_audio = track.kind().await == RtpCodecKind::Audio;
            while let Some(event) = track.poll().await {
                if matches!(event, TrackRemoteEvent::OnRtpPacket(_)) {
                    received.send_modify(|count| *if is_audio { &mut count.audio } else { &mut count.video } += 1);
                }
            }
        });
    }
}

impl Peer {
    pub(crate) async fn new() -> Self {
        let (connected_by, connected) = watch::channel(false);
        let (received_by, received) = watch::channel(Received::default());
        let (sent_by, sent) = watch::channel(0);
        let mut media_engine = MediaEngine::default();
        media_engine.register_default_codecs().unwrap();
        let registry = register_default_interceptors(Registry::new(), &mut media_engine).unwrap();
        let connection: Arc<dyn PeerConnection> = Arc::new(
            // Boxed: the future is 20 KB.
            Box::pin(
                PeerConnectionBuilder::new()
                    .with_configuration(RTCConfigurationBuilder::new().build())
                    .with_media_engine(media_engine)
                    .with_interceptor_registry(registry)
                    .with_handler(Arc::new(Watcher { connected: connected_by, received: received_by }))
                    .with_udp_addrs(vec!["127.0.0.1:0".to_owned()])
                    .build(),
            )
            .await
            .unwrap(),
        );
        let audio = Sending::add(&connection, RtpCodecKind::Audio).await;
        let video = Sending::add(&connection, RtpCodecKind::Video).await;
        Self { connection, connected, received, sent, audio, video, sent_by, senders: JoinSet::new() }
    }

    pub(crate) async fn offer(&self) -> String {
        let offer = self.connection.create_offer(None).await.unwrap();
        self.connection.set_local_description(offer).await.unwrap();
        self.connection.local_description().await.unwrap().sdp
    }

    pub(crate) async fn take_answer(&self, sdp: &str) {
        self.connection.set_remote_description(RTCSessionDescription::answer(sdp.to_owned()).unwrap()).await.unwrap();
    }

    pub(crate) async fn connected(&mut self) {
        soon("ICE and DTLS", self.connected.wait_for(|connected| *connected)).await.unwrap();
    }

    /// Sends until this Peer is dropped: silence, and these frames over and over.
    pub(crate) async fn start_sending(&mut self, frames: Vec<Bytes>) {
        let (track, writer) = (Arc::clone(&self.audio.track), self.audio.writer().await);
        let sent = self.sent_by.clone();
        self.senders.spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(20));
            loop {
                pace.tick().await;
                write(&track, writer, Bytes::from_static(OPUS_SILENCE), Duration::from_millis(20)).await;
                sent.send_modify(|count| *count += 1);
            }
        });
        let (track, writer) = (Arc::clone(&self.video.track), self.video.writer().await);
        self.senders.spawn(async move {
            let each = Duration::from_secs(1) / FRAMES_PER_SECOND;
            let mut pace = tokio::time::interval(each);
            for frame in frames.iter().cycle() {
                pace.tick().await;
                write(&track, writer, frame.clone(), each).await;
            }
        });
    }

    pub(crate) fn received(&self) -> Received {
        *self.received.borrow()
    }

    /// Waits until this many more packets of each kind have come.
    pub(crate) async fn receives(&mut self, packets: u64) {
        let from = self.received();
        let enough = |now: &Received| now.audio >= from.audio + packets && now.video >= from.video + packets;
        soon(&format!("{packets} packets of each kind"), self.received.wait_for(enough)).await.unwrap();
    }

    /// Waits until this many more packets of sound were given to the connection.
    pub(crate) async fn sends(&mut self, packets: u64) {
        let from = *self.sent.borrow();
        soon("sending", self.sent.wait_for(|now| *now >= from + packets)).await.unwrap();
    }

    pub(crate) async fn close(self) {
        self.connection.close().await.unwrap();
    }
}

impl Sending {
    async fn add(connection: &Arc<dyn PeerConnection>, kind: RtpCodecKind) -> Self {
        let codec = match kind {
            RtpCodecKind::Audio => RTCRtpCodec {
                mime_type: MIME_TYPE_OPUS.to_owned(),
                clock_rate: 48_000,
                channels: 2,
                ..Default::default()
            },
            _ => RTCRtpCodec { mime_type: MIME_TYPE_VP8.to_owned(), clock_rate: 90_000, ..Default::default() },
        };
        let encoding = RTCRtpEncodingParameters {
            rtp_coding_parameters: RTCRtpCodingParameters { ssrc: Some(rand::random()), ..Default::default() },
            codec,
            ..Default::default()
        };
        let track =
            MediaStreamTrack::new("story".to_owned(), format!("{kind}"), format!("{kind}"), kind, vec![encoding]);
        let track = Arc::new(TrackLocalStaticSample::new(now(), track).unwrap());
        let sender = connection.add_track(Arc::clone(&track) as Arc<dyn TrackLocal>).await.unwrap();
        Self { track, sender }
    }

    /// The stream and the payload type that were agreed on.
    async fn writer(&self) -> (u32, u8) {
        let parameters = self.sender.get_parameters().await.unwrap();
        let payload_type = parameters.rtp_parameters.codecs.first().expect("a codec was agreed on").payload_type;
        (*self.track.ssrcs().await.first().unwrap(), payload_type)
    }
}

async fn write(track: &TrackLocalStaticSample, (ssrc, payload_type): (u32, u8), data: Bytes, duration: Duration) {
    let sample = Sample { data, duration, ..Sample::new(now()) };
    // An error means that the connection is closing: then the task is about to be dropped.
    drop(track.sample_writer(ssrc, payload_type).write_sample(&sample).await);
}

#[allow(clippy::disallowed_methods, reason = "this client lives in real time")]
fn now() -> Instant {
    Instant::now()
}
