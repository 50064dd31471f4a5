//! gRPC-Web: tonic-web, given the media types as it knows them.
//!
//! PROTOCOL-WEB.md: frames as in gRPC, trailers in a last frame of the body.

use axum::body::Body;
use http::{HeaderValue, Request, Response, header};
use tonic_web::GrpcWebLayer;
use tower::{Layer as _, ServiceExt as _};

use super::grpc::{self, Grpc};
use crate::error::Error;

/// Media types of gRPC-Web.
pub const CONTENT_TYPES: [&str; 2] = ["application/grpc-web", "application/grpc-web+proto"];

/// Answers one call. `content_type` has no parameters.
pub async fn call(grpc: Grpc, content_type: &str, mut request: Request<Body>) -> Response<Body> {
    if !CONTENT_TYPES.contains(&content_type) {
        return grpc::unsupported_type(content_type);
    }
    // tonic-web compares the whole header: parameters would make it another type.
    if let Ok(bare) = HeaderValue::from_str(content_type) {
        request.headers_mut().insert(header::CONTENT_TYPE, bare);
    }
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static(CONTENT_TYPES[1]));
    let native = grpc.into_service().map_request(|request: Request<tonic::body::Body>| request.map(Body::new));
    match GrpcWebLayer::new().layer(native).oneshot(request).await {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    }
}

/// The error as a gRPC-Web answer without a body: status and details in the headers.
pub fn refusal(error: &Error) -> Response<Body> {
    let mut response = grpc::refusal(error);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(CONTENT_TYPES[1]));
    response
}
