//! What makes a coturn configuration unsafe as our relay. The reserved blocks are those of the IANA special-purpose registries.

use std::net::{IpAddr, Ipv6Addr};

/// First and last address, as numbers in the order of the family.
type Range = (u128, u128);

/// Blocks that no relay may reach, unless the media node itself is there.
const RESERVED_V4: &[(&str, u8)] = &[
    ("0.0.0.0", 8),
    ("10.0.0.0", 8),
    ("100.64.0.0", 10),
    ("127.0.0.0", 8),
    ("169.254.0.0", 16),
    ("172.16.0.0", 12),
    ("192.0.0.0", 24),
    ("192.0.2.0", 24),
    ("192.88.99.0", 24),
    ("192.168.0.0", 16),
    ("198.18.0.0", 15),
    ("198.51.100.0", 24),
    ("203.0.113.0", 24),
    ("224.0.0.0", 4),
    ("240.0.0.0", 4),
];
const RESERVED_V6: &[(&str, u8)] = &[
    ("::", 127),
    ("::ffff:0:0", 96),
    ("64:ff9b::", 96),
    ("64:ff9b:1::", 48),
    ("100::", 64),
    ("2001::", 23),
    ("2001:db8::", 32),
    ("2002::", 16),
    ("fc00::", 7),
    ("fe80::", 10),
    ("ff00::", 8),
];

/// True for addresses at which nobody's media node can be: the relay's own machine, its link, everybody at once.
pub(crate) fn is_never_a_peer(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast() || v4.is_broadcast()
        }
        IpAddr::V6(v6) => {
            let is_embedded = v6.to_ipv4_mapped().is_some() || v6.segments().first() == Some(&0x2002);
            is_embedded || v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || v6.is_unicast_link_local()
        }
    }
}

/// One sentence for each thing that is wrong.
pub(crate) fn troubles(text: &str) -> Vec<String> {
    let settings: Vec<(&str, Option<&str>)> = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
        .map(|line| match line.split_once('=') {
            Some((name, value)) => (name.trim(), Some(value.trim())),
            None => (line, None),
        })
        .collect();
    let has = |name: &str| settings.iter().any(|(other, _)| *other == name);
    let all =
        |name: &'static str| settings.iter().filter(move |(other, _)| *other == name).filter_map(|(_, value)| *value);
    let mut troubles = Vec::new();
    let mut say = |is_wrong: bool, sentence: &str| {
        if is_wrong {
            troubles.push(sentence.to_owned());
        }
    };
    for (name, why) in [
        ("use-auth-secret", "without it the server's credentials are not known"),
        ("no-multicast-peers", "without it one datagram reaches many"),
        ("no-cli", "without it there is a console on port 5766"),
        ("no-tcp-relay", "without it the relay opens TCP connections"),
    ] {
        say(!has(name), &format!("`{name}` is missing: {why}"));
    }
    for (name, why) in [
        ("allow-loopback-peers", "it opens everything that listens on the relay itself"),
        ("no-auth", "it opens the relay to everybody"),
        ("lt-cred-mech", "it adds passwords that never end"),
    ] {
        say(has(name), &format!("`{name}` must go: {why}"));
    }
    say(
        !all("static-auth-secret").any(|secret| secret.len() >= 16),
        "`static-auth-secret` is missing or shorter than 16",
    );
    let quota = |name| all(name).filter_map(|value| value.parse::<u32>().ok()).next_back().unwrap_or(0);
    let (user, total) = (quota("user-quota"), quota("total-quota"));
    say(user == 0, "`user-quota` is missing: one person can take every port");
    say(total == 0, "`total-quota` is missing: the relay can run out of ports");
    say(user > 0 && total > 0 && user > total / 2, "`user-quota` is more than half of `total-quota`");
    say(has("tls-listening-port") && !(has("cert") && has("pkey")), "`cert` and `pkey` are missing for TLS");
    for allowed in all("allowed-peer-ip") {
        match read_range(allowed) {
            None => say(true, &format!("`allowed-peer-ip={allowed}` cannot be read")),
            Some((first, last, _)) => {
                say(first != last, &format!("`allowed-peer-ip={allowed}`: one address of a media node, no range"));
                say(is_never_a_peer(first), &format!("`allowed-peer-ip={allowed}` cannot be a media node"));
            }
        }
    }
    let denied: Vec<(IpAddr, IpAddr, Range)> = all("denied-peer-ip").filter_map(read_range).collect();
    let of = |v4: bool| denied.iter().filter(move |(first, ..)| first.is_ipv4() == v4).map(|(.., range)| *range);
    let (v4, v6) = (merge(of(true)), merge(of(false)));
    for (block, length) in RESERVED_V4.iter().chain(RESERVED_V6) {
        let Ok(first) = block.parse::<IpAddr>() else { continue };
        let (range, ranges) = match first {
            IpAddr::V4(ip) => (block_range(u128::from(ip.to_bits()), 32 - length), &v4),
            IpAddr::V6(ip) => (block_range(ip.to_bits(), 128 - length), &v6),
        };
        let is_denied = ranges.iter().any(|(first, last)| *first <= range.0 && range.1 <= *last);
        say(!is_denied, &format!("`denied-peer-ip` does not cover {block}/{length}"));
    }
    troubles
}

fn block_range(first: u128, free_bits: u8) -> Range {
    (first, first + ((1 << free_bits) - 1))
}

/// `address` or `first-last`.
fn read_range(text: &str) -> Option<(IpAddr, IpAddr, Range)> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last): (IpAddr, IpAddr) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
    let number = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => Ipv6Addr::to_bits(v6),
    };
    (first.is_ipv4() == last.is_ipv4() && number(first) <= number(last))
        .then(|| (first, last, (number(first), number(last))))
}

/// The same addresses as few ranges, those that touch made one.
fn merge(ranges: impl Iterator<Item = Range>) -> Vec<Range> {
    let mut sorted: Vec<Range> = ranges.collect();
    sorted.sort_unstable();
    let mut merged: Vec<Range> = Vec::new();
    for (first, last) in sorted {
        match merged.last_mut() {
            Some(before) if first <= before.1.saturating_add(1) => before.1 = before.1.max(last),
            _ => merged.push((first, last)),
        }
    }
    merged
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "use-auth-secret\nstatic-auth-secret=north-sea-harbour\nuser-quota=12\ntotal-quota=600\nno-cli\n\
        no-multicast-peers\nno-tcp-relay\nallowed-peer-ip=10.0.0.5\n\
        denied-peer-ip=0.0.0.0-127.255.255.255\ndenied-peer-ip=128.0.0.0-255.255.255.255\n\
        denied-peer-ip=::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n";

    #[test]
    fn each_hole_is_named() {
        assert_eq!(troubles(GOOD), Vec::<String>::new());
        for (line, word) in [
            ("use-auth-secret\n", "use-auth-secret"),
            ("no-cli\n", "no-cli"),
            ("user-quota=12\n", "user-quota"),
            ("total-quota=600\n", "total-quota"),
            ("static-auth-secret=north-sea-harbour\n", "static-auth-secret"),
            ("denied-peer-ip=0.0.0.0-127.255.255.255\n", "127.0.0.0/8"),
            ("denied-peer-ip=::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n", "fc00::/7"),
        ] {
            let text = GOOD.replace(line, "");
            assert!(troubles(&text).iter().any(|trouble| trouble.contains(word)), "{word}");
            let commented = GOOD.replace(line, &format!("# {line}"));
            assert!(!troubles(&commented).is_empty(), "a comment is no setting: {word}");
        }
        for line in [
            "allow-loopback-peers",
            "no-auth",
            "allowed-peer-ip=127.0.0.1",
            "allowed-peer-ip=10.0.0.0-10.255.255.255",
            "allowed-peer-ip=::ffff:127.0.0.1",
            "tls-listening-port=443",
            "user-quota=500",
        ] {
            assert!(!troubles(&format!("{GOOD}{line}\n")).is_empty(), "{line}");
        }
    }
}
