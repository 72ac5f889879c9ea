//! A model of the client: which m-lines it has, and the offer that it makes of them. The words are those of captured offers.

use std::collections::BTreeSet;

/// First one of a connection: microphone on, camera off.
pub(crate) const FIRST: &str = include_str!("offer.sdp");
/// The camera is on, and there is one remote video.
pub(crate) const CAMERA_AND_REMOTE: &str = include_str!("offer-camera-and-remote.sdp");
/// The remote video went away.
pub(crate) const REMOTE_STOPPED: &str = include_str!("offer-after-remote-stopped.sdp");
/// Another client: the camera is on with simulcast.
pub(crate) const SIMULCAST: &str = include_str!("offer-simulcast.sdp");

/// What the camera line does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Camera {
    Off,
    One,
    /// Three layers; the client decides at its first start.
    Simulcast,
}

/// An m-line beyond the camera's.
#[derive(Clone, Debug)]
struct Remote {
    mid: String,
    is_stopped: bool,
}

/// One connection of a client.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    pub(crate) camera: Camera,
    remotes: Vec<Remote>,
    next_mid: u32,
    /// Extensions that the last answer took, by their names: others are not offered any more.
    accepted: Option<BTreeSet<String>>,
    /// Layers were negotiated: they are offered from then on, also while the camera is off.
    is_layered: bool,
}

impl Client {
    pub(crate) fn new() -> Self {
        Self { camera: Camera::Off, remotes: Vec::new(), next_mid: 2, accepted: None, is_layered: false }
    }

    /// One more remote video. A browser gives a stopped line to it, under a new mid.
    pub(crate) fn add_remote(&mut self) {
        let mid = self.next_mid.to_string();
        self.next_mid += 1;
        match self.remotes.iter_mut().find(|remote| remote.is_stopped) {
            Some(stopped) => *stopped = Remote { mid, is_stopped: false },
            None => self.remotes.push(Remote { mid, is_stopped: false }),
        }
    }

    /// One of them goes.
    pub(crate) fn stop_remote(&mut self, which: usize) {
        let mut open: Vec<&mut Remote> = self.remotes.iter_mut().filter(|remote| !remote.is_stopped).collect();
        if !open.is_empty() {
            let at = which % open.len();
            open[at].is_stopped = true;
        }
    }

    pub(crate) fn note_answer(&mut self, answer: &str) {
        let names = lines(answer, "a=extmap:").filter_map(|value| value.split(' ').nth(1)).map(str::to_owned);
        self.accepted = Some(names.collect());
        self.is_layered |= self.camera == Camera::Simulcast;
    }

    pub(crate) fn offer(&self) -> String {
        let (session, first) = split(FIRST);
        let voice = first[0].to_owned();
        let camera = match self.camera {
            Camera::Off if !self.is_layered => first[1].to_owned(),
            Camera::One => {
                // The captured one has lost the extensions that its first answer did not take.
                let sent = &split(CAMERA_AND_REMOTE).1[1];
                extended(sent, first[1])
            }
            Camera::Off | Camera::Simulcast => {
                let credentials = ["a=ice-ufrag:", "a=ice-pwd:", "a=fingerprint:"];
                let sent = credentials.iter().fold(split(SIMULCAST).1[1].to_owned(), |text, start| {
                    let (old, new) = (line(&text, start), line(first[1], start));
                    text.replace(&old, &new)
                });
                if self.camera == Camera::Off { sent.replace("a=sendrecv", "a=inactive") } else { sent }
            }
        };
        let remote = extended(split(CAMERA_AND_REMOTE).1[2], first[1]);
        let mut bundle = "0 1".to_owned();
        let mut text = String::new();
        for section in [voice, camera] {
            text.push_str(&section);
        }
        for Remote { mid, is_stopped } in &self.remotes {
            let section = remote.replace("a=mid:2\r\n", &format!("a=mid:{mid}\r\n"));
            if *is_stopped {
                text.push_str(&section.replace("m=video 9 ", "m=video 0 ").replace("a=recvonly", "a=inactive"));
            } else {
                bundle = format!("{bundle} {mid}");
                text.push_str(&section);
            }
        }
        let session = session.replace("a=group:BUNDLE 0 1\r\n", &format!("a=group:BUNDLE {bundle}\r\n"));
        let known = |line: &&str| {
            let name = line.strip_prefix("a=extmap:").and_then(|value| value.trim().split(' ').nth(1));
            name.is_none_or(|name| self.accepted.as_ref().is_none_or(|accepted| accepted.contains(name)))
        };
        let text = session + &text;
        text.split_inclusive("\r\n").filter(known).collect()
    }
}

/// A section with the extensions of another one.
fn extended(section: &str, other: &str) -> String {
    let plain = section.split_inclusive("\r\n").filter(|line| !line.starts_with("a=extmap:"));
    let extensions: String = other.split_inclusive("\r\n").filter(|line| line.starts_with("a=extmap:")).collect();
    plain.map(|line| if line.starts_with("a=mid:") { format!("{line}{extensions}") } else { line.to_owned() }).collect()
}

fn line(text: &str, start: &str) -> String {
    text.lines().find(|line| line.starts_with(start)).unwrap_or_default().to_owned()
}

/// The values of all lines that begin so.
pub(crate) fn lines<'a>(text: &'a str, start: &'a str) -> impl Iterator<Item = &'a str> {
    text.lines().filter_map(move |line| line.strip_prefix(start))
}

/// The session part and the sections.
pub(crate) fn split(text: &str) -> (&str, Vec<&str>) {
    let mut starts: Vec<usize> = text.match_indices("\r\nm=").map(|(at, _)| at + 2).collect();
    let session = &text[..starts[0]];
    starts.push(text.len());
    (session, starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect())
}
