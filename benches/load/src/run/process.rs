//! CPU time, memory, threads and descriptors of a process, from `/proc` (Linux).

use std::path::Path;

use super::RunError;

/// Where a process stands.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Usage {
    /// CPU time in user mode, in seconds.
    pub(super) user: f64,
    /// CPU time in the kernel, in seconds.
    pub(super) system: f64,
    /// The same, of the media threads alone (`shard-…`).
    pub(super) media_user: f64,
    pub(super) media_system: f64,
    /// Resident memory in bytes.
    pub(super) resident: u64,
    pub(super) threads: u64,
    pub(super) descriptors: u64,
}

impl Usage {
    /// Reads `/proc/<pid>`.
    pub(super) fn read(pid: u32) -> Result<Self, RunError> {
        let failed = |what: &str| RunError::Process(format!("{what} of process {pid}"));
        let folder = format!("/proc/{pid}");
        let stat = std::fs::read_to_string(format!("{folder}/stat")).map_err(|_| failed("stat"))?;
        let statm = std::fs::read_to_string(format!("{folder}/statm")).map_err(|_| failed("statm"))?;
        let (_, user, system) = parse_stat(&stat).ok_or_else(|| failed("stat"))?;
        let pages: u64 =
            statm.split(' ').nth(1).and_then(|pages| pages.trim().parse().ok()).ok_or_else(|| failed("statm"))?;
        let page = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
        let mut usage = Self { user, system, resident: pages * page, ..Self::default() };
        for task in entries(format!("{folder}/task")) {
            usage.threads += 1;
            // A thread may have ended meanwhile.
            let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
            if let Some((name, user, system)) = parse_stat(&stat)
                && name.starts_with("shard-")
            {
                usage.media_user += user;
                usage.media_system += system;
            }
        }
        usage.descriptors = entries(format!("{folder}/fd")).count() as u64;
        Ok(usage)
    }
}

/// CPU seconds of one thread of ours.
pub(super) fn own_thread(thread: i32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{thread}/stat")).unwrap_or_default();
    parse_stat(&stat).map_or(0.0, |(_, user, system)| user + system)
}

fn entries(folder: impl AsRef<Path>) -> impl Iterator<Item = std::path::PathBuf> {
    std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

/// Name, user and system seconds.
fn parse_stat(stat: &str) -> Option<(&str, f64, f64)> {
    // The second field is the name in brackets, which may hold spaces; user and system time are fields 14 and 15.
    let (head, fields) = stat.rsplit_once(") ")?;
    let (_, name) = head.split_once('(')?;
    let mut fields = fields.split(' ').skip(11).map(|field| field.parse::<u64>().ok());
    let (user, system) = (fields.next()??, fields.next()??);
    let tick = rustix::param::clock_ticks_per_second();
    #[expect(clippy::cast_precision_loss, reason = "ticks of one run fit a double")]
    let seconds = |ticks: u64| ticks as f64 / tick as f64;
    Some((name, seconds(user), seconds(system)))
}

/// Each participant has a socket for signaling, more than many shells allow at first.
pub(super) fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    // Refused only when the limits are locked; then large runs fail with a clear error of the socket.
    let _ = setrlimit(Resource::Nofile, limit);
}

/// Keeps this process, threads to come included, on one core.
pub(super) fn pin(core: usize) -> Result<(), RunError> {
    use rustix::thread::{CpuSet, sched_setaffinity};
    let mut set = CpuSet::new();
    if core >= CpuSet::MAX_CPU {
        return Err(RunError::Process(format!("core {core} does not exist")));
    }
    set.set(core);
    sched_setaffinity(None, &set).map_err(|_| RunError::Process(format!("core {core} cannot be had")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_process_has_memory_threads_and_descriptors() {
        let usage = Usage::read(std::process::id()).unwrap();
        assert!(usage.resident > 100_000 && usage.threads >= 1 && usage.descriptors >= 3);
        assert!(Usage::read(u32::MAX).is_err());
    }

    #[test]
    fn a_name_with_brackets_is_skipped() {
        let stat = "12 (a ) b) S 1 2 3 4 5 6 7 8 9 10 300 150 0 0";
        let (name, user, system) = parse_stat(stat).unwrap();
        assert!(name == "a ) b" && user > system);
    }
}
