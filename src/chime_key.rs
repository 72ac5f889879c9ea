//! `anteroom chime-key`: access keys for applications that speak the Chime API.

use serde_json::{Value, json};
use signaling::auth::keys::Keys;
use signaling::chime::keys as access;
use signaling::db::Db;
use signaling::ids::OrgId;

use crate::Error;
use crate::place::{Place, in_words};

/// What `anteroom chime-key` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Make a key and print it: the secret is shown this once.
    Create(Place),
    /// Print all keys, without their secrets.
    List(Place),
    /// Refuse a key from now on.
    Revoke {
        /// The access key id.
        #[arg(value_name = "ACCESS_KEY_ID")]
        id: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Does it, and prints JSON on standard output.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let (Action::Create(place) | Action::List(place) | Action::Revoke { place, .. }) = &options.action;
    place.clone().ask(async |db, keys, org| act(&options.action, db, keys, org).await).await
}

async fn act(action: &Action, db: &Db, keys: &Keys, org: OrgId) -> Result<Value, Error> {
    let answer = match action {
        Action::Create(_) => {
            let made = access::create(db, keys, org).await.map_err(in_words)?;
            json!({
                "accessKeyId": made.access_key_id,
                "secretAccessKey": made.secret_access_key.reveal(),
                "organization": org,
            })
        }
        Action::List(_) => json!(access::list(db, org).await?),
        Action::Revoke { id, .. } => json!(access::revoke(db, org, id).await.map_err(in_words)?),
    };
    Ok(answer)
}
