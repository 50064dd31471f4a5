//! gRPC with its messages in JSON (`application/grpc+json`): each in its envelope, to and from what protobuf serialises.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body::Frame;

use super::compression::Compressed;
use super::envelope::{Deframer, envelope};
use super::grpc::failed;
use super::json::{self, unwritable};
use super::method::Message;
use crate::error::Result;

/// The request body as one of serialised messages, none of them compressed.
///
/// What is wrong with a message is an [`Error`](crate::error::Error) of the body.
pub(super) fn to_proto(body: Body, schema: &'static Message, compressed: Compressed) -> Body {
    compressed.translated(body, move |text| Ok(json::read(&json::parse(&text, "")?, schema)?.into()))
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
