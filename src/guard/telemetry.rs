//! A request id in and out, its trace, and one line in the access log for every request, written when its answer has been sent.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response};
use http_body::{Body as _, Frame, SizeHint};
use tracing::{Instrument as _, Span};
use uuid::Uuid;

use super::trace::{TRACEPARENT, Trace};
use crate::wire::method::Method as Rpc;
use crate::wire::status::{GRPC_STATUS, Outcome};
use crate::wire::{self, Spoken, Wire};

pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest request id that is taken from a client.
const MAX_ID: usize = 128;
/// Bytes of a path that are logged: of an image's, all.
const MAX_PATH: usize = 1 << 10;

/// Classifies the wire, names the request, and logs what `answer` makes of it, at its end.
pub(super) async fn observe<A>(
    tables: &'static [&'static [Rpc]],
    mut request: Request,
    answer: impl FnOnce(Request) -> A,
) -> Response<Body>
where
    A: Future<Output = Response<Body>>,
{
    let path = request.uri().path();
    let spoken = Spoken::of(path, wire::method_at(tables, path), &wire::media_type(request.headers()));
    request.extensions_mut().insert(spoken);
    let id = request_id(request.headers());
    request.headers_mut().insert(X_REQUEST_ID, id.clone());
    let trace = Trace::of(request.headers());
    let traceparent = trace.as_ref().and_then(Trace::header);
    if let Some(traceparent) = &traceparent {
        request.headers_mut().insert(TRACEPARENT, traceparent.clone());
    }
    let span = tracing::info_span!(
        "request",
        id = id.to_str().unwrap_or_default(),
        trace_id = trace.as_ref().map(|trace| trace.id.as_str()),
        span_id = trace.as_ref().map(|trace| trace.span.as_str()),
    );
    let mut entry = Entry::new(&mut request, spoken.wire, span.clone());

    let mut response = answer(request).instrument(span).await;
    for (name, value) in [(X_REQUEST_ID, Some(id)), (TRACEPARENT, traceparent)] {
        if let Some(mut value) = value {
            // No other answer has it: it takes no place in HTTP/2's table of fields (RFC 7541, section 6.2.3).
            value.set_sensitive(true);
            response.headers_mut().insert(name, value);
        }
    }
    entry.status = response.status().as_u16();
    entry.grpc_status = grpc_status(response.headers());
    entry.outcome = response.extensions().get().cloned();
    response.map(|body| {
        // A body that has nothing to send is not asked for it.
        entry.complete = body.is_end_stream();
        Body::new(Observed { body, entry })
    })
}

/// The client's id if it is safe to repeat, else one of our own.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let safe = |id: &&HeaderValue| {
        let ok = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:+/=".contains(byte);
        (1..=MAX_ID).contains(&id.len()) && id.as_bytes().iter().all(ok)
    };
    let made = || HeaderValue::from_str(Uuid::new_v4().simple().encode_lower(&mut Uuid::encode_buffer()));
    match headers.get(X_REQUEST_ID).filter(safe) {
        Some(id) => id.clone(),
        // Hexadecimal digits are always a header value.
        None => made().unwrap_or(HeaderValue::from_static("unknown")),
    }
}

/// The path, or as much of it as a line of the log needs.
fn shortened(path: &str) -> String {
    let end = path.floor_char_boundary(MAX_PATH);
    let more = if end < path.len() { "…" } else { "" };
    [&path[..end], more].concat()
}

fn grpc_status(headers: &HeaderMap) -> Option<u8> {
    headers.get(GRPC_STATUS)?.to_str().ok()?.parse().ok()
}

/// A line of the access log in the making.
struct Entry {
    span: Span,
    start: Instant,
    wire: Wire,
    peer: Option<SocketAddr>,
    method: http::Method,
    path: String,
    status: u16,
    grpc_status: Option<u8>,
    outcome: Option<Outcome>,
    bytes: u64,
    complete: bool,
}

impl Entry {
    fn new(request: &mut Request, wire: Wire, span: Span) -> Self {
        // Nobody else wants it; with one more than it has room for, the map would grow.
        let peer = request.extensions_mut().remove::<ConnectInfo<SocketAddr>>();
        Self {
            span,
            start: Instant::now(),
            wire,
            peer: peer.map(|ConnectInfo(peer)| peer),
            method: request.method().clone(),
            path: shortened(request.uri().path()),
            status: 0,
            grpc_status: None,
            outcome: None,
            bytes: 0,
            complete: false,
        }
    }
}

impl Drop for Entry {
    /// Also when the caller left before there was an answer: `status` is then 0.
    fn drop(&mut self) {
        let _entered = self.span.enter();
        let outcome = self.outcome.as_ref().and_then(Outcome::get).map(|code| code as u8);
        tracing::info!(
            target: "wirephoto::access",
            wire = self.wire.name(),
            peer = self.peer.map(tracing::field::display),
            method = %self.method,
            path = ?self.path,
            status = self.status,
            grpc_status = self.grpc_status.or(outcome),
            bytes = self.bytes,
            ms = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX),
            complete = self.complete,
        );
    }
}

/// A response body that counts what passes and knows whether it came to its end.
struct Observed {
    body: Body,
    entry: Entry,
}

impl http_body::Body for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let _entered = this.entry.span.enter();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(cx));
        match &frame {
            Some(Ok(frame)) => {
                this.entry.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
                if let Some(trailers) = frame.trailers_ref() {
                    this.entry.grpc_status = grpc_status(trailers).or(this.entry.grpc_status);
                }
                this.entry.complete = this.body.is_end_stream() || frame.is_trailers();
            }
            Some(Err(_)) => {}
            None => this.entry.complete = true,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
