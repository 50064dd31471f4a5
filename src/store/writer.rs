//! Writes a blob part by part, and leaves nothing behind unless it is kept.

use std::collections::VecDeque;

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStoreExt as _};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::failure::{Doing, told};
use super::{Blob, Place, StorageKey, Store};
use crate::error::{Error, Result};

/// Bytes of a part of a file. The kernel caches what is written at once in folios as large as it can.
pub(crate) const PART: usize = 512 << 10;
/// Bytes of a part in a cloud: 5 MiB at least, and some want them equal.
const CLOUD_PART: usize = 8 << 20;

type StoreResult<T> = Result<T, object_store::Error>;

/// A blob being written. Dropped before [`finish`](Self::finish), it takes what it has written away again.
#[derive(Debug)]
pub(crate) struct BlobWriter {
    staged: StagedBlob,
    /// None until the first part: a blob of one part is put whole.
    upload: Option<Box<dyn MultipartUpload>>,
    /// Parts on their way, each polled by a task of its own from the start: a part whose future is dropped unpolled
    /// would leave a hole that the store does not notice.
    flying: VecDeque<JoinHandle<StoreResult<()>>>,
    size: u64,
}

impl BlobWriter {
    pub(super) fn new(store: Store) -> Self {
        let id = uuid::Uuid::new_v4().simple().to_string();
        store.stage(&id, true);
        let staged = StagedBlob { store, id, size: 0, runtime: Handle::current(), armed: false, leave: false };
        Self { staged, upload: None, flying: VecDeque::new(), size: 0 }
    }

    /// Bytes of every part but the last.
    pub(crate) fn part_size(&self) -> usize {
        if self.staged.store.is_exclusive() { PART } else { CLOUD_PART }
    }

    /// Parts on their way at once. One keeps a disk busy; a cloud's latency wants two.
    fn width(&self) -> usize {
        if matches!(self.staged.store.inner.place, Place::Shared) { 2 } else { 1 }
    }

    /// Writes a part of [`part_size`](Self::part_size) bytes; returns while it is still on its way.
    pub(crate) async fn part(&mut self, part: Bytes) -> Result<()> {
        self.part_or_error(part).await.map_err(|error| told(error, Doing::Writing))
    }

    async fn part_or_error(&mut self, part: Bytes) -> StoreResult<()> {
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                let path = StorageKey::blob(&self.staged.id).path()?;
                self.upload.insert(self.staged.store.inner.objects.put_multipart(&path).await?)
            }
        };
        self.size += part.len() as u64;
        self.flying.push_back(tokio::spawn(upload.put_part(part.into())));
        while self.flying.len() > self.width() {
            self.land().await?;
        }
        Ok(())
    }

    /// Waits for the oldest part on its way. The part stays in the queue until it has arrived.
    async fn land(&mut self) -> StoreResult<()> {
        if let Some(part) = self.flying.front_mut() {
            let landed = part.await;
            self.flying.pop_front();
            landed??;
        }
        Ok(())
    }

    /// Writes the last part and makes the blob whole and durable.
    ///
    /// A caller who goes away does not cut it halfway; the blob is then removed.
    pub(crate) async fn finish(mut self, last: Bytes) -> Result<StagedBlob> {
        let store = self.staged.store.clone();
        let finishing = async move {
            let finished = self.finish_or_error(last).await;
            match finished {
                Ok(()) => Ok(self.into_staged()),
                Err(error) => {
                    self.abort().await;
                    Err(told(error, Doing::Writing))
                }
            }
        };
        store.settle(finishing).await?
    }

    async fn finish_or_error(&mut self, last: Bytes) -> StoreResult<()> {
        if self.upload.is_none() {
            let path = StorageKey::blob(&self.staged.id).path()?;
            self.size = last.len() as u64;
            // From here on something may be there, whatever the answer.
            self.staged.armed = true;
            self.staged.store.inner.objects.put(&path, last.into()).await?;
            return Ok(());
        }
        if !last.is_empty() {
            self.part_or_error(last).await?;
        }
        while !self.flying.is_empty() {
            self.land().await?;
        }
        self.staged.armed = true;
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
        }
        self.upload = None;
        Ok(())
    }

    fn into_staged(mut self) -> StagedBlob {
        let mut staged = self.staged.take();
        staged.size = self.size;
        staged
    }

    /// Takes away what was written, and waits until it is gone.
    pub(crate) async fn abort(mut self) {
        let (upload, flying, mut staged) = (self.upload.take(), std::mem::take(&mut self.flying), self.staged.take());
        take_away(upload, flying).await;
        staged.remove().await;
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        let (upload, flying) = (self.upload.take(), std::mem::take(&mut self.flying));
        if upload.is_some() {
            let store = self.staged.store.clone();
            self.staged.runtime.spawn(async move { store.clear_away(take_away(upload, flying)).await });
        }
    }
}

async fn take_away(upload: Option<Box<dyn MultipartUpload>>, flying: VecDeque<JoinHandle<StoreResult<()>>>) {
    for part in &flying {
        part.abort();
    }
    for part in flying {
        // Only that it has ended matters: a part that arrives after the abort would stay.
        let _ = part.await;
    }
    if let Some(mut upload) = upload
        && let Err(error) = upload.abort().await
    {
        tracing::debug!(%error, "an unfinished upload could not be aborted; it will be collected");
    }
}

/// A blob that is whole and durable but belongs to no image yet. Dropped before [`keep`](Self::keep), it is removed.
#[derive(Debug)]
pub(crate) struct StagedBlob {
    store: Store,
    id: String,
    size: u64,
    runtime: Handle,
    /// Whether there may be an object to remove.
    armed: bool,
    /// Whether it is left to be collected when dropped.
    leave: bool,
}

impl StagedBlob {
    /// The blob's id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Opens it.
    pub(crate) async fn open(&self) -> Result<Blob> {
        let blob = self.store.open_blob(&self.id, self.size).await?;
        blob.ok_or_else(|| Error::internal(format!("the blob {} is gone before it was published", self.id)))
    }

    /// A manifest that names it may be in the store from now on: only [`discard`](Self::discard) removes it.
    pub(crate) fn publishing(&mut self) {
        self.leave = true;
    }

    /// It belongs to an image now.
    pub(crate) fn keep(mut self) {
        self.armed = false;
    }

    /// Removes it, and waits until it is gone.
    pub(crate) async fn discard(mut self) {
        self.remove().await;
    }

    async fn remove(&mut self) {
        if self.armed {
            remove(&self.store, &self.id).await;
            self.armed = false;
        }
    }

    /// Moves it out of a place that must keep something.
    fn take(&mut self) -> Self {
        let taken = Self {
            store: self.store.clone(),
            id: std::mem::take(&mut self.id),
            size: self.size,
            runtime: self.runtime.clone(),
            armed: self.armed,
            leave: self.leave,
        };
        self.armed = false;
        taken
    }
}

impl Drop for StagedBlob {
    fn drop(&mut self) {
        if self.armed && !self.leave {
            let (store, id) = (self.store.clone(), self.id.clone());
            self.runtime.spawn(async move {
                store.clear_away(remove(&store, &id)).await;
                store.stage(&id, false);
            });
        } else {
            self.store.stage(&self.id, false);
        }
    }
}

async fn remove(store: &Store, id: &str) {
    if let Err(error) = store.discard(&StorageKey::blob(id)).await {
        tracing::warn!(%error, source = ?error.source, blob = id, "a blob of no image stays until it is collected");
    }
}
