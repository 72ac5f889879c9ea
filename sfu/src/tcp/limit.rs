//! How many connections the node has, and how many from one address: a flood of them takes places from itself.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};

/// All connections of the node.
const TOTAL: usize = 4096;
/// Those of one address: a clinic behind one NAT.
const FROM_ONE: usize = 256;
/// Those of one address that have not said whose they are.
const STRANGERS_FROM_ONE: usize = 32;

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    all: usize,
    strangers: usize,
}

#[derive(Debug, Default)]
struct Table {
    total: usize,
    from: HashMap<IpAddr, Count>,
}

/// The node's book of connections. All clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct Limits(Arc<Mutex<Table>>);

/// One connection's place in it; dropping gives it back.
#[derive(Debug)]
pub(super) struct Place {
    limits: Limits,
    from: IpAddr,
    is_stranger: bool,
}

impl Limits {
    /// A place for a connection of which nothing is known yet, or `None`.
    pub(super) fn take(&self, from: IpAddr) -> Option<Place> {
        let from = site(from);
        let mut table = self.lock();
        let is_full = table.total >= TOTAL;
        let count = table.from.entry(from).or_default();
        if is_full || count.all >= FROM_ONE || count.strangers >= STRANGERS_FROM_ONE {
            if count.all == 0 {
                table.from.remove(&from);
            }
            return None;
        }
        count.all += 1;
        count.strangers += 1;
        table.total += 1;
        drop(table);
        Some(Place { limits: self.clone(), from, is_stranger: true })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        // Each change is a few additions: a panic between them is not possible.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// The connection named a Peer.
    pub(super) fn settle(&mut self) {
        if std::mem::take(&mut self.is_stranger)
            && let Some(count) = self.limits.lock().from.get_mut(&self.from)
        {
            count.strangers = count.strangers.saturating_sub(1);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.settle();
        let mut table = self.limits.lock();
        table.total = table.total.saturating_sub(1);
        if let Some(count) = table.from.get_mut(&self.from) {
            count.all = count.all.saturating_sub(1);
            if count.all == 0 {
                table.from.remove(&self.from);
            }
        }
    }
}

/// One household or practice: an IPv4 address, or the /64 that IPv6 gives to each.
fn site(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_few_and_guests_more_and_places_come_back() {
        let limits = Limits::default();
        let from = IpAddr::from([192, 0, 2, 7]);
        let mut places: Vec<Place> = (0..STRANGERS_FROM_ONE).map(|_| limits.take(from).unwrap()).collect();
        assert!(limits.take(from).is_none());
        assert!(limits.take(IpAddr::from([192, 0, 2, 8])).is_some(), "others are not touched");
        while places.len() < FROM_ONE {
            places.iter_mut().for_each(Place::settle);
            places.push(limits.take(from).unwrap());
        }
        places.iter_mut().for_each(Place::settle);
        assert!(limits.take(from).is_none());
        drop(places);
        assert!(limits.lock().from.is_empty());
        assert_eq!(limits.lock().total, 0);
    }

    #[test]
    fn one_v6_site_is_one() {
        let limits = Limits::default();
        let of = |last: u16| IpAddr::from([0x2001, 0xdb8, 0, 1, 0, 0, 0, last]);
        let _places: Vec<Place> =
            (0..STRANGERS_FROM_ONE).map(|last| limits.take(of(u16::try_from(last).unwrap())).unwrap()).collect();
        assert!(limits.take(of(999)).is_none());
        assert!(limits.take(IpAddr::from([0x2001, 0xdb8, 0, 2, 0, 0, 0, 1])).is_some());
    }
}
