//! A small TURN client (RFC 8656): allocate, permit, bind, send; each answer as it came.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use md5::{Digest, Md5};
use rustls::{ClientConnection, StreamOwned};
use sha1::Sha1;

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const PATIENCE: Duration = Duration::from_secs(5);
const TURN: Duration = Duration::from_millis(5);

pub(crate) const ALLOCATE: u16 = 0x003;
const SEND: u16 = 0x016;
const DATA: u16 = 0x017;
pub(crate) const PERMIT: u16 = 0x008;
pub(crate) const BIND_CHANNEL: u16 = 0x009;

/// How the relay is reached.
pub(crate) enum Carrier {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>, Vec<u8>),
}

impl Carrier {
    pub(crate) fn udp(relay: SocketAddr) -> Self {
        let socket = UdpSocket::bind((relay.ip(), 0)).unwrap();
        socket.connect(relay).unwrap();
        socket.set_read_timeout(Some(TURN)).unwrap();
        Self::Udp(socket)
    }

    pub(crate) fn tcp(relay: SocketAddr) -> Self {
        Self::Tcp(stream(relay), Vec::new())
    }

    pub(crate) fn tls(relay: SocketAddr, name: &str, trusted: Arc<rustls::ClientConfig>) -> Self {
        let name = rustls::pki_types::ServerName::try_from(name.to_owned()).unwrap();
        let mut tls = ClientConnection::new(trusted, name).unwrap();
        let mut stream = stream(relay);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        while tls.is_handshaking() {
            tls.complete_io(&mut stream).expect("a TLS handshake with the certificate that we trust");
        }
        stream.set_read_timeout(Some(TURN)).unwrap();
        Self::Tls(Box::new(StreamOwned::new(tls, stream)), Vec::new())
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Udp(socket) => drop(socket.send(bytes)),
            Self::Tcp(stream, _) => stream.write_all(bytes).unwrap(),
            Self::Tls(stream, _) => {
                stream.write_all(bytes).unwrap();
                stream.flush().unwrap();
            }
        }
    }

    /// The next message, if one comes within a moment.
    fn receive(&mut self) -> Option<Vec<u8>> {
        let mut buffer = [0; 4096];
        let (read, held) = match self {
            Self::Udp(socket) => return socket.recv(&mut buffer).ok().map(|length| buffer[..length].to_vec()),
            Self::Tcp(stream, held) => (cut(held).map_or_else(|| stream.read(&mut buffer), |()| Ok(0)), held),
            Self::Tls(stream, held) => (cut(held).map_or_else(|| stream.read(&mut buffer), |()| Ok(0)), held),
        };
        match read {
            Ok(length) => held.extend_from_slice(&buffer[..length]),
            Err(error) => assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}"),
        }
        cut(held)?;
        let length = 20 + usize::from(u16::from_be_bytes([held[2], held[3]]));
        Some(held.drain(..length).collect())
    }
}

/// Whether a whole message lies in front.
fn cut(held: &[u8]) -> Option<()> {
    let length = 20 + usize::from(u16::from_be_bytes([*held.get(2)?, *held.get(3)?]));
    (held.len() >= length).then_some(())
}

fn stream(relay: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(relay).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(TURN)).unwrap();
    stream
}

/// What the server of the visit gave this person.
#[derive(Clone)]
pub(crate) struct Credentials {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// One connection to the relay, with one allocation at most.
pub(crate) struct Relayed {
    carrier: Carrier,
    credentials: Credentials,
    realm: String,
    nonce: Vec<u8>,
    count: u64,
    /// Data that came while an answer was awaited.
    arrived: Vec<Vec<u8>>,
}

impl Relayed {
    pub(crate) fn new(carrier: Carrier, credentials: Credentials) -> Self {
        Self { carrier, credentials, realm: String::new(), nonce: Vec::new(), count: 0, arrived: Vec::new() }
    }

    /// 0 for success, else the error code.
    pub(crate) fn allocate(&mut self, v6: bool) -> u16 {
        let mut attributes = attribute(0x0019, &[17, 0, 0, 0]);
        if v6 {
            attributes.extend(attribute(0x0017, &[2, 0, 0, 0]));
        }
        self.request(ALLOCATE, &|_| attributes.clone())
    }

    pub(crate) fn permit(&mut self, peer: SocketAddr) -> u16 {
        self.request(PERMIT, &|id| attribute(0x0012, &xor_address(peer, id)))
    }

    pub(crate) fn bind_channel(&mut self, channel: u16, peer: SocketAddr) -> u16 {
        let number = [&channel.to_be_bytes()[..], &[0, 0]].concat();
        let number = attribute(0x000c, &number);
        self.request(BIND_CHANNEL, &|id| [number.clone(), attribute(0x0012, &xor_address(peer, id))].concat())
    }

    pub(crate) fn send(&mut self, peer: SocketAddr, bytes: &[u8]) {
        let id = self.next_id();
        let attributes = [attribute(0x0012, &xor_address(peer, id)), attribute(0x0013, bytes)].concat();
        self.carrier.send(&message(SEND | 0x0010, id, &attributes));
    }

    /// What peers sent, if anything comes within a moment.
    pub(crate) fn receive(&mut self) -> Vec<Vec<u8>> {
        if let Some(message) = self.carrier.receive() {
            self.note(&message);
        }
        std::mem::take(&mut self.arrived)
    }

    fn note(&mut self, message: &[u8]) {
        if u16::from_be_bytes([message[0], message[1]]) == DATA | 0x0010
            && let Some(data) = find(message, 0x0013)
        {
            self.arrived.push(data.to_vec());
        }
    }

    fn request(&mut self, method: u16, attributes: &dyn Fn([u8; 12]) -> Vec<u8>) -> u16 {
        // The first is answered by realm and nonce; a nonce that went stale by another one.
        for _ in 0..3 {
            let code = self.ask(method, attributes);
            if !matches!(code, 401 | 438) {
                return code;
            }
        }
        401
    }

    fn ask(&mut self, method: u16, attributes: &dyn Fn([u8; 12]) -> Vec<u8>) -> u16 {
        let id = self.next_id();
        let mut all = attributes(id);
        if !self.nonce.is_empty() {
            all.extend(attribute(0x0006, self.credentials.username.as_bytes()));
            all.extend(attribute(0x0014, self.realm.as_bytes()));
            all.extend(attribute(0x0015, &self.nonce));
        }
        let mut request = message(method, id, &all);
        if !self.nonce.is_empty() {
            let Credentials { username, password } = &self.credentials;
            let key = Md5::digest(format!("{username}:{}:{password}", self.realm));
            // The length already counts the integrity that follows (RFC 8489 section 14.5).
            let length = u16::try_from(request.len() - 20 + 24).unwrap();
            request[2..4].copy_from_slice(&length.to_be_bytes());
            let mut mac = Hmac::<Sha1>::new_from_slice(&key).unwrap();
            mac.update(&request);
            request.extend(attribute(0x0008, &mac.finalize().into_bytes()));
        }
        let begin = Instant::now();
        let mut sent: Option<Instant> = None;
        loop {
            assert!(begin.elapsed() < PATIENCE, "the relay does not answer");
            let is_udp = matches!(self.carrier, Carrier::Udp(_));
            if sent.is_none_or(|at| is_udp && at.elapsed() > Duration::from_millis(500)) {
                self.carrier.send(&request);
                sent = Some(Instant::now());
            }
            let Some(answer) = self.carrier.receive() else { continue };
            if answer[8..20] != id {
                self.note(&answer);
                continue;
            }
            if u16::from_be_bytes([answer[0], answer[1]]) & 0x0110 == 0x0100 {
                return 0;
            }
            if let (Some(realm), Some(nonce)) = (find(&answer, 0x0014), find(&answer, 0x0015)) {
                self.realm = String::from_utf8(realm.to_vec()).unwrap();
                self.nonce = nonce.to_vec();
            }
            let code = find(&answer, 0x0009).expect("an error has a code");
            return u16::from(code[2]) * 100 + u16::from(code[3]);
        }
    }

    fn next_id(&mut self) -> [u8; 12] {
        self.count += 1;
        let mut id = [7; 12];
        id[..8].copy_from_slice(&self.count.to_be_bytes());
        id
    }
}

fn message(kind: u16, id: [u8; 12], attributes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(attributes.len()).unwrap();
    [&kind.to_be_bytes()[..], &length.to_be_bytes(), &COOKIE, &id, attributes].concat()
}

fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(value.len()).unwrap();
    let mut bytes = [&kind.to_be_bytes()[..], &length.to_be_bytes(), value].concat();
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

fn find(message: &[u8], wanted: u16) -> Option<&[u8]> {
    let mut rest = message.get(20..)?;
    while let &[a, b, c, d, ref tail @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([c, d]));
        if u16::from_be_bytes([a, b]) == wanted {
            return tail.get(..length);
        }
        rest = tail.get(length.next_multiple_of(4)..)?;
    }
    None
}

fn xor_address(peer: SocketAddr, id: [u8; 12]) -> Vec<u8> {
    let mask: Vec<u8> = COOKIE.into_iter().chain(id).collect();
    let mut bytes = vec![0, if peer.is_ipv4() { 1 } else { 2 }];
    bytes.extend((peer.port() ^ 0x2112).to_be_bytes());
    let octets = match peer.ip() {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    bytes.extend(octets.iter().zip(&mask).map(|(byte, mask)| byte ^ mask));
    bytes
}
