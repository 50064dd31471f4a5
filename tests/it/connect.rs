//! Connect as its protocol says it, bad input included: <https://connectrpc.com/docs/protocol>.

use std::io::Write as _;
use std::process::Command;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64_URL;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use proptest::prelude::*;
use prost::Message as _;
use reqwest::{Client, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wirephoto::guard::{Access, Origins, Policy};
use wirephoto::proto::wirephoto::v1 as pb;
use wirephoto::wire::envelope::{Deframer, envelope};

use crate::harness::Server;
use crate::parity::upload_messages;
use crate::photo::photo;
use crate::process::Process;

fn path(method: &str) -> String {
    format!("/wirephoto.v1.ImageService/{method}")
}

async fn post(server: &Server, method: &str, media_type: &str, body: impl Into<reqwest::Body>) -> Response {
    let request = Client::new().post(server.url(&path(method))).header("content-type", media_type);
    request.header("connect-protocol-version", "1").body(body).send().await.unwrap()
}

async fn get(server: &Server, method: &str, query: &str) -> Response {
    Client::new().get(server.url(&format!("{}?{query}", path(method)))).send().await.unwrap()
}

/// A unary call in JSON: the HTTP status and the answer.
pub async fn post_json(server: &Server, method: &str, body: String) -> (u16, Value) {
    let answer = post(server, method, "application/json", body).await;
    assert_eq!(answer.headers()["content-type"], "application/json");
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// A stream in JSON: its messages, and its end-stream message.
pub async fn stream_json(server: &Server, method: &str, messages: Vec<Vec<u8>>) -> (Vec<Value>, Value) {
    let body: Vec<Bytes> = messages.iter().map(|message| envelope(0, message)).collect();
    let answers = stream(server, method, "json", body).await;
    let mut answers: Vec<Value> = answers.iter().map(|(_, json)| serde_json::from_slice(json).unwrap()).collect();
    let end = answers.pop().unwrap();
    (answers, end)
}

/// A stream's messages with their flags; the last of them, and no other, is its end-stream message.
async fn stream(server: &Server, method: &str, codec: &str, body: Vec<Bytes>) -> Vec<(u8, Bytes)> {
    let body = reqwest::Body::wrap_stream(tokio_stream::iter(body.into_iter().map(Ok::<_, std::io::Error>)));
    let answer = post(server, method, &format!("application/connect+{codec}"), body).await;
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-type"], format!("application/connect+{codec}"));
    let mut deframer = Deframer::default();
    deframer.push(answer.bytes().await.unwrap());
    let mut messages = Vec::new();
    while let Some(message) = deframer.next_message() {
        messages.push(message);
    }
    assert!(deframer.rest().is_empty());
    let ends: Vec<bool> = messages.iter().map(|(flags, _)| flags & 2 != 0).collect();
    assert_eq!(ends.iter().position(|end| *end), Some(ends.len() - 1), "{ends:?}");
    messages
}

/// How a stream of these bytes fails: code and message.
async fn stream_error(server: &Server, method: &str, body: Vec<Bytes>) -> (String, String) {
    let messages = stream(server, method, "proto", body).await;
    let end: Value = serde_json::from_slice(&messages.last().unwrap().1).unwrap();
    let text = |name: &str| end["error"][name].as_str().unwrap_or_default().to_owned();
    (text("code"), text("message"))
}

/// The code and message of a unary call that failed.
async fn error(answer: Response) -> (u16, String, String) {
    assert_eq!(answer.headers()["content-type"], "application/json");
    let status = answer.status().as_u16();
    let error: Value = answer.json().await.unwrap();
    let text = |name: &str| error[name].as_str().unwrap_or_default().to_owned();
    (status, text("code"), text("message"))
}

async fn with_photo() -> Server {
    let server = Server::start().await;
    let put = Client::new().put(server.url("/i/cat")).body(photo("photo.jpg")).send().await.unwrap();
    assert_eq!(put.status(), 201);
    server
}

#[tokio::test]
async fn get_is_cached_by_its_etag() {
    let server = with_photo().await;
    let message = BASE64_URL.encode(pb::GetImageRequest { name: "images/cat".into() }.encode_to_vec());
    let queries = [
        ("application/json", "connect=v1&encoding=json&message=%7B%22name%22%3A%22images%2Fcat%22%7D".to_owned()),
        ("application/proto", format!("connect=v1&encoding=proto&base64=1&message={message}")),
    ];
    for (media_type, query) in queries {
        let first = get(&server, "GetImage", &query).await;
        assert_eq!(first.status(), 200);
        assert_eq!(first.headers()["content-type"], media_type);
        assert_eq!(first.headers()["cache-control"], "no-cache");
        assert_eq!(first.headers()["vary"], "accept-encoding");
        let etag = first.headers()["etag"].clone();
        let body = first.bytes().await.unwrap();
        let image = match media_type {
            "application/json" => serde_json::from_slice(&body).unwrap(),
            _ => pb::GetImageResponse::decode(body).unwrap(),
        };
        assert_eq!(image.image.unwrap().name, "images/cat");
        let url = server.url(&format!("{}?{query}", path("GetImage")));
        let again = Client::new().get(url).header("if-none-match", etag.clone()).send().await.unwrap();
        assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &etag));
        assert!(again.bytes().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn get_is_bad_input_where_it_does_not_decode() {
    let server = with_photo().await;
    let cases = [
        ("encoding=json&message=%7B%7D&base64=1", 400, "base64url"),
        ("encoding=proto&base64=1&message=***", 400, "base64url"),
        ("encoding=proto&base64=2&message=AAAA", 400, "base64"),
        ("encoding=proto&message=%ff%ff", 400, "decode"),
        ("encoding=json&message=%7B", 400, "JSON"),
        ("encoding=json&message=%7B%22nope%22%3A1%7D", 400, "nope"),
        ("encoding=json&message=", 400, "JSON"),
        ("encoding=json", 400, "message"),
        ("connect=v2&encoding=json&message=%7B%7D", 400, "connect"),
        ("encoding=json&message=%7B%7D&message=%7B%7D", 400, "twice"),
        ("encoding=json&message=%7", 400, "percent"),
    ];
    for (query, status, part) in cases {
        let (told, code, message) = error(get(&server, "GetImage", query).await).await;
        assert_eq!((told, code.as_str()), (status, "invalid_argument"), "{query}: {message}");
        assert!(message.contains(part), "{query}: {message}");
    }
    for (query, part) in [("message=%7B%7D", "application/"), ("encoding=xml&message=%7B%7D", "application/xml")] {
        let answer = get(&server, "GetImage", query).await;
        assert_eq!(answer.status(), 415, "{query}");
        assert!(answer.headers()["accept"].to_str().unwrap().contains("application/proto"));
        assert!(answer.text().await.unwrap().contains(part));
    }
    let answer = get(&server, "GetImage", "encoding=json&message=%7B%7D&compression=br").await;
    assert_eq!(answer.headers()["accept-encoding"], "gzip, zstd, deflate");
    assert_eq!(error(answer).await.1, "unimplemented");
}

#[tokio::test]
async fn methods_with_side_effects_and_streams_take_no_get() {
    let server = with_photo().await;
    let query = "connect=v1&encoding=json&message=%7B%22name%22%3A%22images%2Fcat%22%7D";
    for method in ["DeleteImage", "CreateImage", "UpdateImage", "UploadImage", "DownloadImage"] {
        let answer = get(&server, method, query).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "POST"), "{method}");
    }
    assert_eq!(Client::new().head(server.url("/i/cat")).send().await.unwrap().status(), 200, "it is still there");
    let put = Client::new().put(server.url(&path("GetImage"))).body("{}").send().await.unwrap();
    assert_eq!((put.status().as_u16(), put.headers()["allow"].to_str().unwrap()), (405, "GET, POST"));
}

#[tokio::test]
async fn a_read_only_server_lets_get_and_reading_calls_through() {
    let policy = Policy { origins: Origins::new(Vec::new(), true), anonymous: Access::Read };
    let server = Server::start_as(policy).await;
    let list = get(&server, "ListImages", "encoding=json&message=%7B%7D").await;
    assert_eq!(list.status(), 200);
    assert_eq!(post_json(&server, "ListImages", "{}".into()).await, (200, json!({})));
    let (status, refused) = post_json(&server, "DeleteImage", r#"{"name":"images/cat"}"#.into()).await;
    assert_eq!((status, refused["code"].as_str().unwrap()), (401, "unauthenticated"));
    assert_eq!(refused["details"][0]["debug"]["reason"], "UNAUTHENTICATED");
    // A stream that is refused before it begins is refused as a stream.
    let (answers, end) = stream_json(&server, "UploadImage", Vec::new()).await;
    assert_eq!((answers.len(), end["error"]["code"].as_str()), (0, Some("unauthenticated")), "{end}");
}

#[tokio::test]
async fn another_version_is_refused() {
    let server = with_photo().await;
    for version in ["0", "2", "1.0", ""] {
        for (media_type, body) in
            [("application/json", "{}".into()), ("application/connect+json", envelope(0, b"{}").to_vec())]
        {
            let method = if media_type.contains("connect") { "DownloadImage" } else { "ListImages" };
            let request = Client::new().post(server.url(&path(method))).header("content-type", media_type);
            let answer = request.header("connect-protocol-version", version).body(body).send().await.unwrap();
            let told = answer.text().await.unwrap();
            assert!(told.contains("invalid_argument") && told.contains("connect-protocol-version"), "{told}");
        }
    }
    // It may be left out.
    let request = Client::new().post(server.url(&path("ListImages"))).header("content-type", "application/json");
    assert_eq!(request.body("{}").send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn types_that_do_not_fit_the_method_are_415() {
    let server = Server::start().await;
    let cases = [
        ("GetImage", "application/connect+json"),
        ("GetImage", "application/connect+proto"),
        ("DownloadImage", "application/json"),
        ("UploadImage", "application/proto"),
        ("GetImage", "application/connect+xml"),
        ("GetImage", "application/x-protobuf"),
        ("GetImage", ""),
    ];
    for (method, media_type) in cases {
        let answer = post(&server, method, media_type, "{}").await;
        assert_eq!(answer.status(), 415, "{method} {media_type}");
        let taken = answer.headers()["accept"].to_str().unwrap();
        assert!(taken.contains("application/connect+proto") && taken.contains("application/json"), "{taken}");
    }
    let with_charset = post(&server, "ListImages", "Application/JSON; charset=utf-8", "{}").await;
    assert_eq!(with_charset.status(), 200);
}

#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let server = Server::start().await;
    let (status, code, _) = error(post(&server, "Nope", "application/proto", "").await).await;
    assert_eq!((status, code.as_str()), (404, "unimplemented"));
    assert_eq!(stream_error(&server, "Nope", Vec::new()).await.0, "unimplemented");
    assert_eq!(post(&server, "Nope", "application/json", "{}").await.status(), 404);
}

#[tokio::test]
async fn health_answers_by_connect() {
    let server = Server::start().await;
    let request =
        Client::new().post(server.url("/grpc.health.v1.Health/Check")).header("content-type", "application/proto");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    // Field 1, SERVING.
    assert_eq!(answer.bytes().await.unwrap(), &[8, 1][..]);
}

#[tokio::test]
async fn json_for_a_field_that_is_not_there_names_it() {
    let server = Server::start().await;
    let (status, refused) = post_json(&server, "CreateImage", r#"{"image": {"nope": 1}}"#.into()).await;
    assert_eq!((status, refused["code"].as_str()), (400, Some("invalid_argument")), "{refused}");
    let bad = refused["details"].as_array().unwrap().iter().find(|detail| detail["type"] == "google.rpc.BadRequest");
    assert_eq!(bad.unwrap()["debug"]["fieldViolations"][0]["field"], "image.nope");
    let (answers, end) = stream_json(&server, "DownloadImage", vec![br#"{"nope": 1}"#.to_vec()]).await;
    assert_eq!((answers.len(), end["error"]["code"].as_str()), (0, Some("invalid_argument")), "{end}");
    assert!(end["error"]["message"].as_str().unwrap().contains("nope"), "{end}");
    // The same by gRPC and gRPC-Web in JSON.
    for wire in ["application/grpc+json", "application/grpc-web+json"] {
        let answer = post(&server, "GetImage", wire, envelope(0, br#"{"nope": 1}"#)).await;
        assert_eq!((answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()), (200, wire));
        assert_eq!(answer.headers()["grpc-status"], "3");
        assert!(answer.headers()["grpc-message"].to_str().unwrap().contains("nope"));
        assert!(answer.headers().contains_key("grpc-status-details-bin"));
    }
}

#[tokio::test]
async fn envelopes_that_are_wrong_are_refused() {
    let server = with_photo().await;
    let good = pb::DownloadImageRequest { name: "images/cat".into(), ..Default::default() }.encode_to_vec();
    let whole = envelope(0, &good);
    let mut oversized = vec![0];
    oversized.extend_from_slice(&(u32::MAX).to_be_bytes());
    let cases: Vec<(&str, Vec<Bytes>, &str, &str)> = vec![
        ("nothing", vec![], "unimplemented", "none"),
        ("half a head", vec![whole.slice(..3)], "invalid_argument", "within a message"),
        ("half a message", vec![whole.slice(..whole.len() - 1)], "invalid_argument", "within a message"),
        ("two", vec![whole.clone(), whole.clone()], "unimplemented", "second"),
        ("four gigabytes", vec![oversized.into()], "resource_exhausted", "8388608"),
        ("an unknown flag", vec![envelope(4, &good)], "invalid_argument", "flags 0x04"),
        ("all flags", vec![envelope(0xff, &good)], "invalid_argument", "end-stream"),
        ("an end-stream message", vec![envelope(2, b"{}")], "invalid_argument", "end-stream"),
        ("two end-stream messages", vec![envelope(2, b"{}"), envelope(2, b"{}")], "invalid_argument", "end-stream"),
        ("one after the message", vec![whole.clone(), envelope(2, b"{}")], "invalid_argument", "end-stream"),
        ("compressed by nothing", vec![envelope(1, &good)], "internal", ""),
    ];
    for (what, body, code, part) in cases {
        let (told, message) = stream_error(&server, "DownloadImage", body.clone()).await;
        if what == "all flags" {
            assert_eq!(told, code, "{message}");
            continue;
        }
        assert_eq!(told, code, "{what}: {message}");
        assert!(message.contains(part), "{what}: {message}");
        // Cut anywhere, it is the same.
        let bytes = body.concat();
        let (told, _) =
            stream_error(&server, "DownloadImage", bytes.chunks(1).map(Bytes::copy_from_slice).collect()).await;
        assert_eq!(told, code, "{what}, byte by byte");
    }
    // A second end-stream message in the middle of an upload keeps nothing of it.
    let messages = upload_messages("x", &photo("photo.jpg").into());
    let mut body: Vec<Bytes> = messages.iter().map(|message| envelope(0, &message.encode_to_vec())).collect();
    body.insert(2, envelope(2, b"{}"));
    assert_eq!(stream_error(&server, "UploadImage", body).await.0, "invalid_argument");
    assert_eq!(Client::new().get(server.url("/i/x")).send().await.unwrap().status(), 404);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn what_is_compressed_is_read_within_the_limit() {
    let server = with_photo().await;
    let coded = |media_type: &'static str, coding: &'static str, body: Vec<u8>| {
        let request = Client::new().post(server.url(&path("GetImage"))).header("content-type", media_type);
        request.header("content-encoding", coding).body(body).send()
    };
    let json = br#"{"name": "images/cat"}"#;
    let proto = pb::GetImageRequest { name: "images/cat".into() }.encode_to_vec();
    for (media_type, plain) in [("application/json", &json[..]), ("application/proto", &proto)] {
        for (coding, body) in [("gzip", gzip(plain)), ("deflate", deflate(plain)), ("identity", plain.to_vec())] {
            let answer = coded(media_type, coding, body).await.unwrap();
            assert_eq!(answer.status(), 200, "{media_type} {coding}: {}", answer.text().await.unwrap());
        }
        let bomb = gzip(&vec![b' '; 64 << 20]);
        let (status, code, message) = error(coded(media_type, "gzip", bomb).await.unwrap()).await;
        assert_eq!((status, code.as_str()), (429, "resource_exhausted"), "{media_type}: {message}");
        let answer = coded(media_type, "br", vec![1]).await.unwrap();
        assert_eq!(answer.headers()["accept-encoding"], "gzip, zstd, deflate");
        let (status, code, _) = error(answer).await;
        assert_eq!((status, code.as_str()), (501, "unimplemented"));
        let (status, code, _) = error(coded(media_type, "gzip", b"no gzip".to_vec()).await.unwrap()).await;
        assert!(status >= 400 && code != "ok", "{media_type}");
    }
    let answer = Client::new()
        .post(server.url(&path("GetImage")))
        .header("content-type", "application/connect+proto")
        .header("connect-content-encoding", "br");
    assert_eq!(answer.send().await.unwrap().status(), 415, "GetImage is no stream");
}

#[tokio::test]
async fn answers_are_compressed_when_that_is_asked_for() {
    let server = Server::start().await;
    for number in 0..20 {
        let put = Client::new().put(server.url(&format!("/i/cat-{number}"))).body(photo("photo.jpg"));
        assert_eq!(put.send().await.unwrap().status(), 201);
    }
    let plain = post(&server, "ListImages", "application/json", "{}").await;
    assert!(!plain.headers().contains_key("content-encoding"));
    let plain = plain.bytes().await.unwrap();
    for coding in ["gzip", "zstd", "deflate"] {
        let request = Client::new().post(server.url(&path("ListImages"))).header("content-type", "application/json");
        let answer = request.header("accept-encoding", coding).body("{}").send().await.unwrap();
        assert_eq!(answer.headers()["content-encoding"], coding);
        assert!(answer.bytes().await.unwrap().len() < plain.len() / 2, "{coding}");
    }
}

/// The client has sent half of a message, and then nothing more.
#[tokio::test]
async fn a_half_open_stream_ends_by_its_deadline() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    let head = format!(
        "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/connect+proto\r\nconnect-timeout-ms: 300\r\n\
         transfer-encoding: chunked\r\nconnection: close\r\n\r\n3\r\n\0\0\0\r\n",
        path("UploadImage"),
        server.addr
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("deadline_exceeded"), "{answer}");
    server.nothing_kept().await;
}

/// The client closes its half in the middle of a message.
#[tokio::test]
async fn a_stream_whose_client_left_keeps_nothing() {
    let server = Server::start().await;
    let first = envelope(0, &upload_messages("x", &photo("photo.jpg").into())[0].encode_to_vec());
    for cut in [1, first.len() - 1, first.len()] {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        let head = format!(
            "POST {} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/connect+proto\r\ntransfer-encoding: chunked\r\n\r\n",
            path("UploadImage"),
            server.addr
        );
        socket.write_all(head.as_bytes()).await.unwrap();
        socket.write_all(format!("{cut:x}\r\n").as_bytes()).await.unwrap();
        socket.write_all(&first[..cut]).await.unwrap();
        socket.write_all(b"\r\n").await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut answer)).await.unwrap();
        assert!(!String::from_utf8_lossy(&answer).contains("created"));
    }
    server.nothing_kept().await;
}

#[tokio::test]
async fn bad_timeouts_are_refused() {
    let server = Server::start().await;
    for timeout in ["-1", "1.5", "12345678901", "1s", "x"] {
        let request = Client::new().post(server.url(&path("ListImages"))).header("content-type", "application/json");
        let answer = request.header("connect-timeout-ms", timeout).body("{}").send().await.unwrap();
        let (status, code, message) = error(answer).await;
        assert_eq!((status, code.as_str()), (400, "invalid_argument"), "{timeout}");
        assert!(message.contains("connect-timeout-ms"), "{message}");
    }
}

/// The status of a stream is in its body, where an operator does not look.
#[tokio::test]
async fn the_log_says_how_a_call_ended() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirephoto"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--store", "memory:"]).env("WIREPHOTO_LOG", "info");
    let server = Process::spawn_telling(command.stderr(log.reopen().unwrap()));
    let calls = [
        ("DownloadImage", "application/connect+json", envelope(0, br#"{"name": "images/none"}"#)),
        ("GetImage", "application/json", Bytes::from_static(br#"{"name": "images/none"}"#)),
        ("ListImages", "application/json", Bytes::from_static(b"{}")),
    ];
    for (method, media_type, body) in calls {
        let request = Client::new().post(format!("{}{}", server.url, path(method))).header("content-type", media_type);
        request.body(body).send().await.unwrap().bytes().await.unwrap();
    }
    let lines = || std::fs::read_to_string(log.path()).unwrap();
    for _ in 0..200 {
        if lines().contains("/ListImages") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    let told = lines();
    for (method, status, grpc_status) in [("DownloadImage", 200, 5), ("GetImage", 404, 5), ("ListImages", 200, 0)] {
        let line = told.lines().find(|line| line.contains(&path(method))).unwrap_or_else(|| panic!("{told}"));
        let expected = format!("status={status} grpc_status={grpc_status} ");
        assert!(line.contains(r#"wire="connect""#) && line.contains(&expected), "{line}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever comes as a stream or in a query, the answer is the protocol's own.
    #[test]
    fn anything_at_all_is_answered(
        body in prop::collection::vec(prop_oneof![
            any::<Vec<u8>>().prop_map(Bytes::from),
            (any::<u8>(), any::<Vec<u8>>()).prop_map(|(flags, message)| envelope(flags & 3, &message)),
        ], 0..4),
        query in "(connect=v1|encoding=(json|proto)|message=[-A-Za-z0-9_%]{0,8}|base64=1|compression=gzip|&){0,8}",
    ) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
            let server = Server::in_memory().await;
            for codec in ["proto", "json"] {
                for method in ["DownloadImage", "UploadImage", "DownloadImages"] {
                    let messages = stream(&server, method, codec, body.clone()).await;
                    let end: Value = serde_json::from_slice(&messages.last().unwrap().1).unwrap();
                    assert!(end.is_object());
                }
            }
            let answer = get(&server, "GetImage", &query).await;
            assert!([400, 404, 415, 500, 501].contains(&answer.status().as_u16()), "{}", answer.status());
        });
    }
}
