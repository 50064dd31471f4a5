//! What a run stands on: a server with images on it, the benchmark's own endpoint, and a relay before them. All of it
//! is taken away again.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use hyper_util::client::legacy;
use hyper_util::rt::TokioExecutor;
use tempfile::TempDir;

use super::connect::{Connector, TlsVersion};
use super::fetch::Subject;
use super::images::bitmap;
use super::load::Subjects;
use super::meter::Process;
use super::options::Options;
use super::part::Part;
use super::relay::Line;
use crate::client::raw::explain;

/// Different large images, asked for in turn.
const LARGE: u32 = 5;
/// Different small images.
const SMALL: u32 = 50;

/// Where a way's requests go.
#[derive(Debug, Clone)]
pub(super) struct Goal {
    /// What the client connects to.
    pub(super) address: SocketAddr,
    /// The server itself, whose cost is measured; `None` when it is not ours.
    pub(super) process: Option<Process>,
    /// The server's own port.
    pub(super) port: u16,
}

/// Everything a run stands on.
#[derive(Default)]
pub(super) struct Stage {
    folder: Option<TempDir>,
    server: Option<Part>,
    endpoint: Option<Part>,
    relays: Vec<Part>,
    goal: Option<Goal>,
    own: Option<Goal>,
    pub(super) certificate: Option<String>,
    pub(super) subjects: Subjects,
    /// Images on a server that is not ours, to be deleted.
    put: Vec<String>,
    /// Where images are put and deleted: not through the relay.
    direct: Option<SocketAddr>,
}

impl Stage {
    /// Sets it all up. What has been set up when it fails is still taken away by [`Stage::close`].
    pub(super) async fn open(&mut self, options: &Options) -> Result<(), String> {
        let folder = TempDir::with_prefix("wirephoto-bench-").map_err(|error| {
            format!("cannot make a temporary folder: {error}; set TMPDIR to one that can be written")
        })?;
        let root = folder.path().to_owned();
        self.folder = Some(folder);
        let images = root.join("images");
        std::fs::create_dir(&images).map_err(|error| format!("cannot write to {}: {error}", images.display()))?;
        let tls = options.tls.then(|| Tls::make(&root)).transpose()?;
        self.certificate = tls.as_ref().map(|tls| tls.certificate.clone());
        let line = Line { rtt: options.rtt, bandwidth: options.bandwidth, stall: Duration::ZERO };

        let (direct, process) = match &options.server {
            Some(server) => (resolve(server)?, None),
            None => {
                let store = format!("file:{}", root.join("store").display());
                let mut args = vec!["--listen".into(), "127.0.0.1:0".into(), "--store".into(), store];
                args.extend(["--fsync", "off", "--max-image-size", "2GB"].map(String::from));
                args.extend(tls.iter().flat_map(Tls::flags));
                let (part, address) = Part::listening("server", &args).await?;
                let process = Process::new(part.pid());
                self.server = Some(part);
                (address, Some(process))
            }
        };
        self.direct = Some(direct);
        let address = self.before(direct, line).await?;
        self.goal = Some(Goal { address, process, port: direct.port() });
        if options.server.is_none() {
            let mut args = vec!["--folder".into(), images.display().to_string()];
            args.extend(tls.iter().flat_map(Tls::flags));
            let (part, own) = Part::listening("endpoint", &args).await?;
            let process = Some(Process::new(part.pid()));
            self.endpoint = Some(part);
            let address = self.before(own, line).await?;
            self.own = Some(Goal { address, process, port: own.port() });
        }
        self.fill(options, &images).await
    }

    /// A relay before `address`, or `address` itself where the line adds nothing.
    async fn before(&mut self, address: SocketAddr, line: Line) -> Result<SocketAddr, String> {
        if line == Line::default() {
            return Ok(address);
        }
        let (part, near) = Self::relay(address, line).await?;
        self.relays.push(part);
        Ok(near)
    }

    /// A relay to `address`.
    pub(super) async fn relay(address: SocketAddr, line: Line) -> Result<(Part, SocketAddr), String> {
        let mut args = vec!["--to".to_owned(), address.to_string()];
        args.extend(["--rtt-us".into(), line.rtt.as_micros().to_string()]);
        args.extend(["--stall-us".into(), line.stall.as_micros().to_string()]);
        if let Some(bandwidth) = line.bandwidth {
            args.extend(["--bits".into(), bandwidth.to_string()]);
        }
        Part::listening("relay", &args).await
    }

    /// Makes the images and puts them on the server, and beside it for the endpoint.
    async fn fill(&mut self, options: &Options, folder: &Path) -> Result<(), String> {
        let run = uuid::Uuid::new_v4().simple().to_string();
        let kinds = [(options.size_bytes, LARGE, "large"), (options.small_bytes, SMALL, "small")];
        for (size, count, kind) in kinds {
            for seed in 0..count {
                let id = format!("bench-{run}-{kind}-{seed}.bmp");
                let bytes = tokio::task::spawn_blocking(move || bitmap(size, seed + 1))
                    .await
                    .map_err(|error| error.to_string())??;
                let crc32c = crc32c::crc32c(&bytes);
                let bytes = Bytes::from(bytes);
                if self.endpoint.is_some() {
                    let file = folder.join(&id);
                    tokio::fs::write(&file, &bytes)
                        .await
                        .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
                }
                // Noted before it is there: an interrupt may come in between.
                self.put.push(id.clone());
                self.send(Method::PUT, &id, bytes).await?;
                let subject = Subject { id, size, crc32c };
                if kind == "large" { &mut self.subjects.large } else { &mut self.subjects.small }.push(subject);
            }
        }
        Ok(())
    }

    async fn send(&self, method: Method, id: &str, body: Bytes) -> Result<(), String> {
        let address = self.direct.ok_or("there is no server")?;
        let connector = Connector::new(address, self.certificate.as_deref(), TlsVersion::Newest)?;
        let client = legacy::Client::builder(TokioExecutor::new()).build(connector);
        let verb = method.clone();
        let request = Request::builder().method(method).uri(format!("http://{address}/i/{id}"));
        let request = request.body(Full::new(body)).map_err(|error| error.to_string())?;
        let sent = async {
            let response = client.request(request).await.map_err(|error| explain(&error))?;
            let status = response.status();
            let body = response.into_body().collect().await.map_err(|error| explain(&error))?.to_bytes();
            if status.is_success() {
                return Ok(());
            }
            let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
            Err(format!("it answered {status}: {}", answer["detail"].as_str().unwrap_or("it did not say why")))
        };
        sent.await.map_err(|why: String| format!("{verb} of an image at the server {address} failed: {why}"))
    }

    /// Where requests go.
    pub(super) fn goal(&self, endpoints: bool) -> Result<&Goal, &'static str> {
        let goal = if endpoints { &self.own } else { &self.goal };
        goal.as_ref().ok_or("a server that runs already has no such call")
    }

    /// Where requests go that must not pass the relay.
    pub(super) fn direct(&self) -> Option<SocketAddr> {
        self.direct
    }

    pub(super) fn subjects(&self) -> &Subjects {
        &self.subjects
    }

    /// Whether the server can still be reached; if not, why.
    pub(super) async fn check(&mut self) -> Result<(), String> {
        if let Some(server) = &mut self.server
            && !server.is_running()
        {
            return Err(format!("the server died: {}", server.state()));
        }
        if let (None, Some(address)) = (&self.server, self.direct) {
            let connect = tokio::net::TcpStream::connect(address);
            if !matches!(tokio::time::timeout(Duration::from_secs(5), connect).await, Ok(Ok(_))) {
                return Err(format!("the server {address} is gone"));
            }
        }
        Ok(())
    }

    /// Takes everything away; says what could not be.
    pub(super) async fn close(mut self) -> Result<(), String> {
        let mut left = Vec::new();
        if self.server.is_none() {
            for id in std::mem::take(&mut self.put) {
                if let Err(why) = self.send(Method::DELETE, &id, Bytes::new()).await
                    && !why.contains("404")
                {
                    left.push(id);
                }
            }
        }
        for part in self.relays.into_iter().chain(self.endpoint).chain(self.server) {
            part.end().await;
        }
        if let Some(folder) = self.folder {
            let path = folder.path().display().to_string();
            folder.close().map_err(|error| format!("the temporary folder {path} could not be removed: {error}"))?;
        }
        match left.first() {
            None => Ok(()),
            Some(first) => Err(format!("{} images are still on the server, such as {first}: delete them", left.len())),
        }
    }
}

fn resolve(server: &str) -> Result<SocketAddr, String> {
    let mut found = server.to_socket_addrs().map_err(|error| format!("cannot find the server {server}: {error}"))?;
    found.next().ok_or_else(|| format!("cannot find the server {server}: the name has no address"))
}

/// A certificate for this run and no other.
struct Tls {
    certificate: String,
    cert: String,
    key: String,
}

impl Tls {
    fn make(folder: &Path) -> Result<Self, String> {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()])
            .map_err(|error| format!("cannot make a certificate: {error}"))?;
        let certificate = made.cert.pem();
        let file = |name: &str, pem: &str| {
            let path = folder.join(name);
            let written = std::fs::write(&path, pem);
            written.map_err(|error| format!("cannot write {}: {error}", path.display()))?;
            Ok::<_, String>(path.display().to_string())
        };
        let cert = file("cert.pem", &certificate)?;
        let key = file("key.pem", &made.signing_key.serialize_pem())?;
        Ok(Self { certificate, cert, key })
    }

    fn flags(&self) -> [String; 4] {
        ["--tls-cert".into(), self.cert.clone(), "--tls-key".into(), self.key.clone()]
    }
}
