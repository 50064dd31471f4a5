//! Boots the real server on a port of its own, and gives clients of every wire to talk to it.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::rt::TokioExecutor;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Status;
use tonic::body::Body;
use tower::ServiceExt as _;
use tower::util::BoxCloneSyncService;
use wirephoto::guard::{Access, Answers, Origins, Policy};
use wirephoto::image::{Images, Limits};
use wirephoto::proto::wirephoto::v1::image_service_client::ImageServiceClient;
use wirephoto::server::{self, App, Threads};
use wirephoto::store::Store;

use crate::connect_client;

/// Images of the harness may be this large, in bytes.
pub const MAX_IMAGE_SIZE: u64 = 64 << 20;

/// A running server over a folder of its own. It stops when dropped.
pub struct Server {
    pub addr: SocketAddr,
    pub images: Images,
    pub threads: Threads,
    pub dir: TempDir,
    pub stop: Option<oneshot::Sender<()>>,
    pub task: JoinHandle<()>,
}

/// A server on a runtime of its own, so that its tasks can be counted.
pub struct Apart {
    pub server: Server,
    runtime: Option<Runtime>,
}

impl Apart {
    pub async fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let server = runtime.spawn(Server::start()).await.unwrap();
        Self { server, runtime: Some(runtime) }
    }

    /// Tasks of the server that are alive: one accepts, one sweeps, one is each connection's.
    pub fn tasks(&self) -> usize {
        self.runtime.as_ref().unwrap().metrics().num_alive_tasks() + self.server.threads.tasks()
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        // A runtime cannot wait for its end within another.
        self.runtime.take().unwrap().shutdown_background();
    }
}

/// A client of the generated kind, over gRPC, gRPC-Web or Connect.
pub type Rpc = ImageServiceClient<BoxCloneSyncService<Request<Body>, http::Response<Body>, Status>>;

impl Server {
    /// On `file:`, without fsync: tests are not about power cuts.
    pub async fn start() -> Self {
        Self::start_with(Vec::new()).await
    }

    pub async fn start_with(cors_origins: Vec<String>) -> Self {
        Self::start_as(Policy { origins: Origins::new(cors_origins, true), anonymous: Access::Write }).await
    }

    pub async fn start_as(policy: Policy) -> Self {
        Self::adapted(policy, |app| app).await
    }

    /// With other limits of connections.
    pub async fn limited(limits: wirephoto::net::Limits) -> Self {
        Self::adapted(open_policy(), |app| app.with_connections(limits)).await
    }

    /// With the server changed in some way.
    pub async fn adapted(policy: Policy, adapt: impl FnOnce(App) -> App) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&format!("file:{}", dir.path().display()), false).await.unwrap();
        Self::over(store, dir, policy, adapt).await
    }

    pub async fn in_memory() -> Self {
        let store = Store::open("memory:", false).await.unwrap();
        Self::over(store, tempfile::tempdir().unwrap(), open_policy(), |app| app).await
    }

    async fn over(store: Store, dir: TempDir, policy: Policy, adapt: impl FnOnce(App) -> App) -> Self {
        let images = Images::open(store, Limits { max_image_size: MAX_IMAGE_SIZE }).await.unwrap();
        let listener = wirephoto::server::listen((std::net::Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let app = adapt(App::new(images.clone(), policy, true).await.unwrap());
        let threads = Threads::start().unwrap();
        let serving = threads.clone();
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async {
            let _ = stopped.await;
        };
        let task = tokio::spawn(async {
            server::serve(listener, serving, app, shutdown, Duration::from_secs(10)).await.unwrap();
        });
        Self { addr, images, threads, dir, stop: Some(stop), task }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.addr)
    }

    /// tonic's client, over HTTP/2.
    pub fn grpc(&self) -> Rpc {
        client_of(&self.url(""))
    }

    /// tonic-web's client, over HTTP/1.1.
    pub fn grpc_web(&self) -> Rpc {
        web_client_of(&self.url(""))
    }

    /// The same over Connect, on HTTP/1.1 or HTTP/2.
    pub fn connect(&self, http2: bool) -> Rpc {
        rpc(connect_client::service(http2), self.url(""))
    }

    /// Blobs, staged files and manifests in the store's folder, by their paths.
    pub fn files(&self, below: &str) -> Vec<String> {
        files(&self.dir.path().join(below))
    }

    /// Waits until the folder holds no blob, bounded.
    pub async fn nothing_kept(&self) {
        for _ in 0..200 {
            if self.files("blobs").is_empty() && self.files("manifests").is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("kept: {:?} {:?}", self.files("blobs"), self.files("manifests"));
    }
}

/// The files below a folder, by their paths.
pub fn files(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path.display().to_string()) }
    }
    found.sort();
    found
}

/// No page but our own, and no credentials asked for.
pub fn open_policy() -> Policy {
    Policy { origins: Origins::new(Vec::new(), true), anonymous: Access::Write }
}

/// tonic's client of the server at `url`, over HTTP/2.
pub fn client_of(url: &str) -> Rpc {
    let channel = tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap().connect_lazy();
    let service = channel.map_err(|error| Status::from_error(error.into()));
    rpc(BoxCloneSyncService::new(service), url.to_owned())
}

/// The same without a mind of its own about deadlines: hyper's client, which leaves them to the server.
pub fn patient_client_of(url: &str) -> Rpc {
    let http = HyperClient::builder(TokioExecutor::new()).http2_only(true).build_http();
    let service = http
        .map_response(|response: http::Response<_>| response.map(Body::new))
        .map_err(|error| Status::from_error(error.into()));
    rpc(BoxCloneSyncService::new(service), url.to_owned())
}

/// tonic-web's client of the server at `url`, over HTTP/1.1.
pub fn web_client_of(url: &str) -> Rpc {
    let http = HyperClient::builder(TokioExecutor::new()).build_http();
    let service = tower::ServiceBuilder::new()
        .layer(tonic_web::GrpcWebClientLayer::new())
        .service(http)
        .map_response(|response: http::Response<_>| response.map(Body::new))
        .map_err(|error| Status::from_error(error.into()));
    rpc(BoxCloneSyncService::new(service), url.to_owned())
}

fn rpc(service: BoxCloneSyncService<Request<Body>, http::Response<Body>, Status>, origin: String) -> Rpc {
    ImageServiceClient::with_origin(service, origin.parse().unwrap())
        .max_decoding_message_size(16 << 20)
        .max_encoding_message_size(64 << 20)
}

/// The bytes in pieces of a megabyte.
pub fn pieces(bytes: &Bytes) -> Vec<Bytes> {
    (0..bytes.len()).step_by(1 << 20).map(|start| bytes.slice(start..bytes.len().min(start + (1 << 20)))).collect()
}

/// Serves the routes on a port of their own, for as long as the test runs.
pub async fn listen(service: impl Answers) -> SocketAddr {
    listen_with(service, None).await
}

pub async fn listen_with(service: impl Answers, tls: Option<wirephoto::net::Tls>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let limits = wirephoto::net::Limits::default();
    let threads = Threads::start().unwrap();
    tokio::spawn(wirephoto::net::serve(
        listener,
        threads,
        service,
        tls,
        limits,
        std::future::pending(),
        Duration::ZERO,
    ));
    addr
}
