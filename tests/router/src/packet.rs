//! What a firewall sees of an IP packet.

use crate::conditions::Protocol;

const ICMP: u8 = 1;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP_V6: u8 = 58;

/// True when a firewall that names this stops the packet.
#[must_use]
pub fn is_stopped(by: Protocol, packet: &[u8]) -> bool {
    match by {
        Protocol::Udp4 => protocol(packet) == Protocol::Udp && packet.first().is_some_and(|byte| byte >> 4 == 4),
        Protocol::Udp | Protocol::Tcp | Protocol::Icmp | Protocol::Other => protocol(packet) == by,
    }
}

/// The protocol above IP. IPv6 extension headers are not followed: nothing here sends them.
#[must_use]
pub fn protocol(packet: &[u8]) -> Protocol {
    let number = match packet.first().map(|byte| byte >> 4) {
        Some(4) => packet.get(9),
        Some(6) => packet.get(6),
        _ => None,
    };
    match number {
        Some(&UDP) => Protocol::Udp,
        Some(&TCP) => Protocol::Tcp,
        Some(&(ICMP | ICMP_V6)) => Protocol::Icmp,
        _ => Protocol::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_families_are_understood_and_nonsense_is_other() {
        let v4 = |number| {
            let mut bytes = [0_u8; 20];
            (bytes[0], bytes[9]) = (0x45, number);
            protocol(&bytes)
        };
        let v6 = |number| {
            let mut bytes = [0_u8; 40];
            (bytes[0], bytes[6]) = (0x60, number);
            protocol(&bytes)
        };
        assert_eq!([v4(17), v6(17)], [Protocol::Udp; 2]);
        assert_eq!([v4(6), v6(6)], [Protocol::Tcp; 2]);
        assert_eq!([v4(1), v6(58)], [Protocol::Icmp; 2]);
        let stopped = |by, first, at, number| {
            let mut bytes = [0_u8; 40];
            (bytes[0], bytes[at]) = (first, number);
            is_stopped(by, &bytes)
        };
        assert!(stopped(Protocol::Udp, 0x45, 9, 17) && stopped(Protocol::Udp, 0x60, 6, 17));
        assert!(stopped(Protocol::Udp4, 0x45, 9, 17) && !stopped(Protocol::Udp4, 0x60, 6, 17));
        assert!(!stopped(Protocol::Udp4, 0x45, 9, 6) && !stopped(Protocol::Tcp, 0x45, 9, 17));
        assert_eq!([protocol(&[]), protocol(&[0x45]), protocol(&[0xff; 40])], [Protocol::Other; 3]);
    }
}
