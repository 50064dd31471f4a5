//! Content codings, gzip, zstd and deflate: answers of whole HTTP bodies negotiated, what requests have in them decoded within
//! a bound (RFC 9110 section 8.4).

use std::convert::Infallible;

use async_compression::tokio::bufread::{GzipDecoder, ZlibDecoder, ZstdDecoder};
use async_compression::zstd::DParameter;
use axum::body::Body;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body::Body as _;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tower::ServiceExt as _;
use tower_http::CompressionLevel;
use tower_http::compression::Compression;
use tower_http::compression::predicate::SizeAbove;

/// The codings that requests may have, for `Accept-Encoding` of an answer that refuses another (RFC 7694).
pub const ACCEPTED: HeaderValue = HeaderValue::from_static("gzip, zstd, deflate");

/// Smaller answers fit a packet or two as they are. In bytes.
const WORTH_IT: u64 = 1024;

/// The answer in a coding that the request accepts. Only for a body that is there as a whole.
///
/// A strong `ETag` becomes weak: it is the identity's, and another coding is another representation.
pub async fn encoded(request_headers: &HeaderMap, mut response: Response<Body>) -> Response<Body> {
    if response.body().size_hint().exact().is_none() {
        return response;
    }
    if response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().append(header::VARY, HeaderValue::from_static("accept-encoding"));
        return response;
    }
    let mut accept = Request::new(());
    for value in request_headers.get_all(header::ACCEPT_ENCODING) {
        accept.headers_mut().append(header::ACCEPT_ENCODING, value.clone());
    }
    // A service that is called once, as `oneshot` does.
    let mut response = Some(response);
    let answer = tower::service_fn(move |_: Request<()>| {
        std::future::ready(Ok::<_, Infallible>(response.take().unwrap_or_default()))
    });
    let compressed = Compression::new(answer)
        .quality(CompressionLevel::Fastest)
        .compress_when(SizeAbove::new(WORTH_IT))
        .oneshot(accept)
        .await;
    let mut response = match compressed {
        Ok(response) => response.map(Body::new),
        Err(never) => match never {},
    };
    if response.headers().contains_key(header::CONTENT_ENCODING)
        && let Some(tag) = response.headers().get(header::ETAG)
        && !tag.as_bytes().starts_with(b"W/")
        && let Ok(weak) = HeaderValue::from_bytes(&[b"W/", tag.as_bytes()].concat())
    {
        response.headers_mut().insert(header::ETAG, weak);
    }
    response
}

/// How a request's body, or a message in it, is coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    /// As it is.
    Identity,
    /// RFC 1952.
    Gzip,
    /// RFC 8878, with a window of at most 8 MiB (RFC 9659).
    Zstd,
    /// RFC 1950, which HTTP and gRPC call deflate.
    Deflate,
}

/// What is wrong with a coded body.
#[derive(Debug)]
pub enum Undecodable {
    /// It is larger than the limit, once decoded.
    TooLarge,
    /// It is not in the coding it claims.
    Broken(std::io::Error),
}

impl Coding {
    /// The coding of `Content-Encoding`; as an error its name, when it is none of ours.
    pub fn of(headers: &HeaderMap) -> Result<Self, String> {
        let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
        let Some(value) = values.next() else { return Ok(Self::Identity) };
        let name = String::from_utf8_lossy(value.as_bytes()).trim().to_ascii_lowercase();
        match name.as_str() {
            _ if values.next().is_some() => Err("several".to_owned()),
            "" => Ok(Self::Identity),
            "x-gzip" => Ok(Self::Gzip),
            _ => Self::named(&name).ok_or(name),
        }
    }

    /// The coding of this name; `None` when it is none of ours.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            "identity" => Some(Self::Identity),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            "deflate" => Some(Self::Deflate),
            _ => None,
        }
    }

    /// The body without its coding, of at most `limit` bytes; no more than that is ever kept.
    pub async fn decode(self, body: Bytes, limit: usize) -> Result<Bytes, Undecodable> {
        const MAX_WINDOW_LOG: u32 = 23;
        match self {
            Self::Identity => Ok(body),
            Self::Gzip => {
                let mut decoder = GzipDecoder::new(&*body);
                decoder.multiple_members(true);
                read(decoder, limit).await
            }
            Self::Deflate => read(ZlibDecoder::new(&*body), limit).await,
            Self::Zstd => {
                read(ZstdDecoder::with_params(&*body, &[DParameter::window_log_max(MAX_WINDOW_LOG)]), limit).await
            }
        }
    }
}

async fn read(decoder: impl AsyncRead + Unpin, limit: usize) -> Result<Bytes, Undecodable> {
    let mut decoded = Vec::new();
    decoder.take(limit as u64 + 1).read_to_end(&mut decoded).await.map_err(Undecodable::Broken)?;
    if decoded.len() > limit { Err(Undecodable::TooLarge) } else { Ok(decoded.into()) }
}
