//! `anteroom chime-bucket`: the buckets that captures of the Chime API may go to.

use serde_json::{Value, json};
use signaling::chime::buckets;
use signaling::db::Db;
use signaling::ids::OrgId;

use crate::Error;
use crate::place::{Place, in_words};

/// What `anteroom chime-bucket` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Let captures go to a bucket from now on. The server's own credentials must be able to write there.
    Allow {
        /// The bucket's name.
        #[arg(value_name = "BUCKET")]
        bucket: String,
        #[command(flatten)]
        place: Place,
    },
    /// Print all buckets that are or were allowed.
    List(Place),
    /// Let no new capture go to a bucket. Those that run are delivered.
    Revoke {
        /// The bucket's name.
        #[arg(value_name = "BUCKET")]
        bucket: String,
        #[command(flatten)]
        place: Place,
    },
    /// Say whether plain meetings may be captured only when everybody in them has agreed.
    Consent {
        /// `demanded`, or `waived`: then the application answers for its people, as on Chime.
        #[arg(value_name = "RULE")]
        rule: Rule,
        #[command(flatten)]
        place: Place,
    },
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Rule {
    /// Everybody must have agreed.
    Demanded,
    /// The application answers for its people.
    Waived,
}

/// Does it, and prints JSON on standard output.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    let (Action::Allow { place, .. }
    | Action::List(place)
    | Action::Revoke { place, .. }
    | Action::Consent { place, .. }) = &options.action;
    place.clone().ask(async |db, _, org| act(&options.action, db, org).await).await
}

async fn act(action: &Action, db: &Db, org: OrgId) -> Result<Value, Error> {
    let answer = match action {
        Action::Allow { bucket, .. } => json!(buckets::allow(db, org, bucket).await.map_err(in_words)?),
        Action::List(_) => json!(buckets::list(db, org).await?),
        Action::Revoke { bucket, .. } => json!(buckets::revoke(db, org, bucket).await.map_err(in_words)?),
        Action::Consent { rule, .. } => {
            let is_demanded = matches!(rule, Rule::Demanded);
            buckets::demand_consent(db, org, is_demanded).await.map_err(in_words)?;
            json!({ "organization": org, "meetingsNeedConsent": is_demanded })
        }
    };
    Ok(answer)
}
