//! What a Room tells outside of the people of translated faces.

use wire::control::PublishedTrack;

use super::*;
use crate::live::face::{Alias, Announced, Ask, Face, Newcomer, Subscribe};
use crate::live::notable::What;

struct Guest {
    who: ParticipantId,
    socket: SocketId,
    _out: mpsc::Receiver<Outgoing>,
}

impl Scene {
    async fn arrive(&mut self, who: ParticipantId, name: &str, client: u64, is_share: bool) -> Guest {
        self.sockets += 1;
        let (out, received) = mpsc::channel(600);
        let socket = SocketId(self.sockets);
        let person = Person {
            participant: who,
            role: RoleView::Guest,
            name: Redacted::new("Somebody".to_owned()),
            actor: Actor::System { org: OrgId::random() },
        };
        let alias = Alias { id: name.into(), name: Redacted::new(name.into()) };
        let newcomer = Newcomer { client, alias, rights: wire::control::Rights::default() };
        let face = if is_share { Face::Share(newcomer) } else { Face::Translated(newcomer) };
        let token = Redacted::new(String::new());
        let joining = Joining { person, line: Line { socket, out }, resume: None, token, face };
        self.room.handle_join(self.now(), joining).await.unwrap();
        Guest { who, socket, _out: received }
    }

    async fn connects(&mut self, guest: &Guest, mark: &str, is_sending: bool) {
        let sdp = format!("v=0\r\no=- {mark} 1 IN IP4 0.0.0.0\r\na=fingerprint:sha-256 AB\r\n");
        let sends = is_sending.then_some(Announced { most_kbits: 900, framerate: 15 }).into_iter().collect();
        let subscribe = Subscribe { id: 1, sdp: Redacted::new(sdp), sends, is_muted: false };
        self.room.handle_ask(self.now(), guest.socket, Ask::Subscribe(Box::new(subscribe))).await;
    }

    async fn shows(&mut self, shown: &[(ParticipantId, Source)]) {
        let track = |(participant, source): &(ParticipantId, Source)| PublishedTrack {
            participant: *participant,
            source: *source,
            track: TrackId::random(),
            codec: wire::control::Codec::Vp8,
            kbits: vec![500],
            sizes: vec![None],
        };
        let tracks = shown.iter().map(track).collect();
        self.event(Event::Published { room: self.id(), tracks }).await;
    }

    /// What was told since the last time.
    fn told(&self) -> Vec<(String, What)> {
        let told = std::mem::take(&mut self.world.world().happenings);
        told.into_iter().map(|h| (h.id.to_string(), h.what)).collect()
    }
}

fn about(id: &str, what: &[What]) -> Vec<(String, What)> {
    what.iter().map(|what| (id.to_owned(), *what)).collect()
}

fn meeting() -> Scene {
    let mut scene = Scene::new();
    scene.room.facts.is_door_open = true;
    scene
}

#[tokio::test]
async fn who_comes_shows_shares_and_goes() {
    let mut scene = meeting();
    let ann = scene.arrive(ParticipantId::random(), "ann", 1, false).await;
    assert_eq!(scene.told(), about("ann", &[What::Authorized]));
    scene.connects(&ann, "a", true).await;
    assert_eq!(scene.told(), about("ann", &[What::Joined]));
    scene.shows(&[(ann.who, Source::Camera)]).await;
    assert_eq!(scene.told(), about("ann", &[What::PictureOn]));
    scene.connects(&ann, "a", false).await;
    assert_eq!(scene.told(), about("ann", &[What::PictureOff]));
    let share = scene.arrive(ann.who, "ann#content", 2, true).await;
    assert!(scene.told().is_empty(), "nothing has been agreed upon for it");
    scene.connects(&share, "s", true).await;
    scene.shows(&[(ann.who, Source::Screen)]).await;
    assert_eq!(scene.told(), about("ann#content", &[What::Joined, What::PictureOn]));
    scene.room.handle_ask(scene.now(), share.socket, Ask::Leave).await;
    assert_eq!(scene.told(), about("ann#content", &[What::PictureOff, What::Left]));
    scene.room.handle_ask(scene.now(), ann.socket, Ask::Leave).await;
    assert_eq!(scene.told(), about("ann", &[What::Left]));
}

#[tokio::test]
async fn a_page_that_comes_back_in_time_is_no_news_and_one_that_does_not_was_dropped() {
    let mut scene = meeting();
    let ann = scene.arrive(ParticipantId::random(), "ann", 1, false).await;
    scene.connects(&ann, "a", false).await;
    let share = scene.arrive(ann.who, "ann#content", 2, true).await;
    scene.connects(&share, "s", true).await;
    scene.told();
    scene.room.handle_gone(scene.now(), ann.socket);
    scene.pass(Duration::from_secs(5)).await;
    let ann = scene.arrive(ann.who, "ann", 1, false).await;
    scene.connects(&ann, "a2", false).await;
    assert!(scene.told().is_empty());
    // Another page of the same person is let in anew, and is nobody new to the others.
    let ann = scene.arrive(ann.who, "ann", 3, false).await;
    assert_eq!(scene.told()[0], ("ann".to_owned(), What::Authorized));
    scene.connects(&ann, "a3", false).await;
    let share = scene.arrive(ann.who, "ann#content", 4, true).await;
    scene.connects(&share, "s2", true).await;
    scene.told();
    scene.room.handle_gone(scene.now(), share.socket);
    scene.pass(TRANSLATED_SEAT_KEPT).await;
    assert_eq!(scene.told(), about("ann#content", &[What::Dropped]));
    scene.room.handle_gone(scene.now(), ann.socket);
    scene.pass(TRANSLATED_SEAT_KEPT).await;
    assert_eq!(scene.told(), about("ann", &[What::Dropped]));
}

#[tokio::test]
async fn the_end_is_a_goodbye_and_a_lost_room_is_none() {
    for (is_lost, what) in [(false, What::Left), (true, What::Dropped)] {
        let mut scene = meeting();
        let ann = scene.arrive(ParticipantId::random(), "ann", 1, false).await;
        scene.connects(&ann, "a", false).await;
        scene.told();
        if is_lost {
            scene.room.handle_failure(scene.now()).await;
        } else {
            scene.room.handle_end(scene.now(), None).await;
        }
        assert_eq!(scene.told(), about("ann", &[what]));
    }
}

#[tokio::test]
async fn in_a_visit_one_has_joined_when_one_is_inside_and_native_people_are_not_told_of() {
    let mut scene = Scene::new();
    let clinician = scene.enter(ParticipantId::random(), RoleView::Clinician, None).await;
    scene.say(&clinician, &offer("cccc")).await;
    let ann = scene.arrive(ParticipantId::random(), "ann", 1, false).await;
    scene.connects(&ann, "a", false).await;
    assert_eq!(scene.told(), about("ann", &[What::Authorized]));
    assert!(scene.room.is_attended(), "who waits has a connection for sound");
    scene.say(&clinician, &super::about("admit", ann.who)).await;
    assert_eq!(scene.told(), about("ann", &[What::Joined]));
    scene.say(&clinician, &super::about("send_back", ann.who)).await;
    assert_eq!(scene.told(), about("ann", &[What::Left]));
}

#[tokio::test]
async fn a_room_is_attended_while_somebody_has_a_connection_for_sound() {
    let mut scene = meeting();
    let ann = scene.arrive(ParticipantId::random(), "ann", 1, false).await;
    assert!(!scene.room.is_attended(), "a seat alone is no connection");
    scene.connects(&ann, "a", false).await;
    assert!(scene.room.is_attended());
    let peer = scene.room.roster.find(ann.who).unwrap().peer().unwrap();
    scene.event(Event::PeerLost { room: scene.id(), peer, reason: Lost::Silent }).await;
    assert!(!scene.room.is_attended());
}
