//! Signaling for forwarders that have none: offers in, answers out, over one TCP connection.
//!
//! `offer ROOM PEER LENGTH\n` and the SDP is answered by `answer LENGTH\n` and the SDP, or by `error TEXT\n`;
//! `leave ROOM PEER\n` by `ok\n`.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};

/// No SDP of a bench is longer.
const MAX_SDP: usize = 256 * 1024;

/// What the generator asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A participant's offer.
    Offer {
        /// Its room, which begins with its first participant.
        room: u64,
        /// Its number in the room.
        peer: u64,
        /// The SDP.
        sdp: String,
    },
    /// A participant goes.
    Leave {
        /// Its room.
        room: u64,
        /// Its number in the room.
        peer: u64,
    },
}

/// What the forwarder says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Say {
    /// The SDP answer.
    Answer(String),
    /// It is so.
    Ok,
    /// It cannot be done.
    Error(String),
}

/// Reads the next question; `None` at the end of the connection.
///
/// # Errors
/// When the connection breaks or speaks something else.
pub fn read_ask(from: &mut impl BufRead) -> io::Result<Option<Ask>> {
    let mut line = String::new();
    if from.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let words: Vec<&str> = line.split_whitespace().collect();
    let number = |word: &str| word.parse::<u64>().map_err(|_| nonsense());
    match words.as_slice() {
        ["offer", room, peer, length] => {
            let (room, peer) = (number(room)?, number(peer)?);
            Ok(Some(Ask::Offer { room, peer, sdp: read_text(from, length)? }))
        }
        ["leave", room, peer] => Ok(Some(Ask::Leave { room: number(room)?, peer: number(peer)? })),
        _ => Err(nonsense()),
    }
}

/// Writes what the forwarder says.
///
/// # Errors
/// When the connection breaks.
pub fn write_say(to: &mut impl Write, say: &Say) -> io::Result<()> {
    match say {
        Say::Answer(sdp) => write!(to, "answer {}\n{sdp}", sdp.len())?,
        Say::Ok => writeln!(to, "ok")?,
        Say::Error(text) => writeln!(to, "error {}", text.replace('\n', " "))?,
    }
    to.flush()
}

/// The bytes of a question.
#[must_use]
pub fn ask_bytes(ask: &Ask) -> Vec<u8> {
    match ask {
        Ask::Offer { room, peer, sdp } => format!("offer {room} {peer} {}\n{sdp}", sdp.len()).into_bytes(),
        Ask::Leave { room, peer } => format!("leave {room} {peer}\n").into_bytes(),
    }
}

/// Serves one connection after the other, until the process ends.
///
/// # Errors
/// When the listener breaks; a connection that breaks ends alone.
pub fn serve(listener: &TcpListener, mut handle: impl FnMut(Ask) -> Say) -> io::Result<()> {
    loop {
        let (stream, _) = listener.accept()?;
        // A generator that went away, or spoke nonsense, ends its own connection only.
        let _ = serve_one(&stream, &mut handle);
    }
}

fn serve_one(stream: &TcpStream, handle: &mut impl FnMut(Ask) -> Say) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream.try_clone()?;
    while let Some(ask) = read_ask(&mut reader)? {
        let mut bytes = Vec::new();
        write_say(&mut bytes, &handle(ask))?;
        writer.write_all(&bytes)?;
    }
    Ok(())
}

fn read_text(from: &mut impl Read, length: &str) -> io::Result<String> {
    let length = length.parse::<usize>().ok().filter(|length| *length <= MAX_SDP).ok_or_else(nonsense)?;
    let mut text = vec![0; length];
    from.read_exact(&mut text)?;
    String::from_utf8(text).map_err(|_| nonsense())
}

fn nonsense() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "not the line protocol")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_read_back_and_nonsense_is_refused() {
        let asks = [Ask::Offer { room: 3, peer: 1, sdp: "v=0\r\n".to_owned() }, Ask::Leave { room: 3, peer: 1 }];
        let bytes: Vec<u8> = asks.iter().flat_map(ask_bytes).collect();
        let mut from = &bytes[..];
        for ask in asks {
            assert_eq!(read_ask(&mut from).unwrap(), Some(ask));
        }
        assert_eq!(read_ask(&mut from).unwrap(), None);
        assert!(read_ask(&mut &b"offer 1 2 999999999\n"[..]).is_err());
        assert!(read_ask(&mut &b"hello\n"[..]).is_err());
    }

    #[test]
    fn a_connection_is_answered_until_it_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            serve_one(&stream, &mut |ask| match ask {
                Ask::Offer { sdp, .. } => Say::Answer(sdp.to_uppercase()),
                Ask::Leave { .. } => Say::Error("who?\nnobody".to_owned()),
            })
            .unwrap();
        });
        let mut client = TcpStream::connect(address).unwrap();
        client.write_all(&ask_bytes(&Ask::Offer { room: 1, peer: 2, sdp: "abc".to_owned() })).unwrap();
        client.write_all(&ask_bytes(&Ask::Leave { room: 1, peer: 2 })).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let mut text = String::new();
        client.read_to_string(&mut text).unwrap();
        assert_eq!(text, "answer 3\nABCerror who? nobody\n");
        server.join().unwrap();
    }
}
