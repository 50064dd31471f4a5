//! The plain tonic server: what its tutorial leads to, images in memory, messages of 1 MiB as `Vec<u8>`.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use tokio_stream::{Stream, StreamExt as _};
use tonic::{Request, Response, Status, Streaming};

mod pb {
    tonic::include_proto!("wirephoto.v1");
}
use pb::image_service_server::{ImageService, ImageServiceServer};

const CHUNK: usize = 1 << 20;

struct Peer(HashMap<String, Arc<Vec<u8>>>);

#[tonic::async_trait]
impl ImageService for Peer {
    type DownloadImageStream = Pin<Box<dyn Stream<Item = Result<pb::DownloadImageResponse, Status>> + Send>>;

    async fn download_image(
        &self,
        request: Request<pb::DownloadImageRequest>,
    ) -> Result<Response<Self::DownloadImageStream>, Status> {
        let name = request.into_inner().name;
        let image = self.0.get(&name).cloned().ok_or_else(|| Status::not_found(name))?;
        let chunks = tokio_stream::iter((0..image.len()).step_by(CHUNK)).map(move |at| {
            let data = image[at..image.len().min(at + CHUNK)].to_vec();
            Ok(pb::DownloadImageResponse { chunk: Some(pb::ChecksummedData { data }) })
        });
        Ok(Response::new(Box::pin(chunks)))
    }

    async fn upload_image(
        &self,
        request: Request<Streaming<pb::UploadImageRequest>>,
    ) -> Result<Response<pb::UploadImageResponse>, Status> {
        let mut messages = request.into_inner();
        let mut size_bytes = 0;
        while let Some(message) = messages.message().await? {
            size_bytes += message.chunk.map_or(0, |chunk| chunk.data.len() as i64);
        }
        let image = Some(pb::Image { name: String::new(), size_bytes });
        Ok(Response::new(pb::UploadImageResponse { image }))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().collect();
    let mut images = HashMap::new();
    for entry in std::fs::read_dir(&args[2])? {
        let entry = entry?;
        let name = format!("images/{}", entry.file_name().to_string_lossy());
        images.insert(name, Arc::new(std::fs::read(entry.path())?));
    }
    let service = ImageServiceServer::new(Peer(images)).max_decoding_message_size(16 << 20);
    let address = format!("127.0.0.1:{}", args[1]).parse()?;
    tonic::transport::Server::builder().add_service(service).serve(address).await?;
    Ok(())
}
