//! gRPC with its messages in JSON (`application/grpc+json`): each in its envelope, to and from what protobuf serialises.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http_body::Frame;

use super::compression::COMPRESSED;
use super::content_coding::{Coding, Undecodable};
use super::envelope::{Deframer, envelope};
use super::grpc::{failed, too_large};
use super::json::{self, unwritable};
use super::method::Message;
use crate::error::{Error, Reason, Result};

/// The request body as one of serialised messages, none of them compressed. `limit` is in bytes, of one message in JSON.
///
/// What is wrong with a message is an [`Error`] of the body.
pub(super) fn to_proto(body: Body, schema: &'static Message, coding: Coding, limit: usize) -> Body {
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
                    let Some((flags, message)) = deframer.next_message() else { break };
                    yield serialised(flags, message, schema, coding, limit).await.map_err(axum::Error::new)?;
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

async fn serialised(
    flags: u8,
    message: Bytes,
    schema: &'static Message,
    coding: Coding,
    limit: usize,
) -> Result<Bytes> {
    let compressed = flags == COMPRESSED && coding != Coding::Identity && !message.is_empty();
    if flags != 0 && !compressed && !message.is_empty() {
        // Flags that mean nothing here mean nothing behind either, where they are refused.
        return Ok(envelope(flags, &message));
    }
    let coding = if compressed { coding } else { Coding::Identity };
    let text = coding.decode(message, limit).await.map_err(|error| match error {
        Undecodable::TooLarge => {
            let message =
                format!("a message is over the limit of {limit} bytes once decompressed: stream larger content");
            Error::new(Reason::TooLarge, message)
        }
        Undecodable::Broken(error) => {
            let message = format!("a message is not compressed as its encoding says: {error}");
            Error::new(Reason::InvalidRequest, message)
        }
    })?;
    Ok(envelope(0, &json::read(&json::parse(&text, "")?, schema)?))
}

/// An answer's body with its messages in JSON.
pub(super) struct FromProto {
    body: Body,
    deframer: Deframer,
    schema: &'static Message,
    ended: bool,
}

impl FromProto {
    pub(super) fn new(body: Body, schema: &'static Message) -> Self {
        Self { body, deframer: Deframer::default(), schema, ended: false }
    }

    fn translated(&mut self) -> Result<Bytes> {
        let mut translated = BytesMut::new();
        while let Some((flags, message)) = self.deframer.next_message() {
            let json = json::write(&message, self.schema).map_err(unwritable)?;
            let message = envelope(flags, &json);
            if translated.is_empty() && self.deframer.next_head().is_none() {
                return Ok(message);
            }
            translated.extend_from_slice(&message);
        }
        Ok(translated.freeze())
    }
}

impl http_body::Body for FromProto {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(cx)?) else {
                self.ended = true;
                return Poll::Ready(None);
            };
            let data = match frame.into_data() {
                Ok(data) => data,
                Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
            };
            self.deframer.push(data);
            match self.translated() {
                Ok(translated) if translated.is_empty() => {}
                Ok(translated) => return Poll::Ready(Some(Ok(Frame::data(translated)))),
                Err(error) => {
                    self.ended = true;
                    return Poll::Ready(Some(Ok(failed(&error))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.ended || self.body.is_end_stream()
    }
}
