//! `anteroom webhook`: where an organisation is told of what happens.

use serde_json::{Value, json};
use signaling::auth::keys::Keys;
use signaling::db::Db;
use signaling::ids::OrgId;
use signaling::webhook::target;
use uuid::Uuid;

use crate::Error;
use crate::place::{Place, in_words};

/// What `anteroom webhook` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Tell events to this address from now on, and print the secret that they are signed with: it is shown this once.
    Add {
        /// An https address; http only into a network of `webhook_networks`.
        #[arg(value_name = "URL")]
        url: String,
        #[command(flatten)]
        place: Place,
    },
    /// Print all webhooks, without their secrets.
    List(Place),
    /// Tell nothing more there; what waits is given up.
    Remove {
        /// The webhook's id.
        #[arg(value_name = "WEBHOOK_ID")]
        id: Uuid,
        #[command(flatten)]
        place: Place,
    },
}

/// Does it, and prints JSON on standard output.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let (Action::Add { place, .. } | Action::List(place) | Action::Remove { place, .. }) = &options.action;
    place.clone().ask(async |db, keys, org| act(&options.action, db, keys, org).await).await
}

async fn act(action: &Action, db: &Db, keys: &Keys, org: OrgId) -> Result<Value, Error> {
    let answer = match action {
        Action::Add { url, .. } => {
            let made = target::add(db, keys, org, url).await.map_err(in_words)?;
            json!({ "webhookId": made.id, "url": url, "secret": made.secret.reveal(), "organization": org })
        }
        Action::List(_) => json!(target::list(db, org).await?),
        Action::Remove { id, .. } => {
            target::remove(db, org, *id).await.map_err(in_words)?;
            json!({ "webhookId": id })
        }
    };
    Ok(answer)
}
