//! JSON over HTTP, made from `google.api.http`: one gRPC call a request.
//!
//! A request becomes its message (path, body, query), the message one gRPC call, and the answer JSON again: one value, or
//! for a server stream many.

mod request;
mod stream;

use std::sync::Arc;

use axum::body::Body;
use http::header::{self, HeaderName};
use http::{HeaderMap, HeaderValue, Method as HttpMethod, Request, Response, StatusCode, Uri};

use super::Codec;
use super::content_coding::encoded;
use super::envelope::envelope;
use super::grpc::Grpc;
use super::http_rule::{Bindings, Template, check};
use super::json::{self, JsonError, unwritable};
use super::metadata::{of_request, with_metadata};
use super::method::{HttpRule, Method};
use super::reply::Reply;
use super::status::{json_response, rpc_status};
use super::validator;
use crate::error::{Error, Reason, Result};
use stream::Form;

const JSON: &str = "application/json";

/// The JSON routes of every table.
pub struct Rest {
    grpc: Grpc,
    routes: Arc<[(Template, Route)]>,
    max_body_size: usize,
}

/// A rule and the method it leads to.
#[derive(Clone, Copy)]
struct Route {
    rule: &'static HttpRule,
    method: &'static Method,
}

impl Route {
    /// An answer's JSON: the rule's `response_body`, or the whole message.
    fn json(&self, message: &[u8]) -> Result<Vec<u8>, JsonError> {
        let schema = self.method.output;
        match self.rule.response_body.and_then(|name| schema.field(name)) {
            Some(field) => json::write_field(message, field, schema),
            None => json::write(message, schema),
        }
    }

    /// Whether the rule takes this HTTP method: its own, any for `*`, and HEAD where there is GET.
    fn takes(&self, method: &HttpMethod) -> bool {
        self.rule.method == method.as_str()
            || self.rule.method == "*"
            || (self.rule.method == "GET" && method == HttpMethod::HEAD)
    }
}

impl Rest {
    /// `max_body_size` is in bytes, of a body without its coding.
    ///
    /// # Errors
    /// A rule is wrong: its template does not parse, or names fields that are not there.
    pub fn new(grpc: Grpc, tables: &[&'static [Method]], max_body_size: usize) -> Result<Self, String> {
        let mut routes = Vec::new();
        for method in tables.iter().flat_map(|table| table.iter()) {
            for rule in method.http {
                let template = Template::parse(rule.template)?;
                check(rule, &template, method)?;
                routes.push((template, Route { rule, method }));
            }
        }
        routes.sort_by_key(|(template, route)| (template.precedence(), route.rule.method == "*"));
        Ok(Self { grpc, routes: routes.into(), max_body_size })
    }

    /// Answers one request. `content_type` has no parameters.
    pub async fn call(&self, content_type: &str, request: Request<Body>) -> Response<Body> {
        let (route, bindings) = match self.route(request.method(), request.uri().path()) {
            Ok(found) => found,
            Err(refusal) => return *refusal,
        };
        match self.transcode(route, bindings, content_type, request).await {
            Ok(response) => response,
            Err(Refusal { error, http_status, header }) => {
                error.log();
                let mut response = json_response(&rpc_status(&error), http_status);
                response.headers_mut().extend(header);
                response
            }
        }
    }

    /// The rule of this method and path; else 404, or 405 with `Allow`.
    fn route(&self, method: &HttpMethod, path: &str) -> Result<(Route, Result<Bindings>), Box<Response<Body>>> {
        let mut allowed = Vec::new();
        let mut with_verb = false;
        for (template, route) in self.routes.iter() {
            let Some(bindings) = template.matches(path) else { continue };
            if route.takes(method) {
                return Ok((*route, bindings));
            }
            // Those without a verb, which come after, take the one there is for a part of a name.
            if with_verb && !template.has_verb() {
                continue;
            }
            with_verb |= template.has_verb();
            if !allowed.contains(&route.rule.method) {
                allowed.push(route.rule.method);
                if route.rule.method == "GET" {
                    allowed.push("HEAD");
                }
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
        route: Route,
        bindings: Result<Bindings>,
        content_type: &str,
        request: Request<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let (parts, body) = request.into_parts();
        let (limit, account) = (self.max_body_size, parts.extensions.get());
        let body = request::read_body(route.rule, content_type, &parts.headers, body, limit, account).await?;
        let message = request::message(&route, &bindings?, parts.uri.query().unwrap_or_default(), &body)?;

        let mut call = Request::new(Body::from(envelope(0, &message)));
        *call.method_mut() = HttpMethod::POST;
        *call.uri_mut() = Uri::from_static(route.method.path);
        *call.headers_mut() = of_request(&parts.headers);
        *call.extensions_mut() = parts.extensions;
        let mut reply = Reply::new(self.grpc.call(Codec::Proto, call).await);

        if route.method.kind.one_response() {
            let response = match reply.only_message().await {
                Ok(message) => {
                    let body = route.json(&message).map_err(unwritable)?;
                    encoded(&parts.headers, json_body(body, &parts.method, &parts.headers)).await
                }
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
            let form = Form::negotiate(&parts.headers);
            let mut response = Response::new(stream::body(route, form, first, reply));
            let told = response.headers_mut();
            told.insert(header::CONTENT_TYPE, HeaderValue::from_static(form.content_type()));
            told.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            told.insert(header::VARY, HeaderValue::from_static("accept"));
            Ok(with_metadata(response, &headers))
        }
    }
}

/// An error, and its HTTP status where HTTP knows a better one than the code's.
struct Refusal {
    error: Error,
    http_status: Option<u16>,
    /// A header that belongs to that status.
    header: Option<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn with_status(error: Error, status: StatusCode) -> Self {
        Self { error, http_status: Some(status.as_u16()), header: None }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, http_status: None, header: None }
    }
}

/// A JSON body, with an `ETag` for a GET.
fn json_body(body: Vec<u8>, method: &HttpMethod, headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    if method == HttpMethod::GET || method == HttpMethod::HEAD {
        return validator::validated(response, body.into(), headers);
    }
    response.map(|_| Body::from(body))
}
