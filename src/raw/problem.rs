//! Errors as problem documents (RFC 9457): the project's one error, in HTTP's words.

use std::time::Duration;

use axum::body::Body;
use http::header::{self, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use serde_json::json;

use super::headers;
use crate::error::{Error, Reason};
use crate::wire::status::rpc_status;

/// An error, and what only HTTP can say of it.
#[derive(Debug)]
pub(super) struct Refusal {
    error: Error,
    status: Option<StatusCode>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    /// With a status of its own instead of the error table's: for what only HTTP knows, such as 405.
    pub(super) fn with_status(status: StatusCode, error: Error) -> Self {
        Self { error, status: Some(status), headers: Vec::new() }
    }

    /// Adds a header field.
    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// The answer.
    pub(super) fn into_response(self) -> Response<Body> {
        let status = self.status.unwrap_or_else(|| status_of(self.error.reason));
        let mut response = render(status, &self.error);
        response.headers_mut().extend(self.headers);
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self { error, status: None, headers: Vec::new() }
    }
}

/// The answer of `/i` to a request that failed: `application/problem+json` (RFC 9457).
///
/// `type` is `about:blank`, so `title` is the status's own phrase; what went wrong is in `detail` for people and, for
/// programs, in the members `code` (gRPC's name of it), `reason` and `details` (the google.rpc messages every other
/// wire gives). The error's source goes to the log, here and once, and never into the answer.
pub fn problem(error: &Error) -> Response<Body> {
    render(status_of(error.reason), error)
}

fn status_of(reason: Reason) -> StatusCode {
    StatusCode::from_u16(reason.row().bytes_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn render(status: StatusCode, error: &Error) -> Response<Body> {
    error.log();
    let row = error.reason.row();
    let body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": error.message,
        "code": row.code.name(),
        "reason": row.name,
        "details": rpc_status(error).details,
    });
    let mut response = Response::new(Body::from(format!("{body}\n")));
    *response.status_mut() = status;
    let fields = response.headers_mut();
    fields.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(pause) = error.retry_after() {
        fields.insert(header::RETRY_AFTER, whole_seconds(pause).into());
    }
    headers::secure(fields);
    response
}

/// Rounded up, so that nobody comes too early.
fn whole_seconds(pause: Duration) -> u64 {
    pause.as_secs() + u64::from(pause.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use http_body_util::BodyExt as _;
    use serde_json::{Value, json};

    use super::problem;
    use crate::error::{Detail, Error, Reason};

    async fn document(error: &Error) -> (http::response::Parts, Value) {
        let (parts, body) = problem(error).into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        (parts, serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn every_detail_is_told_in_protojson() {
        let metadata = BTreeMap::from([("shard".to_owned(), "7".to_owned())]);
        let error = Error::invalid("id", "`a..b` is not an id")
            .with(Detail::PreconditionFailure("HTTP", "if-match".into(), "moved".into()))
            .with(Detail::QuotaFailure("size".into(), "1 GiB".into()))
            .with(Detail::RetryInfo(Duration::from_millis(1500)))
            .with(Detail::ResourceInfo("wirephoto.v1.Image", "images/a".into()))
            .with(Detail::Metadata(metadata));
        let (parts, document) = document(&error).await;
        assert_eq!(parts.status, 400);
        assert_eq!(parts.headers["content-type"], "application/problem+json");
        assert_eq!(parts.headers["cache-control"], "no-store");
        assert_eq!(parts.headers["retry-after"], "2");
        let google = |name| format!("type.googleapis.com/google.rpc.{name}");
        let wanted = json!({
            "type": "about:blank",
            "title": "Bad Request",
            "status": 400,
            "detail": "`a..b` is not an id",
            "code": "INVALID_ARGUMENT",
            "reason": "INVALID_REQUEST",
            "details": [
                { "@type": google("ErrorInfo"), "reason": "INVALID_REQUEST", "domain": "wirephoto",
                  "metadata": { "shard": "7" } },
                { "@type": google("BadRequest"),
                  "fieldViolations": [{ "field": "id", "description": "`a..b` is not an id" }] },
                { "@type": google("PreconditionFailure"),
                  "violations": [{ "type": "HTTP", "subject": "if-match", "description": "moved" }] },
                { "@type": google("QuotaFailure"), "violations": [{ "subject": "size", "description": "1 GiB" }] },
                { "@type": google("RetryInfo"), "retryDelay": "1.500s" },
                { "@type": google("ResourceInfo"), "resourceType": "wirephoto.v1.Image", "resourceName": "images/a" },
            ],
        });
        assert_eq!(document, wanted);
    }

    #[tokio::test]
    async fn sources_are_not_told() {
        let (parts, document) = document(&Error::internal("password=hunter2")).await;
        assert_eq!(parts.status, 500);
        assert!(!document.to_string().contains("hunter2"));
    }

    #[tokio::test]
    async fn every_reason_has_a_status_and_a_title() {
        for reason in Reason::ALL {
            let (parts, document) = document(&Error::new(reason, "x")).await;
            assert_eq!(parts.status.as_u16(), reason.row().bytes_status);
            assert_ne!(document["title"], "Error", "{reason:?}");
        }
    }
}
