//! The base64 of gRPC-Web text ("application/grpc-web-text" in PROTOCOL-WEB.md): groups of four, padded wherever a chunk ends.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::{Bytes, BytesMut};
use http_body::Frame;

use crate::error::{Error, Reason, Result};

/// Characters that make up to three bytes.
const GROUP: usize = 4;

/// Decodes base64 in pieces of any size, with padding also between chunks.
#[derive(Debug, Default)]
pub struct Decoder {
    group: [u8; GROUP],
    filled: usize,
}

impl Decoder {
    /// The bytes of all groups that `text` completes.
    ///
    /// # Errors
    /// `text` is not base64 (RFC 4648 section 4).
    pub fn decode(&mut self, mut text: &[u8]) -> Result<Bytes> {
        let mut decoded = BytesMut::with_capacity(text.len() / GROUP * 3 + 3);
        if self.filled > 0 {
            let missing = (GROUP - self.filled).min(text.len());
            self.group[self.filled..self.filled + missing].copy_from_slice(&text[..missing]);
            self.filled += missing;
            text = &text[missing..];
            if self.filled < GROUP {
                return Ok(Bytes::new());
            }
            self.filled = 0;
            let group = self.group;
            groups(&group, &mut decoded)?;
        }
        let (whole, rest) = text.split_at(text.len() / GROUP * GROUP);
        groups(whole, &mut decoded)?;
        self.group[..rest.len()].copy_from_slice(rest);
        self.filled = rest.len();
        Ok(decoded.freeze())
    }

    /// Whether no group is left open.
    pub fn is_between_groups(&self) -> bool {
        self.filled == 0
    }
}

/// Decodes whole groups, of which any may be padded.
fn groups(mut text: &[u8], decoded: &mut BytesMut) -> Result<()> {
    while !text.is_empty() {
        // What follows a padded group is base64 of its own.
        let padded = text.iter().position(|character| *character == b'=');
        let end = padded.map_or(text.len(), |at| (at / GROUP + 1) * GROUP);
        let (run, rest) = text.split_at(end);
        let start = decoded.len();
        decoded.resize(start + base64::decoded_len_estimate(run.len()), 0);
        let len = BASE64.decode_slice(run, &mut decoded[start..]).map_err(not_base64)?;
        decoded.truncate(start + len);
        text = rest;
    }
    Ok(())
}

fn not_base64(error: impl std::fmt::Display) -> Error {
    let message = format!("the body is not the base64 of application/grpc-web-text: {error}");
    Error::new(Reason::InvalidRequest, message)
}

/// A request body of text, as bytes. An error of the text is a [`crate::error::Error`].
pub(super) struct Decoded {
    body: Body,
    decoder: Decoder,
}

impl Decoded {
    pub(super) fn new(body: Body) -> Self {
        Self { body, decoder: Decoder::default() }
    }
}

impl http_body::Body for Decoded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        Poll::Ready(match frame {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(text) => Some(self.decoder.decode(&text).map(Frame::data).map_err(axum::Error::new)),
                Err(other) => Some(Ok(other)),
            },
            None if !self.decoder.is_between_groups() => {
                self.decoder = Decoder::default();
                Some(Err(axum::Error::new(not_base64("it ends within a group of four characters"))))
            }
            other => other,
        })
    }
}

/// An answer's body as text: each piece as base64 of its own, so that none waits for another.
pub(super) struct Encoded(pub(super) Body);

impl http_body::Body for Encoded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(cx));
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(|data| BASE64.encode(data).into()))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use proptest::prelude::*;

    use super::{BASE64, Decoder};

    fn decode(pieces: &[&[u8]]) -> Option<Vec<u8>> {
        let mut decoder = Decoder::default();
        let decoded: Result<Vec<_>, _> = pieces.iter().map(|piece| decoder.decode(piece)).collect();
        decoded.ok().filter(|_| decoder.is_between_groups()).map(|decoded| decoded.concat())
    }

    #[test]
    fn what_is_no_base64_is_refused() {
        for text in ["****", "A", "AAA", "AA==A", "A===", "====", "AA=A", "AA\nA", "AA-_", "AB==", "AAAA="] {
            assert_eq!(decode(&[text.as_bytes()]), None, "{text}");
            let one_by_one: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
            assert_eq!(decode(&one_by_one), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn chunks_padded_on_their_own_survive_any_cut(
            chunks in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..20), 0..8),
            piece in 1_usize..20,
        ) {
            let text: String = chunks.iter().map(|chunk| BASE64.encode(chunk)).collect();
            let pieces: Vec<&[u8]> = text.as_bytes().chunks(piece).collect();
            prop_assert_eq!(decode(&pieces), Some(chunks.concat()));
        }

        #[test]
        fn any_text_at_all_decodes_or_is_refused(text in any::<Vec<u8>>(), piece in 1_usize..20) {
            let whole = decode(&[&text]);
            let pieces: Vec<&[u8]> = text.chunks(piece).collect();
            prop_assert_eq!(decode(&pieces), whole);
        }
    }
}
