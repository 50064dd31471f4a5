//! The manifest: the one small object that makes an image exist. Its bytes lie beside it, in an immutable blob.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};

use super::id::ImageId;
use super::probe::Format;

/// The version of the manifest's own format that this program writes. It refuses to read a later one.
pub const FORMAT_VERSION: u32 = 1;

/// What is known of an image, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this format; see [`FORMAT_VERSION`].
    pub format_version: u32,
    /// The image's id.
    pub id: ImageId,
    /// Id of the blob that holds the bytes; never used for two contents.
    pub blob: String,
    /// Bytes.
    pub size: u64,
    /// What the bytes are.
    pub format: Format,
    /// Pixels, as seen after orientation.
    pub width: u32,
    /// Pixels, as seen after orientation.
    pub height: u32,
    /// EXIF orientation of the stored pixels, 1 to 8.
    pub orientation: u8,
    /// Frames or pages; 1 for a still image.
    pub frame_count: u32,
    /// Whether pixels can be transparent.
    pub has_alpha: bool,
    /// SHA-256 of the bytes, lower-case hexadecimal.
    pub sha256: String,
    /// CRC-32C of the bytes.
    pub crc32c: u32,
    /// When the image was first created.
    pub create_time: DateTime<Utc>,
    /// When bytes or metadata were last written.
    pub update_time: DateTime<Utc>,
    /// When the bytes were written: `Last-Modified` on `/i`.
    pub content_time: DateTime<Utc>,
    /// Version of the bytes; grows, and never repeats for an id, not even after a delete.
    pub generation: i64,
    /// Counts the writes of metadata within a generation.
    pub revision: u64,
    /// Name for people; may be empty.
    pub display_name: String,
    /// The client's labels.
    pub labels: BTreeMap<String, String>,
    /// The request that wrote this version, so that its retry is known even after a crash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<RequestMark>,
    /// See [`Manifest::described`].
    #[serde(skip)]
    pub description: Description,
}

/// What was made of a manifest as it is. A copy, which is there to be changed, has none; nor does it make two manifests differ.
#[derive(Debug, Default)]
pub struct Description(OnceLock<Bytes>);

impl Clone for Description {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Description {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Description {}

/// Which request wrote a manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestMark {
    /// The client's `request_id`.
    pub id: String,
    /// Digest of what the request asked for.
    pub fingerprint: String,
}

impl Manifest {
    /// The opaque version of the whole resource: it changes at every write.
    pub fn etag(&self) -> String {
        format!("{:x}-{:x}", self.generation, self.revision)
    }

    /// What `describe` makes of this manifest, made once for as long as it is kept: telling of a small image takes longer than
    /// sending one. There is one such function for all manifests.
    pub fn described(&self, describe: impl FnOnce(&Self) -> Bytes) -> Bytes {
        self.description.0.get_or_init(|| describe(self)).clone()
    }
}
