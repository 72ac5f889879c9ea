//! `anteroom audit`: checks the chain of audit events, writes it out, and says what a weekly look at it should see.

use std::io::Write;
use std::path::PathBuf;
use std::pin::pin;

use futures_util::StreamExt as _;
use signaling::audit::anchoring::Anchoring;
use signaling::audit::query::{Filter, Format};
use signaling::audit::{EventType, http, review, verify};
use signaling::auth::Actor;
use signaling::clock::{Clock, Timestamp};
use signaling::db::{self, Db};
use signaling::ids::{OrgId, VisitId};
use time::format_description::well_known::Rfc3339;

use crate::Error;
use crate::place::Place;

/// What `anteroom audit` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    #[command(subcommand)]
    action: Action,
}

#[derive(Clone, Debug, clap::Subcommand)]
enum Action {
    /// Walk along the chains and their anchors; names the first event that does not hold, and then ends with a failure.
    Verify(Place),
    /// Write events to a file or to standard output; the export is written down as an event itself.
    Export {
        #[command(flatten)]
        place: Place,
        #[command(flatten)]
        which: Which,
        /// How they are written.
        #[arg(long, value_enum, default_value = "csv")]
        format: Form,
        /// The file; it must not exist.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Say what happened lately: what failed, who looked at how much, what was exported or changed. Written down as an event itself.
    Review {
        #[command(flatten)]
        place: Place,
        /// How many days back.
        #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u16).range(1..=366))]
        days: u16,
        /// As JSON instead of words.
        #[arg(long)]
        json: bool,
    },
}

/// Which events.
#[derive(Clone, Debug, clap::Args)]
struct Which {
    /// Of this visit.
    #[arg(long, value_name = "ID")]
    visit: Option<VisitId>,
    /// By this actor.
    #[arg(long, value_name = "ID")]
    actor: Option<String>,
    /// Of this kind, such as TOKEN_REDEEMED.
    #[arg(long = "type", value_name = "TYPE", value_parser = parse_type)]
    event_type: Option<EventType>,
    /// That succeeded (true), or that did not (false).
    #[arg(long, value_name = "BOOL")]
    success: Option<bool>,
    /// Not before this time, such as 2026-11-21T10:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    from: Option<Timestamp>,
    /// Before this time.
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    to: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Form {
    Csv,
    Json,
}

fn parse_type(text: &str) -> Result<EventType, String> {
    EventType::find(text).ok_or_else(|| "there is no such kind of event".to_owned())
}

fn parse_time(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse(text, &Rfc3339).map_err(|_| "a time looks like 2026-11-21T10:00:00Z".to_owned())
}

/// Does it.
pub(crate) async fn run(options: Options) -> Result<(), Error> {
    match options.action {
        Action::Verify(place) => {
            let (db, anchoring, org) = place.open_audit().await?;
            let verified = check_all(&db, &anchoring, org).await;
            db.close().await;
            verified
        }
        Action::Export { place, which, format, out } => {
            let (db, _, org) = place.open_audit().await?;
            let org = org.ok_or("say whose events are meant: --org with the id that `anteroom init` printed")?;
            let format = match format {
                Form::Csv => Format::Csv,
                Form::Json => Format::Json,
            };
            let exported = export(&db, org, which, format, out).await;
            db.close().await;
            exported
        }
        Action::Review { place, days, json } => {
            let (db, _, org) = place.open_audit().await?;
            let orgs = match org {
                Some(org) => vec![org],
                None => db::chains(&db).await?,
            };
            for org in orgs {
                let report = review::run(&db, &Actor::System { org }, days, Clock::system().now()).await?;
                let text = if json { serde_json::to_string_pretty(&report)? } else { report.in_words() };
                writeln!(std::io::stdout().lock(), "{text}")?;
            }
            db.close().await;
            Ok(())
        }
    }
}

/// One organisation, or all that the database or the anchors know of.
async fn check_all(db: &Db, anchoring: &Anchoring, org: Option<OrgId>) -> Result<(), Error> {
    let orgs = match org {
        Some(org) => vec![org],
        None => {
            // A chain that was removed as a whole still has its anchors.
            let mut all = db::chains(db).await?;
            all.extend(anchoring.shelf.organizations().await?);
            all.sort_unstable();
            all.dedup();
            all
        }
    };
    let mut broken = 0;
    for org in &orgs {
        let report = verify::check(db, *org, Some(anchoring)).await?;
        let mut out = std::io::stdout().lock();
        match (report.first_bad, report.detail) {
            (Some(seq), Some(detail)) => {
                broken += 1;
                writeln!(out, "{org}: BROKEN at event {seq}: {detail} ({})", report.reason.unwrap_or_default())?;
            }
            _ => writeln!(
                out,
                "{org}: whole, {} events, {} anchors up to event {}",
                report.events, report.anchors, report.anchored_to
            )?,
        }
        drop(out);
        // A chain whose end was removed may refuse to grow: what was found counts more than that it was looked for.
        if let Err(error) = verify::note(db, &Actor::System { org: *org }, &report).await {
            eprintln!("anteroom: {org}: this check could not be written down: {error}");
        }
    }
    if broken > 0 {
        return Err(format!("{broken} of {} audit chains are broken", orgs.len()).into());
    }
    Ok(())
}

async fn export(db: &Db, org: OrgId, which: Which, format: Format, out: Option<PathBuf>) -> Result<(), Error> {
    let Which { visit, actor, event_type, success, from, to } = which;
    let filter = Filter { visit, actor, event_type, success, from, to };
    let mut sink: Box<dyn Write> = match out {
        Some(path) => Box::new(std::fs::OpenOptions::new().write(true).create_new(true).open(path)?),
        None => Box::new(std::io::stdout()),
    };
    let to_seq = http::begin_export(db, org, &Actor::System { org }, &filter, format, None).await?;
    let mut pieces = pin!(http::pieces(db.clone(), org, filter, format, to_seq));
    while let Some(piece) = pieces.next().await {
        sink.write_all(piece?.as_bytes())?;
    }
    sink.flush()?;
    Ok(())
}
