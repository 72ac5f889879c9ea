//! JoinToken: minted for a participant, found by its short code or its own text, redeemed exactly once.

pub mod claim;
pub mod command;
pub mod context;
pub mod http;
pub mod redeem;
pub mod session;
pub mod store;

use std::time::Duration;

use ::proof::Thumbprint;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest, Sha256};
use wire::Redacted;

use crate::auth::claims::{ISSUER, JoinClaims, Kind};
use crate::auth::keys::{Keys, SKEW};
use crate::clock::Timestamp;
use crate::error::Result;
use crate::ids::{OrgId, ParticipantId, SessionId, TokenId, VisitId};
use crate::organization::Organization;
use crate::participant::Participant;
use crate::problem::{Code, Problem};
use crate::visit::Visit;

/// How long a link works, unless asked otherwise.
pub const DEFAULT_TTL_MINUTES: u8 = 20;

/// The lifetimes that can be asked for, in minutes.
pub const TTL_MINUTES: std::ops::RangeInclusive<u8> = 20..=30;

/// Letters of a short code: no 0, O, I and l, which people confuse.
const ALPHABET: &[u8; 58] = b"123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz";

/// 58^11 is 64.4 bits: more than ASVS asks of a code that is looked up.
const CODE_LENGTH: usize = 11;

/// A fresh short code.
#[must_use]
pub fn random_code() -> Redacted<String> {
    use rand::seq::IndexedRandom;
    let mut rng = rand::rng();
    Redacted::new(
        (0..CODE_LENGTH).filter_map(|_| ALPHABET.choose(&mut rng)).map(|letter| char::from(*letter)).collect(),
    )
}

/// Whether a text can be a short code at all.
#[must_use]
pub fn is_code(text: &str) -> bool {
    text.len() == CODE_LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte))
}

/// A new JoinToken: what the row keeps, and what the link shows once.
#[derive(Clone, Debug)]
pub struct Minted {
    /// Its id.
    pub id: TokenId,
    /// Whom it lets in.
    pub participant: ParticipantId,
    /// Opens then.
    pub not_before: Timestamp,
    /// Closes then.
    pub expires_at: Timestamp,
    /// What it is for.
    pub purpose: Purpose,
    /// The code of the link; only its keyed hash is stored.
    pub code: Redacted<String>,
    /// That hash.
    pub code_hash: [u8; 32],
    /// What the JWT says, for systems that carry that instead; it is signed when somebody asks for it.
    pub claims: Redacted<JoinClaims>,
    /// What the row keeps of the nonce.
    pub nonce_hash: [u8; 32],
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Coming in.
    Join,
    /// Going on at another device.
    Handover,
}

impl Purpose {
    /// As the column has it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Join => "JOIN",
            Self::Handover => "HANDOVER",
        }
    }
}

/// Mints a token for a participant of a visit. It opens `opens_before` the scheduled start, or at once when that is past, and lives
/// for `ttl` from then: a link that was sent early is not dead when the visit begins.
///
/// # Errors
/// None today; what is minted may depend on more than this server one day.
pub fn mint(
    keys: &Keys,
    visit: &Visit,
    person: &Participant,
    ttl: Duration,
    opens_before: Duration,
    now: Timestamp,
) -> Result<Minted> {
    let not_before = now.max(visit.scheduled_start - opens_before);
    Ok(mint_as(Purpose::Join, keys, person, (not_before, not_before + ttl), now, visit.org))
}

/// Mints a token that opens and closes at these times.
pub(crate) fn mint_as(
    purpose: Purpose,
    keys: &Keys,
    person: &Participant,
    (not_before, expires_at): (Timestamp, Timestamp),
    now: Timestamp,
    org: OrgId,
) -> Minted {
    let nonce: [u8; 32] = rand::random();
    let id = TokenId::random();
    let claims = JoinClaims {
        jti: id.as_uuid(),
        iss: ISSUER.to_owned(),
        aud: JoinClaims::AUDIENCE.to_owned(),
        exp: expires_at.unix_timestamp(),
        nbf: not_before.unix_timestamp(),
        iat: now.unix_timestamp(),
        sub: person.id.as_uuid(),
        visit_id: person.visit.as_uuid(),
        role: person.role.as_word().to_owned(),
        nonce: URL_SAFE_NO_PAD.encode(nonce),
        org: org.as_uuid(),
    };
    let code = random_code();
    Minted {
        id,
        purpose,
        participant: person.id,
        not_before,
        expires_at,
        code_hash: keys.lookup_hash(code.reveal()),
        code,
        claims: Redacted::new(claims),
        nonce_hash: Sha256::digest(nonce).into(),
    }
}

impl Minted {
    /// The JWT. The key may be in another place: not to be waited for inside a transaction.
    ///
    /// # Errors
    /// When the key's service does not answer.
    pub async fn sign(&self, keys: &Keys) -> Result<Redacted<String>> {
        Ok(Redacted::new(keys.sign_anywhere(self.claims.reveal()).await?))
    }
}

/// What a caller showed, after everything that needs no database was checked.
#[derive(Clone, Debug)]
pub struct Shown {
    /// In which organisation to look.
    pub org: OrgId,
    /// For which token.
    pub by: Handle,
}

/// How a token is found.
#[derive(Clone, Copy, Debug)]
pub enum Handle {
    /// By the hash of its short code.
    Code([u8; 32]),
    /// By the id in its verified JWT, whose nonce must fit.
    Jwt {
        /// `jti`.
        id: TokenId,
        /// SHA-256 of the nonce.
        nonce_hash: [u8; 32],
    },
}

/// Reads a JWT that verifies; `None` for anything else.
#[must_use]
pub fn open_jwt(keys: &Keys, text: &str) -> Option<Shown> {
    let claims: JoinClaims = keys.open(text)?;
    let nonce = URL_SAFE_NO_PAD.decode(&claims.nonce).ok()?;
    let by = Handle::Jwt { id: TokenId::from_uuid(claims.jti), nonce_hash: Sha256::digest(nonce).into() };
    Some(Shown { org: OrgId::from_uuid(claims.org), by })
}

/// The row of a token, as far as its state goes.
#[derive(Clone, Debug)]
pub struct Token {
    /// Its id.
    pub id: TokenId,
    /// For which visit.
    pub visit: VisitId,
    /// For whom.
    pub participant: ParticipantId,
    /// What happened to it.
    pub spent: Spent,
    /// Until when a browser's claim holds, whether or not that is past.
    pub lease_until: Option<Timestamp>,
    /// Opens then.
    pub not_before: Timestamp,
    /// Closes then.
    pub expires_at: Timestamp,
}

/// What happened to a token. Expiry is not stored: it is the clock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spent {
    /// Nothing yet.
    Active,
    /// Used.
    Redeemed,
    /// Replaced or withdrawn.
    Revoked,
}

impl Token {
    /// Whether the token would redeem at `now`, give or take [`SKEW`].
    ///
    /// # Errors
    /// Why not.
    pub fn check(&self, now: Timestamp) -> std::result::Result<(), RedeemError> {
        match self.spent {
            Spent::Redeemed => Err(RedeemError::AlreadySpent),
            Spent::Revoked => Err(RedeemError::Revoked),
            Spent::Active if self.expires_at <= now - SKEW => Err(RedeemError::Expired),
            Spent::Active if self.not_before > now + SKEW => {
                let wait = (self.not_before - SKEW - now).whole_seconds();
                Err(RedeemError::NotYetValid { minutes: u32::try_from((wait + 59) / 60).unwrap_or(u32::MAX) })
            }
            Spent::Active => Ok(()),
        }
    }
}

impl Token {
    /// Why a browser that could not claim the token was refused: what the row says, else that somebody else has it.
    #[must_use]
    pub fn refusal(&self, now: Timestamp) -> RedeemError {
        let left = self.lease_until.map_or(0, |until| (until - now).whole_seconds().max(0));
        self.check(now).err().unwrap_or(RedeemError::InUse { seconds: u64::try_from(left).unwrap_or(0) + 1 })
    }
}

/// A claim that waits for its key to prove itself.
#[derive(Clone, Debug)]
pub struct Claim {
    /// In which organisation.
    pub org: OrgId,
    /// On which token.
    pub token: TokenId,
    /// For which visit.
    pub visit: VisitId,
    /// For whom.
    pub participant: ParticipantId,
    /// The session that it becomes.
    pub session: SessionId,
    /// Whose key.
    pub key: Thumbprint,
}

/// Why a token does not open the visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RedeemError {
    /// Unknown, badly signed, of another kind: all alike.
    Invalid,
    /// Too early.
    NotYetValid {
        /// Wait so long.
        minutes: u32,
    },
    /// Somebody else has claimed it, and not yet come in.
    InUse {
        /// Try again after so long, unless they come in.
        seconds: u64,
    },
    /// Somebody used it.
    AlreadySpent,
    /// Too late.
    Expired,
    /// Replaced or withdrawn.
    Revoked,
}

impl RedeemError {
    /// The code of the answer.
    #[must_use]
    pub const fn code(self) -> Code {
        match self {
            Self::Invalid => Code::TokenInvalid,
            Self::NotYetValid { .. } => Code::TokenNotYetValid,
            Self::InUse { .. } => Code::TokenInUse,
            Self::AlreadySpent => Code::TokenAlreadyUsed,
            Self::Expired => Code::TokenExpired,
            Self::Revoked => Code::TokenRevoked,
        }
    }

    /// The answer. Whoever held a real link may know whom to call; whoever guessed learns nothing.
    #[must_use]
    pub fn problem(self, practice: Option<&Organization>) -> Problem {
        let mut problem = self.code().problem();
        match self {
            Self::NotYetValid { minutes } => problem = problem.member("retryAfterMinutes", minutes),
            Self::InUse { seconds } => problem.retry_after = Some(seconds),
            Self::Invalid | Self::AlreadySpent | Self::Expired | Self::Revoked => {}
        }
        match practice {
            Some(practice) if self != Self::Invalid => {
                problem.member("practice", json!({"name": practice.name, "phone": practice.phone}))
            }
            _ => problem,
        }
    }
}
