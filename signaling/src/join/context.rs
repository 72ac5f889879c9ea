//! From where and with what a session is used: enough to notice a change, too little to find a person.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::header;
use axum::http::request::Parts;

use crate::address::{self, Address};
use crate::app::App;
use crate::auth::keys::Keys;
use crate::error::Error;

/// The network and the browser of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Context {
    /// The first 24 bits of an IPv4 address, the first 48 of an IPv6 one.
    pub net: String,
    /// A keyed hash of what the browser calls itself, without its version numbers: an update is no other browser.
    pub ua: [u8; 32],
}

impl Context {
    /// The context of an address and a `User-Agent`.
    #[must_use]
    pub fn of(keys: &Keys, address: IpAddr, agent: &str) -> Self {
        let family: String =
            agent.chars().filter(|c| c.is_alphabetic() || matches!(c, ' ' | '/' | ';')).take(400).collect();
        Self { net: address::network(address), ua: keys.tag(b"anteroom browser family v1\0", family.as_bytes()) }
    }

    /// The same for a request's head.
    ///
    /// # Errors
    /// Never, as the address is always known.
    pub async fn of_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        let Address(address) = Address::from_request_parts(parts, app).await?;
        let agent = parts.headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Ok(Self::of(&app.keys, address, agent))
    }
}

impl FromRequestParts<App> for Context {
    type Rejection = Error;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Error> {
        Self::of_parts(parts, app).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_context_is_coarse() {
        let keys = Keys::ephemeral().unwrap();
        let of = |address: &str, agent: &str| Context::of(&keys, address.parse().unwrap(), agent);
        let chrome =
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36";
        let here = of("192.0.2.7", chrome);
        assert_eq!(here.net, "192.0.2.0/24");
        assert_eq!(here, of("192.0.2.200", &chrome.replace("142", "143")), "a neighbour's address, the next version");
        assert_ne!(here, of("192.0.3.7", chrome));
        assert_ne!(here, of("192.0.2.7", "Mozilla/5.0 (iPhone; CPU iPhone OS 19_0 like Mac OS X)"));
        assert_eq!(here.net, of("::ffff:192.0.2.7", "").net);
        assert_eq!(of("2001:db8:1:2::3", "").net, "2001:db8:1::/48");
        assert_ne!(here.ua, Context::of(&Keys::ephemeral().unwrap(), "192.0.2.7".parse().unwrap(), chrome).ua, "keyed");
    }
}
