//! Connect's streams: gRPC's envelopes as they are, and an end-stream message in JSON for the trailers.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Request, Response, header};
use http_body::Frame;
use serde_json::{Map, Value};

use super::{Form, check_version, error, grpc_call};
use crate::error::{Code, Error, Reason, Result};
use crate::proto::google::rpc;
use crate::wire::Codec;
use crate::wire::compression::{COMPRESSED, GRPC_ACCEPT_ENCODING, GRPC_ENCODING};
use crate::wire::content_coding::ACCEPTED;
use crate::wire::envelope::{Head, Heads, envelope};
use crate::wire::grpc::Grpc;
use crate::wire::metadata::{of_answer, with_metadata};
use crate::wire::reply::{broken, ended};
use crate::wire::status::{GRPC_STATUS, Outcome, library_status};

const CONTENT_ENCODING: HeaderName = HeaderName::from_static("connect-content-encoding");
const ACCEPT_ENCODING: HeaderName = HeaderName::from_static("connect-accept-encoding");
/// Bit 1 of a message's flags: it is the end-stream message.
const END_STREAM: u8 = 2;

/// Answers one call.
pub(super) async fn call(grpc: &Grpc, codec: Codec, request: Request<Body>) -> Response<Body> {
    let answer = async {
        check_version(request.headers())?;
        let (parts, body) = request.into_parts();
        let encoding = parts.headers.get(CONTENT_ENCODING).cloned();
        let accepted = parts.headers.get(ACCEPT_ENCODING).cloned();
        let mut call = grpc_call(parts, encoding, Body::new(Messages { body, heads: Heads::default() }))?;
        if let Some(accepted) = accepted {
            call.headers_mut().insert(GRPC_ACCEPT_ENCODING, accepted);
        }
        Ok(answer(codec, grpc.call(codec, call).await))
    };
    answer.await.unwrap_or_else(|error| refusal(codec, &error))
}

/// gRPC's answer as Connect's.
fn answer(codec: Codec, response: Response<Body>) -> Response<Body> {
    let (parts, body) = response.into_parts();
    if parts.headers.contains_key(GRPC_STATUS) {
        // Without a body gRPC has all of its metadata in the headers; here it is the error's.
        let outcome = Outcome::default();
        let end = end(ended(&parts.headers).as_ref(), &parts.headers, &outcome);
        return told(codec, Body::from(end), outcome);
    }
    let outcome = Outcome::default();
    let body = Body::new(Ending { body: Some(body), outcome: outcome.clone() });
    let mut response = with_metadata(told(codec, body, outcome), &parts.headers);
    if let Some(encoding) = parts.headers.get(GRPC_ENCODING) {
        response.headers_mut().insert(CONTENT_ENCODING, encoding.clone());
    }
    response
}

/// The error as a stream that fails at once. Its HTTP status is 200, as that of all streams.
pub(super) fn refusal(codec: Codec, error: &Error) -> Response<Body> {
    error.log();
    let outcome = Outcome::default();
    told(codec, Body::from(end(Some(&library_status(error)), &HeaderMap::new(), &outcome)), outcome)
}

fn told(codec: Codec, body: Body, outcome: Outcome) -> Response<Body> {
    let mut response = Response::new(body);
    response.extensions_mut().insert(outcome);
    response.headers_mut().insert(header::CONTENT_TYPE, Form::Stream(codec).media_type());
    response.headers_mut().insert(ACCEPT_ENCODING, ACCEPTED);
    response
}

/// The end-stream message, in its envelope.
fn end(failure: Option<&rpc::Status>, trailers: &HeaderMap, outcome: &Outcome) -> Bytes {
    outcome.set(failure.map_or(Code::Ok, |status| Code::from_number(status.code)));
    let mut metadata = Map::new();
    for (name, value) in of_answer(trailers) {
        let values = metadata.entry(name.as_str()).or_insert_with(|| Value::Array(Vec::new()));
        if let Value::Array(values) = values {
            values.push(String::from_utf8_lossy(value.as_bytes()).into());
        }
    }
    let mut message = Map::new();
    if let Some(failure) = failure {
        message.insert("error".to_owned(), error::value(failure));
    }
    if !metadata.is_empty() {
        message.insert("metadata".to_owned(), metadata.into());
    }
    envelope(END_STREAM, Value::from(message).to_string().as_bytes())
}

/// A request body whose envelopes have no flag but that of compression. What else is wrong with them shows behind.
struct Messages {
    body: Body,
    heads: Heads,
}

fn check(head: Head) -> Result<(), axum::Error> {
    let message = match head.flags & !COMPRESSED {
        0 => return Ok(()),
        END_STREAM => "an end-stream message is the server's to send: end the body instead".to_owned(),
        _ => format!("the flags {:#04x} of an envelope mean nothing: 1 is compressed", head.flags),
    };
    Err(axum::Error::new(Error::new(Reason::InvalidRequest, message)))
}

impl http_body::Body for Messages {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx)?);
        if let Some(data) = frame.as_ref().and_then(Frame::data_ref) {
            self.heads.follow(data, check)?;
        }
        Poll::Ready(frame.map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// An answer's body whose trailers become the end-stream message.
struct Ending {
    /// `None` once the end-stream message is sent.
    body: Option<Body>,
    outcome: Outcome,
}

impl http_body::Body for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let Some(body) = self.body.as_mut() else { return Poll::Ready(None) };
        let failed = |what: &str| (Some(broken(what)), HeaderMap::new());
        let (failure, trailers) = match ready!(Pin::new(body).poll_frame(cx)) {
            Some(Ok(frame)) => match frame.into_trailers() {
                Ok(trailers) => (ended(&trailers), trailers),
                Err(data) => return Poll::Ready(Some(Ok(data))),
            },
            Some(Err(error)) => failed(&error.to_string()),
            None => failed("the answer ended without a status"),
        };
        self.body = None;
        Poll::Ready(Some(Ok(Frame::data(end(failure.as_ref(), &trailers, &self.outcome)))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_none()
    }
}
