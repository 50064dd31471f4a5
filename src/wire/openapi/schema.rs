//! Messages as JSON Schema: what proto3 JSON makes of them.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::wire::method::{Cardinality, Enum, Field, FieldKind, Message, WellKnown};

/// The schemas that a document refers to, by full name.
#[derive(Debug, Default)]
pub struct Schemas(BTreeMap<&'static str, Value>);

impl Schemas {
    /// Adds a schema that no proto declares, and gives a reference to it.
    pub fn add(&mut self, name: &'static str, schema: Value) -> Value {
        self.0.insert(name, schema);
        reference(name)
    }

    /// The message's schema, by reference where it has a name of its own.
    pub fn message(&mut self, message: &'static Message) -> Value {
        if let Some(well_known) = message.well_known {
            return self.well_known(well_known, message);
        }
        if !self.0.contains_key(message.name) {
            // Holds the place: messages may hold themselves.
            self.0.insert(message.name, Value::Null);
            let schema = self.object(message);
            self.0.insert(message.name, schema);
        }
        reference(message.name)
    }

    fn object(&mut self, message: &'static Message) -> Value {
        let mut schema = Map::new();
        schema.insert("type".to_owned(), "object".into());
        let mut description = message.doc.to_owned();
        for oneof in oneofs(message) {
            let members: Vec<String> = message
                .fields
                .iter()
                .filter(|field| field.oneof == Some(oneof))
                .map(|field| format!("`{}`", field.json_name))
                .collect();
            description.push_str(&format!("\n\nAt most one of {} is there.", members.join(", ")));
        }
        if !description.is_empty() {
            schema.insert("description".to_owned(), description.trim().into());
        }
        let properties: Map<String, Value> =
            message.fields.iter().map(|field| (field.json_name.to_owned(), self.property(field))).collect();
        schema.insert("properties".to_owned(), properties.into());
        schema.insert("additionalProperties".to_owned(), false.into());
        schema.into()
    }

    /// The field's schema with its description. A comment that begins with "Output only." says that the server ignores
    /// what it is sent (AIP-203).
    fn property(&mut self, field: &'static Field) -> Value {
        let mut schema = self.field(field);
        if let Value::Object(schema) = &mut schema {
            if !field.doc.is_empty() {
                schema.insert("description".to_owned(), field.doc.into());
            }
            if field.doc.starts_with("Output only.") {
                schema.insert("readOnly".to_owned(), true.into());
            }
        }
        schema
    }

    /// The schema of a field's value: one, a list, or a map.
    pub fn field(&mut self, field: &'static Field) -> Value {
        let one = self.kind(field.kind);
        match field.cardinality {
            Cardinality::Singular => one,
            Cardinality::Repeated => json!({"type": "array", "items": one}),
            Cardinality::Map(_) => json!({"type": "object", "additionalProperties": one}),
        }
    }

    /// The schema of one value.
    pub(super) fn kind(&mut self, kind: FieldKind) -> Value {
        match kind {
            FieldKind::Bool => json!({"type": "boolean"}),
            FieldKind::Int32 | FieldKind::Sint32 | FieldKind::Sfixed32 => {
                json!({"type": "integer", "format": "int32", "minimum": i32::MIN, "maximum": i32::MAX})
            }
            FieldKind::Uint32 | FieldKind::Fixed32 => {
                json!({"type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX})
            }
            FieldKind::Int64 | FieldKind::Sint64 | FieldKind::Sfixed64 => {
                json!({"type": "string", "format": "int64", "pattern": "^-?[0-9]{1,19}$"})
            }
            FieldKind::Uint64 | FieldKind::Fixed64 => {
                json!({"type": "string", "format": "uint64", "pattern": "^[0-9]{1,20}$"})
            }
            FieldKind::Float => number("float"),
            FieldKind::Double => number("double"),
            FieldKind::String => json!({"type": "string"}),
            FieldKind::Bytes => json!({"type": "string", "contentEncoding": "base64"}),
            FieldKind::Enum(declared) => enumeration(declared),
            FieldKind::Message(message) => self.message(message),
        }
    }

    fn well_known(&mut self, well_known: WellKnown, message: &'static Message) -> Value {
        match well_known {
            WellKnown::Any => {
                let any = json!({
                    "type": "object",
                    "description": "A message of any type: `@type` names it, and its fields follow.",
                    "properties": {"@type": {"type": "string"}},
                    "additionalProperties": true,
                });
                self.add(message.name, any)
            }
            WellKnown::Duration => json!({
                "type": "string",
                "format": "duration-seconds",
                "pattern": "^-?[0-9]{1,12}([.][0-9]{1,9})?s$",
            }),
            WellKnown::FieldMask => json!({"type": "string", "format": "field-mask"}),
            WellKnown::ListValue => json!({"type": "array", "items": {}}),
            WellKnown::Struct => json!({"type": "object", "additionalProperties": true}),
            WellKnown::Timestamp => json!({"type": "string", "format": "date-time"}),
            WellKnown::Value => json!({}),
            WellKnown::Wrapper => match message.fields {
                [field] => json!({"anyOf": [self.kind(field.kind), {"type": "null"}]}),
                _ => json!({}),
            },
        }
    }

    pub(super) fn finish(self) -> Value {
        self.0.into_iter().map(|(name, schema)| (name.to_owned(), schema)).collect::<Map<_, _>>().into()
    }
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

fn number(format: &str) -> Value {
    json!({"anyOf": [{"type": "number", "format": format}, {"enum": ["NaN", "Infinity", "-Infinity"]}]})
}

fn enumeration(declared: &Enum) -> Value {
    if declared.is_null_value() {
        return json!({"type": "null"});
    }
    let names: Vec<&str> = declared.values.iter().map(|(name, _)| *name).collect();
    json!({"type": "string", "enum": names})
}

fn oneofs(message: &Message) -> Vec<&'static str> {
    let mut names: Vec<&str> = message.fields.iter().filter_map(|field| field.oneof).collect();
    names.dedup();
    names
}
