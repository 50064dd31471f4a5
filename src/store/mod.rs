//! The store: objects by key over a folder, memory or a cloud, with what each kind does not do by itself.

mod blob;
mod failure;
mod key;
mod open;
mod recent;
mod settle;
mod writer;

use std::collections::HashSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::{Error as StoreError, GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutOptions};
use tokio::task;

pub use blob::{Blob, BlobReader};
use failure::{Doing, told, told_io, unavailable};
pub use key::StorageKey;
pub(crate) use key::{BLOBS, MANIFESTS, REQUESTS};
pub use object_store::{PutMode, UpdateVersion};
use recent::Recent;
pub(crate) use writer::{BlobWriter, PART, StagedBlob};

use crate::error::{Error, Result};
use crate::io::{self, SharedFile, Shelf, Shelved};

/// Where images are kept. Cloning gives another handle to the same store.
#[derive(Debug, Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    objects: Arc<dyn ObjectStore>,
    place: Place,
    /// Ids of the blobs that are being written here and now, or wait for their manifest.
    staged: Mutex<HashSet<String>>,
    /// Blobs in memory, and open files of longer ones.
    small: Recent<Shelved>,
    shelf: Shelf,
    files: Recent<Arc<SharedFile>>,
}

/// What kind of store it is, for what object_store leaves to its callers.
#[derive(Debug)]
pub(crate) enum Place {
    /// A local folder that this process alone serves.
    Folder {
        root: PathBuf,
        fsync: bool,
        /// Held: the lock ends with the store.
        lock: Arc<std::fs::File>,
    },
    /// This process's memory.
    Memory,
    /// A cloud, which other processes may write too.
    Shared,
}

/// What came of a conditional write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Written {
    /// It is durable, as this version.
    Done(UpdateVersion),
    /// Its condition did not hold: there is an object already, or another version of it.
    Conflict,
}

impl Store {
    /// Opens `file:DIR` (made if it is not there), `memory:`, `s3://`, `gs://` or `az://`, the clouds with their
    /// settings from the environment (`AWS_…`, `GOOGLE_…`, `AZURE_…`). With `fsync`, what is acknowledged survives a
    /// power cut.
    ///
    /// # Errors
    /// The URL is no store's, the folder cannot be written, or another process serves it.
    pub async fn open(url: &str, fsync: bool) -> Result<Self> {
        let url = url.to_owned();
        let opened = task::spawn_blocking(move || open::open(&url, fsync)).await.map_err(Error::internal)?;
        let (objects, place) = opened?;
        Ok(Self::over(objects, place))
    }

    pub(crate) fn over(objects: Arc<dyn ObjectStore>, place: Place) -> Self {
        let (small, files) = (Recent::new(blob::SMALL_ROOM), Recent::new(blob::FILE_ROOM));
        let (staged, shelf) = (Mutex::default(), Shelf::default());
        Self { inner: Arc::new(Inner { objects, place, staged, small, shelf, files }) }
    }

    #[cfg(test)]
    pub(crate) fn objects(&self) -> Arc<dyn ObjectStore> {
        self.inner.objects.clone()
    }

    /// Whether this process alone writes the store, so that what it knows of it stays true.
    pub fn is_exclusive(&self) -> bool {
        !matches!(self.inner.place, Place::Shared)
    }

    /// A small object whole, with its version; none if it is not there.
    pub(crate) async fn read(&self, key: &StorageKey) -> Result<Option<(Bytes, UpdateVersion)>> {
        let found = self.inner.objects.get(&key.path().map_err(Error::internal)?).await;
        let found = match found {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(told(error, Doing::Reading)),
        };
        let version = UpdateVersion { e_tag: found.meta.e_tag.clone(), version: found.meta.version.clone() };
        match found.bytes().await {
            Ok(bytes) => Ok(Some((bytes, version))),
            Err(error) => Err(told(error, Doing::Reading)),
        }
    }

    /// Writes a small object durably. It may be written even if the returned future is dropped.
    pub(crate) async fn write(&self, key: &StorageKey, bytes: Vec<u8>, mode: PutMode) -> Result<Written> {
        let update = matches!(mode, PutMode::Update(_));
        let options = PutOptions { mode, ..PutOptions::default() };
        let path = key.path().map_err(Error::internal)?;
        self.check_folder().await?;
        match self.inner.objects.put_opts(&path, bytes.into(), options).await {
            Ok(put) => Ok(Written::Done(put.into())),
            Err(StoreError::AlreadyExists { .. } | StoreError::Precondition { .. }) => Ok(Written::Conflict),
            // What S3 says of an update of an object that is gone.
            Err(StoreError::NotFound { .. }) if update => Ok(Written::Conflict),
            Err(error) => Err(told(error, Doing::Writing)),
        }
    }

    /// Removes a small object durably; whether it was there.
    pub(crate) async fn remove(&self, key: &StorageKey) -> Result<bool> {
        self.check_folder().await?;
        let found = self.discard(key).await?;
        // Even if it was not there: the one who removed it may have been cut off before this.
        if let Place::Folder { root, fsync: true, .. } = &self.inner.place {
            let path = root.join(key.path().map_err(Error::internal)?.as_ref());
            let synced = task::spawn_blocking(move || match path.parent() {
                Some(folder) if folder.exists() => open::sync_folder(folder),
                _ => Ok(()),
            });
            synced.await.map_err(Error::internal)?.map_err(|error| told_io(error, Doing::Writing))?;
        }
        Ok(found)
    }

    /// Removes an object that would be collected again if it came back after a power cut; whether it was there.
    pub(crate) async fn discard(&self, key: &StorageKey) -> Result<bool> {
        let path = key.path().map_err(Error::internal)?;
        let removed = self.inner.objects.delete(&path).await;
        self.inner.small.forget(path.as_ref());
        // Until it is closed its space is not free, and freeing it takes a while.
        let files = self.inner.files.forget(path.as_ref());
        if !files.is_empty() {
            let _ = task::spawn_blocking(|| drop(files)).await;
        }
        match removed {
            Ok(()) => Ok(true),
            Err(StoreError::NotFound { .. }) => Ok(false),
            Err(error) => Err(told(error, Doing::Writing)),
        }
    }

    /// Every object of a folder, in no order.
    pub(crate) fn list(&self, folder: &str) -> BoxStream<'static, Result<Listed>> {
        let prefix = object_store::path::Path::from(folder);
        self.inner.objects.list(Some(&prefix)).map_ok(Listed::from).map_err(|error| told(error, Doing::Reading)).boxed()
    }

    /// Opens a blob; none if it is not there. It can be read to its end even if it is removed meanwhile; in a cloud,
    /// for as long as removed blobs are kept.
    ///
    /// # Errors
    /// [`Reason::DataLoss`](crate::error::Reason::DataLoss) if it has not `size` bytes.
    pub(crate) async fn open_blob(&self, id: &str, size: u64) -> Result<Option<Blob>> {
        Blob::open(&self.inner, &StorageKey::blob(id), size).await
    }

    /// Begins a new blob.
    pub(crate) fn new_blob(&self) -> BlobWriter {
        BlobWriter::new(self.clone())
    }

    /// Whether this process is writing the blob, or has not published it yet.
    pub(crate) fn is_staged(&self, blob: &str) -> bool {
        self.inner.staged.lock().unwrap_or_else(PoisonError::into_inner).contains(blob)
    }

    fn stage(&self, blob: &str, staged: bool) {
        let mut set = self.inner.staged.lock().unwrap_or_else(PoisonError::into_inner);
        if staged {
            set.insert(blob.to_owned());
        } else {
            set.remove(blob);
        }
    }

    /// Of a folder, that it is the one that was opened. One whose volume went would be made anew by the first write, and hidden
    /// by the volume when that is back.
    async fn check_folder(&self) -> Result<()> {
        let Place::Folder { root, lock, .. } = &self.inner.place else { return Ok(()) };
        let (root, lock) = (root.clone(), lock.clone());
        let here = task::spawn_blocking(move || is_here(&root, &lock)).await.map_err(Error::internal)?;
        if here.map_err(|error| told_io(error, Doing::Reading))? {
            return Ok(());
        }
        Err(unavailable(
            "the store's folder is not where it was: the operator must bring it back, or start the server again",
        ))
    }

    /// Asks the store for as little as shows that it answers.
    pub(crate) async fn ready(&self) -> Result<()> {
        match &self.inner.place {
            Place::Folder { .. } => self.check_folder().await?,
            Place::Memory => {}
            Place::Shared => {
                let path = StorageKey::request("none").path().map_err(Error::internal)?;
                let options = GetOptions { head: true, ..GetOptions::default() };
                match self.inner.objects.get_opts(&path, options).await {
                    Ok(_) | Err(StoreError::NotFound { .. }) => {}
                    Err(error) => return Err(told(error, Doing::Reading)),
                }
            }
        }
        Ok(())
    }

    /// Removes what uploads that were cut off left in a folder and nobody has written since `before`. Clouds keep
    /// such parts out of sight and end them by a lifecycle rule of the bucket.
    ///
    /// object_store names an unfinished file `name#N`, and never lists it.
    pub(crate) async fn remove_leftovers(&self, before: DateTime<Utc>) -> Result<usize> {
        let Place::Folder { root, .. } = &self.inner.place else {
            return Ok(0);
        };
        let (root, store) = (root.clone(), self.clone());
        let removed = task::spawn_blocking(move || {
            let mut removed = 0;
            for folder in [BLOBS, MANIFESTS, REQUESTS] {
                removed += remove_leftovers_in(&root.join(folder), before.into(), &store)?;
            }
            Ok(removed)
        });
        removed.await.map_err(Error::internal)?.map_err(|error: std::io::Error| told_io(error, Doing::Writing))
    }
}

/// Whether the folder is the one whose lock is held.
fn is_here(root: &std::path::Path, lock: &std::fs::File) -> std::io::Result<bool> {
    match std::fs::metadata(root.join(open::LOCK)) {
        Ok(found) => Ok(io::same_file(&found, &lock.metadata()?)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn remove_leftovers_in(
    folder: &std::path::Path,
    before: std::time::SystemTime,
    store: &Store,
) -> std::io::Result<usize> {
    let mut removed = 0;
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            removed += remove_leftovers_in(&entry.path(), before, store)?;
            continue;
        }
        let name = entry.file_name();
        let Some((of, number)) = name.to_str().and_then(|name| name.rsplit_once('#')) else {
            continue;
        };
        let unfinished = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        if !unfinished || store.is_staged(of) {
            continue;
        }
        // A file that is gone by now was finished or removed by its writer.
        let Ok(written) = entry.metadata().and_then(|metadata| metadata.modified()) else {
            continue;
        };
        if written < before && std::fs::remove_file(entry.path()).is_ok() {
            removed += 1;
        }
    }
    Ok(removed)
}

/// An object of a listing.
#[derive(Debug, Clone)]
pub(crate) struct Listed {
    /// The last segment of its key.
    pub(crate) name: String,
    /// When it was written.
    pub(crate) time: DateTime<Utc>,
    /// Changes whenever it is written.
    pub(crate) tag: Option<String>,
}

impl From<ObjectMeta> for Listed {
    fn from(meta: ObjectMeta) -> Self {
        let name = meta.location.filename().unwrap_or_default().to_owned();
        Self { name, time: meta.last_modified, tag: meta.e_tag }
    }
}

#[cfg(test)]
mod tests;
