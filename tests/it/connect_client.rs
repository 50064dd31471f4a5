//! tonic's client over Connect, as unlike the server's translator as may be: what it sends and gets is put into Connect's
//! form here, so that every test of a generated client can ask by Connect too.

use std::pin::Pin;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD as BASE64;
use bytes::Bytes;
use futures::Stream;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode, Version};
use http_body::Frame;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message as _;
use serde_json::Value;
use tonic::Status;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;
use wirephoto::error::Code;
use wirephoto::proto::google::rpc;
use wirephoto::proto::wirephoto::v1::table::IMAGE_SERVICE;
use wirephoto::well_known::Any;
use wirephoto::wire::envelope::{Deframer, envelope};
use wirephoto::wire::method::Kind;

type Http = Client<hyper_util::client::legacy::connect::HttpConnector, Body>;

/// What a generated client calls.
pub fn service(http2: bool) -> BoxCloneSyncService<Request<Body>, Response<Body>, Status> {
    let http: Http = Client::builder(TokioExecutor::new()).http2_only(http2).build_http();
    BoxCloneSyncService::new(tower::service_fn(move |request| call(http.clone(), http2, request)))
}

async fn call(http: Http, http2: bool, request: Request<Body>) -> Result<Response<Body>, Status> {
    let path = request.uri().path();
    let kind = IMAGE_SERVICE.iter().find(|method| method.path == path).unwrap().kind;
    let (mut parts, body) = request.into_parts();
    if let Some(timeout) = parts.headers.remove("grpc-timeout") {
        // The tests ask for milliseconds, or for nothing at all.
        let millis = timeout.to_str().unwrap().trim_end_matches(['m', 'n']).to_owned();
        parts.headers.insert("connect-timeout-ms", millis.parse().unwrap());
    }
    parts.headers.remove("te");
    parts.version = if http2 { Version::HTTP_2 } else { Version::HTTP_11 };
    parts.headers.insert("connect-protocol-version", HeaderValue::from_static("1"));
    let failed = |error: hyper_util::client::legacy::Error| Status::unavailable(error.to_string());
    if kind == Kind::Unary {
        let framed = body.collect().await?.to_bytes();
        parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/proto"));
        let body = Body::new(Full::new(framed.slice(5..)));
        return Ok(unary(http.request(Request::from_parts(parts, body)).await.map_err(failed)?).await);
    }
    parts.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/connect+proto"));
    stream(http.request(Request::from_parts(parts, body)).await.map_err(failed)?).await
}

async fn unary(answer: Response<hyper::body::Incoming>) -> Response<Body> {
    let (parts, body) = answer.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let (mut headers, mut trailers) = (HeaderMap::new(), HeaderMap::new());
    for (name, value) in &parts.headers {
        match name.as_str().strip_prefix("trailer-") {
            Some(name) => trailers.append(HeaderName::try_from(name).unwrap(), value.clone()),
            None => headers.append(name.clone(), value.clone()),
        };
    }
    headers.remove(CONTENT_LENGTH);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    if parts.status != StatusCode::OK {
        let error: Value = serde_json::from_slice(&body).unwrap();
        let status = status(&error);
        let expected = Code::from_number(status.code).http_status();
        assert_eq!(parts.status, expected, "{error}");
        assert_eq!(parts.headers[CONTENT_TYPE], "application/json");
        headers.extend(failure(&status));
        return answer_of(headers, Body::empty());
    }
    assert_eq!(parts.headers[CONTENT_TYPE], "application/proto");
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let frames = [Frame::data(envelope(0, &body)), Frame::trailers(trailers)];
    answer_of(headers, Body::new(StreamBody::new(tokio_stream::iter(frames.map(Ok::<_, Status>)))))
}

/// A stream, from its first message on: what fails at once is without a body in gRPC too.
async fn stream(answer: Response<hyper::body::Incoming>) -> Result<Response<Body>, Status> {
    let (parts, body) = answer.into_parts();
    assert_eq!(parts.status, StatusCode::OK, "streams fail in their end-stream message");
    assert_eq!(parts.headers[CONTENT_TYPE], "application/connect+proto");
    let mut headers = parts.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    let mut messages = Messages { body, deframer: Deframer::default() };
    let mut next = messages.next().await?;
    if next.0 & 2 != 0 {
        headers.extend(end(&next.1));
        return Ok(answer_of(headers, Body::empty()));
    }
    let frames: Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Status>> + Send>> =
        Box::pin(async_stream::try_stream! {
            while next.0 & 2 == 0 {
                yield Frame::data(envelope(next.0, &next.1));
                next = messages.next().await?;
            }
            yield Frame::trailers(end(&next.1));
            assert!(messages.body.frame().await.is_none() && messages.deframer.rest().is_empty(), "more after the end");
        });
    Ok(answer_of(headers, Body::new(StreamBody::new(frames))))
}

struct Messages {
    body: hyper::body::Incoming,
    deframer: Deframer,
}

impl Messages {
    /// There is always a next message up to the end-stream message, or the stream was cut.
    async fn next(&mut self) -> Result<(u8, Bytes), Status> {
        loop {
            if let Some(message) = self.deframer.next_message() {
                return Ok(message);
            }
            let cut = || Status::unavailable("the stream ended without its end-stream message");
            let frame = self.body.frame().await.ok_or_else(cut)?;
            let frame = frame.map_err(|error| Status::unavailable(error.to_string()))?;
            self.deframer.push(frame.into_data().expect("Connect has no trailers"));
        }
    }
}

fn answer_of(headers: HeaderMap, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    *answer.headers_mut() = headers;
    answer
}

/// The end-stream message as trailers.
fn end(message: &[u8]) -> HeaderMap {
    let end: Value = serde_json::from_slice(message).unwrap();
    let mut trailers = HeaderMap::new();
    for (name, values) in end["metadata"].as_object().into_iter().flatten() {
        for value in values.as_array().unwrap() {
            trailers.append(HeaderName::try_from(name).unwrap(), value.as_str().unwrap().parse().unwrap());
        }
    }
    match end.get("error") {
        Some(error) => trailers.extend(failure(&status(error))),
        None => drop(trailers.insert("grpc-status", HeaderValue::from_static("0"))),
    }
    trailers
}

/// Connect's error as `google.rpc.Status`.
pub fn status(error: &Value) -> rpc::Status {
    let name = match error["code"].as_str().unwrap() {
        "canceled" => "CANCELLED".to_owned(),
        name => name.to_uppercase(),
    };
    let code = Code::ALL.into_iter().find(|code| code.name() == name).unwrap_or_else(|| panic!("{error}")) as i32;
    let detail = |detail: &Value| {
        assert!(detail["debug"].is_object(), "{detail}");
        Any {
            type_url: format!("type.googleapis.com/{}", detail["type"].as_str().unwrap()),
            value: BASE64.decode(detail["value"].as_str().unwrap()).unwrap().into(),
        }
    };
    let details = error["details"].as_array().into_iter().flatten().map(detail).collect();
    rpc::Status { code, message: error["message"].as_str().unwrap_or_default().to_owned(), details }
}

fn failure(status: &rpc::Status) -> HeaderMap {
    let message = utf8_percent_encode(&status.message, NON_ALPHANUMERIC).to_string();
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.code.into());
    trailers.insert("grpc-message", message.parse().unwrap());
    if !status.details.is_empty() {
        trailers.insert("grpc-status-details-bin", BASE64.encode(status.encode_to_vec()).parse().unwrap());
    }
    trailers
}
