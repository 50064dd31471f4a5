//! Small blobs that were read lately, in memory: asking a file system takes longer than sending them.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Longest blob that is kept, in bytes.
pub(super) const LONGEST: u64 = 64 << 10;
/// Bytes of one generation. There are two, so that a blob asked for again before as many others have come stays.
const GENERATION: usize = 8 << 20;
/// What a blob counts besides its bytes.
const OVERHEAD: usize = 256;

/// The blobs by their paths, which are never used for two contents.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    young: HashMap<String, Bytes>,
    old: HashMap<String, Bytes>,
    /// Of the young.
    len: usize,
}

impl Recent {
    fn generations(&self) -> MutexGuard<'_, Generations> {
        // Whatever panicked, a map is never left half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, path: &str) -> Option<Bytes> {
        let mut generations = self.generations();
        if let Some(bytes) = generations.young.get(path) {
            return Some(bytes.clone());
        }
        let (path, bytes) = generations.old.remove_entry(path)?;
        generations.insert(path, bytes.clone());
        Some(bytes)
    }

    pub(super) fn keep(&self, path: &str, bytes: Bytes) {
        self.generations().insert(path.to_owned(), bytes);
    }

    pub(super) fn forget(&self, path: &str) {
        let mut generations = self.generations();
        generations.old.remove(path);
        if let Some(bytes) = generations.young.remove(path) {
            generations.len -= bytes.len() + OVERHEAD;
        }
    }
}

impl Generations {
    fn insert(&mut self, path: String, bytes: Bytes) {
        let len = bytes.len() + OVERHEAD;
        if self.len + len > GENERATION {
            self.old = std::mem::take(&mut self.young);
            self.len = 0;
        }
        self.len += len;
        if let Some(twice) = self.young.insert(path, bytes) {
            self.len -= twice.len() + OVERHEAD;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_bounded() {
        let recent = Recent::default();
        recent.keep("a", Bytes::from_static(b"first"));
        for number in 0..1000 {
            recent.keep(&number.to_string(), vec![0; LONGEST as usize].into());
            assert_eq!(recent.get("a").unwrap(), "first");
            let generations = recent.generations();
            let held: usize = generations.young.values().chain(generations.old.values()).map(Bytes::len).sum();
            assert!(held <= 2 * GENERATION);
            let counted: usize = generations.young.values().map(|bytes| bytes.len() + OVERHEAD).sum();
            assert_eq!(counted, generations.len);
        }
        assert!(recent.get("0").is_none() && recent.get("999").is_some());
        recent.forget("999");
        recent.forget("a");
        assert!(recent.get("999").is_none() && recent.get("a").is_none());
    }
}
