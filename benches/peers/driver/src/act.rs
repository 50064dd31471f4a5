//! What is done to a running server, and what it cost.

use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use crate::conn::{Conn, Sink, Target};
use crate::h2::{Downloads, Settings, Uploads, upload_frames};
use crate::relay::Relay;
use crate::server::{Places, Running};
use crate::{h1, os, stats, wire};

/// Bytes of a frame that our client takes: a message of 1 MiB and its head.
pub const OUR_FRAME: u32 = (1 << 20) + (1 << 10);
/// Our client's own settings, with a stream window of 16 MiB.
const OURS: Settings = Settings::frames(OUR_FRAME);
const SLOW: usize = 50;
const GRPC_WEB: &str = "application/grpc-web+proto";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// `GET /i`, one connection kept.
    Http1,
    /// Five at once, a new connection each: the makespan.
    Burst,
    /// A gRPC stream, one connection kept, frames of so many bytes.
    Grpc(u32),
    /// `wirephoto get -o /dev/null`.
    Get,
    /// A gRPC-Web stream over HTTP/1.1, one connection kept.
    Web,
    /// Small images by h2load: 6 connections x 16 streams.
    SmallGrpc,
    /// Small images by wrk over so many connections kept.
    SmallHttp1(u32),
    UploadGrpc,
    UploadPut,
    /// Anonymous memory for each of 50 slow readers.
    SlowHttp1,
    SlowGrpc,
    SlowWeb,
    /// One transfer on a new connection through the relay.
    FarHttp1,
    FarGrpc,
    FarGet,
}

/// One measurement.
#[derive(Debug, Clone, Copy)]
pub struct Sample {
    /// Bytes or requests a second; seconds; or bytes: as the row says.
    pub figure: f64,
    /// CPU seconds of the server for each GB of image bytes.
    pub server_cpu: Option<f64>,
    /// The same of the client.
    pub client_cpu: Option<f64>,
    /// Anonymous memory of the server afterwards, in bytes.
    pub anonymous: u64,
    /// Share of the machine that neither server nor client used; not a number where it cannot be told.
    pub foreign: f64,
}

pub struct Image {
    pub id: String,
    pub bytes: Vec<u8>,
    pub sha256: Vec<u8>,
}

impl Image {
    pub fn new(id: String, bytes: Vec<u8>) -> Self {
        let sha256 = Sha256::digest(&bytes).to_vec();
        Self { id, bytes, sha256 }
    }

    fn path(&self) -> String {
        format!("/i/{}", self.id)
    }
}

pub struct Bench {
    pub places: Places,
    pub large: Vec<Image>,
    pub small: Image,
    /// The bodies of uploads as DATA frames, one for each large image.
    pub uploads: Vec<Vec<u8>>,
    pub seconds: f64,
    pub rtt: Duration,
    pub roots: Option<std::sync::Arc<rustls::RootCertStore>>,
}

pub fn frames_of_uploads(large: &[Image]) -> Vec<Vec<u8>> {
    large.iter().map(|image| upload_frames(&wire::upload("upload", &image.bytes))).collect()
}

/// One connection that fetches images over one wire.
enum Fetch {
    Http1(Conn),
    Web(Conn),
    Grpc(Downloads),
}

impl Fetch {
    fn open(act: Act, target: &Target) -> Result<Self> {
        Ok(match act {
            Act::Web | Act::SlowWeb => Self::Web(target.connect("http/1.1")?),
            Act::Grpc(frame) => Self::Grpc(Downloads::open(target, Settings::frames(frame))?),
            Act::SmallGrpc => Self::Grpc(Downloads::open(target, Settings::frames(16 << 10))?),
            Act::SlowGrpc | Act::FarGrpc => Self::Grpc(Downloads::open(target, OURS)?),
            _ => Self::Http1(target.connect("http/1.1")?),
        })
    }

    fn get(&mut self, image: &Image, sink: Sink<'_>) -> Result<u64> {
        match self {
            Self::Http1(conn) => h1::exchange(conn, &[&h1::get(&image.path())], sink),
            Self::Web(conn) => {
                let message = wire::download(&image.id);
                h1::exchange(conn, &[&h1::head("POST", wire::DOWNLOAD, GRPC_WEB, message.len()), &message], sink)
            }
            Self::Grpc(downloads) => downloads.exchange(wire::DOWNLOAD, &wire::download(&image.id), sink),
        }
    }

    /// Counts one image's bytes; the body must hold them and little else.
    fn count(&mut self, image: &Image) -> Result<u64> {
        let size = image.bytes.len() as u64;
        let counted = self.get(image, &mut |_| {})?;
        let most = if matches!(self, Self::Http1(_)) { size } else { size + size / 100 + 4096 };
        if counted < size || counted > most {
            bail!("{counted} bytes came for an image of {size}");
        }
        Ok(size)
    }

    /// Sends the request and reads nothing.
    fn begin(&mut self, image: &Image) -> Result<()> {
        match self {
            Self::Http1(conn) => conn.write_all(&h1::get(&image.path())),
            Self::Web(conn) => {
                let message = wire::download(&image.id);
                conn.write_all(&h1::head("POST", wire::DOWNLOAD, GRPC_WEB, message.len()))?;
                conn.write_all(&message)
            }
            Self::Grpc(downloads) => downloads.begin(wire::DOWNLOAD, &wire::download(&image.id)).map(|_| ()),
        }
    }

    fn sip(&mut self, bytes: usize) -> Result<usize> {
        match self {
            Self::Http1(conn) | Self::Web(conn) => conn.sip(bytes),
            Self::Grpc(downloads) => downloads.sip(bytes),
        }
    }
}

impl Bench {
    fn target(&self, port: u16) -> Target {
        Target { port, tls: self.roots.clone(), receive_buffer: None }
    }

    /// The run in which every byte is looked at: digests of all images over the act's wire.
    pub fn check(&self, act: Act, running: &Running) -> Result<()> {
        let target = self.target(running.port);
        match act {
            Act::UploadGrpc | Act::UploadPut => {
                for (index, image) in self.large.iter().enumerate() {
                    self.upload(act, &target, &mut self.uploads.clone(), index, &mut None)?;
                    if running.keeps_uploads() {
                        let mut body = Vec::new();
                        let mut conn = target.connect("http/1.1")?;
                        h1::exchange(&mut conn, &[&h1::get("/i/upload")], &mut |bytes| body.extend(bytes))?;
                        same(image, &body)?;
                    }
                }
                return Ok(());
            }
            Act::Get | Act::FarGet => {
                let image = &self.large[0];
                let output = self.get_command(running.port, &image.id, "-").output()?;
                if !output.status.success() {
                    bail!("wirephoto get: {}", String::from_utf8_lossy(&output.stderr).trim());
                }
                return same(image, &output.stdout);
            }
            _ => {}
        }
        let mut fetch = Fetch::open(act, &target)?;
        let images: Vec<&Image> = match act {
            Act::SmallGrpc | Act::SmallHttp1(_) => vec![&self.small],
            _ => self.large.iter().collect(),
        };
        for image in images {
            let mut body = Vec::with_capacity(image.bytes.len() * 101 / 100);
            fetch.get(image, &mut |bytes| body.extend(bytes))?;
            match &fetch {
                Fetch::Http1(_) => same(image, &body)?,
                _ => same(image, &wire::image(&body)?)?,
            }
        }
        Ok(())
    }

    pub fn measure(&self, act: Act, running: &Running) -> Result<Sample> {
        let target = self.target(running.port);
        match act {
            Act::Http1 | Act::Grpc(_) | Act::Web => {
                let mut fetch = Fetch::open(act, &target)?;
                for image in &self.large[..2] {
                    fetch.count(image)?;
                }
                let meter = Meter::start(running);
                let mut bytes = 0;
                for image in self.large.iter().cycle() {
                    bytes += fetch.count(image)?;
                    if meter.begin.elapsed().as_secs_f64() >= self.seconds {
                        break;
                    }
                }
                Ok(meter.stop(bytes, |seconds| bytes as f64 / seconds))
            }
            Act::Get => {
                let mut command = self.get_command(running.port, &self.large[0].id, "/dev/null");
                finish(&mut command)?;
                let meter = Meter::start(running);
                let mut bytes = 0;
                while meter.begin.elapsed().as_secs_f64() < self.seconds {
                    finish(&mut command)?;
                    bytes += self.large[0].bytes.len() as u64;
                }
                Ok(meter.stop(bytes, |seconds| bytes as f64 / seconds))
            }
            Act::Burst => {
                self.burst(&target)?;
                let meter = Meter::start(running);
                let (mut bytes, mut spans) = (0, Vec::new());
                while meter.begin.elapsed().as_secs_f64() < self.seconds * 1.5 {
                    let (count, span) = self.burst(&target)?;
                    bytes += count;
                    spans.push(span);
                }
                Ok(meter.stop(bytes, |seconds| stats::middle(&spans).unwrap_or(seconds)))
            }
            Act::UploadGrpc | Act::UploadPut => {
                let (mut frames, mut kept) = (self.uploads.clone(), None);
                for index in 0..2 {
                    self.upload(act, &target, &mut frames, index, &mut kept)?;
                }
                let meter = Meter::start(running);
                let mut bytes = 0;
                for index in (0..self.large.len()).cycle() {
                    bytes += self.upload(act, &target, &mut frames, index, &mut kept)?;
                    if meter.begin.elapsed().as_secs_f64() >= self.seconds {
                        break;
                    }
                }
                Ok(meter.stop(bytes, |seconds| bytes as f64 / seconds))
            }
            Act::SmallGrpc | Act::SmallHttp1(_) => self.small(act, running),
            Act::SlowHttp1 | Act::SlowGrpc | Act::SlowWeb => self.slow(act, running),
            Act::FarHttp1 | Act::FarGrpc | Act::FarGet => self.far(act, running),
        }
    }

    fn get_command(&self, port: u16, id: &str, output: &str) -> Command {
        let mut command = Command::new(&self.places.wirephoto);
        command.args(["get", id, "-o", output, "--server", &format!("http://127.0.0.1:{port}")]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Bytes, and seconds from the first connection to the last byte.
    fn burst(&self, target: &Target) -> Result<(u64, f64)> {
        let barrier = Barrier::new(6);
        std::thread::scope(|scope| {
            let fetches: Vec<_> = (0..5)
                .map(|index| {
                    let (barrier, image) = (&barrier, &self.large[index % self.large.len()]);
                    scope.spawn(move || {
                        barrier.wait();
                        Fetch::open(Act::Burst, target)?.count(image)
                    })
                })
                .collect();
            barrier.wait();
            let begin = Instant::now();
            let mut bytes = 0;
            for fetch in fetches {
                bytes += fetch.join().map_err(|_| anyhow::anyhow!("a client of the burst died"))??;
            }
            Ok((bytes, begin.elapsed().as_secs_f64()))
        })
    }

    fn upload(
        &self,
        act: Act,
        target: &Target,
        frames: &mut [Vec<u8>],
        index: usize,
        kept: &mut Option<Upload>,
    ) -> Result<u64> {
        let size = self.large[index].bytes.len() as u64;
        if kept.is_none() {
            *kept = Some(match act {
                Act::UploadPut => Upload::Put(target.connect("http/1.1")?),
                _ => Upload::Grpc(Uploads::open(target)?),
            });
        }
        match kept {
            Some(Upload::Put(conn)) => {
                let image = &self.large[index].bytes;
                let head = h1::head("PUT", "/i/upload", "image/bmp", image.len());
                h1::exchange(conn, &[&head, image], &mut |_| {})?;
            }
            Some(Upload::Grpc(uploads)) => {
                let taken = wire::uploaded(&uploads.exchange(wire::UPLOAD, &mut frames[index])?)?;
                if taken != size {
                    bail!("the server took {taken} of {size} bytes");
                }
            }
            None => {}
        }
        Ok(size)
    }

    fn small(&self, act: Act, running: &Running) -> Result<Sample> {
        // wrk takes a second at least: our own client warms the server.
        let mut fetch = Fetch::open(act, &self.target(running.port))?;
        for _ in 0..2000 {
            fetch.count(&self.small)?;
        }
        drop(fetch);
        let meter = Meter::start(running);
        let (requests, rate) = match act {
            Act::SmallHttp1(connections) => self.wrk(connections, running.port)?,
            _ => self.h2load(running.port)?,
        };
        Ok(meter.stop(requests * self.small.bytes.len() as u64, |_| rate))
    }

    /// Requests, and how many a second.
    fn wrk(&self, connections: u32, port: u16) -> Result<(u64, f64)> {
        let mut command = Command::new("wrk");
        command.args(["-t1", &format!("-c{connections}"), &format!("-d{}s", self.seconds.ceil())]);
        let text = finish(command.arg(format!("http://127.0.0.1:{port}{}", self.small.path())))?;
        if text.contains("Non-2xx") || text.contains("Socket errors") {
            bail!("wrk: {}", text.replace('\n', " "));
        }
        let requests = text.lines().find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok());
        let rate = after(&text, "Requests/sec:").and_then(|word| word.parse().ok());
        requests.zip(rate).with_context(|| format!("wrk said: {text}"))
    }

    /// The same over gRPC.
    fn h2load(&self, port: u16) -> Result<(u64, f64)> {
        let size = self.small.bytes.len() as u64;
        let request = self.places.work.join("request");
        std::fs::write(&request, wire::download(&self.small.id))?;
        let count = (self.seconds * 60_000.0) as u64 / 96 * 96;
        let mut command = Command::new("h2load");
        command.args(["-c6", "-m16", "-t1", &format!("-n{count}"), "-H", "content-type: application/grpc"]);
        command.args(["-H", "te: trailers", "-d"]).arg(&request);
        let text = finish(command.arg(format!("http://127.0.0.1:{port}{}", wire::DOWNLOAD)))?;
        let data = text.lines().find(|line| line.starts_with("traffic:")).and_then(|line| {
            let data = line.rsplit_once(" data")?.0.rsplit_once('(')?.1;
            data.trim_end_matches(')').parse::<u64>().ok()
        });
        let data = data.with_context(|| format!("h2load said: {text}"))?;
        if !text.contains(&format!("{count} succeeded")) || data < count * size || data > count * (size + 4096) {
            bail!("h2load: not all went well: {text}");
        }
        let rate = text
            .lines()
            .find(|line| line.starts_with("finished in"))
            .and_then(|line| line.split(", ").nth(1)?.trim_end_matches(" req/s").parse().ok());
        Ok((count, rate.with_context(|| format!("h2load said: {text}"))?))
    }

    fn slow(&self, act: Act, running: &Running) -> Result<Sample> {
        let mut target = self.target(running.port);
        // What every server sets up once is not any reader's.
        Fetch::open(act, &target)?.get(&self.small, &mut |_| {})?;
        target.receive_buffer = Some(64 << 10);
        let before = os::anonymous(running.pid());
        let meter = Meter::start(running);
        let mut readers = Vec::new();
        for index in 0..SLOW {
            let mut fetch = Fetch::open(act, &target)?;
            fetch.begin(&self.large[index % self.large.len()])?;
            readers.push(fetch);
        }
        let (mut peak, mut bytes) = (before, 0);
        while meter.begin.elapsed() < Duration::from_secs(3) {
            for reader in &mut readers {
                bytes += reader.sip(8 << 10)? as u64;
            }
            std::thread::sleep(Duration::from_millis(50));
            peak = peak.max(os::anonymous(running.pid()));
        }
        let mut sample = meter.stop(bytes, |_| (peak - before) as f64 / SLOW as f64);
        sample.anonymous = peak;
        (sample.server_cpu, sample.client_cpu) = (None, None);
        Ok(sample)
    }

    fn far(&self, act: Act, running: &Running) -> Result<Sample> {
        let relay = Relay::start(&self.places.wirephoto, running.port, self.rtt)?;
        let target = self.target(relay.port);
        let once = || -> Result<f64> {
            let begin = Instant::now();
            match act {
                Act::FarGet => {
                    finish(&mut self.get_command(relay.port, &self.large[0].id, "/dev/null"))?;
                }
                _ => {
                    Fetch::open(act, &target)?.count(&self.large[0])?;
                }
            }
            Ok(begin.elapsed().as_secs_f64())
        };
        once()?;
        let meter = Meter::start(running);
        let spans = (0..7).map(|_| once()).collect::<Result<Vec<_>>>()?;
        let bytes = self.large[0].bytes.len() as u64 * spans.len() as u64;
        let mut sample = meter.stop(bytes, |_| stats::middle(&spans).unwrap_or(f64::NAN));
        // The relay's work is neither the server's nor the client's, nor that of others.
        (sample.client_cpu, sample.foreign) = (None, f64::NAN);
        Ok(sample)
    }
}

enum Upload {
    Put(Conn),
    Grpc(Uploads),
}

fn after<'a>(text: &'a str, label: &str) -> Option<&'a str> {
    text.split_once(label)?.1.split_whitespace().next()
}

fn same(image: &Image, got: &[u8]) -> Result<()> {
    if Sha256::digest(got).as_slice() != image.sha256 {
        bail!("{}: {} bytes with another digest came", image.id, got.len());
    }
    Ok(())
}

fn finish(command: &mut Command) -> Result<String> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {name}"))?;
    if !output.status.success() {
        bail!("{name} failed: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

struct Meter<'a> {
    running: &'a Running,
    begin: Instant,
    server: Duration,
    client: Duration,
    machine: Duration,
}

impl<'a> Meter<'a> {
    fn start(running: &'a Running) -> Self {
        Self {
            running,
            server: os::cpu(running.pid()),
            client: os::own_cpu(),
            machine: os::machine(),
            begin: Instant::now(),
        }
    }

    fn stop(&self, bytes: u64, figure: impl FnOnce(f64) -> f64) -> Sample {
        let seconds = self.begin.elapsed().as_secs_f64();
        let server = os::cpu(self.running.pid()).saturating_sub(self.server).as_secs_f64();
        let client = os::own_cpu().saturating_sub(self.client).as_secs_f64();
        let machine = os::machine().saturating_sub(self.machine).as_secs_f64();
        let gigabytes = bytes as f64 / 1e9;
        Sample {
            figure: figure(seconds),
            server_cpu: (bytes > 0).then(|| server / gigabytes),
            client_cpu: (bytes > 0).then(|| client / gigabytes),
            anonymous: os::anonymous(self.running.pid()),
            foreign: ((machine - server - client) / (seconds * os::cores() as f64)).max(0.0),
        }
    }
}
