//! Compressed requests: which encodings are taken, and the empty messages that tonic cannot decompress.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use super::content_coding::Coding;
use super::envelope::{HEAD_LEN, Head};
use crate::error::{Error, Reason};

/// Names the encoding of a call's compressed messages ("Message-Encoding" in PROTOCOL-HTTP2.md).
pub const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
/// Names the encodings that the other side may use.
pub const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
/// What this server takes and sends.
pub(super) const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,zstd,deflate");
/// Bit 0 of a message's flags.
pub(super) const COMPRESSED: u8 = 1;

/// How messages of the request are compressed, if they are.
///
/// # Errors
/// The encoding is none of [`ACCEPTED`].
pub(super) fn coding(headers: &HeaderMap) -> Result<Coding, Error> {
    let Some(name) = headers.get(GRPC_ENCODING).map(HeaderValue::as_bytes) else { return Ok(Coding::Identity) };
    std::str::from_utf8(name).ok().and_then(Coding::named).ok_or_else(|| unknown(name))
}

/// What a caller is told whose encoding is none of [`ACCEPTED`].
pub(super) fn unknown(name: &[u8]) -> Error {
    let message =
        format!("the encoding `{}` is unknown here: send identity, gzip, zstd or deflate", name.escape_ascii());
    Error::new(Reason::Unimplemented, message)
}

/// A compressed request body, with the compressed flag taken off its empty messages. Go's zstd leaves nothing of them, and
/// tonic would take that for a broken stream.
pub(super) struct EmptyAsPlain {
    body: Body,
    /// Bytes of payload still to come.
    left: usize,
    /// The beginning of a head.
    held: BytesMut,
    ended: bool,
}

impl EmptyAsPlain {
    pub(super) fn new(body: Body) -> Self {
        Self { body, left: 0, held: BytesMut::new(), ended: false }
    }

    /// What of the body may go on. The beginning of a head stays here until the rest of it comes.
    fn pass(&mut self, data: Bytes) -> Bytes {
        let mut data = if self.held.is_empty() {
            BytesMut::from(data)
        } else {
            let mut joined = self.held.split();
            joined.extend_from_slice(&data);
            joined
        };
        let mut at = self.left;
        while let Some(rest) = data.get_mut(at..).filter(|rest| !rest.is_empty()) {
            let Some(head) = rest.first_chunk().map(|head| Head::parse(*head)) else {
                self.held = data.split_off(at);
                break;
            };
            if head.len == 0 {
                rest[0] &= !COMPRESSED;
            }
            at += HEAD_LEN + head.len as usize;
        }
        self.left = at.saturating_sub(data.len());
        data.freeze()
    }
}

impl http_body::Body for EmptyAsPlain {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => Some(Ok(Frame::data(self.pass(data)))),
                Err(other) => Some(Ok(other)),
            },
            Some(Err(error)) => Some(Err(error)),
            None => {
                self.ended = true;
                // A head cut short is for the checks behind to refuse.
                let held = self.held.split().freeze();
                (!held.is_empty()).then(|| Ok(Frame::data(held)))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use bytes::Bytes;
    use http::{HeaderMap, HeaderValue};
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;

    use super::{EmptyAsPlain, GRPC_ENCODING, coding};
    use crate::wire::content_coding::Coding;
    use crate::wire::envelope::envelope;

    #[test]
    fn encodings_are_exact_names() {
        let cases = [
            ("identity", Some(Coding::Identity)),
            ("gzip", Some(Coding::Gzip)),
            ("zstd", Some(Coding::Zstd)),
            ("deflate", Some(Coding::Deflate)),
            ("br", None),
            ("GZIP", None),
            ("gzip, zstd", None),
            ("", None),
        ];
        for (name, expected) in cases {
            let headers = HeaderMap::from_iter([(GRPC_ENCODING, HeaderValue::from_static(name))]);
            assert_eq!(coding(&headers).ok(), expected, "{name}");
        }
        assert_eq!(coding(&HeaderMap::new()).ok(), Some(Coding::Identity));
    }

    proptest! {
        #[test]
        fn only_the_flag_of_empty_messages_changes(
            messages in prop::collection::vec((0_u8..2, prop::collection::vec(any::<u8>(), 0..12)), 0..8),
            rest in prop::collection::vec(Just(1_u8), 0..5),
            piece in 1_usize..20,
        ) {
            let framed = |plain: bool| {
                let flags = |flags: u8, empty: bool| if plain && empty { 0 } else { flags };
                let messages = messages.iter();
                let mut body: Vec<u8> =
                    messages.flat_map(|(bits, message)| envelope(flags(*bits, message.is_empty()), message)).collect();
                body.extend_from_slice(&rest);
                body
            };
            let pieces: Vec<_> = framed(false)
                .chunks(piece)
                .map(|piece| Ok::<_, std::convert::Infallible>(Bytes::copy_from_slice(piece)))
                .collect();
            let body = EmptyAsPlain::new(Body::from_stream(futures::stream::iter(pieces)));
            let passed = futures::executor::block_on(body.collect()).unwrap().to_bytes();
            prop_assert_eq!(passed.to_vec(), framed(true));
        }
    }
}
