//! Native gRPC: the services, with what tonic leaves unchecked checked in front of them.
//!
//! Content type and HTTP method, encodings and binary metadata, the number and size of request messages, and bodies that end
//! too early. Behind it, the trailers that a service left to a good answer.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method as HttpMethod, Request, Response, StatusCode, header};
use http_body::Frame;
use prost::Message as _;

use super::compression::{ACCEPTED, Compressed, GRPC_ACCEPT_ENCODING, GRPC_ENCODING, coding};
use super::content_coding::Coding;
use super::deadline::{self, Deadline};
use super::envelope::{Head, Heads};
use super::gather::{Account, broken, cut_off};
use super::grpc_json::{FromProto, to_proto};
use super::metadata::{check_binary, with_trailers};
use super::method::{Kind, Method};
use super::status::{GRPC_MESSAGE, library_status};
use super::{Codec, Limits, Routes, method_at};
use crate::error::{Error, Reason};
use crate::io::Outlet;
use crate::silence::Silence;

/// Media type of gRPC with messages as protobuf serialises them.
const PROTO: HeaderValue = HeaderValue::from_static("application/grpc");
/// Media type of gRPC with messages in JSON.
const JSON: HeaderValue = HeaderValue::from_static("application/grpc+json");

/// How a call of this media type writes its messages; `None` if it is none of gRPC's.
pub fn codec(content_type: &str) -> Option<Codec> {
    match content_type {
        "application/grpc" | "application/grpc+proto" => Some(Codec::Proto),
        "application/grpc+json" => Some(Codec::Json),
        _ => None,
    }
}

/// The gRPC services, behind their checks.
#[derive(Clone)]
pub struct Grpc {
    routes: Arc<dyn Routes>,
    tables: &'static [&'static [Method]],
    limits: Limits,
}

impl Grpc {
    /// `routes` are the services.
    pub fn new(routes: Arc<dyn Routes>, tables: &'static [&'static [Method]], limits: Limits) -> Self {
        Self { routes, tables, limits }
    }

    /// The method at this path, if the tables have it.
    pub fn method(&self, path: &str) -> Option<&'static Method> {
        method_at(self.tables, path)
    }

    /// What one request message may have, in bytes as it is sent.
    pub fn max_message_size(&self, codec: Codec) -> usize {
        match codec {
            Codec::Proto => self.limits.message,
            Codec::Json => self.limits.json_body,
        }
    }

    /// Answers one call, whatever its content type says.
    pub async fn call(&self, codec: Codec, request: Request<Body>) -> Response<Body> {
        if request.method() != HttpMethod::POST {
            return not_allowed("POST");
        }
        let mut response = self.answer(codec, request).await;
        if codec == Codec::Json {
            response.headers_mut().insert(header::CONTENT_TYPE, JSON);
        }
        response
    }

    async fn answer(&self, codec: Codec, mut request: Request<Body>) -> Response<Body> {
        let coding = match coding(request.headers()) {
            Ok(coding) => coding,
            Err(error) => return unknown_encoding(&error),
        };
        if let Err(error) = check_binary(request.headers()) {
            return refusal(Codec::Proto, &error);
        }
        let method = self.method(request.uri().path());
        let deadline = request.extensions().get::<Deadline>().copied();
        let compressed = Compressed {
            coding,
            limit: self.max_message_size(codec),
            silence: self.limits.silence,
            account: request.extensions_mut().remove::<Account>(),
        };
        let response = match (codec, method) {
            (Codec::Proto, _) => {
                if coding != Coding::Identity {
                    request.headers_mut().remove(GRPC_ENCODING);
                    request = request.map(|body| compressed.plain(body));
                }
                self.served(method, request).await
            }
            (Codec::Json, Some(method)) => {
                // What is sent is made of what is read.
                request.extensions_mut().remove::<Outlet>();
                request.headers_mut().remove(GRPC_ENCODING);
                request.headers_mut().remove(GRPC_ACCEPT_ENCODING);
                request.headers_mut().insert(header::CONTENT_TYPE, PROTO);
                request = request.map(|body| to_proto(body, method.input, compressed));
                let response = self.served(Some(method), request).await;
                response.map(|body| Body::new(FromProto::new(body, method.output)))
            }
            (Codec::Json, None) => {
                let message = "what is at this path has no JSON here: send application/grpc+proto";
                framing(&Error::new(Reason::Unimplemented, message)).into_http()
            }
        };
        match deadline {
            Some(deadline) => deadline::bound(response, deadline, || Ok(failed(&deadline::passed()))),
            None => response,
        }
    }

    /// The service's own answer to serialised messages, and its trailers.
    async fn served(&self, method: Option<&'static Method>, request: Request<Body>) -> Response<Body> {
        let (kind, limits) = (method.map(|method| method.kind), self.limits);
        let request = request.map(|body| Body::new(Checked::new(body, kind, limits)));
        with_trailers(in_our_words(self.routes.call(request).await))
    }
}

/// The error that a message does not parse, if that is what tonic says. It takes the fault for the server's; it is the caller's.
pub fn undecoded(said: &[u8]) -> Option<Error> {
    said.starts_with(b"failed to decode Protobuf message").then(|| {
        let said = String::from_utf8_lossy(said);
        Error::new(Reason::InvalidRequest, format!("the request is not the message that this RPC takes: {said}"))
    })
}

/// The answer; that to a message that does not parse in our words.
fn in_our_words(response: Response<Body>) -> Response<Body> {
    let Some(message) = response.headers().get(GRPC_MESSAGE) else { return response };
    let message: Vec<u8> = percent_encoding::percent_decode(message.as_bytes()).collect();
    undecoded(&message).map_or(response, |error| status(&error).into_http())
}

/// The end of an answer that fails after it has begun.
pub(super) fn failed(error: &Error) -> Frame<Bytes> {
    let mut trailers = http::HeaderMap::new();
    if let Err(error) = status(error).add_header(&mut trailers) {
        tracing::error!(%error, "a status has no trailers");
    }
    Frame::trailers(trailers)
}

/// 405, for a path that takes only the HTTP methods of `allow`.
pub(super) fn not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, format!("this RPC takes {allow} only\n"));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// 415, naming what an RPC path takes (RFC 9110 section 15.5.16).
pub fn unsupported_type(content_type: &str) -> Response<Body> {
    const TAKEN: &str = "application/grpc, application/grpc+proto, application/grpc+json, application/grpc-web, \
                         application/grpc-web+proto, application/grpc-web+json, application/grpc-web-text, \
                         application/grpc-web-text+proto, application/proto, application/json, \
                         application/connect+proto, application/connect+json";
    let shown = content_type.escape_default();
    let message =
        format!("content type `{shown}` is not this RPC's: send {TAKEN}; Connect's streams and unary calls differ\n");
    let mut response = plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, message);
    response.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(TAKEN));
    response
}

/// A refusal to whoever speaks no wire of RPC. No JSON: clients of Connect would look for their own errors in it.
fn plain(status: StatusCode, message: String) -> Response<Body> {
    let mut response = Response::new(Body::from(message));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

/// UNIMPLEMENTED, naming what is accepted ("Compression" in gRPC's compression.md).
fn unknown_encoding(error: &Error) -> Response<Body> {
    let mut response = framing(error).into_http();
    response.headers_mut().insert(GRPC_ACCEPT_ENCODING, ACCEPTED);
    response
}

/// The error as a gRPC answer without a body ("Trailers-Only").
pub fn refusal(codec: Codec, error: &Error) -> Response<Body> {
    let mut response = status(error).into_http();
    if codec == Codec::Json {
        response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    }
    response
}

/// The error as tonic's status, with its details; its cause goes to the log here.
pub fn status(error: &Error) -> tonic::Status {
    error.log();
    let status = library_status(error);
    tonic::Status::with_details(tonic::Code::from(status.code), &status.message, status.encode_to_vec().into())
}

/// A fault of the framing, below any message: code and message alone, as gRPC's own libraries say it.
fn framing(error: &Error) -> tonic::Status {
    error.log();
    tonic::Status::new(tonic::Code::from(error.code() as i32), error.message.clone())
}

/// A request body whose messages are counted and measured as they pass.
struct Checked {
    body: Body,
    heads: Heads,
    kind: Option<Kind>,
    messages: u32,
    max_message_size: usize,
    silence: Silence,
    ended: bool,
}

impl Checked {
    fn new(body: Body, kind: Option<Kind>, limits: Limits) -> Self {
        let (max_message_size, silence) = (limits.message, Silence::new(limits.silence));
        Self { body, heads: Heads::default(), kind, messages: 0, max_message_size, silence, ended: false }
    }

    /// Whether nothing may come for as long as the call has: between the messages of a stream.
    fn may_rest(&self) -> bool {
        self.heads.between_messages() && !self.one_message()
    }

    fn one_message(&self) -> bool {
        self.kind.is_some_and(Kind::one_request)
    }

    fn follow(&mut self, data: &[u8]) -> Result<(), Error> {
        let one_message = self.one_message();
        let Self { heads, messages, max_message_size, .. } = self;
        heads.follow(data, |Head { len, .. }| {
            *messages = messages.saturating_add(1);
            if len as usize > *max_message_size {
                Err(too_large(len, *max_message_size))
            } else if one_message && *messages > 1 {
                Err(Error::new(Reason::Unimplemented, "this method takes one request message; there was a second"))
            } else {
                Ok(())
            }
        })
    }

    fn end(&self) -> Result<(), Error> {
        if !self.heads.between_messages() {
            Err(Error::new(Reason::InvalidRequest, "the request ended within a message: send it whole"))
        } else if self.one_message() && self.messages == 0 {
            Err(Error::new(Reason::Unimplemented, "this method takes one request message; there was none"))
        } else {
            Ok(())
        }
    }
}

/// Of a message that has begun.
pub(super) fn silent(limit: Duration) -> Error {
    Error::new(Reason::Aborted, format!("nothing more came of a message for {limit:?}; nothing of it was kept"))
}

/// Of a message, by what its head says.
pub(super) fn too_large(len: u32, limit: usize) -> Error {
    let message = format!("a message of {len} bytes is over the limit of {limit}: stream larger content in chunks");
    Error::new(Reason::TooLarge, message)
}

impl http_body::Body for Checked {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            if self.may_rest() || !self.silence.is_over(cx) {
                return Poll::Pending;
            }
            self.ended = true;
            return Poll::Ready(Some(Err(framing(&silent(self.silence.limit())))));
        };
        self.silence.end();
        let checked = match frame {
            Some(Ok(frame)) => {
                let checked = frame.data_ref().map_or(Ok(()), |data| self.follow(data));
                checked.map(|()| Some(frame))
            }
            // tonic takes a reset (CANCELLED) for the end of a stream; half an upload is none.
            Some(Err(error)) => Err(broken(error, cut_off)),
            None => self.end().map(|()| None),
        };
        self.ended = !matches!(checked, Ok(Some(_)));
        let told = |error: Error| if error.details.is_empty() { framing(&error) } else { status(&error) };
        Poll::Ready(checked.map_err(told).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

#[cfg(test)]
mod tests {
    use futures::StreamExt as _;
    use http_body_util::BodyExt as _;

    use super::*;
    use crate::wire::envelope::envelope;

    #[tokio::test]
    async fn a_message_may_not_rest_and_a_stream_may() {
        let limits = Limits { silence: Duration::from_millis(20), ..Limits::default() };
        let whole = envelope(0, b"message");
        let open = |sent: &Bytes| {
            let sent = futures::stream::iter([Ok::<_, std::convert::Infallible>(sent.clone())]);
            Body::from_stream(sent.chain(futures::stream::pending()))
        };
        for (kind, sent, rests) in [
            (Kind::Unary, whole.slice(..9), false),
            (Kind::Unary, whole.clone(), false),
            (Kind::ClientStream, whole.slice(..9), false),
            (Kind::ClientStream, whole.slice(..3), false),
            (Kind::ClientStream, whole.clone(), true),
            (Kind::Bidi, whole.clone(), true),
        ] {
            let mut body = Checked::new(open(&sent), Some(kind), limits);
            assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), sent);
            match tokio::time::timeout(5 * limits.silence, body.frame()).await {
                Ok(ended) => assert!(!rests && ended.unwrap().unwrap_err().code() == tonic::Code::Aborted),
                Err(_) => assert!(rests, "{kind:?} {}", sent.len()),
            }
        }
    }
}
