//! What was read lately, by the paths of its blobs: asking a file system for it takes longer than sending a small one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Values by paths, which are never used for two contents.
#[derive(Debug)]
pub(super) struct Recent<T> {
    /// Weight of one generation. There are two, so that what is asked for again before as much else has come stays.
    room: u64,
    generations: Mutex<Generations<T>>,
}

#[derive(Debug)]
struct Generations<T> {
    young: HashMap<String, Weighed<T>>,
    old: HashMap<String, Weighed<T>>,
    /// Of the young.
    weight: u64,
}

#[derive(Debug)]
struct Weighed<T> {
    value: T,
    weight: u64,
}

impl<T: Clone> Recent<T> {
    /// Keeps values of twice this weight at most; of those that alone weigh more, two.
    pub(super) fn new(room: u64) -> Self {
        let generations = Generations { young: HashMap::new(), old: HashMap::new(), weight: 0 };
        Self { room, generations: Mutex::new(generations) }
    }

    fn generations(&self) -> MutexGuard<'_, Generations<T>> {
        // Whatever panicked, a map is never left half-written.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value, and whether it would have gone next, and stays now.
    pub(super) fn get(&self, path: &str) -> Option<(T, bool)> {
        let mut generations = self.generations();
        if let Some(found) = generations.young.get(path) {
            return Some((found.value.clone(), false));
        }
        let (path, found) = generations.old.remove_entry(path)?;
        let value = found.value.clone();
        let surplus = generations.insert(path, found, self.room);
        drop(generations);
        drop(surplus);
        Some((value, true))
    }

    pub(super) fn keep(&self, path: &str, value: T, weight: u64) {
        // What goes may take a while, which nobody waits for with the lock.
        let surplus = self.generations().insert(path.to_owned(), Weighed { value, weight }, self.room);
        drop(surplus);
    }

    /// The values that were kept: two, where it was kept twice.
    pub(super) fn forget(&self, path: &str) -> Vec<T> {
        let mut generations = self.generations();
        let old = generations.old.remove(path);
        let young = generations.young.remove(path);
        generations.weight -= young.as_ref().map_or(0, |young| young.weight);
        [young, old].into_iter().flatten().map(|found| found.value).collect()
    }
}

impl<T> Generations<T> {
    /// What has to go for it.
    fn insert(&mut self, path: String, added: Weighed<T>, room: u64) -> impl Sized + use<T> {
        let mut surplus = HashMap::new();
        if self.weight + added.weight > room {
            surplus = std::mem::replace(&mut self.old, std::mem::take(&mut self.young));
            self.weight = 0;
        }
        self.weight += added.weight;
        let twice = self.young.insert(path, added);
        self.weight -= twice.as_ref().map_or(0, |twice| twice.weight);
        (surplus, twice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_stays_and_the_rest_is_bounded() {
        const ROOM: u64 = 1000;
        let recent = Recent::new(ROOM);
        recent.keep("a", 0, 1);
        for number in 0..1000 {
            recent.keep(&number.to_string(), number, 90);
            assert_eq!(recent.get("a").map(|(value, _)| value), Some(0));
            let generations = recent.generations();
            let weigh = |kept: &HashMap<_, Weighed<_>>| kept.values().map(|kept| kept.weight).sum::<u64>();
            assert_eq!(weigh(&generations.young), generations.weight);
            assert!(weigh(&generations.young) <= ROOM && weigh(&generations.old) <= ROOM);
        }
        assert_eq!((recent.get("0"), recent.get("999")), (None, Some((999, false))));
        assert_eq!((recent.forget("999"), recent.forget("a"), recent.forget("0")), (vec![999], vec![0], vec![]));
        assert_eq!((recent.get("999"), recent.get("a")), (None, None));
    }

    #[test]
    fn what_is_heavier_than_all_room_is_kept_alone() {
        let recent = Recent::new(10);
        for number in [5, 100, 200] {
            recent.keep(&number.to_string(), number, number);
        }
        assert_eq!(
            (recent.get("5"), recent.get("100"), recent.get("200")),
            (None, Some((100, true)), Some((200, true)))
        );
        recent.keep("200", 200, 200);
        assert_eq!(recent.forget("200"), [200, 200]);
        assert_eq!(recent.generations().weight, 0);
    }
}
