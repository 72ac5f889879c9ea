//! Both faces in one Room: who is told what, and what the media node is asked.

use wire::control::{Codec, Level, Manner, PublishedTrack, Rights};

use super::*;
use crate::live::codecs::Codecs;
use crate::live::face::{
    Alias, Announced, Answered, Ask, Draft, Face, Gallery, Newcomer, Notice, Post, Presence, Subscribe,
};

/// A socket of the translated face: what the Room told it.
struct Guest {
    who: ParticipantId,
    socket: SocketId,
    out: mpsc::Receiver<Outgoing>,
    closed: Option<u16>,
}

impl Guest {
    fn read(&mut self) -> Vec<Notice> {
        let mut notices = Vec::new();
        while let Ok(out) = self.out.try_recv() {
            match out {
                Outgoing::Notice(notice) => notices.push(*notice),
                Outgoing::Close(code) => self.closed = Some(code),
                Outgoing::Text(text) => panic!("a translated client gets no {text}"),
            }
        }
        notices
    }
}

fn presence(notices: &[Notice]) -> Option<&Presence> {
    notices
        .iter()
        .rev()
        .find_map(|notice| if let Notice::Present(presence) = notice { Some(&**presence) } else { None })
}

fn gallery(notices: &[Notice]) -> Option<&Gallery> {
    notices.iter().rev().find_map(|notice| if let Notice::Pictures(gallery) = notice { Some(&**gallery) } else { None })
}

fn answered(notices: &[Notice]) -> Option<&Answered> {
    notices.iter().find_map(|notice| if let Notice::Answered(answered) = notice { Some(&**answered) } else { None })
}

fn ended(notices: &[Notice]) -> Option<EndReason> {
    notices.iter().find_map(|notice| match notice {
        Notice::Said(said) => match &**said {
            ServerMessage::Ended { reason } => Some(*reason),
            _ => None,
        },
        _ => None,
    })
}

fn posts(notices: &[Notice]) -> Vec<Post> {
    let posts = notices.iter().filter_map(|n| if let Notice::Posts(posts) = n { Some(posts.to_vec()) } else { None });
    posts.flatten().collect()
}

fn ids(presence: &Presence) -> Vec<&str> {
    presence.present.iter().map(|present| &*present.alias.id).collect()
}

impl Scene {
    /// A meeting of its own: nobody waits.
    fn open() -> Self {
        let mut scene = Self::new();
        scene.room.facts.is_door_open = true;
        scene
    }

    async fn try_come(&mut self, who: ParticipantId, role: RoleView, face: Face) -> Result<Guest, Fault> {
        self.sockets += 1;
        let (out, received) = mpsc::channel(600);
        let socket = SocketId(self.sockets);
        let actor = Actor::System { org: OrgId::random() };
        let person = Person { participant: who, role, name: Redacted::new("Somebody".to_owned()), actor };
        let token = Redacted::new(String::new());
        let joining = Joining { person, line: Line { socket, out }, resume: None, token, face };
        self.room.handle_join(self.now(), joining).await?;
        Ok(Guest { who, socket, out: received, closed: None })
    }

    async fn come(&mut self, name: &str, client: u64) -> Guest {
        let who = ParticipantId::random();
        self.try_come(who, RoleView::Guest, Face::Translated(newcomer(name, client))).await.unwrap()
    }

    async fn again(&mut self, guest: &Guest, name: &str, client: u64) -> Guest {
        self.try_come(guest.who, RoleView::Guest, Face::Translated(newcomer(name, client))).await.unwrap()
    }

    async fn ask(&mut self, guest: &Guest, ask: Ask) {
        self.room.handle_ask(self.now(), guest.socket, ask).await;
        self.check_laws();
    }

    async fn offer_from(&mut self, guest: &Guest, name: &str, sends: &[u32]) {
        let sdp = format!("v=0\r\no=- {name} 1 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 AB\r\n");
        let sends = sends.iter().map(|&most_kbits| Announced { most_kbits, framerate: 15 }).collect();
        let subscribe = Subscribe { id: 1, sdp: Redacted::new(sdp), sends, is_muted: false };
        self.ask(guest, Ask::Subscribe(Box::new(subscribe))).await;
    }

    async fn publish(&mut self, tracks: &[(ParticipantId, Source, &[u32])]) {
        let tracks = tracks.iter().map(|(participant, source, kbits)| PublishedTrack {
            participant: *participant,
            source: *source,
            track: TrackId::random(),
            codec: Codec::Vp8,
            kbits: kbits.to_vec(),
            sizes: kbits.iter().map(|_| None).collect(),
        });
        let tracks = tracks.collect();
        self.event(Event::Published { room: self.id(), tracks }).await;
    }

    /// Two translated clients inside with connections, everything read.
    async fn two_guests() -> (Self, Guest, Guest) {
        let mut scene = Self::open();
        let mut alice = scene.come("alice", 1).await;
        let mut bob = scene.come("bob", 2).await;
        scene.offer_from(&alice, "aaaa", &[]).await;
        scene.offer_from(&bob, "bbbb", &[]).await;
        alice.read();
        bob.read();
        scene.world.names();
        (scene, alice, bob)
    }

    fn commands(&self) -> Vec<Command> {
        let acts = std::mem::take(&mut self.world.world().acts);
        acts.into_iter().filter_map(|act| if let Act::Sfu(command) = act { Some(command) } else { None }).collect()
    }
}

fn newcomer(name: &str, client: u64) -> Newcomer {
    let alias = Alias { id: name.into(), name: Redacted::new(name.into()) };
    Newcomer { client, alias, rights: Rights::default() }
}

fn words(text: &str, lifetime: Duration) -> Ask {
    let body = Redacted::new(bytes::Bytes::copy_from_slice(text.as_bytes()));
    Ask::Post(vec![Draft { topic: "chat".to_owned(), body, lifetime }])
}

#[tokio::test]
async fn a_plain_meeting_has_an_open_door_and_a_roster_of_those_who_answered() {
    let mut scene = Scene::open();
    let mut alice = scene.come("alice", 1).await;
    assert_eq!(scene.world.names(), ["sfu OpenRoom", "db Joined"]);
    let told = alice.read();
    assert_eq!(gallery(&told).unwrap().people, 0);
    assert!(presence(&told).unwrap().present.is_empty(), "nobody has a connection yet");
    scene.offer_from(&alice, "aaaa", &[]).await;
    let Command::AddPeer { manner, door, .. } = &scene.commands()[0] else { panic!() };
    assert_eq!((*manner, *door), (Manner::Chime, Door::Admitted));
    let told = alice.read();
    assert!(matches!(told[0], Notice::Answered(_)), "the answer comes before the roster");
    assert_eq!(ids(presence(&told).unwrap()), ["alice"]);
    let mut bob = scene.come("bob", 2).await;
    scene.offer_from(&bob, "bbbb", &[]).await;
    assert_eq!(ids(presence(&bob.read()).unwrap()), ["alice", "bob"]);
    let told = alice.read();
    assert_eq!(ids(presence(&told).unwrap()), ["alice", "bob"]);
    assert_eq!(gallery(&told).unwrap().people, 2);
    scene.ask(&bob, Ask::Mute(true)).await;
    assert!(presence(&alice.read()).unwrap().present[1].is_muted);
    scene.ask(&bob, Ask::Leave).await;
    let told = alice.read();
    let left = presence(&told).unwrap();
    assert_eq!((ids(left), left.dropped.len()), (vec!["alice"], 0));
}

#[tokio::test]
async fn a_camera_is_offered_while_it_is_on_and_flows() {
    let (mut scene, mut alice, mut bob) = Scene::two_guests().await;
    scene.offer_from(&bob, "bbbb", &[1200]).await;
    let given = answered(&bob.read()).unwrap().given.clone();
    assert_eq!(given.len(), 1);
    assert!(gallery(&alice.read()).is_none(), "nothing flows yet");
    scene.publish(&[(bob.who, Source::Microphone, &[40]), (bob.who, Source::Camera, &[900])]).await;
    let told = alice.read();
    let shown = &gallery(&told).unwrap().pictures[0];
    assert_eq!(
        (shown.group, shown.streams[0].number, shown.streams[0].most_kbits),
        (given[0].group, given[0].stream, 1200)
    );
    assert_eq!(&*shown.alias.id, "bob");
    assert!(told.iter().any(|n| matches!(n, Notice::Rates(rates) if rates[..] == [(given[0].stream, 900)])));
    for _ in 0..5 {
        scene.offer_from(&bob, "bbbb", &[]).await;
        assert!(gallery(&alice.read()).unwrap().pictures.is_empty());
        scene.offer_from(&bob, "bbbb", &[1200]).await;
        assert_eq!(gallery(&alice.read()).unwrap().pictures[0].group, given[0].group);
    }
    let added = scene.commands().iter().filter(|command| matches!(command, Command::AddPeer { .. })).count();
    assert_eq!(added, 0, "it is all one connection");
}

#[tokio::test]
async fn the_same_page_comes_back_without_anybody_hearing_of_a_goodbye() {
    let (mut scene, mut alice, mut bob) = Scene::two_guests().await;
    let before = scene.room.roster.find(bob.who).unwrap().number;
    scene.room.handle_gone(scene.now(), bob.socket);
    scene.pass(Duration::from_secs(5)).await;
    assert!(presence(&alice.read()).is_none());
    let mut again = scene.again(&bob, "bob", 2).await;
    scene.offer_from(&again, "bbb2", &[]).await;
    let told = alice.read();
    let presence = presence(&told).unwrap();
    assert_eq!(ids(presence), ["alice", "bob"]);
    assert!(presence.present[1].number > before && presence.dropped.is_empty());
    assert!(ended(&again.read()).is_none());
    // Also while the old socket looks alive.
    let mut third = scene.again(&bob, "bob", 2).await;
    assert!(ended(&again.read()).is_none());
    assert_eq!(again.closed, Some(close::SUPERSEDED));
    // Another device of the same person.
    let _fourth = scene.again(&bob, "bob", 77).await;
    assert_eq!(ended(&third.read()), Some(EndReason::Superseded));
    assert!(bob.read().is_empty());
}

#[tokio::test]
async fn who_does_not_come_back_was_dropped() {
    let (mut scene, mut alice, bob) = Scene::two_guests().await;
    let number = scene.room.roster.find(bob.who).unwrap().number;
    scene.room.handle_gone(scene.now(), bob.socket);
    scene.pass(TRANSLATED_SEAT_KEPT).await;
    let told = alice.read();
    let presence = presence(&told).unwrap();
    assert_eq!((ids(presence), presence.dropped.clone()), (vec!["alice"], vec![number]));
}

#[tokio::test]
async fn ends_are_told_with_their_reasons() {
    let (mut scene, mut alice, mut bob) = Scene::two_guests().await;
    scene.room.handle_revoked(scene.now(), bob.who).await;
    assert_eq!(ended(&bob.read()), Some(EndReason::Revoked));
    assert_eq!(ids(presence(&alice.read()).unwrap()), ["alice"]);
    scene.room.handle_end(scene.now(), None).await;
    assert_eq!(ended(&alice.read()), Some(EndReason::Completed));
    assert!(scene.room.is_over());
}

#[tokio::test]
async fn in_a_visit_one_waits_and_sees_nobody_until_the_clinician_admits() {
    let mut scene = Scene::new();
    let mut clinician = scene.enter(ParticipantId::random(), RoleView::Clinician, None).await;
    scene.say(&clinician, &offer("cccc")).await;
    clinician.read();
    scene.world.names();
    let mut guest = scene.come("guest", 1).await;
    scene.offer_from(&guest, "gggg", &[800]).await;
    let commands = scene.commands();
    let Some(Command::AddPeer { door, .. }) = commands.iter().find(|c| matches!(c, Command::AddPeer { .. })) else {
        panic!()
    };
    assert_eq!(*door, Door::Waiting);
    let told = guest.read();
    assert_eq!(ids(presence(&told).unwrap()), ["guest"]);
    assert_eq!(gallery(&told).unwrap().people, 1);
    scene.say(&clinician, r#"{"type":"state","microphone":true,"camera":true}"#).await;
    scene.publish(&[(clinician.who, Source::Camera, &[500])]).await;
    scene
        .event(Event::Levels { room: scene.id(), levels: vec![Level { participant: clinician.who, below: 20 }] })
        .await;
    assert!(guest.read().is_empty(), "who waits hears of nothing inside");
    scene.ask(&guest, words("let me in", Duration::from_secs(60))).await;
    assert!(scene.room.board.read(scene.now()).is_empty());
    assert!(clinician.types().contains(&"waiting_list".to_owned()));
    scene.say(&clinician, &about("admit", guest.who)).await;
    let told = guest.read();
    let id = clinician.who.to_string();
    let mut inside = ids(presence(&told).unwrap());
    inside.sort_unstable();
    let mut expected = vec![id.as_str(), "guest"];
    expected.sort_unstable();
    assert_eq!(inside, expected);
    assert_eq!(&*gallery(&told).unwrap().pictures[0].alias.id, id);
    scene.say(&clinician, &about("send_back", guest.who)).await;
    let told = guest.read();
    assert_eq!(ids(presence(&told).unwrap()), ["guest"]);
    assert!(gallery(&told).unwrap().pictures.is_empty());
}

#[tokio::test]
async fn a_native_camera_that_is_off_is_not_offered_and_a_native_screen_is_a_share() {
    let (mut scene, mut alice, _bob) = Scene::two_guests().await;
    let native = scene.enter(ParticipantId::random(), RoleView::Clinician, None).await;
    scene.publish(&[(native.who, Source::Camera, &[100, 300, 900]), (native.who, Source::Screen, &[700])]).await;
    let id = native.who.to_string();
    let told = alice.read();
    let share = format!("{id}{}", crate::live::room::translated::SHARED);
    assert_eq!(gallery(&told).unwrap().pictures.iter().map(|p| &*p.alias.id).collect::<Vec<_>>(), [share.as_str()]);
    assert!(ids(presence(&told).unwrap()).contains(&share.as_str()));
    scene.say(&native, r#"{"type":"state","microphone":true,"camera":true}"#).await;
    let told = alice.read();
    assert_eq!(gallery(&told).unwrap().pictures[0].streams.len(), 3);
}

#[tokio::test]
async fn a_share_is_a_second_connection_of_the_same_seat() {
    let (mut scene, mut alice, mut bob) = Scene::two_guests().await;
    let mut share = scene.try_come(bob.who, RoleView::Guest, Face::Share(newcomer("bob#content", 9))).await.unwrap();
    assert_eq!(scene.world.names(), Vec::<String>::new(), "no seat is taken for it");
    scene.offer_from(&share, "ssss", &[2000]).await;
    let commands = scene.commands();
    let Command::AddPeer { manner, participant, .. } = &commands[0] else { panic!() };
    assert_eq!((*manner, *participant), (Manner::ChimeShare, bob.who));
    assert!(answered(&share.read()).is_some());
    for other in [&mut alice, &mut bob] {
        assert_eq!(ids(presence(&other.read()).unwrap()), ["alice", "bob", "bob#content"]);
    }
    scene.publish(&[(bob.who, Source::Screen, &[1500])]).await;
    let told = alice.read();
    assert!(gallery(&told).unwrap().pictures[0].is_share);
    // It ends alone, or with its person.
    scene.ask(&share, Ask::Leave).await;
    assert_eq!(ids(presence(&alice.read()).unwrap()), ["alice", "bob"]);
    assert!(matches!(scene.commands()[..], [Command::Remove { .. }]));
    let mut share = scene.try_come(bob.who, RoleView::Guest, Face::Share(newcomer("bob#content", 9))).await.unwrap();
    scene.offer_from(&share, "sss2", &[2000]).await;
    alice.read();
    scene.ask(&bob, Ask::Leave).await;
    share.read();
    assert_eq!(share.closed, Some(close::NORMAL));
    let removed = scene.commands().iter().filter(|command| matches!(command, Command::Remove { .. })).count();
    assert_eq!(removed, 2);
    assert_eq!(ids(presence(&alice.read()).unwrap()), ["alice"]);
}

#[tokio::test]
async fn a_share_needs_its_person_the_right_and_a_place() {
    let (mut scene, mut alice, bob) = Scene::two_guests().await;
    let share = |name: &str| Face::Share(newcomer(name, 9));
    let nobody = scene.try_come(ParticipantId::random(), RoleView::Guest, share("x")).await;
    assert_eq!(nobody.err().unwrap().code, Code::Unavailable);
    let third = scene.come("third", 3).await;
    let mut first = scene.try_come(alice.who, RoleView::Guest, share("alice#content")).await.unwrap();
    scene.try_come(bob.who, RoleView::Guest, share("bob#content")).await.unwrap();
    let full = scene.try_come(third.who, RoleView::Guest, share("third#content")).await.err().unwrap();
    assert!(full.members.iter().any(|(name, _)| *name == "isFull"));
    let rights = Rights { sends_content: false, ..Rights::default() };
    scene.room.handle_rights(scene.now(), alice.who, rights).await;
    assert!(matches!(scene.commands()[..], [.., Command::SetRights { .. }]));
    assert_eq!(ended(&first.read()), Some(EndReason::Removed));
    assert!(alice.read().iter().any(|notice| matches!(notice, Notice::Rights(now) if *now == rights)));
    let refused = scene.try_come(alice.who, RoleView::Guest, share("alice#content")).await;
    assert_eq!(refused.err().unwrap().code, Code::Forbidden);
}

#[tokio::test]
async fn without_the_media_nodes_word_on_rights_nobody_comes_in() {
    let mut scene = Scene::open();
    scene.world.breaks("SetRights");
    let rights = Rights { sends_audio: false, ..Rights::default() };
    let face = || Face::Translated(Newcomer { rights, ..newcomer("alice", 1) });
    assert!(scene.try_come(ParticipantId::random(), RoleView::Guest, face()).await.is_err());
    scene.world.heals();
    assert!(scene.try_come(ParticipantId::random(), RoleView::Guest, face()).await.is_ok());
}

#[tokio::test]
async fn words_reach_everybody_else_and_who_comes_later_reads_what_was_kept() {
    let (mut scene, mut alice, mut bob) = Scene::two_guests().await;
    scene.ask(&alice, words("hello", Duration::from_secs(60))).await;
    scene.ask(&alice, words("gone", Duration::ZERO)).await;
    assert!(posts(&alice.read()).is_empty());
    let read = posts(&bob.read());
    assert_eq!(read.iter().map(|post| &post.draft.body.reveal()[..]).collect::<Vec<_>>(), [&b"hello"[..], b"gone"]);
    assert_eq!(&*read[0].from.id, "alice");
    let mut carol = scene.come("carol", 3).await;
    assert!(posts(&carol.read()).is_empty());
    scene.offer_from(&carol, "cccc", &[]).await;
    assert_eq!(posts(&carol.read()).len(), 1);
    for _ in 0..250 {
        scene.ask(&alice, words("flood", Duration::ZERO)).await;
        bob.read();
        carol.read();
    }
    let back = posts(&alice.read());
    assert!(!back.is_empty() && back.iter().all(|post| post.at.is_none()));
}

#[tokio::test]
async fn what_lines_carry_is_asked_of_the_media_node() {
    let (mut scene, alice, _bob) = Scene::two_guests().await;
    scene.ask(&alice, Ask::Watch(Vec::new())).await;
    assert!(matches!(&scene.commands()[..], [Command::Assign { lines, .. }] if lines.is_empty()));
    let nobody = Guest { who: alice.who, socket: SocketId(999), out: mpsc::channel(1).1, closed: None };
    scene.ask(&nobody, Ask::Watch(Vec::new())).await;
    assert!(scene.commands().is_empty(), "a socket without a seat is not heard");
}

#[tokio::test]
async fn a_lost_connection_closes_its_own_socket_and_no_newer_one() {
    let (mut scene, mut alice, mut bob) = Scene::two_guests().await;
    let peer = |scene: &Scene, who| scene.room.roster.find(who).unwrap().peer().unwrap();
    let lost = |scene: &Scene, peer| Event::PeerLost { room: scene.id(), peer, reason: Lost::Silent };
    let first = peer(&scene, bob.who);
    let event = lost(&scene, first);
    scene.event(event).await;
    assert_eq!(ended(&bob.read()), Some(EndReason::Failed), "its client makes everything anew");
    assert_eq!(bob.closed, Some(close::FAILED));
    assert!(presence(&alice.read()).is_none(), "nobody hears of a goodbye meanwhile");
    let mut again = scene.again(&bob, "bob", 2).await;
    scene.offer_from(&again, "bbb2", &[]).await;
    again.read();
    let second = peer(&scene, bob.who);
    let mut third = scene.again(&bob, "bob", 2).await;
    let event = lost(&scene, second);
    scene.event(event).await;
    assert!(ended(&third.read()).is_none() && third.closed.is_none(), "it is about to make a new one");
    scene.offer_from(&third, "bbb3", &[]).await;
    assert!(answered(&third.read()).is_some());
}

#[tokio::test]
async fn a_share_whose_connection_is_lost_is_taken_away() {
    let (mut scene, mut alice, bob) = Scene::two_guests().await;
    let mut share = scene.try_come(bob.who, RoleView::Guest, Face::Share(newcomer("bob#content", 9))).await.unwrap();
    scene.offer_from(&share, "ssss", &[2000]).await;
    scene.publish(&[(bob.who, Source::Screen, &[1500])]).await;
    assert_eq!(gallery(&alice.read()).unwrap().pictures.len(), 1);
    let seat = scene.room.roster.find(bob.who).unwrap();
    let peer = seat.face.as_ref().unwrap().share.as_ref().unwrap().media.as_ref().unwrap().peer;
    let room = scene.id();
    scene.event(Event::PeerLost { room, peer, reason: Lost::Dtls }).await;
    let told = alice.read();
    assert_eq!(ids(presence(&told).unwrap()), ["alice", "bob"]);
    assert!(gallery(&told).unwrap().pictures.is_empty());
    assert_eq!(ended(&share.read()), Some(EndReason::Failed), "its client comes back with it");
    scene.try_come(bob.who, RoleView::Guest, Face::Share(newcomer("bob#content", 9))).await.unwrap();
}

#[tokio::test]
async fn everybody_sends_what_all_decode_and_a_camera_that_stands_still_is_said_to_be_held() {
    let (mut scene, mut alice, bob) = Scene::two_guests().await;
    let offer = |name: &str, codecs: &[&str]| {
        let lines = codecs.iter().zip(96..).map(|(codec, n)| format!("a=rtpmap:{n} {codec}/90000\r\n"));
        let lines: String = lines.collect();
        let sdp =
            format!("v=0\r\no=- {name} 1 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 AB\r\nm=video 9 X 96\r\n{lines}");
        let sends = vec![Announced { most_kbits: 900, framerate: 15 }];
        Ask::Subscribe(Box::new(Subscribe { id: 1, sdp: Redacted::new(sdp), sends, is_muted: false }))
    };
    scene.ask(&alice, offer("aaaa", &["VP8", "VP9"])).await;
    let told = alice.read();
    let codecs = gallery(&told).unwrap().codecs.unwrap();
    assert!(codecs.has(Codecs::VP9), "what is not known of others does not count");
    scene.ask(&bob, offer("bbbb", &["VP8"])).await;
    assert_eq!(gallery(&alice.read()).unwrap().codecs, Some(Codecs::VP8));
    scene.publish(&[(bob.who, Source::Camera, &[0])]).await;
    assert!(!gallery(&alice.read()).unwrap().pictures[0].is_held, "it has only begun");
    scene.publish(&[(bob.who, Source::Camera, &[400])]).await;
    scene.publish(&[(bob.who, Source::Camera, &[0])]).await;
    assert!(gallery(&alice.read()).unwrap().pictures[0].is_held);
    scene.publish(&[(bob.who, Source::Camera, &[300])]).await;
    assert!(!gallery(&alice.read()).unwrap().pictures[0].is_held);
    scene.ask(&bob, Ask::Leave).await;
    assert!(gallery(&alice.read()).unwrap().codecs.unwrap().has(Codecs::VP9), "who went holds nobody back");
}

#[tokio::test]
async fn a_visit_has_fewer_seats_than_a_meeting() {
    for (is_open, most) in [(false, VISIT_SEATS), (true, MEETING_SEATS)] {
        let mut scene = Scene::new();
        scene.room.facts.is_door_open = is_open;
        for _ in 0..most {
            let face = Face::Translated(newcomer("somebody", 1));
            scene.try_come(ParticipantId::random(), RoleView::Guest, face).await.unwrap();
        }
        let face = Face::Translated(newcomer("somebody", 1));
        let full = scene.try_come(ParticipantId::random(), RoleView::Guest, face).await.err().unwrap();
        assert!(full.members.iter().any(|(name, _)| *name == "isFull"));
    }
}
