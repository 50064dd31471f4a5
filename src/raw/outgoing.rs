//! An image's bytes as a response body of known length: all of them, a part, or several parts.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{Stream as _, StreamExt as _};
use http::Version;
use http::request::Parts;
use http_body::{Frame, SizeHint};

use super::range::content_range;
use crate::error::{Error, Reason, Result};
use crate::io::Outlet;
use crate::store::Blob;

/// Bytes given at a time: where other streams share the connection, and a piece that is cut off may end it, fewer.
const PIECE: usize = 4 << 20;
const PIECE_OF_A_STREAM: usize = 1 << 20;

/// A body of exactly `remaining` more bytes: fewer or more break it off, lest a client take a short image as whole.
struct Exact {
    pieces: BoxStream<'static, Result<Bytes>>,
    remaining: u64,
}

impl http_body::Body for Exact {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let polled = ready!(Pin::new(&mut self.pieces).poll_next(cx));
        let piece = match polled {
            Some(Ok(piece)) => match self.remaining.checked_sub(piece.len() as u64) {
                Some(left) => Ok((left, piece)),
                None => Err(wrong()),
            },
            Some(Err(error)) => Err(error),
            None if self.remaining == 0 => return Poll::Ready(None),
            None => Err(wrong()),
        };
        Poll::Ready(Some(match piece {
            Ok((left, piece)) => {
                self.remaining = left;
                Ok(Frame::data(piece))
            }
            Err(error) => {
                let source: Option<&(dyn std::error::Error + 'static)> =
                    error.source.as_deref().map(|source| source as _);
                tracing::error!(reason = error.reason.row().name, source, "a download was broken off: {error}");
                self.pieces = stream::empty().boxed();
                Err(error)
            }
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.remaining == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.remaining)
    }
}

fn wrong() -> Error {
    Error::new(Reason::DataLoss, "the stored bytes are not as many as their manifest says")
}

/// These bytes of the image for a request, by way of its outlet if it has one.
pub(super) fn part(blob: &Blob, range: Range<u64>, request: &Parts) -> Body {
    let outlet = request.extensions.get::<Outlet>();
    let shared = request.version == Version::HTTP_2;
    // Streams share the writes of their connection: few bytes of each are copied sooner.
    if let Some(bytes) = blob.at_hand(&range, outlet.filter(|_| !shared)) {
        return Body::from(bytes);
    }
    let remaining = range.end.saturating_sub(range.start);
    let piece = if shared { PIECE_OF_A_STREAM } else { PIECE };
    Body::new(Exact { pieces: blob.send(range, piece, outlet), remaining })
}

/// Several parts as `multipart/byteranges` (RFC 9110 section 14.6), with their media type.
pub(super) fn parts(blob: Blob, ranges: &[Range<u64>], media_type: &str) -> (Body, String) {
    // Unguessable, so that no image can contain it.
    let boundary = uuid::Uuid::new_v4().simple().to_string();
    let mut length = 0;
    let mut pieces = Vec::with_capacity(ranges.len() + 1);
    for (index, range) in ranges.iter().enumerate() {
        let line = if index == 0 { "" } else { "\r\n" };
        let range_field = content_range(range, blob.size());
        let head = format!("{line}--{boundary}\r\nContent-Type: {media_type}\r\nContent-Range: {range_field}\r\n\r\n");
        length += head.len() as u64 + range.end.saturating_sub(range.start);
        pieces.push((head, Some(range.clone())));
    }
    let tail = format!("\r\n--{boundary}--\r\n");
    length += tail.len() as u64;
    pieces.push((tail, None));
    let pieces = stream::iter(pieces).flat_map(move |(text, range)| {
        let bytes = range.map_or_else(|| stream::empty().boxed(), |range| blob.stream(range));
        stream::once(async { Ok(Bytes::from(text)) }).chain(bytes)
    });
    let body = Body::new(Exact { pieces: pieces.boxed(), remaining: length });
    (body, format!("multipart/byteranges; boundary={boundary}"))
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use bytes::Bytes;
    use futures::{StreamExt as _, stream};
    use http::{Request, Version};
    use http_body_util::BodyExt as _;

    use super::{Exact, Outlet, part};
    use crate::store::{StorageKey, Store};

    #[tokio::test]
    async fn a_body_of_another_length_breaks_off() {
        for (pieces, whole) in
            [(vec!["ab", "c"], true), (vec!["ab"], false), (vec!["ab", "cd"], false), (vec![], false)]
        {
            let pieces = stream::iter(pieces).map(|piece| Ok(Bytes::from(piece))).boxed();
            let body = Body::new(Exact { pieces, remaining: 3 });
            assert_eq!(http_body::Body::size_hint(&body).exact(), Some(3));
            assert_eq!(body.collect().await.is_ok(), whole);
        }
    }

    /// What is said to be in a file is sent from there.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_small_image_is_sent_from_memory_where_nothing_shares_its_connection() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file:{}", dir.path().display()), false).await.unwrap();
        let path = dir.path().join(StorageKey::blob("small").path().unwrap().as_ref());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, vec![7; 20_000]).unwrap();
        let outlet = Outlet::default();
        for (version, plain, range, sent) in [
            (Version::HTTP_11, true, 0..20_000, true),
            (Version::HTTP_11, true, 5..19_000, true),
            (Version::HTTP_11, true, 0..100, false),
            (Version::HTTP_11, false, 0..20_000, false),
            (Version::HTTP_2, true, 0..20_000, false),
        ] {
            let mut request = Request::builder().version(version).body(()).unwrap().into_parts().0;
            if plain {
                request.extensions.insert(outlet.clone());
            }
            let blob = store.open_blob("small", 20_000).await.unwrap().unwrap();
            let bytes = part(&blob, range.clone(), &request).frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(bytes, vec![7; (range.end - range.start) as usize]);
            assert_eq!(outlet.claim(&bytes[..10]).is_some(), sent, "{version:?} {plain} {range:?}");
        }
    }
}
