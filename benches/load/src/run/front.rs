//! The servers that a run can speak to. All give the same: a visit whose participants are connected and inside.

mod anteroom;
mod api;
mod janus;
mod line;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use wire::Redacted;

use super::fleet::Fleet;
use super::leg::{Board, Leg, Notice};
use super::media::Mix;
use super::{RunError, now};
use crate::client::{Client, ClientConfig};

/// How long one participant may take from the offer until it is connected and inside.
const PATIENCE: Duration = Duration::from_secs(20);

/// What every visit of a run is like.
#[derive(Clone)]
pub(super) struct Shape {
    pub(super) people: usize,
    pub(super) mix: Mix,
    /// The first participant shares a screen too.
    pub(super) screen: bool,
    /// The visit is recorded.
    pub(super) record: bool,
    /// Answers are put to use once this is true.
    pub(super) gate: watch::Receiver<bool>,
}

/// The server.
pub(super) enum Front {
    Anteroom(api::Api),
    Line(line::Line),
    Janus(janus::Janus),
}

/// A visit that has been planned: what remains is joining.
pub(super) enum Plan {
    Anteroom(anteroom::Plan),
    Number(usize),
}

/// A visit under way.
pub(super) struct Visit {
    pub(super) legs: Vec<Leg>,
    board: Board,
    leave: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Visit {
    fn new() -> (Self, watch::Receiver<bool>) {
        let (leave, left) = watch::channel(false);
        (Self { legs: Vec::new(), board: Board::default(), leave, tasks: JoinSet::new() }, left)
    }

    /// Everybody leaves.
    pub(super) async fn leave(mut self) {
        // Nobody listens any more when all have left by themselves.
        let _ = self.leave.send(true);
        while self.tasks.join_next().await.is_some() {}
    }
}

impl Front {
    /// `http://` speaks to Anteroom, `line://` to a forwarder of the benches, `janus://` to Janus's WebSocket.
    pub(super) async fn open(url: &str, token: Redacted<String>) -> Result<Self, RunError> {
        if let Some(address) = url.strip_prefix("line://") {
            return Ok(Self::Line(line::Line::connect(address).await?));
        }
        if let Some(address) = url.strip_prefix("janus://") {
            return Ok(Self::Janus(janus::Janus::connect(address).await?));
        }
        let api = api::Api::new(url, token)?;
        api.check().await?;
        Ok(Self::Anteroom(api))
    }

    /// Makes a visit, as far as that is not joining it.
    pub(super) async fn plan(&self, number: usize) -> Result<Plan, RunError> {
        match self {
            Self::Anteroom(api) => Ok(Plan::Anteroom(anteroom::plan(api, number).await?)),
            Self::Line(_) | Self::Janus(_) => Ok(Plan::Number(number)),
        }
    }

    /// Joins: answers when everybody is connected and inside.
    pub(super) async fn join(
        self: &Arc<Self>,
        plan: Plan,
        shape: &Shape,
        fleet: &Arc<Fleet>,
    ) -> Result<Visit, RunError> {
        let (mut visit, left) = Visit::new();
        let joined = match (&**self, plan) {
            (Self::Anteroom(_), Plan::Anteroom(plan)) => {
                anteroom::join(self, plan, shape, fleet, &mut visit, &left).await
            }
            (Self::Line(line), Plan::Number(number)) => line.join(self, number, shape, fleet, &mut visit, &left).await,
            (Self::Janus(janus), Plan::Number(number)) => janus.join(number, shape, fleet, &mut visit, left).await,
            _ => Err(RunError::Protocol("a plan of another server")),
        };
        if joined.is_err() {
            // Those who came in must not go on sending in a visit that nobody counts.
            for leg in &visit.legs {
                close(leg, fleet);
            }
        }
        joined.map(|()| visit)
    }
}

/// A participant's client.
fn client(shape: &Shape, fleet: &Fleet, seat: usize, active: bool) -> Result<(Client, Mix), RunError> {
    let mix = Mix { screen: shape.screen && seat == 0, ..shape.mix };
    let others = shape.people.saturating_sub(2);
    let config = ClientConfig {
        video: mix.camera,
        screen: mix.screen,
        extra_audio: others,
        extra_video: if mix.camera { others + usize::from(shape.screen && seat != 0) } else { 0 },
        seed: rand::random(),
        stamp_from: Some(fleet.common.origin),
        decrypt_every: 16,
        active,
        ..ClientConfig::default()
    };
    Ok((Client::new(config, now())?, mix))
}

/// Waits until the gate opens; it stays open when nobody is left to close it.
async fn pass(gate: &watch::Receiver<bool>) {
    let _ = gate.clone().wait_for(|open| *open).await;
}

/// Waits until the visit is to end. When it is dropped instead, that is the time as well.
async fn over(left: &mut watch::Receiver<bool>) {
    let _ = left.wait_for(|left| *left).await;
}

/// Gives a leg its answer and hands it to the media thread.
fn start(leg: &Leg, answer: &str, fleet: &Fleet, is_new: bool) -> Result<(), RunError> {
    {
        let mut state = leg.state();
        let at = now();
        state.client.set_answer(answer, at)?;
        if state.marks.answered.is_none() {
            state.marks.answered = Some(at);
        }
    }
    if is_new {
        fleet.add(leg.clone())
    } else {
        fleet.kick(leg.index)
    }
    Ok(())
}

/// Lets a leg send media from now on.
fn admit(leg: &Leg, fleet: &Fleet) {
    {
        let mut state = leg.state();
        state.inside = true;
        if state.marks.admitted.is_none() {
            state.marks.admitted = Some(now());
        }
    }
    fleet.kick(leg.index);
}

async fn connected(heard: &mut mpsc::Receiver<Notice>) -> Result<(), RunError> {
    let wait = async {
        while let Some(notice) = heard.recv().await {
            match notice {
                Notice::Connected => return Ok(()),
                Notice::Flowing => {}
                Notice::Failed => return Err(RunError::Protocol("a media connection failed")),
            }
        }
        Err(RunError::Protocol("the media thread is gone"))
    };
    tokio::time::timeout(PATIENCE, wait).await.map_err(|_| RunError::Protocol("no media connection in time"))?
}

/// Ends a leg's connection.
fn close(leg: &Leg, fleet: &Fleet) {
    leg.state().client.close(now());
    fleet.remove(leg.index);
}
