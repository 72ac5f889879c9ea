//! `anteroom token`: an AccessToken of the development issuer, for scripts and tests.

use std::io::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use signaling::auth::StaffRole;
use signaling::auth::keys::{AccessGrant, Keys};
use signaling::clock::Clock;

use crate::Error;
use crate::dev::keys::{self, Development};

/// What `anteroom token` may be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// What its holder may do.
    #[arg(long)]
    role: Role,
    /// Whose it is; for the demo's clinician: demo-clinician.
    #[arg(long, value_name = "NAME")]
    sub: String,
    /// The data directory of `anteroom dev`, which may be running.
    #[arg(long, default_value = ".anteroom", value_name = "DIR")]
    data_dir: PathBuf,
    /// How long it holds, in minutes.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u16).range(1..=1440))]
    minutes: u16,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum Role {
    Clinician,
    Patient,
    Scheduler,
    Admin,
    Auditor,
}

impl From<Role> for StaffRole {
    fn from(role: Role) -> Self {
        match role {
            Role::Clinician => Self::Clinician,
            Role::Patient => Self::Patient,
            Role::Scheduler => Self::Scheduler,
            Role::Admin => Self::Admin,
            Role::Auditor => Self::Auditor,
        }
    }
}

/// Prints the token, and nothing else, on standard output.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let refused =
        "tokens are made in development only: in production they come from the practice's own sign-in service";
    if wire::settings::env("ANTEROOM_PROFILE").is_some_and(|profile| profile != "development") {
        return Err(refused.into());
    }
    let Some(development) = Development::find(&options.data_dir)? else {
        return Err(format!("{refused} ({} is no data directory of `anteroom dev`)", options.data_dir.display()).into());
    };
    let keys = Keys::read(&keys::folder(&options.data_dir)?)?;
    let grant = AccessGrant {
        org: development.organization,
        sub: &options.sub,
        role: options.role.into(),
        name: None,
        lifetime: Duration::from_secs(u64::from(options.minutes) * 60),
    };
    let token = keys.mint_access(grant, Clock::system().now())?;
    writeln!(std::io::stdout().lock(), "{token}")?;
    Ok(())
}
