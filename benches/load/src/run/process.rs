//! CPU time and memory of the server's process, from `/proc` (Linux).

use super::RunError;

/// Where a process stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Usage {
    /// CPU time in user mode, in seconds.
    pub(super) user: f64,
    /// CPU time in the kernel, in seconds.
    pub(super) system: f64,
    /// Resident memory in bytes.
    pub(super) resident: u64,
}

/// Reads `/proc/<pid>`.
pub(super) fn read(pid: u32) -> Result<Usage, RunError> {
    let failed = |what: &str| RunError::Process(format!("{what} of process {pid}"));
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|_| failed("stat"))?;
    let statm = std::fs::read_to_string(format!("/proc/{pid}/statm")).map_err(|_| failed("statm"))?;
    parse(&stat, &statm).ok_or_else(|| failed("contents"))
}

fn parse(stat: &str, statm: &str) -> Option<Usage> {
    // The second field is the name in brackets, which may hold spaces; user and system time are fields 14 and 15.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    let (user, system) = (fields.next()??, fields.next()??);
    let pages: u64 = statm.split(' ').nth(1)?.trim().parse().ok()?;
    let tick = rustix::param::clock_ticks_per_second();
    #[expect(clippy::cast_precision_loss, reason = "ticks of one run fit a double")]
    let seconds = |ticks: u64| ticks as f64 / tick as f64;
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
    Some(Usage { user: seconds(user), system: seconds(system), resident: pages * page })
}

/// Each participant has a socket for media and one for signaling, more than many shells allow at first.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused only when the limits are locked; then large runs fail with a clear error of the socket.
    let _ = setrlimit(Resource::Nofile, limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_has_memory_and_a_name_with_brackets_is_skipped() {
        assert!(read(std::process::id()).unwrap().resident > 100_000);
        let stat = "12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 300 150 0 0";
        let usage = parse(stat, "100 50 3\n").unwrap();
        assert!(usage.user > usage.system && usage.resident >= 50 * 4096);
    }
}
