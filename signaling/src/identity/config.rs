//! `IdentityConfig`: the documented settings of signing in, table `[identity]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jsonwebtoken::Algorithm;
use serde::Deserialize;
use wire::{Redacted, settings};

use crate::auth::StaffRole;
use crate::config::is_loopback_name;
use crate::error::Error;
use crate::ids::OrgId;

/// How people sign in: table `[identity]` of the file, variables `ANTEROOM_IDENTITY_<FIELD>` for all but the two maps.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct IdentityConfig {
    /// The provider's issuer, exactly as its discovery document spells it, such as `https://login.example.org/realms/clinic`. Without
    /// it nobody signs in by a provider; in development the built-in one stands in.
    pub issuer: Option<String>,
    /// What the provider calls this service. Default `anteroom`.
    pub client_id: String,
    /// The client's secret. A public client has none: PKCE is used either way.
    pub client_secret: Option<Redacted<String>>,
    /// A file with that secret, instead.
    pub client_secret_file: Option<PathBuf>,
    /// The `aud` of the provider's access tokens that are taken as bearers on the API. It must not be the client id, which is the
    /// audience of ID tokens. Default none: such bearers are refused.
    pub audience: Option<String>,
    /// Signature algorithms that are believed, of ES256, RS256, PS256 and EdDSA. Default all four.
    pub algorithms: Vec<String>,
    /// What is asked for beside `openid`. Default `profile`.
    pub scopes: Vec<String>,
    /// The claim with the person's id, as in a visit's `clinicianId` and `patientId`. Default `sub`.
    pub subject_claim: String,
    /// The claim with the name that the desk shows. Default `name`.
    pub name_claim: String,
    /// The claim with the roles, one text or a list; dots go into objects, as in `realm_access.roles`. Default `roles`.
    pub roles_claim: String,
    /// What the provider's values mean: `{ "Anteroom Clinicians" = "clinician" }`. Without it the values are our own names.
    /// Who has several gets the first of clinician, admin, scheduler, auditor, patient.
    pub roles: BTreeMap<String, StaffRole>,
    /// The one organisation that everybody belongs to.
    pub organization: Option<OrgId>,
    /// The claim that names the organisation, instead.
    pub organization_claim: Option<String>,
    /// What its values mean: `{ "north" = "<id>" }`. Without it the values are our own ids.
    pub organizations: BTreeMap<String, OrgId>,
    /// `amr` values (RFC 8176) that say that a second factor was shown. Default `mfa`.
    pub mfa_amr: Vec<String>,
    /// `acr` values that say so. Default none.
    pub mfa_acr: Vec<String>,
    /// The `acr_values` to ask for. Default none.
    pub acr_values: Vec<String>,
    /// How long a session lasts that nobody uses; a live visit uses it. Default `15m`.
    #[serde(with = "humantime_serde")]
    pub session_idle: Duration,
    /// How long a session lasts at most. Default `12h`.
    #[serde(with = "humantime_serde")]
    pub session_limit: Duration,
}

impl Default for IdentityConfig {
    fn default() -> Self {
        let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Self {
            issuer: None,
            client_id: "anteroom".to_owned(),
            client_secret: None,
            client_secret_file: None,
            audience: None,
            algorithms: list(&["ES256", "RS256", "PS256", "EdDSA"]),
            scopes: list(&["profile"]),
            subject_claim: "sub".to_owned(),
            name_claim: "name".to_owned(),
            roles_claim: "roles".to_owned(),
            roles: BTreeMap::new(),
            organization: None,
            organization_claim: None,
            organizations: BTreeMap::new(),
            mfa_amr: list(&["mfa"]),
            mfa_acr: Vec::new(),
            acr_values: Vec::new(),
            session_idle: Duration::from_secs(15 * 60),
            session_limit: Duration::from_secs(12 * 3600),
        }
    }
}

impl IdentityConfig {
    /// The fields that a variable can set.
    pub const FIELDS: &[&str] = &[
        "issuer",
        "client_id",
        "client_secret",
        "client_secret_file",
        "audience",
        "subject_claim",
        "name_claim",
        "roles_claim",
        "organization",
        "organization_claim",
        "session_idle",
        "session_limit",
    ];

    /// Defaults, then the file, then the environment.
    ///
    /// # Errors
    /// When a value does not fit its field, or they do not fit together, or the secret's file cannot be read.
    pub fn load(file: Option<&Path>, env: impl Fn(&str) -> Option<String>) -> Result<Self, Error> {
        // `ANTEROOM_ISSUER` alone would say too little about whose it is: only the long names are read.
        let long = |name: &str| name.starts_with("ANTEROOM_IDENTITY_").then(|| env(name)).flatten();
        let mut config: Self =
            settings::load("identity", Self::FIELDS, file, long).map_err(|e| Error::Settings(e.to_string()))?;
        if let Some(path) = &config.client_secret_file {
            let text = std::fs::read_to_string(path)
                .map_err(|e| Error::Settings(format!("`client_secret_file` cannot be read: {e}")))?;
            config.client_secret = Some(Redacted::new(text.trim().to_owned()));
        }
        config.validate()?;
        Ok(config)
    }

    /// Says which setting cannot be used.
    ///
    /// # Errors
    /// The sentence for the operator.
    pub fn validate(&self) -> Result<(), Error> {
        let refuse = |text: &str| Err(Error::Settings(format!("[identity] {text}")));
        self.algorithms()?;
        if self.session_idle.is_zero() || self.session_limit < self.session_idle {
            return refuse("`session_idle` must be more than nothing, and `session_limit` no less");
        }
        let Some(issuer) = &self.issuer else { return Ok(()) };
        if !is_safe(issuer) {
            return refuse("`issuer` must be https, except on localhost");
        }
        if self.client_id.is_empty() {
            return refuse("`client_id` is missing");
        }
        if self.audience.as_ref() == Some(&self.client_id) {
            return refuse(
                "`audience` must not be the client id: ID tokens have that audience, and they are no credentials",
            );
        }
        if self.organization.is_some() == self.organization_claim.is_some() {
            return refuse(
                "says nothing of the organisation: set `organization` or `organization_claim`, and not both",
            );
        }
        Ok(())
    }

    /// The algorithms that are believed.
    ///
    /// # Errors
    /// When one is none of those that can be.
    pub fn algorithms(&self) -> Result<Vec<Algorithm>, Error> {
        let named = self.algorithms.iter().map(|name| match name.as_str() {
            "ES256" => Ok(Algorithm::ES256),
            "RS256" => Ok(Algorithm::RS256),
            "PS256" => Ok(Algorithm::PS256),
            "EdDSA" => Ok(Algorithm::EdDSA),
            _ => Err(Error::Settings("[identity] `algorithms` knows ES256, RS256, PS256 and EdDSA".to_owned())),
        });
        let named: Vec<_> = named.collect::<Result<_, _>>()?;
        if named.is_empty() {
            return Err(Error::Settings("[identity] `algorithms` must name one at least".to_owned()));
        }
        Ok(named)
    }
}

/// Whether an address of the provider is reached over TLS, or does not leave this machine.
#[must_use]
pub fn is_safe(url: &str) -> bool {
    match url.split_once("://") {
        Some(("https", rest)) => !rest.is_empty(),
        Some(("http", rest)) => is_loopback_name(rest.split('/').next().unwrap_or(rest)),
        _ => false,
    }
}
