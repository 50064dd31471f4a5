//! The client library: lazy connections, streaming transfers, every byte verified, and what can be mended mended.
//!
//! A [`Client`] holds one lazy HTTP/2 connection to each of its servers ([`ClientOptions::servers`]), or to each
//! address of a name that has several. Calls go to them in turn; one that cannot be reached is left out until a health
//! check, made beside the calls, finds it back. An `https` server is held to the CAs of [`ClientOptions::tls`].
//!
//! Every call has a deadline. Within it, one that a server could not take (UNAVAILABLE, its own DEADLINE_EXCEEDED), or
//! whose connection broke, is made again, up to three times in all: only one that has no side effects or carries a
//! request id, which every changing call of a [`Client`] does. The pauses between grow and differ by chance; a pause
//! that the server names (`google.rpc.RetryInfo`) is kept. A download that breaks off goes on where it was, as long as
//! the image has the same bytes; the upload of a file begins again. What a stream gives is sent once.
//!
//! ```no_run
//! # async fn example() -> Result<(), wirephoto::client::Error> {
//! use futures::TryStreamExt as _;
//! use wirephoto::client::{Client, ClientOptions, UploadSpec};
//!
//! let client = Client::new(ClientOptions { servers: "http://127.0.0.1:8080".parse()?, ..ClientOptions::default() });
//! let spec = UploadSpec { image_id: "cat.jpg".into(), ..UploadSpec::default() };
//! client.upload_file(spec, "cat.jpg", ()).await?;
//! let mut download = client.download("images/cat.jpg", ..).await?;
//! while let Some(piece) = download.try_next().await? {
//!     println!("{} bytes", piece.len());
//! }
//! # Ok(())
//! # }
//! ```

mod connect;
mod download;
mod error;
mod options;
mod policy;
mod pool;
pub(crate) mod raw;
mod tls;
mod upload;

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::error::Code;
use crate::proto::wirephoto::v1::image_service_client::ImageServiceClient;
use crate::proto::wirephoto::v1::{DeleteImageRequest, GetImageRequest, ListImagesRequest, UpdateImageRequest};

pub use self::download::Download;
pub use self::error::{Detail, Error};
pub use self::options::{ClientOptions, DEFAULT_SERVER, Server, Servers, Token};
pub use self::tls::{Tls, TlsFiles};
pub use self::upload::Progress;
pub use crate::proto::wirephoto::v1::{Image, UploadImageResponse as Uploaded, UploadSpec};
pub use crate::well_known::FieldMask;

use self::policy::{Attempts, Deadline, Policy, Retry, repeatable};
use self::pool::{Backend, Pool};

/// The service's name, as health checks know it.
pub const SERVICE: &str = "wirephoto.v1.ImageService";

/// Longest message taken; a page of 200 images with every label at its longest is about 4 MiB.
const MAX_MESSAGE: usize = 16 << 20;
/// Images a page of a listing asks for.
const PAGE_SIZE: i32 = 200;

/// A client of one server, or of several that serve the same images. Clones are cheap and share one HTTP/2 connection
/// to each, made when it is first needed and made again when it breaks.
#[derive(Clone)]
pub struct Client {
    pool: Arc<Pool>,
    settings: Arc<Settings>,
}

type Service = ImageServiceClient<Channel>;
type BoxError = Box<dyn std::error::Error + Send + Sync>;
type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Settings {
    authorization: Option<MetadataValue<Ascii>>,
    policy: Policy,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("servers", self.servers()).finish_non_exhaustive()
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
    /// A client of the servers that `options` name. Nothing is sent yet.
    pub fn new(options: ClientOptions) -> Self {
        let authorization = options.token.map(Token::into_header);
        let policy = Policy::new(options.timeout);
        Self { pool: Pool::new(options.servers, options.tls), settings: Arc::new(Settings { authorization, policy }) }
    }

    /// The servers.
    pub fn servers(&self) -> &Servers {
        self.pool.servers()
    }

    /// What is known of the image `name` (`images/{id}`), without its bytes.
    ///
    /// # Errors
    /// [`Code::NotFound`] when there is none.
    pub async fn get(&self, name: &str) -> Result<Image, Error> {
        let request = GetImageRequest { name: name.to_owned() };
        let get = |mut service: Service, request| async move { service.get_image(request).await };
        let response = self.unary(repeatable("GetImage", ""), request, get);
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
                let page = client.unary(repeatable("ListImages", ""), request, list).await?;
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
        let repeatable = repeatable("UpdateImage", &request.request_id);
        let update = |mut service: Service, request| async move { service.update_image(request).await };
        let response = self.unary(repeatable, request, update);
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
        let repeatable = repeatable("DeleteImage", &request.request_id);
        let delete = |mut service: Service, request| async move { service.delete_image(request).await };
        self.unary(repeatable, request, delete).await?;
        Ok(())
    }

    /// How `service` is; the server itself when empty (`grpc.health.v1.Health/Check`).
    ///
    /// # Errors
    /// Only when the server cannot be asked: a service it does not know is [`Health::Unknown`].
    pub async fn health(&self, service: &str) -> Result<Health, Error> {
        let attempts = Attempts::new(Retry::CALL, true, self.settings.policy.call());
        let request = HealthCheckRequest { service: service.to_owned() };
        let checked = self.call(attempts, |channel, deadline| {
            let request = self.request(request.clone(), deadline);
            async move { Ok(HealthClient::new(channel).check(request).await?.into_inner()) }
        });
        match checked.await {
            Ok(answer) => Ok(match ServingStatus::try_from(answer.status) {
                Ok(ServingStatus::Serving) => Health::Serving,
                Ok(ServingStatus::NotServing) => Health::NotServing,
                Ok(ServingStatus::Unknown | ServingStatus::ServiceUnknown) | Err(_) => Health::Unknown,
            }),
            Err(error) if error.code() == Code::NotFound => Ok(Health::Unknown),
            Err(error) => Err(error),
        }
    }

    /// One call with one answer.
    async fn unary<Request, Response, Call, Answer>(
        &self,
        repeatable: bool,
        message: Request,
        call: Call,
    ) -> Result<Response, Error>
    where
        Request: Clone,
        Call: Fn(Service, tonic::Request<Request>) -> Answer,
        Answer: Future<Output = Result<tonic::Response<Response>, tonic::Status>>,
    {
        let attempts = Attempts::new(Retry::CALL, repeatable, self.settings.policy.call());
        let answer = self.call(attempts, |channel, deadline| {
            let answer = call(service(channel), self.request(message.clone(), deadline));
            async move { Ok(answer.await?.into_inner()) }
        });
        answer.await
    }

    /// Makes a call, again while that helps.
    async fn call<T, Call, Answer>(&self, mut attempts: Attempts, call: Call) -> Result<T, Error>
    where
        Call: Fn(Channel, Deadline) -> Answer,
        Answer: Future<Output = Result<T, Trouble>>,
    {
        let deadline = attempts.deadline;
        loop {
            let failure = match self.once(deadline, &call).await {
                Ok((answer, _)) => return Ok(answer),
                Err(failure) => failure,
            };
            self.pause(&mut attempts, failure).await?;
        }
    }

    /// One attempt of a call, and the backend that answered it.
    async fn once<T, Call, Answer>(&self, deadline: Deadline, call: Call) -> Result<(T, Arc<Backend>), Error>
    where
        Call: FnOnce(Channel, Deadline) -> Answer,
        Answer: Future<Output = Result<T, Trouble>>,
    {
        let backend = deadline.limit(self.pool.pick()).await??;
        let answer = deadline.limit(call(backend.channel(), deadline)).await;
        match answer.unwrap_or_else(|silence| Err(Trouble::Silence(silence))) {
            Ok(answer) => {
                backend.answered();
                Ok((answer, backend))
            }
            Err(trouble) => Err(backend.failed(trouble)),
        }
    }

    /// Waits as long as it takes until `failure` is worth another attempt; gives it back when none is.
    async fn pause(&self, attempts: &mut Attempts, failure: Error) -> Result<(), Error> {
        let Some(pause) = attempts.again(&failure) else { return Err(failure) };
        // Whoever was not reached has nothing to recover from, and another may be well.
        if !(failure.is_unreachable() && self.pool.has_another()) {
            tokio::time::sleep(pause).await;
        }
        Ok(())
    }

    /// The request with what every call carries: credentials, and the time that is left.
    fn request<T>(&self, message: T, deadline: Deadline) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        if let Some(authorization) = &self.settings.authorization {
            request.metadata_mut().insert("authorization", authorization.clone());
        }
        request.set_timeout(deadline.left());
        request
    }

    fn without_image(&self, method: &str) -> Error {
        let message = format!("{} answered {method} without an image: is it a wirephoto server?", self.servers());
        Error::local(Code::Internal, message)
    }
}

fn service(channel: Channel) -> Service {
    ImageServiceClient::new(channel).max_decoding_message_size(MAX_MESSAGE)
}

/// Why an attempt did not go well: by the call, by the caller's time, or by what was to be sent.
enum Trouble {
    Status(tonic::Status),
    Silence(Error),
    Own(Error),
}

impl From<tonic::Status> for Trouble {
    fn from(status: tonic::Status) -> Self {
        Self::Status(status)
    }
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        Self::Own(error)
    }
}

/// A request id nobody has used, which lets a mutating call be sent twice safely.
fn request_id() -> String {
    uuid::Uuid::new_v4().to_string()
}
