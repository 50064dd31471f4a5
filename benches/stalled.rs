//! A unary call beside downloads that nobody reads, on one HTTP/2 connection: how much slower is it than alone?
//!
//! `cargo bench --bench stalled` prints p50 and p99 beside 4, 8 and 50 such streams, and their ratio to the same call on a
//! connection that is quiet. Quiet and beside take turns, so that both see the same machine. Fails where p99 is more than
//! twice as long.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use tonic::transport::{Channel, Endpoint};
use wirephoto::proto::wirephoto::v1::image_service_client::ImageServiceClient;
use wirephoto::proto::wirephoto::v1::{DownloadImageRequest, DownloadImageResponse, GetImageRequest};

#[path = "../tests/it/photo.rs"]
#[allow(dead_code)]
mod photo;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// How many times p99 may be the quiet one.
const BOUND: f64 = 2.0;
const STREAMS: [usize; 3] = [4, 8, 50];
const TURNS: usize = 20;
const CALLS_A_TURN: usize = 200;
/// Windows of a stream and of the connection: tonic's own, and large ones.
const WINDOWS: [(u32, u32); 2] = [(2 << 20, 5 << 20), (16 << 20, 64 << 20)];

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

    async fn connect(&self, (stream, connection): (u32, u32)) -> Outcome<ImageServiceClient<Channel>> {
        let endpoint = Endpoint::from_shared(self.url.clone())?
            .initial_stream_window_size(stream)
            .initial_connection_window_size(connection);
        Ok(ImageServiceClient::new(endpoint.connect().await?))
    }
}

/// How long calls took, sorted.
struct Times(Vec<Duration>);

impl Times {
    fn at(&self, part: f64) -> Duration {
        let last = self.0.len().saturating_sub(1);
        self.0.get((last as f64 * part).round() as usize).copied().unwrap_or_default()
    }

    fn sorted(mut self) -> Self {
        self.0.sort();
        self
    }
}

async fn calls(client: &mut ImageServiceClient<Channel>, times: &mut Times) -> Outcome<()> {
    for _ in 0..CALLS_A_TURN {
        let start = Instant::now();
        client.get_image(GetImageRequest { name: "images/small".into() }).await?;
        times.0.push(start.elapsed());
    }
    Ok(())
}

async fn unread(
    client: &mut ImageServiceClient<Channel>,
    count: usize,
) -> Outcome<Vec<tonic::Streaming<DownloadImageResponse>>> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let request = DownloadImageRequest { name: "images/large".into(), ..Default::default() };
        streams.push(client.download_image(request).await?.into_inner());
    }
    Ok(streams)
}

async fn measure() -> Outcome<bool> {
    let dir = tempfile::tempdir()?;
    let server = Server::start(&format!("file:{}", dir.path().display()))?;
    let http = reqwest::Client::new();
    for (id, bytes) in [("large", photo::sixty_megabytes(0)), ("small", photo::photo("photo.jpg").into())] {
        http.put(format!("{}/i/{id}", server.url)).body(bytes).send().await?.error_for_status()?;
    }
    let mut fine = true;
    for windows in WINDOWS {
        for count in STREAMS {
            let mut quiet = server.connect(windows).await?;
            let mut busy = server.connect(windows).await?;
            let streams = unread(&mut busy, count).await?;
            let (mut alone, mut beside) = (Times(Vec::new()), Times(Vec::new()));
            // What the first calls take is no one's measure.
            calls(&mut quiet, &mut Times(Vec::new())).await?;
            calls(&mut busy, &mut Times(Vec::new())).await?;
            for _ in 0..TURNS {
                calls(&mut quiet, &mut alone).await?;
                calls(&mut busy, &mut beside).await?;
            }
            drop(streams);
            let (alone, beside) = (alone.sorted(), beside.sorted());
            let ratio = beside.at(0.99).as_secs_f64() / alone.at(0.99).as_secs_f64();
            println!(
                "windows {} and {} KiB, {count} unread: p50 {:?} (quiet {:?}), p99 {:?} (quiet {:?}), ratio {ratio:.2}",
                windows.0 >> 10,
                windows.1 >> 10,
                beside.at(0.5),
                alone.at(0.5),
                beside.at(0.99),
                alone.at(0.99),
            );
            fine &= ratio <= BOUND;
        }
    }
    println!("bound of the ratio: {BOUND}");
    Ok(fine)
}

fn main() -> Outcome<ExitCode> {
    let runtime = tokio::runtime::Runtime::new()?;
    Ok(if runtime.block_on(measure())? { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
