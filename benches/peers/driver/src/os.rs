//! What the operating system says of processes and of the machine.

use std::time::Duration;

/// The process and all that it started.
pub fn family(pid: u32) -> Vec<u32> {
    let mut found = vec![pid];
    let mut at = 0;
    while at < found.len() {
        let pid = found[at];
        at += 1;
        for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
            let children = std::fs::read_to_string(task.path().join("children")).unwrap_or_default();
            found.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    found
}

/// CPU time that the family has used: utime + stime of /proc/PID/stat, by the clock behind it and not in ticks of 10 ms.
pub fn cpu(pid: u32) -> Duration {
    family(pid).into_iter().map(|pid| clock(!(pid as libc::clockid_t) << 3 | 2)).sum()
}

/// CPU time of this process and of those it has waited for.
pub fn own_cpu() -> Duration {
    // SAFETY: the kernel fills the struct it is given.
    let waited = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage);
        usage
    };
    let time = |time: libc::timeval| Duration::new(time.tv_sec as u64, time.tv_usec as u32 * 1000);
    clock(libc::CLOCK_PROCESS_CPUTIME_ID) + time(waited.ru_utime) + time(waited.ru_stime)
}

fn clock(id: libc::clockid_t) -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the kernel fills the struct it is given; a process that is gone leaves it zero.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// Anonymous memory of the family, resident, in bytes.
pub fn anonymous(pid: u32) -> u64 {
    let one = |pid| {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap_or_default();
        line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).unwrap_or(0) * 1024
    };
    family(pid).into_iter().map(one).sum()
}

/// Keeps a file in the kernel's cache for as long as this process lives, as it is there now.
pub fn hold(file: &std::fs::File) -> std::io::Result<()> {
    use std::os::fd::AsRawFd as _;
    let len = usize::try_from(file.metadata()?.len()).map_err(std::io::Error::other)?;
    // SAFETY: a new map, which nobody reads and which stays until the process ends.
    let held = unsafe {
        let map = libc::mmap(std::ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0);
        map != libc::MAP_FAILED && libc::mlock(map, len) == 0
    };
    if held { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// CPU time of the whole machine spent in programs, and time that its host took away.
pub fn machine() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks: Vec<u64> =
        stat.lines().next().unwrap_or_default().split_whitespace().filter_map(|n| n.parse().ok()).collect();
    // user, nice, system, then idle, iowait, irq, softirq, steal.
    let busy = ticks.iter().take(3).sum::<u64>() + ticks.get(7).copied().unwrap_or(0);
    Duration::from_millis(busy * 10)
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

pub fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}
