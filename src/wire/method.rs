//! The table that `build.rs` makes of a proto: everything a wire needs to know of a service, as plain statics.

use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// One RPC.
#[derive(Debug)]
pub struct Method {
    /// Full name of the service, such as `wirephoto.v1.ImageService`.
    pub service: &'static str,
    /// Name of the RPC, such as `GetImage`.
    pub name: &'static str,
    /// Its gRPC path, `/{service}/{name}`.
    pub path: &'static str,
    /// Who streams.
    pub kind: Kind,
    /// Whether it is declared `NO_SIDE_EFFECTS`: safe to retry and to cache.
    pub no_side_effects: bool,
    /// The request message.
    pub input: &'static Message,
    /// The response message.
    pub output: &'static Message,
    /// Its JSON routes: the `google.api.http` rule and its additional bindings.
    pub http: &'static [HttpRule],
}

/// Which sides of an RPC stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// One message in, one out.
    Unary,
    /// Many in, one out.
    ClientStream,
    /// One in, many out.
    ServerStream,
    /// Many in, many out.
    Bidi,
}

impl Kind {
    /// Whether the caller sends exactly one message.
    pub fn one_request(self) -> bool {
        matches!(self, Self::Unary | Self::ServerStream)
    }

    /// Whether the server answers with exactly one message.
    pub fn one_response(self) -> bool {
        matches!(self, Self::Unary | Self::ClientStream)
    }
}

/// A rule of `google.api.http`.
#[derive(Debug)]
pub struct HttpRule {
    /// HTTP method, upper case.
    pub method: &'static str,
    /// Path template.
    pub template: &'static str,
    /// What the HTTP body becomes.
    pub body: Body,
    /// The response's field that becomes the HTTP body; the whole response without one.
    pub response_body: Option<&'static str>,
}

/// What part of the request message an HTTP body is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// There is no body; what the path leaves comes from the query.
    None,
    /// `*`: all that the path leaves; there is no query.
    Whole,
    /// One top-level field; the rest comes from the query.
    Field(&'static str),
}

/// A message, with its proto3 JSON codec.
pub struct Message {
    /// Full name, such as `wirephoto.v1.Image`.
    pub name: &'static str,
    /// Its fields, in the proto's order.
    pub fields: &'static [Field],
    /// Parses proto3 JSON and serialises the message.
    pub from_json: fn(Value) -> Result<Bytes, JsonError>,
    /// Parses a serialised message and writes proto3 JSON.
    pub to_json: fn(Bytes) -> Result<Value, JsonError>,
}

impl Message {
    /// The field of this proto name or JSON name.
    pub fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name || field.json_name == name)
    }
}

impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Name in the proto.
    pub name: &'static str,
    /// Name in JSON.
    pub json_name: &'static str,
    /// One, many, or a map.
    pub cardinality: Cardinality,
    /// What it holds, as JSON sees it.
    pub kind: FieldKind,
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cardinality {
    /// At most once.
    Singular,
    /// As an array.
    Repeated,
    /// As an object.
    Map,
}

/// What a field holds, as JSON sees it.
#[derive(Debug, Clone, Copy)]
pub enum FieldKind {
    /// `true` or `false`.
    Bool,
    /// A number; 64-bit integers are strings in JSON.
    Number,
    /// A string, and the well-known types that are strings in JSON (Timestamp, Duration, FieldMask).
    String,
    /// base64.
    Bytes,
    /// A name or a number.
    Enum,
    /// An object with these fields.
    Message(&'static Message),
    /// JSON of a shape this table does not describe (Struct, Any, map entries).
    Opaque,
}

/// JSON that does not fit its message, or a message that has no JSON.
#[derive(Debug, thiserror::Error)]
#[error("{reason}")]
pub struct JsonError {
    /// Where in the JSON, such as `image.labels`; empty for the whole.
    pub path: String,
    /// What is wrong there.
    pub reason: String,
}

/// [`Message::from_json`] of a generated type.
pub fn from_json<T: DeserializeOwned + prost::Message>(json: Value) -> Result<Bytes, JsonError> {
    let message: T = serde_path_to_error::deserialize(json).map_err(|error| JsonError {
        path: error.path().to_string().trim_start_matches('.').to_owned(),
        reason: error.inner().to_string(),
    })?;
    Ok(message.encode_to_vec().into())
}

/// [`Message::to_json`] of a generated type.
pub fn to_json<T: Serialize + prost::Message + Default>(message: Bytes) -> Result<Value, JsonError> {
    let whole = |reason: String| JsonError { path: String::new(), reason };
    let message = T::decode(message).map_err(|error| whole(error.to_string()))?;
    serde_json::to_value(&message).map_err(|error| whole(error.to_string()))
}
