//! The core: images put, read, listed, relabelled and deleted. Plain values only; it knows no wire.

mod digest;
mod fields;
pub mod id;
mod index;
mod ingest;
mod list;
mod locks;
pub mod manifest;
mod manifests;
pub mod probe;
mod publish;
mod put;
pub mod query;
mod remove;
mod requests;
mod sweep;
mod update;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicI64;

use bytes::Bytes;
use chrono::TimeDelta;
use futures::stream::Stream;
use tokio::task::AbortHandle;

use crate::error::{Error, Result};
use crate::store::{Blob, Store, UpdateVersion};
use id::ImageId;
use index::Index;
use locks::Locks;
use manifest::Manifest;
use manifests::Manifests;
use query::{Page, Query};
use requests::Requests;
use sweep::Doomed;

/// How long a blob stays after its image is deleted or replaced, for those who are still reading it.
const GRACE: TimeDelta = TimeDelta::minutes(10);

/// The images of one store. Cloning gives another handle to the same.
#[derive(Debug, Clone)]
pub struct Images {
    core: Arc<Core>,
}

/// What uploads are held to.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest image, in bytes.
    pub max_image_size: u64,
}

/// One step of an upload.
#[derive(Debug, Clone)]
pub enum Piece {
    /// The next bytes.
    Data(Bytes),
    /// The bytes are complete. Nothing is published unless this arrives: an end without it is
    /// [`Reason::Aborted`](crate::error::Reason::Aborted).
    Finish(Checksums),
}

/// What the sender says the whole bytes add up to; each is verified when given.
#[derive(Debug, Clone, Default)]
pub struct Checksums {
    /// Bytes.
    pub size: Option<u64>,
    /// SHA-256.
    pub sha256: Option<[u8; 32]>,
    /// SHA-512; wants [`Put::hash_sha512`].
    pub sha512: Option<[u8; 64]>,
    /// CRC-32C (Castagnoli).
    pub crc32c: Option<u32>,
}

/// Whether a write may go on, asked of the manifest that is there (or none): before any work, and again under the
/// image's lock when it is committed.
pub type Precondition = Arc<dyn Fn(Option<&Manifest>) -> Result<()> + Send + Sync>;

/// An image to put: a new one, or other bytes for one that is there.
#[derive(Clone)]
pub struct Put {
    /// None: made by the server, from the request id if there is one.
    pub id: Option<ImageId>,
    /// The media type the client says it is.
    pub claimed_type: Option<String>,
    /// None on a replace: kept.
    pub display_name: Option<String>,
    /// None on a replace: kept.
    pub labels: Option<BTreeMap<String, String>>,
    /// Bytes announced: refused early if over the limit, verified at the end.
    pub size: Option<u64>,
    /// Whether [`Checksums::sha512`] may come.
    pub hash_sha512: bool,
    /// Asked before the body is read and again at commit.
    pub precondition: Precondition,
    /// The client's id of this request, by which its retry is known for 24 hours.
    pub request_id: Option<String>,
}

/// What came of a [`Put`].
#[derive(Debug, Clone)]
pub struct Stored {
    /// The image as it is kept.
    pub manifest: Arc<Manifest>,
    /// Whether there was none of this id before.
    pub created: bool,
}

/// A change of metadata.
#[derive(Clone)]
pub struct Update {
    /// Which image.
    pub id: ImageId,
    /// None: kept.
    pub display_name: Option<String>,
    /// None: kept.
    pub labels: Option<LabelChange>,
    /// Asked before any work and again at commit.
    pub precondition: Precondition,
    /// The client's id of this request, by which its retry is known for 24 hours.
    pub request_id: Option<String>,
}

/// A change of labels.
#[derive(Debug, Clone, serde::Serialize)]
pub enum LabelChange {
    /// These and no others.
    Replace(BTreeMap<String, String>),
    /// These beside the others; none removes a label.
    Merge(BTreeMap<String, Option<String>>),
}

/// An image to delete.
#[derive(Clone)]
pub struct Delete {
    /// Which image.
    pub id: ImageId,
    /// Whether it is fine if there is none.
    pub allow_missing: bool,
    /// Asked of an image that is there, never of none (RFC 9110 section 13.2.1).
    pub precondition: Precondition,
    /// The client's id of this request, by which its retry is known for 24 hours.
    pub request_id: Option<String>,
}

impl Images {
    /// The images of `store`, which is read through once.
    ///
    /// # Errors
    /// The store cannot be read, or was written by a later version of this program.
    pub async fn open(store: Store, limits: Limits) -> Result<Self> {
        Self::open_with(store, limits, GRACE).await
    }

    async fn open_with(store: Store, limits: Limits, grace: TimeDelta) -> Result<Self> {
        let core = Arc::new(Core::new(store, limits, grace));
        core.index.refresh(&core.manifests).await?;
        let newest = core.index.scan(|all| all.map(|manifest| manifest.generation).max());
        core.generation.store(newest.unwrap_or(0), std::sync::atomic::Ordering::SeqCst);
        sweep::start(&core);
        Ok(Self { core })
    }

    /// What uploads are held to.
    pub fn limits(&self) -> &Limits {
        &self.core.limits
    }

    /// What is known of an image.
    ///
    /// # Errors
    /// [`Reason::NotFound`](crate::error::Reason::NotFound).
    pub async fn get(&self, id: &ImageId) -> Result<Arc<Manifest>> {
        let (manifest, _) = self.core.current(id).await?.ok_or_else(|| Error::image_not_found(id))?;
        Ok(manifest)
    }

    /// What is known of an image, and its bytes, opened: they can be read to the end whatever happens to the image.
    ///
    /// # Errors
    /// [`Reason::NotFound`](crate::error::Reason::NotFound); [`Reason::DataLoss`](crate::error::Reason::DataLoss) if
    /// the bytes are gone or fewer than they were.
    pub async fn read(&self, id: &ImageId) -> Result<(Arc<Manifest>, Blob)> {
        self.core.read(id).await
    }

    /// Puts an image. It is there, durable and whole, when this returns; before that nothing of it shows, and if it
    /// fails or the future is dropped, nothing of it stays.
    ///
    /// # Errors
    /// The precondition's own; what is wrong with a field, the bytes, their size or their checksums; the store's.
    pub async fn put(&self, put: Put, content: impl Stream<Item = Result<Piece>> + Send) -> Result<Stored> {
        self.core.put(put, content).await
    }

    /// Changes metadata, durably.
    ///
    /// # Errors
    /// The precondition's own; [`Reason::NotFound`](crate::error::Reason::NotFound); what is wrong with a field.
    pub async fn update(&self, update: Update) -> Result<Arc<Manifest>> {
        self.core.update(update).await
    }

    /// Deletes an image, durably; its bytes go after a while.
    ///
    /// # Errors
    /// The precondition's own; [`Reason::NotFound`](crate::error::Reason::NotFound) unless that is allowed.
    pub async fn delete(&self, delete: Delete) -> Result<()> {
        self.core.delete(delete).await
    }

    /// One page of the images. Paging on by its token, each image that stays is seen exactly once.
    ///
    /// # Errors
    /// The store's, if it is shared: its listing is read again at most every two seconds.
    pub async fn list(&self, query: &Query) -> Result<Page> {
        if !self.core.store.is_exclusive() {
            self.core.index.refresh_if_old(&self.core.manifests).await?;
        }
        Ok(list::page(&self.core.index, query))
    }

    /// Whether the store answers.
    ///
    /// # Errors
    /// It does not.
    pub async fn ready(&self) -> Result<()> {
        self.core.store.ready().await
    }
}

/// What the handles share.
#[derive(Debug)]
struct Core {
    store: Store,
    manifests: Manifests,
    limits: Limits,
    index: Index,
    /// Held while an image's manifest is exchanged.
    writing: Locks<ImageId>,
    requests: Requests,
    /// The highest generation given: a deleted image's is not given again, even if the clock is set back.
    generation: AtomicI64,
    grace: TimeDelta,
    doomed: Mutex<Vec<Doomed>>,
    sweeper: std::sync::OnceLock<AbortHandle>,
}

impl Core {
    fn new(store: Store, limits: Limits, grace: TimeDelta) -> Self {
        Self {
            manifests: Manifests::new(store.clone()),
            requests: Requests::new(store.clone()),
            store,
            limits,
            index: Index::default(),
            writing: Locks::default(),
            generation: AtomicI64::new(0),
            grace,
            doomed: Mutex::default(),
            sweeper: std::sync::OnceLock::new(),
        }
    }

    /// The manifest that is there: from memory where this process alone writes, else from the store.
    async fn current(&self, id: &ImageId) -> Result<Option<(Arc<Manifest>, UpdateVersion)>> {
        if self.store.is_exclusive() {
            let unversioned = UpdateVersion { e_tag: None, version: None };
            let known = self.index.get(id).map(|manifest| (manifest, unversioned));
            if known.is_some() || !self.index.is_damaged(id) {
                return Ok(known);
            }
        }
        // In a box, which what is in memory has no need of.
        let found = Box::pin(self.manifests.read(id)).await?;
        Ok(found.map(|(manifest, version)| (Arc::new(manifest), version)))
    }

    async fn read(&self, id: &ImageId) -> Result<(Arc<Manifest>, Blob)> {
        let mut missing: Option<String> = None;
        loop {
            let (manifest, _) = self.current(id).await?.ok_or_else(|| Error::image_not_found(id))?;
            if let Some(blob) = self.store.open_blob(&manifest.blob, manifest.size).await? {
                return Ok((manifest, blob));
            }
            // It may have been replaced in between, long enough ago for its blob to be gone.
            if missing.as_ref() == Some(&manifest.blob) {
                return Err(blob_gone(&manifest));
            }
            missing = Some(manifest.blob.clone());
        }
    }
}

impl Drop for Core {
    fn drop(&mut self) {
        if let Some(sweeper) = self.sweeper.get() {
            sweeper.abort();
        }
    }
}

fn blob_gone(manifest: &Manifest) -> Error {
    let message = format!(
        "the stored bytes of images/{} are gone: put the image again, or restore the store from a backup",
        manifest.id
    );
    Error::new(crate::error::Reason::DataLoss, message).caused_by(format!("no blob {}", manifest.blob))
}

impl fmt::Debug for Put {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Put").field("id", &self.id).field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Update {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Update").field("id", &self.id).field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

impl fmt::Debug for Delete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delete").field("id", &self.id).field("request_id", &self.request_id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
