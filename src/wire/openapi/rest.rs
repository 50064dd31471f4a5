//! A JSON route as an operation: what path, query and body give, and what comes back.

use serde_json::{Map, Value, json};

use super::{Document, common_parameters, declared, short, summary};
use crate::error::Reason;
use crate::proto::google::rpc;
use crate::wire::http_rule::{Variable, in_query};
use crate::wire::method::{Body, Cardinality, Field, FieldKind, HttpRule, Message, Method};

/// The operation of a rule; `index` tells it from the other rules of its method.
pub(super) fn operation(
    document: &mut Document,
    method: &'static Method,
    rule: &'static HttpRule,
    variables: &[Variable],
    index: usize,
) -> Result<Value, String> {
    let mut id = format!("{}_{}", short(method.service), method.name);
    if index > 0 {
        id.push_str(&format!("_{}", index + 1));
    }
    let bound: Vec<&str> = variables.iter().map(|variable| variable.field.as_str()).collect();
    let mut parameters: Vec<Value> = variables.iter().map(|variable| in_path(method.input, variable)).collect();
    if rule.body != Body::Whole {
        let from_body = match rule.body {
            Body::Field(name) => name,
            _ => "",
        };
        query(document, method.input, &mut Vec::new(), &bound, from_body, &mut parameters);
    }
    let is_cached = rule.method == "GET" && method.kind.one_response();
    if is_cached {
        parameters.push(json!({
            "name": "If-None-Match",
            "in": "header",
            "description": "ETags of answers that the caller has: 304 where one of them is the answer's.",
            "schema": {"type": "string"},
        }));
    }
    parameters.extend(common_parameters());

    let mut operation = Map::new();
    operation.insert("operationId".to_owned(), id.into());
    operation.insert("tags".to_owned(), json!([short(method.service)]));
    operation.insert("summary".to_owned(), summary(method.doc).into());
    operation.insert("description".to_owned(), method.doc.into());
    operation.insert("parameters".to_owned(), parameters.into());
    let body = match rule.body {
        Body::None => None,
        Body::Whole => Some(document.schemas.message(method.input)),
        Body::Field(name) => method.input.field(name).map(|field| document.schemas.field(field)),
    };
    let mut responses = document.responses(rule.method);
    if let Some(schema) = body {
        let content = json!({"application/json": {"schema": schema}});
        operation.insert("requestBody".to_owned(), json!({"required": true, "content": content}));
        responses.fails(Reason::TooLarge);
        responses.fails(Reason::Aborted);
        responses.fails_with(413, "`TOO_LARGE`: the body is over its limit");
        responses.fails_with(415, "`INVALID_REQUEST`: the body is no `application/json`, or its coding is not known");
    }
    for reason in declared(method)? {
        responses.fails(reason);
    }
    if method.kind.one_response() {
        let schema = match rule.response_body.and_then(|name| method.output.field(name)) {
            Some(field) => document.schemas.field(field),
            None => document.schemas.message(method.output),
        };
        let headers: &[&str] = if is_cached { &["ETag", "CacheControl", "Vary"] } else { &[] };
        responses.good(200, "The answer.", headers, json!({"application/json": {"schema": schema}}));
        if is_cached {
            responses.good(304, "The caller has the answer already.", headers, Value::Null);
        }
    } else {
        let content = stream(document, method, rule);
        responses.good(200, STREAM, &["CacheControl", "Vary"], content);
    }
    let status = document.schemas.message(&rpc::table::STATUS);
    let content = json!({"application/json": {"schema": status}});
    let responses = responses.finish(|reason| reason.row().code.http_status(), &content);
    operation.insert("responses".to_owned(), responses);
    Ok(operation.into())
}

const STREAM: &str = "A stream of items in the form that `Accept` names: one JSON value a line, server-sent events, or one \
                      array. A failure in mid-stream is its last item, `{\"error\": …}` or an event `error`; the array is \
                      then left unclosed.";

/// OpenAPI 3.1 has no word for the items of a stream, so that an extension says what they are.
fn stream(document: &mut Document, method: &'static Method, rule: &HttpRule) -> Value {
    let item = match rule.response_body.and_then(|name| method.output.field(name)) {
        Some(field) => document.schemas.field(field),
        None => document.schemas.message(method.output),
    };
    let text =
        |description: &str| json!({"schema": {"type": "string", "description": description}, "x-item-schema": item});
    json!({
        "application/x-ndjson": text("One item a line."),
        "text/event-stream": text("One item an event, as its `data`."),
        "application/json": {"schema": {"type": "array", "items": item}},
    })
}

fn in_path(input: &'static Message, variable: &Variable) -> Value {
    let mut description = String::new();
    if let Some(field) = field_at(input, &variable.field) {
        description = format!("Of `{}`: {}", variable.field, field.doc);
    }
    if variable.open_end {
        description.push_str(" May have several segments.");
    }
    json!({
        "name": variable.name,
        "in": "path",
        "required": true,
        "description": description.trim(),
        "schema": {"type": "string", "minLength": 1},
    })
}

fn field_at(message: &'static Message, path: &str) -> Option<&'static Field> {
    let (name, rest) = path.split_once('.').unwrap_or((path, ""));
    let field = message.field(name)?;
    match field.kind {
        FieldKind::Message(inner) if !rest.is_empty() => field_at(inner, rest),
        _ => Some(field),
    }
}

/// The parameters of the fields that neither path nor body gives: those of messages inside one by one.
fn query(
    document: &mut Document,
    message: &'static Message,
    outer: &mut Vec<&'static Field>,
    bound: &[&str],
    from_body: &str,
    parameters: &mut Vec<Value>,
) {
    for field in message.fields {
        let names: Vec<&str> = outer.iter().map(|field| field.name).chain([field.name]).collect();
        if bound.contains(&names.join(".").as_str()) || names.first() == Some(&from_body) {
            continue;
        }
        match (field.cardinality, field.kind) {
            (Cardinality::Map(_), _) => {}
            (_, kind) if in_query(kind) => {
                let name: Vec<&str> = outer.iter().map(|field| field.json_name).chain([field.json_name]).collect();
                parameters.push(json!({
                    "name": name.join("."),
                    "in": "query",
                    "description": field.doc,
                    "schema": document.schemas.field(field),
                }));
            }
            // A message that holds itself would have no end.
            (Cardinality::Singular, FieldKind::Message(inner))
                if inner.well_known.is_none() && outer.iter().all(|field| !is_of(field, inner)) =>
            {
                outer.push(field);
                query(document, inner, outer, bound, from_body, parameters);
                outer.pop();
            }
            _ => {}
        }
    }
}

fn is_of(field: &Field, message: &Message) -> bool {
    matches!(field.kind, FieldKind::Message(held) if held.name == message.name)
}
