//! Manifests in the store: read, written under a condition, removed, and all of them listed.

use futures::stream::{BoxStream, StreamExt as _, TryStreamExt as _};
use serde::Deserialize;

use super::id::ImageId;
use super::manifest::{FORMAT_VERSION, Manifest};
use crate::error::{Error, Reason, Result};
use crate::store::{MANIFESTS, PutMode, StorageKey, Store, UpdateVersion, Written};

/// The manifests of a store.
#[derive(Debug, Clone)]
pub(super) struct Manifests {
    store: Store,
}

/// A manifest that is there, as a listing shows it.
pub(super) struct Seen {
    pub(super) id: ImageId,
    pub(super) tag: Option<String>,
}

impl Manifests {
    pub(super) fn new(store: Store) -> Self {
        Self { store }
    }

    pub(super) async fn read(&self, id: &ImageId) -> Result<Option<(Manifest, UpdateVersion)>> {
        match self.store.read(&StorageKey::manifest(id.as_str())).await? {
            Some((bytes, version)) => Ok(Some((parse(id, &bytes)?, version))),
            None => Ok(None),
        }
    }

    /// The version of what is there, even if it is no manifest.
    pub(super) async fn version(&self, id: &ImageId) -> Result<Option<UpdateVersion>> {
        Ok(self.store.read(&StorageKey::manifest(id.as_str())).await?.map(|(_, version)| version))
    }

    /// Writes durably over the version that is there, or as a new one. An exclusive store has no versions to
    /// compare: there the caller holds the image's lock.
    pub(super) async fn write(&self, manifest: &Manifest, over: Option<UpdateVersion>) -> Result<Written> {
        let mode = match over {
            None => PutMode::Create,
            Some(_) if self.store.is_exclusive() => PutMode::Overwrite,
            Some(version) => PutMode::Update(version),
        };
        let bytes = serde_json::to_vec(manifest).map_err(Error::internal)?;
        self.store.write(&StorageKey::manifest(manifest.id.as_str()), bytes, mode).await
    }

    pub(super) async fn remove(&self, id: &ImageId) -> Result<bool> {
        self.store.remove(&StorageKey::manifest(id.as_str())).await
    }

    /// Those that are there, in no order. Objects that are no manifests are passed over.
    pub(super) fn list(&self) -> BoxStream<'static, Result<Seen>> {
        let listed = self.store.list(MANIFESTS);
        listed
            .try_filter_map(async |object| Ok(object.name.parse().ok().map(|id| Seen { id, tag: object.tag })))
            .boxed()
    }
}

/// Parses the manifest of `id`.
///
/// # Errors
/// [`Reason::Unimplemented`] for one of a later format, [`Reason::DataLoss`] for one that is no manifest.
fn parse(id: &ImageId, bytes: &[u8]) -> Result<Manifest> {
    #[derive(Deserialize)]
    struct Version {
        format_version: u32,
    }
    let damaged = |error: serde_json::Error| {
        let message = format!("the manifest of images/{id} is damaged: put the image again, or restore a backup");
        Error::new(Reason::DataLoss, message).caused_by(error)
    };
    let Version { format_version } = serde_json::from_slice(bytes).map_err(damaged)?;
    if format_version > FORMAT_VERSION {
        let message = format!(
            "the manifest of images/{id} has format version {format_version}, this program knows {FORMAT_VERSION} \
             at most: serve this store with a later wirephoto"
        );
        return Err(Error::new(Reason::Unimplemented, message));
    }
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(damaged)?;
    if manifest.id != *id {
        let message = format!("the manifest of images/{id} is that of images/{}: restore a backup", manifest.id);
        return Err(Error::new(Reason::DataLoss, message));
    }
    Ok(manifest)
}
