//! Collects what no image needs any more: blobs, leftovers of cut uploads, records of old requests.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, Weak};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use futures::stream::TryStreamExt as _;

use super::{Core, requests};
use crate::error::Result;
use crate::store::{BLOBS, REQUESTS, StorageKey};

/// How often blobs whose time has come are removed.
const TICK: Duration = Duration::from_secs(30);

/// How often the whole store is looked through.
const SEARCH_EVERY: TimeDelta = TimeDelta::hours(1);

/// A blob that has lost its image.
#[derive(Debug)]
pub(super) struct Doomed {
    blob: String,
    due: DateTime<Utc>,
}

/// Starts sweeping, for as long as the images are in use.
pub(super) fn start(core: &Arc<Core>) {
    let weak: Weak<Core> = Arc::downgrade(core);
    let sweeping = tokio::spawn(async move {
        let mut sweeper = Sweeper::default();
        loop {
            tokio::time::sleep(TICK).await;
            let Some(core) = weak.upgrade() else { return };
            if let Err(error) = sweeper.sweep(&core, Utc::now()).await {
                tracing::warn!(%error, source = ?error.source, "a sweep of the store failed; the next one goes on");
            }
        }
    });
    // A new core has no sweeper yet, so that this sets it.
    let _ = core.sweeper.set(sweeping.abort_handle());
}

impl Core {
    /// Has a blob removed once nobody can be reading it any more.
    pub(super) fn doom(&self, blob: &str) {
        let doomed = Doomed { blob: blob.to_owned(), due: Utc::now() + self.grace };
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).push(doomed);
    }
}

/// What one sweep remembers for the next.
#[derive(Debug, Default)]
pub(super) struct Sweeper {
    searched: Option<DateTime<Utc>>,
    /// Blobs without a manifest, and when they were first found so: theirs may be about to be written, by another
    /// server too.
    orphans: HashMap<String, DateTime<Utc>>,
}

impl Sweeper {
    pub(super) async fn sweep(&mut self, core: &Core, now: DateTime<Utc>) -> Result<()> {
        remove_doomed(core, now).await?;
        let every = if self.orphans.is_empty() { SEARCH_EVERY.max(core.grace) } else { core.grace };
        if self.searched.is_none_or(|searched| now - searched >= every) {
            self.searched = Some(now);
            self.remove_orphans(core, now).await?;
            core.store.remove_leftovers(now - core.grace).await?;
            remove_old_requests(core, now).await?;
        }
        Ok(())
    }

    async fn remove_orphans(&mut self, core: &Core, now: DateTime<Utc>) -> Result<()> {
        // Blobs first: one that is published in between is then among the manifests.
        let blobs: Vec<String> = core.store.list(BLOBS).map_ok(|blob| blob.name).try_collect().await?;
        core.index.refresh(&core.manifests).await?;
        // The blob of a manifest that cannot be read looks like an orphan, and is what a repair will need.
        let Some(used) = core.index.blobs() else {
            return Ok(());
        };
        let orphan = |blob: &String| !used.contains(blob) && !core.store.is_staged(blob);
        let first_found = std::mem::take(&mut self.orphans);
        for blob in blobs.into_iter().filter(orphan) {
            let found = first_found.get(&blob).copied().unwrap_or(now);
            if now - found < core.grace || !first_found.contains_key(&blob) {
                self.orphans.insert(blob, found);
                continue;
            }
            tracing::info!(blob, "removing a blob that no image has");
            core.store.discard(&StorageKey::blob(&blob)).await?;
        }
        Ok(())
    }
}

async fn remove_doomed(core: &Core, now: DateTime<Utc>) -> Result<()> {
    let due: Vec<Doomed> = {
        let mut doomed = core.doomed.lock().unwrap_or_else(PoisonError::into_inner);
        let (due, rest) = std::mem::take(&mut *doomed).into_iter().partition(|doomed| doomed.due <= now);
        *doomed = rest;
        due
    };
    for doomed in due {
        // One that fails here is found again as an orphan.
        core.store.discard(&StorageKey::blob(&doomed.blob)).await?;
    }
    Ok(())
}

async fn remove_old_requests(core: &Core, now: DateTime<Utc>) -> Result<()> {
    let mut records = core.store.list(REQUESTS);
    while let Some(record) = records.try_next().await? {
        if now - record.time > requests::KEPT {
            core.store.discard(&StorageKey::request(&record.name)).await?;
        }
    }
    Ok(())
}
