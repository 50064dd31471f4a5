//! The byte routes as operations of an OpenAPI document: what HTTP's own fields ask for, and how they are answered.

use serde_json::{Value, json};

use crate::error::Reason;
use crate::wire::method::{BytesRule, Method};
use crate::wire::openapi::{Document, common_parameters, declared, short, summary};

const TAG: &str = "Bytes";

/// Adds the byte routes of every table.
///
/// # Errors
/// An error is declared that is none.
pub fn describe(document: &mut Document, tables: &[&'static [Method]]) -> Result<(), String> {
    document.tag(TAG, "The bytes themselves, as RFC 9110 has it: validators, ranges, digests.");
    for method in tables.iter().flat_map(|table| table.iter()) {
        for rule in method.bytes {
            for verb in rule.methods {
                let operation = operation(document, method, rule, verb)?;
                document.operation(rule.path, verb, operation);
            }
        }
    }
    Ok(())
}

fn operation(
    document: &mut Document,
    method: &'static Method,
    rule: &'static BytesRule,
    verb: &str,
) -> Result<Value, String> {
    let mut responses = document.responses(verb);
    for reason in declared(method)? {
        responses.fails(reason);
    }
    responses.fails_with(417, "`INVALID_REQUEST`: `Expect` is not `100-continue`");
    let mut parameters = Vec::new();
    if rule.path.contains("{id}") {
        parameters.push(json!({
            "name": "id",
            "in": "path",
            "required": true,
            "description": "The last segment of the resource's name.",
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9]([._-]?[A-Za-z0-9_-]){0,63}$"},
        }));
    }
    let condition = |name: &str, description: &str| header(name, description, None);
    match verb {
        "GET" | "HEAD" => {
            parameters.push(json!({
                "name": "generation",
                "in": "query",
                "description": "The version of the bytes that is wanted: the answer may then be kept for ever, and is 404 \
                                when another is kept.",
                "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
            }));
            parameters.push(condition("If-None-Match", "304 when the ETag is one of these, or for `*`."));
            parameters.push(condition("If-Modified-Since", "304 when the bytes are no newer. After If-None-Match."));
        }
        _ => {
            parameters
                .push(condition("If-None-Match", "412 when the ETag is one of these; with `*`, when any is kept."));
        }
    }
    parameters.push(condition("If-Match", "412 when the ETag is none of these, or for `*` when nothing is kept."));
    parameters.push(condition("If-Unmodified-Since", "412 when the bytes are newer. After If-Match."));
    responses.fails(Reason::VersionMoved);

    let mut body = Value::Null;
    match verb {
        "GET" => {
            parameters.push(condition("Range", "Parts of the bytes, such as `bytes=0-1023`; up to 16."));
            parameters.push(condition("If-Range", "The ETag that `Range` is meant for: the whole if it is another."));
            let headers = ["ETag", "LastModified", "CacheControl", "AcceptRanges", "ReprDigest", "ContentDisposition"];
            let bytes = json!({rule.media_type: {}});
            responses.good(200, "The bytes.", &headers, bytes);
            let parts = json!({rule.media_type: {}, "multipart/byteranges": {}});
            responses.good(206, "Parts of the bytes.", &[&headers[..], &["ContentRange"]].concat(), parts);
            responses.good(304, "The caller has the bytes already.", &headers[..3], Value::Null);
        }
        "HEAD" => {
            responses.never(Reason::OutOfRange);
            let headers = ["ETag", "LastModified", "CacheControl", "AcceptRanges", "ReprDigest", "ContentDisposition"];
            responses.good(200, "What GET would say of the bytes.", &headers, Value::Null);
            responses.good(304, "The caller has the bytes already.", &headers[..3], Value::Null);
        }
        "DELETE" => {
            parameters.push(key());
            responses.good(204, "It is deleted.", &[], Value::Null);
        }
        _ => {
            for (name, description) in [
                ("Repr-Digest", "SHA-256 or SHA-512 of the bytes, verified (RFC 9530)."),
                ("Content-Digest", "The same: the body is the whole."),
                ("Content-Disposition", "`filename` becomes the display name."),
            ] {
                parameters.push(header(name, description, None));
            }
            parameters.push(key());
            responses.fails_with(415, "`INVALID_REQUEST`: the body has a Content-Encoding");
            body = request_body(rule, verb);
            let kept = document.schemas.add("Kept", kept());
            let content = json!({"application/json": {"schema": kept}});
            let headers = ["ETag", "LastModified", "CacheControl"];
            if verb == "PUT" {
                responses.good(200, "The bytes are replaced.", &headers, content.clone());
            } else {
                responses.never(Reason::AlreadyExists);
            }
            responses.good(201, "It is created.", &[&headers[..], &["Location"]].concat(), content);
        }
    }
    parameters.extend(common_parameters());

    let problem = document.schemas.add("Problem", problem());
    let content = if verb == "HEAD" { Value::Null } else { json!({"application/problem+json": {"schema": problem}}) };
    let mut operation = json!({
        "operationId": format!("{}_{}_{verb}", short(method.service), method.name),
        "tags": [TAG],
        "summary": summary(rule.description),
        "description": rule.description,
        "parameters": parameters,
        "responses": responses.finish(|reason| reason.row().bytes_status, &content),
    });
    if let (Value::Object(operation), false) = (&mut operation, body.is_null()) {
        operation.insert("requestBody".to_owned(), body);
    }
    Ok(operation)
}

fn header(name: &str, description: &str, pattern: Option<&str>) -> Value {
    let mut schema = json!({"type": "string"});
    if let Some(pattern) = pattern {
        schema["pattern"] = pattern.into();
    }
    json!({"name": name, "in": "header", "description": description, "schema": schema})
}

fn key() -> Value {
    let description = "Makes a retry safe: for 24 hours the same key with the same content gives the first answer.";
    header("Idempotency-Key", description, Some("^[A-Za-z0-9_-]{1,64}$"))
}

fn request_body(rule: &BytesRule, verb: &str) -> Value {
    let mut content = json!({rule.media_type: {}, "application/octet-stream": {}});
    if verb == "POST" {
        content["multipart/form-data"] = json!({"schema": {
            "type": "object",
            "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}},
            "required": ["file"],
        }});
    }
    json!({"required": true, "content": content})
}

fn kept() -> Value {
    let text = json!({"type": "string"});
    let int64 = json!({"type": "string", "format": "int64", "pattern": "^[0-9]{1,19}$"});
    let uint32 = json!({"type": "integer", "format": "uint32", "minimum": 0, "maximum": u32::MAX});
    json!({
        "type": "object",
        "description": "What is kept now, its members named as on the JSON wire.",
        "properties": {
            "name": text, "etag": text, "sizeBytes": int64, "mediaType": text, "width": uint32, "height": uint32,
            "sha256": text, "generation": int64, "displayName": text,
        },
        "required": [
            "name", "etag", "sizeBytes", "mediaType", "width", "height", "sha256", "generation", "displayName",
        ],
        "additionalProperties": false,
    })
}

fn problem() -> Value {
    let names: Vec<&str> = Reason::ALL.iter().map(|reason| reason.row().name).collect();
    json!({
        "type": "object",
        "description": "A problem document (RFC 9457).",
        "properties": {
            "type": {"const": "about:blank"},
            "title": {"type": "string", "description": "The status's own phrase."},
            "status": {"type": "integer", "minimum": 400, "maximum": 599},
            "detail": {"type": "string", "description": "What was wrong, where, and the mend."},
            "code": {"type": "string", "description": "gRPC's name of the code."},
            "reason": {"enum": names},
            "details": {
                "type": "array",
                "description": "`google.rpc` messages, the same as on the other wires.",
                "items": {"type": "object", "properties": {"@type": {"type": "string"}}, "required": ["@type"]},
            },
        },
        "required": ["type", "title", "status", "detail", "code", "reason", "details"],
        "additionalProperties": false,
    })
}
