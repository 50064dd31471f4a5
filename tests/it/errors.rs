//! The same failure on every wire: one code, one reason, each wire's own HTTP status, nothing kept.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use prost::Message as _;
use reqwest::RequestBuilder;
use serde_json::{Value, json};
use wirephoto::error::{Code, Reason, Retry};
use wirephoto::proto::google::rpc;
use wirephoto::proto::wirephoto::v1 as pb;

use crate::harness::{MAX_IMAGE_SIZE, Server};
use crate::photo::photo;

/// What a wire said of a failure.
#[derive(Debug, PartialEq)]
struct Told {
    code: i32,
    reason: String,
    message: String,
    details: Vec<String>,
}

/// Of an RPC.
fn by_rpc<T: std::fmt::Debug>(answer: Result<T, tonic::Status>) -> Told {
    let status = answer.unwrap_err();
    told(rpc::Status::decode(status.details()).unwrap())
}

fn told(status: rpc::Status) -> Told {
    let info = status.details.iter().find(|detail| detail.type_name() == "google.rpc.ErrorInfo").unwrap();
    let info = rpc::ErrorInfo::decode(info.value.clone()).unwrap();
    assert_eq!(info.domain, "wirephoto");
    let details = status.details.iter().map(|detail| detail.type_name().to_owned()).collect();
    Told { code: status.code, reason: info.reason, message: status.message, details }
}

/// Of JSON: `google.rpc.Status`.
async fn by_rest(request: RequestBuilder) -> (u16, Told) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/json");
    let http = answer.status().as_u16();
    (http, told(answer.json().await.unwrap()))
}

/// Of bytes: a problem document.
async fn by_bytes(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// One failure, asked for on every wire.
struct Failure {
    reason: Reason,
    rest_status: u16,
    grpc: Told,
    web: Told,
    connect: Told,
    rest: (u16, Told),
    bytes: (u16, Value),
}

impl Failure {
    fn check(self) {
        let row = self.reason.row();
        assert_eq!((self.grpc.code, self.grpc.reason.as_str()), (row.code as i32, row.name), "{}", self.grpc.message);
        assert_eq!(self.web, self.grpc);
        assert_eq!(self.connect, self.grpc);
        assert_eq!(self.rest, (self.rest_status, self.grpc));
        let (status, problem) = self.bytes;
        assert_eq!(status, row.bytes_status, "{problem}");
        assert_eq!(problem["status"], row.bytes_status, "{problem}");
        assert_eq!(problem["reason"], row.name, "{problem}");
        assert!(!problem["detail"].as_str().unwrap().is_empty());
    }
}

/// Creates by every wire what is refused for its content or its request, and sees that nothing was kept.
async fn refused_create(
    reason: Reason,
    rest_status: u16,
    request: pb::CreateImageRequest,
    put: impl Fn(RequestBuilder) -> RequestBuilder,
) {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let json = serde_json::to_value(&request).unwrap();
    let path = format!("/i/{}", request.image_id);
    Failure {
        reason,
        rest_status,
        grpc: by_rpc(server.grpc().create_image(request.clone()).await),
        web: by_rpc(server.grpc_web().create_image(request.clone()).await),
        connect: by_rpc(server.connect(true).create_image(request.clone()).await),
        rest: by_rest(http.post(server.url("/v1/images")).json(&json)).await,
        bytes: by_bytes(put(http.put(server.url(&path)).body(request.content))).await,
    }
    .check();
    server.nothing_kept().await;
}

fn create(content: impl Into<Bytes>) -> pb::CreateImageRequest {
    pb::CreateImageRequest { image_id: "x".into(), content: content.into(), ..Default::default() }
}

#[tokio::test]
async fn not_an_image() {
    refused_create(Reason::NotAnImage, 400, create("just text"), |put| put).await;
    refused_create(Reason::NotAnImage, 400, create(""), |put| put).await;
}

#[tokio::test]
async fn a_type_that_lies() {
    let mut request = create(photo("photo.jpg"));
    request.image = Some(pb::Image { media_type: "image/png".into(), ..Default::default() });
    refused_create(Reason::TypeMismatch, 400, request.clone(), |put| put.header("content-type", "image/png")).await;
    request.image = Some(pb::Image { media_type: "text/html".into(), ..Default::default() });
    refused_create(Reason::NotAnImage, 400, request, |put| put.header("content-type", "text/html")).await;
}

#[tokio::test]
async fn a_checksum_that_does_not_match() {
    let mut request = create(photo("photo.jpg"));
    request.checksums = Some(pb::ImageChecksums { sha256: "00".repeat(32), ..Default::default() });
    let digest = format!("sha-256=:{}:", BASE64.encode([0; 32]));
    refused_create(Reason::ChecksumMismatch, 400, request, |put| put.header("repr-digest", &digest)).await;
}

#[tokio::test]
async fn bad_ids() {
    for id in ["a..b", "-a", "x y", "a/b", "a\0b", "a:download", "é", &"x".repeat(129)] {
        let mut request = create(photo("photo.jpg"));
        request.image_id = id.to_owned();
        let server = Server::start().await;
        let http = reqwest::Client::new();
        let path = format!("/i/{}", utf8_percent_encode(id, NON_ALPHANUMERIC));
        let json = serde_json::to_value(&request).unwrap();
        Failure {
            reason: Reason::InvalidRequest,
            rest_status: 400,
            grpc: by_rpc(server.grpc().create_image(request.clone()).await),
            web: by_rpc(server.grpc_web().create_image(request.clone()).await),
            connect: by_rpc(server.connect(true).create_image(request.clone()).await),
            rest: by_rest(http.post(server.url("/v1/images")).json(&json)).await,
            bytes: by_bytes(http.put(server.url(&path)).body(request.content)).await,
        }
        .check();
        server.nothing_kept().await;
    }
    // What only a path can hold.
    let server = Server::start().await;
    for id in ["a%2Fb", "a%00b", "a%2e%2eb", "a%3Adownload"] {
        assert_eq!(by_bytes(reqwest::Client::new().get(server.url(&format!("/i/{id}")))).await.0, 400, "{id}");
        let rest = by_rest(reqwest::Client::new().get(server.url(&format!("/v1/images/{id}")))).await;
        assert_eq!((rest.0, rest.1.details.contains(&"google.rpc.BadRequest".to_owned())), (400, true), "{id}");
    }
}

#[tokio::test]
async fn what_is_not_there() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let request = || pb::GetImageRequest { name: "images/none".into() };
    Failure {
        reason: Reason::NotFound,
        rest_status: 404,
        grpc: by_rpc(server.grpc().get_image(request()).await),
        web: by_rpc(server.grpc_web().get_image(request()).await),
        connect: by_rpc(server.connect(true).get_image(request()).await),
        rest: by_rest(http.get(server.url("/v1/images/none"))).await,
        bytes: by_bytes(http.get(server.url("/i/none"))).await,
    }
    .check();
    let download = || pb::DownloadImageRequest { name: "images/none".into(), ..Default::default() };
    Failure {
        reason: Reason::NotFound,
        rest_status: 404,
        grpc: by_rpc(server.grpc().download_image(download()).await.map(|_| ())),
        web: by_rpc(server.grpc_web().download_image(download()).await.map(|_| ())),
        connect: by_rpc(server.connect(true).download_image(download()).await.map(|_| ())),
        rest: by_rest(http.get(server.url("/v1/images/none:download"))).await,
        bytes: by_bytes(http.delete(server.url("/i/none"))).await,
    }
    .check();
}

#[tokio::test]
async fn what_the_kept_image_forbids() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let bytes = Bytes::from(photo("photo.jpg"));
    let request = pb::CreateImageRequest { image_id: "cat".into(), content: bytes.clone(), ..Default::default() };
    let kept = server.grpc().create_image(request.clone()).await.unwrap().into_inner().image.unwrap();
    let json = serde_json::to_value(&request).unwrap();
    Failure {
        reason: Reason::AlreadyExists,
        rest_status: 409,
        grpc: by_rpc(server.grpc().create_image(request.clone()).await),
        web: by_rpc(server.grpc_web().create_image(request.clone()).await),
        connect: by_rpc(server.connect(true).create_image(request).await),
        rest: by_rest(http.post(server.url("/v1/images")).json(&json)).await,
        bytes: by_bytes(http.put(server.url("/i/cat")).header("if-none-match", "*").body(bytes.clone())).await,
    }
    .check();

    let stale = || pb::DeleteImageRequest { name: "images/cat".into(), etag: "0-0".into(), ..Default::default() };
    Failure {
        reason: Reason::VersionMoved,
        rest_status: 409,
        grpc: by_rpc(server.grpc().delete_image(stale()).await),
        web: by_rpc(server.grpc_web().delete_image(stale()).await),
        connect: by_rpc(server.connect(true).delete_image(stale()).await),
        rest: by_rest(http.delete(server.url("/v1/images/cat?etag=0-0"))).await,
        bytes: by_bytes(http.delete(server.url("/i/cat")).header("if-match", "\"stale\"")).await,
    }
    .check();

    let beyond = bytes.len() as i64;
    let beyond_end =
        || pb::DownloadImageRequest { name: "images/cat".into(), read_offset: beyond, ..Default::default() };
    Failure {
        reason: Reason::OutOfRange,
        rest_status: 400,
        grpc: by_rpc(server.grpc().download_image(beyond_end()).await.map(|_| ())),
        web: by_rpc(server.grpc_web().download_image(beyond_end()).await.map(|_| ())),
        connect: by_rpc(server.connect(true).download_image(beyond_end()).await.map(|_| ())),
        rest: by_rest(http.get(server.url(&format!("/v1/images/cat:download?readOffset={beyond}")))).await,
        bytes: by_bytes(http.get(server.url("/i/cat")).header("range", format!("bytes={beyond}-"))).await,
    }
    .check();

    let now = server.grpc().get_image(pb::GetImageRequest { name: "images/cat".into() }).await.unwrap().into_inner();
    assert_eq!(now.image.unwrap(), kept, "a refusal changed the image");
}

#[tokio::test]
async fn a_request_id_used_for_other_content() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let mut request = create(photo("photo.jpg"));
    request.request_id = "first".into();
    let first = server.grpc().create_image(request.clone()).await.unwrap().into_inner();
    let again = server.grpc_web().create_image(request.clone()).await.unwrap().into_inner();
    assert_eq!(first, again, "a retry is answered as the first time");
    request.content = photo("orientation-1.jpg").into();
    let json = serde_json::to_value(&request).unwrap();
    Failure {
        reason: Reason::RequestIdReused,
        rest_status: 400,
        grpc: by_rpc(server.grpc().create_image(request.clone()).await),
        web: by_rpc(server.grpc_web().create_image(request.clone()).await),
        connect: by_rpc(server.connect(true).create_image(request.clone()).await),
        rest: by_rest(http.post(server.url("/v1/images")).json(&json)).await,
        bytes: by_bytes(http.put(server.url("/i/x")).header("idempotency-key", "first").body(request.content)).await,
    }
    .check();
}

#[tokio::test]
async fn too_large() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    // An image that says how long it is, and one that does not.
    let size = MAX_IMAGE_SIZE + 1;
    let spec = pb::UploadSpec { image_id: "x".into(), size_bytes: Some(size as i64), ..Default::default() };
    let upload = || tokio_stream::iter([pb::UploadImageRequest { spec: Some(spec.clone()), ..Default::default() }]);
    let announced = vec![0_u8; size as usize];
    let grpc = by_rpc(server.grpc().upload_image(upload()).await);
    assert_eq!(grpc.code, Code::ResourceExhausted as i32);
    assert!(grpc.message.contains(&MAX_IMAGE_SIZE.to_string()), "{}", grpc.message);
    assert!(grpc.details.contains(&"google.rpc.QuotaFailure".to_owned()));
    assert_eq!(by_rpc(server.grpc_web().upload_image(upload()).await), grpc);
    assert_eq!(by_rpc(server.connect(false).upload_image(upload()).await), grpc);
    let (status, problem) = by_bytes(http.put(server.url("/i/x")).body(announced.clone())).await;
    assert_eq!((status, problem["reason"].as_str()), (413, Some("TOO_LARGE")), "{problem}");

    let mut endless = photo("photo.jpg");
    endless.resize(size as usize, 0);
    let pieces: Vec<std::io::Result<Bytes>> =
        endless.chunks(1 << 20).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
    let body = reqwest::Body::wrap_stream(tokio_stream::iter(pieces));
    assert_eq!(by_bytes(http.put(server.url("/i/x")).body(body)).await.0, 413);

    // A message, and a JSON body, over their limits.
    let message = create(vec![0; 9 << 20]);
    for mut rpc in [server.grpc(), server.connect(false), server.connect(true)] {
        let refused = rpc.create_image(message.clone()).await.unwrap_err();
        assert_eq!(refused.code(), tonic::Code::ResourceExhausted, "{}", refused.message());
        assert!(refused.message().contains("8388608") && refused.details().is_empty(), "{refused:?}");
    }
    let (status, told) =
        by_rest(http.post(server.url("/v1/images")).json(&json!({"content": BASE64.encode(vec![0; 9 << 20])}))).await;
    assert_eq!((status, told.code), (413, Code::ResourceExhausted as i32));
    let inline = json!({"content": BASE64.encode(vec![0; (4 << 20) + 1])});
    let (status, told) = by_rest(http.post(server.url("/v1/images")).json(&inline)).await;
    assert_eq!((status, told.code), (429, Code::ResourceExhausted as i32));
    server.nothing_kept().await;
}

#[tokio::test]
async fn bad_pages_filters_and_tokens_name_the_field() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    for number in 0..3 {
        let mut request = create(photo("photo.jpg"));
        request.image_id = format!("cat-{number}");
        server.grpc().create_image(request).await.unwrap();
    }
    let page = http.get(server.url("/v1/images?pageSize=1")).send().await.unwrap().json::<Value>().await.unwrap();
    let token = page["nextPageToken"].as_str().unwrap();
    let cases = [
        ("pageSize=-1".to_owned(), "pageSize"),
        ("pageToken=garbage".to_owned(), "pageToken"),
        (format!("pageSize=1&filter=width+%3E+1&pageToken={token}"), "pageToken"),
        (format!("pageSize=1&orderBy=create_time&pageToken={token}"), "pageToken"),
        ("filter=colour+%3D+red".to_owned(), "filter"),
        ("orderBy=colour".to_owned(), "orderBy"),
        ("nope=1".to_owned(), "nope"),
    ];
    for (query, field) in cases {
        let answer = http.get(server.url(&format!("/v1/images?{query}"))).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{query}");
        let error: Value = answer.json().await.unwrap();
        let details = error["details"].as_array().unwrap();
        let bad = details.iter().find(|detail| detail["@type"] == "type.googleapis.com/google.rpc.BadRequest").unwrap();
        let named = bad["fieldViolations"][0]["field"].as_str().unwrap();
        assert_eq!(named.replace('_', "").to_lowercase(), field.to_lowercase(), "{query}: {error}");
    }
}

#[tokio::test]
async fn json_that_does_not_fit_is_named_by_its_path() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let cases = [
        (json!({"imageId": "x", "nope": 1}), "nope"),
        (json!({"image": {"labels": {}, "nope": 1}}), "image.nope"),
        (json!({"image": {"displayName": 7}}), "image.displayName"),
        (json!({"image": []}), "image"),
        (json!({"imageId": "x", "image_id": "y"}), "image_id"),
        (json!({"content": "***"}), "content"),
        (json!({"image": {"labels": {"a": 1}}}), "image.labels.a"),
        (json!({"image": {"generation": "many"}}), "image.generation"),
        (json!([]), ""),
    ];
    for (body, path) in cases {
        let answer = http.post(server.url("/v1/images")).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{body}");
        let error: Value = answer.json().await.unwrap();
        let violation = &error["details"][1]["fieldViolations"][0];
        assert_eq!(violation["field"].as_str().unwrap_or_default(), path, "{error}");
    }
    let nested = format!("{}{}", "{\"image\":".repeat(10_000), "}".repeat(10_000));
    for text in ["{", "", "nul", &nested] {
        let request =
            http.post(server.url("/v1/images")).header("content-type", "application/json").body(text.to_owned());
        let (status, told) = by_rest(request).await;
        assert_eq!((status, told.code), (400, Code::InvalidArgument as i32), "{}", told.message);
    }
}

/// The table of docs/wire.md says of each reason what `src/error.rs` does.
#[test]
fn the_documented_table_is_the_real_one() {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/wire.md")).unwrap();
    let table = page.split("<!-- errors:begin -->").nth(1).unwrap().split("<!-- errors:end -->").next().unwrap();
    let cells = |line: &str| line.split('|').map(|cell| cell.trim().replace('`', "")).collect::<Vec<_>>();
    let documented: Vec<_> = table.lines().skip(3).map(cells).collect();
    assert_eq!(documented.len(), Reason::ALL.len());
    for (cells, reason) in documented.iter().zip(Reason::ALL) {
        let row = reason.row();
        let retry = match row.retry {
            Retry::No => "no",
            Retry::Yes => "yes",
            Retry::AfterReading => "after reading",
        };
        let (json, bytes) = (row.code.http_status().to_string(), row.bytes_status.to_string());
        let [_, name, _when, code, json_cell, bytes_cell, retry_cell, _] = cells.as_slice() else {
            panic!("{cells:?}")
        };
        let told = [name.as_str(), code, json_cell, bytes_cell, retry_cell];
        assert_eq!(told, [row.name, row.code.name(), &json, &bytes, retry]);
    }
}
