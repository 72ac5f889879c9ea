//! Whether this machine's clock follows a time server, as systemd knows it.

use std::process::Command;

use super::Finding;

const WHAT: &str = "a clock that follows a time server";

pub(super) fn look() -> Finding {
    match Command::new("timedatectl").args(["show", "--property=NTPSynchronized", "--value"]).output() {
        Ok(output) if output.status.success() => judge(&String::from_utf8_lossy(&output.stdout)),
        _ => Finding::unknown(WHAT, "systemd does not say; `chronyc tracking` may"),
    }
}

/// Judges what systemd said.
pub(super) fn judge(said: &str) -> Finding {
    let trouble = (said.trim() == "no").then(|| {
        "it does not: timedatectl set-ntp true (or install chrony). Tokens and audit times go wrong without".to_owned()
    });
    Finding::new(WHAT, trouble)
}
