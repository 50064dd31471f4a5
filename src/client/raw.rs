//! gRPC as it is, for measuring: a channel with chosen HTTP/2 settings over a connection that the caller makes.
//!
//! Nothing is verified and nothing retried here: [`Client`](super::Client) is for those who want the image.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{Request, Response, Uri};
use hyper::rt::{Read, Write};
use hyper_util::client::legacy::connect::Connect;
use hyper_util::rt::TokioExecutor;
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::body::Body;
use tonic::client::Grpc;
use tonic::transport::Endpoint;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;
use tower::util::BoxCloneSyncService;
use tower::{Service, ServiceBuilder, ServiceExt as _};

use crate::proto::wirephoto::v1::image_service_client::ImageServiceClient;
use crate::proto::wirephoto::v1::{
    DownloadImageRequest, DownloadImageResponse, DownloadImagesRequest, DownloadImagesResponse, GetImageRequest,
    download_images_response::Item,
};

/// What a failed call says.
pub(crate) type Failure = String;

/// HTTP/2 settings of the client; `None` leaves the library's own.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Http2 {
    /// Bytes a stream may have in flight.
    pub(crate) stream_window: Option<u32>,
    /// Bytes all streams together may have in flight.
    pub(crate) connection_window: Option<u32>,
    /// Largest frame taken.
    pub(crate) frame: Option<u32>,
}

impl Http2 {
    /// What [`Client`](super::Client) uses.
    pub(crate) const TUNED: Self = Self {
        stream_window: Some(super::pool::STREAM_WINDOW),
        connection_window: Some(super::pool::CONNECTION_WINDOW),
        frame: Some(super::pool::MAX_FRAME),
    };
    /// What the protocol begins with (RFC 9113, section 6.9.2), 65,535 bytes for both.
    pub(crate) const PROTOCOL: Self =
        Self { stream_window: Some(65_535), connection_window: Some(65_535), frame: None };
}

type Transport = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// Calls over one channel.
#[derive(Clone)]
pub(crate) struct Raw {
    service: ImageServiceClient<Transport>,
    methods: Grpc<Transport>,
}

impl std::fmt::Debug for Raw {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Raw")
    }
}

impl Raw {
    /// Opens a gRPC channel: one HTTP/2 connection, which `connector` makes.
    ///
    /// # Errors
    /// The connection cannot be made.
    pub(crate) async fn connect<C>(origin: Uri, connector: C, http2: Http2) -> Result<Self, Failure>
    where
        C: Service<Uri> + Send + 'static,
        C::Response: Read + Write + Send + Unpin + 'static,
        C::Future: Send,
        Box<dyn std::error::Error + Send + Sync>: From<C::Error>,
        C::Error: Send,
    {
        let endpoint = Endpoint::from(origin.clone())
            .initial_stream_window_size(http2.stream_window)
            .initial_connection_window_size(http2.connection_window)
            .max_frame_size(http2.frame);
        let channel = endpoint.connect_with_connector(connector).await.map_err(|error| explain(&error))?;
        let service = channel.map_err(|error| Status::from_error(error.into()));
        Ok(Self::over(BoxCloneSyncService::new(service), origin))
    }

    /// gRPC-Web over a pool of HTTP/1.1 connections, which `connector` makes.
    pub(crate) fn web<C>(origin: Uri, connector: C) -> Self
    where
        C: Connect + Clone + Send + Sync + 'static,
    {
        let http = hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        let service = ServiceBuilder::new()
            .layer(tonic_web::GrpcWebClientLayer::new())
            .service(http)
            .map_response(|response: Response<_>| response.map(Body::new))
            .map_err(|error| Status::from_error(error.into()));
        Self::over(BoxCloneSyncService::new(service), origin)
    }

    fn over(transport: Transport, origin: Uri) -> Self {
        Self {
            service: ImageServiceClient::with_origin(transport.clone(), origin.clone())
                .max_decoding_message_size(usize::MAX),
            methods: Grpc::with_origin(transport, origin).max_decoding_message_size(usize::MAX),
        }
    }

    /// `DownloadImage`: `piece` gets the bytes as they come. `limit` bytes at most, 0 for all.
    ///
    /// # Errors
    /// What the server or the transport said.
    pub(crate) async fn download(&self, name: &str, limit: i64, mut piece: impl FnMut(&[u8])) -> Result<(), Failure> {
        let request = DownloadImageRequest { name: name.to_owned(), read_offset: 0, read_limit: limit };
        let mut service = self.service.clone();
        let mut stream = service.download_image(request).await.map_err(|status| told(&status))?.into_inner();
        while let Some(message) = stream.message().await.map_err(|status| told(&status))? {
            if let Some(chunk) = message.chunk {
                piece(&chunk.data);
            }
        }
        Ok(())
    }

    /// `DownloadImage`, of which nothing is read: the stream is held until it is dropped.
    ///
    /// # Errors
    /// What the server or the transport said.
    pub(crate) async fn unread(&self, name: &str) -> Result<impl Send + use<>, Failure> {
        let request = DownloadImageRequest { name: name.to_owned(), ..Default::default() };
        Ok(self.service.clone().download_image(request).await.map_err(|status| told(&status))?.into_inner())
    }

    /// `GetImage`: the smallest call there is.
    ///
    /// # Errors
    /// What the server or the transport said.
    pub(crate) async fn get(&self, name: &str) -> Result<(), Failure> {
        let request = GetImageRequest { name: name.to_owned() };
        self.service.clone().get_image(request).await.map_err(|status| told(&status))?;
        Ok(())
    }

    /// A unary method of the benchmark's own endpoint: the whole image in one message.
    ///
    /// # Errors
    /// What the server or the transport said.
    pub(crate) async fn whole(&self, path: &'static str, name: &str) -> Result<Bytes, Failure> {
        let mut grpc = self.methods.clone();
        grpc.ready().await.map_err(|status| told(&status))?;
        let request = DownloadImageRequest { name: name.to_owned(), ..Default::default() };
        let codec: ProstCodec<DownloadImageRequest, DownloadImageResponse> = ProstCodec::default();
        let response = grpc.unary(tonic::Request::new(request), PathAndQuery::from_static(path), codec).await;
        Ok(response.map_err(|status| told(&status))?.into_inner().chunk.unwrap_or_default().data)
    }

    /// A streaming method of the benchmark's own endpoint: the image in messages of `size` bytes.
    ///
    /// # Errors
    /// What the server or the transport said.
    pub(crate) async fn pieces(
        &self,
        path: &'static str,
        name: &str,
        size: i64,
        mut piece: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let mut grpc = self.methods.clone();
        grpc.ready().await.map_err(|status| told(&status))?;
        let request = DownloadImageRequest { name: name.to_owned(), read_offset: 0, read_limit: size };
        let codec: ProstCodec<DownloadImageRequest, DownloadImageResponse> = ProstCodec::default();
        let path = PathAndQuery::from_static(path);
        let response = grpc.server_streaming(tonic::Request::new(request), path, codec).await;
        let mut stream = response.map_err(|status| told(&status))?.into_inner();
        while let Some(message) = stream.message().await.map_err(|status| told(&status))? {
            piece(&message.chunk.unwrap_or_default().data);
        }
        Ok(())
    }

    /// Opens one `DownloadImages` stream for many downloads.
    ///
    /// # Errors
    /// What the server or the transport said.
    pub(crate) async fn many(&self) -> Result<Many, Failure> {
        let (requests, outgoing) = mpsc::unbounded_channel();
        let mut service = self.service.clone();
        let answers = service.download_images(UnboundedReceiverStream::new(outgoing)).await;
        let answers = answers.map_err(|status| told(&status))?.into_inner();
        let waiting = Arc::new(Waiting::default());
        let reader = tokio::spawn(deliver(answers, Arc::clone(&waiting)));
        Ok(Many { requests, waiting, next: AtomicI64::new(0), order: Mutex::new(()), reader })
    }
}

/// One bidirectional stream. It ends when it is dropped.
pub(crate) struct Many {
    requests: mpsc::UnboundedSender<DownloadImagesRequest>,
    waiting: Arc<Waiting>,
    next: AtomicI64,
    /// The stream counts requests in the order they are sent.
    order: Mutex<()>,
    reader: tokio::task::JoinHandle<()>,
}

type Parcel = Result<Bytes, Failure>;

/// Who waits for which index; `Err` once the stream is over.
struct Waiting(Mutex<Result<HashMap<i64, mpsc::UnboundedSender<Parcel>>, Failure>>);

impl Default for Waiting {
    fn default() -> Self {
        Self(Mutex::new(Ok(HashMap::new())))
    }
}

impl std::fmt::Debug for Many {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Many")
    }
}

impl Drop for Many {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Many {
    /// One image over the stream, beside others that run.
    ///
    /// # Errors
    /// What the server or the transport said.
    pub(crate) async fn download(&self, name: &str, mut piece: impl FnMut(&[u8])) -> Result<(), Failure> {
        let (parcels, mut incoming) = mpsc::unbounded_channel();
        {
            let _order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            let mut waiting = self.waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
            waiting.as_mut().map_err(|over| over.clone())?.insert(index, parcels);
            let request = DownloadImagesRequest { name: name.to_owned(), ..Default::default() };
            self.requests.send(request).map_err(|_| "the stream is over".to_owned())?;
        }
        while let Some(parcel) = incoming.recv().await {
            piece(&parcel?);
        }
        Ok(())
    }
}

/// Gives each answer to whoever waits for it.
async fn deliver(mut answers: Streaming<DownloadImagesResponse>, waiting: Arc<Waiting>) {
    let over = loop {
        let answer = match answers.message().await {
            Ok(Some(answer)) => answer,
            Ok(None) => break "the server ended the stream".to_owned(),
            Err(status) => break told(&status),
        };
        let mut waiting = waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Ok(open) = waiting.as_mut() else { return };
        let Some(parcels) = open.get(&answer.index) else { continue };
        let parcel = match answer.item {
            Some(Item::Part(part)) => Ok(part.chunk.unwrap_or_default().data),
            Some(Item::Error(status)) => Err(status.message),
            None => Ok(Bytes::new()),
        };
        // Whoever left does not want it.
        let _ = parcels.send(parcel);
        if answer.last {
            open.remove(&answer.index);
        }
    };
    let mut waiting = waiting.0.lock().unwrap_or_else(PoisonError::into_inner);
    if let Ok(open) = waiting.as_mut() {
        for parcels in open.values() {
            let _ = parcels.send(Err(over.clone()));
        }
    }
    *waiting = Err(over);
}

fn told(status: &Status) -> Failure {
    match std::error::Error::source(status) {
        Some(_) => explain(status),
        None => format!("{:?}: {}", status.code(), status.message()),
    }
}

/// The error with every cause below it.
pub(crate) fn explain(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !message.contains(&next) {
            message.push_str(": ");
            message.push_str(&next);
        }
        cause = error.source();
    }
    message
}
