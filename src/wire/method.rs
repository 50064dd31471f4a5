//! The table that `build.rs` makes of a proto: everything a wire needs to know of a service, as plain statics.

use std::fmt;

/// One RPC.
#[derive(Debug)]
pub struct Method {
    /// Full name of the service, such as `wirephoto.v1.ImageService`.
    pub service: &'static str,
    /// What the proto says of the service.
    pub service_doc: &'static str,
    /// Name of the RPC, such as `GetImage`.
    pub name: &'static str,
    /// What the proto says of it.
    pub doc: &'static str,
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
    /// Its routes of plain bytes: the option `bytes_routes`.
    pub bytes: &'static [BytesRule],
    /// What it can fail with beside what every call can: the option `errors`, `google.rpc.ErrorInfo.reason`s separated by
    /// spaces.
    pub errors: &'static str,
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
    /// HTTP method, upper case; `*` for any.
    pub method: &'static str,
    /// Path template.
    pub template: &'static str,
    /// What the HTTP body becomes.
    pub body: Body,
    /// The response's field that becomes the HTTP body; the whole response without one.
    pub response_body: Option<&'static str>,
}

/// A route that carries a resource's bytes themselves.
#[derive(Debug)]
pub struct BytesRule {
    /// HTTP methods, upper case.
    pub methods: &'static [&'static str],
    /// Path with `{id}` for the last segment of the resource's name.
    pub path: &'static str,
    /// What the route does, for people.
    pub description: &'static str,
    /// Media type of the bytes, such as `image/*`; empty where there are none.
    pub media_type: &'static str,
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

/// A message, as its proto declares it.
pub struct Message {
    /// Full name, such as `wirephoto.v1.Image`.
    pub name: &'static str,
    /// What the proto says of it.
    pub doc: &'static str,
    /// Its fields, in the proto's order.
    pub fields: &'static [Field],
    /// The JSON form of its own that `google/protobuf` gives it.
    pub well_known: Option<WellKnown>,
    /// Every message of its package: what an `Any` inside may hold.
    pub package: &'static &'static [&'static Message],
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

/// Messages of `google.protobuf` whose JSON is not an object of their fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WellKnown {
    /// `{"@type": …}` and the message's own JSON.
    Any,
    /// `"1.5s"`.
    Duration,
    /// `"displayName,labels"`.
    FieldMask,
    /// Any JSON array.
    ListValue,
    /// Any JSON object.
    Struct,
    /// RFC 3339.
    Timestamp,
    /// Any JSON.
    Value,
    /// `BoolValue` and its like: the one field's value, or `null`.
    Wrapper,
}

/// A field of a message.
#[derive(Debug)]
pub struct Field {
    /// Name in the proto.
    pub name: &'static str,
    /// What the proto says of it.
    pub doc: &'static str,
    /// Name in JSON.
    pub json_name: &'static str,
    /// Number on the wire.
    pub number: u32,
    /// One, many, or a map.
    pub cardinality: Cardinality,
    /// What it holds; of a map, what its values are.
    pub kind: FieldKind,
    /// Whether "not given" differs from the default.
    pub presence: bool,
    /// The `oneof` it is a member of.
    pub oneof: Option<&'static str>,
}

/// How often a field occurs.
#[derive(Debug, Clone, Copy)]
pub enum Cardinality {
    /// At most once.
    Singular,
    /// As an array.
    Repeated,
    /// As an object; keys are of this kind.
    Map(FieldKind),
}

/// The type of a field.
#[derive(Debug, Clone, Copy)]
#[allow(missing_docs, reason = "the names are protobuf's own")]
pub enum FieldKind {
    Bool,
    Int32,
    Int64,
    Uint32,
    Uint64,
    Sint32,
    Sint64,
    Fixed32,
    Fixed64,
    Sfixed32,
    Sfixed64,
    Float,
    Double,
    String,
    Bytes,
    Enum(&'static Enum),
    Message(&'static Message),
}

/// An enum, as its proto declares it.
#[derive(Debug)]
pub struct Enum {
    /// Full name, such as `google.rpc.Code`.
    pub name: &'static str,
    /// Names and numbers, in the proto's order.
    pub values: &'static [(&'static str, i32)],
}

impl Enum {
    /// The number of this name.
    pub fn number(&self, name: &str) -> Option<i32> {
        self.values.iter().find(|(known, _)| *known == name).map(|(_, number)| *number)
    }

    /// The first name of this number.
    pub fn value_name(&self, number: i32) -> Option<&'static str> {
        self.values.iter().find(|(_, known)| *known == number).map(|(name, _)| *name)
    }

    /// Whether it is `google.protobuf.NullValue`, which is `null` in JSON.
    pub fn is_null_value(&self) -> bool {
        self.name == "google.protobuf.NullValue"
    }
}
