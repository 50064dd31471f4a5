//! JSON that is about to become a message: checked against the schema, so that an error can name the field by its path.

use serde_json::{Map, Value};

use super::method::{Cardinality, Field, FieldKind, JsonError, Message};
use crate::error::{Error, Result};

/// Parses a JSON text. Its nesting is bounded (128), so that hostile input cannot exhaust the stack.
pub fn parse(text: &[u8]) -> Result<Value> {
    serde_json::from_slice(text).map_err(|error| Error::invalid("", format!("the body is not JSON: {error}")))
}

/// Parses JSON for a message, its fields by either name (`proto_name`, `jsonName`), `null` meaning "not set".
///
/// `path` is where the message lies in the request, for errors; empty for the whole.
pub fn object(json: Value, schema: &'static Message, path: &str) -> Result<Map<String, Value>> {
    let Value::Object(given) = json else {
        return Err(wrong_type(path, "an object", &json));
    };
    let mut fields = Map::new();
    for (name, value) in given {
        let here = join(path, &name);
        let Some(field) = schema.field(&name) else {
            let known: Vec<&str> = schema.fields.iter().map(|field| field.json_name).collect();
            let message =
                format!("there is no field `{}`; {} has {}", here.escape_default(), schema.name, known.join(", "));
            return Err(Error::invalid(here, message));
        };
        if value.is_null() {
            continue;
        }
        let value = field_value(value, field, &here)?;
        if fields.insert(field.json_name.to_owned(), value).is_some() {
            return Err(Error::invalid(here.clone(), format!("`{here}` is given twice, under both of its names")));
        }
    }
    Ok(fields)
}

fn field_value(value: Value, field: &Field, path: &str) -> Result<Value> {
    match (field.cardinality, value) {
        (Cardinality::Singular, value) => single_value(value, field.kind, path),
        (Cardinality::Repeated, Value::Array(items)) => {
            let items = items.into_iter().enumerate();
            items.map(|(index, item)| single_value(item, field.kind, &format!("{path}[{index}]"))).collect()
        }
        (Cardinality::Repeated, value) => Err(wrong_type(path, "an array", &value)),
        (Cardinality::Map, value @ Value::Object(_)) => Ok(value),
        (Cardinality::Map, value) => Err(wrong_type(path, "an object", &value)),
    }
}

fn single_value(value: Value, kind: FieldKind, path: &str) -> Result<Value> {
    let expected = match (kind, &value) {
        (FieldKind::Message(schema), _) => return object(value, schema, path).map(Value::Object),
        (FieldKind::Bool, Value::Bool(_))
        | (FieldKind::Number, Value::Number(_) | Value::String(_))
        | (FieldKind::String | FieldKind::Bytes, Value::String(_))
        | (FieldKind::Enum, Value::Number(_) | Value::String(_))
        | (FieldKind::Opaque, _) => return Ok(value),
        (FieldKind::Bool, _) => "true or false",
        (FieldKind::Number, _) => "a number",
        (FieldKind::String, _) => "a string",
        (FieldKind::Bytes, _) => "a base64 string",
        (FieldKind::Enum, _) => "the name of an enum value",
    };
    Err(wrong_type(path, expected, &value))
}

fn wrong_type(path: &str, expected: &str, given: &Value) -> Error {
    let given = match given {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    };
    let place = if path.is_empty() { "the body".to_owned() } else { format!("`{}`", path.escape_default()) };
    Error::invalid(path, format!("{place} must be {expected}, not {given}"))
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// A codec's refusal as an error of the request.
pub fn refused(error: JsonError) -> Error {
    let message = if error.path.is_empty() || error.path == "." {
        error.reason
    } else {
        format!("`{}`: {}", error.path, error.reason)
    };
    Error::invalid(error.path, message)
}
