//! `anteroom turn-config`: the coturn configuration that goes with this server: a relay that reaches our media ports and nothing else.

pub(crate) mod check;

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use sfu::Address;

use crate::Error;

/// What `anteroom turn-config` must be told.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// The relay's name, as in `turn_urls`.
    #[arg(long, value_name = "NAME")]
    realm: String,
    /// The address on which the relay listens and from which it sends, or `public=private` behind a NAT that maps one to one.
    #[arg(long = "relay", value_name = "ADDR")]
    relays: Vec<Address>,
    /// Where the media node is, as the relay reaches it. All other addresses are denied.
    #[arg(long, required = true, value_name = "ADDR")]
    media: Vec<IpAddr>,
    /// The file with the secret that the server has as `turn_secret_file`.
    #[arg(long, value_name = "FILE")]
    secret_file: PathBuf,
    /// The certificate chain (PEM) for `turns:`; without it there is no TLS.
    #[arg(long, value_name = "FILE", requires = "key")]
    cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "cert")]
    key: Option<PathBuf>,
    /// The port of `turn:` over UDP and TCP.
    #[arg(long, default_value_t = 3478)]
    port: u16,
    /// The port of `turns:`: 443 passes where nothing else does.
    #[arg(long, default_value_t = 443)]
    tls_port: u16,
    /// First and last relay port.
    #[arg(long, num_args = 2, default_values_t = [49_152, 65_535])]
    ports: Vec<u16>,
    /// Allocations that one person may have. A browser makes one for each relay address and each of its interfaces.
    #[arg(long, default_value_t = 12)]
    user_quota: u32,
}

/// Prints the configuration on standard output.
pub(crate) fn run(options: &Options) -> Result<(), Error> {
    let secret = std::fs::read_to_string(&options.secret_file)
        .map_err(|error| format!("{}: {error}", options.secret_file.display()))?;
    let text = write(options, secret.trim())?;
    std::io::stdout().lock().write_all(text.as_bytes())?;
    Ok(())
}

fn write(options: &Options, secret: &str) -> Result<String, Error> {
    let is_word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic() && c != '#');
    if secret.len() < 16 || !is_word(secret) {
        return Err("the secret must have at least 16 printable characters and no space".into());
    }
    let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-');
    if options.realm.is_empty() || !options.realm.chars().all(is_name) {
        return Err("--realm is a host name".into());
    }
    let &[first, last] = options.ports.as_slice() else { return Err("--ports takes two ports".into()) };
    let count = u32::from(last).checked_sub(u32::from(first)).ok_or("--ports: the first is above the last")? + 1;
    if options.user_quota == 0 || options.user_quota.saturating_mul(4) > count {
        return Err("--user-quota: one person could take more than a quarter of the relay ports".into());
    }
    if let Some(bad) = options.media.iter().find(|ip| check::is_never_a_peer(**ip)) {
        return Err(
            format!("--media {bad} cannot be where the media node is: no relay may reach such addresses").into()
        );
    }
    let mut out = String::from(
        "# coturn (4.6 or later) as the relay of Anteroom, written by `anteroom turn-config`.\n\
         # It holds the secret: readable by coturn's user alone.\n\n",
    );
    write_listeners(&mut out, options, (first, last))?;
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "\n# Who: whoever shows credentials that the server signed, and not for long.\n\
         use-auth-secret\nstatic-auth-secret={secret}\nrealm={realm}\nfingerprint\nstale-nonce=600\n\
         \n# How much: nobody can take the relay from the others.\n\
         user-quota={quota}\ntotal-quota={total}\n\
         \n# Where to: the media node, and nothing else in the world.\n",
        realm = options.realm,
        quota = options.user_quota,
        total = count / 2,
    );
    for ip in &options.media {
        let _ = writeln!(out, "allowed-peer-ip={ip}");
    }
    out.push_str(
        "denied-peer-ip=0.0.0.0-255.255.255.255\n\
         denied-peer-ip=::-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff\n\
         no-multicast-peers\nno-tcp-relay\n\
         \n# What it does not offer.\nno-cli\nno-rfc5780\nno-stun-backward-compatibility\nresponse-origin-only-with-rfc5780\n\
         no-tlsv1\nno-tlsv1_1\nno-software-attribute\n",
    );
    match check::troubles(&out).as_slice() {
        [] => Ok(out),
        [trouble, ..] => Err(format!("this would not be safe: {trouble}").into()),
    }
}

fn write_listeners(out: &mut String, options: &Options, ports: (u16, u16)) -> Result<(), Error> {
    let path = |path: &PathBuf| -> Result<String, Error> {
        let text =
            path.to_str().filter(|text| !text.contains(['\n', '#'])).ok_or("a file name that cannot be written")?;
        Ok(text.to_owned())
    };
    for Address { public, private } in &options.relays {
        let local = private.unwrap_or(*public);
        let _ = writeln!(out, "listening-ip={local}\nrelay-ip={local}");
        if private.is_some() {
            let _ = writeln!(out, "external-ip={public}/{local}");
        }
    }
    let _ = writeln!(out, "listening-port={}\nmin-port={}\nmax-port={}", options.port, ports.0, ports.1);
    match (&options.cert, &options.key) {
        (Some(cert), Some(key)) => {
            let (cert, key) = (path(cert)?, path(key)?);
            let _ = writeln!(out, "tls-listening-port={}\ncert={cert}\npkey={key}\nno-dtls", options.tls_port);
        }
        _ => out.push_str("no-tls\nno-dtls\n"),
    }
    Ok(())
}

/// What is wrong with a configuration file, for `anteroom doctor`.
pub(crate) fn look(file: &std::path::Path) -> Option<String> {
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return Some(error.to_string()),
    };
    let troubles = check::troubles(&text);
    (!troubles.is_empty()).then(|| troubles.join("; "))
}

/// Whether something answers at the relay's address: a TCP connection, which both `turn:` and `turns:` take.
pub(crate) fn reach(address: SocketAddr) -> Option<String> {
    std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(3))
        .err()
        .map(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> Options {
        Options {
            realm: "turn.example.org".into(),
            relays: vec!["203.0.113.9=10.0.0.9".parse().unwrap(), "2001:db8::9".parse().unwrap()],
            media: vec!["10.0.0.5".parse().unwrap()],
            secret_file: "unused".into(),
            cert: Some("/etc/turn.pem".into()),
            key: Some("/etc/turn.key".into()),
            port: 3478,
            tls_port: 443,
            ports: vec![50_000, 50_999],
            user_quota: 12,
        }
    }

    const SECRET: &str = "north-sea-harbour";

    #[test]
    fn what_is_written_is_what_the_doctor_wants() {
        let text = write(&options(), SECRET).unwrap();
        assert_eq!(check::troubles(&text), Vec::<String>::new());
        for line in
            ["external-ip=203.0.113.9/10.0.0.9", "relay-ip=2001:db8::9", "allowed-peer-ip=10.0.0.5", "user-quota=12"]
        {
            assert!(text.lines().any(|other| other == line), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_safe_is_refused() {
        assert!(write(&options(), "short").is_err());
        assert!(write(&options(), "two lines\nno-auth-and-more").is_err());
        for media in ["127.0.0.1", "::1", "169.254.169.254", "0.0.0.0", "::ffff:127.0.0.1", "ff02::1", "fe80::1"] {
            assert!(write(&Options { media: vec![media.parse().unwrap()], ..options() }, SECRET).is_err(), "{media}");
        }
        assert!(write(&Options { ports: vec![50_000, 50_040], ..options() }, SECRET).is_err(), "a quarter");
        assert!(write(&Options { ports: vec![2, 1], ..options() }, SECRET).is_err());
        assert!(write(&Options { realm: "a\nb".into(), ..options() }, SECRET).is_err());
    }
}
