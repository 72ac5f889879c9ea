//! The recorded conversation of a real client, replayed; and what it does not show.

use serde_json::Value;
use time::OffsetDateTime;
use wire::TrackId;
use wire::control::{Level, SendingLine};

use super::*;
use crate::live::codecs::Codecs;
use crate::live::face::{Alias, Given, Picture, Present, Stream};

const ALICE: &str = "aaaaaaaa-1111-1111-1111-111111111111";
const BOB: &str = "bbbbbbbb-1111-1111-1111-111111111111";

/// A frame as it was recorded.
struct Golden {
    frame: Frame,
    bytes: Vec<u8>,
    is_ours: bool,
}

fn golden() -> Vec<Golden> {
    let lines = include_str!("../../../tests/chime/golden-frames.jsonl").lines();
    lines
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            let bytes = hex::decode(value["hex"].as_str().unwrap()).unwrap();
            Golden { frame: frames::decode(&bytes).unwrap(), is_ours: value["dir"] == "s2c", bytes }
        })
        .collect()
}

struct Talk {
    session: Session,
    who: ParticipantId,
    at: Moment,
}

impl Talk {
    fn new(own: Result<Own, Denied>) -> Self {
        let who = own.as_ref().map_or_else(|_| ParticipantId::random(), |own| own.who);
        let at = Moment { wall: OffsetDateTime::UNIX_EPOCH, steady: Duration::ZERO };
        Self { session: Session::new(at, own), who, at }
    }

    fn of(rights: Rights, is_share: bool) -> Self {
        Self::new(Ok(Own { who: ParticipantId::random(), rights, is_share }))
    }

    /// The wall clock of a recorded frame.
    fn set(&mut self, frame: &Frame) {
        self.at.wall = OffsetDateTime::UNIX_EPOCH + Duration::from_millis(frame.timestamp_ms);
    }

    fn pass(&mut self, time: Duration) -> Vec<Act> {
        self.at = Moment { wall: self.at.wall + time, steady: self.at.steady + time };
        self.session.handle_time(self.at);
        self.acts()
    }

    fn acts(&mut self) -> Vec<Act> {
        std::iter::from_fn(|| self.session.poll_act()).collect()
    }

    fn hear(&mut self, frame: Frame) -> Vec<Act> {
        self.session.handle_frame(self.at, frame);
        self.acts()
    }

    fn tell(&mut self, notice: Notice) -> Vec<Act> {
        self.session.handle_notice(self.at, notice);
        self.acts()
    }

    fn joined(mut self, join: frames::Join) -> Self {
        let acts = self.hear(Frame { join: Some(join), ..Frame::new(FrameType::Join, 0) });
        assert!(matches!(acts[..], [Act::Join(_)]), "{acts:?}");
        self.session.handle_joined(self.at, Ok(None));
        assert_eq!(kinds(&self.acts()), [FrameType::JoinAck]);
        assert_eq!(kinds(&self.tell(Notice::Pictures(gallery(Vec::new())))), [FrameType::Index]);
        self
    }

    /// Offers with these streams on the lines after the camera's, and gets its answer.
    fn subscribed(&mut self, receive: &[u32], sends: &[u32]) -> Vec<Act> {
        let acts = self.hear(subscribe(receive, sends));
        let [Act::Ask(Ask::Subscribe(asked))] = &acts[..] else { panic!("{acts:?}") };
        let id = asked.id;
        let given = asked.sends.iter().map(|_| Given { stream: 70, group: 71 }).collect();
        let sending = (0..receive.len()).map(|n| SendingLine { mid: (n + 2).to_string(), ssrc: 1000 }).collect();
        self.tell(Notice::Answered(Box::new(Answered { id, sdp: Redacted::new("v=0".to_owned()), sending, given })))
    }
}

/// An offer of one voice, one camera and some lines to receive on.
fn subscribe(receive: &[u32], sends: &[u32]) -> Frame {
    let line = |n: usize| format!("m=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{n}\r\n");
    let lines: String = (1..=receive.len() + 1).map(line).collect();
    let send = |most: &u32| frames::StreamDescriptor {
        media_type: Some(2),
        max_bitrate_kbps: Some(*most),
        track_label: Some("camera".to_owned()),
        ..frames::StreamDescriptor::default()
    };
    let sub = frames::Subscribe {
        send_streams: sends.iter().map(send).collect(),
        receive_stream_ids: std::iter::once(0).chain(receive.iter().copied()).collect(),
        sdp_offer: Some(format!("v=0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n{lines}")),
        ..frames::Subscribe::default()
    };
    Frame { sub: Some(sub), ..Frame::new(FrameType::Subscribe, 0) }
}

fn sent(acts: &[Act]) -> Vec<&Frame> {
    acts.iter().filter_map(|act| if let Act::Send(frame) = act { Some(&**frame) } else { None }).collect()
}

fn kinds(acts: &[Act]) -> Vec<FrameType> {
    sent(acts).iter().map(|frame| frame.kind().unwrap()).collect()
}

fn closed(acts: &[Act]) -> Option<u16> {
    acts.iter().find_map(|act| if let Act::Close(code) = act { Some(*code) } else { None })
}

fn watched(acts: &[Act]) -> Option<&[Assignment]> {
    acts.iter().find_map(|act| if let Act::Ask(Ask::Watch(lines)) = act { Some(&lines[..]) } else { None })
}

fn alias(id: &str, name: &str) -> Alias {
    Alias { id: id.into(), name: Redacted::new(name.into()) }
}

fn present(number: u32, who: ParticipantId, id: &str, name: &str) -> Present {
    Present { number, who, alias: alias(id, name), is_share: id.ends_with("#content"), is_muted: false }
}

fn presence(present: Vec<Present>, dropped: Vec<u32>) -> Notice {
    Notice::Present(Arc::new(Presence { present, dropped }))
}

fn picture(who: ParticipantId, group: u32, streams: &[u32]) -> Picture {
    let streams = streams.iter().zip(0..).map(|(&number, layer)| Stream {
        number,
        layer,
        most_kbits: 300 * (u32::from(layer) + 1),
        framerate: 15,
        size: (layer == 0).then_some((320, 180)),
    });
    let streams = streams.collect();
    let (alias, track) = (alias(BOB, "bob"), TrackId::random());
    Picture { who, alias, is_share: false, is_held: false, group, track, streams }
}

fn gallery(pictures: Vec<Picture>) -> Arc<Gallery> {
    Arc::new(Gallery { pictures, people: 2, is_full: false, codecs: None })
}

fn said(message: ServerMessage) -> Notice {
    Notice::Said(Box::new(message))
}

fn same(frame: &Frame, golden: &Golden) {
    assert_eq!(hex::encode(frames::encode(frame)), hex::encode(&golden.bytes), "{:?}", golden.frame.kind());
}

#[test]
fn the_recorded_conversation_replays() {
    let golden = golden();
    let mut alice = Talk::of(Rights::default(), false);
    let bob = ParticipantId::random();
    let hear = |alice: &mut Talk, heard: usize, answered: usize| {
        assert!(!golden[heard].is_ours && golden[answered].is_ours);
        alice.set(&golden[answered].frame);
        alice.hear(golden[heard].frame.clone())
    };
    // PING comes before JOIN.
    let acts = hear(&mut alice, 0, 2);
    same(sent(&acts)[0], &golden[2]);
    let acts = hear(&mut alice, 1, 3);
    assert!(matches!(acts[..], [Act::Join(3_751_638_962)]));
    alice.session.handle_joined(alice.at, Ok(None));
    let acts = alice.acts();
    let ack = sent(&acts)[0].joinack.clone().unwrap();
    let recorded = golden[3].frame.joinack.clone().unwrap();
    assert_eq!(ack.video_subscription_limit, recorded.video_subscription_limit);
    assert_eq!(ack.wants_compressed_sdp, recorded.wants_compressed_sdp);
    assert_eq!(ack.turn_credentials.unwrap().uris, Vec::<String>::new(), "no relay is forced upon the client");
    assert_eq!(ack.default_server_side_network_adaption, None);
    alice.set(&golden[4].frame);
    let alone = Gallery { people: 1, ..Gallery::default() };
    let acts = alice.tell(Notice::Pictures(Arc::new(alone)));
    same(sent(&acts)[0], &golden[4]);
    // SUBSCRIBE, its answer, and the roster with the joiner in it.
    let acts = hear(&mut alice, 5, 6);
    let [Act::Ask(Ask::Subscribe(asked))] = &acts[..] else { panic!("{acts:?}") };
    assert!(asked.sends.is_empty() && !asked.is_muted, "the audio descriptor is no picture");
    let recorded = golden[6].frame.suback.clone().unwrap();
    let sdp = Redacted::new(recorded.sdp_answer.unwrap());
    let answered = Answered { id: asked.id, sdp, sending: Vec::new(), given: Vec::new() };
    let acts = alice.tell(Notice::Answered(Box::new(answered)));
    same(sent(&acts)[0], &golden[6]);
    alice.set(&golden[7].frame);
    let me = present(1, alice.who, ALICE, "alice");
    let acts = alice.tell(presence(vec![me.clone()], Vec::new()));
    same(sent(&acts)[0], &golden[7]);
    // Metrics are taken quietly, but for the round trip.
    let acts = hear(&mut alice, 10, 11);
    assert!(matches!(acts[..], [Act::Ask(Ask::Measured { rtt_ms: 1 })]));
    // Bob comes: a delta.
    alice.set(&golden[21].frame);
    let other = present(2, bob, BOB, "bob");
    let acts = alice.tell(presence(vec![me.clone(), other.clone()], Vec::new()));
    same(sent(&acts)[0], &golden[21]);
    assert!(hear(&mut alice, 22, 24).is_empty(), "timing is telemetry");
    // The camera starts.
    let acts = hear(&mut alice, 25, 26);
    let [Act::Ask(Ask::Subscribe(asked))] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!(asked.sends, [Announced { most_kbits: 1500, framerate: 15 }]);
    let recorded = golden[26].frame.suback.clone().unwrap();
    let sdp = Redacted::new(recorded.sdp_answer.unwrap());
    let given = vec![Given { stream: 10, group: 11 }];
    let answered = Answered { id: asked.id, sdp, sending: Vec::new(), given };
    let acts = alice.tell(Notice::Answered(Box::new(answered)));
    same(sent(&acts)[0], &golden[26]);
    // Bob's camera comes into the index, Alice's own does not.
    let own = Picture { who: alice.who, ..picture(alice.who, 11, &[10]) };
    let acts = alice.tell(Notice::Pictures(gallery(vec![own, picture(bob, 13, &[12])])));
    let index = sent(&acts)[0].index.clone().unwrap();
    let recorded = golden[33].frame.index.clone().unwrap();
    assert_eq!(index.sources.len(), recorded.sources.len());
    let key = |source: &frames::StreamDescriptor| {
        (
            source.stream_id,
            source.group_id,
            source.attendee_id.clone(),
            source.external_user_id.clone(),
            source.media_type,
        )
    };
    assert_eq!(key(&index.sources[0]), key(&recorded.sources[0]));
    // Alice takes it on a line of its own.
    let acts = hear(&mut alice, 35, 36);
    let [Act::Ask(Ask::Subscribe(asked))] = &acts[..] else { panic!("{acts:?}") };
    let recorded = golden[36].frame.suback.clone().unwrap();
    let sdp = Redacted::new(recorded.sdp_answer.unwrap());
    let sending = vec![SendingLine { mid: "2".to_owned(), ssrc: recorded.tracks[0].ssrc.unwrap() }];
    let given = vec![Given { stream: 10, group: 11 }];
    let acts = alice.tell(Notice::Answered(Box::new(Answered { id: asked.id, sdp, sending, given })));
    same(sent(&acts)[0], &golden[36]);
    assert_eq!(watched(&acts).unwrap().len(), 1);
    assert!(watched(&acts).unwrap()[0].track.is_some());
    // Mute, and a message.
    let acts = hear(&mut alice, 39, 40);
    assert!(matches!(acts[..], [Act::Ask(Ask::Mute(true))]));
    let acts = alice.tell(presence(vec![Present { is_muted: true, ..me }, other], Vec::new()));
    same(sent(&acts)[0], &golden[40]);
    let acts = hear(&mut alice, 42, 43);
    let [Act::Ask(Ask::Post(drafts))] = &acts[..] else { panic!("{acts:?}") };
    // The recorded server counted nanoseconds in floating point.
    let at = OffsetDateTime::from_unix_timestamp_nanos(1_795_224_116_080_999_936).unwrap();
    let post = Post { draft: drafts[0].clone(), from: alias(ALICE, "alice"), at: Some(at) };
    // It is relayed to everybody but its sender; here the same session stands for another one.
    let acts = alice.tell(Notice::Posts(Arc::from([post])));
    same(sent(&acts)[0], &golden[43]);
    let acts = hear(&mut alice, 45, 46);
    same(sent(&acts)[0], &golden[46]);
    assert!(acts.iter().any(|act| matches!(act, Act::Ask(Ask::Leave))));
    assert_eq!(closed(&acts), Some(1000));
}

#[test]
fn whoever_is_not_let_in_hears_why_inside_the_protocol() {
    for (denied, status, code) in
        [(Denied::Unknown, Some(403), None), (Denied::Ended, None, Some(4410)), (Denied::Failed, None, Some(4500))]
    {
        let mut talk = Talk::new(Err(denied));
        let ping = PingPong { r#type: 1, ping_id: 1 };
        assert_eq!(kinds(&talk.hear(Frame { ping_pong: Some(ping), ..Frame::new(FrameType::PingPong, 0) })).len(), 1);
        let acts = talk.hear(Frame { join: Some(frames::Join::default()), ..Frame::new(FrameType::Join, 0) });
        let said = sent(&acts).first().and_then(|frame| frame.error.clone()).and_then(|error| error.status);
        assert_eq!((said, closed(&acts)), (status, code));
        if status.is_some() {
            assert_eq!(closed(&talk.pass(LEAVE_WITHIN)), Some(1000));
        }
    }
    let problems = [
        (Code::VisitFinal.problem(), None, Some(4410)),
        (Code::Unavailable.problem().member("isFull", true), Some(409), None),
        (Code::Draining.problem(), None, Some(4500)),
        (Code::Forbidden.problem(), Some(403), None),
    ];
    for (problem, status, code) in problems {
        let mut talk = Talk::of(Rights::default(), false);
        talk.hear(Frame { join: Some(frames::Join::default()), ..Frame::new(FrameType::Join, 0) });
        talk.session.handle_joined(talk.at, Err(problem));
        let acts = talk.acts();
        let said = sent(&acts).first().and_then(|frame| frame.error.clone()).and_then(|error| error.status);
        assert_eq!((said, closed(&acts)), (status, code));
    }
}

#[test]
fn who_says_nothing_is_not_waited_for() {
    let mut talk = Talk::of(Rights::default(), false);
    assert!(talk.pass(JOIN_WITHIN / 2).is_empty());
    assert_eq!(closed(&talk.pass(JOIN_WITHIN)), Some(4500));
    assert!(talk.hear(Frame::new(FrameType::Join, 0)).is_empty(), "closed is closed");
}

#[test]
fn the_end_is_told_by_status_and_the_goodbye_is_answered() {
    use EndReason as R;
    for (reason, status) in
        [(R::Completed, 410), (R::Removed, 411), (R::Revoked, 411), (R::Denied, 411), (R::Superseded, 301)]
    {
        let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
        talk.subscribed(&[], &[]);
        let acts = talk.tell(said(ServerMessage::Ended { reason }));
        assert_eq!(sent(&acts)[0].audio_status, Some(AudioStatus { audio_status: Some(status) }));
        talk.session.handle_close(talk.at);
        assert_eq!(closed(&talk.acts()), None, "its goodbye is waited for");
        let acts = talk.hear(Frame { leave: Some(frames::Empty {}), ..Frame::new(FrameType::Leave, 0) });
        assert_eq!(kinds(&acts), [FrameType::LeaveAck]);
        assert_eq!(closed(&acts), Some(1000));
        assert!(!acts.iter().any(|act| matches!(act, Act::Ask(_))), "the seat is gone already");
    }
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    assert_eq!(closed(&talk.tell(said(ServerMessage::Ended { reason: R::Failed }))), Some(4500));
}

#[test]
fn leavers_droppers_and_returners_are_told_apart() {
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    let (a, b, c) = (ParticipantId::random(), ParticipantId::random(), ParticipantId::random());
    let all = vec![present(1, a, "a", "A"), present(2, b, "b", "B"), present(3, c, "c", "C")];
    let early = presence(all[..2].to_vec(), Vec::new());
    assert!(talk.tell(early).is_empty(), "nothing before the answer to an offer");
    assert_eq!(kinds(&talk.subscribed(&[], &[])), [FrameType::SubscribeAck], "and nothing that was so before it");
    let acts = talk.tell(presence(all, Vec::new()));
    assert_eq!(sent(&acts)[0].audio_stream_id_info.as_ref().unwrap().streams.len(), 3);
    let acts = talk.tell(presence(vec![present(4, a, "a", "A")], vec![3]));
    let streams = &sent(&acts)[0].audio_stream_id_info.as_ref().unwrap().streams;
    let told: Vec<_> =
        streams.iter().map(|s| (s.audio_stream_id.unwrap(), s.attendee_id.as_deref(), s.dropped)).collect();
    assert_eq!(told, [(2, None, None), (3, None, Some(true)), (4, Some("a"), None)]);
    assert!(streams[0].muted.is_none(), "with a mute it would be no goodbye");
    assert!(talk.tell(presence(vec![present(4, a, "a", "A")], vec![3])).is_empty());
}

#[test]
fn levels_name_who_speaks_and_whose_network_is_weak() {
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    let (a, b) = (ParticipantId::random(), ParticipantId::random());
    talk.subscribed(&[], &[]);
    talk.tell(presence(vec![present(1, a, "a", "A"), present(2, b, "b", "B")], Vec::new()));
    let states = |acts: &[Act]| {
        let states = sent(acts)[0].audio_metadata.clone().unwrap().attendee_states;
        states.iter().map(|s| (s.audio_stream_id.unwrap(), s.volume.unwrap(), s.signal_strength)).collect::<Vec<_>>()
    };
    let level = |participant, below| Level { participant, below };
    let acts = talk.tell(Notice::Levels(Arc::from([level(a, 20)])));
    assert_eq!(states(&acts), [(1, 20, Some(2))]);
    let quality = ServerMessage::Quality { participant_id: b, bars: 1, rtt_ms: None, loss_up: 0, loss_down: 0 };
    talk.tell(said(quality));
    let acts = talk.tell(Notice::Levels(Arc::from([level(a, 20)])));
    assert_eq!(states(&acts), [(1, 20, Some(2)), (2, 127, Some(1))]);
    let quality = ServerMessage::Quality { participant_id: b, bars: 4, rtt_ms: None, loss_up: 0, loss_down: 0 };
    talk.tell(said(quality));
    let acts = talk.tell(Notice::Levels(Arc::from([])));
    assert_eq!(states(&acts), [(0, 127, None)], "everybody is silent");
}

#[test]
fn the_layer_is_the_one_that_the_client_chose_unless_it_leaves_that_to_us() {
    let bob = ParticipantId::random();
    let shown = picture(bob, 13, &[12, 14, 15]);
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    talk.tell(Notice::Pictures(gallery(vec![shown.clone()])));
    let acts = talk.subscribed(&[14], &[]);
    let tracks = &sent(&acts)[0].suback.as_ref().unwrap().tracks;
    assert_eq!(tracks[0].track_label.as_deref(), Some("v_2"));
    let line = &watched(&acts).unwrap()[0];
    assert_eq!((line.mid.as_str(), line.track, line.at_most), ("2", Some(shown.track), Some(1)));
    // Another layer without an offer.
    let config =
        frames::VideoSubscription { mid: "2".to_owned(), stream_id: Some(12), ..frames::VideoSubscription::default() };
    let update = frames::RemoteVideoUpdate {
        added_or_updated_video_subscriptions: vec![config],
        removed_video_subscription_mids: Vec::new(),
    };
    let update = Frame { remote_video_update: Some(update), ..Frame::new(FrameType::RemoteVideoUpdate, 0) };
    let acts = talk.hear(update.clone());
    assert_eq!(watched(&acts).unwrap()[0].at_most, Some(0));
    assert!(talk.hear(update).is_empty(), "nothing new");
    // Paused and resumed.
    let pause = |kind| Frame {
        pause: Some(frames::PauseResume { stream_ids: vec![12], group_ids: Vec::new() }),
        ..Frame::new(kind, 0)
    };
    assert_eq!(watched(&talk.hear(pause(FrameType::Pause))).unwrap()[0].track, None);
    assert_eq!(watched(&talk.hear(pause(FrameType::Resume))).unwrap()[0].track, Some(shown.track));
    // The Track of the same camera may change under it; and the camera may go.
    let again = Picture { track: TrackId::random(), ..shown.clone() };
    let acts = talk.tell(Notice::Pictures(gallery(vec![again.clone()])));
    assert!(kinds(&acts).is_empty(), "the index is the same");
    assert_eq!(watched(&acts).unwrap()[0].track, Some(again.track));
    let acts = talk.tell(Notice::Pictures(gallery(Vec::new())));
    assert_eq!(kinds(&acts), [FrameType::Index]);
    assert_eq!(watched(&acts).unwrap()[0].track, None);
    // A line that is stopped is no longer asked for.
    assert_eq!(watched(&talk.subscribed(&[0], &[])), Some(&[][..]));

    let delegating = frames::Join {
        server_side_network_adaption: Some(4),
        supported_server_side_network_adaptions: vec![2, 3, 4],
        ..frames::Join::default()
    };
    let mut talk = Talk::of(Rights::default(), false).joined(delegating);
    talk.tell(Notice::Pictures(gallery(vec![shown.clone()])));
    let acts = talk.subscribed(&[12], &[]);
    assert_eq!(watched(&acts).unwrap()[0].at_most, None);
    let acts = talk.tell(said(ServerMessage::Paused { mid: "2".to_owned(), paused: true }));
    assert_eq!(kinds(&acts), [FrameType::Pause]);
    assert_eq!(sent(&acts)[0].pause.as_ref().unwrap().group_ids, [13]);
}

#[test]
fn what_is_forbidden_is_neither_listed_nor_sent() {
    let bob = ParticipantId::random();
    let camera = picture(bob, 13, &[12]);
    let screen = Picture { is_share: true, ..picture(bob, 15, &[14]) };
    let blind = Rights { receives_video: false, sends_video: false, ..Rights::default() };
    let mut talk = Talk::of(blind, false).joined(frames::Join::default());
    let acts = talk.tell(Notice::Pictures(gallery(vec![camera, screen])));
    let index = sent(&acts)[0].index.clone().unwrap();
    assert_eq!(index.sources.iter().map(|s| s.stream_id.unwrap()).collect::<Vec<_>>(), [14]);
    assert_eq!(index.at_capacity, Some(true));
    // It tries anyway.
    let acts = talk.hear(subscribe(&[12], &[600]));
    let [Act::Ask(Ask::Subscribe(asked))] = &acts[..] else { panic!("{acts:?}") };
    assert!(asked.sends.is_empty());
    let answered = Answered { id: asked.id, sdp: Redacted::default(), sending: Vec::new(), given: Vec::new() };
    let acts = talk.tell(Notice::Answered(Box::new(answered)));
    assert_eq!(sent(&acts)[0].error.as_ref().unwrap().status, Some(206));
    assert_eq!(watched(&acts).unwrap()[0].track, None);
    // And with its rights it gets what they are about.
    let acts = talk.tell(Notice::Rights(Rights::default()));
    assert_eq!(sent(&acts)[0].index.as_ref().unwrap().sources.len(), 2);
    assert!(watched(&acts).unwrap()[0].track.is_some());

    let silent = Rights { sends_content: false, ..Rights::default() };
    let mut talk = Talk::of(silent, true);
    let acts = talk.hear(Frame { join: Some(frames::Join::default()), ..Frame::new(FrameType::Join, 0) });
    assert_eq!(sent(&acts)[0].error.as_ref().unwrap().status, Some(403));
}

#[test]
fn a_full_house_takes_no_further_camera_and_keeps_those_that_are_on() {
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    let acts = talk.subscribed(&[], &[600]);
    assert_eq!(sent(&acts)[0].suback.as_ref().unwrap().allocations[0].stream_id, Some(70));
    let full = || Arc::new(Gallery { is_full: true, people: 2, ..Gallery::default() });
    assert!(talk.tell(Notice::Pictures(full())).is_empty(), "it sends already");
    let mut other = Talk::of(Rights::default(), false).joined(frames::Join::default());
    let acts = other.tell(Notice::Pictures(full()));
    assert_eq!(sent(&acts)[0].index.as_ref().unwrap().at_capacity, Some(true));
}

#[test]
fn a_refused_offer_is_told_with_its_answer() {
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    let acts = talk.hear(subscribe(&[], &[]));
    let [Act::Ask(Ask::Subscribe(asked))] = &acts[..] else { panic!("{acts:?}") };
    let id = Some(RequestId::Number(asked.id));
    let error = ServerMessage::Error { id, code: "UNAVAILABLE", detail: String::new(), members: Default::default() };
    let acts = talk.tell(said(error));
    assert_eq!(kinds(&acts), [FrameType::SubscribeAck]);
    assert_eq!(sent(&acts)[0].error.as_ref().unwrap().status, Some(500));
    for _ in 0..MAX_OFFERS {
        assert!(sent(&talk.hear(subscribe(&[], &[]))).is_empty());
    }
    assert_eq!(sent(&talk.hear(subscribe(&[], &[])))[0].error.as_ref().unwrap().status, Some(400));
}

#[test]
fn bitrates_are_told_every_four_seconds_for_streams_of_the_index() {
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    assert!(talk.session.next_deadline().is_none());
    talk.subscribed(&[], &[]);
    talk.tell(Notice::Pictures(gallery(vec![picture(ParticipantId::random(), 13, &[12])])));
    talk.tell(Notice::Rates(Arc::from([(12, 450), (99, 1)])));
    talk.tell(Notice::Way(1800));
    let acts = talk.pass(BITRATES_EVERY);
    let bitrates = sent(&acts)[0].bitrates.clone().unwrap();
    assert_eq!(bitrates.server_available_outgoing_bitrate, Some(1800));
    let told: Vec<_> =
        bitrates.bitrates.iter().map(|b| (b.source_stream_id.unwrap(), b.avg_bitrate_bps.unwrap())).collect();
    assert_eq!(told, [(12, 450_000)]);
    assert!(talk.pass(BITRATES_EVERY / 2).is_empty());
}

#[test]
fn words_out_of_their_bounds_go_nowhere() {
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    let message = |topic: &str, size: usize| DataMessage {
        topic: Some(topic.to_owned()),
        data: Some(vec![1; size]),
        ..DataMessage::default()
    };
    let say = |talk: &mut Talk, messages: Vec<DataMessage>| {
        let body = DataMessages { messages };
        talk.hear(Frame { data_message: Some(body), ..Frame::new(FrameType::DataMessage, 0) })
    };
    for bad in [message("aws:chime", 1), message("", 1), message("chat", 2049), message(&"x".repeat(37), 1)] {
        assert!(say(&mut talk, vec![bad]).is_empty());
    }
    let acts = say(&mut talk, vec![message("chat", 2048); 100]);
    let [Act::Ask(Ask::Post(drafts))] = &acts[..] else { panic!("{acts:?}") };
    assert_eq!(drafts.len(), MAX_MESSAGES);
    // Given back: too many.
    talk.subscribed(&[], &[]);
    let back = Post { draft: drafts[0].clone(), from: alias(ALICE, "alice"), at: None };
    let acts = talk.tell(Notice::Posts(Arc::from([back])));
    assert_eq!(sent(&acts)[0].data_message.as_ref().unwrap().messages[0].ingest_time_ns, Some(0));
}

#[test]
fn a_replica_is_refused_and_unknown_frames_are_not_minded() {
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    let acts = talk.hear(Frame::new(FrameType::PrimaryMeetingJoin, 0));
    assert_eq!(kinds(&acts), [FrameType::PrimaryMeetingJoinAck]);
    assert_eq!(sent(&acts)[0].error.as_ref().unwrap().status, Some(403));
    assert!(talk.hear(Frame { r#type: 77, ..Frame::default() }).is_empty());
    assert!(talk.hear(Frame::new(FrameType::Join, 0)).is_empty(), "one JOIN is enough");
}

#[test]
fn the_index_says_what_all_decode_what_flows_and_what_is_held() {
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    let shown = picture(ParticipantId::random(), 13, &[12, 14]);
    talk.tell(Notice::Rates(Arc::from([(12, 150)])));
    let codecs = Codecs::of_offer("m=video 9 X 96\r\na=rtpmap:96 VP8/90000\r\na=rtpmap:98 VP9/90000\r\n");
    let look = |is_held| {
        let pictures = vec![Picture { is_held, ..shown.clone() }];
        Notice::Pictures(Arc::new(Gallery { pictures, people: 2, is_full: false, codecs }))
    };
    let acts = talk.tell(look(false));
    let index = sent(&acts)[0].index.clone().unwrap();
    assert_eq!(index.supported_receive_codec_intersection, [1, 8]);
    let rates: Vec<_> = index.sources.iter().map(|s| (s.avg_bitrate_bps, s.max_bitrate_kbps)).collect();
    assert_eq!(rates, [(Some(150_000), Some(300)), (Some(600_000), Some(600))]);
    let sizes: Vec<_> = index.sources.iter().map(|s| (s.width, s.height)).collect();
    assert_eq!(sizes, [(Some(320), Some(180)), (None, None)]);
    assert!(index.paused_at_source_ids.is_empty());
    talk.tell(Notice::Rates(Arc::from([(12, 100), (14, 400)])));
    assert!(talk.tell(look(false)).is_empty(), "other rates are no news");
    let acts = talk.tell(look(true));
    assert_eq!(sent(&acts)[0].index.as_ref().unwrap().paused_at_source_ids, [12, 14]);
}

#[test]
fn a_relay_is_told_with_all_that_it_takes() {
    let mut talk = Talk::of(Rights::default(), false);
    talk.hear(Frame { join: Some(frames::Join::default()), ..Frame::new(FrameType::Join, 0) });
    let server = IceServer {
        urls: vec!["turn:turn.example.org:3478".to_owned()],
        username: Redacted::new("user".to_owned()),
        credential: Redacted::new("secret".to_owned()),
    };
    talk.session.handle_joined(talk.at, Ok(Some(Turn { server, ttl: Duration::from_secs(3600) })));
    let acts = talk.acts();
    let turn = sent(&acts)[0].joinack.clone().unwrap().turn_credentials.unwrap();
    assert_eq!(
        (turn.username.as_deref(), turn.password.as_deref(), turn.ttl),
        (Some("user"), Some("secret"), Some(3600))
    );
    assert_eq!(turn.uris, ["turn:turn.example.org:3478"]);
}

#[test]
fn of_what_the_client_measures_the_round_trip_goes_into_the_books() {
    let mut talk = Talk::of(Rights::default(), false).joined(frames::Join::default());
    let mut hear = |kind: i32, value: f64| {
        let metric = |kind, value| frames::Metric { r#type: Some(kind), value: Some(value) };
        let global_metrics = vec![metric(2, 900_000.0), metric(kind, value)];
        let body = frames::ClientMetric { global_metrics, ..frames::ClientMetric::default() };
        talk.hear(Frame { client_metric: Some(body), ..Frame::new(FrameType::ClientMetric, 0) })
    };
    let acts = hear(STUN_RTT_MS, 41.6);
    assert!(matches!(&acts[..], [Act::Ask(Ask::Measured { rtt_ms: 42 })]), "{acts:?}");
    for (kind, value) in [(STUN_RTT_MS, -1.0), (STUN_RTT_MS, f64::NAN), (STUN_RTT_MS, 1e9), (4, 50.0)] {
        assert!(hear(kind, value).is_empty(), "{kind} {value}");
    }
}
