//! What is sent to exhaust the server: bombs, floods and streams that are never finished. A process of its own takes it,
//! whose memory is read from the kernel.

use std::net::SocketAddr;
use std::time::Duration;

use async_compression::tokio::bufread::{GzipEncoder, ZstdEncoder};
use bytes::Bytes;
use futures::future::join_all;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wirephoto::wire::envelope::envelope;

use crate::frames::{GRPC, TEXT, WEB, call};
use crate::harness::files;
use crate::http2::{PREFACE, frame, get_headers};
use crate::photo::sixty_megabytes;
use crate::process::Process;

/// Nothing of what is sent may make the server grow by more, in KiB.
const MOST: u64 = 64 << 10;
const PATIENCE: Duration = Duration::from_secs(60);

struct Watched {
    process: Process,
    addr: SocketAddr,
    store: tempfile::TempDir,
}

impl Watched {
    fn start() -> Self {
        let store = tempfile::tempdir().unwrap();
        let process = Process::start(store.path());
        let addr = process.url.strip_prefix("http://").unwrap().parse().unwrap();
        Self { process, addr, store }
    }

    /// KiB of memory by this name in the kernel's account of the process.
    fn memory(&self, name: &str) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// Runs it once for what stays in use, then again, and gives by how many KiB the peak is over what was in use.
    async fn growth<F: Future<Output = ()>>(&self, run: impl Fn() -> F) -> u64 {
        run().await;
        // "Resets the peak resident set size": proc_pid_clear_refs(5).
        std::fs::write(format!("/proc/{}/clear_refs", self.process.child.id()), "5").unwrap();
        let before = self.memory("VmRSS");
        run().await;
        self.memory("VmHWM").saturating_sub(before)
    }

    async fn serves(&self) {
        assert_eq!(reqwest::get(format!("{}/livez", self.process.url)).await.unwrap().status(), 200);
    }
}

#[tokio::test]
async fn bombs_are_refused_before_they_go_off() {
    let server = Watched::start();
    // 256 MiB of zeros, and of spaces for JSON.
    let mut packed = Vec::new();
    for byte in [0_u8, b' '] {
        let bomb = vec![byte; 256 << 20];
        let (mut gzip, mut zstd) = (Vec::new(), Vec::new());
        GzipEncoder::new(&bomb[..]).read_to_end(&mut gzip).await.unwrap();
        ZstdEncoder::new(&bomb[..]).read_to_end(&mut zstd).await.unwrap();
        packed.push([("gzip", Bytes::from(gzip)), ("zstd", Bytes::from(zstd))]);
    }
    let [zeros, spaces] = [&packed[0], &packed[1]];
    let http = reqwest::Client::new();
    let all = || async {
        for (encoding, bomb) in zeros {
            for wire in [GRPC, WEB, TEXT] {
                for name in ["GetImage", "UploadImage"] {
                    let path = format!("/wirephoto.v1.ImageService/{name}");
                    let headers = [("grpc-encoding", *encoding)];
                    let (code, message) =
                        call(server.addr, &path, wire, &headers, envelope(1, bomb).to_vec()).await.status();
                    assert_eq!(code, 8, "{wire} {encoding} {name}: {message}");
                }
            }
        }
        for (coding, bomb) in zeros {
            let request = http.post(format!("{}/wirephoto.v1.ImageService/GetImage", server.process.url));
            let request = request.header("content-type", "application/proto").header("content-encoding", *coding);
            let answer = request.header("connect-protocol-version", "1").body(bomb.clone()).send().await.unwrap();
            assert_eq!(answer.status(), 429, "{coding}");
            assert!(answer.text().await.unwrap().contains("resource_exhausted"), "{coding}");
        }
        for (coding, bomb) in spaces {
            let request = http.post(format!("{}/v1/images", server.process.url)).body(bomb.clone());
            let request = request.header("content-type", "application/json").header("content-encoding", *coding);
            assert_eq!(request.send().await.unwrap().status(), 413, "{coding}");
        }
    };
    let growth = server.growth(all).await;
    println!("bombs of 256 MiB: {growth} KiB");
    assert!(growth < MOST, "{growth} KiB");
    server.serves().await;
}

/// Sends this until the server closes the connection, or `count` times.
async fn send(addr: SocketAddr, first: Vec<u8>, count: u32, then: impl Fn(u32) -> Vec<u8>) {
    let mut socket = TcpStream::connect(addr).await.unwrap();
    socket.write_all(&[PREFACE, &frame(4, 0, 0, &[]), &first].concat()).await.unwrap();
    let (mut reader, mut writer) = socket.into_split();
    let drain = tokio::spawn(async move { while matches!(reader.read(&mut [0; 4096]).await, Ok(1..)) {} });
    for number in 0..count {
        if writer.write_all(&then(number)).await.is_err() {
            break;
        }
    }
    drain.abort();
}

#[tokio::test]
async fn floods_take_no_memory() {
    let server = Watched::start();
    let reset = |number: u32| {
        let stream = 2 * number + 1;
        [frame(1, 5, stream, &get_headers()), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    };
    // 10 KB of header fields in each frame, for ever.
    let field = [&[0x40, 1, b'a', 100][..], &[b'b'; 100]].concat().repeat(100);
    let all = || async {
        let (mut resets, mut fields, mut pings) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..8 {
            resets.push(send(server.addr, Vec::new(), 100_000, reset));
            let open = frame(1, 0, 1, &get_headers());
            fields.push(send(server.addr, open, 100_000, |_| frame(9, 0, 1, &field)));
            pings.push(send(server.addr, Vec::new(), 100_000, |_| frame(6, 0, 0, &[7; 8])));
        }
        let floods = async { (join_all(resets).await, join_all(fields).await, join_all(pings).await) };
        tokio::time::timeout(PATIENCE, floods).await.expect("all are closed");
    };
    let growth = server.growth(all).await;
    println!("rapid resets, CONTINUATION and pings: {growth} KiB");
    assert!(growth < MOST, "{growth} KiB");
    server.serves().await;
}

/// Uploads that are begun and never go on: little each, and nothing once their connection is gone.
#[tokio::test]
async fn streams_left_half_open_are_cheap_and_leave_nothing() {
    let server = Watched::start();
    let blobs = server.store.path().join("blobs");
    let large = sixty_megabytes(5);
    let all = || async {
        let mut connections = Vec::new();
        for connection in 0..4 {
            let socket = TcpStream::connect(server.addr).await.unwrap();
            let (client, driver) = h2::client::handshake(socket).await.unwrap();
            let driver = tokio::spawn(driver);
            let mut client = client.ready().await.unwrap();
            let mut streams = Vec::new();
            for number in 0..200 {
                let path = format!("http://localhost/i/half-{connection}-{number}");
                let (answer, mut stream) = client.send_request(Request::put(path).body(()).unwrap(), false).unwrap();
                // Some have written to the store.
                let sent = if number == 0 { 3 << 20 } else { 1000 };
                stream.send_data(large.slice(..sent), false).unwrap();
                streams.push((answer, stream));
                client = client.ready().await.unwrap();
            }
            connections.push((client, streams, driver));
        }
        // Half of an HTTP/1.1 request as well.
        let mut halves = Vec::new();
        for _ in 0..100 {
            let mut socket = TcpStream::connect(server.addr).await.unwrap();
            socket
                .write_all(b"PUT /i/half HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000\r\n\r\nGIF89a")
                .await
                .unwrap();
            halves.push(socket);
        }
        let begun = async {
            while files(&blobs).len() < 4 {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        tokio::time::timeout(PATIENCE, begun).await.expect("all are begun");
        server.serves().await;
        for (_, _, driver) in connections {
            driver.abort();
        }
        let cleared = async {
            while !files(&blobs).is_empty() {
                tokio::time::sleep(Duration::from_millis(25)).await;
            }
        };
        tokio::time::timeout(PATIENCE, cleared).await.expect("nothing is left of them");
    };
    let growth = server.growth(all).await;
    println!("900 half-open streams: {growth} KiB");
    assert!(growth < MOST, "{growth} KiB");
    server.serves().await;
}
