//! Somebody in a meeting by the browser protocol, with media of a stack of their own.

use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use signaling::chime::frames::{self, Frame, FrameType};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use crate::peer::Peer;
use crate::soon;

/// One attendee, connected and sending.
pub(crate) struct Attendee {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    pub(crate) peer: Peer,
}

impl Attendee {
    /// Joins a meeting with a join token, and sends these pictures and a voice.
    pub(crate) async fn join(addr: &str, meeting: &str, token: &str, client: u64, pictures: Vec<Bytes>) -> Self {
        let query = "X-Chime-Control-Protocol-Version=3&X-Amzn-Chime-Send-Close-On-Error=1";
        let mut request = format!("ws://{addr}/control/{meeting}?{query}").into_client_request().unwrap();
        let offered = format!("_aws_wt_session, {token}");
        request.headers_mut().insert("sec-websocket-protocol", offered.parse().unwrap());
        let (socket, _) = soon("the WebSocket", tokio_tungstenite::connect_async(request)).await.unwrap();
        let mut attendee = Self { socket, peer: Peer::new().await };
        let join = frames::Join { audio_session_id: Some(client), ..frames::Join::default() };
        attendee.say(Frame { join: Some(join), ..Frame::new(FrameType::Join, 1) }).await;
        attendee.hear(FrameType::Index).await;
        let sub = frames::Subscribe {
            sdp_offer: Some(attendee.peer.offer().await),
            duplex: Some(frames::Duplex::Duplex.into()),
            send_streams: vec![frames::StreamDescriptor {
                media_type: Some(frames::MediaType::Video.into()),
                max_bitrate_kbps: Some(600),
                framerate: Some(30),
                ..frames::StreamDescriptor::default()
            }],
            audio_host: Some("x".to_owned()),
            audio_checkin: Some(false),
            audio_muted: Some(false),
            ..frames::Subscribe::default()
        };
        attendee.say(Frame { sub: Some(sub), ..Frame::new(FrameType::Subscribe, 1) }).await;
        let ack = attendee.hear(FrameType::SubscribeAck).await.suback.unwrap();
        attendee.peer.take_answer(&ack.sdp_answer.unwrap()).await;
        attendee.peer.connected().await;
        attendee.peer.start_sending(pictures).await;
        attendee
    }

    /// Words to everybody.
    pub(crate) async fn post(&mut self, topic: &str, words: &str) {
        let message = frames::DataMessage {
            topic: Some(topic.to_owned()),
            data: Some(words.as_bytes().to_vec()),
            lifetime_ms: Some(0),
            ..frames::DataMessage::default()
        };
        let messages = frames::DataMessages { messages: vec![message] };
        self.say(Frame { data_message: Some(messages), ..Frame::new(FrameType::DataMessage, 1) }).await;
    }

    async fn say(&mut self, frame: Frame) {
        self.socket.send(Message::binary(frames::encode(&frame))).await.unwrap();
    }

    /// The next frame of this type; the others are passed by.
    async fn hear(&mut self, kind: FrameType) -> Frame {
        let socket = &mut self.socket;
        soon(&format!("a frame {kind:?}"), async {
            loop {
                let message = socket.next().await.expect("the socket is open").unwrap();
                if let Message::Binary(bytes) = message
                    && let Ok(frame) = frames::decode(&bytes)
                    && frame.kind() == Some(kind)
                {
                    return frame;
                }
            }
        })
        .await
    }
}
