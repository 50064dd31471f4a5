//! Well-known types whose proto3 JSON `pbjson_types` does not have right: `FieldMask` (comma-joined paths), `Any` (`@type`)
//! and `Timestamp` (always in UTC, as `Z`); the texts of these and of `Duration`.
//! <https://protobuf.dev/reference/protobuf/google.protobuf/>

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use serde::de::Error as _;
use serde::ser::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::proto::google::protobuf::table;
use crate::wire::json;

/// `google.protobuf.FieldMask`: paths of fields, in proto names.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct FieldMask {
    /// Paths such as `display_name` or `labels.team`.
    #[prost(string, repeated, tag = "1")]
    pub paths: Vec<String>,
}

impl FieldMask {
    /// The paths of `displayName,labels.team`; those in proto names are taken too.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self::default());
        }
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-' | '*');
        let paths = text.split(',').map(|path| {
            if path.split('.').all(|name| !name.is_empty() && name.chars().all(fits)) {
                Ok(snake(path))
            } else {
                Err(format!("must be names of fields joined by commas, which `{}` is not", path.escape_default()))
            }
        });
        Ok(Self { paths: paths.collect::<Result<_, _>>()? })
    }

    /// The paths as proto3 JSON has them, `displayName,labels.team`.
    ///
    /// # Errors
    /// A path that could not be read back.
    pub fn text(&self) -> Result<String, String> {
        let paths = self.paths.iter().map(|path| {
            let camel = lower_camel(path);
            if snake(&camel) == *path {
                Ok(camel)
            } else {
                Err(format!("has the path `{path}`, which JSON cannot tell"))
            }
        });
        Ok(paths.collect::<Result<Vec<_>, _>>()?.join(","))
    }
}

impl Serialize for FieldMask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text().map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for FieldMask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
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

/// 0001-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
const SECONDS: std::ops::RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

impl Timestamp {
    /// The moment that an RFC 3339 text names, with any offset.
    ///
    /// # Errors
    /// What is wrong with the text.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown = text.escape_default();
        let wrong = || format!("must be a time like 2026-01-31T12:00:00Z, not `{shown}`");
        // chrono also takes a space and lower case, and a leap second that has no place in UTC's count.
        if text.contains([' ', 't', 'z', '_']) || text.get(17..19) == Some("60") {
            return Err(wrong());
        }
        let time = Self::from(DateTime::parse_from_rfc3339(text).map_err(|_| wrong())?.to_utc());
        if SECONDS.contains(&time.seconds) {
            Ok(time)
        } else {
            Err(format!("must be in the years 1 to 9999, not `{shown}`"))
        }
    }

    /// RFC 3339 in UTC, with 0, 3, 6 or 9 digits of fraction.
    ///
    /// # Errors
    /// It is out of range.
    pub fn text(self) -> Result<String, String> {
        let time = self.to_utc().filter(|_| SECONDS.contains(&self.seconds) && self.nanos < 1_000_000_000);
        let time = time.ok_or_else(|| format!("is {} s {} ns, which is no time", self.seconds, self.nanos))?;
        Ok(time.to_rfc3339_opts(SecondsFormat::AutoSi, true))
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text().map_err(S::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// Seconds of 10,000 years, the longest `google.protobuf.Duration`.
const MAX_DURATION: i64 = 315_576_000_000;

/// Seconds and nanoseconds of `1.5s`, `-0.25s`: both have the sign.
///
/// # Errors
/// What is wrong with the text.
pub fn parse_duration(text: &str) -> Result<(i64, i32), String> {
    let wrong = || format!("must be seconds like 1.5s, not `{}`", text.escape_default());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.strip_suffix('s').ok_or_else(wrong)?;
    let (negative, number) = number.strip_prefix('-').map_or((false, number), |number| (true, number));
    let (seconds, fraction) = number.split_once('.').unwrap_or((number, "0"));
    if !digits(seconds) || !digits(fraction) || fraction.len() > 9 {
        return Err(wrong());
    }
    let seconds = seconds.parse::<i64>().ok().filter(|seconds| *seconds <= MAX_DURATION);
    let seconds = seconds.ok_or_else(|| format!("must be at most {MAX_DURATION} seconds, not `{text}`"))?;
    let nanos: i32 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
    Ok(if negative { (-seconds, -nanos) } else { (seconds, nanos) })
}

/// `1.5s`, with 0, 3, 6 or 9 digits of fraction.
///
/// # Errors
/// It is out of range, or its parts differ in sign.
pub fn format_duration(seconds: i64, nanos: i32) -> Result<String, String> {
    let one_sign = seconds.signum() * i64::from(nanos.signum()) >= 0;
    let in_range = (-MAX_DURATION..=MAX_DURATION).contains(&seconds) && (-999_999_999..=999_999_999).contains(&nanos);
    if !one_sign || !in_range {
        return Err(format!("is {seconds} s {nanos} ns, which is no duration"));
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let fraction = match nanos.abs() {
        0 => String::new(),
        nanos if nanos % 1_000_000 == 0 => format!(".{:03}", nanos / 1_000_000),
        nanos if nanos % 1000 == 0 => format!(".{:06}", nanos / 1000),
        nanos => format!(".{nanos:09}"),
    };
    Ok(format!("{sign}{}{fraction}s", seconds.abs()))
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

/// The message's own fields beside `@type`; for a type that is not known, its bytes as base64 in `value`.
impl Serialize for Any {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let text = json::write(&prost::Message::encode_to_vec(self), &table::ANY).map_err(S::Error::custom)?;
        serde_json::from_slice::<serde_json::Value>(&text).map_err(S::Error::custom)?.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Any {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let json = serde_json::Value::deserialize(deserializer)?;
        let message = json::read(&json, &table::ANY).map_err(D::Error::custom)?;
        prost::Message::decode(Bytes::from(message)).map_err(D::Error::custom)
    }
}
