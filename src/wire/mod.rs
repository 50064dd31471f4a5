//! The wires: translators in front of gRPC services, generic over any proto. They know method tables and no image.
//!
//! ```text
//! gRPC ─────────────────────────┐
//! gRPC-Web ── base64, tonic-web ┤
//! REST ── google.api.http ──────┴─ checks ── tonic services
//! ```

mod compression;
pub mod content_coding;
pub mod deadline;
pub mod envelope;
pub mod grpc;
pub mod grpc_web;
pub mod http_rule;
pub mod json;
pub mod metadata;
pub mod method;
pub mod openapi;
mod reply;
pub mod rest;
pub mod status;
pub mod text;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Request, Response, header};

use crate::error::Error;
use grpc::Grpc;
use method::Method;
use rest::Rest;

/// What a request speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wire {
    /// Native gRPC.
    Grpc,
    /// gRPC-Web.
    GrpcWeb,
    /// JSON over HTTP.
    Rest,
    /// An image's bytes over HTTP.
    Bytes,
    /// What browsers and probes ask for: the page, its assets, health.
    Page,
}

impl Wire {
    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::GrpcWeb => "grpc-web",
            Self::Rest => "rest",
            Self::Bytes => "bytes",
            Self::Page => "page",
        }
    }
}

/// Tells the wire from path and media type. What is asked for at an unknown path is answered as JSON.
///
/// The path goes first where it alone decides who answers: a media type must not make a write look like an RPC.
pub fn classify(path: &str, content_type: &str) -> Wire {
    let below = |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if below("/i") {
        Wire::Bytes
    } else if path == "/" || below("/assets") || ["/docs", "/livez", "/openapi.json", "/readyz"].contains(&path) {
        Wire::Page
    } else if content_type.starts_with("application/grpc-web") {
        Wire::GrpcWeb
    } else if content_type.starts_with("application/grpc") {
        Wire::Grpc
    } else {
        Wire::Rest
    }
}

/// A request's media type: lower case, without parameters; empty when there is none.
pub fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Every RPC wire in front of one set of services.
#[derive(Clone)]
pub struct Wires {
    grpc: Grpc,
    rest: Rest,
}

/// Limits of the RPC wires, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One request message.
    pub message: usize,
    /// A JSON request body.
    pub json_body: usize,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        // base64 makes four of three.
        Self { message: 8 * MIB, json_body: 11 * MIB }
    }
}

impl Wires {
    /// `routes` are the services as tonic made them, `tables` describe those that the translators serve.
    ///
    /// # Errors
    /// A path template of a table does not parse.
    pub fn new(routes: Router, tables: &[&'static [Method]], limits: Limits) -> Result<Self, String> {
        let grpc = Grpc::new(routes, tables, limits.message);
        let rest = Rest::new(grpc.clone(), tables, limits.json_body)?;
        Ok(Self { grpc, rest })
    }

    /// Answers one request of any RPC wire.
    pub async fn call(self, request: Request<Body>) -> Response<Body> {
        let content_type = media_type(request.headers());
        match classify(request.uri().path(), &content_type) {
            Wire::Grpc => self.grpc.call(&content_type, request).await,
            Wire::GrpcWeb => grpc_web::call(self.grpc, &content_type, request).await,
            Wire::Rest | Wire::Bytes | Wire::Page => self.rest.call(&content_type, request).await,
        }
    }
}

/// The error in the words of an RPC wire.
pub fn refusal(wire: Wire, error: &Error) -> Response<Body> {
    match wire {
        Wire::Grpc => grpc::refusal(error),
        Wire::GrpcWeb => grpc_web::refusal(error),
        Wire::Rest | Wire::Bytes | Wire::Page => {
            error.log();
            status::json_response(&status::rpc_status(error), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Wire, classify};

    #[test]
    fn path_and_type_tell_the_wire() {
        let cases = [
            ("/wirephoto.v1.ImageService/GetImage", "application/grpc", Wire::Grpc),
            ("/wirephoto.v1.ImageService/GetImage", "application/grpc+proto", Wire::Grpc),
            ("/wirephoto.v1.ImageService/GetImage", "application/grpc-web+proto", Wire::GrpcWeb),
            ("/wirephoto.v1.ImageService/GetImage", "application/grpc-web-text", Wire::GrpcWeb),
            ("/wirephoto.v1.ImageService/GetImage", "image/jpeg", Wire::Rest),
            ("/v1/images", "", Wire::Rest),
            ("/v1/images/cat", "application/json", Wire::Rest),
            ("/i/cat", "image/jpeg", Wire::Bytes),
            ("/i", "multipart/form-data", Wire::Bytes),
            ("/i/cat", "application/grpc", Wire::Bytes),
            ("/", "application/grpc-web", Wire::Page),
            ("/images", "", Wire::Rest),
            ("/", "", Wire::Page),
            ("/assets/app.js", "", Wire::Page),
            ("/assetsx", "", Wire::Rest),
            ("/livez", "", Wire::Page),
            ("/docs", "", Wire::Page),
            ("/openapi.json", "", Wire::Page),
            ("/docs/x", "", Wire::Rest),
        ];
        for (path, content_type, wire) in cases {
            assert_eq!(classify(path, content_type), wire, "{path} {content_type}");
        }
    }
}
