//! The provider as it is right now: its discovery document and its keys, fetched when they are first needed and kept for a while.

use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::Algorithm;
use jsonwebtoken::jwk::JwkSet;
use openidconnect::core::CoreJsonWebKeySet;
use openidconnect::{IssuerUrl, ProviderMetadataWithLogout};
use tokio::sync::{Mutex, RwLock};

use crate::clock::Timestamp;
use crate::error::{Error, Result};
use crate::identity::Claims;
use crate::identity::config::{IdentityConfig, is_safe};
use crate::identity::fetch;
use crate::identity::jwt::{self, Refused, Rules};
use crate::problem::Code;

/// How long a discovery document and its keys are used before they are fetched again: a key that the provider withdrew is believed for
/// no longer than this.
const KEPT: Duration = Duration::from_secs(15 * 60);

/// How often at most the keys are fetched because a token names one that is not there: tokens with invented names cost the provider
/// no more than this.
const REFRESH_SPACING: Duration = Duration::from_secs(30);

/// How soon a provider that did not answer is asked again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What is known of the provider.
#[derive(Debug)]
pub struct Known {
    /// Its discovery document, keys included.
    pub metadata: ProviderMetadataWithLogout,
    keys: JwkSet,
    fetched_at: Timestamp,
}

/// The provider.
#[derive(Debug)]
pub struct Provider {
    config: IdentityConfig,
    issuer: String,
    algorithms: Vec<Algorithm>,
    client: fetch::Client,
    known: RwLock<Option<Arc<Known>>>,
    /// When the provider was last asked, whatever came of it. Held while it is asked: others wait for that answer.
    asked_at: Mutex<Option<Timestamp>>,
}

impl Provider {
    /// The provider of these settings, if they name one.
    ///
    /// # Errors
    /// When the settings do not fit together.
    pub fn new(config: &IdentityConfig) -> Result<Option<Self>> {
        config.validate()?;
        let Some(issuer) = config.issuer.clone() else { return Ok(None) };
        let algorithms = config.algorithms()?;
        Ok(Some(Self {
            config: config.clone(),
            issuer,
            algorithms,
            client: fetch::Client::default(),
            known: RwLock::default(),
            asked_at: Mutex::default(),
        }))
    }

    /// The settings.
    #[must_use]
    pub const fn config(&self) -> &IdentityConfig {
        &self.config
    }

    /// What asks the provider.
    pub(crate) const fn client(&self) -> &fetch::Client {
        &self.client
    }

    /// The provider as it is known, fetched if need be.
    ///
    /// # Errors
    /// `UNAVAILABLE` while it does not answer and was never known.
    pub async fn get(&self, now: Timestamp) -> Result<Arc<Known>> {
        let known = self.known.read().await.clone();
        match known {
            Some(known) if now < known.fetched_at + KEPT => Ok(known),
            old => {
                let asked = self.refresh(old.as_ref().map(|old| old.fetched_at), RETRY_AFTER, now).await;
                // A provider that is away for a moment keeps nobody out whose key is known.
                asked.or(old).ok_or_else(|| Code::Unavailable.with("The sign-in service does not answer.").into())
            }
        }
    }

    /// Checks a token against the keys; where it names an unknown one, they are fetched once more.
    ///
    /// # Errors
    /// `UNAVAILABLE` while the provider does not answer and was never known.
    pub async fn check(
        &self,
        token: &str,
        (audience, types): (&str, &[Option<&str>]),
        now: Timestamp,
    ) -> Result<std::result::Result<Claims, Refused>> {
        let rules = Rules { issuer: &self.issuer, audience, algorithms: &self.algorithms, types };
        let known = self.get(now).await?;
        match jwt::check(token, &known.keys, &rules, now) {
            Err(Refused::UnknownKey) => match self.rotate(&known, now).await {
                Some(newer) => Ok(jwt::check(token, &newer.keys, &rules, now)),
                None => Ok(Err(Refused::UnknownKey)),
            },
            decided => Ok(decided),
        }
    }

    /// Fetches the keys because one is missing in `known`, unless that was tried a moment ago. `None` when there is nothing newer.
    pub(crate) async fn rotate(&self, known: &Arc<Known>, now: Timestamp) -> Option<Arc<Known>> {
        self.refresh(Some(known.fetched_at), REFRESH_SPACING, now).await
    }

    /// Asks the provider, once for everybody who waits. Gives what is newer than `than`, if anything is.
    async fn refresh(&self, than: Option<Timestamp>, spacing: Duration, now: Timestamp) -> Option<Arc<Known>> {
        let mut asked_at = self.asked_at.lock().await;
        let known = self.known.read().await.clone();
        if let Some(known) = known.filter(|known| than.is_none_or(|than| known.fetched_at > than)) {
            return Some(known);
        }
        if asked_at.is_some_and(|at| now < at + spacing) {
            return None;
        }
        *asked_at = Some(now);
        match self.discover(now).await {
            Ok(fresh) => {
                let fresh = Arc::new(fresh);
                *self.known.write().await = Some(Arc::clone(&fresh));
                Some(fresh)
            }
            Err(error) => {
                tracing::warn!(%error, "the sign-in service could not be asked for its document and keys");
                None
            }
        }
    }

    async fn discover(&self, now: Timestamp) -> Result<Known> {
        let broken = |what: &str| Error::Inside(format!("the provider's {what}"));
        let issuer = IssuerUrl::new(self.issuer.clone()).map_err(|_| broken("issuer is no URL"))?;
        // The library checks that the document names this very issuer.
        let metadata = ProviderMetadataWithLogout::discover_async(issuer, &self.client).await;
        let metadata = metadata.map_err(|error| match error {
            openidconnect::DiscoveryError::Request(failure) => broken(&format!("document: {failure}")),
            _ => broken("document cannot be used"),
        })?;
        let endpoints = [
            Some(metadata.authorization_endpoint().as_str()),
            metadata.token_endpoint().map(|url| url.as_str()),
            Some(metadata.jwks_uri().as_str()),
            metadata.additional_metadata().end_session_endpoint.as_ref().map(|url| url.as_str()),
        ];
        if endpoints.into_iter().flatten().any(|url| !is_safe(url)) {
            return Err(broken("document names an address that is not https"));
        }
        let keys = to_jwk_set(metadata.jwks()).ok_or_else(|| broken("keys cannot be read"))?;
        Ok(Known { metadata, keys, fetched_at: now })
    }
}

/// The same keys, as the other library has them. Keys of unknown kinds are left out.
fn to_jwk_set(keys: &CoreJsonWebKeySet) -> Option<JwkSet> {
    let keys = keys.keys().iter().filter_map(|key| serde_json::from_value(serde_json::to_value(key).ok()?).ok());
    Some(JwkSet { keys: keys.collect() })
}
