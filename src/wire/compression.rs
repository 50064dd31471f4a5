//! Compressed requests: which encodings are taken, and their messages without them. tonic would decompress them too, but say
//! nothing of what they take.

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};

use super::content_coding::{Coding, Undecodable};
use super::envelope::{Deframer, envelope};
use super::gather::Account;
use super::grpc::too_large;
use crate::error::{Error, Reason, Result};

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
pub(super) fn coding(headers: &HeaderMap) -> Result<Coding> {
    let Some(name) = headers.get(GRPC_ENCODING).map(HeaderValue::as_bytes) else { return Ok(Coding::Identity) };
    std::str::from_utf8(name).ok().and_then(Coding::named).ok_or_else(|| unknown(name))
}

/// What a caller is told whose encoding is none of [`ACCEPTED`].
pub(super) fn unknown(name: &[u8]) -> Error {
    let message =
        format!("the encoding `{}` is unknown here: send identity, gzip, zstd or deflate", name.escape_ascii());
    Error::new(Reason::Unimplemented, message)
}

/// How the messages of one call are compressed, and what they may have without that.
#[derive(Clone)]
pub(super) struct Compressed {
    pub(super) coding: Coding,
    /// Of one message, in bytes.
    pub(super) limit: usize,
    /// What takes them, if they are gathered.
    pub(super) account: Option<Account>,
}

impl Compressed {
    /// The payload without its compression; none where the flags mean nothing here, which is for the checks behind to refuse.
    /// An empty one is what it is: Go's zstd leaves nothing of an empty message.
    pub(super) async fn payload(&self, flags: u8, payload: &Bytes) -> Result<Option<Bytes>> {
        if flags == 0 || payload.is_empty() {
            return Ok(Some(payload.clone()));
        }
        if flags != COMPRESSED || self.coding == Coding::Identity {
            return Ok(None);
        }
        let plain = self.coding.decode(payload.clone(), self.limit).await.map_err(|error| match error {
            Undecodable::TooLarge => {
                let limit = self.limit;
                let message =
                    format!("a message is over the limit of {limit} bytes once decompressed: stream larger content");
                Error::new(Reason::TooLarge, message)
            }
            Undecodable::Broken(error) => {
                let message = format!("a message is not compressed as its encoding says: {error}");
                Error::new(Reason::InvalidRequest, message)
            }
        })?;
        if let Some(account) = &self.account {
            account.take(plain.len())?;
        }
        Ok(Some(plain))
    }

    /// The request body with no message of it compressed. What is wrong with one is an [`Error`] of the body.
    pub(super) fn plain(self, body: Body) -> Body {
        each_message(body, self.limit, move |flags, payload| {
            let compressed = self.clone();
            async move {
                Ok(match compressed.payload(flags, &payload).await? {
                    Some(plain) => envelope(0, &plain),
                    None => envelope(flags, &payload),
                })
            }
        })
    }
}

/// The request body with each message, by its flags and payload, as `translate` makes it. `limit` is in bytes, of one payload.
///
/// What is wrong with a message is an [`Error`] of the body.
pub(super) fn each_message<F>(body: Body, limit: usize, translate: impl Fn(u8, Bytes) -> F + Send + 'static) -> Body
where
    F: Future<Output = Result<Bytes>> + Send,
{
    Body::from_stream(
        async_stream::try_stream! {
            let mut deframer = Deframer::default();
            let mut pieces = body.into_data_stream();
            while let Some(piece) = pieces.next().await {
                deframer.push(piece?);
                loop {
                    if let Some(head) = deframer.next_head().filter(|head| head.len as usize > limit) {
                        Err(axum::Error::new(too_large(head.len, limit)))?;
                    }
                    let Some((flags, payload)) = deframer.next_message() else { break };
                    yield translate(flags, payload).await.map_err(axum::Error::new)?;
                }
            }
            // A message that was cut short is for the checks behind to refuse.
            let rest = deframer.rest();
            if !rest.is_empty() {
                yield rest;
            }
        }
        .map(|piece: Result<Bytes, axum::Error>| piece),
    )
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use async_compression::tokio::bufread::GzipEncoder;
    use futures::executor::block_on;
    use http_body_util::BodyExt as _;
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt as _;

    use super::*;
    use crate::wire::gather::Budget;

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

    async fn gzip(plain: &[u8]) -> Vec<u8> {
        let mut coded = Vec::new();
        GzipEncoder::new(plain).read_to_end(&mut coded).await.unwrap();
        coded
    }

    proptest! {
        #[test]
        fn messages_are_what_they_were_before_compression(
            messages in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..12)), 0..8),
            rest in prop::collection::vec(Just(1_u8), 0..5),
            piece in 1_usize..20,
        ) {
            let (mut sent, mut plain) = (Vec::new(), Vec::new());
            for (coded, message) in &messages {
                let payload = if *coded && !message.is_empty() { block_on(gzip(message)) } else { message.clone() };
                sent.extend_from_slice(&envelope((*coded).into(), &payload));
                plain.extend_from_slice(&envelope(0, message));
            }
            sent.extend_from_slice(&rest);
            plain.extend_from_slice(&rest);
            let pieces: Vec<_> =
                sent.chunks(piece).map(|piece| Ok::<_, Infallible>(Bytes::copy_from_slice(piece))).collect();
            let compressed = Compressed { coding: Coding::Gzip, limit: 1 << 10, account: None };
            let body = compressed.plain(Body::from_stream(futures::stream::iter(pieces)));
            prop_assert_eq!(block_on(body.collect()).unwrap().to_bytes().to_vec(), plain);
        }
    }

    #[tokio::test]
    async fn what_is_large_without_compression_is_refused_and_counts() {
        let bomb = envelope(COMPRESSED, &gzip(&[0; 5_000]).await);
        let budget = Budget::new(10_000);
        for (limit, account, works) in [
            (4_999, None, false),
            (5_000, None, true),
            (5_000, Some(Budget::new(1_000).account()), false),
            (5_000, Some(budget.account()), true),
        ] {
            let compressed = Compressed { coding: Coding::Gzip, limit, account };
            let plain = compressed.plain(Body::from(bomb.clone())).collect().await;
            assert_eq!(plain.is_ok(), works, "{limit}");
        }
        let broken = Compressed { coding: Coding::Gzip, limit: 100, account: None };
        assert!(broken.plain(Body::from(envelope(COMPRESSED, b"no gzip"))).collect().await.is_err());
    }
}
