//! Who a person is by what their OpenID provider says: claims become an organisation, a role and what is known of the second factor.

pub mod config;
pub mod fetch;
pub mod http;
pub mod issuer;
pub mod jwt;
pub mod login;
pub mod provider;
pub mod revoke;
pub mod session;

use serde_json::{Map, Value};
use wire::Redacted;

use crate::auth::StaffRole;
use crate::clock::Timestamp;
use crate::identity::config::IdentityConfig;
use crate::ids::OrgId;

/// The body of a token whose signature, issuer, audience and times have been checked.
pub type Claims = Map<String, Value>;

/// A person, as a provider or our own issuer vouches for them.
#[derive(Clone, Debug)]
pub struct Person {
    /// Their organisation.
    pub org: OrgId,
    /// Their id there, at most 200 bytes.
    pub sub: String,
    /// Their role.
    pub role: StaffRole,
    /// How the desk calls them.
    pub name: Option<Redacted<String>>,
    /// Whether they showed a second factor.
    pub has_mfa: bool,
    /// When they last showed who they are, where it is said.
    pub auth_at: Option<Timestamp>,
}

/// Why nobody came of the claims. Fit for a log line: it holds nothing of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    /// The claim with the id is missing or is no text of 1 to 200 bytes.
    #[error("the claim with the person's id is missing or cannot be used")]
    Subject,
    /// No value of the roles claim means a role here.
    #[error("no value of the roles claim means a role here")]
    Role,
    /// The claim with the organisation is missing or means none.
    #[error("the claim with the organisation is missing or means none here")]
    Organization,
}

/// The order in which one of several roles is taken.
const PRECEDENCE: [StaffRole; 5] =
    [StaffRole::Clinician, StaffRole::Admin, StaffRole::Scheduler, StaffRole::Auditor, StaffRole::Patient];

/// The longest id.
const MAX_SUB: usize = 200;

/// Reads a person out of checked claims.
///
/// # Errors
/// [`Unknown`].
pub fn person(config: &IdentityConfig, claims: &Claims) -> Result<Person, Unknown> {
    let sub = text(claims, &config.subject_claim).filter(|sub| !sub.is_empty() && sub.len() <= MAX_SUB);
    let sub = sub.ok_or(Unknown::Subject)?.to_owned();
    let org = match (&config.organization, &config.organization_claim) {
        (Some(org), _) => *org,
        (None, Some(claim)) => {
            let value = text(claims, claim).ok_or(Unknown::Organization)?;
            let mapped = config.organizations.get(value).copied();
            // With a map only its values count: an id that somebody could choose for themselves is none.
            let plain = || if config.organizations.is_empty() { value.parse().ok() } else { None };
            mapped.or_else(plain).ok_or(Unknown::Organization)?
        }
        (None, None) => return Err(Unknown::Organization),
    };
    let role = role(config, claims).ok_or(Unknown::Role)?;
    let name = text(claims, &config.name_claim).filter(|name| !name.is_empty());
    let name = name.map(|name| Redacted::new(name.chars().take(100).collect()));
    let auth_at =
        claims.get("auth_time").and_then(Value::as_i64).and_then(|at| Timestamp::from_unix_timestamp(at).ok());
    Ok(Person { org, sub, role, name, has_mfa: has_mfa(config, claims), auth_at })
}

fn role(config: &IdentityConfig, claims: &Claims) -> Option<StaffRole> {
    let found: Vec<StaffRole> = match find(claims, &config.roles_claim)? {
        Value::String(one) => means(config, one).into_iter().collect(),
        Value::Array(many) => many.iter().filter_map(Value::as_str).filter_map(|one| means(config, one)).collect(),
        _ => return None,
    };
    PRECEDENCE.into_iter().find(|role| found.contains(role))
}

fn means(config: &IdentityConfig, value: &str) -> Option<StaffRole> {
    if config.roles.is_empty() { StaffRole::parse(value) } else { config.roles.get(value).copied() }
}

fn has_mfa(config: &IdentityConfig, claims: &Claims) -> bool {
    let amr = claims.get("amr").and_then(Value::as_array);
    let by_amr = amr.is_some_and(|amr| {
        amr.iter().filter_map(Value::as_str).any(|method| config.mfa_amr.iter().any(|wanted| wanted == method))
    });
    let by_acr = text(claims, "acr").is_some_and(|acr| config.mfa_acr.iter().any(|wanted| wanted == acr));
    by_amr || by_acr
}

fn text<'a>(claims: &'a Claims, path: &str) -> Option<&'a str> {
    find(claims, path)?.as_str()
}

/// A claim by its name, or by a path with dots. A name with dots in it, as some providers use URLs, is tried as it is first.
fn find<'a>(claims: &'a Claims, path: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(path) {
        return Some(value);
    }
    let mut parts = path.split('.');
    let first = claims.get(parts.next()?)?;
    parts.try_fold(first, |value, part| value.get(part))
}

#[cfg(test)]
mod tests;
