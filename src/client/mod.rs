//! The client library: one lazy connection to a server, streaming transfers, every byte verified.
//!
//! ```no_run
//! # async fn example() -> Result<(), wirephoto::client::Error> {
//! use futures::TryStreamExt as _;
//! use wirephoto::client::{Client, ClientOptions, UploadSpec};
//!
//! let client = Client::new(ClientOptions { server: "http://127.0.0.1:8080".parse()?, ..ClientOptions::default() });
//! let spec = UploadSpec { image_id: "cat.jpg".into(), ..UploadSpec::default() };
//! client.upload_file(spec, "cat.jpg", ()).await?;
//! let mut download = client.download("images/cat.jpg", ..).await?;
//! while let Some(piece) = download.try_next().await? {
//!     println!("{} bytes", piece.len());
//! }
//! # Ok(())
//! # }
//! ```

mod download;
mod error;
mod options;
mod policy;
pub(crate) mod raw;
mod upload;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use http::HeaderValue;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::error::Code;
use crate::proto::wirephoto::v1::image_service_client::ImageServiceClient;
use crate::proto::wirephoto::v1::{DeleteImageRequest, GetImageRequest, ListImagesRequest, UpdateImageRequest};

pub use self::download::Download;
pub use self::error::{Detail, Error};
pub use self::options::{ClientOptions, DEFAULT_SERVER, Server, Token};
pub use self::upload::Progress;
pub use crate::proto::wirephoto::v1::{Image, UploadImageResponse as Uploaded, UploadSpec};
pub use crate::well_known::FieldMask;

use self::policy::Policy;

/// The service's name, as health checks know it.
pub const SERVICE: &str = "wirephoto.v1.ImageService";

/// Bytes a download may send ahead of its reader: enough for a fast, distant server never to wait for us.
const STREAM_WINDOW: u32 = 16 << 20;
/// The same for all streams of the connection together.
const CONNECTION_WINDOW: u32 = 64 << 20;
/// A server that sends large frames spends a third of the CPU on them.
const MAX_FRAME: u32 = 1 << 20;
/// Longest message taken; a page of 200 images with every label at its longest is about 4 MiB.
const MAX_MESSAGE: usize = 16 << 20;
/// Images a page of a listing asks for.
const PAGE_SIZE: i32 = 200;

const USER_AGENT: &str = concat!("wirephoto/", env!("CARGO_PKG_VERSION"));
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// Long enough for a ping that queues behind megabytes on a slow line.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// A client of one server. Clones are cheap and share one HTTP/2 connection, made when it is first needed and made
/// again when it breaks.
#[derive(Clone)]
pub struct Client {
    channel: Channel,
    settings: Arc<Settings>,
}

type Service = ImageServiceClient<Channel>;

struct Settings {
    server: Server,
    authorization: Option<MetadataValue<Ascii>>,
    policy: Policy,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("server", &self.settings.server).finish_non_exhaustive()
    }
}

/// Which images [`Client::list`] gives, and in which order. The default is all of them, by name.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Conditions joined by ` AND `, such as `media_type = "image/png" AND size_bytes > 1000000`.
    pub filter: String,
    /// `name`, `create_time`, `update_time` or `size_bytes`, each with an optional ` desc`.
    pub order_by: String,
}

/// What a server says of itself or of one of its services (`grpc.health.v1`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It takes calls.
    Serving,
    /// It takes none now.
    NotServing,
    /// It does not say, or knows no such service.
    Unknown,
}

impl fmt::Display for Health {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::Unknown => "UNKNOWN",
        })
    }
}

impl Client {
    /// A client of the server that `options` name. Nothing is sent yet.
    ///
    /// Must be called within a Tokio runtime, which the connection lives in.
    pub fn new(options: ClientOptions) -> Self {
        let endpoint = Endpoint::from(options.server.uri());
        let named = endpoint.clone().user_agent(HeaderValue::from_static(USER_AGENT));
        let channel = named
            .unwrap_or(endpoint)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .connect_lazy();
        let authorization = options.token.map(Token::into_header);
        let policy = Policy::new(options.timeout);
        Self { channel, settings: Arc::new(Settings { server: options.server, authorization, policy }) }
    }

    /// The server.
    pub fn server(&self) -> &Server {
        &self.settings.server
    }

    /// What is known of the image `name` (`images/{id}`), without its bytes.
    ///
    /// # Errors
    /// [`Code::NotFound`] when there is none.
    pub async fn get(&self, name: &str) -> Result<Image, Error> {
        let request = GetImageRequest { name: name.to_owned() };
        let response = self.unary(request, |mut service, request| async move { service.get_image(request).await });
        response.await?.image.ok_or_else(|| self.without_image("GetImage"))
    }

    /// All images of `selection`, fetched page by page as they are asked for.
    ///
    /// An image that stays while the listing runs is given exactly once. The stream ends after its first error.
    pub fn list(&self, selection: Selection) -> impl Stream<Item = Result<Image, Error>> + Send + use<> {
        let client = self.clone();
        async_stream::try_stream! {
            let mut page_token = String::new();
            loop {
                let request = ListImagesRequest {
                    page_size: PAGE_SIZE,
                    page_token: page_token.clone(),
                    filter: selection.filter.clone(),
                    order_by: selection.order_by.clone(),
                };
                let list = |mut service: Service, request| async move { service.list_images(request).await };
                let page = client.unary(request, list).await?;
                for image in page.images {
                    yield image;
                }
                if page.next_page_token.is_empty() {
                    break;
                }
                if page.next_page_token == page_token {
                    let message = "the server gave the same page token twice: the listing cannot go on";
                    Err(Error::local(Code::Internal, message))?;
                }
                page_token = page.next_page_token;
            }
        }
    }

    /// Changes the fields of `image` that `mask` names: `display_name`, `labels` or `labels.KEY`.
    ///
    /// # Errors
    /// [`Code::NotFound`]; [`Code::Aborted`] when `image.etag` is given and another version is kept.
    pub async fn update(&self, image: Image, mask: FieldMask) -> Result<Image, Error> {
        let request = UpdateImageRequest { image: Some(image), update_mask: Some(mask), request_id: request_id() };
        let response = self.unary(request, |mut service, request| async move { service.update_image(request).await });
        response.await?.image.ok_or_else(|| self.without_image("UpdateImage"))
    }

    /// Deletes the image `name`, if `etag` is empty or that of the version kept.
    ///
    /// # Errors
    /// [`Code::NotFound`] unless `allow_missing`; [`Code::Aborted`] when another version is kept.
    pub async fn delete(&self, name: &str, etag: &str, allow_missing: bool) -> Result<(), Error> {
        let request = DeleteImageRequest {
            name: name.to_owned(),
            etag: etag.to_owned(),
            allow_missing,
            request_id: request_id(),
        };
        self.unary(request, |mut service, request| async move { service.delete_image(request).await }).await?;
        Ok(())
    }

    /// How `service` is; the server itself when empty (`grpc.health.v1.Health/Check`).
    ///
    /// # Errors
    /// Only when the server cannot be asked: a service it does not know is [`Health::Unknown`].
    pub async fn health(&self, service: &str) -> Result<Health, Error> {
        let mut health = HealthClient::new(self.channel.clone());
        let deadline = self.settings.policy.call();
        let request = self.request(HealthCheckRequest { service: service.to_owned() }, deadline);
        match deadline.limit(health.check(request)).await? {
            Ok(response) => Ok(match ServingStatus::try_from(response.into_inner().status) {
                Ok(ServingStatus::Serving) => Health::Serving,
                Ok(ServingStatus::NotServing) => Health::NotServing,
                Ok(ServingStatus::Unknown | ServingStatus::ServiceUnknown) | Err(_) => Health::Unknown,
            }),
            Err(status) if status.code() == tonic::Code::NotFound => Ok(Health::Unknown),
            Err(status) => Err(self.failure(status)),
        }
    }

    /// One call with one answer.
    async fn unary<Request, Response, Call, Answer>(&self, message: Request, call: Call) -> Result<Response, Error>
    where
        Call: FnOnce(Service, tonic::Request<Request>) -> Answer,
        Answer: Future<Output = Result<tonic::Response<Response>, tonic::Status>>,
    {
        let deadline = self.settings.policy.call();
        let answer = deadline.limit(call(self.service(), self.request(message, deadline))).await?;
        Ok(answer.map_err(|status| self.failure(status))?.into_inner())
    }

    fn service(&self) -> Service {
        ImageServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE)
    }

    /// The request with what every call carries: credentials, and the time that is left.
    fn request<T>(&self, message: T, deadline: policy::Deadline) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(authorization) = &self.settings.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        if let Some(left) = deadline.left() {
            request.set_timeout(left);
        }
        request
    }

    fn failure(&self, status: tonic::Status) -> Error {
        Error::from_status(status, &self.settings.server)
    }

    fn without_image(&self, method: &str) -> Error {
        let message = format!("{} answered {method} without an image: is it a wirephoto server?", self.settings.server);
        Error::local(Code::Internal, message)
    }
}

/// A request id nobody has used, which lets a mutating call be sent twice safely.
fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
