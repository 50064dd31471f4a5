//! `UploadImage`: a client's stream of messages as pieces for the core.

use std::sync::Arc;

use futures::Stream;
use tonic::{Code, Status, Streaming};

use super::convert::{checksums, name_taken, present};
use super::must_match;
use crate::error::{Error, Reason, Result};
use crate::image::id::ImageId;
use crate::image::{Piece, Precondition, Put};
use crate::proto::wirephoto::v1::{ChecksummedData, UploadImageRequest, UploadSpec};

/// What the first message asks for, and the pieces that it and the others carry.
pub(super) fn accept(
    first: Option<UploadImageRequest>,
    messages: Streaming<UploadImageRequest>,
) -> Result<(Put, impl Stream<Item = Result<Piece>> + Send)> {
    let mut first =
        first.ok_or_else(|| Error::new(Reason::Aborted, "the upload has no messages: begin with `spec`"))?;
    let spec = first.spec.take();
    let spec = spec.ok_or_else(|| Error::invalid("spec", "the first message must carry `spec`"))?;
    Ok((put(spec)?, pieces(first, messages)))
}

fn put(spec: UploadSpec) -> Result<Put> {
    let size = spec.size_bytes.map(|size| {
        u64::try_from(size).map_err(|_| Error::invalid("spec.size_bytes", "`spec.size_bytes` cannot be negative"))
    });
    let image = spec.image.unwrap_or_default();
    let allow_replace = spec.allow_replace || !spec.etag.is_empty();
    Ok(Put {
        id: present(spec.image_id).map(|id| ImageId::from_field(&id, "spec.image_id")).transpose()?,
        claimed_type: present(image.media_type),
        display_name: present(image.display_name),
        labels: (!image.labels.is_empty()).then_some(image.labels),
        size: size.transpose()?,
        hash_sha512: false,
        precondition: precondition(allow_replace, present(spec.etag)),
        request_id: present(spec.request_id),
    })
}

/// A new name unless replacing is allowed; with an etag, that version and no other.
fn precondition(allow_replace: bool, etag: Option<String>) -> Precondition {
    let version = must_match(etag.clone(), "spec.etag");
    Arc::new(move |current| match current {
        Some(current) if !allow_replace => Err(name_taken(current)),
        None if etag.is_some() => Err(Error::new(
            Reason::NotFound,
            "`spec.etag` names a version, but there is no such image: leave it out to create one",
        )),
        current => version(current),
    })
}

/// The pieces of all messages. Only `finish_write`, and then the end of the stream, make the last one.
fn pieces(
    first: UploadImageRequest,
    mut messages: Streaming<UploadImageRequest>,
) -> impl Stream<Item = Result<Piece>> + Send {
    async_stream::try_stream! {
        let mut next = Some(first);
        let mut offset = 0_u64;
        let mut is_first = true;
        while let Some(message) = next {
            if !is_first && message.spec.is_some() {
                Err(Error::invalid("spec", "only the first message may carry `spec`"))?;
            }
            if let Some(chunk) = message.chunk {
                check(&chunk, message.write_offset, offset)?;
                offset += chunk.data.len() as u64;
                if !chunk.data.is_empty() {
                    yield Piece::Data(chunk.data);
                }
            }
            if message.finish_write {
                let checksums = checksums(message.checksums, "checksums")?;
                if receive(&mut messages).await?.is_some() {
                    Err(Error::invalid("finish_write", "nothing may follow the message with `finish_write`"))?;
                }
                yield Piece::Finish(checksums);
                return;
            }
            is_first = false;
            next = receive(&mut messages).await?;
        }
    }
}

async fn receive(messages: &mut Streaming<UploadImageRequest>) -> Result<Option<UploadImageRequest>> {
    messages.message().await.map_err(received)
}

/// A status that came up while reading the caller's messages, as the error it was made of.
fn received(status: Status) -> Error {
    let reason = match status.code() {
        Code::ResourceExhausted => Reason::TooLarge,
        Code::InvalidArgument => Reason::InvalidRequest,
        Code::Internal => return Error::new(Reason::InvalidRequest, "a message does not parse").caused_by(status),
        _ => Reason::Aborted,
    };
    Error::new(reason, status.message().to_owned())
}

/// Chunks come in order, without gaps, and undamaged.
fn check(chunk: &ChecksummedData, write_offset: i64, expected: u64) -> Result<()> {
    if u64::try_from(write_offset).ok() != Some(expected) {
        let message =
            format!("`write_offset` is {write_offset}, but the next byte is {expected}: send chunks in order");
        return Err(Error::invalid("write_offset", message));
    }
    if let Some(given) = chunk.crc32c {
        let actual = crc32c::crc32c(&chunk.data);
        if given != actual {
            let message = format!(
                "the chunk at {write_offset} has CRC-32C {actual:#010x}, not {given:#010x}: it was damaged, send the upload again"
            );
            return Err(Error::new(Reason::ChecksumMismatch, message));
        }
    }
    Ok(())
}
