//! How many files the process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises the limit to `wanted`, or as near as the system lets it; how many there may be now.
pub(crate) fn allow_open_files(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // None is no limit.
    let now = current.unwrap_or(u64::MAX);
    let raised = maximum.map_or(wanted, |maximum| maximum.min(wanted));
    let raises = raised > now && setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }).is_ok();
    if raises { raised } else { now }
}
