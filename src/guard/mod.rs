//! What must hold for every wire, once, around all of them.
//!
//! Outside in: request id and access log, panics, CORS, origins, access and
//! deadline. A refusal is rendered in the wire's own words.

mod access;
mod deadline;
mod origin;
mod telemetry;
mod trace;

use std::any::Any;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use futures::FutureExt as _;
use http::header::{self, HeaderName};
use http::{HeaderValue, Method, Response, StatusCode};
use http_body::Body as _;
use tower::{Layer as _, Service, ServiceExt as _, service_fn};
use tower_http::cors::{AllowHeaders, AllowOrigin, CorsLayer};

use crate::error::Error;
use crate::raw;
use crate::wire::deadline::passed;
use crate::wire::method::Method as Rpc;
use crate::wire::status::{GRPC_DETAILS, GRPC_MESSAGE, GRPC_STATUS};
use crate::wire::{self, Codec, Spoken, Wire};

pub use access::Access;
pub use origin::Origins;

/// Answer headers that a page of an allowed origin may read.
const EXPOSED: [HeaderName; 18] = [
    header::ACCEPT_RANGES,
    header::CONTENT_DISPOSITION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::ETAG,
    header::LAST_MODIFIED,
    header::LOCATION,
    header::RETRY_AFTER,
    HeaderName::from_static("connect-accept-encoding"),
    HeaderName::from_static("connect-content-encoding"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    GRPC_MESSAGE,
    GRPC_STATUS,
    GRPC_DETAILS,
    trace::TRACEPARENT,
    telemetry::X_REQUEST_ID,
];

/// How long a browser may remember a preflight's answer.
const PREFLIGHT_AGE: Duration = Duration::from_secs(3600);

/// Who may do what.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The pages that may talk to this server.
    pub origins: Origins,
    /// What callers without credentials may do.
    pub anonymous: Access,
}

/// What answers requests, whatever they are.
pub trait Answers:
    Service<Request, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

impl<S> Answers for S where
    S: Service<Request, Response = Response<Body>, Error = Infallible, Future: Send> + Clone + Send + Sync + 'static
{
}

/// Puts the guard around all that answers. `tables` say which RPCs only read.
pub fn around(inner: impl Answers, policy: Policy, tables: &'static [&'static [Rpc]]) -> impl Answers {
    let guard = Arc::new(Guard { inner, cors: cors(&policy.origins), policy });
    service_fn(move |request: Request| {
        let guard = Arc::clone(&guard);
        let answer = async move { Ok(telemetry::observe(tables, request, |request| guard.caught(request)).await) };
        // Whoever keeps the future moves it about, and it is large.
        answer.boxed()
    })
}

struct Guard<I> {
    inner: I,
    cors: Option<CorsLayer>,
    policy: Policy,
}

impl<I: Answers> Guard<I> {
    /// A panic is a defect: it is logged, and the caller gets an answer all the same.
    async fn caught(&self, request: Request) -> Response<Body> {
        let (spoken, head) = (spoken(&request), request.method() == Method::HEAD);
        let answered = AssertUnwindSafe(self.marked(request)).catch_unwind().await;
        let answer = answered.unwrap_or_else(|panic| refuse(spoken, &Error::internal(panic_message(panic.as_ref()))));
        if head { without_body(answer) } else { answer }
    }

    /// With CORS, where there is somebody to answer to.
    async fn marked(&self, request: Request) -> Response<Body> {
        let Some(cors) = &self.cors else { return self.checked(request).await };
        let checked = service_fn(|request| self.checked(request).map(Ok::<_, Infallible>));
        cors.layer(checked).oneshot(request).await.unwrap_or_else(|never| match never {})
    }

    /// Behind the checks of origins, access and deadline.
    async fn checked(&self, request: Request) -> Response<Body> {
        let spoken = spoken(&request);
        let wire = spoken.wire;
        let origin = self.policy.origins.check(request.version(), request.method(), request.uri(), request.headers());
        // Of health and reflection, rather than of the product.
        let unbounded = is_rpc(wire) && spoken.method.is_none();
        let deadline = origin
            .and_then(|()| access::check(self.policy.anonymous, &spoken, &request))
            .and_then(|()| deadline::of(&request, wire, unbounded));
        let inner = self.inner.clone();
        let answered = match deadline {
            Ok(Some(deadline)) => deadline::run(wire, deadline, request, inner).await.ok_or_else(passed),
            Ok(None) => inner.oneshot(request).await.map_err(|never| match never {}),
            Err(error) => Err(error),
        };
        let mut answer = answered.unwrap_or_else(|error| refuse(spoken, &error));
        if answer.status() == StatusCode::UNAUTHORIZED {
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

fn is_rpc(wire: Wire) -> bool {
    matches!(wire, Wire::Grpc | Wire::GrpcWeb | Wire::Connect)
}

/// The error in the words of the request's wire.
fn refuse(spoken: Spoken, error: &Error) -> Response<Body> {
    match spoken.wire {
        Wire::Bytes => raw::problem(error),
        _ => wire::refusal(spoken, error),
    }
}

/// What a request speaks that the guard let in.
pub fn spoken(request: &Request) -> Spoken {
    let unknown = Spoken { wire: Wire::Rest, codec: Codec::Json, framed: false, method: None };
    request.extensions().get().copied().unwrap_or(unknown)
}

/// Answers preflights and marks answers, for the origins that were named. Without any, there is nobody to answer to.
fn cors(origins: &Origins) -> Option<CorsLayer> {
    let named: Vec<_> = origins.named().iter().filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    let layer = CorsLayer::new()
        .allow_origin(AllowOrigin::list(named))
        .allow_methods([Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(AllowHeaders::mirror_request())
        .expose_headers(EXPOSED)
        .max_age(PREFLIGHT_AGE);
    (!origins.named().is_empty()).then_some(layer)
}

/// The answer to HEAD has no body, whoever made it (RFC 9110 section 9.3.2). Over HTTP/2 the library below would send it.
fn without_body(mut answer: Response<Body>) -> Response<Body> {
    if answer.body().is_end_stream() {
        return answer;
    }
    if let Some(length) = answer.body().size_hint().exact() {
        answer.headers_mut().entry(header::CONTENT_LENGTH).or_insert(length.into());
    }
    answer.map(|_| Body::empty())
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_default())
}
