//! Native gRPC: tonic, with what it leaves unchecked checked in front of it.
//!
//! Content type and HTTP method, encodings and binary metadata, the number and size of request messages, and bodies that end
//! too early. Behind it, the trailers that a service left to a good answer.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Method as HttpMethod, Request, Response, StatusCode, header};
use http_body::Frame;
use prost::Message as _;
use tower::ServiceExt as _;

use super::compression::{ACCEPTED, EmptyAsPlain, GRPC_ACCEPT_ENCODING, is_compressed};
use super::deadline::{self, Deadline};
use super::envelope::{Head, Heads};
use super::metadata::{check_binary, with_trailers};
use super::method::{Kind, Method};
use super::status::rpc_status;
use crate::error::{Error, Reason};

/// Media types of native gRPC.
pub const CONTENT_TYPES: [&str; 2] = ["application/grpc", "application/grpc+proto"];

/// The gRPC services, behind their checks.
#[derive(Clone)]
pub struct Grpc {
    routes: Router,
    methods: Arc<HashMap<&'static str, &'static Method>>,
    max_message_size: usize,
}

impl Grpc {
    /// `routes` are tonic's; `max_message_size` is in bytes, of one request message.
    pub fn new(routes: Router, tables: &[&'static [Method]], max_message_size: usize) -> Self {
        let methods = tables.iter().flat_map(|table| table.iter()).map(|method| (method.path, method)).collect();
        Self { routes, methods: Arc::new(methods), max_message_size }
    }

    /// Answers one call. `content_type` has no parameters.
    pub async fn call(self, content_type: &str, request: Request<Body>) -> Response<Body> {
        if request.method() != HttpMethod::POST {
            return not_post();
        }
        if !CONTENT_TYPES.contains(&content_type) {
            return unsupported_type(content_type);
        }
        let compressed = match is_compressed(request.headers()) {
            Ok(compressed) => compressed,
            Err(error) => return unknown_encoding(&error),
        };
        if let Err(error) = check_binary(request.headers()) {
            return refusal(&error);
        }
        let kind = self.methods.get(request.uri().path()).map(|method| method.kind);
        let max_message_size = self.max_message_size;
        let deadline = request.extensions().get::<Deadline>().copied();
        let request = request.map(|body| {
            let body = if compressed { Body::new(EmptyAsPlain::new(body)) } else { body };
            Body::new(Checked::new(body, kind, max_message_size))
        });
        let response = match self.routes.oneshot(request).await {
            Ok(response) => with_trailers(response),
            Err(never) => match never {},
        };
        match deadline {
            Some(deadline) => deadline::bound(response, deadline, || Ok(deadline_trailers())),
            None => response,
        }
    }

    /// The same as a service, for the layers that want one.
    pub(super) fn into_service(
        self,
    ) -> impl tower::Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send> + Clone {
        tower::service_fn(move |request: Request<Body>| {
            let grpc = self.clone();
            async move { Ok(grpc.call(CONTENT_TYPES[0], request).await) }
        })
    }
}

/// The end of a stream whose deadline passed.
fn deadline_trailers() -> Frame<Bytes> {
    let mut trailers = http::HeaderMap::new();
    if let Err(error) = status(&deadline::passed()).add_header(&mut trailers) {
        tracing::error!(%error, "a status has no trailers");
    }
    Frame::trailers(trailers)
}

/// 405, for a path that takes only POST.
pub(super) fn not_post() -> Response<Body> {
    let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "RPC paths take POST only\n".to_owned());
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
    response
}

/// 415, naming what an RPC path takes (RFC 9110 section 15.5.16).
pub fn unsupported_type(content_type: &str) -> Response<Body> {
    const TAKEN: &str = "application/grpc, application/grpc+proto, application/grpc-web, application/grpc-web+proto, \
                         application/grpc-web-text, application/grpc-web-text+proto";
    let shown = content_type.escape_default();
    let message = format!("content type `{shown}` is no RPC's: send {TAKEN}\n");
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
pub fn refusal(error: &Error) -> Response<Body> {
    status(error).into_http()
}

/// The error as tonic's status, with its details; its cause goes to the log here.
///
/// A deadline's passing has none: the caller's own library may notice it first, and it knows no more than the code.
pub fn status(error: &Error) -> tonic::Status {
    if error.reason == Reason::DeadlineExceeded {
        return framing(error);
    }
    error.log();
    let status = rpc_status(error);
    tonic::Status::with_details(tonic::Code::from(status.code), &status.message, status.encode_to_vec().into())
}

/// Code and message alone, as gRPC's own libraries say it: for faults of the framing, below any message.
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
    ended: bool,
}

impl Checked {
    fn new(body: Body, kind: Option<Kind>, max_message_size: usize) -> Self {
        Self { body, heads: Heads::default(), kind, messages: 0, max_message_size, ended: false }
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

fn too_large(len: u32, limit: usize) -> Error {
    let message = format!("a message of {len} bytes is over the limit of {limit}: stream larger content in chunks");
    Error::too_large("message size", message)
}

impl http_body::Body for Checked {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        if self.ended {
            return Poll::Ready(None);
        }
        let checked = match ready!(Pin::new(&mut self.body).poll_frame(cx)) {
            Some(Ok(frame)) => {
                let checked = frame.data_ref().map_or(Ok(()), |data| self.follow(data));
                checked.map(|()| Some(frame))
            }
            // tonic takes a reset (CANCELLED) for the end of a stream; half an upload is none.
            Some(Err(error)) => Err(broken(error)),
            None => self.end().map(|()| None),
        };
        self.ended = !matches!(checked, Ok(Some(_)));
        Poll::Ready(checked.map_err(|error| framing(&error)).transpose())
    }

    fn is_end_stream(&self) -> bool {
        self.ended
    }
}

/// Why a request body broke: what a translator in front found wrong with it, or a connection that was cut.
fn broken(error: axum::Error) -> Error {
    let first: &(dyn std::error::Error + 'static) = &error;
    let mut causes = std::iter::successors(Some(first), |cause| cause.source());
    match causes.find_map(|cause| cause.downcast_ref::<Error>()) {
        Some(found) => Error::new(found.reason, found.message.clone()),
        None => Error::new(Reason::Aborted, "the request was cut off before its end; nothing of it was kept")
            .caused_by(error),
    }
}
