//! Well-known types whose proto3 JSON `pbjson_types` does not have right: `FieldMask` (comma-joined paths), `Any` (`@type`)
//! and `Timestamp` (always in UTC, as `Z`). The others are its own.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::Error as _;
use serde::ser::{Error as _, SerializeMap as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::proto::{google, wirephoto};
use crate::wire::method::Message;

/// `google.protobuf.FieldMask`: paths of fields, in proto names.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FieldMask {
    /// Paths such as `display_name` or `labels.team`.
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

impl Serialize for FieldMask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let paths: Vec<String> = self.paths.iter().map(|path| lower_camel(path)).collect();
        serializer.serialize_str(&paths.join(","))
    }
}

impl<'de> Deserialize<'de> for FieldMask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let paths = text.split(',').filter(|path| !path.is_empty()).map(snake).collect();
        Ok(Self { paths })
    }
}

/// `foo_bar.baz` as `fooBar.baz`.
fn lower_camel(path: &str) -> String {
    let mut camel = String::with_capacity(path.len());
    let mut upper = false;
    for c in path.chars() {
        match c {
            '_' => upper = true,
            c if upper => {
                camel.push(c.to_ascii_uppercase());
                upper = false;
            }
            c => camel.push(c),
        }
    }
    camel
}

/// `fooBar.baz` as `foo_bar.baz`; snake case stays.
fn snake(path: &str) -> String {
    let mut snake = String::with_capacity(path.len() + 4);
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

/// `google.protobuf.Timestamp`: a moment in UTC, years 1 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
pub struct Timestamp {
    /// Seconds since 1970-01-01T00:00:00Z.
    #[prost(int64, tag = "1")]
    pub seconds: i64,
    /// Nanoseconds that follow, 0 to 999,999,999.
    #[prost(int32, tag = "2")]
    pub nanos: i32,
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos().cast_signed() }
    }
}

impl Timestamp {
    /// The moment; `None` when it is out of range.
    pub fn to_utc(self) -> Option<DateTime<Utc>> {
        DateTime::from_timestamp(self.seconds, u32::try_from(self.nanos).ok()?)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let time = self.to_utc().ok_or_else(|| S::Error::custom("a timestamp is out of range"))?;
        serializer.serialize_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = DateTime::parse_from_rfc3339(&text)
            .map_err(|error| D::Error::custom(format!("`{text}` is not a time like 2026-01-31T12:00:00Z: {error}")))?;
        Ok(time.to_utc().into())
    }
}

/// `google.protobuf.Any`: a message with its type's name.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct Any {
    /// `type.googleapis.com/` and the full name of the message.
    #[prost(string, tag = "1")]
    pub type_url: String,
    /// The message, serialised.
    #[prost(bytes = "bytes", tag = "2")]
    pub value: Bytes,
}

impl Any {
    /// Packs a message of the given full name.
    pub fn pack(name: &str, message: &impl prost::Message) -> Self {
        Self { type_url: format!("type.googleapis.com/{name}"), value: message.encode_to_vec().into() }
    }

    /// Full name of the message inside.
    pub fn type_name(&self) -> &str {
        self.type_url.rsplit('/').next().unwrap_or_default()
    }
}

/// The table of a message this crate knows.
fn known(name: &str) -> Option<&'static Message> {
    google::rpc::table::MESSAGES
        .iter()
        .chain(wirephoto::v1::table::MESSAGES)
        .find(|message| message.name == name)
        .copied()
}

/// The message's own fields beside `@type`; for a type that is not known, its bytes as base64 in `value`.
impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("@type", &self.type_url)?;
        match known(self.type_name()) {
            Some(message) => {
                let json = (message.to_json)(self.value.clone()).map_err(S::Error::custom)?;
                if let serde_json::Value::Object(fields) = json {
                    for (name, value) in &fields {
                        map.serialize_entry(name, value)?;
                    }
                }
            }
            None => map.serialize_entry("value", &BASE64.encode(&self.value))?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut fields = serde_json::Map::deserialize(deserializer)?;
        let Some(serde_json::Value::String(type_url)) = fields.remove("@type") else {
            return Err(D::Error::custom("an Any needs `@type`, the URL of its message's type"));
        };
        let name = type_url.rsplit('/').next().unwrap_or_default();
        let message =
            known(name).ok_or_else(|| D::Error::custom(format!("`{name}` is not a type this server knows")))?;
        let value = (message.from_json)(fields.into()).map_err(D::Error::custom)?;
        Ok(Self { type_url, value })
    }
}
