//! The services of every table as an OpenAPI 3.1 document (<https://spec.openapis.org/oas/v3.1.1>).
//!
//! Paths, parameters and bodies are those of `google.api.http`, descriptions are the proto's comments, and what a call can
//! fail with is what its method declares and what every call can. An RPC that no JSON route leads to stands in the
//! extension `x-rpcs`, with all the others.

mod responses;
mod rest;
mod schema;

use http::Method as HttpMethod;
use serde_json::{Map, Value, json};

use super::http_rule::Template;
use super::method::{Kind, Method};
use crate::error::Reason;

pub use responses::Responses;
pub use schema::Schemas;

/// What the document says of the server as a whole.
#[derive(Debug, Clone, Copy)]
pub struct About {
    /// Name of the API.
    pub title: &'static str,
    /// Version of the program.
    pub version: &'static str,
    /// What it is, in Markdown.
    pub description: &'static str,
    /// SPDX identifier of its licence.
    pub license: &'static str,
    /// Whether callers without credentials may only read: then there is none that may write.
    pub read_only: bool,
}

/// A document in the making.
#[derive(Debug)]
pub struct Document {
    about: About,
    tags: Vec<Value>,
    paths: Map<String, Value>,
    /// What `components/schemas` holds.
    pub schemas: Schemas,
    rpcs: Vec<Value>,
}

impl Document {
    /// With the JSON routes of every table.
    ///
    /// # Errors
    /// A path template does not parse, or an error is declared that is none.
    pub fn new(about: About, tables: &[&'static [Method]]) -> Result<Self, String> {
        let mut document =
            Self { about, tags: Vec::new(), paths: Map::new(), schemas: Schemas::default(), rpcs: Vec::new() };
        for table in tables {
            if let Some(method) = table.first() {
                document.tag(short(method.service), method.service_doc);
            }
            for method in *table {
                document.add(method)?;
            }
        }
        Ok(document)
    }

    fn add(&mut self, method: &'static Method) -> Result<(), String> {
        let mut routes = Vec::new();
        for (index, rule) in method.http.iter().enumerate() {
            // What OpenAPI has no word for is left to `x-rpcs`.
            let known = rule.method.to_lowercase();
            if !["get", "put", "post", "delete", "patch"].contains(&known.as_str()) {
                continue;
            }
            let (path, variables) = Template::parse(rule.template)?.named();
            let operation = rest::operation(self, method, rule, &variables, index)?;
            routes.push(format!("{} {path}", rule.method));
            self.operation(&path, rule.method, operation);
        }
        for rule in method.bytes {
            routes.extend(rule.methods.iter().map(|method| format!("{method} {}", rule.path)));
        }
        let kind = match method.kind {
            Kind::Unary => "unary",
            Kind::ClientStream => "client_stream",
            Kind::ServerStream => "server_stream",
            Kind::Bidi => "bidi",
        };
        let rpc = json!({
            "path": method.path,
            "description": method.doc,
            "kind": kind,
            "noSideEffects": method.no_side_effects,
            "request": self.schemas.message(method.input),
            "response": self.schemas.message(method.output),
            "routes": routes,
            "errors": declared(method)?.into_iter().map(|reason| reason.row().name).collect::<Vec<_>>(),
        });
        self.rpcs.push(rpc);
        Ok(())
    }

    /// Adds a group of operations.
    pub fn tag(&mut self, name: &str, description: &str) {
        self.tags.push(json!({"name": name, "description": description}));
    }

    /// Adds an operation. `method` is an HTTP method.
    pub fn operation(&mut self, path: &str, method: &str, operation: Value) {
        let item = self.paths.entry(path).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(item) = item {
            item.insert(method.to_lowercase(), operation);
        }
    }

    /// The answers that every request of this HTTP method can get, whatever it asks for.
    pub fn responses(&self, method: &str) -> Responses {
        let mut responses = Responses::default();
        responses.refused_by_http();
        for reason in [Reason::InvalidRequest, Reason::PermissionDenied, Reason::DeadlineExceeded, Reason::Internal] {
            responses.fails(reason);
        }
        let reads = HttpMethod::from_bytes(method.as_bytes()).is_ok_and(|method| method.is_safe());
        if self.about.read_only && !reads {
            responses.fails(Reason::Unauthenticated);
        }
        responses
    }

    /// The document.
    pub fn finish(self) -> Value {
        let About { title, version, description, license, .. } = self.about;
        json!({
            "openapi": "3.1.1",
            "info": {
                "title": title,
                "version": version,
                "description": description,
                "contact": {"name": "The operator of this server"},
                "license": {"name": license, "identifier": license},
            },
            "servers": [{"url": "/", "description": "This server"}],
            "tags": self.tags,
            "paths": self.paths,
            "components": {
                "schemas": self.schemas.finish(),
                "parameters": parameters(),
                "headers": responses::headers(),
            },
            "x-rpcs": self.rpcs,
        })
    }
}

/// Parameters of every operation, by reference.
pub fn common_parameters() -> Vec<Value> {
    ["RequestTimeout", "RequestId"].map(|name| json!({"$ref": format!("#/components/parameters/{name}")})).to_vec()
}

fn parameters() -> Value {
    json!({
        "RequestTimeout": {
            "name": "X-Request-Timeout",
            "in": "header",
            "description": "Seconds to answer in, such as `2.5`, an hour when not given and six at most. Once they are \
                            over the answer is 504; one that has begun breaks off.",
            "schema": {"type": "string", "pattern": "^([0-9]{1,9}|[0-9]{1,9}\\.[0-9]{1,9})$"},
        },
        "RequestId": {
            "name": "X-Request-Id",
            "in": "header",
            "description": "Names the request in the server's log; the answer repeats it. One that does not look like \
                            this is replaced.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9._:+/=-]{1,128}$"},
        },
    })
}

/// The failures that the method declares.
///
/// # Errors
/// A name that is no reason's.
pub fn declared(method: &Method) -> Result<Vec<Reason>, String> {
    let named = |name| Reason::named(name).ok_or_else(|| format!("{} declares an error {name}", method.path));
    method.errors.split_whitespace().map(named).collect()
}

/// `ImageService` of `wirephoto.v1.ImageService`.
pub fn short(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}

/// The first sentence of a description.
pub fn summary(doc: &str) -> String {
    let paragraph = doc.split("\n\n").next().unwrap_or_default().replace('\n', " ");
    let sentence = paragraph.split(". ").next().unwrap_or_default();
    sentence.trim_end_matches('.').to_owned()
}
