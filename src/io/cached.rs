//! Whether sending a part of a file would wait for a disk, remembered for a moment.

use std::fs::File;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::SharedFile;
use super::file::read_cached;

/// A byte is looked at so often: the kernel reads ahead in large steps.
const STRIDE: usize = 512 << 10;
/// What was found is believed for so long: an image that is asked for all the time is looked at once a second. For pages that go
/// in the meantime, the thread of the connection waits.
const BELIEVED: Duration = Duration::from_secs(1);

/// How much of a file was lately found in the kernel's cache.
#[derive(Debug, Default)]
pub(super) struct Cached(Mutex<Option<Found>>);

/// All bytes before `end`, since then: who asks for a part further on looks for himself.
#[derive(Debug, Clone, Copy)]
struct Found {
    end: u64,
    since: Instant,
}

impl SharedFile {
    /// Whether `range`, which is not empty, is in the kernel's cache, or was within the last second.
    pub(super) fn is_cached(&self, range: &Range<u64>) -> bool {
        self.cached.holds(range, Instant::now(), || look(self, range))
    }
}

impl Cached {
    /// Whether all of `range` is cached, which `look` tells where it is not known.
    fn holds(&self, range: &Range<u64>, now: Instant, look: impl FnOnce() -> bool) -> bool {
        // Whatever panicked, two numbers are never left half-written.
        let found = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = found().filter(|found| now.duration_since(found.since) < BELIEVED);
        let end = lately.map_or(0, |found| found.end);
        if range.end <= end {
            return true;
        }
        let since = lately.map_or(now, |found| found.since);
        let is_cached = look();
        if is_cached && range.start <= end {
            *found() = Some(Found { end: range.end, since });
        }
        is_cached
    }
}

/// Judged by a byte in each [`STRIDE`], and the last.
fn look(file: &File, range: &Range<u64>) -> bool {
    let last = range.end - 1;
    range.clone().step_by(STRIDE).chain([last]).all(|at| read_cached(file, &mut [0], at) == 1)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn what_was_found_is_not_looked_at_again_and_not_for_long() {
        const LOOKED: bool = true;
        let cached = Cached::default();
        let now = Cell::new(Instant::now());
        // Whether it is cached, as it says, and whether it looked for that.
        let ask = |range, finds| {
            let looked = Cell::new(false);
            let holds = cached.holds(&range, now.get(), || {
                looked.set(true);
                finds
            });
            (holds, looked.get())
        };
        assert_eq!(ask(0..10, false), (false, LOOKED));
        assert_eq!(ask(0..10, true), (true, LOOKED));
        assert_eq!(ask(20..30, true), (true, LOOKED));
        assert_eq!(ask(20..30, false), (false, LOOKED), "nobody looked at what is before it");
        assert_eq!(ask(10..20, true), (true, LOOKED));
        assert_eq!(ask(5..20, false), (true, !LOOKED));
        assert_eq!(ask(15..30, false), (false, LOOKED));
        assert_eq!(ask(0..20, false), (true, !LOOKED));
        now.set(now.get() + BELIEVED);
        assert_eq!(ask(10..20, true), (true, LOOKED), "too long ago");
        assert_eq!(ask(0..20, false), (false, LOOKED));
    }
}
