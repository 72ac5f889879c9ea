//! `anteroom signing-key`: the key that tokens are signed by.

use serde_json::json;
use signaling::auth::rotation;

use crate::Error;
use crate::place::Place;

/// What `anteroom signing-key` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Put a new signing key in the place of the current one. A server that runs takes it up within seconds, and what the old key signed
    /// goes on working for its time.
    Rotate(Place),
}

/// Does it, and prints the ids of both keys as JSON on standard output.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let Action::Rotate(place) = options.action;
    place
        .ask(async |db, keys, org| {
            let rotated = rotation::rotate(db, keys, org).await?;
            Ok(json!({"old": rotated.old, "new": rotated.new}))
        })
        .await
}
