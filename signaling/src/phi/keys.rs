//! The data keys at hand: opened when first needed, kept in memory for a few minutes, wiped when let go.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use uuid::Uuid;
use vault::{DataKey, KeyContext, KeyError, KeyProvider, WrappedKey};

use super::PhiConfig;
use super::store::{self, Stored};
use crate::clock::Timestamp;
use crate::db::Tx;
use crate::error::{Error, Result};
use crate::ids::OrgId;

/// Keys in memory at most. With more organisations than that, the oldest ones are opened again when needed.
const HELD: usize = 4096;

/// Seals and opens fields: the provider of the wrapping keys, and the data keys that are open.
#[derive(Debug)]
pub struct Fields {
    provider: Option<Arc<dyn KeyProvider>>,
    lifetime: Duration,
    cached: Duration,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    keys: HashMap<Uuid, Open>,
    newest: HashMap<OrgId, (Uuid, Timestamp)>,
}

#[derive(Clone, Debug)]
struct Open {
    org: OrgId,
    key: DataKey,
    until: Timestamp,
}

/// What the wrapping of an organisation's data key is bound to.
pub(super) const fn context(org: OrgId, key: Uuid) -> KeyContext {
    KeyContext::of_organization("fields", org.as_uuid(), key)
}

pub(super) fn failed(error: &KeyError) -> Error {
    match error {
        KeyError::Unavailable(_) => Error::KeyService(error.to_string()),
        error => Error::Keys(error.to_string()),
    }
}

impl Fields {
    /// Nothing is opened yet. Without a provider nothing can be sealed.
    #[must_use]
    pub fn new(provider: Option<Arc<dyn KeyProvider>>, config: &PhiConfig) -> Self {
        Self { provider, lifetime: config.key_lifetime, cached: config.key_cached, held: Mutex::default() }
    }

    pub(super) fn provider(&self) -> Result<&Arc<dyn KeyProvider>> {
        self.provider.as_ref().ok_or_else(|| Error::Keys("no key wraps the keys of fields".to_owned()))
    }

    /// The key that seals what is new in an organisation; made when there is none, or the last one is too old.
    pub(super) async fn current(&self, tx: &mut Tx, org: OrgId, now: Timestamp) -> Result<(Uuid, DataKey)> {
        if let Some(found) = self.find_newest(org, now) {
            return Ok(found);
        }
        let newest = store::find_newest(tx, org).await?.filter(|stored| stored.made_at + self.lifetime > now);
        let Some(stored) = newest else {
            // Two transactions that make one at the same moment leave two: both are good.
            let id = Uuid::new_v4();
            let (key, wrapped) = self.provider()?.generate(&context(org, id)).await.map_err(|e| failed(&e))?;
            store::insert(tx, org, id, &wrapped, now).await?;
            // Not kept in memory: should this transaction be undone, nothing may be sealed by a key that nobody has.
            return Ok((id, key));
        };
        let key = self.unwrap(org, &stored).await?;
        if !stored.is_ours {
            self.keep(org, &stored, &key, now);
            self.lock().newest.insert(org, (stored.key_id, (stored.made_at + self.lifetime).min(now + self.cached)));
        }
        Ok((stored.key_id, key))
    }

    /// A key by its id.
    pub(super) async fn get(&self, tx: &mut Tx, org: OrgId, id: Uuid, now: Timestamp) -> Result<DataKey> {
        if let Some(found) = self.find(org, id, now) {
            return Ok(found);
        }
        let unknown = || Error::Keys("a sealed field names a key that its organisation does not have".to_owned());
        let stored = store::find(tx, org, id).await?.ok_or_else(unknown)?;
        let key = self.unwrap(org, &stored).await?;
        if !stored.is_ours {
            self.keep(org, &stored, &key, now);
        }
        Ok(key)
    }

    async fn unwrap(&self, org: OrgId, stored: &Stored) -> Result<DataKey> {
        let wrapped = WrappedKey { kek_id: stored.kek_id.clone(), bytes: stored.wrapped.clone() };
        self.provider()?.unwrap(&wrapped, &context(org, stored.key_id)).await.map_err(|e| failed(&e))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, org: OrgId, id: Uuid, now: Timestamp) -> Option<DataKey> {
        let mut held = self.lock();
        match held.keys.get(&id) {
            Some(open) if open.org == org && now < open.until => Some(open.key.clone()),
            Some(open) if now >= open.until => {
                held.keys.remove(&id);
                None
            }
            _ => None,
        }
    }

    fn find_newest(&self, org: OrgId, now: Timestamp) -> Option<(Uuid, DataKey)> {
        let (id, until) = *self.lock().newest.get(&org)?;
        if now >= until {
            return None;
        }
        Some((id, self.find(org, id, now)?))
    }

    fn keep(&self, org: OrgId, stored: &Stored, key: &DataKey, now: Timestamp) {
        let mut held = self.lock();
        if held.keys.len() >= HELD {
            held.keys.retain(|_, open| now < open.until);
        }
        if held.keys.len() >= HELD {
            held.keys.clear();
            held.newest.clear();
        }
        held.keys.insert(stored.key_id, Open { org, key: key.clone(), until: now + self.cached });
    }

    /// Lets go of what is held longer than it may be. A key that nobody asks for would otherwise stay.
    pub(super) fn forget_old(&self, now: Timestamp) {
        let mut held = self.lock();
        held.keys.retain(|_, open| now < open.until);
        held.newest.retain(|_, (_, until)| now < *until);
    }
}
