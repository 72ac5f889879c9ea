//! How many connections are open, in all and from each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::limit::block;

/// So many places in all, and for each address. An IPv6 /64 counts as one address.
#[derive(Debug)]
pub struct Places {
    most: usize,
    most_each: usize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    each: HashMap<IpAddr, usize>,
}

/// One place; it is free again when this is dropped.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    address: Option<IpAddr>,
}

/// Which bound was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// The one for everybody together.
    All,
    /// The one for each address.
    Address,
}

impl Places {
    /// All free.
    #[must_use]
    pub fn new(most: usize, most_each: usize) -> Arc<Self> {
        Arc::new(Self { most, most_each, taken: Mutex::default() })
    }

    /// Takes a place for this address, or for one behind which there are many people (`None`), which has a bound only together with
    /// everybody else.
    ///
    /// # Errors
    /// When there is none.
    pub fn enter(self: &Arc<Self>, from: Option<IpAddr>) -> Result<Place, Full> {
        let address = from.map(block);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= self.most {
            return Err(Full::All);
        }
        if let Some(address) = address {
            let each = taken.each.entry(address).or_default();
            if *each >= self.most_each {
                return Err(Full::Address);
            }
            *each += 1;
        }
        taken.all += 1;
        drop(taken);
        Ok(Place { places: Arc::clone(self), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all = taken.all.saturating_sub(1);
        if let Some(address) = self.address
            && let Some(each) = taken.each.get_mut(&address)
        {
            *each = each.saturating_sub(1);
            if *each == 0 {
                taken.each.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn one_address_cannot_take_all_the_places() {
        let places = Places::new(10, 3);
        let held: Vec<_> = (0..9).filter_map(|_| places.enter(ip("192.0.2.1")).ok()).collect();
        assert_eq!(held.len(), 3);
        assert_eq!(places.enter(ip("192.0.2.1")).unwrap_err(), Full::Address);
        let other = places.enter(ip("192.0.2.2")).unwrap();
        drop(held);
        drop(places.enter(ip("192.0.2.1")).unwrap());
        drop(other);
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.each.len()), (0, 0), "nothing is remembered of who has gone");
    }

    #[test]
    fn one_ipv6_network_is_one_address_and_a_proxy_is_many() {
        let places = Places::new(10, 2);
        let six: Vec<_> = (1..6).filter_map(|n| places.enter(ip(&format!("2001:db8::{n}"))).ok()).collect();
        assert_eq!(six.len(), 2);
        let next = places.enter(ip("2001:db8:0:1::1")).unwrap();
        let proxied: Vec<_> = (0..20).filter_map(|_| places.enter(None).ok()).collect();
        assert_eq!(proxied.len(), 7, "up to the bound for all");
        assert_eq!(places.enter(ip("192.0.2.3")).unwrap_err(), Full::All);
        drop(next);
        drop(places.enter(ip("192.0.2.3")).unwrap());
    }
}
