//! `ETag` and `If-None-Match` of RPC answers to GET: the tag is of the answer's own bytes (RFC 9110 sections 8.8.3 and 13.1.2).

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};

/// The answer with this body and its `ETag`; 304 where the request knows that already.
pub(super) fn validated(mut response: Response<Body>, body: Bytes, request_headers: &HeaderMap) -> Response<Body> {
    let tag = etag(&body);
    let known = is_known(request_headers, &tag);
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(header::ETAG, tag);
    }
    if known {
        headers.remove(header::CONTENT_TYPE);
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    response.map(|_| Body::from(body))
}

/// The tag of these bytes, quoted.
fn etag(body: &[u8]) -> String {
    format!("\"{}\"", hex::encode(&Sha256::digest(body)[..16]))
}

/// Whether the request knows this tag, or `*`. The comparison is weak. A list that does not parse ends where it goes wrong.
pub fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    headers.get_all(header::IF_NONE_MATCH).iter().any(|value| {
        let mut rest = value.to_str().unwrap_or_default().trim();
        if rest == "*" {
            return true;
        }
        loop {
            rest = rest.trim_start_matches([' ', '\t', ',']);
            let tag = rest.strip_prefix("W/").unwrap_or(rest);
            let Some(close) = tag.strip_prefix('"').and_then(|inner| inner.find('"')) else { return false };
            let (tag, after) = tag.split_at(close + 2);
            if tag == etag {
                return true;
            }
            rest = after;
        }
    })
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::is_known;

    #[test]
    fn lists_are_read_with_their_quotes() {
        let cases = [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("*", true),
            ("\"b\", \"a\"", true),
            ("\"b\",W/\"a\" , \"c\"", true),
            ("\"x,y\", \"a\"", true),
            (",, \"a\"", true),
            ("\"b\"", false),
            ("a", false),
            ("\"x, \"a\"", false),
            ("\"x\\\", \"a", false),
            ("\"*\"", false),
            ("", false),
            ("\"a", false),
            ("w/\"a\"", false),
        ];
        for (list, known) in cases {
            let headers = HeaderMap::from_iter([(header::IF_NONE_MATCH, HeaderValue::from_static(list))]);
            assert_eq!(is_known(&headers, "\"a\""), known, "{list}");
        }
    }
}
