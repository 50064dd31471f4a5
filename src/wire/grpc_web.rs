//! gRPC-Web: tonic-web for its binary form, base64 around it for its text form, JSON within for its JSON form.
//!
//! PROTOCOL-WEB.md: frames as in gRPC, trailers in a last frame of the body.

use std::convert::Infallible;

use axum::body::Body;
use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, header};
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _, service_fn};

use super::Codec;
use super::grpc::{self, Grpc};
use super::text::{Decoded, Encoded};
use crate::error::Error;
use crate::io::Outlet;

/// Media type of the binary form.
const BINARY: HeaderValue = HeaderValue::from_static("application/grpc-web+proto");
/// Media type of the binary form with messages in JSON.
const JSON: HeaderValue = HeaderValue::from_static("application/grpc-web+json");
/// Media type of the text form.
const TEXT: HeaderValue = HeaderValue::from_static("application/grpc-web-text+proto");

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Binary,
    Json,
    Text,
}

impl Form {
    fn of(media_type: &str) -> Option<Self> {
        match media_type {
            "application/grpc-web" | "application/grpc-web+proto" => Some(Self::Binary),
            "application/grpc-web+json" => Some(Self::Json),
            "application/grpc-web-text" | "application/grpc-web-text+proto" => Some(Self::Text),
            _ => None,
        }
    }

    fn codec(self) -> Codec {
        match self {
            Self::Binary | Self::Text => Codec::Proto,
            Self::Json => Codec::Json,
        }
    }

    /// The first form that `Accept` names.
    fn accepted(headers: &HeaderMap) -> Option<Self> {
        let named = headers.get_all(header::ACCEPT).iter().filter_map(|accept| accept.to_str().ok());
        named
            .flat_map(|accept| accept.split(','))
            .find_map(|range| Self::of(range.split(';').next().unwrap_or_default().trim()))
    }
}

/// Answers one call, in the form that `Accept` names among those of the same codec, else in the form of the request. `content_type` has no parameters.
pub async fn call(grpc: &Grpc, content_type: &str, mut request: Request<Body>) -> Response<Body> {
    let Some(sent) = Form::of(content_type) else {
        return grpc::unsupported_type(content_type);
    };
    if request.method() != HttpMethod::POST {
        return grpc::not_allowed("POST");
    }
    let wanted = Form::accepted(request.headers()).filter(|wanted| wanted.codec() == sent.codec()).unwrap_or(sent);
    if wanted != Form::Binary {
        // What is sent is made of what is read.
        request.extensions_mut().remove::<Outlet>();
    }
    // tonic-web is given the one form that it has right; it compares the whole header, parameters included.
    request.headers_mut().insert(header::CONTENT_TYPE, BINARY);
    request.headers_mut().insert(header::ACCEPT, BINARY);
    let native = service_fn(|request: Request<tonic::body::Body>| {
        let request = request.map(|body| match sent {
            Form::Binary | Form::Json => Body::new(body),
            // Behind tonic-web, which would make INTERNAL of what is wrong with the text.
            Form::Text => Body::new(Decoded::new(Body::new(body))),
        });
        grpc.call(sent.codec(), request).map(Ok::<_, Infallible>)
    });
    let response = match GrpcWebLayer::new().layer(native).oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    };
    match wanted {
        Form::Binary => response,
        Form::Json => {
            let mut response = response;
            response.headers_mut().insert(header::CONTENT_TYPE, JSON);
            response
        }
        Form::Text => {
            let mut response = response.map(|body| Body::new(Encoded(body)));
            response.headers_mut().insert(header::CONTENT_TYPE, TEXT);
            response
        }
    }
}

/// The error as a gRPC-Web answer without a body: status and details in the headers.
pub fn refusal(codec: Codec, error: &Error) -> Response<Body> {
    let mut response = grpc::refusal(codec, error);
    let media_type = if codec == Codec::Json { JSON } else { BINARY };
    response.headers_mut().insert(header::CONTENT_TYPE, media_type);
    response
}
