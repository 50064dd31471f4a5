//! The answers of an operation by status: what goes well, and each failure with its reasons.

use std::collections::BTreeMap;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::error::Reason;

/// Answers by status.
#[derive(Debug, Default)]
pub struct Responses {
    good: BTreeMap<u16, Value>,
    failures: Vec<Reason>,
    /// Failures whose status only HTTP knows.
    more: BTreeMap<u16, Vec<String>>,
    /// Refusals that have no body.
    bare: BTreeMap<u16, &'static str>,
}

impl Responses {
    /// An answer that is no failure; `headers` are names of `components/headers`.
    pub fn good(&mut self, status: u16, description: &str, headers: &[&str], content: Value) {
        let mut response = json!({"description": description, "headers": header_refs(headers)});
        if let (Value::Object(response), false) = (&mut response, content.is_null()) {
            response.insert("content".to_owned(), content);
        }
        self.good.insert(status, response);
    }

    /// It can fail for this reason.
    pub fn fails(&mut self, reason: Reason) {
        if !self.failures.contains(&reason) {
            self.failures.push(reason);
        }
    }

    /// It can fail with a status that no reason has.
    pub fn fails_with(&mut self, status: u16, description: &str) {
        self.more.entry(status).or_default().push(description.to_owned());
    }

    /// It does not fail for this reason after all.
    pub fn never(&mut self, reason: Reason) {
        self.failures.retain(|known| *known != reason);
    }

    /// What the HTTP library answers by itself, before anything else sees the request.
    pub(super) fn refused_by_http(&mut self) {
        self.bare.insert(414, "The URI is too long. The answer has no body.");
        self.bare.insert(431, "The header fields are too large. The answer has no body.");
    }

    /// The Responses Object. Each reason's status is what `status` says; failures have this content.
    pub fn finish(self, status: impl Fn(Reason) -> u16, content: &Value) -> Value {
        let mut failures = self.more;
        for reason in self.failures {
            let told = format!("`{}`: {}", reason.row().name, reason.when());
            failures.entry(status(reason)).or_default().push(told);
        }
        let mut responses: BTreeMap<u16, Value> = self.good;
        for (status, told) in failures {
            let phrase = StatusCode::from_u16(status).ok().and_then(|status| status.canonical_reason());
            let description = format!("{}\n\n- {}", phrase.unwrap_or("Error"), told.join("\n- "));
            let mut headers = vec!["CacheControl"];
            if status == 429 || status == 503 {
                headers.push("RetryAfter");
            }
            let mut response = json!({"description": description, "headers": header_refs(&headers)});
            if let (Value::Object(response), false) = (&mut response, content.is_null()) {
                response.insert("content".to_owned(), content.clone());
            }
            responses.insert(status, response);
        }
        for (status, description) in self.bare {
            responses.entry(status).or_insert_with(|| json!({"description": description}));
        }
        responses.into_iter().map(|(status, response)| (status.to_string(), response)).collect::<Map<_, _>>().into()
    }
}

/// Every answer repeats the request's id.
fn header_refs(names: &[&str]) -> Value {
    let all = names.iter().copied().chain(["RequestId"]);
    let refs = all.map(|name| {
        let header = HEADERS.iter().find(|(known, ..)| *known == name).map_or(name, |(_, header, _)| header);
        (header.to_owned(), json!({"$ref": format!("#/components/headers/{name}")}))
    });
    refs.collect::<Map<_, _>>().into()
}

/// Name of the component, of the header, and what it says.
const HEADERS: &[(&str, &str, &str)] = &[
    ("RequestId", "X-Request-Id", "The request's name in the server's log."),
    ("ETag", "ETag", "Validator of the answer, for `If-None-Match` and `If-Match`."),
    ("CacheControl", "Cache-Control", "How the answer may be kept."),
    ("Vary", "Vary", "The request's header fields that the answer depends on."),
    ("LastModified", "Last-Modified", "When the content was last replaced."),
    ("AcceptRanges", "Accept-Ranges", "`bytes`: parts may be asked for by `Range`."),
    ("ContentRange", "Content-Range", "The part that is sent, or the size where there is none."),
    ("ContentDisposition", "Content-Disposition", "The name to save it by."),
    ("ReprDigest", "Repr-Digest", "SHA-256 of the whole content (RFC 9530)."),
    ("Location", "Location", "Where the new resource is."),
    ("RetryAfter", "Retry-After", "Seconds to wait before the request is sent again, where that is known."),
];

pub(super) fn headers() -> Value {
    let header = |(name, _, description): &(&str, &str, &str)| {
        ((*name).to_owned(), json!({"description": description, "schema": {"type": "string"}}))
    };
    HEADERS.iter().map(header).collect::<Map<_, _>>().into()
}
