//! Where each kind of object lies in a store.

use object_store::path::Path;

/// Folder of the image's bytes.
pub(crate) const BLOBS: &str = "blobs";
/// Folder of the manifests.
pub(crate) const MANIFESTS: &str = "manifests";
/// Folder of the records of requests.
pub(crate) const REQUESTS: &str = "requests";

/// The place of one object.
///
/// Made only of text that is safe as a path segment: image ids, digests and ids of our own. Used as it is: the
/// percent-encoding that [`Path::from`] does would give some ids a second spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StorageKey(String);

impl StorageKey {
    /// The bytes of the blob `id`; `id` has at least two characters.
    pub fn blob(id: &str) -> Self {
        let fan = id.get(..2).unwrap_or(id);
        Self([BLOBS, "/", fan, "/", id].concat())
    }

    /// The manifest of the image `id`.
    pub fn manifest(id: &str) -> Self {
        Self(format!("{MANIFESTS}/{id}"))
    }

    /// The record of the request with this digest.
    pub fn request(digest: &str) -> Self {
        Self(format!("{REQUESTS}/{digest}"))
    }

    pub(super) fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn path(&self) -> Result<Path, object_store::Error> {
        Ok(Path::parse(&self.0)?)
    }
}
