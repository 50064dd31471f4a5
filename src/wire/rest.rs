//! JSON over HTTP, made from `google.api.http`: one gRPC call a request.
//!
//! A request becomes JSON for its message (body, path, query), the message one gRPC call, and the answer JSON again: one
//! object, or for a server stream one object a line (NDJSON).

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, StatusCode, Uri};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};

use super::envelope::envelope;
use super::grpc::Grpc;
use super::http_rule::{Bindings, Template, bind_path, bind_query};
use super::method::{Body as RuleBody, HttpRule, Method};
use super::reply::Reply;
use super::status::{json, json_response, rpc_status};
use super::{grpc, json as json_text};
use crate::error::{Error, Reason, Result};
use crate::proto::google::rpc;

const JSON: &str = "application/json";
const NDJSON: &str = "application/x-ndjson";

/// The JSON routes of every table.
#[derive(Clone)]
pub struct Rest {
    grpc: Grpc,
    routes: Arc<[Route]>,
    /// RPC paths, which take other wires.
    rpc_paths: Arc<[&'static str]>,
    max_body_size: usize,
}

struct Route {
    template: Template,
    rule: &'static HttpRule,
    method: &'static Method,
}

impl Rest {
    /// `max_body_size` is in bytes.
    ///
    /// # Errors
    /// A path template does not parse.
    pub fn new(grpc: Grpc, tables: &[&'static [Method]], max_body_size: usize) -> Result<Self, String> {
        let mut routes = Vec::new();
        for method in tables.iter().flat_map(|table| table.iter()) {
            for rule in method.http {
                routes.push(Route { template: Template::parse(rule.template)?, rule, method });
            }
        }
        routes.sort_by_key(|route| route.template.precedence());
        let rpc_paths = tables.iter().flat_map(|table| table.iter()).map(|method| method.path).collect();
        Ok(Self { grpc, routes: routes.into(), rpc_paths, max_body_size })
    }

    /// Answers one request. `content_type` has no parameters.
    pub async fn call(self, content_type: &str, request: Request<Body>) -> Response<Body> {
        let path = request.uri().path();
        if self.rpc_paths.contains(&path) {
            return grpc::unsupported_type(content_type);
        }
        let (route, bindings) = match self.route(request.method(), path) {
            Ok(found) => found,
            Err(refusal) => return *refusal,
        };
        match self.transcode(route, bindings, content_type, request).await {
            Ok(response) => response,
            Err(Refusal { error, http_status }) => {
                error.log();
                json_response(&rpc_status(&error), http_status)
            }
        }
    }

    /// The rule of this method and path; else 404, or 405 with `Allow`.
    fn route(&self, method: &HttpMethod, path: &str) -> Result<(&Route, Result<Bindings>), Box<Response<Body>>> {
        let mut allowed = Vec::new();
        for route in self.routes.iter() {
            let Some(bindings) = route.template.matches(path) else { continue };
            if route.rule.method == method.as_str() {
                return Ok((route, bindings));
            }
            if !allowed.contains(&route.rule.method) {
                allowed.push(route.rule.method);
            }
        }
        let shown = path.escape_default();
        if allowed.is_empty() {
            let error =
                Error::new(Reason::NotFound, format!("there is nothing at {shown}: JSON is below /v1, bytes below /i"));
            return Err(Box::new(json_response(&rpc_status(&error), None)));
        }
        let allow = allowed.join(", ");
        let error = Error::new(Reason::InvalidRequest, format!("{shown} takes {allow}"));
        let mut response = json_response(&rpc_status(&error), Some(StatusCode::METHOD_NOT_ALLOWED.as_u16()));
        if let Ok(allow) = HeaderValue::from_str(&allow) {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        Err(Box::new(response))
    }

    async fn transcode(
        &self,
        route: &Route,
        bindings: Result<Bindings>,
        content_type: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let (parts, body) = request.into_parts();
        let body = self.read_body(route.rule, content_type, &parts.headers, body).await?;
        let message = request_message(route, bindings?, parts.uri.query().unwrap_or_default(), body)?;

        let mut call = Request::new(Body::from(envelope(0, &message)));
        *call.method_mut() = HttpMethod::POST;
        *call.uri_mut() = Uri::from_static(route.method.path);
        *call.headers_mut() = metadata(&parts.headers);
        *call.extensions_mut() = parts.extensions;
        let mut reply = Reply::new(self.grpc.clone().call(grpc::CONTENT_TYPES[0], call).await);

        if route.method.kind.one_response() {
            let response = match reply.only_message().await {
                Ok(message) => json_body(response_json(route, message)?, &parts.method, &parts.headers),
                Err(status) => json_response(&status, None),
            };
            Ok(with_metadata(with_metadata(response, reply.headers()), reply.trailers()))
        } else {
            // The first item decides the HTTP status: an immediate failure has its own.
            let first = match reply.next_message().await {
                Err(status) => {
                    let response = with_metadata(json_response(&status, None), reply.headers());
                    return Ok(with_metadata(response, reply.trailers()));
                }
                Ok(first) => first,
            };
            let headers = reply.headers().clone();
            let mut response = Response::new(lines(route.method, first, reply));
            response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(NDJSON));
            Ok(with_metadata(response, &headers))
        }
    }

    /// The whole JSON body, bounded; empty where the rule has none.
    async fn read_body(
        &self,
        rule: &HttpRule,
        content_type: &str,
        headers: &HeaderMap,
        body: Body,
    ) -> Result<Bytes, Refusal> {
        if rule.body == RuleBody::None {
            return Ok(Bytes::new());
        }
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
        if announced.is_some_and(|length| length > self.max_body_size as u64) {
            return Err(self.body_too_large());
        }
        if content_type != JSON
            && announced != Some(0)
            && !(content_type.is_empty() && http_body::Body::is_end_stream(&body))
        {
            let shown = content_type.escape_default();
            let error =
                Error::new(Reason::InvalidRequest, format!("content type `{shown}`: this path takes application/json"));
            return Err(Refusal::with_status(error, StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let mut read = BytesMut::new();
        let mut pieces = body.into_data_stream();
        while let Some(piece) = pieces.next().await {
            let cut = |error| Error::new(Reason::Aborted, "the body was cut off before its end").caused_by(error);
            let piece: Bytes = piece.map_err(cut)?;
            if read.len() + piece.len() > self.max_body_size {
                return Err(self.body_too_large());
            }
            read.extend_from_slice(&piece);
        }
        Ok(read.freeze())
    }

    fn body_too_large(&self) -> Refusal {
        let message =
            format!("the JSON body is over the limit of {} bytes: send large content as a stream", self.max_body_size);
        Refusal::with_status(Error::too_large("body size", message), StatusCode::PAYLOAD_TOO_LARGE)
    }
}

/// An error, and its HTTP status where HTTP knows a better one than the code's.
struct Refusal {
    error: Error,
    http_status: Option<u16>,
}

impl Refusal {
    fn with_status(error: Error, status: StatusCode) -> Self {
        Self { error, http_status: Some(status.as_u16()) }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, http_status: None }
    }
}

/// Body, path and query as one message (`google/api/http.proto`: path, then body, then query).
fn request_message(route: &Route, bindings: Bindings, query: &str, body: Bytes) -> Result<Bytes> {
    let schema = route.method.input;
    let body =
        if body.iter().all(u8::is_ascii_whitespace) { Value::Object(Map::new()) } else { json_text::parse(&body)? };
    let mut body_field = None;
    let mut request = match route.rule.body {
        RuleBody::None => Map::new(),
        RuleBody::Whole => json_text::object(body, schema, "")?,
        RuleBody::Field(name) => {
            let field = schema.field(name);
            body_field = field.map(|field| field.name);
            let json_name = field.map_or(name, |field| field.json_name);
            let mask = update_mask(route, &body);
            let wrapped = Value::Object(Map::from_iter([(json_name.to_owned(), body)]));
            let mut request = json_text::object(wrapped, schema, "")?;
            if let Some(mask) = mask.filter(|_| !mentions_mask(query)) {
                request.insert("updateMask".to_owned(), mask.into());
            }
            request
        }
    };
    if route.rule.body == RuleBody::Whole && !query.is_empty() {
        let message = format!("{} takes its fields in the body, not in a query", route.rule.template);
        return Err(Error::invalid("", message));
    }
    let bound_by_path: Vec<String> = bindings.iter().map(|(field, _)| field.clone()).collect();
    bind_path(&mut request, schema, bindings)?;
    bind_query(&mut request, schema, query, |field| {
        bound_by_path.iter().any(|bound| bound == field)
            || body_field.is_some_and(|body| field == body || field.starts_with(&format!("{body}.")))
    })?;
    (schema.from_json)(Value::Object(request)).map_err(json_text::refused)
}

/// PATCH: the body's own fields, as a mask (AIP-134). What the path names (`image.name`) is not one of them.
fn update_mask(route: &Route, body: &Value) -> Option<String> {
    let schema = route.method.input;
    if route.rule.method != "PATCH" || schema.field("update_mask").is_none() {
        return None;
    }
    let fields = body.as_object()?.keys().filter(|name| !matches!(name.as_str(), "name" | "etag"));
    Some(fields.map(String::as_str).collect::<Vec<_>>().join(","))
}

fn mentions_mask(query: &str) -> bool {
    query.split('&').any(|pair| matches!(pair.split('=').next(), Some("update_mask" | "updateMask")))
}

/// The request's headers that travel as metadata: all but those that speak of this connection or this body.
fn metadata(headers: &HeaderMap) -> HeaderMap {
    const OURS: [HeaderName; 14] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let mut metadata = headers.clone();
    for name in OURS {
        metadata.remove(name);
    }
    let reserved: Vec<HeaderName> =
        metadata.keys().filter(|name| name.as_str().starts_with("grpc-")).cloned().collect();
    for name in reserved {
        metadata.remove(name);
    }
    metadata.insert(header::CONTENT_TYPE, HeaderValue::from_static(grpc::CONTENT_TYPES[0]));
    metadata.insert(header::TE, HeaderValue::from_static("trailers"));
    metadata
}

/// Adds metadata of the answer, leading or trailing, as headers.
fn with_metadata(mut response: Response<Body>, metadata: &HeaderMap) -> Response<Body> {
    for (name, value) in metadata {
        let ours = name == header::CONTENT_TYPE || name == header::CONTENT_LENGTH || name.as_str().starts_with("grpc-");
        if !ours {
            response.headers_mut().append(name.clone(), value.clone());
        }
    }
    response
}

/// The answer's JSON: the rule's `response_body`, or the whole message.
fn response_json(route: &Route, message: Bytes) -> Result<Vec<u8>> {
    let internal = |error: super::method::JsonError| Error::internal(error);
    let mut json = (route.method.output.to_json)(message).map_err(internal)?;
    if let Some(name) = route.rule.response_body
        && let Some(field) = route.method.output.field(name)
    {
        json = json.get_mut(field.json_name).map(Value::take).unwrap_or_else(|| Value::Object(Map::new()));
    }
    serde_json::to_vec(&json).map_err(Error::internal)
}

/// A JSON body with an `ETag` of its own bytes; 304 for a GET that has them already.
fn json_body(body: Vec<u8>, method: &HttpMethod, headers: &HeaderMap) -> Response<Body> {
    let digest = hex::encode(&Sha256::digest(&body)[..16]);
    let etag = format!("\"{digest}\"");
    let known = |value: &HeaderValue| {
        let tags = value.to_str().unwrap_or_default();
        tags.split(',').map(|tag| tag.trim().trim_start_matches("W/")).any(|tag| tag == "*" || tag == etag)
    };
    let not_modified = method == HttpMethod::GET && headers.get_all(header::IF_NONE_MATCH).iter().any(known);
    let mut response = Response::new(Body::empty());
    if not_modified {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    } else {
        *response.body_mut() = Body::from(body);
        response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    }
    if method == HttpMethod::GET {
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            response.headers_mut().insert(header::ETAG, etag);
        }
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    }
    response
}

/// One JSON object a line. A failure in mid-stream is a last line `{"error": google.rpc.Status}`.
fn lines(method: &'static Method, first: Option<Bytes>, mut reply: Reply) -> Body {
    Body::from_stream(async_stream::stream! {
        let mut next = Ok(first);
        loop {
            let failed = match next {
                Ok(None) => return,
                Ok(Some(message)) => match line(method, message) {
                    Ok(line) => {
                        yield Ok::<_, std::convert::Infallible>(line);
                        next = reply.next_message().await;
                        continue;
                    }
                    Err(error) => {
                        error.log();
                        rpc_status(&error)
                    }
                },
                Err(status) => status,
            };
            yield Ok(error_line(&failed));
            return;
        }
    })
}

fn line(method: &Method, message: Bytes) -> Result<Bytes> {
    let json = (method.output.to_json)(message).map_err(Error::internal)?;
    let mut line = serde_json::to_vec(&json).map_err(Error::internal)?;
    line.push(b'\n');
    Ok(line.into())
}

fn error_line(status: &rpc::Status) -> Bytes {
    [b"{\"error\":".as_slice(), &json(status), b"}\n"].concat().into()
}
