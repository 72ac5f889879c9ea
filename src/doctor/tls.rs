//! The certificate: that it can be read, belongs to its key, is for our name, comes with its chain, and holds long enough.

use std::path::Path;

use signaling::SignalingConfig;
use signaling::tls::certificate::Certificate;
use time::OffsetDateTime;

use super::Finding;
use super::files::{is_open_to_others, unwritable};

/// Days that should be left: whoever renews does so earlier.
const DAYS: i64 = 14;

const WHAT: &str = "a certificate for the public name";

pub(super) fn look(config: &SignalingConfig) -> Vec<Finding> {
    let host = host_of(config.public_url.as_deref().unwrap_or_default());
    if let Some((chain, key)) = config.tls.files() {
        let open = is_open_to_others(key).then(|| format!("chmod 600 {}", key.display()));
        return vec![
            Finding::new(WHAT, trouble(chain, key, host, OffsetDateTime::now_utc())),
            Finding::new("a key of the certificate that nobody else can read", open),
        ];
    }
    if config.tls.is_acme() {
        let kept = config.tls.acme_folder.join("certificate.pem");
        let mut findings = vec![Finding::new(
            "a folder for the certificate",
            unwritable(&config.tls.acme_folder).map(|error| format!("{}: {error}", config.tls.acme_folder.display())),
        )];
        if !config.tls.acme_domains.iter().any(|domain| domain == host) {
            let trouble = format!("`acme_domains` does not hold {host}, by which people come");
            findings.push(Finding::new(WHAT, Some(trouble)));
        } else if kept.exists() {
            findings.push(Finding::new(WHAT, trouble(&kept, &kept, host, OffsetDateTime::now_utc())));
        } else {
            findings.push(Finding::unknown(
                WHAT,
                "it is ordered when the server starts; port 443 of the name must lead here",
            ));
        }
        return findings;
    }
    Vec::new()
}

/// What is wrong with a certificate.
pub(super) fn trouble(chain: &Path, key: &Path, host: &str, now: OffsetDateTime) -> Option<String> {
    let read = |path: &Path| std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()));
    let parsed =
        read(chain).and_then(|chain| Ok((chain, read(key)?))).and_then(|(chain, key)| Certificate::parse(&chain, &key));
    let certificate = match parsed {
        Ok(certificate) => certificate,
        Err(error) => return Some(error),
    };
    let left = (certificate.not_after - now).whole_days();
    if certificate.not_after <= now {
        Some("it has expired: renew it; the running server takes the new one by itself".to_owned())
    } else if certificate.not_before > now {
        Some("it is not good yet: is the clock right?".to_owned())
    } else if !certificate.is_for(host) {
        Some(format!("it is not for {host}, by which people come (`public_url`)"))
    } else if certificate.length == 1 {
        Some(
            "the chain is missing: put the intermediate certificates behind it (certbot calls that file fullchain.pem)"
                .to_owned(),
        )
    } else if left < DAYS {
        Some(format!("it expires in {left} days, and should have been renewed by now"))
    } else {
        None
    }
}

/// The host of a public URL, without scheme and port.
pub(super) fn host_of(url: &str) -> &str {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest).trim_end_matches('/');
    match authority.rsplit_once(':') {
        Some((host, port)) if port.chars().all(|c| c.is_ascii_digit()) => host,
        _ => authority,
    }
}
