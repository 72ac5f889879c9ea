//! Two network namespaces with one TUN device each, and their end: also that of namespaces whose owner died without a word.

use std::io;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use crate::device::Device;

/// Our namespaces are `anteroom-<process>-near` and `-far`, so that any later run can tell whose they are.
const PREFIX: &str = "anteroom-";
/// What `/proc/<process>/comm` says of a living owner.
const OWNER: &str = "tun-router";
/// The device's name inside its namespace.
const DEVICE: &str = "net0";

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The patient's, where the test itself runs.
    Near,
    /// The server's.
    Far,
}

impl Side {
    /// The word in names.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Near => "near",
            Self::Far => "far",
        }
    }

    /// The addresses a side begins with.
    #[must_use]
    pub fn addresses(self) -> [IpAddr; 2] {
        let last: u8 = match self {
            Self::Near => 2,
            Self::Far => 1,
        };
        [IpAddr::from([10, 78, 0, last]), IpAddr::from([0xfd78, 0, 0, 0, 0, 0, 0, u16::from(last)])]
    }
}

/// A namespace with its device. Dropping it deletes the namespace's name; the kernel ends it with its last process.
#[derive(Debug)]
pub struct Namespace {
    name: String,
}

impl Namespace {
    /// Makes the namespace, brings up its loopback and its device, and routes everything through the device.
    ///
    /// # Errors
    /// Without root, without `ip`, or without `/dev/net/tun`.
    pub fn create(side: Side) -> io::Result<(Self, Device)> {
        let process = std::process::id();
        let name = format!("{PREFIX}{process}-{}", side.name());
        ip(&["netns", "add", &name])?;
        // From here on a failure deletes the name again.
        let namespace = Self { name };
        let name = namespace.name.as_str();
        let outside = format!("tr{process}{}", &side.name()[..1]);
        let device = Device::create(&outside)?;
        ip(&["link", "set", "dev", &outside, "netns", name, "name", DEVICE])?;
        ip(&["-n", name, "link", "set", "dev", "lo", "up"])?;
        ip(&["-n", name, "link", "set", "dev", DEVICE, "txqueuelen", "1000", "up"])?;
        // Alone in their networks: a second address of the same network would be the first one's dependent and go with it.
        let [v4, v6] = side.addresses();
        ip(&["-n", name, "addr", "add", &format!("{v4}/32"), "dev", DEVICE])?;
        ip(&["-n", name, "route", "add", "default", "dev", DEVICE])?;
        // No neighbour could object to the address, and waiting for one takes a second. A kernel without IPv6 goes without.
        let v6 = ip(&["-n", name, "addr", "add", &format!("{v6}/128"), "dev", DEVICE, "nodad"])
            .and_then(|()| ip(&["-n", name, "-6", "route", "add", "default", "dev", DEVICE]));
        if let Err(error) = v6 {
            eprintln!("tun-router: no IPv6: {error}");
        }
        Ok((namespace, device))
    }

    /// As in `ip netns exec`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs a program inside.
    #[must_use]
    pub fn command(&self, program: &str) -> Command {
        // Not `ip netns exec`: that gives the program a mount namespace of its own as well.
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        drop(ip(&["netns", "delete", &self.name]));
    }
}

/// Deletes namespaces of routers that are no more.
///
/// # Errors
/// When `ip` is missing.
pub fn sweep() -> io::Result<()> {
    let listed = Command::new("ip").args(["netns", "list"]).output()?;
    for name in String::from_utf8_lossy(&listed.stdout).lines().filter_map(|line| line.split_whitespace().next()) {
        let Some(owner) = owner_of(name) else { continue };
        let lives = std::fs::read_to_string(format!("/proc/{owner}/comm")).is_ok_and(|comm| comm.trim() == OWNER);
        if !lives {
            eprintln!("tun-router: deleting {name}, whose router is gone");
            drop(ip(&["netns", "delete", name]));
        }
    }
    Ok(())
}

fn owner_of(name: &str) -> Option<u32> {
    name.strip_prefix(PREFIX)?
        .strip_suffix("-near")
        .or_else(|| name.strip_prefix(PREFIX)?.strip_suffix("-far"))?
        .parse()
        .ok()
}

fn ip(arguments: &[&str]) -> io::Result<()> {
    let done = Command::new("ip").args(arguments).stdin(Stdio::null()).output()?;
    if done.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&done.stderr);
    Err(io::Error::other(format!("ip {}: {}", arguments.join(" "), said.trim())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_have_an_owner() {
        assert_eq!(owner_of("anteroom-123-near"), Some(123));
        assert_eq!(owner_of("anteroom-123-far"), Some(123));
        for other in ["anteroom-", "anteroom-x-near", "anteroom-1-middle", "blue", "anteroom--far", "anteroom-12"] {
            assert_eq!(owner_of(other), None, "{other}");
        }
    }
}
