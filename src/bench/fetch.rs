//! The client of each way: fetches one image and counts what came.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use prost::Message as _;
use serde::{Deserialize, Serialize};

use super::connect::{Connector, Traffic};
use super::endpoint;
use super::ways::{POOL, Way};
use crate::client::raw::{Http2, Many, Raw, explain};
use crate::proto::wirephoto::v1::{DownloadImageRequest, DownloadImageResponse};
use crate::wire::envelope::{Deframer, envelope};

const DOWNLOAD: &str = "/wirephoto.v1.ImageService/DownloadImage";

/// An image to fetch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Subject {
    /// Its id.
    pub(super) id: String,
    /// Its bytes.
    pub(super) size: u64,
    /// CRC-32C of its bytes.
    pub(super) crc32c: u32,
}

/// What came of one image.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) bytes: u64,
    /// When the first byte of the image was there.
    pub(super) first: Option<Instant>,
    crc32c: Option<u32>,
}

impl Arrival {
    /// `check` reads every byte, which a measured fetch does not.
    fn new(check: bool) -> Self {
        Self { bytes: 0, first: None, crc32c: check.then_some(0) }
    }

    fn take(&mut self, piece: &[u8]) {
        if piece.is_empty() {
            return;
        }
        self.first.get_or_insert_with(Instant::now);
        self.bytes += piece.len() as u64;
        self.crc32c = self.crc32c.map(|crc32c| crc32c::crc32c_append(crc32c, piece));
    }
}

type Http = legacy::Client<Connector, Full<Bytes>>;

enum Means {
    Bytes(Http),
    Json(Http),
    Connect(Http),
    Grpc { channels: Vec<Raw>, next: AtomicUsize },
    NewChannel,
    Stream(Many),
    Unary(Raw),
}

/// A client that goes one way.
pub(super) struct Fetcher {
    way: Way,
    connector: Connector,
    origin: Uri,
    authority: String,
    means: Means,
}

impl Fetcher {
    /// Connects, where the way keeps a connection.
    pub(super) async fn connect(way: Way, address: SocketAddr, connector: Connector) -> Result<Self, String> {
        let authority = address.to_string();
        let origin: Uri = format!("http://{authority}").parse().map_err(|error| format!("{error}"))?;
        let channel = |http2| Raw::connect(origin.clone(), connector.for_http2(), http2);
        let means = match way {
            Way::H1New => Means::Bytes(http1(&connector, 0)),
            Way::H1Pool => Means::Bytes(http1(&connector, usize::MAX)),
            Way::H2 => Means::Bytes(http2(&connector)),
            Way::Json => Means::Json(http1(&connector, usize::MAX)),
            Way::Connect => Means::Connect(http1(&connector, usize::MAX)),
            Way::GrpcNew => Means::NewChannel,
            Way::Grpc64k => one(channel(Http2::PROTOCOL).await?),
            Way::GrpcDefault => one(channel(Http2::default()).await?),
            Way::GrpcTuned => one(channel(Http2::TUNED).await?),
            Way::GrpcPool => {
                let mut channels = Vec::new();
                for _ in 0..POOL {
                    channels.push(channel(Http2::TUNED).await?);
                }
                Means::Grpc { channels, next: AtomicUsize::new(0) }
            }
            Way::GrpcBidi => Means::Stream(channel(Http2::TUNED).await?.many().await?),
            Way::GrpcUnary => Means::Unary(channel(Http2::TUNED).await?),
            Way::GrpcWeb => one(Raw::web(origin.clone(), connector.clone())),
        };
        Ok(Self { way, connector, origin, authority, means })
    }

    pub(super) fn connector(&self) -> &Connector {
        &self.connector
    }

    pub(super) fn traffic(&self) -> Traffic {
        self.connector.traffic()
    }

    /// The channel of a gRPC way.
    pub(super) fn channel(&self) -> Result<&Raw, String> {
        match &self.means {
            Means::Grpc { channels, .. } => Ok(&channels[0]),
            Means::Unary(channel) => Ok(channel),
            _ => Err(format!("{} keeps no channel", self.way.id())),
        }
    }

    /// Fetches it and compares every byte with what was put there.
    pub(super) async fn verify(&self, subject: &Subject) -> Result<(), String> {
        let arrival = Mutex::new(Arrival::new(true));
        self.bring(subject, |piece| lock(&arrival).take(piece)).await?;
        let arrival = arrival.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
        if arrival.bytes != subject.size || arrival.crc32c != Some(subject.crc32c) {
            return Err(format!(
                "{} came damaged by {}: {} of {} bytes, or other ones",
                subject.id,
                self.way.id(),
                arrival.bytes,
                subject.size
            ));
        }
        Ok(())
    }

    /// Fetches it; `piece` gets its bytes as they come.
    pub(super) async fn fetch(&self, subject: &Subject, mut count: impl FnMut(usize)) -> Result<Arrival, String> {
        let mut arrival = Arrival::new(false);
        self.bring(subject, |piece| {
            arrival.take(piece);
            count(piece.len());
        })
        .await?;
        if arrival.bytes != subject.size {
            return Err(format!("{} of {} bytes of {} came", arrival.bytes, subject.size, subject.id));
        }
        Ok(arrival)
    }

    async fn bring(&self, subject: &Subject, mut piece: impl FnMut(&[u8])) -> Result<(), String> {
        let name = format!("images/{}", subject.id);
        match &self.means {
            Means::Bytes(http) => {
                let mut body = self.get(http, &format!("/i/{}", subject.id)).await?;
                while let Some(frame) = body.frame().await {
                    if let Ok(data) = frame.map_err(|error| explain(&error))?.into_data() {
                        piece(&data);
                    }
                }
                Ok(())
            }
            Means::Json(http) => {
                let mut body = self.get(http, &format!("/v1/{name}:download")).await?;
                let mut lines = Lines::default();
                while let Some(frame) = body.frame().await {
                    if let Ok(data) = frame.map_err(|error| explain(&error))?.into_data() {
                        lines.push(&data, &mut piece)?;
                    }
                }
                lines.end()
            }
            Means::Connect(http) => {
                let message = DownloadImageRequest { name, ..Default::default() };
                let request = Request::post(format!("http://{}{DOWNLOAD}", self.authority))
                    .header(header::CONTENT_TYPE, "application/connect+proto")
                    .header("connect-protocol-version", "1")
                    .body(Full::new(envelope(0, &message.encode_to_vec())));
                let mut body = self.send(http, request).await?;
                let mut messages = Deframer::default();
                while let Some(frame) = body.frame().await {
                    if let Ok(data) = frame.map_err(|error| explain(&error))?.into_data() {
                        messages.push(data);
                        while let Some((flags, message)) = messages.next_message() {
                            connect_message(flags, message, &mut piece)?;
                        }
                    }
                }
                Ok(())
            }
            Means::Grpc { channels, next } => {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                channels[turn % channels.len()].download(&name, 0, piece).await
            }
            Means::NewChannel => {
                let connector = self.connector.for_http2();
                let channel = Raw::connect(self.origin.clone(), connector, Http2::default()).await?;
                channel.download(&name, 0, piece).await
            }
            Means::Stream(stream) => stream.download(&name, piece).await,
            Means::Unary(channel) => {
                piece(&channel.whole(endpoint::WHOLE, &subject.id).await?);
                Ok(())
            }
        }
    }

    async fn get(&self, http: &Http, path: &str) -> Result<hyper::body::Incoming, String> {
        let request = Request::get(format!("http://{}{path}", self.authority))
            .header(header::ACCEPT, "*/*")
            .body(Full::default());
        self.send(http, request).await
    }

    async fn send(
        &self,
        http: &Http,
        request: http::Result<Request<Full<Bytes>>>,
    ) -> Result<hyper::body::Incoming, String> {
        let request = request.map_err(|error| error.to_string())?;
        let asked = format!("{} {}", request.method(), request.uri().path());
        let response = http.request(request).await.map_err(|error| explain(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response.into_body()),
            status => Err(format!("the server answered {status} to {asked}")),
        }
    }
}

/// A message of a Connect stream; the last one has flag 2 and holds JSON, with the error if there was one.
fn connect_message(flags: u8, message: Bytes, piece: &mut impl FnMut(&[u8])) -> Result<(), String> {
    if flags & 2 != 0 {
        let end: serde_json::Value = serde_json::from_slice(&message).map_err(|error| error.to_string())?;
        return end.get("error").map_or(Ok(()), |error| Err(format!("the server broke off: {error}")));
    }
    let message = DownloadImageResponse::decode(message).map_err(|error| error.to_string())?;
    piece(&message.chunk.unwrap_or_default().data);
    Ok(())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn one(channel: Raw) -> Means {
    Means::Grpc { channels: vec![channel], next: AtomicUsize::new(0) }
}

fn http1(connector: &Connector, idle: usize) -> Http {
    legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(idle).build(connector.clone())
}

fn http2(connector: &Connector) -> Http {
    let Http2 { stream_window, connection_window, frame } = Http2::TUNED;
    legacy::Client::builder(TokioExecutor::new())
        .http2_only(true)
        .http2_initial_stream_window_size(stream_window)
        .http2_initial_connection_window_size(connection_window)
        .http2_max_frame_size(frame)
        .build(connector.for_http2())
}

/// Lines of JSON, each with a piece of the image in base64.
#[derive(Default)]
struct Lines {
    begun: Vec<u8>,
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    chunk: Option<Chunk<'a>>,
    error: Option<serde_json::Value>,
}

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow)]
    data: Option<&'a str>,
}

impl Lines {
    fn push(&mut self, mut data: &[u8], piece: &mut impl FnMut(&[u8])) -> Result<(), String> {
        while let Some(end) = data.iter().position(|byte| *byte == b'\n') {
            self.begun.extend_from_slice(&data[..end]);
            data = &data[end + 1..];
            let line: Line<'_> = serde_json::from_slice(&self.begun).map_err(|error| error.to_string())?;
            if let Some(error) = line.error {
                return Err(format!("the server broke off: {error}"));
            }
            if let Some(data) = line.chunk.and_then(|chunk| chunk.data) {
                piece(&BASE64_STANDARD.decode(data).map_err(|error| error.to_string())?);
            }
            self.begun.clear();
        }
        self.begun.extend_from_slice(data);
        Ok(())
    }

    fn end(&self) -> Result<(), String> {
        if self.begun.is_empty() { Ok(()) } else { Err("the last line is cut".to_owned()) }
    }
}
