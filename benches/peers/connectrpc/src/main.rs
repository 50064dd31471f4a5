//! The connectrpc server: plain, with messages made for each call; or with bodies encoded beforehand, in segments that
//! refer to the images in memory.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use connectrpc::{
    CodecFormat, ConnectError, Encodable, EncodedBody, InboundStream, Limits, RequestContext, Response, Router, Server,
    ServiceRequest, ServiceResult, ServiceStream,
};
use futures::StreamExt as _;

#[allow(clippy::all, reason = "generated")]
mod pb {
    connectrpc::include_generated!();
}
use pb::wirephoto::v1::{
    ChecksummedData, DownloadImageRequest, DownloadImageResponse, Image, ImageService, ImageServiceExt as _,
    UploadImageRequest, UploadImageResponse,
};

const CHUNK: usize = 1 << 20;

struct Peer {
    images: HashMap<String, Bytes>,
    tuned: bool,
}

enum Message {
    Plain(Box<DownloadImageResponse>),
    Encoded(EncodedBody),
}

impl Encodable<DownloadImageResponse> for Message {
    fn encode(&self, codec: CodecFormat) -> Result<Bytes, ConnectError> {
        match self {
            Self::Plain(message) => message.encode(codec),
            Self::Encoded(body) => Ok(body.clone().into_contiguous()),
        }
    }

    fn encode_segments(&self, codec: CodecFormat) -> Result<EncodedBody, ConnectError> {
        match self {
            Self::Plain(message) => message.encode_segments(codec),
            Self::Encoded(body) => Ok(body.clone()),
        }
    }
}

/// A message as a small head and a part of the image.
fn encoded(data: Bytes) -> EncodedBody {
    fn varint(mut value: usize, out: &mut Vec<u8>) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }
    let mut chunk = vec![1 << 3 | 2];
    varint(data.len(), &mut chunk);
    let mut head = vec![3 << 3 | 2];
    varint(chunk.len() + data.len(), &mut head);
    head.extend(chunk);
    EncodedBody::from_segments(vec![head.into(), data])
}

impl ImageService for Peer {
    async fn download_image(
        &self,
        _: RequestContext,
        request: ServiceRequest<'_, DownloadImageRequest>,
    ) -> ServiceResult<ServiceStream<impl Encodable<DownloadImageResponse> + Send + use<>>> {
        let image = self.images.get(request.name).cloned().ok_or_else(|| ConnectError::not_found(request.name))?;
        let tuned = self.tuned;
        let chunks = futures::stream::iter((0..image.len()).step_by(CHUNK)).map(move |at| {
            let data = image.slice(at..image.len().min(at + CHUNK));
            if tuned {
                return Ok(Message::Encoded(encoded(data)));
            }
            let chunk = ChecksummedData { data: data.to_vec(), ..Default::default() };
            Ok(Message::Plain(Box::new(DownloadImageResponse { chunk: chunk.into(), ..Default::default() })))
        });
        Response::stream_ok(chunks)
    }

    async fn upload_image<'a>(
        &'a self,
        _: RequestContext,
        mut requests: InboundStream<UploadImageRequest>,
    ) -> ServiceResult<impl Encodable<UploadImageResponse> + Send + use<'a>> {
        let mut size_bytes = 0;
        while let Some(message) = requests.next().await {
            size_bytes += message?.view().chunk.data.len() as i64;
        }
        let image = Image { size_bytes, ..Default::default() };
        Response::ok(UploadImageResponse { image: image.into(), ..Default::default() })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let args: Vec<String> = std::env::args().collect();
    let mut images = HashMap::new();
    for entry in std::fs::read_dir(&args[2])? {
        let entry = entry?;
        let name = format!("images/{}", entry.file_name().to_string_lossy());
        images.insert(name, std::fs::read(entry.path())?.into());
    }
    let peer = Arc::new(Peer { images, tuned: args[3] == "tuned" });
    let limits = Limits::default().with_max_message_size(16 << 20);
    let address = format!("127.0.0.1:{}", args[1]).parse()?;
    Server::new(peer.register(Router::new())).with_limits(limits).serve(address).await
}
