//! One image, put by every wire, got by every wire: the same bytes, the same metadata.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use serde_json::{Value, json};
use tokio_stream::StreamExt as _;
use wirephoto::proto::wirephoto::v1 as pb;

use crate::connect;
use crate::harness::{Rpc, Server, pieces};
use crate::photo::{photo, sixty_megabytes};

#[derive(Debug, Clone, Copy)]
enum In {
    GrpcCreate,
    GrpcUpload,
    WebCreate,
    WebUpload,
    ConnectCreate,
    ConnectJson,
    ConnectUpload,
    ConnectUploadJson,
    RestCreate,
    Put,
    Post,
    Form,
}

#[derive(Debug, Clone, Copy)]
enum Out {
    Grpc,
    GrpcBidi,
    Web,
    Connect,
    ConnectJson,
    ConnectBidi,
    Rest,
    Get,
}

const INLINE: [In; 5] = [In::GrpcCreate, In::WebCreate, In::ConnectCreate, In::ConnectJson, In::RestCreate];
const STREAMED: [In; 7] =
    [In::GrpcUpload, In::WebUpload, In::ConnectUpload, In::ConnectUploadJson, In::Put, In::Post, In::Form];
const OUT: [Out; 8] =
    [Out::Grpc, Out::GrpcBidi, Out::Web, Out::Connect, Out::ConnectJson, Out::ConnectBidi, Out::Rest, Out::Get];

/// Puts the image and gives its name.
async fn put(server: &Server, wire: In, id: &str, bytes: &Bytes) -> String {
    let http = reqwest::Client::new();
    match wire {
        In::GrpcCreate => create(server.grpc(), id, bytes).await,
        In::WebCreate => create(server.grpc_web(), id, bytes).await,
        In::GrpcUpload => upload(server.grpc(), id, bytes).await,
        In::WebUpload => upload(server.grpc_web(), id, bytes).await,
        In::ConnectCreate => create(server.connect(true), id, bytes).await,
        In::ConnectUpload => upload(server.connect(false), id, bytes).await,
        In::ConnectJson => {
            let body = json!({"imageId": id, "content": BASE64.encode(bytes)}).to_string();
            let (status, answer) = connect::post_json(server, "CreateImage", body).await;
            assert_eq!(status, 200, "{answer}");
            answer["image"]["name"].as_str().unwrap().to_owned()
        }
        In::ConnectUploadJson => {
            let messages = upload_messages(id, bytes);
            let messages = messages.iter().map(|message| serde_json::to_vec(message).unwrap()).collect();
            let (answers, end) = connect::stream_json(server, "UploadImage", messages).await;
            assert_eq!((answers.len(), &end), (1, &json!({})), "{end}");
            answers[0]["image"]["name"].as_str().unwrap().to_owned()
        }
        In::RestCreate => {
            let body = json!({"imageId": id, "content": BASE64.encode(bytes)});
            let answer = http.post(server.url("/v1/images")).json(&body).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            let image: Value = answer.json().await.unwrap();
            image["name"].as_str().unwrap().to_owned()
        }
        In::Put => {
            let answer = http.put(server.url(&format!("/i/{id}"))).body(bytes.clone()).send().await.unwrap();
            assert_eq!(answer.status(), 201);
            format!("images/{id}")
        }
        In::Post => {
            let answer = http.post(server.url("/i")).body(bytes.clone()).send().await.unwrap();
            location(&answer)
        }
        In::Form => {
            let part = reqwest::multipart::Part::stream(bytes.clone()).file_name("photo");
            let form = reqwest::multipart::Form::new().part("file", part);
            location(&http.post(server.url("/i")).multipart(form).send().await.unwrap())
        }
    }
}

fn location(answer: &reqwest::Response) -> String {
    assert_eq!(answer.status(), 201);
    answer.headers()["location"].to_str().unwrap().replace("/i/", "images/")
}

async fn create(mut rpc: Rpc, id: &str, bytes: &Bytes) -> String {
    let request = pb::CreateImageRequest { image_id: id.into(), content: bytes.clone(), ..Default::default() };
    rpc.create_image(request).await.unwrap().into_inner().image.unwrap().name
}

async fn upload(mut rpc: Rpc, id: &str, bytes: &Bytes) -> String {
    let messages = upload_messages(id, bytes);
    let answer = rpc.upload_image(tokio_stream::iter(messages)).await.unwrap().into_inner();
    assert!(answer.created);
    answer.image.unwrap().name
}

/// An upload as clients send it.
pub fn upload_messages(id: &str, bytes: &Bytes) -> Vec<pb::UploadImageRequest> {
    let spec = pb::UploadSpec { image_id: id.into(), ..Default::default() };
    let mut messages = vec![pb::UploadImageRequest { spec: Some(spec), ..Default::default() }];
    let mut write_offset = 0;
    for data in pieces(bytes) {
        let len = data.len() as i64;
        let chunk = Some(pb::ChecksummedData { crc32c: Some(crc32c::crc32c(&data)), data });
        messages.push(pb::UploadImageRequest { write_offset, chunk, ..Default::default() });
        write_offset += len;
    }
    messages.push(pb::UploadImageRequest { write_offset, finish_write: true, ..Default::default() });
    messages
}

async fn get(server: &Server, wire: Out, name: &str) -> Bytes {
    let http = reqwest::Client::new();
    match wire {
        Out::Grpc => download(server.grpc(), name).await,
        Out::Web => download(server.grpc_web(), name).await,
        Out::Connect => download(server.connect(false), name).await,
        Out::ConnectJson => {
            let asked = json!({"name": name}).to_string().into_bytes();
            let (parts, end) = connect::stream_json(server, "DownloadImage", vec![asked]).await;
            assert_eq!(end, json!({}));
            let data = parts.iter().filter_map(|part| part["chunk"]["data"].as_str());
            data.flat_map(|data| BASE64.decode(data).unwrap()).collect()
        }
        Out::GrpcBidi => download_by_bidi(server.grpc(), name).await,
        Out::ConnectBidi => download_by_bidi(server.connect(false), name).await,
        Out::Rest => {
            let answer = http.get(server.url(&format!("/v1/{name}:download"))).send().await.unwrap();
            assert_eq!(answer.headers()["content-type"], "application/x-ndjson");
            let text = answer.text().await.unwrap();
            let data = text.lines().filter_map(|line| {
                let line: Value = serde_json::from_str(line).unwrap();
                line["chunk"]["data"].as_str().map(|data| BASE64.decode(data).unwrap())
            });
            data.flatten().collect()
        }
        Out::Get => {
            let answer = http.get(server.url(&name.replace("images/", "/i/"))).send().await.unwrap();
            assert_eq!(answer.status(), 200);
            answer.bytes().await.unwrap()
        }
    }
}

async fn download_by_bidi(mut rpc: Rpc, name: &str) -> Bytes {
    let request = pb::DownloadImagesRequest { name: name.into(), ..Default::default() };
    let mut items = rpc.download_images(tokio_stream::iter([request])).await.unwrap().into_inner();
    let mut bytes = Vec::new();
    while let Some(item) = items.message().await.unwrap() {
        let Some(pb::download_images_response::Item::Part(part)) = item.item else { panic!("{item:?}") };
        bytes.extend_from_slice(&part.chunk.unwrap_or_default().data);
    }
    bytes.into()
}

async fn download(mut rpc: Rpc, name: &str) -> Bytes {
    let request = pb::DownloadImageRequest { name: name.into(), ..Default::default() };
    let mut parts = rpc.download_image(request).await.unwrap().into_inner();
    let first = parts.message().await.unwrap().unwrap();
    assert_eq!(first.image.unwrap().name, name);
    let mut bytes = Vec::new();
    while let Some(part) = parts.next().await {
        bytes.extend_from_slice(&part.unwrap().chunk.unwrap().data);
    }
    bytes.into()
}

/// What each wire says of the image, as proto3 JSON.
async fn metadata(server: &Server, name: &str) -> Vec<Value> {
    let http = reqwest::Client::new();
    let json = |image: pb::Image| serde_json::to_value(image).unwrap();
    let request = || pb::GetImageRequest { name: name.into() };
    let rest: Value = http.get(server.url(&format!("/v1/{name}"))).send().await.unwrap().json().await.unwrap();
    let batch = server.url(&format!("/v1/images:batchGet?names={name}"));
    let mut batch: Value = http.get(batch).send().await.unwrap().json().await.unwrap();
    let list = server.url(&format!("/v1/images?filter=name+%3D+{name}"));
    let mut list: Value = http.get(list).send().await.unwrap().json().await.unwrap();
    let mut connect = connect::post_json(server, "GetImage", json!({"name": name}).to_string()).await;
    vec![
        json(server.grpc().get_image(request()).await.unwrap().into_inner().image.unwrap()),
        json(server.grpc_web().get_image(request()).await.unwrap().into_inner().image.unwrap()),
        json(server.connect(true).get_image(request()).await.unwrap().into_inner().image.unwrap()),
        connect.1["image"].take(),
        rest,
        batch["images"][0].take(),
        list["images"][0].take(),
    ]
}

/// Base64 by the byte is slow where nothing is optimised: a large image leaves in JSON only where it came so.
fn outs(wire: In, large: bool) -> impl Iterator<Item = Out> {
    let json = matches!(wire, In::ConnectUploadJson);
    OUT.into_iter().filter(move |out| !large || json == matches!(out, Out::ConnectJson))
}

async fn every_way_out(server: &Server, wire: In, id: &str, bytes: &Bytes) -> Value {
    let name = put(server, wire, id, bytes).await;
    for out in outs(wire, bytes.len() > 1 << 24) {
        let got = get(server, out, &name).await;
        assert!(got == bytes, "{wire:?} -> {out:?}: {} bytes of {}", got.len(), bytes.len());
    }
    let told = metadata(server, &name).await;
    for other in &told {
        assert_eq!(*other, told[0], "{wire:?}");
    }
    told.into_iter().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_photograph_put_by_any_wire_is_got_by_every_other() {
    let server = Server::start().await;
    let bytes = Bytes::from(photo("photo.jpg"));
    let mut told = Vec::new();
    for wire in INLINE.into_iter().chain(STREAMED) {
        let mut image = every_way_out(&server, wire, &format!("photo-{wire:?}"), &bytes).await;
        // What may differ between images of the same bytes.
        for own in ["name", "etag", "generation", "createTime", "updateTime", "displayName"] {
            image.as_object_mut().unwrap().remove(own);
        }
        told.push(image);
    }
    assert!(told.iter().all(|image| *image == told[0]), "{told:#?}");
    assert_eq!(told[0]["mediaType"], "image/jpeg");
    assert_eq!(told[0]["sizeBytes"], bytes.len().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_megabytes_go_through_every_streaming_wire() {
    let server = Server::start().await;
    let bytes = sixty_megabytes(1);
    for wire in STREAMED {
        every_way_out(&server, wire, &format!("large-{wire:?}"), &bytes).await;
    }
}
