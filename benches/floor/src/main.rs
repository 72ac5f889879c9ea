//! The least that forwarding can cost: recvmmsg, AES-GCM open, AES-GCM seal, sendmmsg. No ICE, no DTLS, no RTCP, no rewriting but of
//! the SSRC; keys that everybody knows. Two participants in each room. What a server needs beyond this is its own.
//!
//! `bench-floor [ADDRESS]` prints `ready line://ADDRESS` when it listens.

mod crypto;

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use bench_kit::line::{self, Ask, Say};
use bench_kit::socket::{BATCH, Inbox, Outbox, Port};
use crypto::Crypto;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

type Error = Box<dyn std::error::Error>;

/// The SSRCs that we send with: eight for each participant.
const FIRST_SSRC: u32 = 0x1000_0000;
/// How late a new participant may be noticed.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };

/// A stream of a participant.
struct Stream {
    /// Where the other one is, once heard of: its number in `places`.
    other: usize,
    own: usize,
    /// What the other one knows the stream by.
    ssrc: u32,
    roll_overs: u32,
    last: u16,
}

/// News for the forwarding thread: streams by their SSRC.
type News = Vec<(u32, Stream)>;

fn main() -> Result<(), Error> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let listener = TcpListener::bind(address)?;
    let mut port = Port::bind("127.0.0.1:0".parse()?)?;
    port.segments = true;
    let media = port.local();
    let (news, heard) = mpsc::sync_channel(1024);
    std::thread::Builder::new().name("shard-0".to_owned()).spawn(move || forward(&port, &heard))?;
    writeln!(std::io::stdout(), "ready line://{}", listener.local_addr()?)?;
    let mut numbers = HashMap::new();
    line::serve(&listener, |ask| match ask {
        Ask::Offer { room, peer, sdp } => {
            let next = numbers.len();
            let number = *numbers.entry((room, peer)).or_insert(next);
            // The thread lives as long as the process.
            let _ = news.send(streams(&sdp, number));
            Say::Answer(answer(&sdp, number, media))
        }
        Ask::Leave { .. } => Say::Ok,
    })?;
    Ok(())
}

/// Participants come in pairs: the other one of an even number is the next, of an odd one the one before.
fn ssrc_of(number: usize, kind: u32) -> u32 {
    FIRST_SSRC + u32::try_from(number).unwrap_or(0) * 8 + kind
}

/// The streams of an offer: first audio, then video, then its repair stream.
fn streams(sdp: &str, own: usize) -> News {
    let mut found: News = Vec::new();
    let mut kind = 0;
    for line in sdp.lines() {
        if line.starts_with("m=") {
            kind = u32::from(line.starts_with("m=video"));
        }
        let ssrc =
            line.strip_prefix("a=ssrc:").and_then(|rest| rest.split(' ').next()).and_then(|text| text.parse().ok());
        let Some(ssrc) = ssrc.filter(|ssrc| found.iter().all(|(known, _)| known != ssrc)) else { continue };
        let other = own ^ 1;
        found.push((ssrc, Stream { other, own, ssrc: ssrc_of(other, kind), roll_overs: 0, last: 0 }));
        kind += 1;
    }
    found
}

fn answer(offer: &str, number: usize, media: SocketAddr) -> String {
    let mut text = String::from("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\na=x-fixed-keys\r\n");
    // Writing to a String cannot fail.
    let _ =
        write!(text, "a=fingerprint:sha-256 {}\r\na=ice-ufrag:none\r\na=ice-pwd:none\r\n", vec!["00"; 32].join(":"));
    for line in offer.lines() {
        if let Some(section) = line.strip_prefix("m=") {
            let kind = u32::from(section.starts_with("video"));
            let _ = write!(text, "{line}\r\na=candidate:1 1 udp 1 {} {} typ host\r\n", media.ip(), media.port());
            let _ = match (kind, ssrc_of(number, kind)) {
                (0, ssrc) => write!(text, "a=ssrc:{ssrc} cname:f\r\n"),
                (_, ssrc) => write!(text, "a=ssrc-group:FID {ssrc} {}\r\na=ssrc:{ssrc} cname:f\r\n", ssrc + 1),
            };
        } else if line.starts_with("a=mid:") {
            let _ = write!(text, "{line}\r\n");
        }
    }
    text
}

fn forward(port: &Port, heard: &mpsc::Receiver<News>) {
    let crypto = Crypto::new();
    let mut streams: HashMap<u32, Stream> = HashMap::new();
    let mut places: Vec<Option<SocketAddr>> = Vec::new();
    let (mut inbox, mut outbox) = (Inbox::default(), Outbox::default());
    loop {
        while let Ok(news) = heard.try_recv() {
            for (ssrc, stream) in news {
                let highest = stream.own.max(stream.other);
                if places.len() <= highest {
                    places.resize(highest + 1, None);
                }
                streams.insert(ssrc, stream);
            }
        }
        // An interrupted wait is a short one.
        let _ = poll(&mut [PollFd::new(port, PollFlags::IN)], Some(&LOOK));
        loop {
            let count = port.receive(&mut inbox, |got| {
                // RTCP has its packet type where RTP has a marker: it stops here.
                let &[128..=191, 0..=191 | 224..=255, high, low, _, _, _, _, s3, s2, s1, s0, ..] = got.bytes else {
                    return;
                };
                let Some(stream) = streams.get_mut(&u32::from_be_bytes([s3, s2, s1, s0])) else { return };
                if let Some(place) = places.get_mut(stream.own) {
                    *place = Some(got.from);
                }
                let sequence = u16::from_be_bytes([high, low]);
                if sequence < stream.last && stream.last - sequence > 0x8000 {
                    stream.roll_overs += 1;
                }
                stream.last = sequence;
                let Some(to) = places.get(stream.other).copied().flatten() else { return };
                outbox.push_with(to, |bytes| crypto.pass_on(got.bytes, stream.roll_overs, stream.ssrc, bytes));
            });
            if count < BATCH || outbox.len() > 192 {
                break;
            }
        }
        port.send(&mut outbox);
    }
}
