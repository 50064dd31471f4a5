//! What each wire answers to what is not for it; health, reflection, request ids, origins.

use serde_json::Value;
use tokio_stream::StreamExt as _;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use wirephoto::guard::{Access, Origins, Policy};
use wirephoto::proto::wirephoto::v1 as pb;

use crate::harness::Server;
use crate::photo::photo;

const GET_IMAGE: &str = "/wirephoto.v1.ImageService/GetImage";

#[tokio::test]
async fn unknown_paths_are_json_and_unknown_rpcs_grpc() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    for path in ["/nope", "/v1/nope", "/wirephoto.v1.ImageService/Nope", "/v1/images/a/b"] {
        let answer = http.get(server.url(path)).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["content-type"].to_str().unwrap()),
            (404, "application/json"),
            "{path}"
        );
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], 5);
    }
    let nope = http
        .post(server.url("/wirephoto.v1.ImageService/Nope"))
        .header("content-type", "application/grpc")
        .send()
        .await
        .unwrap();
    assert_eq!((nope.status().as_u16(), nope.headers()["grpc-status"].to_str().unwrap()), (200, "12"));
}

#[tokio::test]
async fn wrong_methods_name_the_right_ones() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let cases = [
        ("PUT", "/v1/images", "POST, GET, HEAD"),
        ("POST", "/v1/images/cat", "GET, HEAD, PATCH, DELETE"),
        ("POST", "/v1/images:batchGet", "GET, HEAD"),
        ("POST", "/v1/images/cat:download", "GET, HEAD"),
        ("POST", "/livez", "GET,HEAD"),
        ("DELETE", "/", "GET,HEAD"),
    ];
    for (method, path, allow) in cases {
        let answer = http.request(method.parse().unwrap(), server.url(path)).send().await.unwrap();
        assert_eq!(answer.status(), 405, "{method} {path}");
        assert_eq!(answer.headers()["allow"], allow, "{method} {path}");
        assert!(answer.json::<Value>().await.unwrap()["message"].is_string());
    }
    let answer = http.get(server.url(GET_IMAGE)).header("content-type", "application/grpc").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), answer.headers()["allow"].to_str().unwrap()), (405, "POST"));
}

#[tokio::test]
async fn head_is_get_without_the_body() {
    let server = Server::start().await;
    let http1 = reqwest::Client::builder().http1_only();
    let http2 = reqwest::Client::builder().http2_prior_knowledge();
    for http in [http1, http2].map(|http| http.build().unwrap()) {
        for (path, origin) in [
            ("/", None),
            ("/livez", None),
            ("/i/nope", None),
            ("/v1/images", None),
            ("/v1/images/nope", None),
            ("/nowhere", None),
            (GET_IMAGE, None),
            // What the guard refuses.
            ("/v1/images", Some("http://evil.example")),
            ("/i/nope", Some("http://evil.example")),
        ] {
            let ask = async |method| {
                let request = http.request(method, server.url(path));
                let request = origin.into_iter().fold(request, |request, origin| request.header("origin", origin));
                let answer = request.send().await.unwrap_or_else(|error| panic!("{path}: {error}"));
                let length = answer.headers().get("content-length").cloned();
                let status = answer.status();
                (status, length, answer.bytes().await.unwrap_or_else(|error| panic!("{path}: {error:?}")))
            };
            let (get, head) = (ask(reqwest::Method::GET).await, ask(reqwest::Method::HEAD).await);
            assert!(head.2.is_empty(), "{path}");
            if path != GET_IMAGE {
                assert_eq!((head.0, head.1), (get.0, get.1), "{path} {origin:?}");
            }
        }
    }
}

#[tokio::test]
async fn wrong_types_are_415() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    for (path, content_type) in [
        (GET_IMAGE, "image/jpeg"),
        (GET_IMAGE, "application/grpc+thrift"),
        (GET_IMAGE, "application/grpc-web+thrift"),
        ("/v1/images", "text/plain"),
        ("/v1/images", "application/x-www-form-urlencoded"),
    ] {
        let answer = http.post(server.url(path)).header("content-type", content_type).body("x").send().await.unwrap();
        assert_eq!(answer.status(), 415, "{path} {content_type}");
        let message = answer.text().await.unwrap();
        assert!(message.contains("application/") && message.contains(content_type), "{message}");
    }
}

#[tokio::test]
async fn grpc_web_types_may_have_parameters() {
    let server = Server::start().await;
    let answer = reqwest::Client::new()
        .post(server.url("/wirephoto.v1.ImageService/ListImages"))
        .header("content-type", "application/grpc-web+proto; charset=utf-8")
        .body(vec![0_u8; 5])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    assert!(String::from_utf8_lossy(&answer.bytes().await.unwrap()).contains("grpc-status:0"));
}

#[tokio::test]
async fn json_answers_have_an_etag_of_their_own() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    http.put(server.url("/i/cat")).body(photo("photo.jpg")).send().await.unwrap();
    let first = http.get(server.url("/v1/images/cat")).send().await.unwrap();
    let etag = first.headers()["etag"].clone();
    let again = http.get(server.url("/v1/images/cat")).header("if-none-match", etag.clone()).send().await.unwrap();
    assert_eq!((again.status().as_u16(), &again.headers()["etag"]), (304, &etag));
    let patch = serde_json::json!({"labels": {"team": "press"}});
    let patched = http.patch(server.url("/v1/images/cat")).json(&patch).send().await.unwrap();
    assert_eq!(patched.status(), 200, "{}", patched.text().await.unwrap());
    let changed = http.get(server.url("/v1/images/cat")).header("if-none-match", etag).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    let image: Value = changed.json().await.unwrap();
    assert_eq!(image["labels"]["team"], "press");
    // Relabelling an image does not spoil a cache of its bytes.
    let tag = http.head(server.url("/i/cat")).send().await.unwrap().headers()["etag"].clone();
    assert_eq!(tag.to_str().unwrap().trim_matches('"'), image["sha256"]);
}

/// Of each version, even where one before was downloaded too.
#[tokio::test]
async fn what_a_download_tells_of_its_image_is_what_is_kept() {
    let server = Server::start().await;
    let check = async || {
        let mut client = server.grpc();
        let name = String::from("images/a");
        let image = client.get_image(pb::GetImageRequest { name: name.clone() }).await.unwrap().into_inner().image;
        for read_offset in [0, 5] {
            let request = pb::DownloadImageRequest { name: name.clone(), read_offset, ..Default::default() };
            let mut alone = client.download_image(request).await.unwrap().into_inner();
            let first = alone.message().await.unwrap().unwrap();
            let request = pb::DownloadImagesRequest { name: name.clone(), read_offset, ..Default::default() };
            let mut among = client.download_images(tokio_stream::iter([request])).await.unwrap().into_inner();
            let item = among.message().await.unwrap().unwrap().item;
            assert_eq!(item, Some(pb::download_images_response::Item::Part(first.clone())));
            let size = image.as_ref().unwrap().size_bytes;
            let range = pb::ContentRange { start: read_offset, end: size, complete_length: size };
            assert_eq!((first.image, first.content_range, first.chunk), (image.clone(), Some(range), None));
        }
        image.unwrap()
    };
    let http = reqwest::Client::new();
    http.put(server.url("/i/a")).body(photo("photo.jpg")).send().await.unwrap();
    let new = check().await;
    let change = pb::Image { name: new.name.clone(), display_name: "Another".into(), ..Default::default() };
    server.grpc().update_image(pb::UpdateImageRequest { image: Some(change), ..Default::default() }).await.unwrap();
    let relabelled = check().await;
    http.put(server.url("/i/a")).body(photo("orientation-3.jpg")).send().await.unwrap();
    let replaced = check().await;
    assert_eq!(
        [new.display_name.as_str(), &relabelled.display_name, &replaced.display_name],
        ["", "Another", "Another"]
    );
    assert!(new.sha256 == relabelled.sha256 && relabelled.sha256 != replaced.sha256);
}

#[tokio::test]
async fn several_downloads_share_one_stream() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let photos = ["photo.jpg", "orientation-6.jpg"];
    for name in photos {
        http.put(server.url(&format!("/i/{name}"))).body(photo(name)).send().await.unwrap();
    }
    let request = |name: &str| pb::DownloadImagesRequest { name: format!("images/{name}"), ..Default::default() };
    let requests = [request("photo.jpg"), request("missing"), request("orientation-6.jpg"), request("a..b")];
    let mut items = server.grpc().download_images(tokio_stream::iter(requests)).await.unwrap().into_inner();
    let mut bytes = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut codes = [0; 4];
    let mut ended = [false; 4];
    while let Some(item) = items.next().await {
        let item = item.unwrap();
        let index = item.index as usize;
        assert!(!ended[index], "an item of {index} after its last");
        ended[index] = item.last;
        match item.item.unwrap() {
            pb::download_images_response::Item::Part(part) => {
                bytes[index].extend_from_slice(&part.chunk.unwrap_or_default().data);
            }
            pb::download_images_response::Item::Error(status) => codes[index] = status.code,
        }
    }
    assert_eq!(ended, [true; 4]);
    assert_eq!(codes, [0, 5, 0, 3]);
    assert!(bytes[0] == photo("photo.jpg") && bytes[2] == photo("orientation-6.jpg"));
}

#[tokio::test]
async fn health_per_service_and_its_watch() {
    let mut server = Server::start().await;
    let mut health = HealthClient::new(tonic::transport::Endpoint::from_shared(server.url("")).unwrap().connect_lazy());
    for service in ["", "wirephoto.v1.ImageService"] {
        let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap().into_inner();
        assert_eq!(answer.status, 1, "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "nope".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);
    let service = "wirephoto.v1.ImageService".into();
    let mut watch = health.watch(HealthCheckRequest { service }).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 1);
    assert_eq!(reqwest::get(server.url("/readyz")).await.unwrap().status(), 200);
    assert_eq!(reqwest::get(server.url("/livez")).await.unwrap().status(), 200);
    server.stop.take().unwrap().send(()).unwrap();
    assert_eq!(watch.message().await.unwrap().unwrap().status, 2, "stopping shows in the watch");
}

#[tokio::test]
async fn request_ids_go_in_and_out() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    for path in ["/v1/images", "/i/none", "/livez", "/", "/nope"] {
        let answer = http.get(server.url(path)).header("x-request-id", "mine-1").send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"], "mine-1", "{path}");
        let answer = http.get(server.url(path)).header("x-request-id", "no spaces").send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"].len(), 32, "{path}");
    }
    for mut rpc in [server.grpc(), server.grpc_web()] {
        let mut request = tonic::Request::new(pb::ListImagesRequest::default());
        request.metadata_mut().insert("x-request-id", "mine-2".parse().unwrap());
        assert_eq!(rpc.list_images(request).await.unwrap().metadata().get("x-request-id").unwrap(), "mine-2");
    }
}

/// An error without its id could not be found in the log.
#[tokio::test]
async fn errors_carry_the_request_id_on_every_wire() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let post = |path: &str, content_type: &'static str| {
        http.post(server.url(path)).header("content-type", content_type).body(vec![0_u8; 5])
    };
    let requests = [
        // Not there, malformed, of a foreign page, over its time, unknown, of another method, of another type.
        post(GET_IMAGE, "application/grpc-web+proto"),
        post(GET_IMAGE, "application/grpc-web-text"),
        post(GET_IMAGE, "application/grpc").header("grpc-timeout", "x"),
        post(GET_IMAGE, "application/grpc-web").header("origin", "https://evil.example"),
        post(GET_IMAGE, "application/proto"),
        post(GET_IMAGE, "application/json").header("connect-timeout-ms", "x"),
        post(GET_IMAGE, "application/connect+json"),
        post("/v1/images", "application/json"),
        post("/v1/images", "text/plain"),
        http.get(server.url("/v1/images")).header("x-request-timeout", "0"),
        http.get(server.url("/v1/images/%zz")),
        http.put(server.url("/v1/images")),
        http.put(server.url("/i/a")).body("no image"),
        http.get(server.url("/i/a")).header("x-request-timeout", "0"),
        http.get(server.url("/i/a")).header("origin", "https://evil.example"),
        http.patch(server.url("/i/a")),
    ];
    for (number, request) in requests.into_iter().enumerate() {
        let answer = request.header("x-request-id", format!("mine-{number}")).send().await.unwrap();
        assert_eq!(answer.headers()["x-request-id"].to_str().unwrap(), format!("mine-{number}"));
        let failed = answer.headers().contains_key("grpc-status") || answer.status().as_u16() >= 400;
        let path = answer.url().path().to_owned();
        // A stream of Connect tells of it in its last message.
        assert!(failed || answer.text().await.unwrap().contains("\"error\""), "{number}: {path}");
    }
}

#[tokio::test]
async fn broken_percent_encoding_is_named() {
    let server = Server::start().await;
    let queries = ["?filter=%", "?filter=%4", "?filter=%zz", "?%zz=1", "?pageToken=%ff"];
    let paths = ["/%", "/%4", "/%zz", "/a%ff", "/a%zz:download"];
    for end in queries.into_iter().chain(paths) {
        let path = format!("/v1/images{end}");
        let answer = reqwest::get(server.url(&path)).await.unwrap();
        assert_eq!(answer.status(), 400, "{path}");
        let error: Value = answer.json().await.unwrap();
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("hexadecimal") || message.contains("UTF-8"), "{path}: {message}");
    }
    for id in ["%", "%4", "a%zz", "a%ff"] {
        let answer = reqwest::get(server.url(&format!("/i/{id}"))).await.unwrap();
        assert_eq!(answer.status(), 400, "{id}");
        assert!(answer.text().await.unwrap().contains("an id is"), "{id}");
    }
}

#[tokio::test]
async fn foreign_pages_neither_write_nor_read() {
    let server = Server::start_with(vec!["https://press.example".into()]).await;
    let http = reqwest::Client::new();
    let from = |origin: &'static str, path: &str| http.get(server.url(path)).header("origin", origin);
    for path in ["/v1/images", "/i/none", "/livez"] {
        let refused = from("https://evil.example", path).send().await.unwrap();
        assert_eq!(refused.status(), 403, "{path}");
        assert!(!refused.headers().contains_key("access-control-allow-origin"));
        assert!(refused.text().await.unwrap().contains("--cors-origin"), "{path}");
        let allowed = from("https://press.example", path).send().await.unwrap();
        assert_ne!(allowed.status(), 403, "{path}");
        assert_eq!(allowed.headers()["access-control-allow-origin"], "https://press.example");
    }
    let write = http.put(server.url("/i/x")).header("origin", "https://evil.example").body(photo("photo.jpg"));
    assert_eq!(write.send().await.unwrap().status(), 403);
    let rpc =
        http.post(server.url(GET_IMAGE)).header("origin", "null").header("content-type", "application/grpc-web+proto");
    let refused = rpc.body(vec![0_u8; 5]).send().await.unwrap();
    assert_eq!((refused.status().as_u16(), refused.headers()["grpc-status"].to_str().unwrap()), (200, "7"));
    let rebound = http.get(server.url("/v1/images")).header("host", "evil.example").send().await.unwrap();
    assert_eq!(rebound.status(), 403);
    server.nothing_kept().await;

    let preflight = http
        .request(reqwest::Method::OPTIONS, server.url(GET_IMAGE))
        .header("origin", "https://press.example")
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-grpc-web")
        .send()
        .await
        .unwrap();
    assert_eq!(preflight.headers()["access-control-allow-origin"], "https://press.example");
    assert_eq!(preflight.headers()["access-control-allow-headers"], "content-type,x-grpc-web");
    let exposed = from("https://press.example", "/v1/images").send().await.unwrap();
    let exposed = exposed.headers()["access-control-expose-headers"].to_str().unwrap().to_owned();
    for header in ["grpc-status", "grpc-message", "grpc-status-details-bin", "etag", "x-request-id"] {
        assert!(exposed.contains(header), "{header} in {exposed}");
    }
}

#[tokio::test]
async fn headers_over_the_limit_are_refused() {
    let server = Server::start().await;
    let http = reqwest::Client::new();
    let answer = http.get(server.url("/v1/images")).header("x-long", "x".repeat(1 << 20)).send().await;
    assert!(answer.is_err() || answer.unwrap().status() == 431);
    let mut rpc = server.grpc();
    let mut request = tonic::Request::new(pb::ListImagesRequest::default());
    request.metadata_mut().insert("x-long", "x".repeat(1 << 20).parse().unwrap());
    assert!(rpc.list_images(request).await.is_err());
    // The server is none the worse.
    assert_eq!(http.get(server.url("/v1/images")).send().await.unwrap().status(), 200);
}

#[tokio::test]
async fn anonymous_readers_read_and_do_not_write() {
    let policy = Policy { origins: Origins::new(Vec::new(), true), anonymous: Access::Read };
    let server = Server::start_as(policy).await;
    let http = reqwest::Client::new();
    let bytes = photo("photo.jpg");
    let create = || pb::CreateImageRequest { content: photo("photo.jpg").into(), ..Default::default() };
    for mut rpc in [server.grpc(), server.grpc_web()] {
        assert_eq!(rpc.create_image(create()).await.unwrap_err().code(), tonic::Code::Unauthenticated);
        rpc.list_images(pb::ListImagesRequest::default()).await.unwrap();
        let download = pb::DownloadImagesRequest { name: "images/none".into(), ..Default::default() };
        let mut items = rpc.download_images(tokio_stream::iter([download])).await.unwrap().into_inner();
        assert!(items.message().await.unwrap().is_some());
    }
    let json = serde_json::to_value(create()).unwrap();
    assert_eq!(http.post(server.url("/v1/images")).json(&json).send().await.unwrap().status(), 401);
    assert_eq!(http.delete(server.url("/v1/images/x")).send().await.unwrap().status(), 401);
    assert_eq!(http.put(server.url("/i/x")).body(bytes).send().await.unwrap().status(), 401);
    let disguised = http.delete(server.url("/i/x")).header("content-type", "application/grpc");
    assert_eq!(disguised.send().await.unwrap().status(), 401);
    assert_eq!(http.get(server.url("/v1/images")).send().await.unwrap().status(), 200);
    assert_eq!(http.get(server.url("/i/x")).send().await.unwrap().status(), 404);
    server.nothing_kept().await;
}
