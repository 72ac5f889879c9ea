//! Whether a link to the database is one that nobody on the way can read.

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use wire::Redacted;

use crate::config::is_loopback_name;
use crate::error::{Error, Result};

/// Who could read along.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protection {
    /// A unix socket or a loopback address: it does not leave the machine.
    Local,
    /// TLS, and the server proves who it is.
    Verified,
    /// TLS, but any server is believed: whoever stands in the middle reads along.
    Unverified,
    /// Nothing is demanded: whoever stands on the way reads along.
    Nothing,
}

/// Judges the URL of a database.
///
/// # Errors
/// When it is none.
pub fn protection(url: &Redacted<String>, name: &str) -> Result<Protection> {
    // The driver's own words may quote the URL, and with it the password.
    let options: PgConnectOptions =
        url.reveal().parse().map_err(|_| Error::Settings(format!("`{name}` is no URL of a PostgreSQL database")))?;
    if options.get_socket().is_some() || options.get_host().starts_with('/') || is_loopback_name(options.get_host()) {
        return Ok(Protection::Local);
    }
    Ok(match options.get_ssl_mode() {
        PgSslMode::VerifyFull | PgSslMode::VerifyCa => Protection::Verified,
        PgSslMode::Require => Protection::Unverified,
        PgSslMode::Prefer | PgSslMode::Allow | PgSslMode::Disable => Protection::Nothing,
    })
}

/// Refuses a link that leaves the machine without TLS, and without knowing whom it reaches.
///
/// # Errors
/// The sentence for the operator.
pub fn demand_protection(url: &Redacted<String>, name: &str) -> Result<()> {
    match protection(url, name)? {
        Protection::Local | Protection::Verified => Ok(()),
        Protection::Unverified | Protection::Nothing => Err(Error::Settings(format!(
            "`{name}` leads to another machine, where anybody on the way could read along: end it with \
             ?sslmode=verify-full&sslrootcert=/path/to/ca.pem (or use a unix socket, or a tunnel to a loopback address)"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn h_23_a_link_to_another_machine_is_encrypted_and_verified_or_refused() {
        let of = |url: &str| protection(&Redacted::new(url.to_owned()), "database_url").unwrap();
        assert_eq!(of("postgres://app@localhost/x"), Protection::Local);
        assert_eq!(of("postgres://app@127.0.0.1:5433/x"), Protection::Local);
        assert_eq!(of("postgres://app@localhost/x?host=/run/postgresql"), Protection::Local);
        assert_eq!(of("postgres://app@db.example.org/x?sslmode=verify-full"), Protection::Verified);
        assert_eq!(of("postgres://app@db.example.org/x?sslmode=require"), Protection::Unverified);
        assert_eq!(of("postgres://app@db.example.org/x"), Protection::Nothing);
        for open in ["", "?sslmode=disable", "?sslmode=prefer", "?sslmode=require"] {
            let url = Redacted::new(format!("postgres://app:canary-password@db.example.org/x{open}"));
            let error = demand_protection(&url, "database_url").unwrap_err().to_string();
            assert!(error.contains("sslmode=verify-full") && !error.contains("canary"), "{error}");
        }
        let broken = Redacted::new("postgres://canary-password@[/x".to_owned());
        assert!(!demand_protection(&broken, "database_url").unwrap_err().to_string().contains("canary"));
    }
}
