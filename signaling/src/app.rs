//! `App`: what every handler can reach; built once, given to axum as state.

use std::ops::Deref;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use wire::link::Requester;

use crate::audit::memo::Memo;
use crate::auth::keys::Keys;
use crate::clock::{Clock, Timestamp};
use crate::config::{PublicAddress, SignalingConfig};
use crate::db::Db;
use crate::limit::Misses;
use crate::metrics::Metrics;
use crate::quality::Samples;
use crate::server::places::Places;

/// Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct App(Arc<Parts>);

/// What the App is made of.
#[derive(Debug)]
pub struct Parts {
    /// The settings.
    pub config: SignalingConfig,
    /// How people reach the service.
    pub public: PublicAddress,
    /// The relay for networks that do not let media through.
    pub relay: Option<crate::ice::Relay>,
    /// The database.
    pub db: Db,
    /// Signing and lookup keys.
    pub keys: Keys,
    /// Seals and opens fields with clinical words, addresses and contacts.
    pub phi: crate::phi::Fields,
    /// Where people sign in, if a provider is set up.
    pub provider: Option<crate::identity::provider::Provider>,
    /// The provider that development brings along.
    pub issuer: Option<crate::identity::issuer::Issuer>,
    /// Wakes the sockets of people who may have been signed out.
    pub sign_outs: tokio::sync::Notify,
    /// The time.
    pub clock: Clock,
    /// Asks the media node.
    pub sfu: Requester,
    /// Live Rooms.
    pub live: Arc<crate::live::Directory>,
    /// Wrong join codes of late.
    pub misses: Misses,
    /// Requests of the Chime API of late.
    pub chime_rate: crate::chime::rate::Rate<crate::ids::OrgId>,
    /// Requests of late that were signed by nobody known, by address.
    pub chime_strangers: crate::chime::rate::Rate<std::net::IpAddr>,
    /// WebSockets that are open.
    pub sockets: Arc<Places>,
    /// Wakes whoever looks after orders.
    pub orders: tokio::sync::Notify,
    /// Which views are in the audit chain already.
    pub views: Memo,
    /// Which refusals of sessions are in the audit chain already.
    pub denials: Memo,
    /// Quality samples on their way to the database.
    pub samples: Samples,
    /// What happened in rooms, on its way to the webhooks.
    pub happenings: crate::chime::notifications::writer::Happenings,
    /// Who carries notices.
    pub carriers: crate::notice::carrier::Carriers,
    /// Certificates that providers sign their news with.
    pub certificates: crate::notice::hook::aws::Certificates,
    /// What the role counts.
    pub metrics: Metrics,
    /// Cancelled when the role is to stop.
    pub stop: CancellationToken,
}

impl App {
    /// Puts the parts together.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// The time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

impl Deref for App {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}
