//! JSON to a serialised message.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde_json::{Map, Number, Value};

use super::record::{Raw, put};
use super::{JsonError, MAX_DEPTH, Path, known, type_name};
use crate::well_known::{FieldMask, Timestamp, parse_duration};
use crate::wire::method::{Cardinality, Enum, Field, FieldKind, Message, WellKnown};

type Result<T = (), E = JsonError> = std::result::Result<T, E>;

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const BASE64: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, LENIENT);
const BASE64_URL: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, LENIENT);

/// Serialises the message that the JSON is.
///
/// # Errors
/// The first value that does not fit, by its path.
pub fn read(json: &Value, schema: &'static Message) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    Reader { package: schema.package }.message(json, schema, &Path::Root(""), 0, &mut out)?;
    Ok(out)
}

/// Serialises a message of `schema` in which only `field` is given, as `json`.
///
/// # Errors
/// As [`read`]; paths begin with the field's name.
pub fn read_field(json: &Value, field: &'static Field, schema: &'static Message) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    let reader = Reader { package: schema.package };
    reader.field(json, field, &Path::Root(field.json_name), 0, &mut out)?;
    Ok(out)
}

struct Reader {
    package: &'static [&'static Message],
}

impl Reader {
    fn message(
        &self,
        json: &Value,
        schema: &'static Message,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result {
        if depth > MAX_DEPTH {
            return Err(path.error(format!("nests deeper than {MAX_DEPTH} messages")));
        }
        let Some(well_known) = schema.well_known else {
            let Value::Object(fields) = json else { return Err(wrong_type(path, "an object", json)) };
            return self.fields(fields, schema, path, depth, out);
        };
        match (well_known, json) {
            (WellKnown::Any, Value::Object(fields)) => self.any(fields, path, depth, out),
            (WellKnown::Any, _) => Err(wrong_type(path, "an object", json)),
            (WellKnown::Struct, Value::Object(entries)) => self.structure(entries, path, depth, out),
            (WellKnown::Struct, _) => Err(wrong_type(path, "an object", json)),
            (WellKnown::ListValue, Value::Array(items)) => self.list(items, path, depth, out),
            (WellKnown::ListValue, _) => Err(wrong_type(path, "an array", json)),
            (WellKnown::Value, _) => self.value(json, path, depth, out),
            (WellKnown::Wrapper, _) => match schema.fields {
                [field] => self.field(json, field, path, depth, out),
                _ => Err(path.error("is of a wrapper type without its one field")),
            },
            (WellKnown::Timestamp, _) => {
                let time = Timestamp::parse(text(json, path)?).map_err(|reason| path.error(reason))?;
                seconds_and_nanos(time.seconds, time.nanos, out);
                Ok(())
            }
            (WellKnown::Duration, _) => {
                let (seconds, nanos) = parse_duration(text(json, path)?).map_err(|reason| path.error(reason))?;
                seconds_and_nanos(seconds, nanos, out);
                Ok(())
            }
            (WellKnown::FieldMask, _) => {
                let mask = FieldMask::parse(text(json, path)?).map_err(|reason| path.error(reason))?;
                mask.paths.iter().for_each(|path| put(out, 1, Raw::Len(path.as_bytes())));
                Ok(())
            }
        }
    }

    fn fields(
        &self,
        fields: &Map<String, Value>,
        schema: &'static Message,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result {
        let mut seen: Vec<&Field> = Vec::new();
        let mut chosen: Vec<&Field> = Vec::new();
        for (name, value) in fields {
            let here = Path::Field(path, name);
            let Some(field) = schema.field(name) else {
                let known: Vec<&str> = schema.fields.iter().map(|field| field.json_name).collect();
                let known = if known.is_empty() { "no fields".to_owned() } else { known.join(", ") };
                return Err(here.error(format!("is no field that is known: {} has {known}", schema.name)));
            };
            if seen.iter().any(|seen| seen.number == field.number) {
                return Err(here.error("is given twice, under both of its names"));
            }
            seen.push(field);
            if value.is_null() && !holds_null(field) {
                continue;
            }
            if field.oneof.is_some() {
                if let Some(rival) = chosen.iter().find(|other| other.oneof == field.oneof) {
                    return Err(here.error(format!("and `{}` exclude each other: give one of them", rival.json_name)));
                }
                chosen.push(field);
            }
            self.field(value, field, &here, depth, out)?;
        }
        Ok(())
    }

    /// A field with everything in it; `null` leaves it out, where it is no value of its own.
    fn field(&self, json: &Value, field: &'static Field, path: &Path<'_>, depth: usize, out: &mut Vec<u8>) -> Result {
        if json.is_null() && !holds_null(field) {
            return Ok(());
        }
        match (field.cardinality, json) {
            (Cardinality::Singular, _) => self.single(json, field.number, field.kind, path, depth, out),
            (Cardinality::Repeated, Value::Array(items)) => {
                for (index, item) in items.iter().enumerate() {
                    self.single(item, field.number, field.kind, &Path::Item(path, index), depth, out)?;
                }
                Ok(())
            }
            (Cardinality::Repeated, _) => Err(wrong_type(path, "an array", json)),
            (Cardinality::Map(key_kind), Value::Object(entries)) => {
                for (key, value) in entries {
                    let here = Path::Field(path, key);
                    let mut entry = Vec::new();
                    self.single(&map_key(key, key_kind), 1, key_kind, &here, depth, &mut entry)
                        .map_err(|error| JsonError { reason: format!("has a key that {}", error.reason), ..error })?;
                    self.single(value, 2, field.kind, &here, depth + 1, &mut entry)?;
                    put(out, field.number, Raw::Len(&entry));
                }
                Ok(())
            }
            (Cardinality::Map(_), _) => Err(wrong_type(path, "an object", json)),
        }
    }

    /// One value, as the field of this number.
    fn single(
        &self,
        json: &Value,
        number: u32,
        kind: FieldKind,
        path: &Path<'_>,
        depth: usize,
        out: &mut Vec<u8>,
    ) -> Result {
        let bytes;
        let raw = match kind {
            FieldKind::Message(schema) => {
                let null_means_nothing = schema.well_known != Some(WellKnown::Value);
                if json.is_null() && null_means_nothing {
                    return Err(wrong_type(path, "a value", json));
                }
                let mut inner = Vec::new();
                self.message(json, schema, path, depth + 1, &mut inner)?;
                bytes = inner;
                Raw::Len(&bytes)
            }
            FieldKind::String => Raw::Len(text(json, path)?.as_bytes()),
            FieldKind::Bytes => {
                let text = json.as_str().ok_or_else(|| wrong_type(path, "a base64 string", json))?;
                let engine = if text.contains(['-', '_']) { BASE64_URL } else { BASE64 };
                bytes = engine.decode(text).map_err(|error| path.error(format!("is no base64: {error}")))?;
                Raw::Len(&bytes)
            }
            FieldKind::Bool => {
                let value = json.as_bool().ok_or_else(|| wrong_type(path, "true or false", json))?;
                Raw::Varint(value.into())
            }
            FieldKind::Enum(declared) => Raw::Varint(i64::from(enum_number(json, declared, path)?).cast_unsigned()),
            FieldKind::Double => Raw::Fixed64(float(json, path)?.to_le_bytes()),
            FieldKind::Float => {
                let wide = float(json, path)?;
                let narrow = wide as f32;
                if wide.is_finite() && narrow.is_infinite() {
                    return Err(path.error(format!("must be a number that a float can hold, not {wide:e}")));
                }
                Raw::Fixed32(narrow.to_le_bytes())
            }
            FieldKind::Int32 => Raw::Varint(i64::from(integer::<i32>(json, path)?).cast_unsigned()),
            FieldKind::Int64 => Raw::Varint(integer::<i64>(json, path)?.cast_unsigned()),
            FieldKind::Uint32 => Raw::Varint(integer::<u32>(json, path)?.into()),
            FieldKind::Uint64 => Raw::Varint(integer::<u64>(json, path)?),
            FieldKind::Sint32 => Raw::Varint(zigzag(integer::<i32>(json, path)?.into())),
            FieldKind::Sint64 => Raw::Varint(zigzag(integer::<i64>(json, path)?)),
            FieldKind::Fixed32 => Raw::Fixed32(integer::<u32>(json, path)?.to_le_bytes()),
            FieldKind::Fixed64 => Raw::Fixed64(integer::<u64>(json, path)?.to_le_bytes()),
            FieldKind::Sfixed32 => Raw::Fixed32(integer::<i32>(json, path)?.to_le_bytes()),
            FieldKind::Sfixed64 => Raw::Fixed64(integer::<i64>(json, path)?.to_le_bytes()),
        };
        put(out, number, raw);
        Ok(())
    }

    /// `{"@type": URL, …}`: the message's own fields beside it, or `value` for a well-known type.
    fn any(&self, fields: &Map<String, Value>, path: &Path<'_>, depth: usize, out: &mut Vec<u8>) -> Result {
        if fields.is_empty() {
            return Ok(());
        }
        let Some(Value::String(url)) = fields.get("@type") else {
            return Err(path.error("needs `@type`, the URL of its message's type"));
        };
        let name = type_name(url);
        let Some(schema) = known(name, self.package).filter(|_| url.contains('/')) else {
            let reason = format!("must be the URL of a type this server knows, not `{}`", url.escape_default());
            return Err(Path::Field(path, "@type").error(reason));
        };
        let mut inner = Vec::new();
        let mut rest = fields.clone();
        rest.shift_remove("@type");
        if schema.well_known.is_some() {
            let value = rest.shift_remove("value").unwrap_or_default();
            if let Some(other) = rest.keys().next() {
                return Err(Path::Field(path, other).error(format!("is not of {name}, whose JSON is in `value`")));
            }
            self.message(&value, schema, &Path::Field(path, "value"), depth + 1, &mut inner)?;
        } else {
            self.fields(&rest, schema, path, depth + 1, &mut inner)?;
        }
        put(out, 1, Raw::Len(url.as_bytes()));
        put(out, 2, Raw::Len(&inner));
        Ok(())
    }

    /// `google.protobuf.Struct`: `map<string, Value> fields = 1`.
    fn structure(&self, entries: &Map<String, Value>, path: &Path<'_>, depth: usize, out: &mut Vec<u8>) -> Result {
        for (name, value) in entries {
            let mut inner = Vec::new();
            self.nested_value(value, &Path::Field(path, name), depth + 2, &mut inner)?;
            let mut entry = Vec::new();
            put(&mut entry, 1, Raw::Len(name.as_bytes()));
            put(&mut entry, 2, Raw::Len(&inner));
            put(out, 1, Raw::Len(&entry));
        }
        Ok(())
    }

    /// `google.protobuf.ListValue`: `repeated Value values = 1`.
    fn list(&self, items: &[Value], path: &Path<'_>, depth: usize, out: &mut Vec<u8>) -> Result {
        for (index, item) in items.iter().enumerate() {
            let mut inner = Vec::new();
            self.nested_value(item, &Path::Item(path, index), depth + 1, &mut inner)?;
            put(out, 1, Raw::Len(&inner));
        }
        Ok(())
    }

    fn nested_value(&self, json: &Value, path: &Path<'_>, depth: usize, out: &mut Vec<u8>) -> Result {
        if depth > MAX_DEPTH {
            return Err(path.error(format!("nests deeper than {MAX_DEPTH} messages")));
        }
        self.value(json, path, depth, out)
    }

    /// `google.protobuf.Value`: a oneof of null 1, number 2, string 3, bool 4, struct 5, list 6.
    fn value(&self, json: &Value, path: &Path<'_>, depth: usize, out: &mut Vec<u8>) -> Result {
        let mut inner = Vec::new();
        match json {
            Value::Null => put(out, 1, Raw::Varint(0)),
            Value::Number(number) => put(out, 2, Raw::Fixed64(number.as_f64().unwrap_or_default().to_le_bytes())),
            Value::String(text) => put(out, 3, Raw::Len(text.as_bytes())),
            Value::Bool(value) => put(out, 4, Raw::Varint((*value).into())),
            Value::Object(entries) => {
                self.structure(entries, path, depth + 1, &mut inner)?;
                put(out, 5, Raw::Len(&inner));
            }
            Value::Array(items) => {
                self.list(items, path, depth + 1, &mut inner)?;
                put(out, 6, Raw::Len(&inner));
            }
        }
        Ok(())
    }
}

/// Whether `null` is a value of this field, and not its absence.
fn holds_null(field: &Field) -> bool {
    matches!(field.cardinality, Cardinality::Singular)
        && match field.kind {
            FieldKind::Message(message) => message.well_known == Some(WellKnown::Value),
            FieldKind::Enum(declared) => declared.is_null_value(),
            _ => false,
        }
}

fn seconds_and_nanos(seconds: i64, nanos: i32, out: &mut Vec<u8>) {
    put(out, 1, Raw::Varint(seconds.cast_unsigned()));
    put(out, 2, Raw::Varint(i64::from(nanos).cast_unsigned()));
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// JSON's keys are strings; this is what the string says.
fn map_key(key: &str, kind: FieldKind) -> Value {
    match (kind, key) {
        (FieldKind::Bool, "true") => true.into(),
        (FieldKind::Bool, "false") => false.into(),
        _ => key.into(),
    }
}

fn text<'a>(json: &'a Value, path: &Path<'_>) -> Result<&'a str> {
    json.as_str().ok_or_else(|| wrong_type(path, "a string", json))
}

fn enum_number(json: &Value, declared: &Enum, path: &Path<'_>) -> Result<i32> {
    match json {
        Value::Null if declared.is_null_value() => Ok(0),
        Value::String(name) => declared.number(name).ok_or_else(|| {
            let known: Vec<&str> = declared.values.iter().map(|(name, _)| *name).collect();
            path.error(format!("must be one of {}, not `{}`", known.join(", "), name.escape_default()))
        }),
        Value::Number(_) => integer(json, path),
        _ => Err(wrong_type(path, "the name of an enum value", json)),
    }
}

/// A JSON number, or the same in a string.
fn number(json: &Value) -> Option<Number> {
    match json {
        Value::Number(number) => Some(number.clone()),
        // The number's grammar is JSON's, and there is nothing around it.
        Value::String(text) if !text.contains(|c: char| c.is_ascii_whitespace()) => serde_json::from_str(text).ok(),
        _ => None,
    }
}

/// `1`, `"1"`, `1.0` and `1e3` are integers.
fn integer<T: TryFrom<i128> + Bounds>(json: &Value, path: &Path<'_>) -> Result<T> {
    let value = number(json).and_then(|number| {
        let whole = number.as_i64().map(i128::from).or_else(|| number.as_u64().map(i128::from));
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() < 1e30);
        whole.or_else(|| float.map(|float| float as i128))
    });
    let fitting = value.and_then(|value| T::try_from(value).ok());
    fitting.ok_or_else(|| {
        let expected = format!("an integer from {} to {}", T::MIN, T::MAX);
        match json {
            Value::Number(number) => path.error(format!("must be {expected}, not {number}")),
            Value::String(text) => path.error(format!("must be {expected}, not `{}`", text.escape_default())),
            _ => wrong_type(path, &expected, json),
        }
    })
}

trait Bounds {
    const MIN: i128;
    const MAX: i128;
}

macro_rules! bounds {
    ($($int:ident)*) => {
        $(impl Bounds for $int {
            const MIN: i128 = $int::MIN as i128;
            const MAX: i128 = $int::MAX as i128;
        })*
    };
}

bounds!(i32 i64 u32 u64);

fn float(json: &Value, path: &Path<'_>) -> Result<f64> {
    match json.as_str() {
        Some("NaN") => return Ok(f64::NAN),
        Some("Infinity") => return Ok(f64::INFINITY),
        Some("-Infinity") => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    number(json).and_then(|number| number.as_f64()).ok_or_else(|| match json {
        Value::String(text) => path.error(format!("must be a number, not `{}`", text.escape_default())),
        _ => wrong_type(path, "a number", json),
    })
}

fn wrong_type(path: &Path<'_>, expected: &str, given: &Value) -> JsonError {
    let given = match given {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    path.error(format!("must be {expected}, not {given}"))
}
