//! The same visits over loopback sockets: what the shard's thread costs with its system calls.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use load::client::{Client, ClientConfig, ClientEvent};
use sfu::{Sfu, SfuConfig};
use tokio_util::sync::CancellationToken;
use wire::control::{Command, Door, Manner, Reply};
use wire::link::Requester;
use wire::tap_link::TapExchange;
use wire::{ParticipantId, PeerId, Redacted, RoomId};

use crate::visits::{FRAME, FRAME_BYTES, Shape, VOICE, VOICE_BYTES};

struct Seat {
    client: Client,
    socket: UdpSocket,
    wants_keyframe: bool,
}

/// What came out of it.
pub(crate) struct Outcome {
    pub(crate) sent: u64,
    pub(crate) arrived: u64,
    /// Of the shard's thread: user and system.
    pub(crate) micros: (f64, f64),
}

type Failure = Box<dyn std::error::Error>;

/// Runs the visits in real time. The shard has core 0, the generator core 1.
pub(crate) fn run(shape: &Shape) -> Result<Outcome, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (mut signaling, end) = wire::link::in_process();
    let asker = signaling.requester();
    let config = SfuConfig {
        media_udp_port: 0,
        addresses: vec![Ipv4Addr::LOCALHOST.into()],
        pin_shards: true,
        ..SfuConfig::default()
    };
    let node = {
        let _inside = runtime.enter();
        Sfu::bind(config)?
    };
    let stop = CancellationToken::new();
    runtime.spawn(node.run(end, TapExchange::default(), stop.clone()));
    runtime.spawn(async move { while signaling.next_event().await.is_some() {} });
    pin_to(1);

    let mut seats = Vec::new();
    for _ in 0..shape.visits {
        let room = RoomId::random();
        runtime.block_on(asker.request(Command::OpenRoom { room })).map_err(|refusal| refusal.to_string())?;
        for _ in 0..2 {
            seats.push(runtime.block_on(join(&asker, room, seats.len(), shape))?);
        }
    }
    let mut crowd = Crowd { seats, sent: 0, arrived: 0 };
    while !crowd.seats.iter().all(|seat| seat.client.is_connected()) {
        crowd.step(0);
    }
    let begin = now();
    crowd.pace(begin, 0..1000);
    (crowd.sent, crowd.arrived) = (0, 0);
    let before = shard_micros()?;
    crowd.pace(begin, 1000..1000 * (u64::try_from(shape.seconds)? + 1));
    let after = shard_micros()?;
    stop.cancel();
    let Crowd { sent, arrived, .. } = crowd;
    Ok(Outcome { sent, arrived, micros: (after.0 - before.0, after.1 - before.1) })
}

async fn join(asker: &Requester, room: RoomId, index: usize, shape: &Shape) -> Result<Seat, Failure> {
    let (participant, peer) = (ParticipantId::random(), PeerId::random());
    let ask = async |command| asker.request(command).await.map_err(|refusal| refusal.to_string());
    ask(Command::AddPeer { room, peer, participant, door: Door::Admitted, manner: Manner::Native }).await?;
    let seed = u64::try_from(index)?;
    let config = ClientConfig { seed, without_gcm: shape.without_gcm, ..ClientConfig::default() };
    let mut client = Client::new(config, now())?;
    let Reply::Answer { sdp, .. } = ask(Command::Offer { room, peer, sdp: Redacted::new(client.offer()) }).await?
    else {
        return Err("no answer".into());
    };
    client.set_answer(sdp.reveal(), now())?;
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_nonblocking(true)?;
    Ok(Seat { client, socket, wants_keyframe: true })
}

struct Crowd {
    seats: Vec<Seat>,
    sent: u64,
    arrived: u64,
}

impl Crowd {
    /// Does what belongs into each of these milliseconds after `begin`; what comes late is done at once.
    fn pace(&mut self, begin: Instant, millis: std::ops::Range<u64>) {
        for milli in millis {
            let due = begin + Duration::from_millis(milli);
            std::thread::sleep(due.saturating_duration_since(now()));
            self.step(milli + 1);
        }
    }

    fn step(&mut self, millis: u64) {
        let mut buffer = [0; 2048];
        for (index, seat) in self.seats.iter_mut().enumerate() {
            let at = now();
            if seat.client.poll_timeout().is_some_and(|due| due <= at) {
                seat.client.handle_timeout(at);
            }
            let shifted = millis + 7 * u64::try_from(index).unwrap_or_default();
            if millis > 0 && shifted.is_multiple_of(VOICE) {
                seat.client.send_audio(at, &[1; VOICE_BYTES], 40);
                self.sent += 1;
            }
            if millis > 0 && shifted.is_multiple_of(FRAME) {
                seat.client.send_video_frame(at, &[2; FRAME_BYTES], std::mem::take(&mut seat.wants_keyframe));
                self.sent += 5;
            }
            while let Some((to, bytes)) = seat.client.poll_transmit() {
                let _ = seat.socket.send_to(&bytes, to);
            }
            while let Ok((length, from)) = seat.socket.recv_from(&mut buffer) {
                let Some(datagram) = buffer.get(..length) else { continue };
                match datagram {
                    [128..=191, 0..=191 | 224..=255, ..] => self.arrived += 1,
                    _ => seat.client.handle_datagram(at, from, datagram),
                }
            }
            while let Some(event) = seat.client.poll_event() {
                seat.wants_keyframe |= matches!(event, ClientEvent::KeyframeRequested { .. });
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "real sockets carry real time")]
fn now() -> Instant {
    Instant::now()
}

fn pin_to(core: usize) {
    let mut set = rustix::thread::CpuSet::new();
    set.set(core);
    // Without a second core the figures are worse, not wrong.
    let _ = rustix::thread::sched_setaffinity(None, &set);
}

/// CPU microseconds of the shard's thread, user and system, as the kernel counts them.
fn shard_micros() -> Result<(f64, f64), Failure> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if std::fs::read_to_string(task.join("comm"))?.trim() == "shard-0" {
            let whole: f64 = first_number(&std::fs::read_to_string(task.join("schedstat"))?)? / 1000.0;
            let stat = std::fs::read_to_string(task.join("stat"))?;
            let mut fields = stat.rsplit(") ").next().unwrap_or_default().split_whitespace().skip(11);
            let mut ticks = || fields.next().and_then(|field| field.parse::<f64>().ok()).unwrap_or_default();
            let (user, system) = (ticks(), ticks());
            // The ticks tell the shares, the scheduler's nanoseconds the sum.
            let share = user / (user + system).max(1.0);
            return Ok((whole * share, whole * (1.0 - share)));
        }
    }
    Err("the shard has no thread".into())
}

fn first_number(text: &str) -> Result<f64, Failure> {
    Ok(text.split_whitespace().next().unwrap_or_default().parse()?)
}
