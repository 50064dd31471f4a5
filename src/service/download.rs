//! `DownloadImage` and `DownloadImages`: an image's bytes as messages, read no faster than they are taken and not copied.

use std::ops::Range;

use bytes::Bytes;
use futures::stream;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use prost::Message as _;

use super::convert::{image, int64};
use super::uncopied::Uncopied;
use crate::error::{Error, Reason, Result};
use crate::image::Images;
use crate::image::id::ImageId;
use crate::io::Outlet;
use crate::proto::wirephoto::v1::{
    ContentRange, DownloadImageRequest, DownloadImageResponse, DownloadImagesRequest, DownloadImagesResponse,
    download_images_response,
};
use crate::wire::status::rpc_status;

/// Numbers of fields: `DownloadImageResponse.chunk`, `ChecksummedData.data`, `DownloadImagesResponse.part`.
const CHUNK: u32 = 3;
const DATA: u32 = 1;
const PART: u32 = 2;

/// Bytes of an image in one message: clients hold a message whole, and take no more than 4 MiB unless told to.
const MESSAGE: usize = 1 << 20;

/// One part of an image.
pub(super) enum Part {
    /// What comes first: the image, as an encoded [`DownloadImageResponse`] that has only that, and the range.
    First(Bytes, ContentRange),
    /// The next bytes.
    Chunk(Bytes),
}

impl Part {
    /// As an answer of `DownloadImage`.
    pub(super) fn message(self) -> Uncopied {
        match self {
            Self::First(image, range) => Uncopied::joined(&image, &ranged(range)),
            Self::Chunk(bytes) => Uncopied::ending(&(), &[CHUNK], DATA, bytes),
        }
    }

    /// As an answer of `DownloadImages`.
    fn item(self, index: i64, last: bool) -> Uncopied {
        let item = DownloadImagesResponse { index, item: None, last };
        match self {
            Self::First(image, range) => {
                let first = [&image, &ranged(range).encode_to_vec()[..]].concat();
                Uncopied::ending(&item, &[], PART, first.into())
            }
            Self::Chunk(bytes) => Uncopied::ending(&item, &[PART, CHUNK], DATA, bytes),
        }
    }
}

fn ranged(range: ContentRange) -> DownloadImageResponse {
    DownloadImageResponse { content_range: Some(range), ..Default::default() }
}

/// Opens the image; what is wrong with the request shows before the stream begins. Its bytes go by way of `outlet`, if
/// there is one.
pub(super) async fn open(
    images: &Images,
    request: &DownloadImageRequest,
    outlet: Option<&Outlet>,
) -> Result<impl Stream<Item = Result<Part>> + Send + use<>> {
    let id = ImageId::from_name(&request.name, "name")?;
    let (manifest, blob) = images.read(&id).await?;
    let range = resolve(request.read_offset, request.read_limit, manifest.size)?;
    let described = manifest.described(|manifest| {
        let first = DownloadImageResponse { image: Some(image(manifest)), ..Default::default() };
        first.encode_to_vec().into()
    });
    let content_range =
        ContentRange { start: int64(range.start), end: int64(range.end), complete_length: int64(manifest.size) };
    let chunks = blob.send(range, MESSAGE, outlet).map_ok(Part::Chunk);
    Ok(stream::once(async move { Ok(Part::First(described, content_range)) }).chain(chunks))
}

/// The items that answer one request of a `DownloadImages` stream; a failure is one of them.
pub(super) fn items(
    images: Images,
    index: usize,
    request: DownloadImagesRequest,
    outlet: Option<Outlet>,
) -> impl Stream<Item = Uncopied> + Send + 'static {
    let index = i64::try_from(index).unwrap_or(i64::MAX);
    let DownloadImagesRequest { name, read_offset, read_limit } = request;
    let request = DownloadImageRequest { name, read_offset, read_limit };
    async_stream::stream! {
        let mut parts = match open(&images, &request, outlet.as_ref()).await {
            Ok(parts) => Box::pin(parts),
            Err(error) => {
                yield failed(index, &error);
                return;
            }
        };
        // One part is held back, so that the last one can say that it is.
        let mut held = None;
        while let Some(part) = parts.next().await {
            match part {
                Ok(part) => {
                    if let Some(earlier) = held.replace(part) {
                        yield earlier.item(index, false);
                    }
                }
                Err(error) => {
                    yield failed(index, &error);
                    return;
                }
            }
        }
        if let Some(last) = held {
            yield last.item(index, true);
        }
    }
}

fn failed(index: i64, error: &Error) -> Uncopied {
    error.log();
    let error = download_images_response::Item::Error(rpc_status(error));
    Uncopied::of(&DownloadImagesResponse { index, item: Some(error), last: true })
}

/// The bytes that `read_offset` and `read_limit` mean, of an image of `size` bytes.
fn resolve(read_offset: i64, read_limit: i64, size: u64) -> Result<Range<u64>> {
    let limit = u64::try_from(read_limit)
        .map_err(|_| Error::invalid("read_limit", "`read_limit` cannot be negative: 0 asks for all that follows"))?;
    let start = match u64::try_from(read_offset) {
        Ok(offset) => offset,
        Err(_) => size.saturating_sub(read_offset.unsigned_abs()),
    };
    if start >= size {
        let message = format!("`read_offset` {read_offset} is beyond the end: the image has {size} bytes");
        return Err(Error::new(Reason::OutOfRange, message));
    }
    let end = if limit == 0 { size } else { start.saturating_add(limit).min(size) };
    Ok(start..end)
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn ranges_resolve_as_the_proto_says() {
        let cases = [
            ((0, 0, 10), Some(0..10)),
            ((3, 0, 10), Some(3..10)),
            ((3, 4, 10), Some(3..7)),
            ((3, i64::MAX, 10), Some(3..10)),
            ((-4, 0, 10), Some(6..10)),
            ((-4, 2, 10), Some(6..8)),
            ((-40, 0, 10), Some(0..10)),
            ((i64::MIN, 1, 10), Some(0..1)),
            ((10, 0, 10), None),
            ((i64::MAX, 0, 10), None),
            ((0, -1, 10), None),
        ];
        for ((offset, limit, size), expected) in cases {
            assert_eq!(resolve(offset, limit, size).ok(), expected, "{offset} {limit} {size}");
        }
    }
}
