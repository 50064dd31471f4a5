//! Deadlines end the work on every wire: before the answer, in the middle of it, and while the store hangs.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use futures::StreamExt as _;
use http::Response;
use prost::Message as _;
use serde_json::Value;
use tokio::net::TcpListener;
use tonic::Code;
use wirephoto::proto::wirephoto::v1 as pb;
use wirephoto::wire::envelope::envelope;

use crate::frames::{GRPC, TEXT, WEB};
use crate::harness::{Apart, Rpc, Server, patient_client_of, web_client_of};
use crate::parity::upload_messages;
use crate::photo::{photo, sixty_megabytes};
use crate::process::Process;

/// A request with a deadline that the server alone knows of.
fn within<T>(message: T, timeout: &str) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.metadata_mut().insert("grpc-timeout", timeout.parse().unwrap());
    request
}

/// Waits until `count` is what it should be, bounded.
pub async fn settles(what: &str, count: impl Fn() -> usize, most: usize) {
    for _ in 0..500 {
        if count() <= most {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: {} where {most} should be", count());
}

fn get() -> pb::GetImageRequest {
    pb::GetImageRequest { name: "images/large".into() }
}

fn download() -> pb::DownloadImageRequest {
    pb::DownloadImageRequest { name: "images/large".into(), ..Default::default() }
}

fn downloads() -> pb::DownloadImagesRequest {
    pb::DownloadImagesRequest { name: "images/large".into(), ..Default::default() }
}

/// Every kind of call with a deadline that passes before there is an answer.
async fn all_pass_before_headers(url: &str, rpcs: Vec<Rpc>, grpc_timeout: &str, seconds: &str) {
    for mut rpc in rpcs {
        let codes = [
            rpc.get_image(within(get(), grpc_timeout)).await.map(drop),
            rpc.download_image(within(download(), grpc_timeout)).await.map(drop),
            rpc.upload_image(within(
                tokio_stream::iter(upload_messages("x", &photo("photo.jpg").into())),
                grpc_timeout,
            ))
            .await
            .map(drop),
        ]
        .map(|answer| answer.unwrap_err().code());
        assert_eq!(codes, [Code::DeadlineExceeded; 3]);
        let requests = tokio_stream::iter([downloads()]).chain(futures::stream::pending());
        let answer = rpc.download_images(within(requests, grpc_timeout)).await;
        let status = match answer {
            Ok(mut items) => items.get_mut().message().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    let http = reqwest::Client::new();
    for path in ["/v1/images/large", "/v1/images/large:download", "/i/large"] {
        let answer = http.get(format!("{url}{path}")).header("x-request-timeout", seconds).send().await.unwrap();
        assert_eq!(answer.status(), 504, "{path}");
        assert!(answer.text().await.unwrap().contains("DEADLINE_EXCEEDED"), "{path}");
    }
    let put = http.put(format!("{url}/i/x")).header("x-request-timeout", seconds).body(photo("photo.jpg"));
    assert_eq!(put.send().await.unwrap().status(), 504);
}

#[tokio::test]
async fn before_the_answer() {
    let apart = Apart::start().await;
    let (server, idle) = (&apart.server, apart.tasks());
    let rpcs = vec![patient_client_of(&server.url("")), server.grpc_web(), server.connect(true), server.connect(false)];
    all_pass_before_headers(&server.url(""), rpcs, "0n", "0").await;
    server.nothing_kept().await;
    settles("tasks", || apart.tasks(), idle).await;
}

#[tokio::test]
async fn in_the_middle_of_a_download() {
    let apart = Apart::start().await;
    let (server, idle) = (&apart.server, apart.tasks());
    let put = reqwest::Client::new().put(server.url("/i/large")).body(sixty_megabytes(6));
    put.send().await.unwrap().error_for_status().unwrap();

    for mut rpc in [patient_client_of(&server.url("")), server.grpc_web(), server.connect(true), server.connect(false)]
    {
        let mut parts = rpc.download_image(within(download(), "300m")).await.unwrap().into_inner();
        parts.message().await.unwrap().unwrap();
        // The reader stalls until the deadline is over; what was on its way still comes.
        tokio::time::sleep(Duration::from_millis(400)).await;
        let status = loop {
            match parts.message().await {
                Ok(part) => assert!(part.is_some(), "the stream ended well"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");

        let requests = tokio_stream::iter([downloads()]).chain(futures::stream::pending());
        let mut items = rpc.download_images(within(requests, "300m")).await.unwrap().into_inner();
        let status = loop {
            match items.message().await {
                Ok(item) => assert!(item.is_some(), "the stream ended well"),
                Err(status) => break status,
            }
        };
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }

    let slow = |path: &str| reqwest::Client::new().get(server.url(path)).header("x-request-timeout", "0.3").send();
    let lines = slow("/v1/images/large:download").await.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    let lines = lines.text().await.unwrap();
    let last: Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(last["error"]["code"], 4);

    let bytes = slow("/i/large").await.unwrap();
    assert_eq!(bytes.status(), 200);
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(bytes.bytes().await.is_err(), "plain bytes can only break off");

    settles("tasks", || apart.tasks(), idle).await;
}

#[tokio::test]
async fn in_the_middle_of_an_upload() {
    let apart = Apart::start().await;
    let (server, idle) = (&apart.server, apart.tasks());
    let bytes = sixty_megabytes(7).slice(..3 << 20);
    for mut rpc in [patient_client_of(&server.url("")), server.grpc_web(), server.connect(true), server.connect(false)]
    {
        let mut messages = upload_messages("x", &bytes);
        messages.truncate(3);
        let stalled = tokio_stream::iter(messages).chain(futures::stream::pending());
        let status = rpc.upload_image(within(stalled, "300m")).await.unwrap_err();
        assert_eq!(status.code(), Code::DeadlineExceeded);
    }
    let stalled = futures::stream::iter([Ok::<_, std::io::Error>(bytes)]).chain(futures::stream::pending());
    let put = reqwest::Client::new().put(server.url("/i/x")).header("x-request-timeout", "0.3");
    let answer = put.body(reqwest::Body::wrap_stream(stalled)).send().await.unwrap();
    assert_eq!(answer.status(), 504);
    drop(answer);
    server.nothing_kept().await;
    settles("tasks", || apart.tasks(), idle).await;
}

/// Calls of one message whose message never comes to its end.
#[tokio::test]
async fn in_the_middle_of_one_message() {
    let apart = Apart::start().await;
    let (server, idle) = (&apart.server, apart.tasks());
    let stalled = |bytes: Vec<u8>| {
        let pieces = futures::stream::iter([Ok::<_, std::io::Error>(Bytes::from(bytes))]);
        reqwest::Body::wrap_stream(pieces.chain(futures::stream::pending()))
    };
    let create = pb::CreateImageRequest { content: photo("photo.jpg").into(), ..Default::default() };
    let half = envelope(0, &create.encode_to_vec())[..20_000].to_vec();
    for (wire, body) in [(GRPC, half.clone()), (WEB, half.clone()), (TEXT, BASE64.encode(&half).into_bytes())] {
        let http = reqwest::Client::builder();
        let http = if wire == GRPC { http.http2_prior_knowledge() } else { http }.build().unwrap();
        let request = http.post(server.url("/wirephoto.v1.ImageService/CreateImage")).header("content-type", wire);
        let answer = request.header("grpc-timeout", "300m").body(stalled(body)).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.headers()["grpc-status"].to_str().unwrap()), (200, "4"), "{wire}");
    }
    let http = reqwest::Client::new();
    let connect = http.post(server.url("/wirephoto.v1.ImageService/CreateImage")).header("connect-timeout-ms", "300");
    let request =
        connect.header("content-type", "application/proto").body(stalled(create.encode_to_vec()[..20_000].into()));
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 504);
    assert!(answer.text().await.unwrap().contains("deadline_exceeded"));
    for request in [http.post(server.url("/v1/images")), http.patch(server.url("/v1/images/large"))] {
        let request = request.header("content-type", "application/json").header("x-request-timeout", "0.3");
        let answer = request.body(stalled(br#"{"displayName": "#.to_vec())).send().await.unwrap();
        assert_eq!(answer.status(), 504);
        assert!(answer.text().await.unwrap().contains("DEADLINE_EXCEEDED"));
    }
    drop(http);
    server.nothing_kept().await;
    settles("tasks", || apart.tasks(), idle).await;
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_work() {
    let apart = Apart::start().await;
    let (server, idle) = (&apart.server, apart.tasks());
    reqwest::Client::new().put(server.url("/i/large")).body(sixty_megabytes(8)).send().await.unwrap();
    {
        let mut parts = patient_client_of(&server.url("")).download_image(download()).await.unwrap().into_inner();
        parts.message().await.unwrap().unwrap();
        let mut answer = reqwest::get(server.url("/i/large")).await.unwrap();
        answer.chunk().await.unwrap().unwrap();
        assert!(apart.tasks() > idle);
    }
    settles("tasks", || apart.tasks(), idle).await;
}

#[tokio::test]
async fn bad_timeouts_are_refused() {
    let server = Server::start().await;
    for timeout in ["1", "1x", "123456789S", "-1S", "1.5S"] {
        for mut rpc in [patient_client_of(&server.url("")), server.grpc_web()] {
            let status = rpc.get_image(within(get(), timeout)).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{timeout}: {status:?}");
            assert!(status.message().contains("grpc-timeout"), "{}", status.message());
        }
    }
    for millis in ["x", "-1", "1.5", "99999999999"] {
        let request = reqwest::Client::new().post(server.url("/wirephoto.v1.ImageService/GetImage")).json(&get());
        let answer = request.header("connect-timeout-ms", millis).send().await.unwrap();
        assert_eq!(answer.status(), 400, "{millis}");
        let error = answer.text().await.unwrap();
        assert!(error.contains("connect-timeout-ms") && error.contains("invalid_argument"), "{error}");
    }
    for seconds in ["x", "-1", "1e3", "1s"] {
        for path in ["/v1/images", "/i/large"] {
            let request = reqwest::Client::new().get(server.url(path)).header("x-request-timeout", seconds);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), 400, "{path} {seconds}");
            assert!(answer.text().await.unwrap().contains("x-request-timeout"));
        }
    }
}

/// An S3 server that lists nothing and then answers nothing, and counts who waits for it.
async fn hung_s3() -> (String, Arc<AtomicUsize>) {
    struct Waiting(Arc<AtomicUsize>);
    impl Drop for Waiting {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let waiting = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&waiting);
    let router = axum::Router::new().fallback(move |request: Request| {
        let count = Arc::clone(&count);
        async move {
            if request.uri().query().is_some_and(|query| query.contains("list-type=2")) {
                let list = "<ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><IsTruncated>false</IsTruncated></ListBucketResult>";
                return Response::new(Body::from(list));
            }
            count.fetch_add(1, Ordering::SeqCst);
            let _waiting = Waiting(count);
            // What is sent is taken, so that the caller waits for the answer and for nothing else.
            let _: Result<Bytes, _> = axum::body::to_bytes(request.into_body(), usize::MAX).await;
            std::future::pending().await
        }
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async { axum::serve(listener, router).await.unwrap() });
    (url, waiting)
}

#[tokio::test]
async fn while_the_store_hangs() {
    let (s3, waiting) = hung_s3().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirephoto"));
    command
        .args(["serve", "--listen", "127.0.0.1:0", "--store", "s3://bucket"])
        .env("AWS_ENDPOINT", &s3)
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("AWS_REGION", "us-east-1")
        .stdin(Stdio::null());
    // To start a process blocks, and its store is served by this thread.
    let server = tokio::task::spawn_blocking(move || Process::spawn(&mut command)).await.unwrap();
    let rpcs = vec![patient_client_of(&server.url), web_client_of(&server.url)];
    all_pass_before_headers(&server.url, rpcs, "300m", "0.3").await;
    settles("calls of the store", || waiting.load(Ordering::SeqCst), 0).await;

    // Who hangs up leaves no call behind either.
    let call = tokio::spawn(reqwest::get(format!("{}/i/large", server.url)));
    while waiting.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    call.abort();
    settles("calls of the store", || waiting.load(Ordering::SeqCst), 0).await;
}
