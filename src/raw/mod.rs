//! An image's bytes over plain HTTP, at `/i`, as RFC 9110 has it.
//!
//! A request goes through these steps, and the first that refuses it answers:
//!
//! 1. The path is split: `/i`, or `/i/{id}` with the id decoded once. Anything else is 404.
//! 2. The method is one that the path has, or 405 with `Allow`.
//! 3. The id is one, or 400.
//! 4. `Expect` is `100-continue`, or 417. Every check of the header comes before the body is asked for, because that is
//!    when the HTTP library answers `100 Continue`.
//! 5. A read (`read.rs`): `?generation`; If-Match, else If-Unmodified-Since (412); If-None-Match, else
//!    If-Modified-Since (304); If-Range with Range (206, 416); the whole (200).
//! 6. A write (`write.rs`): length (413), coding (415), part (400), digests (400), preconditions (412); the body, which
//!    the core takes in; the digests compared (400), the preconditions asked once more at the commit (412).
//! 7. A refusal becomes a problem document ([`problem`]), and the rest of the body is read for a while, so that a
//!    client which is still sending sees it.

mod conditional;
mod digest;
mod form;
mod headers;
mod incoming;
pub mod openapi;
mod outgoing;
mod problem;
mod range;
mod read;
mod write;

use axum::body::Body;
use axum::extract::Request;
use http::header::{self, HeaderValue};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use percent_encoding::percent_decode_str;

use crate::error::{Error, Reason, Result};
use crate::image::Images;
use crate::image::id::ImageId;
use incoming::Incoming;
use problem::Refusal;
pub use problem::problem;

/// Answers a request for what is at `/i` and below.
pub async fn answer(images: &Images, request: Request) -> Response<Body> {
    let (parts, body) = request.into_parts();
    route(images, &parts, body).await.unwrap_or_else(Refusal::into_response)
}

async fn route(images: &Images, request: &Parts, body: Body) -> Result<Response<Body>, Refusal> {
    let incoming = |body| Incoming::new(body, write::content_length(&request.headers).ok().flatten());
    match path_segment(request.uri.path()) {
        Place::Collection => {
            allow(&request.method, "POST", &[Method::POST])?;
            check_expect(request)?;
            Box::pin(write::write(images, None, request, incoming(body))).await
        }
        Place::Image(segment) => {
            allow(
                &request.method,
                "GET, HEAD, PUT, DELETE",
                &[Method::GET, Method::HEAD, Method::PUT, Method::DELETE],
            )?;
            let id = decode_id(segment)?;
            check_expect(request)?;
            match request.method {
                // In a box, since what they keep for later would be in every answer to a read.
                Method::PUT => Box::pin(write::write(images, Some(id), request, incoming(body))).await,
                Method::DELETE => Box::pin(write::delete(images, id, request)).await,
                _ => read::read(images, &id, request).await,
            }
        }
        Place::Nowhere => {
            let message = "there is nothing at this path: an image is at /i/ID, new ones are posted to /i";
            Err(Error::new(Reason::NotFound, message).into())
        }
    }
}

/// What a path names.
enum Place<'a> {
    Collection,
    /// Percent-encoded.
    Image(&'a str),
    Nowhere,
}

fn path_segment(path: &str) -> Place<'_> {
    match path.strip_prefix("/i") {
        Some("") => Place::Collection,
        Some(rest) => match rest.strip_prefix('/') {
            Some(segment) if !segment.is_empty() && !segment.contains('/') => Place::Image(segment),
            _ => Place::Nowhere,
        },
        None => Place::Nowhere,
    }
}

/// Decodes once: a second decoding would make `%252e` a dot.
fn decode_id(segment: &str) -> Result<ImageId> {
    ImageId::from_field(&percent_decode_str(segment).decode_utf8_lossy(), "id")
}

fn allow(method: &Method, allow: &'static str, allowed: &[Method]) -> Result<(), Refusal> {
    if allowed.contains(method) {
        return Ok(());
    }
    let error = Error::new(Reason::InvalidRequest, format!("{method} is not for this path: use {allow}"));
    Err(Refusal::with_status(StatusCode::METHOD_NOT_ALLOWED, error)
        .header(header::ALLOW, HeaderValue::from_static(allow)))
}

fn check_expect(request: &Parts) -> Result<(), Refusal> {
    let understood = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if request.headers.get_all(header::EXPECT).iter().all(understood) {
        return Ok(());
    }
    let error = Error::invalid("expect", "the only expectation met here is `100-continue`: leave out others");
    Err(Refusal::with_status(StatusCode::EXPECTATION_FAILED, error))
}

/// A header field of our own making: what it is made of has been checked, or is damaged in the store.
fn text(value: String) -> Result<HeaderValue> {
    HeaderValue::try_from(value).map_err(|error| {
        Error::new(Reason::DataLoss, "what is stored of this image is damaged: put the image again").caused_by(error)
    })
}

#[cfg(test)]
mod tests {
    use super::decode_id;

    #[test]
    fn ids_are_decoded_once() {
        assert_eq!(decode_id("photo%2Djpg").unwrap().as_str(), "photo-jpg");
        for bad in ["%2e%2e", "..", "a%2Fb", "a%00", "%252e", "a%", "a%zz", "%ff", "%C3%A4", &"x".repeat(129)] {
            let error = decode_id(bad).unwrap_err();
            assert!(error.message.contains("an id is"), "{bad}: {error}");
        }
    }
}
