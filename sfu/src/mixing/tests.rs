use engine::MixListener;
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::*;

struct Shelf {
    desk: Arc<Desk>,
    link: MixerLink,
    waker: Arc<OwnedFd>,
}

impl Shelf {
    fn new() -> Self {
        let desk = Arc::new(Desk::default());
        let waker = Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC).unwrap());
        let link = MixerLink::new(&desk, &waker);
        Self { desk, link, waker }
    }

    /// Waits until the shard would be woken.
    fn wait(&self) {
        let mut fds = [PollFd::new(&self.waker, PollFlags::IN)];
        let most = Timespec { tv_sec: 10, tv_nsec: 0 };
        assert_eq!(poll(&mut fds, Some(&most)).unwrap(), 1, "the mixer does not answer");
        rustix::io::read(&self.waker, &mut [0; 8]).unwrap();
    }
}

/// Everybody hears all but their own.
fn plan(number: u64, people: &[(TrackId, PeerId)]) -> MixPlan {
    let listeners = people.iter().map(|(voice, peer)| MixListener { peer: *peer, without: vec![*voice] });
    MixPlan { number, voices: people.iter().map(|(voice, _)| *voice).collect(), listeners: listeners.collect() }
}

fn people(count: usize) -> Vec<(TrackId, PeerId)> {
    (0..count).map(|_| (TrackId::random(), PeerId::random())).collect()
}

fn voice(voice: TrackId, number: u64) -> VoicePacket {
    // Digital silence, as browsers send it of somebody muted.
    VoicePacket { voice, number, level: Some(127), payload: Bytes::from_static(&[0xd8, 0xff, 0xfe]) }
}

#[test]
fn everybody_in_the_plan_is_sent_a_mix_until_there_is_no_plan() {
    let shelf = Shelf::new();
    let mixer = Mixer::start(&shelf.desk).unwrap();
    let (room, people) = (RoomId::random(), people(3));
    shelf.link.plan(now(), room, plan(1, &people));
    let mut got = Vec::new();
    while got.len() < 10 {
        people.iter().for_each(|(id, _)| shelf.link.voice(now(), room, voice(*id, got.len() as u64)));
        shelf.wait();
        got.extend(shelf.link.take());
    }
    let mut last = None;
    for (of, packet) in &got {
        assert_eq!((*of, packet.plan, packet.level), (room, 1, 127));
        assert_eq!(packet.listeners.len(), 3, "all are silent and share one packet");
        if let Some(last) = last.replace(packet.timestamp) {
            assert_eq!((packet.timestamp - last) % 960, 0);
        }
    }
    shelf.link.plan(now(), room, MixPlan::default());
    shelf.link.plan(now(), RoomId::random(), plan(1, &people));
    shelf.wait();
    shelf.link.take();
    shelf.wait();
    assert!(shelf.link.take().iter().all(|(of, _)| *of != room));
    drop(mixer);
}

#[test]
fn a_desk_that_is_full_drops_the_oldest_voices_and_keeps_plans() {
    let shelf = Shelf::new();
    let (room, people) = (RoomId::random(), people(2));
    let now = now();
    shelf.link.plan(now, room, plan(1, &people));
    for number in 0..VOICES as u64 + 10 {
        shelf.link.voice(now, room, voice(people[0].0, number));
    }
    for number in 0..PLANS as u64 + 10 {
        shelf.link.plan(now, room, plan(number + 2, &people));
    }
    let (jobs, dropped) = shelf.desk.take(Some(now)).unwrap();
    assert_eq!((jobs.len(), dropped), (VOICES + PLANS, 10));
    let first =
        jobs.iter().find_map(|job| if let Job::Voice { packet, .. } = job { Some(packet.number) } else { None });
    assert_eq!(first, Some(10));
    assert!(matches!(jobs.back(), Some(Job::Plan { plan, .. }) if plan.number == PLANS as u64 + 11));
}

#[test]
fn a_shard_that_does_not_take_its_mixes_loses_the_oldest() {
    let shelf = Shelf::new();
    let room = RoomId::random();
    let packet = |timestamp| MixedPacket { plan: 1, timestamp, level: 0, payload: Bytes::new(), listeners: Vec::new() };
    let most = u32::try_from(MIXES).unwrap();
    assert_eq!(shelf.link.outbox.put(room, (0..most).map(packet)), 0);
    assert_eq!(shelf.link.outbox.put(room, (most..most + 3).map(packet)), 3);
    let left = shelf.link.take();
    assert_eq!((left.len(), left[0].1.timestamp), (MIXES, 3));
    assert!(shelf.link.take().is_empty());
}

#[test]
fn rooms_take_turns_and_keep_their_time() {
    let shelf = Shelf::new();
    let origin = now();
    let mut rooms = Rooms::new(origin);
    let ids: Vec<RoomId> = (0..40).map(|_| RoomId::random()).collect();
    for id in &ids {
        rooms.plan(origin + Duration::from_millis(3), *id, plan(1, &people(2)), Arc::clone(&shelf.link.outbox));
    }
    let mut most = 0;
    for millis in 0..200 {
        let at = origin + Duration::from_millis(millis);
        rooms.mix(at);
        let made = shelf.link.take();
        most = most.max(made.len());
        for (_, packet) in made {
            // Time is told by the mixer's clock, whichever Room it is.
            assert_eq!(u64::from(packet.timestamp), millis * 48);
        }
    }
    // All silent: one packet for each Room, and never all Rooms at once.
    assert!(most < 30, "{most}");
    rooms.plan(origin, ids[0], MixPlan::default(), Arc::clone(&shelf.link.outbox));
    assert_eq!(rooms.rooms.len(), 39);
    assert!(rooms.past.frames >= 8);
}
