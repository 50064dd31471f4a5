//! Locks by name: one at a time for each name, others beside it, and no memory for names that nobody holds.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard};

type Held<K> = Mutex<HashMap<K, Arc<AsyncMutex<()>>>>;

/// Locks by name.
#[derive(Debug)]
pub(super) struct Locks<K: Eq + Hash> {
    held: Arc<Held<K>>,
}

/// A name that is held until this is dropped.
#[derive(Debug)]
pub(super) struct Turn<K: Eq + Hash> {
    held: Arc<Held<K>>,
    key: K,
    lock: Arc<AsyncMutex<()>>,
    guard: Option<OwnedMutexGuard<()>>,
}

impl<K: Eq + Hash> Default for Locks<K> {
    fn default() -> Self {
        Self { held: Arc::default() }
    }
}

impl<K: Eq + Hash + Clone> Locks<K> {
    /// Waits until nobody else holds `key`.
    pub(super) async fn turn(&self, key: &K) -> Turn<K> {
        let lock = self.held.lock().unwrap_or_else(PoisonError::into_inner).entry(key.clone()).or_default().clone();
        // Made before waiting, so that a caller who gives up waiting cleans up too.
        let mut turn = Turn { held: self.held.clone(), key: key.clone(), lock, guard: None };
        turn.guard = Some(turn.lock.clone().lock_owned().await);
        turn
    }
}

impl<K: Eq + Hash> Drop for Turn<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // The map's own and this one's: nobody else holds it or waits for it.
        if Arc::strong_count(&self.lock) == 2 {
            held.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn one_at_a_time_by_name_and_nothing_stays() {
        let locks = Arc::new(Locks::<u32>::default());
        let inside = Arc::new([AtomicU32::new(0), AtomicU32::new(0)]);
        let tasks = (0..200_u32).map(|n| {
            let (locks, inside) = (locks.clone(), inside.clone());
            tokio::spawn(async move {
                let key = n % 2;
                let _turn = locks.turn(&key).await;
                assert_eq!(inside[key as usize].fetch_add(1, Ordering::SeqCst), 0);
                tokio::task::yield_now().await;
                inside[key as usize].fetch_sub(1, Ordering::SeqCst);
            })
        });
        futures::future::try_join_all(tasks).await.unwrap();
        assert!(locks.held.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn whoever_gives_up_waiting_leaves_nothing() {
        let locks = Locks::<u32>::default();
        let first = locks.turn(&1).await;
        assert!(futures::FutureExt::now_or_never(locks.turn(&1)).is_none());
        drop(first);
        assert!(locks.held.lock().unwrap().is_empty());
    }
}
