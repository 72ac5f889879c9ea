//! What a person is told of the relay, and when: with `welcome`, after a break, before an ICE restart, and before it expires.

use wire::ParticipantId;

use super::{Outside, RoomState};
use crate::ws::message::{IceServer, ServerMessage};

impl<O: Outside> RoomState<O> {
    /// Credentials that hold from now on; empty without a relay.
    pub(super) fn ice_servers(&mut self, who: ParticipantId) -> Vec<IceServer> {
        let now = self.now;
        let Some(relay) = self.outside.relay() else { return Vec::new() };
        if let Some(seat) = self.roster.find_mut(who) {
            seat.relay_told = Some(now.steady);
        }
        vec![relay.server(who, now.wall)]
    }

    /// Tells them to a client that has a connection already.
    pub(super) fn tell_relay(&mut self, who: ParticipantId) {
        let ice_servers = self.ice_servers(who);
        if !ice_servers.is_empty() {
            self.send(who, &ServerMessage::IceServers { ice_servers });
        }
    }

    /// Tells them again when half of their time is over. Called with every ping, of which each client sends several a minute.
    pub(super) fn renew_relay(&mut self, who: ParticipantId) {
        let Some(ttl) = self.outside.relay().map(crate::ice::Relay::ttl) else { return };
        let told = self.roster.find(who).and_then(|seat| seat.relay_told);
        if told.is_none_or(|told| self.now.steady.saturating_sub(told) >= ttl / 2) {
            self.tell_relay(who);
        }
    }
}
