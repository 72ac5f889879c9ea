//! The bodies of our tokens. Each kind has its own `typ` and its own audience, so that one is never taken for another.

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::auth::StaffRole;

/// `iss` of every token of this service.
pub const ISSUER: &str = "anteroom";

/// What a kind of token has in its header and as its audience.
pub trait Kind: Serialize + serde::de::DeserializeOwned {
    /// The header's `typ` (RFC 8725 section 3.11).
    const TYP: &'static str;
    /// The `aud` claim.
    const AUDIENCE: &'static str;

    /// `iss`, `aud`, `iat`, `nbf`, `exp`.
    fn common(&self) -> Common<'_>;
}

/// The registered claims that every kind has. Times are seconds since the Unix epoch.
#[derive(Clone, Copy, Debug)]
pub struct Common<'a> {
    /// Issuer.
    pub iss: &'a str,
    /// Audience.
    pub aud: &'a str,
    /// Not before.
    pub nbf: i64,
    /// Not at or after.
    pub exp: i64,
}

/// Bearer of staff and integrating systems.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccessClaims {
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// Whose it is.
    pub sub: String,
    /// In which organisation.
    pub org: Uuid,
    /// As what.
    pub role: StaffRole,
    /// How they are called.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub name: Option<String>,
    /// Issued at.
    pub iat: i64,
    /// Not before.
    pub nbf: i64,
    /// Expiry.
    pub exp: i64,
    /// The token's own id.
    pub jti: Uuid,
    /// When a second factor was shown.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub mfa_at: Option<i64>,
}

impl Kind for AccessClaims {
    const TYP: &'static str = "at+jwt";
    const AUDIENCE: &'static str = "anteroom";

    fn common(&self) -> Common<'_> {
        Common { iss: &self.iss, aud: &self.aud, nbf: self.nbf, exp: self.exp }
    }
}

/// The one-time token behind a join link. Its times are informative: the row in the database decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinClaims {
    /// The TokenId.
    pub jti: Uuid,
    /// Issuer.
    pub iss: String,
    /// Audience.
    pub aud: String,
    /// Expiry.
    pub exp: i64,
    /// Not before.
    pub nbf: i64,
    /// Issued at.
    pub iat: i64,
    /// The participant.
    pub sub: Uuid,
    /// The visit.
    pub visit_id: Uuid,
    /// The role in it, informative as well.
    pub role: String,
    /// 32 random bytes, base64url; the row holds their hash.
    pub nonce: String,
    /// The organisation whose rows to look in.
    pub org: Uuid,
}

impl Kind for JoinClaims {
    const TYP: &'static str = "join+jwt";
    const AUDIENCE: &'static str = "anteroom/join";

    fn common(&self) -> Common<'_> {
        Common { iss: &self.iss, aud: &self.aud, nbf: self.nbf, exp: self.exp }
    }
}
