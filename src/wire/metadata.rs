//! Metadata: what of HTTP's headers is metadata, trailers of a successful call, `-bin` values that are base64 for certain.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use http::Response;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http_body::{Frame, SizeHint};

use crate::error::{Error, Result};

/// base64 of `-bin` metadata: sent without padding, taken with or without.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Trailing metadata of a call that succeeds, as a service leaves it in the extensions of its response.
///
/// A failure carries its metadata in its status. A stream that knows its trailers only at its end may end in a status of
/// code OK instead.
///
/// ```
/// # use wirephoto::wire::metadata::Trailers;
/// let mut response = tonic::Response::new(());
/// let mut trailers = http::HeaderMap::new();
/// trailers.insert("x-cost", http::HeaderValue::from_static("7"));
/// response.extensions_mut().insert(Trailers(trailers));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Trailers(pub HeaderMap);

/// Adds the [`Trailers`] that the service left to the answer's own.
pub(super) fn with_trailers(mut response: Response<Body>) -> Response<Body> {
    match response.extensions_mut().remove::<Trailers>() {
        Some(Trailers(more)) if !more.is_empty() => response.map(|body| Body::new(Trailing { body, more })),
        _ => response,
    }
}

struct Trailing {
    body: Body,
    more: HeaderMap,
}

impl http_body::Body for Trailing {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(trailers) = frame.as_mut().and_then(|frame| frame.as_mut().ok()?.trailers_mut()) {
            for (name, value) in &self.more {
                trailers.append(name.clone(), value.clone());
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The headers of a gRPC call made of an HTTP request: all of the request's but those that speak of its connection or its
/// body, and those that protocols keep to themselves.
pub(super) fn of_request(headers: &HeaderMap) -> HeaderMap {
    const OURS: [HeaderName; 14] = [
        header::ACCEPT,
        header::ACCEPT_ENCODING,
        header::CONNECTION,
        header::CONTENT_ENCODING,
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::EXPECT,
        header::HOST,
        header::IF_MATCH,
        header::IF_NONE_MATCH,
        header::TE,
        header::TRAILER,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
    ];
    let reserved = |name: &str| name.starts_with("grpc-") || name.starts_with("connect-");
    let mut metadata = HeaderMap::with_capacity(headers.len());
    for (name, value) in headers {
        if !OURS.contains(name) && !reserved(name.as_str()) {
            metadata.append(name.clone(), value.clone());
        }
    }
    metadata.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    metadata.insert(header::TE, HeaderValue::from_static("trailers"));
    metadata
}

/// What of a gRPC answer's headers or trailers is the service's own.
pub(super) fn of_answer(headers: &HeaderMap) -> impl Iterator<Item = (&HeaderName, &HeaderValue)> {
    headers.iter().filter(|(name, _)| {
        !(*name == header::CONTENT_TYPE || *name == header::CONTENT_LENGTH || name.as_str().starts_with("grpc-"))
    })
}

/// Adds metadata of the answer, leading or trailing, as headers.
pub(super) fn with_metadata(mut response: Response<Body>, metadata: &HeaderMap) -> Response<Body> {
    for (name, value) in of_answer(metadata) {
        response.headers_mut().append(name.clone(), value.clone());
    }
    response
}

/// Refuses a `-bin` header that is not base64; several values may be joined by commas ("Custom-Metadata" in
/// PROTOCOL-HTTP2.md).
///
/// # Errors
/// Names the header.
pub(super) fn check_binary(headers: &HeaderMap) -> Result<()> {
    let sound = |value: &HeaderValue| {
        value.as_bytes().split(|byte| *byte == b',').all(|value| BASE64.decode(value.trim_ascii()).is_ok())
    };
    match headers.iter().find(|(name, value)| name.as_str().ends_with("-bin") && !sound(value)) {
        None => Ok(()),
        Some((name, _)) => {
            let message = format!("the metadata `{name}` is not base64: the name of binary metadata ends in -bin");
            Err(Error::invalid(name.as_str(), message))
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, HeaderValue};

    use super::check_binary;

    #[test]
    fn binary_metadata_is_base64_with_or_without_padding() {
        let cases = [
            ("x-a-bin", "AAEC", true),
            ("x-a-bin", "AAE", true),
            ("x-a-bin", "AAE=", true),
            ("x-a-bin", "AAE=, AAEC,AA", true),
            ("x-a-bin", "", true),
            ("x-a-bin", "A", false),
            ("x-a-bin", "A_-A", false),
            ("x-a-bin", "AAEC,***", false),
            ("x-a", "***", true),
        ];
        for (name, value, sound) in cases {
            let headers = HeaderMap::from_iter([(name.parse().unwrap(), HeaderValue::from_static(value))]);
            assert_eq!(check_binary(&headers).is_ok(), sound, "{name}: {value}");
        }
    }
}
