//! Connect: framing and headers of its own around the messages of gRPC, which pass as they are.
//!
//! <https://connectrpc.com/docs/protocol>

mod error;
mod get;
mod stream;
mod unary;

use axum::body::Body;
use http::{HeaderMap, HeaderName, HeaderValue, Method as HttpMethod, Request, Response, Uri, request};

use super::compression::GRPC_ENCODING;
use super::deadline::{GRPC_TIMEOUT, as_grpc_timeout, timeout};
use super::grpc::{self, Grpc};
use super::metadata::of_request;
use super::method::{Kind, Method};
use super::{Codec, Spoken, Wire};
use crate::error::{Error, Result};

pub use get::Query;

const PROTOCOL_VERSION: HeaderName = HeaderName::from_static("connect-protocol-version");

/// What a media type says of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// One message, which is the whole body.
    Unary(Codec),
    /// Messages in envelopes.
    Stream(Codec),
}

impl Form {
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/proto" => Some(Self::Unary(Codec::Proto)),
            "application/json" => Some(Self::Unary(Codec::Json)),
            "application/connect+proto" => Some(Self::Stream(Codec::Proto)),
            "application/connect+json" => Some(Self::Stream(Codec::Json)),
            _ => None,
        }
    }

    fn media_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Unary(Codec::Proto) => "application/proto",
            Self::Unary(Codec::Json) => "application/json",
            Self::Stream(Codec::Proto) => "application/connect+proto",
            Self::Stream(Codec::Json) => "application/connect+json",
        })
    }

    /// Whether calls of this method have this form. What is in no table may have any.
    fn fits(self, method: Option<&Method>) -> bool {
        let unary = matches!(self, Self::Unary(_));
        method.is_none_or(|method| (method.kind == Kind::Unary) == unary)
    }
}

/// Answers one call of `method`, if the tables have it. `content_type` has no parameters.
pub async fn call(
    grpc: &Grpc,
    method: Option<&'static Method>,
    content_type: &str,
    request: Request<Body>,
) -> Response<Body> {
    let gettable = method.is_some_and(|method| method.no_side_effects && method.kind == Kind::Unary);
    if request.method() == HttpMethod::GET && gettable {
        return unary::get(grpc, request).await;
    }
    if request.method() != HttpMethod::POST {
        return grpc::not_allowed(if gettable { "GET, POST" } else { "POST" });
    }
    match Form::of(content_type).filter(|form| form.fits(method)) {
        None => grpc::unsupported_type(content_type),
        Some(Form::Unary(codec)) => unary::post(grpc, codec, request).await,
        Some(Form::Stream(codec)) => stream::call(grpc, codec, request).await,
    }
}

/// The error as a Connect answer.
pub fn refusal(spoken: Spoken, error: &Error) -> Response<Body> {
    if spoken.framed { stream::refusal(spoken.codec, error) } else { error::refusal(error) }
}

/// Refuses a version that is not 1. Clients may leave it out.
fn check_version(headers: &HeaderMap) -> Result<()> {
    match headers.get(PROTOCOL_VERSION).map(HeaderValue::as_bytes) {
        None | Some(b"1") => Ok(()),
        Some(other) => {
            let message = format!("`{PROTOCOL_VERSION}: {}` is unknown here: send 1", other.escape_ascii());
            Err(Error::invalid(PROTOCOL_VERSION.as_str(), message))
        }
    }
}

/// The same call as one of gRPC, with its messages compressed by `encoding`.
fn grpc_call(parts: request::Parts, encoding: Option<HeaderValue>, body: Body) -> Result<Request<Body>> {
    let mut headers = of_request(&parts.headers);
    if let Some(timeout) = timeout(Wire::Connect, &parts.headers)?
        && let Ok(timeout) = HeaderValue::from_str(&as_grpc_timeout(timeout))
    {
        headers.insert(GRPC_TIMEOUT, timeout);
    }
    if let Some(encoding) = encoding {
        headers.insert(GRPC_ENCODING, encoding);
    }
    let mut call = Request::new(body);
    *call.method_mut() = HttpMethod::POST;
    *call.uri_mut() = without_query(&parts.uri);
    *call.headers_mut() = headers;
    *call.extensions_mut() = parts.extensions;
    Ok(call)
}

fn without_query(uri: &Uri) -> Uri {
    // A path that came out of a URI goes into one.
    uri.path().parse().unwrap_or_default()
}
