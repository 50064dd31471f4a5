//! The implementation of `ImageService`: every wire but plain bytes ends here.

mod convert;
mod download;
mod uncopied;
mod upload;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt as _, StreamExt as _, TryStreamExt as _, stream};
use tonic::codec::CompressionEncoding::{Deflate, Gzip, Zstd};
use tonic::server::NamedService;
use tonic::{Request, Response, Status, Streaming};
use tonic_health::ServingStatus;

use crate::error::{Error, Result};
use crate::image::id::ImageId;
use crate::image::manifest::Manifest;
use crate::image::query::Query;
use crate::image::{Delete, Images, Piece, Precondition, Put, Update};
use crate::io::Outlet;
use crate::proto::DESCRIPTORS;
use crate::proto::wirephoto::v1 as pb;
use crate::proto::wirephoto::v1::image_service_server::{ImageService, ImageServiceServer};
use crate::wire::Routes;
use crate::wire::compression::{GRPC_ACCEPT_ENCODING, GRPC_ENCODING};
use crate::wire::grpc::{status, undecoded};
use convert::{image, label_change, present};
use download::Part;

/// Bytes that `CreateImage` takes inline.
const MAX_INLINE: usize = 4 << 20;
/// Names that `BatchGetImages` takes.
const MAX_BATCH: usize = 1000;
/// Images that one `DownloadImages` stream sends at once.
const IN_FLIGHT: usize = 4;
/// An answer below this many bytes is sent as it is: compressed it would be no smaller.
const WORTH_COMPRESSING: usize = 1024;

/// What other services and operators see of the server's health.
pub type HealthReporter = tonic_health::server::HealthReporter;

/// The gRPC services of this server, and how to report their health.
pub struct Services {
    /// Image service, health, and reflection if wanted.
    pub routes: Arc<dyn Routes>,
    /// Sets what `grpc.health.v1.Health` answers.
    pub health: HealthReporter,
}

/// Puts the services together. `reflection` lets anyone ask for the protos (v1 and v1alpha).
///
/// # Errors
/// The descriptors that were built in do not parse.
pub async fn services(images: Images, reflection: bool, max_message_size: usize) -> Result<Services> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<ImageServiceServer<Service>>().await;
    let image_service = ImageServiceServer::new(Service { images: images.clone() })
        .accept_compressed(Gzip)
        .accept_compressed(Zstd)
        .accept_compressed(Deflate)
        .send_compressed(Gzip)
        .send_compressed(Zstd)
        .send_compressed(Deflate)
        .max_decoding_message_size(max_message_size)
        .max_encoding_message_size(usize::MAX);
    let health_service = health_service.accept_compressed(Gzip).accept_compressed(Zstd).accept_compressed(Deflate);
    let mut routes = tonic::service::Routes::new(image_service).add_service(health_service);
    if reflection {
        let builder = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let v1 = builder().build_v1().map_err(Error::internal)?;
        let v1alpha = builder().build_v1alpha().map_err(Error::internal)?;
        routes = routes
            .add_service(v1.accept_compressed(Gzip).accept_compressed(Zstd).accept_compressed(Deflate))
            .add_service(v1alpha.accept_compressed(Gzip).accept_compressed(Zstd).accept_compressed(Deflate));
    }
    let routes = routes.prepare().into_axum_router();
    Ok(Services { routes: Arc::new(Answering { images, routes }), health })
}

struct Answering {
    images: Images,
    /// tonic's.
    routes: Router,
}

impl Routes for Answering {
    /// Images are compressed already: whatever encoding the client takes, their bytes go out as they are, and not by way of
    /// tonic, which copies. It would also compress every message of a stream or none, by `grpc-accept-encoding`.
    fn call(&self, mut request: http::Request<Body>) -> BoxFuture<'_, http::Response<Body>> {
        match request.uri().path().strip_prefix("/wirephoto.v1.ImageService/") {
            Some("DownloadImage") if !request.headers().contains_key(GRPC_ENCODING) => {
                let answer = async |request, outlet| downloaded(&self.images, request, outlet).await;
                return uncopied::answered(request, answer).boxed();
            }
            Some("DownloadImage" | "DownloadImages") => {
                request.headers_mut().remove(GRPC_ACCEPT_ENCODING);
            }
            _ => {}
        }
        Routes::call(&self.routes, request).map(uncopied::filled).boxed()
    }
}

/// The messages of a download.
async fn downloaded(
    images: &Images,
    request: pb::DownloadImageRequest,
    outlet: Option<Outlet>,
) -> Result<uncopied::Messages, Status> {
    let parts = download::open(images, &request, outlet.as_ref()).await.map_err(|error| status(&error))?;
    Ok(parts.map_ok(Part::message).map_err(|error| status(&error)).boxed())
}

/// Says whether anything new should be sent here.
pub async fn report(health: &HealthReporter, serving: bool) {
    let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in ["", <ImageServiceServer<Service> as NamedService>::NAME] {
        health.set_service_status(service, status).await;
    }
}

/// `wirephoto.v1.ImageService` over the core.
pub struct Service {
    images: Images,
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ImageService for Service {
    async fn create_image(&self, request: Request<pb::CreateImageRequest>) -> Answer<pb::CreateImageResponse> {
        let image = self.create(request.into_inner()).await.map_err(|error| status(&error))?;
        Ok(answer(pb::CreateImageResponse { image: Some(image) }))
    }

    async fn upload_image(
        &self,
        request: Request<Streaming<pb::UploadImageRequest>>,
    ) -> Answer<pb::UploadImageResponse> {
        let mut messages = request.into_inner();
        let first = messages.message().await?;
        let (put, content) = upload::accept(first, messages).map_err(|error| status(&error))?;
        let stored = self.images.put(put, content).await.map_err(|error| status(&error))?;
        Ok(answer(pb::UploadImageResponse { image: Some(image(&stored.manifest)), created: stored.created }))
    }

    async fn get_image(&self, request: Request<pb::GetImageRequest>) -> Answer<pb::GetImageResponse> {
        let found = self.get(&request.into_inner().name, "name").await.map_err(|error| status(&error))?;
        Ok(answer(pb::GetImageResponse { image: Some(image(&found)) }))
    }

    async fn list_images(&self, request: Request<pb::ListImagesRequest>) -> Answer<pb::ListImagesResponse> {
        let list = self.list(request.into_inner()).await.map_err(|error| status(&error))?;
        Ok(answer(list))
    }

    async fn update_image(&self, request: Request<pb::UpdateImageRequest>) -> Answer<pb::UpdateImageResponse> {
        let updated = self.update(request.into_inner()).await.map_err(|error| status(&error))?;
        Ok(answer(pb::UpdateImageResponse { image: Some(image(&updated)) }))
    }

    async fn delete_image(&self, request: Request<pb::DeleteImageRequest>) -> Answer<pb::DeleteImageResponse> {
        self.delete(request.into_inner()).await.map_err(|error| status(&error))?;
        Ok(answer(pb::DeleteImageResponse {}))
    }

    async fn batch_get_images(
        &self,
        request: Request<pb::BatchGetImagesRequest>,
    ) -> Answer<pb::BatchGetImagesResponse> {
        let images = self.batch_get(&request.into_inner().names).await.map_err(|error| status(&error))?;
        Ok(answer(pb::BatchGetImagesResponse { images }))
    }

    type DownloadImageStream = BoxStream<'static, Result<pb::DownloadImageResponse, Status>>;

    async fn download_image(&self, request: Request<pb::DownloadImageRequest>) -> Answer<Self::DownloadImageStream> {
        let outlet = request.extensions().get::<Outlet>().cloned();
        Ok(uncopied::answer(downloaded(&self.images, request.into_inner(), outlet).await?))
    }

    type DownloadImagesStream = BoxStream<'static, Result<pb::DownloadImagesResponse, Status>>;

    async fn download_images(
        &self,
        request: Request<Streaming<pb::DownloadImagesRequest>>,
    ) -> Answer<Self::DownloadImagesStream> {
        let images = self.images.clone();
        let outlet = request.extensions().get::<Outlet>().cloned();
        let answers = request.into_inner().enumerate().map(move |(index, request)| match request {
            Ok(request) => download::items(images.clone(), index, request, outlet.clone()).map(Ok).boxed(),
            Err(said) => {
                let failure = undecoded(said.message().as_bytes()).map_or(said, |error| status(&error));
                stream::once(async { Err(failure) }).boxed()
            }
        });
        Ok(uncopied::answer(answers.flatten_unordered(IN_FLIGHT).boxed()))
    }
}

/// One message, compressed if the client takes that and there is something to gain.
fn answer<T: prost::Message>(message: T) -> Response<T> {
    let small = message.encoded_len() < WORTH_COMPRESSING;
    let mut response = Response::new(message);
    if small {
        response.disable_compression();
    }
    response
}

impl Service {
    async fn create(&self, request: pb::CreateImageRequest) -> Result<pb::Image> {
        if request.content.len() > MAX_INLINE {
            let message = format!(
                "`content` has {} bytes and may have {MAX_INLINE}: send it by UploadImage or PUT /i/{{id}}",
                request.content.len()
            );
            return Err(Error::too_large("content", message));
        }
        let given = request.image.unwrap_or_default();
        let put = Put {
            id: present(request.image_id).map(|id| ImageId::from_field(&id, "image_id")).transpose()?,
            claimed_type: present(given.media_type),
            display_name: Some(given.display_name),
            labels: Some(given.labels),
            size: Some(request.content.len() as u64),
            hash_sha512: false,
            precondition: must_be_new(),
            request_id: present(request.request_id),
        };
        let checksums = convert::checksums(request.checksums, "checksums")?;
        let pieces = [Piece::Data(request.content), Piece::Finish(checksums)];
        let stored = self.images.put(put, stream::iter(pieces.map(Ok))).await?;
        Ok(image(&stored.manifest))
    }

    async fn get(&self, name: &str, field: &str) -> Result<Arc<Manifest>> {
        self.images.get(&ImageId::from_name(name, field)?).await
    }

    async fn list(&self, request: pb::ListImagesRequest) -> Result<pb::ListImagesResponse> {
        let query = Query::parse(request.page_size, &request.page_token, &request.filter, &request.order_by)?;
        let page = self.images.list(&query).await?;
        let images = page.images.iter().map(|manifest| image(manifest)).collect();
        Ok(pb::ListImagesResponse { images, next_page_token: page.next_page_token })
    }

    async fn update(&self, request: pb::UpdateImageRequest) -> Result<Arc<Manifest>> {
        let given =
            request.image.ok_or_else(|| Error::invalid("image", "`image` is missing: give its name and new values"))?;
        let id = ImageId::from_name(&given.name, "image.name")?;
        let mask = request.update_mask.unwrap_or_default();
        let change = convert::change(&given, &mask)?;
        let update = Update {
            id,
            display_name: change.display_name,
            labels: change.labels.map(label_change),
            precondition: must_match(present(given.etag), "image.etag"),
            request_id: present(request.request_id),
        };
        self.images.update(update).await
    }

    async fn delete(&self, request: pb::DeleteImageRequest) -> Result<()> {
        let delete = Delete {
            id: ImageId::from_name(&request.name, "name")?,
            allow_missing: request.allow_missing,
            precondition: must_match(present(request.etag), "etag"),
            request_id: present(request.request_id),
        };
        self.images.delete(delete).await
    }

    async fn batch_get(&self, names: &[String]) -> Result<Vec<pb::Image>> {
        if names.len() > MAX_BATCH {
            let message = format!("`names` has {} names and may have {MAX_BATCH}: ask in several batches", names.len());
            return Err(Error::invalid("names", message));
        }
        let mut found = Vec::with_capacity(names.len());
        for (index, name) in names.iter().enumerate() {
            found.push(image(&*self.get(name, &format!("names[{index}]")).await?));
        }
        Ok(found)
    }
}

/// Refuses a name that is taken.
fn must_be_new() -> Precondition {
    Arc::new(|current| current.map_or(Ok(()), |current| Err(convert::name_taken(current))))
}

/// Refuses another version than the one named, if one is named. An image that is not there is the core's to refuse.
fn must_match(etag: Option<String>, field: &'static str) -> Precondition {
    Arc::new(move |current| match (&etag, current) {
        (Some(etag), Some(current)) if *etag != current.etag() => Err(convert::version_moved(current, field)),
        _ => Ok(()),
    })
}
