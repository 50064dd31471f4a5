//! An HTTP request as one serialised message (`google/api/http.proto`: path, then body, then query).

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::header::{self, HeaderMap};
use http::{HeaderValue, StatusCode};
use serde_json::{Map, Value};

use super::{JSON, Refusal, Route};
use crate::error::{Error, Reason, Result};
use crate::wire::content_coding::{ACCEPTED, Coding, Undecodable};
use crate::wire::gather::{Account, broken, cut_off};
use crate::wire::http_rule::{Bindings, bind_path, bind_query};
use crate::wire::json::{self, read, read_field};
use crate::wire::method::{Body as RuleBody, Cardinality, Field, FieldKind, HttpRule, Message};

/// The whole JSON body without its coding, bounded; empty where the rule has none.
pub(super) async fn read_body(
    rule: &HttpRule,
    content_type: &str,
    headers: &HeaderMap,
    body: Body,
    limit: usize,
    account: Option<&Account>,
) -> Result<Bytes, Refusal> {
    if rule.body == RuleBody::None {
        return Ok(Bytes::new());
    }
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let empty = announced == Some(0) || (content_type.is_empty() && http_body::Body::is_end_stream(&body));
    if content_type != JSON && !empty {
        let shown = content_type.escape_default();
        let message = format!("content type `{shown}`: this path takes application/json");
        return Err(Refusal::with_status(
            Error::new(Reason::InvalidRequest, message),
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
        ));
    }
    let coding = Coding::of(headers).map_err(|name| unknown_coding(&name))?;
    let mut read = BytesMut::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece: Bytes = piece.map_err(|error| broken(error, cut_off))?;
        if read.len() + piece.len() > limit {
            return Err(too_large(limit));
        }
        read.extend_from_slice(&piece);
    }
    let decoded = coding.decode(read.freeze(), limit).await.map_err(|error| match error {
        Undecodable::TooLarge => too_large(limit),
        Undecodable::Broken(error) => {
            let message = format!("the body is not what its Content-Encoding says: {error}");
            Error::new(Reason::InvalidRequest, message).into()
        }
    })?;
    if let Some(account) = account.filter(|_| coding != Coding::Identity) {
        account.take(decoded.len())?;
    }
    Ok(decoded)
}

fn too_large(limit: usize) -> Refusal {
    let message = format!("the JSON body is over the limit of {limit} bytes: send large content as a stream");
    Refusal::with_status(Error::too_large("body size", message), StatusCode::PAYLOAD_TOO_LARGE)
}

fn unknown_coding(name: &str) -> Refusal {
    let message = format!("content encoding `{}`: send gzip, zstd, deflate or none", name.escape_default());
    let error = Error::new(Reason::InvalidRequest, message);
    let mut refusal = Refusal::with_status(error, StatusCode::UNSUPPORTED_MEDIA_TYPE);
    refusal.header = Some((header::ACCEPT_ENCODING, HeaderValue::clone(&ACCEPTED)));
    refusal
}

/// Path, body and query as the rule's request message, serialised.
pub(super) fn message(route: &Route, bindings: &Bindings, query: &str, body: &[u8]) -> Result<Bytes> {
    let Route { rule, method, .. } = route;
    let schema = method.input;
    let from_body = match rule.body {
        RuleBody::Field(name) => schema.field(name),
        _ => None,
    };
    let root = from_body.map_or("", |field| field.json_name);
    let body = if body.iter().all(u8::is_ascii_whitespace) { None } else { Some(json::parse(body, root)?) };
    // Parts of a message are one message: they merge by being joined.
    let mut parts = Vec::new();
    match rule.body {
        RuleBody::None => {}
        RuleBody::Whole if !query.is_empty() => {
            let message = format!("{} takes its fields in the body, not in a query", rule.template);
            return Err(Error::invalid("", message));
        }
        RuleBody::Whole => {
            if let Some(body) = &body {
                parts.push(read(body, schema)?);
            }
        }
        RuleBody::Field(_) => {
            if let (Some(field), Some(body)) = (from_body, &body) {
                parts.push(read_field(body, field, schema)?);
            }
        }
    }
    let mut request = Map::new();
    bind_path(&mut request, schema, bindings)?;
    for (path, text) in bindings {
        if let Some(given) = body.as_ref().and_then(|body| in_body(body, schema, from_body, path))
            && !same(given, text)
        {
            let message = format!("`{path}` is `{text}` in the path: leave it out elsewhere, or give the same value");
            return Err(Error::invalid(path.clone(), message));
        }
    }
    bind_query(&mut request, schema, query, |field| {
        let inside =
            |outer: &str| field.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        bindings.iter().any(|(bound, _)| bound == field) || from_body.is_some_and(|body| inside(body.name))
    })?;
    if let (Some(mask), Some(field), Some(body)) = (mask_field(rule, schema), from_body, &body) {
        request.entry(mask.json_name).or_insert_with(|| derived_mask(body, field, bindings).into());
    }
    parts.push(read(&Value::Object(request), schema)?);
    Ok(parts.concat().into())
}

/// What the body gives for a field that the path binds.
fn in_body<'a>(
    body: &'a Value,
    schema: &'static Message,
    from_body: Option<&'static Field>,
    path: &str,
) -> Option<&'a Value> {
    let mut names = path.split('.');
    let (mut value, mut schema) = (body, schema);
    if let Some(field) = from_body {
        schema = match field.kind {
            FieldKind::Message(inner) if names.next() == Some(field.name) => inner,
            _ => return None,
        };
    }
    for name in names {
        let field = schema.field(name)?;
        value = value.get(field.json_name).or_else(|| value.get(field.name)).filter(|value| !value.is_null())?;
        if let FieldKind::Message(inner) = field.kind {
            schema = inner;
        }
    }
    Some(value)
}

/// Whether a JSON scalar is what the text of a path is.
fn same(given: &Value, text: &str) -> bool {
    match given {
        Value::String(given) => given == text,
        given => serde_json::from_str::<Value>(text).is_ok_and(|text| text == *given),
    }
}

/// PATCH: the mask of the request, unless the rule's body is all of it (AIP-134).
fn mask_field(rule: &HttpRule, schema: &'static Message) -> Option<&'static Field> {
    (rule.method == "PATCH").then(|| schema.field("update_mask")).flatten()
}

/// The fields that the body gives, as a mask (AIP-134): those of messages inside one by one, lists and maps as a whole.
/// What the path binds (`image.name`) names the resource, and is no change to it.
fn derived_mask(body: &Value, field: &'static Field, bindings: &Bindings) -> String {
    let mut paths = Vec::new();
    if let FieldKind::Message(schema) = field.kind {
        leaves(body, schema, "", &mut paths);
    }
    let bound = |path: &String| {
        bindings
            .iter()
            .any(|(bound, _)| bound.strip_prefix(field.name).and_then(|rest| rest.strip_prefix('.')) == Some(path))
    };
    paths.retain(|path| !bound(path));
    paths.join(",")
}

fn leaves(json: &Value, schema: &'static Message, prefix: &str, paths: &mut Vec<String>) {
    for (name, value) in json.as_object().into_iter().flatten() {
        let Some(field) = schema.field(name) else { continue };
        let path = format!("{prefix}{}", field.name);
        match (field.cardinality, field.kind, value) {
            (Cardinality::Singular, FieldKind::Message(inner), Value::Object(fields))
                if inner.well_known.is_none() && !fields.is_empty() =>
            {
                leaves(value, inner, &format!("{path}."), paths);
            }
            _ => paths.push(path),
        }
    }
}
