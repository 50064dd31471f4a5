//! Our client while servers are killed, come back, refuse and hang: what is mended, and what is not tried twice.

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use futures::TryStreamExt as _;
use http_body_util::BodyExt as _;
use prost::Message;
use tempfile::TempDir;
use tokio::sync::Barrier;
use wirephoto::client::{Client, ClientOptions, Error, Image, Progress, UploadSpec, Uploaded};
use wirephoto::error::Code;
use wirephoto::proto::google::rpc;
use wirephoto::proto::wirephoto::v1::{DeleteImageRequest, GetImageResponse};
use wirephoto::well_known::Any;

use crate::harness::listen;
use crate::photo::{photo, sixty_megabytes};
use crate::process::{Process, serve};

const PROGRAM: &str = env!("CARGO_BIN_EXE_wirephoto");

fn client(servers: &[&str]) -> Client {
    Client::new(ClientOptions { servers: servers.join(",").parse().unwrap(), ..Default::default() })
}

/// The same store on the same port.
fn start_again(url: &str, store: &Path) -> Process {
    let mut arguments = serve(store);
    arguments[2] = url.strip_prefix("http://").unwrap().to_owned();
    Process::spawn(Command::new(PROGRAM).args(arguments))
}

fn file(content: &[u8]) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

async fn put(client: &Client, id: &str, display_name: &str, content: &[u8]) {
    let image = Image { display_name: display_name.into(), ..Default::default() };
    let spec = UploadSpec { image_id: id.into(), image: Some(image), allow_replace: true, ..Default::default() };
    client.upload_file(spec, file(content).path(), ()).await.unwrap();
}

/// Polls until it holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let held = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), held).await.unwrap_or_else(|_| panic!("never: {what}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_three_servers_is_killed_under_load_and_no_call_fails() {
    const WORKERS: usize = 8;
    const CALLS: usize = 240;
    let content = photo("photo.jpg");
    let stores: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let mut servers: Vec<Process> = stores.iter().map(|store| Process::start(store.path())).collect();
    let urls: Vec<String> = servers.iter().map(|server| server.url.clone()).collect();
    for (number, url) in urls.iter().enumerate() {
        put(&client(&[url]), "photo", &number.to_string(), &content).await;
    }

    let client = client(&urls.iter().map(String::as_str).collect::<Vec<_>>());
    // Which server answered, in order.
    let answered: Arc<Mutex<Vec<String>>> = Arc::default();
    let mut workers = Vec::new();
    for _ in 0..WORKERS {
        let (client, answered, content) = (client.clone(), Arc::clone(&answered), content.clone());
        workers.push(tokio::spawn(async move {
            for call in 0..CALLS {
                let image = match call % 4 {
                    0 => {
                        let download = client.download("images/photo", ..).await.unwrap();
                        let image = download.image().clone();
                        assert!(download.try_collect::<Vec<_>>().await.unwrap().concat() == content);
                        image
                    }
                    1 => client.list(Default::default()).try_collect::<Vec<_>>().await.unwrap().remove(0),
                    _ => client.get("images/photo").await.unwrap(),
                };
                answered.lock().unwrap().push(image.display_name);
            }
        }));
    }
    let count = || answered.lock().unwrap().len();
    until("a third of the calls", async || count() >= WORKERS * CALLS / 3).await;
    servers[0].signal("-KILL");
    servers[0].child.wait().unwrap();
    let killed_at = count();
    for worker in workers {
        worker.await.unwrap();
    }

    let answered = answered.lock().unwrap().clone();
    let tally = |answers: &[String]| {
        ["0", "1", "2"].map(|server| answers.iter().filter(|answer| *answer == server).count() as f64)
    };
    let (before, after) = (tally(&answered[..killed_at]), tally(&answered[killed_at..]));
    println!("answers before the kill: {before:?}, after: {after:?}");
    // Answers that were given, and not yet counted.
    assert!(after[0] <= WORKERS as f64, "{after:?}");
    let fair = |answers: &[f64]| {
        let mean = answers.iter().sum::<f64>() / answers.len() as f64;
        answers.iter().all(|answers| (answers - mean).abs() <= 0.2 * mean)
    };
    assert!(fair(&before), "{before:?}");
    assert!(fair(&after[1..]) && after[1] > 100.0, "{after:?}");

    // Back again, it takes its turns.
    let _again = start_again(&urls[0], stores[0].path());
    until("a call of the server that is back", async || client.get("images/photo").await.unwrap().display_name == "0")
        .await;
}

#[tokio::test]
async fn a_server_that_hangs_is_left_out_once_a_call_of_it_has_run_out_of_time() {
    let stores: Vec<TempDir> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let servers: Vec<Process> = stores.iter().map(|store| Process::start(store.path())).collect();
    for server in &servers {
        put(&client(&[&server.url]), "photo", "", &photo("photo.jpg")).await;
    }
    let hasty = Client::new(ClientOptions {
        servers: servers.iter().map(|server| &*server.url).collect::<Vec<_>>().join(",").parse().unwrap(),
        timeout: Some(Duration::from_secs(3)),
        ..Default::default()
    });
    for _ in &servers {
        hasty.get("images/photo").await.unwrap();
    }
    servers[1].signal("-STOP");
    let mut failed = Vec::new();
    for _ in 0..60 {
        failed.extend(hasty.get("images/photo").await.err());
    }
    let codes: Vec<Code> = failed.iter().map(Error::code).collect();
    assert_eq!(codes, [Code::DeadlineExceeded]);
}

#[test]
fn a_server_is_restarted_in_the_middle_of_a_get_and_it_completes() {
    let (store, desk) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut server = Process::start(store.path());
    let url = server.url.clone();
    let large = sixty_megabytes(8);
    std::fs::write(desk.path().join("large"), &large).unwrap();
    let program = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args(["--server", &url]).current_dir(desk.path()).stderr(Stdio::piped());
        command
    };
    assert!(program(&["put", "large"]).output().unwrap().status.success());

    // Whoever gets reads 10 MB; then the server is another process; then the rest is read.
    for replaced in [false, true] {
        let mut get = program(&["get", "large", "-o", "-"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut out = get.stdout.take().unwrap();
        let mut got = vec![0; 10_000_000];
        out.read_exact(&mut got).unwrap();
        server.signal("-KILL");
        server.child.wait().unwrap();
        server = start_again(&url, store.path());
        if replaced {
            std::fs::write(desk.path().join("large"), sixty_megabytes(9)).unwrap();
            assert!(program(&["put", "large", "--replace"]).output().unwrap().status.success());
        }
        out.read_to_end(&mut got).unwrap();
        let output = get.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        if replaced {
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(said.contains("images/large was replaced while it came: get it again"), "{said}");
            assert!(got.len() < large.len() && got == large[..got.len()]);
        } else {
            assert!(output.status.success(), "{said}");
            assert!(got == large, "{} bytes", got.len());
        }
    }
}

/// Kills the server when 20 MB have gone.
struct Killer {
    server: Mutex<Process>,
    sent: AtomicUsize,
    restarts: AtomicUsize,
}

impl Killer {
    fn of(server: Process) -> Arc<Self> {
        Arc::new(Self { server: Mutex::new(server), sent: AtomicUsize::new(0), restarts: AtomicUsize::new(0) })
    }
}

impl Progress for Killer {
    fn total(&self, _: u64) {}

    fn advance(&self, bytes: u64) {
        let before = self.sent.fetch_add(bytes as usize, Ordering::SeqCst);
        if before < 20_000_000 && before + bytes as usize >= 20_000_000 {
            self.server.lock().unwrap().signal("-KILL");
        }
    }

    fn restart(&self) {
        self.restarts.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test]
async fn an_upload_is_made_again_only_when_its_source_can_be_read_again() {
    let large = sixty_megabytes(10);
    let store = tempfile::tempdir().unwrap();
    let well = Process::start(store.path());
    for replayable in [true, false] {
        let doomed_store = tempfile::tempdir().unwrap();
        let doomed = Process::start(doomed_store.path());
        let client = client(&[&doomed.url, &well.url]);
        let killer = Killer::of(doomed);
        let spec = UploadSpec { image_id: format!("large-{replayable}"), ..Default::default() };
        if replayable {
            let uploaded: Uploaded = client.upload_file(spec, file(&large).path(), Arc::clone(&killer)).await.unwrap();
            assert!(uploaded.created);
            assert_eq!(killer.restarts.load(Ordering::SeqCst), 1);
            let back = client.download("images/large-true", ..).await.unwrap();
            assert!(back.try_collect::<Vec<_>>().await.unwrap().concat() == large);
        } else {
            let error =
                client.upload(spec, std::io::Cursor::new(large.clone()), Arc::clone(&killer)).await.unwrap_err();
            assert_eq!(error.code(), Code::Unavailable, "{error}");
            assert!(error.to_string().contains("broke"), "{error}");
            assert_eq!(killer.restarts.load(Ordering::SeqCst), 0);
            let error = client.get("images/large-false").await.unwrap_err();
            assert_eq!(error.code(), Code::NotFound);
        }
    }
}

/// A server that answers every call with this status, after so many of them with success; and what it was sent.
struct Refusing {
    url: String,
    calls: Arc<Mutex<Vec<(String, Bytes)>>>,
}

impl Refusing {
    /// Every call past the first `refused` is answered with an image.
    async fn start(code: Code, retry_after: Option<i64>, refused: usize) -> Self {
        let calls: Arc<Mutex<Vec<(String, Bytes)>>> = Arc::default();
        let seen = Arc::clone(&calls);
        let answer = move |request: axum::extract::Request| {
            let seen = Arc::clone(&seen);
            async move {
                let method = request.uri().path().rsplit('/').next().unwrap().to_owned();
                let body = request.into_body().collect().await.map(|body| body.to_bytes()).unwrap_or_default();
                let made = {
                    let mut seen = seen.lock().unwrap();
                    seen.push((method, body));
                    seen.len()
                };
                let mut response = axum::response::Response::builder().header("content-type", "application/grpc");
                if made > refused {
                    let image = Image { name: "images/a".into(), ..Default::default() };
                    let trailers = http::HeaderMap::from_iter([(
                        http::HeaderName::from_static("grpc-status"),
                        http::HeaderValue::from_static("0"),
                    )]);
                    let body = http_body_util::Full::new(framed(&GetImageResponse { image: Some(image) }))
                        .with_trailers(std::future::ready(Some(Ok(trailers))));
                    return response.body(axum::body::Body::new(body)).unwrap();
                }
                if let Some(seconds) = retry_after {
                    let delay = Some(pbjson_types::Duration { seconds, nanos: 0 });
                    let details = vec![Any::pack("google.rpc.RetryInfo", &rpc::RetryInfo { retry_delay: delay })];
                    let status = rpc::Status { code: code as i32, message: String::new(), details };
                    let status = base64::engine::general_purpose::STANDARD_NO_PAD.encode(status.encode_to_vec());
                    response = response.header("grpc-status-details-bin", status);
                }
                response.header("grpc-status", code as i32).body(axum::body::Body::empty()).unwrap()
            }
        };
        let addr = listen(axum::Router::new().fallback(answer)).await;
        Self { url: format!("http://{addr}"), calls }
    }

    fn calls(&self) -> usize {
        self.calls.lock().unwrap().len()
    }
}

fn framed(message: &impl Message) -> Bytes {
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.encoded_len()).unwrap());
    message.encode(&mut frame).unwrap();
    frame.freeze()
}

#[tokio::test]
async fn what_passes_is_tried_three_times_and_what_does_not_once() {
    for (code, retry_after, calls) in [
        (Code::Unavailable, None, 3),
        (Code::DeadlineExceeded, None, 3),
        (Code::Unavailable, Some(0), 3),
        // Longer than anybody waits here.
        (Code::Unavailable, Some(3600), 1),
        (Code::NotFound, None, 1),
        (Code::ResourceExhausted, None, 1),
        (Code::Internal, None, 1),
        (Code::Aborted, None, 1),
    ] {
        let server = Refusing::start(code, retry_after, usize::MAX).await;
        let error = client(&[&server.url]).get("images/a").await.unwrap_err();
        assert_eq!((error.code(), server.calls()), (code, calls), "{retry_after:?}: {error}");
    }

    // The second attempt is answered.
    let server = Refusing::start(Code::Unavailable, None, 1).await;
    assert_eq!(client(&[&server.url]).get("images/a").await.unwrap().name, "images/a");
    assert_eq!(server.calls(), 2);

    // The pause that is named would outlast the caller's time.
    let server = Refusing::start(Code::Unavailable, Some(30), usize::MAX).await;
    let hasty = ClientOptions {
        servers: server.url.parse().unwrap(),
        timeout: Some(Duration::from_secs(20)),
        ..Default::default()
    };
    assert_eq!(Client::new(hasty).get("images/a").await.unwrap_err().retry_after(), Some(Duration::from_secs(30)));
    assert_eq!(server.calls(), 1);
}

#[tokio::test]
async fn a_change_is_sent_again_under_its_request_id() {
    let server = Refusing::start(Code::Unavailable, None, usize::MAX).await;
    let client = client(&[&server.url]);
    client.delete("images/a", "", false).await.unwrap_err();
    let requests: Vec<DeleteImageRequest> = std::mem::take(&mut *server.calls.lock().unwrap())
        .into_iter()
        .map(|(method, mut body)| {
            assert_eq!(method, "DeleteImage");
            body.advance(5);
            DeleteImageRequest::decode(body).unwrap()
        })
        .collect();
    assert_eq!(requests.len(), 3);
    assert!(!requests[0].request_id.is_empty());
    assert!(requests.iter().all(|request| request.request_id == requests[0].request_id), "{requests:?}");

    let spec = || UploadSpec { image_id: "a".into(), ..Default::default() };
    let refused = |outcome: Result<Uploaded, Error>| assert_eq!(outcome.unwrap_err().code(), Code::Unavailable);
    let content = photo("photo.jpg");
    refused(client.upload(spec(), std::io::Cursor::new(content.clone()), ()).await);
    assert_eq!(server.calls(), 1);
    refused(client.upload_file(spec(), file(&content).path(), ()).await);
    assert_eq!(server.calls(), 4);
}

/// 127.0.0.1 and its neighbours under one name, in a mount namespace of its own.
#[test]
fn a_name_with_several_addresses_is_several_servers() {
    let stores: Vec<TempDir> = (0..2).map(|_| tempfile::tempdir().unwrap()).collect();
    let logs: Vec<_> = (0..2).map(|_| tempfile::NamedTempFile::new().unwrap()).collect();
    let mut port = "0".to_owned();
    let mut servers = Vec::new();
    for ((store, log), address) in stores.iter().zip(&logs).zip(["127.0.0.1", "127.0.0.2"]) {
        let mut arguments = serve(store.path());
        arguments[2] = format!("{address}:{port}");
        let mut command = Command::new(PROGRAM);
        command.args(arguments).env("WIREPHOTO_LOG", "info").stderr(log.reopen().unwrap());
        let server = Process::spawn_telling(&mut command);
        port = server.url.rsplit(':').next().unwrap().to_owned();
        servers.push(server);
    }
    // Nobody is at the third address.
    let hosts = file(b"127.0.0.1 localhost\n127.0.0.2 localhost\n127.0.0.3 localhost\n");
    let names: Vec<String> = (0..30).map(|number| format!("image-{number}")).collect();
    let script = format!("mount --bind {} /etc/hosts && exec \"$0\" \"$@\"", hosts.path().display());
    let output = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "sh", "-c", &script, PROGRAM, "rm", "--allow-missing"])
        .args(&names)
        .args(["--server", &format!("http://localhost:{port}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    drop(servers);
    let calls = logs.iter().map(|log| {
        let text = std::fs::read_to_string(log.path()).unwrap();
        text.lines().filter(|line| line.contains("DeleteImage")).count()
    });
    let calls: Vec<usize> = calls.collect();
    println!("calls: {calls:?}");
    assert_eq!(calls.iter().sum::<usize>(), names.len());
    assert!(calls.iter().all(|calls| (12..=18).contains(calls)), "{calls:?}");
}

#[tokio::test]
async fn many_transfers_run_so_many_at_once_and_no_more() {
    let (running, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let barrier = Arc::new(Barrier::new(3));
    let (seen, highest) = (Arc::clone(&running), Arc::clone(&most));
    let answer = move |_: axum::extract::Request| {
        let (running, most, barrier) = (Arc::clone(&seen), Arc::clone(&highest), Arc::clone(&barrier));
        async move {
            most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            // Nobody goes on before three are here.
            barrier.wait().await;
            running.fetch_sub(1, Ordering::SeqCst);
            let response = axum::response::Response::builder().header("content-type", "application/grpc");
            response.header("grpc-status", "5").header("grpc-message", "gone").body(axum::body::Body::empty()).unwrap()
        }
    };
    let addr = listen(axum::Router::new().fallback(answer)).await;
    let desk = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..12).map(|number| format!("image-{number}")).collect();
    for name in &names {
        std::fs::write(desk.path().join(name), photo("photo.jpg")).unwrap();
    }
    for arguments in [&["get", "--jobs", "3", "-o", "."], &["put", "-j3", "--timeout", "1m", "--replace"]] {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args(&names).args(["--server", &format!("http://{addr}")]).current_dir(desk.path());
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        // Each is told of, in their order.
        let told: Vec<&str> = said.lines().map(|line| line.split(": ").nth(1).unwrap()).collect();
        assert_eq!(told, names, "{said}");
        assert_eq!(most.load(Ordering::SeqCst), 3);
    }
}

#[tokio::test]
async fn several_images_are_got_into_a_folder() {
    let store = tempfile::tempdir().unwrap();
    let server = Process::start(store.path());
    let desk = tempfile::tempdir().unwrap();
    let client = client(&[&server.url]);
    for name in ["photo.jpg", "orientation-3.jpg"] {
        put(&client, name, "", &photo(name)).await;
    }
    let program = |arguments: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.args(arguments).args(["--server", &server.url]).current_dir(desk.path());
        command.output().unwrap()
    };
    std::fs::create_dir(desk.path().join("folder")).unwrap();
    let output = program(&["get", "photo.jpg", "missing.jpg", "images/orientation-3.jpg", "-o", "folder"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.starts_with("wirephoto: missing.jpg: ") && said.lines().count() == 1, "{said}");
    for name in ["photo.jpg", "orientation-3.jpg"] {
        assert!(std::fs::read(desk.path().join("folder").join(name)).unwrap() == photo(name));
    }
    assert!(program(&["get", "photo.jpg", "orientation-3.jpg"]).status.success());
    assert_eq!(std::fs::read_dir(desk.path()).unwrap().count(), 3);
}
