//! Between the proto's messages and the core's plain values.

use std::collections::BTreeMap;

use crate::error::{Detail, Error, Reason, Result};
use crate::image::manifest::Manifest;
use crate::image::{Checksums, LabelChange};
use crate::proto::wirephoto::v1 as pb;
use crate::proto::wirephoto::v1::table;
use crate::well_known::FieldMask;

/// What is told of an image.
pub(super) fn image(manifest: &Manifest) -> pb::Image {
    pb::Image {
        name: manifest.id.name(),
        etag: manifest.etag(),
        size_bytes: int64(manifest.size),
        media_type: manifest.format.media_type().to_owned(),
        width: manifest.width,
        height: manifest.height,
        sha256: manifest.sha256.clone(),
        crc32c: manifest.crc32c,
        create_time: Some(manifest.create_time.into()),
        update_time: Some(manifest.update_time.into()),
        generation: manifest.generation,
        display_name: manifest.display_name.clone(),
        labels: manifest.labels.clone(),
        orientation: manifest.orientation.into(),
        frame_count: manifest.frame_count,
        has_alpha: manifest.has_alpha,
    }
}

/// A size as the proto has it. No store holds more than `i64::MAX` bytes.
pub(super) fn int64(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// proto3 has no absent strings: an empty one means "not given".
pub(super) fn present(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// The checksums to hold the bytes to. `field` is where they lie in the request.
pub(super) fn checksums(given: Option<pb::ImageChecksums>, field: &str) -> Result<Checksums> {
    let given = given.unwrap_or_default();
    let mut checksums = Checksums { crc32c: given.crc32c, ..Checksums::default() };
    if !given.sha256.is_empty() {
        let mut digest = [0; 32];
        hex::decode_to_slice(&given.sha256, &mut digest).map_err(|_| {
            let field = format!("{field}.sha256");
            let message = format!("`{field}` must be 64 hexadecimal digits");
            Error::invalid(field, message)
        })?;
        checksums.sha256 = Some(digest);
    }
    Ok(checksums)
}

/// What an update asks for.
#[derive(Default)]
pub(super) struct Change {
    pub(super) display_name: Option<String>,
    pub(super) labels: Option<Labels>,
}

pub(super) enum Labels {
    All(BTreeMap<String, String>),
    Some(BTreeMap<String, Option<String>>),
}

pub(super) fn label_change(labels: Labels) -> LabelChange {
    match labels {
        Labels::All(labels) => LabelChange::Replace(labels),
        Labels::Some(labels) => LabelChange::Merge(labels),
    }
}

/// The fields that the mask names, with their values; without a mask, all that are set (AIP-134).
///
/// Output-only fields are ignored (AIP-203), so that an image as it was got can be sent back.
pub(super) fn change(image: &pb::Image, mask: &FieldMask) -> Result<Change> {
    let mut change = Change::default();
    if mask.paths.is_empty() {
        change.display_name = present(image.display_name.clone());
        change.labels = (!image.labels.is_empty()).then(|| Labels::All(image.labels.clone()));
        return Ok(change);
    }
    let mut some = BTreeMap::new();
    for path in &mask.paths {
        match path.split_once('.') {
            None if path == "*" => {
                change.display_name = Some(image.display_name.clone());
                change.labels = Some(Labels::All(image.labels.clone()));
            }
            None if path == "display_name" => change.display_name = Some(image.display_name.clone()),
            None if path == "labels" => change.labels = Some(Labels::All(image.labels.clone())),
            Some(("labels", key)) => {
                some.insert(key.to_owned(), image.labels.get(key).cloned());
            }
            None if table::IMAGE.field(path).is_some() => {}
            _ => {
                let shown = path.escape_default();
                let message = format!("`{shown}` cannot be updated: name display_name, labels or labels.KEY");
                return Err(Error::invalid("update_mask", message));
            }
        }
    }
    if !some.is_empty() && change.labels.is_none() {
        change.labels = Some(Labels::Some(some));
    }
    Ok(change)
}

pub(super) fn name_taken(current: &Manifest) -> Error {
    let name = current.id.name();
    Error::new(
        Reason::AlreadyExists,
        format!("{name} is taken: choose another id, or replace it by an upload that says so"),
    )
    .with(Detail::ResourceInfo("wirephoto.v1.Image", name))
}

pub(super) fn version_moved(current: &Manifest, field: &str) -> Error {
    let name = current.id.name();
    let message = format!("`{field}` is not the version of {name} that is kept: get it again and decide anew");
    Error::new(Reason::VersionMoved, message).with(Detail::PreconditionFailure(
        "ETAG",
        name,
        "the image was written since".to_owned(),
    ))
}
