//! Anonymous memory of the server while five uploads and five downloads of 60 MB run at once, over gRPC and `/i`.
//!
//! `cargo bench --bench memory` prints the growth over the idle server, and fails above the bound.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use wirephoto::proto::wirephoto::v1 as pb;
use wirephoto::proto::wirephoto::v1::image_service_client::ImageServiceClient;

#[path = "../tests/it/photo.rs"]
#[allow(dead_code)]
mod photo;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// What the server's memory may grow by, in bytes.
const BOUND: u64 = 32 << 20;
const ROUNDS: usize = 3;
const AT_ONCE: usize = 5;

struct Server {
    child: Child,
    url: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(store: &str) -> Outcome<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_wirephoto"))
            .args(["serve", "--listen", "127.0.0.1:0", "--store", store])
            .env("WIREPHOTO_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().ok_or("no stdout")?).read_line(&mut line)?;
        let url = line.trim().strip_prefix("wirephoto listening on ").ok_or("the server did not start")?.to_owned();
        Ok(Self { child, url })
    }
}

/// Bytes of anonymous memory, by the kernel's own account.
fn anonymous(pid: u32) -> Outcome<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = rollup.lines().find(|line| line.starts_with("Anonymous:")).ok_or("no line Anonymous")?;
    let kib: u64 = line.split_whitespace().nth(1).ok_or("no figure")?.parse()?;
    Ok(kib << 10)
}

async fn put(url: String, id: String, bytes: Bytes) -> Outcome<()> {
    let answer = reqwest::Client::new().put(format!("{url}/i/{id}")).body(bytes).send().await?;
    Ok(answer.error_for_status().map(drop)?)
}

async fn upload(url: String, id: String, bytes: Bytes) -> Outcome<()> {
    let spec = pb::UploadSpec { image_id: id, allow_replace: true, ..Default::default() };
    let first = pb::UploadImageRequest { spec: Some(spec), ..Default::default() };
    let len = bytes.len();
    let chunks = (0..len).step_by(1 << 20).map(move |start| {
        let chunk = pb::ChecksummedData { data: bytes.slice(start..len.min(start + (1 << 20))), crc32c: None };
        pb::UploadImageRequest { write_offset: start as i64, chunk: Some(chunk), ..Default::default() }
    });
    let last = pb::UploadImageRequest { write_offset: len as i64, finish_write: true, ..Default::default() };
    let messages =
        futures::stream::iter([first]).chain(futures::stream::iter(chunks)).chain(futures::stream::iter([last]));
    ImageServiceClient::connect(url).await?.upload_image(messages).await?;
    Ok(())
}

async fn get(url: String, id: String) -> Outcome<usize> {
    let mut pieces = reqwest::get(format!("{url}/i/{id}")).await?.error_for_status()?.bytes_stream();
    let mut len = 0;
    while let Some(piece) = pieces.next().await {
        len += piece?.len();
    }
    Ok(len)
}

async fn download(url: String, id: String) -> Outcome<usize> {
    let mut client = ImageServiceClient::connect(url).await?;
    let request = pb::DownloadImageRequest { name: format!("images/{id}"), ..Default::default() };
    let mut parts = client.download_image(request).await?.into_inner();
    let mut len = 0;
    while let Some(part) = parts.message().await? {
        len += part.chunk.map_or(0, |chunk| chunk.data.len());
    }
    Ok(len)
}

async fn measure() -> Outcome<bool> {
    let images: Vec<Bytes> = (0..AT_ONCE as u32).map(photo::sixty_megabytes).collect();
    let dir = tempfile::tempdir()?;
    let server = Server::start(&format!("file:{}", dir.path().display()))?;
    let pid = server.child.id();
    let idle = anonymous(pid)?;
    for (number, image) in images.iter().enumerate() {
        put(server.url.clone(), format!("down-{number}"), image.clone()).await?;
    }

    let peak = Arc::new(AtomicU64::new(0));
    let watch = tokio::spawn({
        let peak = Arc::clone(&peak);
        async move {
            while let Ok(now) = anonymous(pid) {
                peak.fetch_max(now, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    });
    for round in 1..=ROUNDS {
        let uploads = images.iter().enumerate().map(|(number, image)| {
            let (url, id, image) = (server.url.clone(), format!("up-{number}"), image.clone());
            tokio::spawn(async move {
                if number % 2 == 0 { upload(url, id, image).await } else { put(url, id, image).await }
            })
        });
        let downloads = images.iter().enumerate().map(|(number, image)| {
            let (url, id, len) = (server.url.clone(), format!("down-{number}"), image.len());
            tokio::spawn(async move {
                let got = if number % 2 == 0 { download(url, id).await? } else { get(url, id).await? };
                if got == len { Ok(()) } else { Err(format!("{got} bytes of {len}").into()) }
            })
        });
        for outcome in join_all(uploads.chain(downloads).collect::<Vec<_>>()).await {
            outcome??;
        }
        let growth = peak.load(Ordering::Relaxed).saturating_sub(idle);
        println!("round {round}: {AT_ONCE} uploads and {AT_ONCE} downloads of 60 MB, growth so far {growth} bytes");
    }
    watch.abort();
    let growth = peak.load(Ordering::Relaxed).saturating_sub(idle);
    println!("idle {idle} bytes, growth {growth} bytes ({:.1} MB), bound {BOUND} bytes", growth as f64 / 1e6);
    Ok(growth < BOUND)
}

fn main() -> Outcome<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    Ok(if runtime.block_on(measure())? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
