//! `anteroom service-token`: tokens of programs, such as a scheduler that plans visits.

use std::time::Duration;

use serde_json::{Value, json};
use signaling::auth::Actor;
use signaling::db::Db;
use signaling::ids::OrgId;
use signaling::service_token::{self, SCHEDULER, Wanted};
use uuid::Uuid;

use crate::Error;
use crate::place::{Place, in_words};

/// What `anteroom service-token` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Make a token and print it: it is shown this once.
    Create {
        /// What it is called in lists, such as the program's name.
        #[arg(long)]
        name: String,
        /// What it may do, by the names of docs/identity.md; may be given several times. Those of a scheduler unless told otherwise.
        #[arg(long = "permission", value_name = "NAME")]
        permissions: Vec<String>,
        /// How many days it holds.
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
        #[command(flatten)]
        place: Place,
    },
    /// Print all tokens, without the tokens themselves.
    List(Place),
    /// Refuse a token from now on.
    Revoke {
        /// The token's id, as the list has it.
        #[arg(value_name = "TOKEN_ID")]
        id: Uuid,
        #[command(flatten)]
        place: Place,
    },
}

/// Does it, and prints JSON on standard output.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let (Action::Create { place, .. } | Action::List(place) | Action::Revoke { place, .. }) = &options.action;
    place.clone().ask(async |db, _, org| act(&options.action, db, org).await).await
}

async fn act(action: &Action, db: &Db, org: OrgId) -> Result<Value, Error> {
    let actor = Actor::System { org };
    let answer = match action {
        Action::Create { name, permissions, days, .. } => {
            let scheduler = || SCHEDULER.iter().map(|permission| permission.as_str().to_owned()).collect();
            let wanted = Wanted {
                name: name.clone(),
                permissions: if permissions.is_empty() { scheduler() } else { permissions.clone() },
                lifetime: Duration::from_secs(u64::from(*days) * 24 * 3600),
            };
            let made = service_token::create(db, &actor, &wanted).await.map_err(in_words)?;
            json!({ "token": made.token.reveal(), "organization": org, "details": made.view })
        }
        Action::List(_) => json!(service_token::list(db, org).await?),
        Action::Revoke { id, .. } => json!(service_token::revoke(db, &actor, *id).await.map_err(in_words)?),
    };
    Ok(answer)
}
