//! Every image's manifest in memory, sorted by id: what lists and pages come from.

use std::collections::{BTreeMap, HashSet};
use std::ops::Bound::{Excluded, Unbounded};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::{Duration, Instant};

use futures::stream::TryStreamExt as _;
use tokio::sync::{Mutex as AsyncMutex, MutexGuard};

use super::id::ImageId;
use super::manifest::Manifest;
use super::manifests::{Manifests, Seen};
use crate::error::{Reason, Result};

/// Manifests read at once.
const WIDTH: usize = 32;

/// How old the index of a shared store may be when a list is made of it.
const MAX_AGE: Duration = Duration::from_secs(2);

/// The index.
#[derive(Debug, Default)]
pub(super) struct Index {
    state: RwLock<State>,
    refreshed: AsyncMutex<Option<Instant>>,
}

#[derive(Debug, Default)]
struct State {
    entries: BTreeMap<ImageId, Entry>,
    /// Ids whose manifests the last refresh could not read.
    damaged: HashSet<ImageId>,
    /// Ids written by this process while a refresh runs: newer than what the refresh read.
    touched: Option<HashSet<ImageId>>,
}

#[derive(Debug, Clone)]
struct Entry {
    manifest: Arc<Manifest>,
    /// The store's tag of the manifest, by which a refresh knows that it is unchanged.
    tag: Option<String>,
}

/// What a refresh finds of a manifest.
#[derive(Debug)]
enum Found {
    Same,
    New(Entry),
    Damaged,
}

impl Index {
    pub(super) fn get(&self, id: &ImageId) -> Option<Arc<Manifest>> {
        self.read().entries.get(id).map(|entry| entry.manifest.clone())
    }

    pub(super) fn insert(&self, manifest: Arc<Manifest>, tag: Option<String>) {
        let mut state = self.write();
        let id = manifest.id.clone();
        if let Some(touched) = &mut state.touched {
            touched.insert(id.clone());
        }
        state.damaged.remove(&id);
        state.entries.insert(id, Entry { manifest, tag });
    }

    /// Whether something is kept under this id that cannot be read.
    pub(super) fn is_damaged(&self, id: &ImageId) -> bool {
        self.read().damaged.contains(id)
    }

    pub(super) fn remove(&self, id: &ImageId) {
        let mut state = self.write();
        if let Some(touched) = &mut state.touched {
            touched.insert(id.clone());
        }
        state.damaged.remove(id);
        state.entries.remove(id);
    }

    /// Runs `look` over every manifest.
    pub(super) fn scan<T>(&self, look: impl FnOnce(&mut dyn Iterator<Item = &Arc<Manifest>>) -> T) -> T {
        look(&mut self.read().entries.values().map(|entry| &entry.manifest))
    }

    /// Runs `look` over the manifests in the order of their ids, or the reverse, from the one that follows `after`.
    pub(super) fn walk<T>(
        &self,
        after: Option<&ImageId>,
        descending: bool,
        look: impl FnOnce(&mut dyn Iterator<Item = &Arc<Manifest>>) -> T,
    ) -> T {
        let state = self.read();
        let bound = after.map_or(Unbounded, Excluded);
        if descending {
            look(&mut state.entries.range::<ImageId, _>((Unbounded, bound)).rev().map(|(_, entry)| &entry.manifest))
        } else {
            look(&mut state.entries.range::<ImageId, _>((bound, Unbounded)).map(|(_, entry)| &entry.manifest))
        }
    }

    /// Every blob that an image has; none if that is not known, because a manifest cannot be read.
    pub(super) fn blobs(&self) -> Option<HashSet<String>> {
        let state = self.read();
        state.damaged.is_empty().then(|| state.entries.values().map(|entry| entry.manifest.blob.clone()).collect())
    }

    /// Brings the index up to the store, unless that was done a moment ago. Callers at the same time share the work.
    pub(super) async fn refresh_if_old(&self, manifests: &Manifests) -> Result<()> {
        let refreshed = self.refreshed.lock().await;
        match *refreshed {
            Some(at) if at.elapsed() < MAX_AGE => Ok(()),
            _ => self.refresh_alone(manifests, refreshed).await,
        }
    }

    /// Brings the index up to the store: reads what is new or has another tag, drops what is gone.
    ///
    /// # Errors
    /// Manifests of a later format; a store that fails. One that is damaged is logged and left out.
    pub(super) async fn refresh(&self, manifests: &Manifests) -> Result<()> {
        self.refresh_alone(manifests, self.refreshed.lock().await).await
    }

    async fn refresh_alone(&self, manifests: &Manifests, mut refreshed: MutexGuard<'_, Option<Instant>>) -> Result<()> {
        // As old as the time it began: what others write meanwhile may be missed.
        let began = Instant::now();
        self.write().touched = Some(HashSet::new());
        let found = self.find(manifests).await;
        let mut state = self.write();
        let touched = state.touched.take().unwrap_or_default();
        let found = found?;
        let damaged = found.iter().filter(|(id, found)| matches!(found, Found::Damaged) && !touched.contains(id));
        state.damaged = damaged.map(|(id, _)| id.clone()).collect();
        state.entries.retain(|id, _| touched.contains(id) || found.contains_key(id));
        for (id, found) in found {
            match found {
                _ if touched.contains(&id) => {}
                Found::Same => {}
                Found::New(entry) => {
                    state.entries.insert(id, entry);
                }
                Found::Damaged => {
                    state.entries.remove(&id);
                }
            }
        }
        *refreshed = Some(began);
        Ok(())
    }

    /// What the store has.
    async fn find(&self, manifests: &Manifests) -> Result<BTreeMap<ImageId, Found>> {
        let found = manifests.list().map_ok(async |seen| self.find_one(manifests, seen).await);
        found.try_buffer_unordered(WIDTH).try_filter_map(async |one| Ok(one)).try_collect().await
    }

    async fn find_one(&self, manifests: &Manifests, Seen { id, tag }: Seen) -> Result<Option<(ImageId, Found)>> {
        if self.read().entries.get(&id).is_some_and(|entry| entry.tag.is_some() && entry.tag == tag) {
            return Ok(Some((id, Found::Same)));
        }
        match manifests.read(&id).await {
            Ok(Some((manifest, version))) => {
                let entry = Entry { manifest: Arc::new(manifest), tag: version.e_tag };
                Ok(Some((id, Found::New(entry))))
            }
            Ok(None) => Ok(None),
            Err(error) if error.reason == Reason::DataLoss => {
                tracing::error!(image = %id, %error, source = ?error.source, "an image is left out");
                Ok(Some((id, Found::Damaged)))
            }
            Err(error) => Err(error),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}
