//! `ConformanceService`: does what each request tells it to do.

use std::str::FromStr as _;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::BoxStream;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Response, Status, Streaming};
use wirephoto::proto::google::rpc;
use wirephoto::well_known::Any;
use wirephoto::wire::metadata::Trailers;

use super::proto::conformance_payload::RequestInfo;
use super::proto::conformance_service_server::ConformanceService;
use super::proto::unary_response_definition::Response as Asked;
use super::proto::{
    BidiStreamRequest, BidiStreamResponse, ClientStreamRequest, ClientStreamResponse, ConformancePayload, Error,
    Header, IdempotentUnaryRequest, IdempotentUnaryResponse, ServerStreamRequest, ServerStreamResponse, UnaryRequest,
    UnaryResponse, UnaryResponseDefinition, UnimplementedRequest, UnimplementedResponse,
};

pub struct Conformance;

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ConformanceService for Conformance {
    async fn unary(&self, request: Request<UnaryRequest>) -> Answer<UnaryResponse> {
        let (metadata, _, message) = request.into_parts();
        let info = info(&metadata, vec![packed("UnaryRequest", &message)]);
        one(message.response_definition, info, |payload| UnaryResponse { payload }).await
    }

    async fn idempotent_unary(&self, request: Request<IdempotentUnaryRequest>) -> Answer<IdempotentUnaryResponse> {
        let (metadata, _, message) = request.into_parts();
        let info = info(&metadata, vec![packed("IdempotentUnaryRequest", &message)]);
        one(message.response_definition, info, |payload| IdempotentUnaryResponse { payload }).await
    }

    async fn client_stream(&self, request: Request<Streaming<ClientStreamRequest>>) -> Answer<ClientStreamResponse> {
        let (metadata, _, mut messages) = request.into_parts();
        let (mut requests, mut definition) = (Vec::new(), None);
        while let Some(message) = messages.message().await? {
            if requests.is_empty() {
                definition = message.response_definition.clone();
            }
            requests.push(packed("ClientStreamRequest", &message));
        }
        one(definition, info(&metadata, requests), |payload| ClientStreamResponse { payload }).await
    }

    type ServerStreamStream = BoxStream<'static, Result<ServerStreamResponse, Status>>;

    async fn server_stream(&self, request: Request<ServerStreamRequest>) -> Answer<Self::ServerStreamStream> {
        let (metadata, _, message) = request.into_parts();
        let mut info = Some(info(&metadata, vec![packed("ServerStreamRequest", &message)]));
        let definition = message.response_definition.unwrap_or_default();
        let (headers, trailers) = (definition.response_headers.clone(), definition.response_trailers.clone());
        let answers = async_stream::stream! {
            for data in definition.response_data {
                pause(definition.response_delay_ms).await;
                yield Ok(ServerStreamResponse { payload: Some(ConformancePayload { data, request_info: info.take() }) });
            }
            if let Some(error) = definition.error {
                yield Err(status(error, info.take()));
            }
        };
        Ok(with_metadata(Response::new(answers.boxed()), &headers, &trailers))
    }

    type BidiStreamStream = BoxStream<'static, Result<BidiStreamResponse, Status>>;

    async fn bidi_stream(&self, request: Request<Streaming<BidiStreamRequest>>) -> Answer<Self::BidiStreamStream> {
        let (metadata, _, mut messages) = request.into_parts();
        let Some(first) = messages.message().await? else {
            return Ok(Response::new(futures::stream::empty().boxed()));
        };
        let mut requests = vec![packed("BidiStreamRequest", &first)];
        let definition = first.response_definition.unwrap_or_default();
        let full_duplex = first.full_duplex;
        if !full_duplex {
            while let Some(message) = messages.message().await? {
                requests.push(packed("BidiStreamRequest", &message));
            }
        }
        let mut info = Some(info(&metadata, requests));
        let (headers, trailers) = (definition.response_headers.clone(), definition.response_trailers.clone());
        let answers = async_stream::try_stream! {
            for (index, data) in definition.response_data.into_iter().enumerate() {
                if full_duplex && index > 0 {
                    info = messages.message().await?.map(|message| {
                        let requests = vec![packed("BidiStreamRequest", &message)];
                        RequestInfo { requests, ..Default::default() }
                    });
                }
                pause(definition.response_delay_ms).await;
                yield BidiStreamResponse { payload: Some(ConformancePayload { data, request_info: info.take() }) };
            }
            if let Some(error) = definition.error {
                Err(status(error, info.take()))?;
            }
        };
        Ok(with_metadata(Response::new(answers.boxed()), &headers, &trailers))
    }

    async fn unimplemented(&self, _: Request<UnimplementedRequest>) -> Answer<UnimplementedResponse> {
        Err(Status::unimplemented("as its name says"))
    }
}

/// Answers with one message, or with the error asked for.
async fn one<T>(
    definition: Option<UnaryResponseDefinition>,
    info: RequestInfo,
    wrap: impl FnOnce(Option<ConformancePayload>) -> T,
) -> Answer<T> {
    let definition = definition.unwrap_or_default();
    let (headers, trailers) = (definition.response_headers, definition.response_trailers);
    pause(definition.response_delay_ms).await;
    let data = match definition.response {
        Some(Asked::Error(error)) => return Err(with_status_metadata(status(error, Some(info)), &headers, &trailers)),
        Some(Asked::ResponseData(data)) => data,
        None => Default::default(),
    };
    let payload = ConformancePayload { data, request_info: Some(info) };
    Ok(with_metadata(Response::new(wrap(Some(payload))), &headers, &trailers))
}

async fn pause(ms: u32) {
    tokio::time::sleep(Duration::from_millis(ms.into())).await;
}

fn packed(name: &str, message: &impl Message) -> Any {
    Any::pack(&format!("connectrpc.conformance.v1.{name}"), message)
}

fn info(metadata: &MetadataMap, requests: Vec<Any>) -> RequestInfo {
    let headers = metadata.clone().into_headers();
    let values = |name: &HeaderName| {
        headers.get_all(name).iter().map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned()).collect()
    };
    let request_headers = headers.keys().map(|name| Header { name: name.to_string(), value: values(name) }).collect();
    let timeout = headers.get("grpc-timeout").and_then(|timeout| timeout.to_str().ok());
    RequestInfo { request_headers, timeout_ms: timeout.and_then(milliseconds), requests }
}

/// `grpc-timeout`: up to eight digits and a unit.
fn milliseconds(timeout: &str) -> Option<i64> {
    let (digits, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let count: i64 = digits.parse().ok()?;
    Some(match unit {
        "H" => count * 3_600_000,
        "M" => count * 60_000,
        "S" => count * 1000,
        "m" => count,
        "u" => count / 1000,
        "n" => count / 1_000_000,
        _ => return None,
    })
}

fn status(error: Error, info: Option<RequestInfo>) -> Status {
    let Error { code, message, mut details } = error;
    let message = message.unwrap_or_default();
    details.extend(info.map(|info| packed("ConformancePayload.RequestInfo", &info)));
    let whole = rpc::Status { code, message: message.clone(), details };
    Status::with_details(Code::from(code), message, whole.encode_to_vec().into())
}

fn header_map(headers: &[Header]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for Header { name, value } in headers {
        for value in value {
            map.append(HeaderName::from_str(name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
    }
    map
}

fn with_metadata<T>(mut response: Response<T>, headers: &[Header], trailers: &[Header]) -> Response<T> {
    *response.metadata_mut() = MetadataMap::from_headers(header_map(headers));
    response.extensions_mut().insert(Trailers(header_map(trailers)));
    response
}

/// A unary call that failed has no headers of its own beside its trailers.
fn with_status_metadata(mut status: Status, headers: &[Header], trailers: &[Header]) -> Status {
    let both: Vec<Header> = headers.iter().chain(trailers).cloned().collect();
    *status.metadata_mut() = MetadataMap::from_headers(header_map(&both));
    status
}
