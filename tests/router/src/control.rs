//! How a test changes the network: one JSON object a line over a unix socket, one line back.
//!
//! `{"up": {..}, "down": {..}}` replaces the named directions, `{"both": {..}}` both of them; every answer carries the counters so
//! far: `{"up": {"offered": ..}, "down": {..}}`, or `{"error": ".."}` and nothing has changed.

use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};

use crate::conditions::Conditions;
use crate::link::Counters;

/// No order is longer.
const MAX_LINE: u64 = 16 * 1024;

/// A line from a test.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Line {
    up: Option<Conditions>,
    down: Option<Conditions>,
    both: Option<Conditions>,
}

/// What shall be different.
#[derive(Debug, Default, PartialEq)]
pub struct Change {
    /// From near to far.
    pub up: Option<Conditions>,
    /// From far to near.
    pub down: Option<Conditions>,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct State {
    /// From near to far.
    pub up: Counters,
    /// From far to near.
    pub down: Counters,
}

/// A change, and where its answer goes.
#[derive(Debug)]
pub struct Order {
    /// What shall be different.
    pub change: Change,
    /// Gets the counters at the moment of the change.
    pub reply: oneshot::Sender<State>,
}

/// Reads one line.
///
/// # Errors
/// With a sentence for whoever wrote the test.
pub fn parse(line: &str) -> Result<Change, String> {
    let Line { up, down, both } = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let change = match both {
        Some(_) if up.is_some() || down.is_some() => return Err("`both` stands alone".to_owned()),
        Some(both) => Change { up: Some(both.clone()), down: Some(both) },
        None => Change { up, down },
    };
    for conditions in change.up.iter().chain(&change.down) {
        conditions.validate().map_err(|error| error.to_string())?;
    }
    Ok(change)
}

/// Takes tests' connections until the router is gone.
///
/// # Errors
/// When the socket cannot be made.
pub async fn serve(path: &Path, orders: mpsc::Sender<Order>) -> io::Result<()> {
    let listener = UnixListener::bind(path)?;
    loop {
        let (stream, _) = listener.accept().await?;
        let orders = orders.clone();
        // A test that breaks off ends its own connection alone.
        tokio::spawn(async move { drop(converse(stream, orders).await) });
    }
}

async fn converse(stream: UnixStream, orders: mpsc::Sender<Order>) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::new(read);
    let mut line = String::new();
    loop {
        line.clear();
        if (&mut reader).take(MAX_LINE).read_line(&mut line).await? == 0 {
            return Ok(());
        }
        let mut answer = match parse(&line) {
            Ok(change) => {
                let (reply, answered) = oneshot::channel();
                let sent = orders.send(Order { change, reply }).await;
                let (Ok(()), Ok(state)) = (sent, answered.await) else { return Ok(()) };
                serde_json::to_string(&state)?
            }
            Err(error) => serde_json::json!({ "error": error }).to_string(),
        };
        answer.push('\n');
        write.write_all(answer.as_bytes()).await?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conditions::{Loss, Protocol};

    #[test]
    fn a_line_names_one_direction_or_both() {
        let change = parse(r#"{"up": {"delayMs": 20, "loss": 0.05}}"#).unwrap();
        assert_eq!(change.up.unwrap().loss, Loss::Random(0.05));
        assert_eq!(change.down, None);
        let change = parse(r#"{"both": {"kbps": 500, "queueMs": 300, "block": ["udp"]}}"#).unwrap();
        assert_eq!(change.up, change.down);
        assert_eq!(change.up.unwrap().block, [Protocol::Udp]);
        let change = parse(r#"{"down": {"loss": {"enter": 0.05, "leave": 0.5, "bad": 1}}}"#).unwrap();
        assert_eq!(change.down.unwrap().loss, Loss::Bursts { enter: 0.05, leave: 0.5, bad: 1.0, good: 0.0 });
        assert_eq!(parse("{}").unwrap(), Change::default());
    }

    #[test]
    fn a_wrong_line_changes_nothing_and_says_why() {
        for (line, word) in [
            ("nonsense", "expected"),
            (r#"{"up": {"delay": 20}}"#, "unknown field"),
            (r#"{"both": {}, "up": {}}"#, "stands alone"),
            (r#"{"up": {"loss": 2}}"#, "loss"),
            (r#"{"up": {"block": ["sctp"]}}"#, "unknown variant"),
        ] {
            let error = parse(line).unwrap_err();
            assert!(error.contains(word), "{line}: {error}");
        }
    }
}
