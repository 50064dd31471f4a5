//! A gRPC endpoint of the benchmark's own, for what the product does not offer: a whole image in one message, and
//! messages of any size. It does as generated code does: encode each message into a buffer of its own.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::{HeaderMap, HeaderValue};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use prost::Message as _;

use crate::proto::wirephoto::v1::{ChecksummedData, DownloadImageRequest, DownloadImageResponse};
use crate::wire::envelope::{HEAD_LEN, put_head};
use crate::wire::status::{GRPC_MESSAGE, GRPC_STATUS};

/// The image in one message. The request names a file, not `images/…`.
pub(super) const WHOLE: &str = "/wirephoto.bench.v1.Endpoint/Whole";
/// The image in messages of `read_limit` bytes.
pub(super) const PIECES: &str = "/wirephoto.bench.v1.Endpoint/Pieces";

/// Serves the files of `folder`.
pub(super) fn router(folder: PathBuf) -> Router {
    Router::new().route(WHOLE, post(answer)).route(PIECES, post(answer)).with_state(Arc::new(folder))
}

async fn answer(State(folder): State<Arc<PathBuf>>, request: Request) -> Response {
    let whole = request.uri().path() == WHOLE;
    let Ok(body) = request.into_body().collect().await else { return refused("the request broke off") };
    let body = body.to_bytes();
    let Ok(request) = DownloadImageRequest::decode(body.get(HEAD_LEN..).unwrap_or_default()) else {
        return refused("the request is no DownloadImageRequest");
    };
    // The names come from ourselves, and still none may lead out of the folder.
    if request.name.contains(['/', '\\']) || request.name.starts_with('.') {
        return refused("no such file");
    }
    let Ok(image) = tokio::fs::read(folder.join(&request.name)).await else { return refused("no such file") };
    let image = Bytes::from(image);
    let size = if whole { image.len() } else { usize::try_from(request.read_limit).unwrap_or(0) };
    if size == 0 {
        return refused("messages have a size above 0");
    }
    let messages = futures::stream::iter((0..image.len()).step_by(size)).map(move |start| {
        let data = image.slice(start..image.len().min(start + size));
        Ok::<_, std::convert::Infallible>(Frame::data(encode(data)))
    });
    let end = futures::stream::once(async { Ok(Frame::trailers(status("0", ""))) });
    grpc(Body::new(StreamBody::new(messages.chain(end))))
}

fn encode(data: Bytes) -> Bytes {
    let message = DownloadImageResponse { chunk: Some(ChecksummedData { data, crc32c: None }), ..Default::default() };
    let len = message.encoded_len();
    let mut buffer = BytesMut::with_capacity(HEAD_LEN + len);
    put_head(&mut buffer, 0, len);
    // A `BytesMut` has room for any message.
    let _ = message.encode(&mut buffer);
    buffer.freeze()
}

fn refused(why: &'static str) -> Response {
    let mut response = grpc(Body::empty());
    // INVALID_ARGUMENT
    response.headers_mut().extend(status("3", why));
    response
}

fn grpc(body: Body) -> Response {
    let mut response = Response::new(body);
    response.headers_mut().insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

fn status(code: &'static str, message: &'static str) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert(GRPC_STATUS, HeaderValue::from_static(code));
    trailers.insert(GRPC_MESSAGE, HeaderValue::from_static(message));
    trailers
}
