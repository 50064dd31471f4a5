//! gRPC and gRPC-Web, binary and text, frame by frame: what is compressed, what is padded, and what is wrong.

use std::io::Write as _;
use std::net::SocketAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::codec::CompressionEncoding;
use wirephoto::proto::wirephoto::v1 as pb;
use wirephoto::wire::envelope::{Deframer, envelope};

use crate::harness::{Server, pieces};
use crate::parity::upload_messages;
use crate::photo::{photo, sixty_megabytes};

pub const GRPC: &str = "application/grpc";
pub const WEB: &str = "application/grpc-web+proto";
pub const TEXT: &str = "application/grpc-web-text";

/// An answer, whatever of the three wires it came on.
#[derive(Debug)]
pub struct Answer {
    pub headers: HeaderMap,
    /// Flags and payload.
    pub messages: Vec<(u8, Bytes)>,
    /// Of a "Trailers-Only" answer, the headers.
    pub trailers: HeaderMap,
}

impl Answer {
    /// `grpc-status` and `grpc-message`.
    pub fn status(&self) -> (i32, String) {
        let text = |name| self.trailers.get(name).map_or("", |value: &HeaderValue| value.to_str().unwrap());
        let message = percent_encoding::percent_decode_str(text("grpc-message")).decode_utf8().unwrap();
        (text("grpc-status").parse().unwrap_or_else(|_| panic!("{self:?}")), message.into_owned())
    }
}

/// Calls a method: on HTTP/2 for gRPC, else on HTTP/1.1. In text mode `body` is given as bytes.
pub async fn call(addr: SocketAddr, path: &str, wire: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let body = if wire == TEXT { BASE64.encode(body).into_bytes() } else { body };
    call_raw(addr, path, wire, headers, body).await
}

/// The same, with the body as it is.
async fn call_raw(addr: SocketAddr, path: &str, wire: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Answer {
    let mut request = Request::post(format!("http://{addr}{path}")).header("content-type", wire);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let client = Client::builder(TokioExecutor::new()).http2_only(wire == GRPC).build_http();
    let answer = client.request(request.body(Full::new(Bytes::from(body))).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers().clone();
    let told = headers["content-type"].to_str().unwrap();
    assert!(told.starts_with(wire), "{told}");
    let body = answer.into_body().collect().await.unwrap();
    let mut trailers = body.trailers().cloned();
    let mut bytes = body.to_bytes();
    if wire == TEXT {
        bytes = decode(&bytes).into();
    }
    let mut deframer = Deframer::default();
    deframer.push(bytes);
    let mut messages = Vec::new();
    while let Some((flags, payload)) = deframer.next_message() {
        if flags & 0x80 == 0 {
            messages.push((flags, payload));
        } else {
            trailers = Some(web_trailers(&payload));
        }
    }
    let trailers = trailers.unwrap_or_else(|| headers.clone());
    Answer { headers, messages, trailers }
}

/// base64, group by group, as a client without a decoder of streams has it.
fn decode(text: &[u8]) -> Vec<u8> {
    text.chunks(4).flat_map(|group| BASE64.decode(group).unwrap()).collect()
}

fn web_trailers(block: &[u8]) -> HeaderMap {
    let lines = std::str::from_utf8(block).unwrap().split("\r\n").filter(|line| !line.is_empty());
    let pair = |line: &str| {
        let (name, value) = line.split_once(':').unwrap();
        (name.parse::<HeaderName>().unwrap(), value.trim().parse::<HeaderValue>().unwrap())
    };
    lines.map(pair).fold(HeaderMap::new(), |mut map, (name, value)| {
        map.append(name, value);
        map
    })
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn method(name: &str) -> String {
    format!("/wirephoto.v1.ImageService/{name}")
}

fn named(name: &str) -> Vec<u8> {
    pb::GetImageRequest { name: format!("images/{name}") }.encode_to_vec()
}

#[tokio::test]
async fn an_empty_message_may_be_flagged_as_compressed() {
    let server = Server::start().await;
    for wire in [GRPC, WEB, TEXT] {
        for encoding in ["zstd", "gzip"] {
            let answer =
                call(server.addr, &method("ListImages"), wire, &[("grpc-encoding", encoding)], vec![1, 0, 0, 0, 0])
                    .await;
            assert_eq!(answer.status().0, 0, "{wire} {encoding}: {:?}", answer.status());
            assert_eq!(answer.messages.len(), 1);
        }
    }
}

#[tokio::test]
async fn a_compressed_flag_needs_an_encoding() {
    let server = Server::start().await;
    for wire in [GRPC, WEB, TEXT] {
        for headers in [&[] as &[_], &[("grpc-encoding", "identity")]] {
            for body in [vec![1, 0, 0, 0, 0], envelope(1, &gzip(&named("cat"))).to_vec()] {
                let (code, message) = call(server.addr, &method("GetImage"), wire, headers, body).await.status();
                // compression.md asks for INTERNAL.
                assert_eq!(code, 13, "{wire}: {message}");
                assert!(message.contains("grpc-encoding"), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn an_unknown_encoding_names_the_known_ones() {
    let server = Server::start().await;
    for wire in [GRPC, WEB, TEXT] {
        for encoding in ["br", "snappy", "gzip,zstd"] {
            let body = envelope(1, b"?").to_vec();
            let answer = call(server.addr, &method("GetImage"), wire, &[("grpc-encoding", encoding)], body).await;
            let (code, message) = answer.status();
            assert_eq!(code, 12, "{wire}: {message}");
            assert!(message.contains("gzip") && message.contains("zstd") && message.contains(encoding), "{message}");
            assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip,zstd,deflate");
        }
    }
}

#[tokio::test]
async fn what_does_not_decompress_is_refused() {
    let server = Server::start().await;
    let bomb = gzip(&vec![0; 64 << 20]);
    assert!(bomb.len() < 100_000);
    for wire in [GRPC, WEB, TEXT] {
        for (body, expected) in [(&bomb[..], 8), (b"no gzip at all", 3), (&gzip(&named("cat"))[..20], 3)] {
            let body = envelope(1, body).to_vec();
            let answer = call(server.addr, &method("GetImage"), wire, &[("grpc-encoding", "gzip")], body).await;
            let (code, message) = answer.status();
            assert_eq!(code, expected, "{wire}: {message}");
            assert!(message.contains("compressed"), "{message}");
        }
    }
}

#[tokio::test]
async fn broken_frames_are_named() {
    let server = Server::start().await;
    let (get, upload, downloads) = (method("GetImage"), method("UploadImage"), method("DownloadImages"));
    let whole = envelope(0, &named("cat")).to_vec();
    let cases = [
        (&get, whole[..3].to_vec(), 3, "within a message"),
        (&get, whole[..8].to_vec(), 3, "within a message"),
        (&get, vec![0, 0xff, 0xff, 0xff, 0xff], 8, "4294967295"),
        (&upload, vec![0, 0xff, 0xff, 0xff, 0xff], 8, "4294967295"),
        (&get, vec![], 12, "there was none"),
        (&get, [whole.clone(), whole.clone()].concat(), 12, "a second"),
        (&get, vec![2, 0, 0, 0, 0], 13, "flag"),
        (&get, envelope(0, &[0xff; 9]).to_vec(), 3, "decode"),
        (&downloads, envelope(0, &[0xff; 9]).to_vec(), 3, "decode"),
    ];
    for wire in [GRPC, WEB, TEXT] {
        for (path, body, expected, named) in &cases {
            let (code, message) = call(server.addr, path, wire, &[], body.clone()).await.status();
            assert_eq!(code, *expected, "{wire} {body:?}: {message}");
            assert!(message.contains(named), "{wire} {body:?}: {message}");
        }
    }
    server.nothing_kept().await;
}

#[tokio::test]
async fn answers_are_compressed_but_never_an_images_bytes() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    for number in 0..20 {
        http.put(server.url(&format!("/i/cat-{number}"))).body(photo("photo.jpg")).send().await.unwrap();
    }
    for wire in [GRPC, WEB, TEXT] {
        for encoding in ["gzip", "zstd"] {
            let accept = [("grpc-accept-encoding", encoding)];
            let body = envelope(0, &[]).to_vec();
            let list = call(server.addr, &method("ListImages"), wire, &accept, body).await;
            assert_eq!((list.headers["grpc-encoding"].to_str().unwrap(), list.messages[0].0), (encoding, 1), "{wire}");

            // Too small to gain by it.
            let body = envelope(0, &named("cat-1")).to_vec();
            let one = call(server.addr, &method("GetImage"), wire, &accept, body).await;
            assert_eq!(one.messages[0].0, 0, "{wire}");
            let image = pb::GetImageResponse::decode(one.messages[0].1.clone()).unwrap().image.unwrap();
            assert_eq!(image.name, "images/cat-1");

            let body = envelope(0, &named("cat-1")).to_vec();
            let download = call(server.addr, &method("DownloadImage"), wire, &accept, body).await;
            assert!(!download.headers.contains_key("grpc-encoding"), "{wire}");
            let mut bytes = Vec::new();
            for (flags, message) in download.messages {
                assert_eq!(flags, 0, "{wire}");
                bytes.extend(pb::DownloadImageResponse::decode(message).unwrap().chunk.unwrap_or_default().data);
            }
            assert!(bytes == photo("photo.jpg"), "{wire}");
        }
    }
}

#[tokio::test]
async fn a_client_that_compresses_is_understood() {
    let server = Server::start().await;
    let bytes = sixty_megabytes(3).slice(..4 << 20);
    for encoding in [CompressionEncoding::Gzip, CompressionEncoding::Zstd] {
        let mut client = server.grpc().send_compressed(encoding).accept_compressed(encoding);
        let stored =
            client.upload_image(tokio_stream::iter(upload_messages("cat", &bytes))).await.unwrap().into_inner();
        assert_eq!(stored.image.unwrap().size_bytes as usize, bytes.len());
        let request = pb::DownloadImagesRequest { name: "images/cat".into(), ..Default::default() };
        let mut items = client.download_images(tokio_stream::iter([request])).await.unwrap().into_inner();
        let mut got = Vec::new();
        while let Some(item) = items.message().await.unwrap() {
            let Some(pb::download_images_response::Item::Part(part)) = item.item else { panic!("{item:?}") };
            got.extend(part.chunk.unwrap_or_default().data);
        }
        assert!(got == bytes);
        reqwest::Client::new().delete(server.url("/i/cat")).send().await.unwrap();
    }
}

/// A call in text mode, its body as it is.
async fn text(server: &Server, method_name: &str, body: &str) -> Answer {
    call_raw(server.addr, &method(method_name), TEXT, &[], body.into()).await
}

#[tokio::test]
async fn text_may_be_padded_wherever_a_chunk_ends() {
    let server = Server::start().await;
    reqwest::Client::new().put(server.url("/i/cat")).body(photo("photo.jpg")).send().await.unwrap();
    let body = envelope(0, &named("cat"));
    for size in 1..=body.len() {
        let text_body: String = body.chunks(size).map(|chunk| BASE64.encode(chunk)).collect();
        let answer = text(&server, "GetImage", &text_body).await;
        assert_eq!(answer.status(), (0, String::new()), "chunks of {size}");
        let image = pb::GetImageResponse::decode(answer.messages[0].1.clone()).unwrap().image.unwrap();
        assert_eq!(image.name, "images/cat");
    }
    // A whole image that way, in pieces that cut groups apart.
    let bytes = sixty_megabytes(5).slice(..2 << 20);
    let messages = upload_messages("large", &bytes);
    let text_body: String =
        messages.iter().map(|message| BASE64.encode(envelope(0, &message.encode_to_vec()))).collect();
    let cut = pieces(&text_body.into()).into_iter().map(|piece| Ok::<_, std::io::Error>(piece.slice(..)));
    let answer = reqwest::Client::new()
        .post(server.url(&method("UploadImage")))
        .header("content-type", TEXT)
        .body(reqwest::Body::wrap_stream(tokio_stream::iter(cut)))
        .send()
        .await
        .unwrap();
    let answer = decode(&answer.bytes().await.unwrap());
    assert!(String::from_utf8_lossy(&answer).contains("grpc-status:0"));
    assert_eq!(reqwest::get(server.url("/i/large")).await.unwrap().bytes().await.unwrap(), bytes);
}

#[tokio::test]
async fn text_that_is_no_base64_is_refused() {
    let server = Server::start().await;
    let sound = BASE64.encode(envelope(0, &named("cat")));
    let cut = &sound[..sound.len() - 3];
    for body in ["****", "AAAA*AAA", "AA=A", &sound.replace('A', "-"), cut, &format!("{sound}\n")] {
        let (code, message) = text(&server, "GetImage", body).await.status();
        assert_eq!(code, 3, "{body}: {message}");
        assert!(message.contains("base64"), "{body}: {message}");
    }
}

#[tokio::test]
async fn accept_tells_the_form_of_the_answer() {
    let server = Server::start().await;
    let body = || envelope(0, &[]).to_vec();
    let cases = [
        (WEB, TEXT, "application/grpc-web-text+proto"),
        (TEXT, WEB, "application/grpc-web+proto"),
        (TEXT, "*/*", "application/grpc-web-text+proto"),
        (WEB, "*/*", "application/grpc-web+proto"),
    ];
    for (sent, accept, expected) in cases {
        let body = if sent == TEXT { BASE64.encode(body()).into_bytes() } else { body() };
        let request = reqwest::Client::new().post(server.url(&method("ListImages"))).body(body);
        let answer = request.header("content-type", sent).header("accept", accept).send().await.unwrap();
        assert_eq!(answer.headers()["content-type"], expected, "{sent} {accept}");
    }
}

/// Sends raw bytes and reads until the server closes or `until` is seen.
pub async fn exchange(addr: SocketAddr, sent: &[u8], until: &[u8]) -> Vec<u8> {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(sent).await.unwrap();
    let mut got = Vec::new();
    let read = async {
        while !got.windows(until.len()).any(|window| window == until) {
            if socket.read_buf(&mut got).await.unwrap_or_default() == 0 {
                return;
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), read).await.expect("the server says nothing");
    got
}
