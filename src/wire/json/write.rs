//! A serialised message to JSON.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::record::{Malformed, Raw, Record, records, varint};
use super::{JsonError, MAX_DEPTH, Path, known, type_name};
use crate::well_known::{FieldMask, Timestamp, format_duration};
use crate::wire::method::{Cardinality, Field, FieldKind, Message, WellKnown};

type Result<T = (), E = JsonError> = std::result::Result<T, E>;

/// The JSON text of a serialised message.
///
/// # Errors
/// The bytes are no such message, or hold what JSON has no words for, such as a time in the year 10000.
pub fn write(message: &[u8], schema: &'static Message) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(2 * message.len());
    Writer { package: schema.package }.message(message, schema, &Path::Root(""), 0, &mut out)?;
    Ok(out)
}

/// The JSON text of one field of a serialised message; of a field that is not set, its default.
///
/// # Errors
/// As [`write()`].
pub fn write_field(message: &[u8], field: &'static Field, schema: &'static Message) -> Result<Vec<u8>> {
    let path = Path::Root(field.json_name);
    let found = records(message).map_err(|error| malformed(error, &path))?;
    let found: Vec<Raw<'_>> =
        found.iter().filter(|record| record.number == field.number).map(|record| record.raw).collect();
    let mut out = Vec::with_capacity(2 * message.len());
    let writer = Writer { package: schema.package };
    if found.is_empty()
        && let (Cardinality::Singular, FieldKind::Message(Message { well_known: Some(_), .. })) =
            (field.cardinality, field.kind)
    {
        out.extend_from_slice(b"null");
    } else {
        writer.field(&found, field, &path, 0, &mut out)?;
    }
    Ok(out)
}

struct Writer {
    package: &'static [&'static Message],
}

impl Writer {
    fn message(
        &self,
        bytes: &[u8],
        schema: &'static Message,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result {
        if depth > MAX_DEPTH {
            return Err(path.error(format!("nests deeper than {MAX_DEPTH} messages")));
        }
        let found = records(bytes).map_err(|error| malformed(error, path))?;
        match schema.well_known {
            None => {
                out.push(b'{');
                self.fields(&found, schema, path, depth, true, out)?;
                out.push(b'}');
                Ok(())
            }
            Some(WellKnown::Any) => self.any(&found, path, depth, out),
            // A map and a list in disguise.
            Some(WellKnown::Struct | WellKnown::ListValue | WellKnown::Wrapper) => match schema.fields {
                [field] => {
                    let found: Vec<Raw<'_>> =
                        found.iter().filter(|record| record.number == field.number).map(|record| record.raw).collect();
                    self.field(&found, field, path, depth, out)
                }
                _ => Err(path.error("is of a well-known type without its one field")),
            },
            Some(WellKnown::Value) => self.value(&found, schema, path, depth, out),
            Some(WellKnown::Timestamp) => {
                let (seconds, nanos) = seconds_and_nanos(&found);
                let text = Timestamp { seconds, nanos }.text().map_err(|reason| path.error(reason))?;
                put_text(out, &text);
                Ok(())
            }
            Some(WellKnown::Duration) => {
                let (seconds, nanos) = seconds_and_nanos(&found);
                let text = format_duration(seconds, nanos).map_err(|reason| path.error(reason))?;
                put_text(out, &text);
                Ok(())
            }
            Some(WellKnown::FieldMask) => {
                let paths = found.iter().filter(|record| record.number == 1);
                let paths = paths.map(|record| utf8(len(record.raw, path)?, path).map(str::to_owned));
                let mask = FieldMask { paths: paths.collect::<Result<_>>()? };
                put_text(out, &mask.text().map_err(|reason| path.error(reason))?);
                Ok(())
            }
        }
    }

    /// The fields that are set, `first` if nothing stands before them.
    fn fields(
        &self,
        found: &[Record<'_>],
        schema: &'static Message,
        path: &Path<'_>,
        depth: usize,
        mut first: bool,
        out: &mut Vec<u8>,
    ) -> Result {
        let mut of_field = Vec::new();
        for field in schema.fields {
            of_field.clear();
            of_field.extend(found.iter().filter(|record| record.number == field.number).map(|record| record.raw));
            if !is_set(field, &of_field) || (field.oneof.is_some() && is_overruled(field, found, schema)) {
                continue;
            }
            if !first {
                out.push(b',');
            }
            first = false;
            put_text(out, field.json_name);
            out.push(b':');
            self.field(&of_field, field, &Path::Field(path, field.json_name), depth, out)?;
        }
        Ok(())
    }

    fn field(
        &self,
        found: &[Raw<'_>],
        field: &'static Field,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result {
        match field.cardinality {
            Cardinality::Singular => {
                let joined;
                let raw = match (field.kind, found) {
                    // Parts of a message are one message (they merge by being joined).
                    (FieldKind::Message(_), [_, _, ..]) => {
                        let parts = found.iter().map(|raw| len(*raw, path)).collect::<Result<Vec<_>>>()?;
                        joined = parts.concat();
                        Some(Raw::Len(&joined))
                    }
                    _ => found.last().copied(),
                };
                self.single(raw, field.kind, path, depth, out)
            }
            Cardinality::Repeated => {
                out.push(b'[');
                let mut index = 0;
                for raw in found {
                    unpack(*raw, field.kind, path, |raw| {
                        if index > 0 {
                            out.push(b',');
                        }
                        index += 1;
                        self.single(Some(raw), field.kind, &Path::Item(path, index - 1), depth, out)
                    })?;
                }
                out.push(b']');
                Ok(())
            }
            Cardinality::Map(key_kind) => self.map(found, key_kind, field.kind, path, depth, out),
        }
    }

    fn map(
        &self,
        found: &[Raw<'_>],
        key_kind: FieldKind,
        kind: FieldKind,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result {
        let mut entries = BTreeMap::new();
        for raw in found {
            let entry = records(len(*raw, path)?).map_err(|error| malformed(error, path))?;
            let part = |number| entry.iter().rev().find(|record| record.number == number).map(|record| record.raw);
            let mut key = Vec::new();
            self.single(part(1), key_kind, path, depth, &mut key)?;
            // Keys are strings, whatever they are.
            if key.first() != Some(&b'"') {
                key.insert(0, b'"');
                key.push(b'"');
            }
            let mut value = Vec::new();
            self.single(part(2), kind, path, depth + 1, &mut value)?;
            entries.insert(key, value);
        }
        out.push(b'{');
        for (index, (key, value)) in entries.into_iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            out.extend_from_slice(&key);
            out.push(b':');
            out.extend_from_slice(&value);
        }
        out.push(b'}');
        Ok(())
    }

    /// One value, or the default of its kind.
    fn single(
        &self,
        raw: Option<Raw<'_>>,
        kind: FieldKind,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result {
        let bytes = || raw.map_or(Ok(&[][..]), |raw| len(raw, path));
        let varint = || match raw {
            None => Ok(0),
            Some(Raw::Varint(value)) => Ok(value),
            Some(_) => Err(malformed(Malformed, path)),
        };
        // The low half is the value: 32-bit integers travel sign-extended.
        let low = |value: u64| (value & u64::from(u32::MAX)) as u32;
        let fixed32 = || match raw {
            None => Ok([0; 4]),
            Some(Raw::Fixed32(bytes)) => Ok(bytes),
            Some(_) => Err(malformed(Malformed, path)),
        };
        let fixed64 = || match raw {
            None => Ok([0; 8]),
            Some(Raw::Fixed64(bytes)) => Ok(bytes),
            Some(_) => Err(malformed(Malformed, path)),
        };
        match kind {
            FieldKind::Message(schema) => self.message(bytes()?, schema, path, depth + 1, out)?,
            FieldKind::String => put_text(out, utf8(bytes()?, path)?),
            FieldKind::Bytes => put_text(out, &BASE64.encode(bytes()?)),
            FieldKind::Bool => put_plain(out, varint()? != 0),
            FieldKind::Enum(declared) if declared.is_null_value() => out.extend_from_slice(b"null"),
            FieldKind::Enum(declared) => {
                let number = low(varint()?).cast_signed();
                match declared.value_name(number) {
                    Some(name) => put_text(out, name),
                    None => put_plain(out, number),
                }
            }
            FieldKind::Int32 => put_plain(out, low(varint()?).cast_signed()),
            FieldKind::Uint32 => put_plain(out, low(varint()?)),
            FieldKind::Sint32 => put_plain(out, unzigzag(u64::from(low(varint()?)))),
            FieldKind::Fixed32 => put_plain(out, u32::from_le_bytes(fixed32()?)),
            FieldKind::Sfixed32 => put_plain(out, i32::from_le_bytes(fixed32()?)),
            FieldKind::Int64 => put_text(out, &varint()?.cast_signed().to_string()),
            FieldKind::Uint64 => put_text(out, &varint()?.to_string()),
            FieldKind::Sint64 => put_text(out, &unzigzag(varint()?).to_string()),
            FieldKind::Fixed64 => put_text(out, &u64::from_le_bytes(fixed64()?).to_string()),
            FieldKind::Sfixed64 => put_text(out, &i64::from_le_bytes(fixed64()?).to_string()),
            FieldKind::Float => {
                let value = f32::from_le_bytes(fixed32()?);
                // The shortest decimal that is this float, not the double's many digits.
                if value.is_finite() && (value.fract() != 0.0 || value.abs() >= WHOLE) {
                    put_plain(out, value);
                } else {
                    put_double(out, value.into());
                }
            }
            FieldKind::Double => put_double(out, f64::from_le_bytes(fixed64()?)),
        }
        Ok(())
    }

    /// `google.protobuf.Any`; a type that is not known is its bytes as base64 in `value`.
    fn any(&self, found: &[Record<'_>], path: &Path<'_>, depth: usize, out: &mut Vec<u8>) -> Result {
        let part = |number| {
            let last = found.iter().rev().find(|record| record.number == number);
            last.map_or(Ok(&[][..]), |record| len(record.raw, path))
        };
        let (url, message) = (utf8(part(1)?, path)?, part(2)?);
        out.push(b'{');
        if !url.is_empty() || !message.is_empty() {
            out.extend_from_slice(b"\"@type\":");
            put_text(out, url);
            match known(type_name(url), self.package) {
                Some(schema) if schema.well_known.is_none() => {
                    let found = records(message).map_err(|error| malformed(error, path))?;
                    self.fields(&found, schema, path, depth + 1, false, out)?;
                }
                Some(schema) => {
                    out.extend_from_slice(b",\"value\":");
                    self.message(message, schema, path, depth + 1, out)?;
                }
                None => {
                    out.extend_from_slice(b",\"value\":");
                    put_text(out, &BASE64.encode(message));
                }
            }
        }
        out.push(b'}');
        Ok(())
    }

    /// `google.protobuf.Value`: the last member of its oneof.
    fn value(
        &self,
        found: &[Record<'_>],
        schema: &'static Message,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result {
        let member = |record: &Record<'_>| schema.fields.iter().find(|field| field.number == record.number);
        let Some((field, record)) = found.iter().rev().find_map(|record| Some((member(record)?, record))) else {
            out.extend_from_slice(b"null");
            return Ok(());
        };
        if let (FieldKind::Double, Raw::Fixed64(bytes)) = (field.kind, record.raw)
            && !f64::from_le_bytes(bytes).is_finite()
        {
            return Err(path.error("is a number that JSON does not have"));
        }
        self.single(Some(record.raw), field.kind, path, depth, out)
    }
}

/// Whether the field is shown: without presence, only when it is not the default.
fn is_set(field: &Field, found: &[Raw<'_>]) -> bool {
    let Some(last) = found.last() else { return false };
    let default = match *last {
        Raw::Varint(value) => value == 0,
        Raw::Fixed32(bytes) => bytes == [0; 4],
        Raw::Fixed64(bytes) => bytes == [0; 8],
        Raw::Len(bytes) => bytes.is_empty(),
    };
    match field.cardinality {
        Cardinality::Singular => field.presence || !default,
        Cardinality::Repeated => {
            // An empty packed list is no item.
            !default || found.len() > 1 || !is_packable(field.kind) || !matches!(last, Raw::Len(_))
        }
        Cardinality::Map(_) => true,
    }
}

/// Whether another member of the field's oneof follows it.
fn is_overruled(field: &Field, found: &[Record<'_>], schema: &Message) -> bool {
    let members = |record: &&Record<'_>| {
        schema.fields.iter().any(|other| other.number == record.number && other.oneof == field.oneof)
    };
    found.iter().rev().find(members).is_some_and(|last| last.number != field.number)
}

fn is_packable(kind: FieldKind) -> bool {
    !matches!(kind, FieldKind::String | FieldKind::Bytes | FieldKind::Message(_))
}

/// Calls `each` for every item, which may be packed into one record.
fn unpack<'a>(raw: Raw<'a>, kind: FieldKind, path: &Path<'_>, mut each: impl FnMut(Raw<'a>) -> Result) -> Result {
    let Raw::Len(mut packed) = raw else { return each(raw) };
    if !is_packable(kind) {
        return each(raw);
    }
    let malformed = || malformed(Malformed, path);
    while !packed.is_empty() {
        each(match kind {
            FieldKind::Fixed32 | FieldKind::Sfixed32 | FieldKind::Float => {
                Raw::Fixed32(*packed.split_off(..4).and_then(|bytes| bytes.first_chunk()).ok_or_else(malformed)?)
            }
            FieldKind::Fixed64 | FieldKind::Sfixed64 | FieldKind::Double => {
                Raw::Fixed64(*packed.split_off(..8).and_then(|bytes| bytes.first_chunk()).ok_or_else(malformed)?)
            }
            _ => Raw::Varint(varint(&mut packed).map_err(|_| malformed())?),
        })?;
    }
    Ok(())
}

fn malformed(error: Malformed, path: &Path<'_>) -> JsonError {
    path.error(error.to_string())
}

fn len<'a>(raw: Raw<'a>, path: &Path<'_>) -> Result<&'a [u8]> {
    match raw {
        Raw::Len(bytes) => Ok(bytes),
        _ => Err(malformed(Malformed, path)),
    }
}

fn utf8<'a>(bytes: &'a [u8], path: &Path<'_>) -> Result<&'a str> {
    std::str::from_utf8(bytes).map_err(|_| path.error("is not UTF-8"))
}

fn seconds_and_nanos(found: &[Record<'_>]) -> (i64, i32) {
    let part = |number| {
        found.iter().rev().find(|record| record.number == number).map_or(0, |record| match record.raw {
            Raw::Varint(value) => value.cast_signed(),
            _ => 0,
        })
    };
    (part(1), i32::try_from(part(2)).unwrap_or(i32::MAX))
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// A number, `true` or `false`.
fn put_plain(out: &mut Vec<u8>, value: impl serde::Serialize) {
    // A Vec takes all bytes, and such values have no errors of their own.
    let _ = serde_json::to_writer(out, &value);
}

fn put_text(out: &mut Vec<u8>, text: &str) {
    put_plain(out, text);
}

/// Below it, a float without a fraction is written as an integer is.
const WHOLE: f32 = 1e15;

fn put_double(out: &mut Vec<u8>, value: f64) {
    if value.is_nan() {
        put_text(out, "NaN");
    } else if value.is_infinite() {
        put_text(out, if value > 0.0 { "Infinity" } else { "-Infinity" });
    } else if value.fract() == 0.0 && value.abs() < f64::from(WHOLE) && (value != 0.0 || value.is_sign_positive()) {
        put_plain(out, value as i64);
    } else {
        put_plain(out, value);
    }
}
