//! Compressed requests: which encodings are taken, and their messages without them. tonic would decompress them too, but say
//! nothing of what they take.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::time::timeout;

use super::content_coding::{Coding, Undecodable};
use super::envelope::{Deframer, envelope};
use super::gather::Account;
use super::grpc::{silent, too_large};
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
pub(super) struct Compressed {
    pub(super) coding: Coding,
    /// Of one message, in bytes.
    pub(super) limit: usize,
    /// How long nothing may come of one that has begun.
    pub(super) silence: Duration,
    /// What takes them, if they are gathered.
    pub(super) account: Option<Account>,
}

impl Compressed {
    /// The payload without its compression; none where the flags mean nothing here, which is for the checks behind to refuse.
    /// One that is empty has no compression: Go's zstd leaves nothing of an empty message.
    async fn payload(&self, flags: u8, payload: &Bytes) -> Result<Option<Bytes>> {
        if flags == 0 || (flags == COMPRESSED && payload.is_empty()) {
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

    /// The request body with no message of it compressed.
    pub(super) fn plain(self, body: Body) -> Body {
        self.translated(body, Ok)
    }

    /// The request body with each payload, without its compression, as `translate` makes it. A message that has begun and of which
    /// nothing comes for `silence` is cut off.
    ///
    /// What is wrong with a message is an [`Error`] of the body.
    pub(super) fn translated(self, body: Body, translate: impl Fn(Bytes) -> Result<Bytes> + Send + 'static) -> Body {
        let (limit, silence) = (self.limit, self.silence);
        Body::from_stream(
            async_stream::try_stream! {
                let mut deframer = Deframer::default();
                let mut pieces = body.into_data_stream();
                loop {
                    let piece = match deframer.is_empty() {
                        true => pieces.next().await,
                        false => timeout(silence, pieces.next()).await.map_err(|_| axum::Error::new(silent(silence)))?,
                    };
                    let Some(piece) = piece else { break };
                    deframer.push(piece?);
                    loop {
                        if let Some(head) = deframer.next_head().filter(|head| head.len as usize > limit) {
                            Err(axum::Error::new(too_large(head.len, limit)))?;
                        }
                        let Some((flags, payload)) = deframer.next_message() else { break };
                        yield match self.payload(flags, &payload).await.map_err(axum::Error::new)? {
                            Some(plain) => envelope(0, &translate(plain).map_err(axum::Error::new)?),
                            None => envelope(flags, &payload),
                        };
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
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use async_compression::tokio::bufread::GzipEncoder;
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

    const COMPRESSION: Compressed =
        Compressed { coding: Coding::Gzip, limit: 100, silence: Duration::from_millis(20), account: None };

    #[tokio::test]
    async fn what_has_begun_may_not_rest() {
        let message = envelope(COMPRESSED, &gzip(b"message").await);
        for (sent, ends) in [(message.slice(..9), true), (message.slice(..3), true), (message, false)] {
            let sent = futures::stream::iter([Ok::<_, Infallible>(sent)]).chain(futures::stream::pending());
            let collected = COMPRESSION.plain(Body::from_stream(sent)).collect();
            match timeout(5 * COMPRESSION.silence, collected).await {
                Ok(ended) => assert!(ends && ended.is_err()),
                Err(_) => assert!(!ends),
            }
        }
    }

    fn block_on<T>(future: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future)
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
            let compressed = Compressed { limit: 1 << 10, ..COMPRESSION };
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
            let compressed = Compressed { limit, account, ..COMPRESSION };
            let plain = compressed.plain(Body::from(bomb.clone())).collect().await;
            assert_eq!(plain.is_ok(), works, "{limit}");
        }
        assert!(COMPRESSION.plain(Body::from(envelope(COMPRESSED, b"no gzip"))).collect().await.is_err());
    }
}
