//! A client generated from an early state of the proto does all it could do then.

use futures::{StreamExt as _, stream};
use wirephoto::client::{Client, ClientOptions};
use wirephoto::well_known::FieldMask;

use pb::image_service_client::ImageServiceClient;

use crate::harness::Server;
use crate::photo::{photo, sixty_megabytes};

/// What build.rs made of tests/proto/older.
#[allow(clippy::all)]
mod pb {
    include!(concat!(env!("OUT_DIR"), "/tests/older/wirephoto.v1.rs"));
}

const CHUNK: usize = 1 << 20;

#[tokio::test]
async fn an_older_generated_client_does_all_it_could() {
    let server = Server::start().await;
    let mut client = ImageServiceClient::connect(server.url("")).await.unwrap().max_decoding_message_size(16 << 20);

    // Without checksums, sizes and request ids, none of which it knows.
    let small = photo("photo.jpg");
    let create = pb::CreateImageRequest {
        image_id: "small".into(),
        image: Some(pb::Image { display_name: "Small".into(), ..Default::default() }),
        content: small.clone().into(),
    };
    let created = client.create_image(create).await.unwrap().into_inner().image.unwrap();
    assert_eq!((created.name.as_str(), created.media_type.as_str()), ("images/small", "image/jpeg"));

    let large = sixty_megabytes(7);
    let count = large.len().div_ceil(CHUNK);
    let spec = pb::UploadSpec { image_id: "large".into(), ..Default::default() };
    let content = large.clone();
    let messages = stream::iter(0..count).map(move |i| pb::UploadImageRequest {
        spec: (i == 0).then(|| spec.clone()),
        write_offset: (i * CHUNK) as i64,
        chunk: Some(pb::ChecksummedData { data: content.slice(i * CHUNK..content.len().min((i + 1) * CHUNK)) }),
        finish_write: i + 1 == count,
    });
    let uploaded = client.upload_image(messages).await.unwrap().into_inner().image.unwrap();
    assert_eq!(uploaded.size_bytes, large.len() as i64);

    for (name, content, offset) in [("images/small", &small[..], 0), ("images/large", &large[..], 31_000_000)] {
        let request = pb::DownloadImageRequest { name: name.into(), read_offset: offset };
        let mut parts = client.download_image(request).await.unwrap().into_inner();
        let mut got = Vec::new();
        let mut image = None;
        while let Some(part) = parts.next().await {
            let part = part.unwrap();
            image = image.or(part.image);
            got.extend_from_slice(&part.chunk.unwrap_or_default().data);
        }
        assert!(got == content[offset as usize..], "{name}: {} bytes", got.len());
        assert_eq!(image.unwrap().name, name);
    }

    // Labels, which it does not know, survive what it writes.
    let newer = Client::new(ClientOptions { servers: server.url("").parse().unwrap(), ..Default::default() });
    let labelled = wirephoto::client::Image {
        name: "images/small".into(),
        labels: [("team".to_owned(), "press".to_owned())].into(),
        ..Default::default()
    };
    newer.update(labelled, FieldMask { paths: vec!["labels".into()] }).await.unwrap();
    let mut image = client
        .get_image(pb::GetImageRequest { name: "images/small".into() })
        .await
        .unwrap()
        .into_inner()
        .image
        .unwrap();
    image.display_name = "Renamed".into();
    for mask in [None, Some(FieldMask { paths: vec!["display_name".into()] })] {
        let update = pb::UpdateImageRequest { image: Some(image.clone()), update_mask: mask };
        image = client.update_image(update).await.unwrap().into_inner().image.unwrap();
        assert_eq!(image.display_name, "Renamed");
    }
    assert_eq!(newer.get("images/small").await.unwrap().labels["team"], "press");
    let spec = pb::UploadSpec { image_id: "small".into(), allow_replace: true, ..Default::default() };
    let chunk = pb::ChecksummedData { data: photo("orientation-3.jpg").into() };
    let replace = pb::UploadImageRequest { spec: Some(spec), chunk: Some(chunk), finish_write: true, write_offset: 0 };
    client.upload_image(stream::iter([replace])).await.unwrap();
    let kept = newer.get("images/small").await.unwrap();
    assert_eq!((kept.labels["team"].as_str(), kept.display_name.as_str()), ("press", "Renamed"));

    let mut names = Vec::new();
    let mut page_token = String::new();
    loop {
        let page = client.list_images(pb::ListImagesRequest { page_size: 1, page_token }).await.unwrap().into_inner();
        names.extend(page.images.into_iter().map(|image| image.name));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert_eq!(names, ["images/large", "images/small"]);
    client.delete_image(pb::DeleteImageRequest { name: "images/large".into() }).await.unwrap();
    let gone = client.get_image(pb::GetImageRequest { name: "images/large".into() }).await.unwrap_err();
    assert_eq!(gone.code(), tonic::Code::NotFound);
}
