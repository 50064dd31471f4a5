//! A gRPC answer, read message by message by a translator.

use axum::body::Body;
use base64::Engine as _;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use http_body_util::BodyExt as _;
use percent_encoding::percent_decode_str;
use prost::Message as _;

use super::envelope::Deframer;
use super::metadata::BASE64;
use super::status::{GRPC_DETAILS, GRPC_MESSAGE, GRPC_STATUS};
use crate::error::Code;
use crate::proto::google::rpc;

/// The answer to one call.
pub(super) struct Reply {
    headers: HeaderMap,
    body: Body,
    deframer: Deframer,
    trailers: HeaderMap,
}

impl Reply {
    pub(super) fn new(response: Response<Body>) -> Self {
        let (parts, body) = response.into_parts();
        Self { headers: parts.headers, body, deframer: Deframer::default(), trailers: HeaderMap::new() }
    }

    /// The answer's metadata; with a "Trailers-Only" answer also its status.
    pub(super) fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The metadata that came after the last message; empty before that, and for a "Trailers-Only" answer.
    pub(super) fn trailers(&self) -> &HeaderMap {
        &self.trailers
    }

    /// The next message, `None` at a good end, or the status of a failure.
    pub(super) async fn next_message(&mut self) -> Result<Option<Bytes>, rpc::Status> {
        if self.headers.contains_key(GRPC_STATUS) {
            return ended(&self.headers).map_or(Ok(None), Err);
        }
        loop {
            if let Some((_, message)) = self.deframer.next_message() {
                return Ok(Some(message));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => self.deframer.push(data),
                    Err(frame) => {
                        self.trailers = frame.into_trailers().unwrap_or_default();
                        return ended(&self.trailers).map_or(Ok(None), Err);
                    }
                },
                Some(Err(error)) => return Err(broken(&error.to_string())),
                None => return Err(broken("the answer ended without a status")),
            }
        }
    }

    /// The message of a call that has one answer.
    pub(super) async fn only_message(&mut self) -> Result<Bytes, rpc::Status> {
        let message = self.next_message().await?.ok_or_else(|| broken("the answer has no message"))?;
        match self.next_message().await? {
            None => Ok(message),
            Some(_) => Err(broken("the answer has a second message")),
        }
    }
}

/// The failure that a call ended in, from its trailers; `None` for a success.
pub(super) fn ended(trailers: &HeaderMap) -> Option<rpc::Status> {
    let text = |name: HeaderName| trailers.get(name).and_then(|value| value.to_str().ok());
    let code = text(GRPC_STATUS).and_then(|code| code.parse().ok()).map_or(Code::Unknown, Code::from_number);
    if code == Code::Ok {
        return None;
    }
    let details = text(GRPC_DETAILS).and_then(|details| BASE64.decode(details).ok());
    let details = details.and_then(|details| rpc::Status::decode(Bytes::from(details)).ok());
    let message = percent_decode_str(text(GRPC_MESSAGE).unwrap_or_default()).decode_utf8_lossy().into_owned();
    let details = details.map(|status| status.details).unwrap_or_default();
    Some(rpc::Status { code: code as i32, message, details })
}

/// The failure of an answer that has no end of its own.
pub(super) fn broken(what: &str) -> rpc::Status {
    tracing::error!("{what}");
    rpc::Status { code: Code::Internal as i32, message: "the answer broke off".to_owned(), details: Vec::new() }
}
