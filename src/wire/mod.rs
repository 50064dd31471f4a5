//! The wires: translators in front of gRPC services, generic over any proto. They know method tables and no image.
//!
//! ```text
//! gRPC ─────────────────────────┐
//! gRPC-Web ── base64, tonic-web ┤
//! Connect ── framing ───────────┼─ JSON ─ checks ─ services
//! REST ── google.api.http ──────┘
//! ```

pub mod compression;
pub mod connect;
pub mod content_coding;
pub mod deadline;
pub mod envelope;
pub mod gather;
pub mod grpc;
mod grpc_json;
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
pub mod validator;

use std::borrow::Cow;
use std::future::ready;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::{HeaderMap, Request, Response, header};
use tower::ServiceExt as _;

use crate::error::Error;
use crate::io::Outlet;
use compression::GRPC_ENCODING;
use gather::{Account, Budget};
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
    /// Connect.
    Connect,
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
            Self::Connect => "connect",
            Self::Rest => "rest",
            Self::Bytes => "bytes",
            Self::Page => "page",
        }
    }
}

/// How messages are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As protobuf serialises them.
    Proto,
    /// As proto3 JSON.
    Json,
}

/// What a request speaks, as exactly as an answer must know it.
#[derive(Debug, Clone, Copy)]
pub struct Spoken {
    /// The wire.
    pub wire: Wire,
    /// How an RPC wire's messages are written.
    pub codec: Codec,
    /// Whether messages are in envelopes, which for Connect makes its streams.
    pub framed: bool,
    /// The RPC whose path it has, if the tables have it, be it called by an RPC wire or not.
    pub method: Option<&'static Method>,
}

impl Spoken {
    /// Tells the wire from path and media type. What is asked for at an unknown path is answered as JSON.
    ///
    /// The path goes first where it alone decides who answers: a media type must not make a write look like an RPC.
    /// `method` is what the tables have at the path; what comes there in no RPC's media type is Connect's to answer.
    pub fn of(path: &str, method: Option<&'static Method>, content_type: &str) -> Self {
        let below =
            |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let codec = if content_type.ends_with("json") { Codec::Json } else { Codec::Proto };
        let (wire, framed) = if below("/i") {
            (Wire::Bytes, false)
        } else if path == "/" || below("/assets") || ["/docs", "/livez", "/openapi.json", "/readyz"].contains(&path) {
            (Wire::Page, false)
        } else if content_type.starts_with("application/grpc-web") {
            (Wire::GrpcWeb, true)
        } else if content_type.starts_with("application/grpc") {
            (Wire::Grpc, true)
        } else if content_type.starts_with("application/connect+") {
            (Wire::Connect, true)
        } else if method.is_some() || content_type == "application/proto" {
            (Wire::Connect, false)
        } else {
            (Wire::Rest, false)
        };
        Self { wire, codec, framed, method }
    }
}

/// The RPC of the tables at a path.
pub fn method_at(tables: &[&'static [Method]], path: &str) -> Option<&'static Method> {
    tables.iter().flat_map(|table| table.iter()).find(|method| method.path == path)
}

/// A request's media type: lower case, without parameters; empty when there is none.
pub fn media_type(headers: &HeaderMap) -> Cow<'_, str> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media_type = value.split(';').next().unwrap_or_default().trim();
    if media_type.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(media_type.to_ascii_lowercase())
    } else {
        Cow::Borrowed(media_type)
    }
}

/// gRPC services, answering native gRPC.
pub trait Routes: Send + Sync {
    /// Answers one call.
    fn call(&self, request: Request<Body>) -> BoxFuture<'_, Response<Body>>;
}

impl Routes for axum::Router {
    fn call(&self, request: Request<Body>) -> BoxFuture<'_, Response<Body>> {
        self.clone().oneshot(request).map(|answered| answered.unwrap_or_else(|never| match never {})).boxed()
    }
}

/// Every RPC wire in front of one set of services.
pub struct Wires {
    grpc: Grpc,
    rest: Rest,
    gathered: Budget,
}

/// Limits of the RPC wires, of sizes in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// One request message.
    pub message: usize,
    /// A JSON request body.
    pub json_body: usize,
    /// All request messages together that are gathered whole before they are answered, as they come and as they are without
    /// their compression, until they are; but for the first KiB of each.
    pub gathered: usize,
    /// A message of which nothing comes for this long, once it has begun, is cut off.
    pub silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MIB: usize = 1 << 20;
        // base64 makes four of three.
        Self { message: 8 * MIB, json_body: 11 * MIB, gathered: 256 * MIB, silence: Duration::from_secs(60) }
    }
}

impl Wires {
    /// `routes` are the services, `tables` describe those that the translators serve.
    ///
    /// # Errors
    /// A path template of a table does not parse.
    pub fn new(routes: Arc<dyn Routes>, tables: &'static [&'static [Method]], limits: Limits) -> Result<Self, String> {
        let grpc = Grpc::new(routes, tables, limits);
        let rest = Rest::new(grpc.clone(), tables, limits.json_body)?;
        Ok(Self { grpc, rest, gathered: Budget::new(limits.gathered) })
    }

    /// Answers one request of any RPC wire, by what it speaks, each wire in a future of its own size.
    pub fn call(&self, spoken: Spoken, mut request: Request<Body>) -> BoxFuture<'_, Response<Body>> {
        let account = spoken.method.is_none_or(|method| method.kind.one_request()).then(|| self.gathered.account());
        if let Some(account) = &account {
            request = request.map(|body| account.count(body));
            if spoken.wire != Wire::Grpc || request.headers().contains_key(GRPC_ENCODING) {
                // For what it is without its compression.
                request.extensions_mut().insert(account.clone());
            }
        }
        if !spoken.framed {
            // What is sent is made of what is read; of what is in envelopes, who encodes it says so.
            request.extensions_mut().remove::<Outlet>();
        }
        let content_type = media_type(request.headers());
        if let Wire::Grpc = spoken.wire {
            return match grpc::codec(&content_type) {
                Some(codec) => counted(account, async move { self.grpc.call(codec, request).await }),
                None => ready(grpc::unsupported_type(&content_type)).boxed(),
            };
        }
        let content_type = content_type.into_owned();
        match spoken.wire {
            Wire::GrpcWeb => counted(account, async move { grpc_web::call(&self.grpc, &content_type, request).await }),
            Wire::Connect => {
                counted(account, async move { connect::call(&self.grpc, spoken.method, &content_type, request).await })
            }
            _ => counted(account, async move { self.rest.call(&content_type, request).await }),
        }
    }
}

/// The answer; what its request took of the budget is given back with it.
fn counted<'a>(
    account: Option<Account>,
    answer: impl Future<Output = Response<Body>> + Send + 'a,
) -> BoxFuture<'a, Response<Body>> {
    async move {
        let answer = answer.await;
        drop(account);
        answer
    }
    .boxed()
}

/// The error in the words of an RPC wire.
pub fn refusal(spoken: Spoken, error: &Error) -> Response<Body> {
    match spoken.wire {
        Wire::Grpc => grpc::refusal(spoken.codec, error),
        Wire::GrpcWeb => grpc_web::refusal(spoken.codec, error),
        Wire::Connect => connect::refusal(spoken, error),
        Wire::Rest | Wire::Bytes | Wire::Page => json_refusal(error),
    }
}

/// The error as JSON, for whoever asks for no RPC.
pub fn json_refusal(error: &Error) -> Response<Body> {
    error.log();
    status::json_response(&status::rpc_status(error), None)
}

#[cfg(test)]
mod tests {
    use super::{Codec, Spoken, Wire, method_at};
    use crate::proto::wirephoto::v1::table::IMAGE_SERVICE;

    #[test]
    fn path_and_type_tell_the_wire() {
        let cases = [
            ("/wirephoto.v1.ImageService/GetImage", "application/grpc", Wire::Grpc),
            ("/wirephoto.v1.ImageService/GetImage", "application/grpc+proto", Wire::Grpc),
            ("/wirephoto.v1.ImageService/GetImage", "application/grpc-web+proto", Wire::GrpcWeb),
            ("/wirephoto.v1.ImageService/GetImage", "application/grpc-web-text", Wire::GrpcWeb),
            ("/wirephoto.v1.ImageService/GetImage", "image/jpeg", Wire::Connect),
            ("/wirephoto.v1.ImageService/GetImage", "", Wire::Connect),
            ("/wirephoto.v1.ImageService/GetImage", "application/json", Wire::Connect),
            ("/wirephoto.v1.ImageService/GetImage", "application/connect+json", Wire::Connect),
            ("/grpc.health.v1.Health/Check", "application/proto", Wire::Connect),
            ("/grpc.health.v1.Health/Check", "application/json", Wire::Rest),
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
            let method = method_at(&[IMAGE_SERVICE], path);
            assert_eq!(Spoken::of(path, method, content_type).wire, wire, "{path} {content_type}");
        }
    }

    #[test]
    fn the_type_tells_codec_and_framing() {
        let cases = [
            ("application/grpc", Codec::Proto, true),
            ("application/grpc+json", Codec::Json, true),
            ("application/grpc-web+json", Codec::Json, true),
            ("application/grpc-web-text", Codec::Proto, true),
            ("application/json", Codec::Json, false),
            ("application/proto", Codec::Proto, false),
            ("application/connect+json", Codec::Json, true),
            ("application/connect+proto", Codec::Proto, true),
        ];
        for (content_type, codec, framed) in cases {
            let spoken = Spoken::of("/a.B/C", IMAGE_SERVICE.first(), content_type);
            assert_eq!((spoken.codec, spoken.framed), (codec, framed), "{content_type}");
        }
    }
}
