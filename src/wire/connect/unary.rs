//! Connect's unary calls: the body, or the query of a GET, is the message; trailers are headers.

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::header::{self, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, request};

use super::{Form, Query, check_version, error, grpc_call};
use crate::error::{Code, Error, Reason, Result};
use crate::wire::compression::{COMPRESSED, unknown};
use crate::wire::content_coding::{ACCEPTED, Coding, encoded};
use crate::wire::envelope::{HEAD_LEN, put_head};
use crate::wire::gather::{broken, cut_off};
use crate::wire::grpc::{self, Grpc};
use crate::wire::metadata::{of_answer, with_metadata};
use crate::wire::reply::Reply;
use crate::wire::status::Outcome;
use crate::wire::{Codec, validator};

/// What precedes the name of a trailer.
const TRAILER: &str = "trailer-";
/// A message up to here is copied behind its head; a longer one follows it as it came.
const WORTH_JOINING: usize = 8 << 10;

/// Answers one POST.
pub(super) async fn post(grpc: &Grpc, codec: Codec, request: Request<Body>) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let answer = async {
        check_version(&parts.headers)?;
        let encoding = parts.headers.get(header::CONTENT_ENCODING).cloned();
        check_encoding(encoding.as_ref())?;
        let message = read(body, &parts, grpc.max_message_size(codec)).await?;
        call(grpc, codec, encoding, message, parts).await
    };
    answer.await.unwrap_or_else(|error| refusal(&error))
}

/// Answers one GET of a method without side effects.
pub(super) async fn get(grpc: &Grpc, request: Request<Body>) -> Response<Body> {
    let (parts, _) = request.into_parts();
    let answer = async {
        check_version(&parts.headers)?;
        let query = Query::parse(parts.uri.query().unwrap_or_default())?;
        let codec = match query.encoding.as_str() {
            "proto" => Codec::Proto,
            "json" => Codec::Json,
            other => return Ok(grpc::unsupported_type(&format!("application/{other}"))),
        };
        let named = |name: &String| HeaderValue::from_str(name).map_err(|_| unknown(name.as_bytes()));
        let encoding = query.compression.as_ref().map(named).transpose()?;
        check_encoding(encoding.as_ref())?;
        let limit = grpc.max_message_size(codec);
        if query.message.len() > limit {
            return Err(too_large(limit));
        }
        call(grpc, codec, encoding, vec![query.message], parts).await
    };
    answer.await.unwrap_or_else(|error| refusal(&error))
}

fn check_encoding(encoding: Option<&HeaderValue>) -> Result<()> {
    let Some(encoding) = encoding else { return Ok(()) };
    let known = encoding.to_str().ok().and_then(Coding::named);
    known.map(|_| ()).ok_or_else(|| unknown(encoding.as_bytes()))
}

fn refusal(error: &Error) -> Response<Body> {
    // A fault of the framing has a code and a message alone, as in gRPC.
    let mut response = if error.details.is_empty() { error::framing(error) } else { error::refusal(error) };
    if error.reason == Reason::Unimplemented {
        response.headers_mut().insert(header::ACCEPT_ENCODING, ACCEPTED);
    }
    response
}

/// The whole body, bounded, in the pieces it came in.
async fn read(body: Body, parts: &request::Parts, limit: usize) -> Result<Vec<Bytes>> {
    let announced = parts.headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    let (mut read, mut len) = (Vec::new(), 0);
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| broken(error, cut_off))?;
        len += piece.len();
        if len > limit {
            return Err(too_large(limit));
        }
        read.push(piece);
    }
    Ok(read)
}

fn too_large(limit: usize) -> Error {
    let message = format!("the message is over the limit of {limit} bytes: stream larger content in chunks");
    Error::new(Reason::TooLarge, message)
}

/// The pieces as one message in its envelope.
fn enveloped(flags: u8, pieces: Vec<Bytes>) -> Body {
    let len = pieces.iter().map(Bytes::len).sum::<usize>();
    let joined = len <= WORTH_JOINING;
    let mut head = BytesMut::with_capacity(if joined { HEAD_LEN + len } else { HEAD_LEN });
    put_head(&mut head, flags, len);
    if joined {
        pieces.iter().for_each(|piece| head.put_slice(piece));
        return Body::from(head.freeze());
    }
    let frames = std::iter::once(head.freeze()).chain(pieces).map(Ok::<_, std::convert::Infallible>);
    Body::from_stream(stream::iter(frames))
}

async fn call(
    grpc: &Grpc,
    codec: Codec,
    encoding: Option<HeaderValue>,
    message: Vec<Bytes>,
    parts: request::Parts,
) -> Result<Response<Body>> {
    let known = grpc.method(parts.uri.path()).is_some();
    let is_get = parts.method == http::Method::GET;
    let compressed = encoding.as_ref().is_some_and(|encoding| encoding != "identity");
    let request_headers = parts.headers.clone();
    let call = grpc_call(parts, encoding, enveloped(if compressed { COMPRESSED } else { 0 }, message))?;
    let mut reply = Reply::new(grpc.call(codec, call).await);
    let response = match reply.only_message().await {
        Ok(message) => {
            let mut response = Response::new(Body::empty());
            response.headers_mut().insert(header::CONTENT_TYPE, Form::Unary(codec).media_type());
            response.extensions_mut().insert(Outcome::known(Code::Ok));
            let response = if is_get {
                validator::validated(response, message, &request_headers)
            } else {
                response.map(|_| Body::from(message))
            };
            encoded(&request_headers, response).await
        }
        Err(status) => {
            let mut response = error::response(&status);
            if !known && status.code == Code::Unimplemented as i32 {
                *response.status_mut() = StatusCode::NOT_FOUND;
            }
            response
        }
    };
    let mut response = with_metadata(response, reply.headers());
    if is_get && !response.headers().contains_key(header::VARY) {
        // A small answer is the same for all, until it is a large one.
        response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    }
    for (name, value) in of_answer(reply.trailers()) {
        if let Ok(name) = HeaderName::try_from(format!("{TRAILER}{name}")) {
            response.headers_mut().append(name, value.clone());
        }
    }
    Ok(response)
}
