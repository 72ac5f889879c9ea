//! A forwarder behind the line protocol of `bench_kit::line`.

use std::sync::Arc;

use bench_kit::line::{Ask, ask_bytes};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufStream};
use tokio::net::TcpStream;
use tokio::sync::{Mutex, watch};

use super::{Front, Shape, Visit, admit, client, close, connected, over, pass, start};
use crate::run::fleet::Fleet;
use crate::run::leg::Leg;
use crate::run::{RunError, now};

/// No answer of a bench is longer.
const MAX_SDP: usize = 256 * 1024;

pub(in crate::run) struct Line {
    stream: Mutex<BufStream<TcpStream>>,
}

impl Line {
    pub(super) async fn connect(address: &str) -> Result<Self, RunError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream: Mutex::new(BufStream::new(stream)) })
    }

    pub(super) async fn join(
        &self,
        front: &Arc<Front>,
        number: usize,
        shape: &Shape,
        fleet: &Arc<Fleet>,
        visit: &mut Visit,
        left: &watch::Receiver<bool>,
    ) -> Result<(), RunError> {
        let mut waiting = Vec::new();
        for seat in 0..shape.people {
            let (client, mix) = client(shape, fleet, seat, true)?;
            let offer = client.offer();
            let (leg, heard) = Leg::new(client, Some(mix), (&visit.board, seat));
            leg.state().marks.offered = Some(now());
            let answer = self.ask(&Ask::Offer { room: wide(number), peer: wide(seat), sdp: offer }).await?;
            visit.legs.push(leg.clone());
            waiting.push((leg, heard, answer));
        }
        pass(&shape.gate).await;
        for (leg, _, answer) in &waiting {
            start(leg, answer, fleet, true)?;
        }
        for (seat, (leg, mut heard, _)) in waiting.into_iter().enumerate() {
            connected(&mut heard).await?;
            admit(&leg, fleet);
            let (front, fleet, mut left) = (Arc::clone(front), Arc::clone(fleet), left.clone());
            visit.tasks.spawn(async move {
                over(&mut left).await;
                close(&leg, &fleet);
                if let Front::Line(line) = &*front {
                    // The run is over whether or not the goodbye arrives.
                    let _ = line.ask(&Ask::Leave { room: wide(number), peer: wide(seat) }).await;
                }
            });
        }
        Ok(())
    }

    /// Asks, and gives the answer's SDP, empty for `ok`.
    async fn ask(&self, ask: &Ask) -> Result<String, RunError> {
        let mut stream = self.stream.lock().await;
        stream.write_all(&ask_bytes(ask)).await?;
        stream.flush().await?;
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Err(RunError::Connection("the forwarder hung up".to_owned()));
        }
        let line = line.trim_end();
        if line == "ok" {
            return Ok(String::new());
        }
        if let Some(error) = line.strip_prefix("error ") {
            return Err(RunError::Refused { what: "an offer", status: 0, code: error.to_owned() });
        }
        let length = line.strip_prefix("answer ").and_then(|length| length.parse::<usize>().ok());
        let length = length.filter(|length| *length <= MAX_SDP).ok_or(RunError::Protocol("not the line protocol"))?;
        let mut sdp = vec![0; length];
        stream.read_exact(&mut sdp).await?;
        String::from_utf8(sdp).map_err(|_| RunError::Protocol("an answer that is no text"))
    }
}

fn wide(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
