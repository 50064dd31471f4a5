//! The forms of a streamed answer: lines of JSON, server-sent events or one JSON array, by `Accept`.
//!
//! A failure in mid-stream is told within the stream, the status being sent already: a last line `{"error": Status}`, an
//! event `error`, or such a last item of an array that is left unclosed, so that no parser takes it for whole.

use std::convert::Infallible;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, header};

use super::Route;
use crate::error::Result;
use crate::wire::json::unwritable;
use crate::wire::reply::Reply;
use crate::wire::status::{json, rpc_status};

/// How items follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON value a line.
    Lines,
    /// `data: …` and an empty line.
    Events,
    /// `[…]`.
    Array,
}

impl Form {
    /// The form that the request likes best; lines, where it does not say.
    pub(super) fn negotiate(headers: &HeaderMap) -> Self {
        let values = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges: Vec<(String, f32)> = values.flat_map(|value| value.split(',')).filter_map(media_range).collect();
        let mut best = (0.0, 0, Self::Lines);
        for form in [Self::Lines, Self::Events, Self::Array] {
            let (specificity, quality) = form.liking(&ranges);
            if quality > 0.0 && (quality, specificity) > (best.0, best.1) {
                best = (quality, specificity, form);
            }
        }
        best.2
    }

    /// How specific the most specific range is that names this form, and its quality (RFC 9110 section 12.5.1).
    fn liking(self, ranges: &[(String, f32)]) -> (u8, f32) {
        let specificity = |range: &str| match range {
            range if self.media_types().contains(&range) => Some(3),
            "text/*" if self == Self::Events => Some(2),
            "application/*" if self != Self::Events => Some(2),
            "*/*" => Some(1),
            _ => None,
        };
        let matching = ranges.iter().filter_map(|(range, quality)| Some((specificity(range)?, *quality)));
        matching.max_by(|a, b| a.0.cmp(&b.0).then(a.1.total_cmp(&b.1))).unwrap_or((0, 0.0))
    }

    /// Names in `Accept`.
    fn media_types(self) -> &'static [&'static str] {
        match self {
            Self::Lines => &["application/x-ndjson", "application/ndjson", "application/jsonl"],
            Self::Events => &["text/event-stream"],
            Self::Array => &["application/json"],
        }
    }

    /// `Content-Type` of the answer.
    pub(super) fn content_type(self) -> &'static str {
        self.media_types()[0]
    }

    fn begin(self) -> &'static str {
        if self == Self::Array { "[" } else { "" }
    }

    fn end(self) -> &'static str {
        if self == Self::Array { "]\n" } else { "" }
    }

    fn item(self, json: &[u8], first: bool) -> Bytes {
        let parts: [&[u8]; 3] = match self {
            Self::Lines => [b"", json, b"\n"],
            Self::Events => [b"data: ", json, b"\n\n"],
            Self::Array if first => [b"", json, b"\n"],
            Self::Array => [b",", json, b"\n"],
        };
        parts.concat().into()
    }

    fn error(self, status: &[u8], first: bool) -> Bytes {
        match self {
            Self::Events => [b"event: error\ndata: ", status, b"\n\n"].concat().into(),
            Self::Lines | Self::Array => self.item(&[b"{\"error\":", status, b"}"].concat(), first),
        }
    }
}

/// A range of `Accept`, lower case without parameters, and its quality. One that does not parse is left out.
fn media_range(text: &str) -> Option<(String, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let range = parts.next().filter(|range| !range.is_empty())?.to_ascii_lowercase();
    let quality = parts.find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")));
    let quality = quality.map_or(Some(1.0), |quality| quality.parse().ok())?;
    (0.0..=1.0).contains(&quality).then_some((range, quality))
}

/// The body: `first`, which was looked at before, then the rest of the reply.
pub(super) fn body(route: Route, form: Form, first: Option<Bytes>, mut reply: Reply) -> Body {
    Body::from_stream(async_stream::stream! {
        if !form.begin().is_empty() {
            yield Ok::<_, Infallible>(Bytes::from_static(form.begin().as_bytes()));
        }
        let mut is_first = true;
        let mut next = Ok(first);
        loop {
            let failed = match next {
                Ok(None) => {
                    if !form.end().is_empty() {
                        yield Ok(Bytes::from_static(form.end().as_bytes()));
                    }
                    return;
                }
                Ok(Some(message)) => match item(&route, &message) {
                    Ok(json) => {
                        yield Ok(form.item(&json, is_first));
                        is_first = false;
                        next = reply.next_message().await;
                        continue;
                    }
                    Err(error) => {
                        error.log();
                        rpc_status(&error)
                    }
                },
                Err(status) => status,
            };
            yield Ok(form.error(&json(&failed), is_first));
            return;
        }
    })
}

fn item(route: &Route, message: &[u8]) -> Result<Vec<u8>> {
    route.json(message).map_err(unwritable)
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue, header};

    use super::Form;

    #[test]
    fn accept_tells_the_form() {
        let cases = [
            ("", Form::Lines),
            ("*/*", Form::Lines),
            ("text/event-stream", Form::Events),
            ("Text/Event-Stream; charset=utf-8", Form::Events),
            ("application/json", Form::Array),
            ("application/x-ndjson, application/json", Form::Lines),
            ("application/json, text/plain, */*", Form::Array),
            ("application/json;q=0.5, text/event-stream;q=0.9", Form::Events),
            ("text/*", Form::Events),
            ("application/*", Form::Lines),
            ("*/*, application/x-ndjson;q=0", Form::Events),
            ("*/*;q=0.1, application/json;q=0.2", Form::Array),
            ("image/png", Form::Lines),
            ("application/json;q=x", Form::Lines),
            ("application/json;q=0", Form::Lines),
            (",;q=1,", Form::Lines),
        ];
        for (accept, form) in cases {
            let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            assert_eq!(Form::negotiate(&headers), form, "{accept}");
        }
    }
}
