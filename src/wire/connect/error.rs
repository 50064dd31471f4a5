//! Connect's errors: `{"code", "message", "details"}`, and the HTTP statuses of unary calls.

use axum::body::Body;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use http::{HeaderValue, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::error::{Code, Error};
use crate::proto::google::rpc;
use crate::well_known::Any;
use crate::wire::json;
use crate::wire::status::{Outcome, library_status, retry_after};

/// The error as the answer to a unary call.
pub(super) fn refusal(error: &Error) -> Response<Body> {
    error.log();
    response(&library_status(error))
}

/// The same for a fault below any message.
pub(super) fn framing(error: &Error) -> Response<Body> {
    error.log();
    response(&rpc::Status { code: error.code() as i32, message: error.message.to_string(), details: Vec::new() })
}

/// The status as the answer to a unary call; its HTTP status is that of the code.
pub(super) fn response(status: &rpc::Status) -> Response<Body> {
    let mut response = Response::new(Body::from(value(status).to_string()));
    *response.status_mut() =
        StatusCode::from_u16(Code::from_number(status.code).http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.extensions_mut().insert(Outcome::known(Code::from_number(status.code)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after(status) {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The status as Connect's JSON.
pub(super) fn value(status: &rpc::Status) -> Value {
    let mut error = Map::new();
    error.insert("code".to_owned(), code(status.code).into());
    if !status.message.is_empty() {
        error.insert("message".to_owned(), status.message.clone().into());
    }
    if !status.details.is_empty() {
        error.insert("details".to_owned(), status.details.iter().map(detail).collect());
    }
    error.into()
}

/// gRPC's code in Connect's spelling.
fn code(number: i32) -> String {
    match Code::from_number(number) {
        Code::Cancelled => "canceled".to_owned(),
        code => code.name().to_ascii_lowercase(),
    }
}

/// A detail: its type, its bytes and, for who reads along, its JSON.
fn detail(detail: &Any) -> Value {
    let mut value = json!({"type": detail.type_name(), "value": BASE64.encode(&detail.value)});
    let debug = json::known(detail.type_name(), &[]).and_then(|schema| json::write(&detail.value, schema).ok());
    if let Some(debug) = debug.and_then(|debug| serde_json::from_slice::<Value>(&debug).ok()) {
        value["debug"] = debug;
    }
    value
}

#[cfg(test)]
mod tests {
    use super::code;
    use crate::error::Code;

    #[test]
    fn codes_are_spelled_as_connect_does() {
        let expected = [
            "canceled",
            "unknown",
            "invalid_argument",
            "deadline_exceeded",
            "not_found",
            "already_exists",
            "permission_denied",
            "resource_exhausted",
            "failed_precondition",
            "aborted",
            "out_of_range",
            "unimplemented",
            "internal",
            "unavailable",
            "data_loss",
            "unauthenticated",
        ];
        assert_eq!(Code::ALL[1..].iter().map(|known| code(*known as i32)).collect::<Vec<_>>(), expected);
    }
}
