//! One failure in the words that RPC wires share: `google.rpc.Status`, its typed details and its JSON.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use prost::Message as _;

use crate::error::{Code, DOMAIN, Detail, Error};
use crate::proto::google::rpc;
use crate::well_known::Any;

/// How a gRPC call ended ("Status" in PROTOCOL-HTTP2.md), its message, and `google.rpc.Status` in base64.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// As [`GRPC_STATUS`].
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
/// As [`GRPC_STATUS`].
pub const GRPC_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// How an RPC ended, where neither headers nor trailers of its answer say it. Found in the answer's extensions, and empty
/// until the answer is at its end.
#[derive(Debug, Clone, Default)]
pub struct Outcome(Arc<OnceLock<Code>>);

impl Outcome {
    /// Of an answer that is at its end.
    pub(super) fn known(code: Code) -> Self {
        let outcome = Self::default();
        outcome.set(code);
        outcome
    }

    /// Says it; what was said first holds.
    pub(super) fn set(&self, code: Code) {
        let _: Result<(), Code> = self.0.set(code);
    }

    /// The code, once it is known.
    pub fn get(&self) -> Option<Code> {
        self.0.get().copied()
    }
}

/// The error as `google.rpc.Status`: an `ErrorInfo` always, each other detail at most once (AIP-193).
pub fn rpc_status(error: &Error) -> rpc::Status {
    let mut metadata = BTreeMap::new();
    let mut details = Vec::new();
    for detail in &error.details {
        match detail {
            Detail::Metadata(more) => metadata.extend(more.clone()),
            detail => details.extend(packed(detail)),
        }
    }
    let info = rpc::ErrorInfo { reason: error.reason.row().name.to_owned(), domain: DOMAIN.to_owned(), metadata };
    details.insert(0, Any::pack("google.rpc.ErrorInfo", &info));
    rpc::Status { code: error.code() as i32, message: error.message.clone().into_owned(), details }
}

/// The same for callers whose own library watches the deadline too: it may notice first, and knows no more than the code.
/// So that both say the same, a deadline's passing has no details.
pub fn library_status(error: &Error) -> rpc::Status {
    let status = rpc_status(error);
    if error.code() == Code::DeadlineExceeded { rpc::Status { details: Vec::new(), ..status } } else { status }
}

fn packed(detail: &Detail) -> Option<Any> {
    Some(match detail {
        Detail::BadRequest(violations) => {
            let violation = |(field, description): &(String, String)| rpc::bad_request::FieldViolation {
                field: field.clone(),
                description: description.clone(),
                ..Default::default()
            };
            let field_violations = violations.iter().map(violation).collect();
            Any::pack("google.rpc.BadRequest", &rpc::BadRequest { field_violations })
        }
        Detail::PreconditionFailure(kind, subject, description) => {
            let violation = rpc::precondition_failure::Violation {
                r#type: (*kind).to_owned(),
                subject: subject.clone(),
                description: description.clone(),
            };
            Any::pack("google.rpc.PreconditionFailure", &rpc::PreconditionFailure { violations: vec![violation] })
        }
        Detail::QuotaFailure(subject, description) => {
            let violation = rpc::quota_failure::Violation {
                subject: subject.clone(),
                description: description.clone(),
                ..Default::default()
            };
            Any::pack("google.rpc.QuotaFailure", &rpc::QuotaFailure { violations: vec![violation] })
        }
        Detail::RetryInfo(pause) => {
            let retry_delay = pbjson_types::Duration {
                seconds: i64::try_from(pause.as_secs()).unwrap_or(i64::MAX),
                nanos: i32::try_from(pause.subsec_nanos()).unwrap_or_default(),
            };
            Any::pack("google.rpc.RetryInfo", &rpc::RetryInfo { retry_delay: Some(retry_delay) })
        }
        Detail::ResourceInfo(kind, name) => {
            let info = rpc::ResourceInfo {
                resource_type: (*kind).to_owned(),
                resource_name: name.clone(),
                ..Default::default()
            };
            Any::pack("google.rpc.ResourceInfo", &info)
        }
        Detail::Metadata(_) => return None,
    })
}

/// A JSON answer that is an error: the status as `google.rpc.Status`, `Retry-After` from its `RetryInfo`.
///
/// `http_status` is the code's own unless the caller knows better.
pub fn json_response(status: &rpc::Status, http_status: Option<u16>) -> Response<Body> {
    let http_status = http_status.unwrap_or_else(|| Code::from_number(status.code).http_status());
    let mut response = Response::new(Body::from(json(status)));
    *response.status_mut() = StatusCode::from_u16(http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(seconds) = retry_after(status) {
        headers.insert(header::RETRY_AFTER, seconds.into());
    }
    response
}

/// The status as proto3 JSON.
pub fn json(status: &rpc::Status) -> Vec<u8> {
    let write = |status: &rpc::Status| super::json::write(&status.encode_to_vec(), &rpc::table::STATUS);
    write(status).unwrap_or_else(|error| {
        // A detail of a known type whose bytes do not parse: the rest still reaches the caller.
        tracing::error!(%error, "the details of an error have no JSON");
        write(&rpc::Status { details: Vec::new(), ..status.clone() }).unwrap_or_default()
    })
}

/// Whole seconds of the status's `RetryInfo`, rounded up.
pub(super) fn retry_after(status: &rpc::Status) -> Option<u64> {
    let info = status.details.iter().find(|detail| detail.type_name() == "google.rpc.RetryInfo")?;
    let delay = rpc::RetryInfo::decode(Bytes::clone(&info.value)).ok()?.retry_delay?;
    Some(u64::try_from(delay.seconds).ok()? + u64::from(delay.nanos > 0))
}
