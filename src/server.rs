//! The server as one value: what it is made of, the service of all wires, and how it is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::get;
use futures::FutureExt as _;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::net::TcpListener;
use tower::{ServiceExt as _, service_fn};

use crate::error::{Error, Reason, Result};
use crate::guard::{self, Access, Answers, Policy};
use crate::image::Images;
use crate::proto::wirephoto::v1::table::IMAGE_SERVICE;
use crate::wire::method::Method;
use crate::wire::openapi::{About, Document};
use crate::wire::{self, Limits, Wire, Wires};
use crate::{net, page, raw, service};

pub use crate::net::{Limits as ConnectionLimits, Threads, Tls, listen};

/// The services that every wire serves.
const TABLES: &[&[Method]] = &[IMAGE_SERVICE];

/// How often the store is asked whether it answers, for health checks.
const STORE_ASKED: Duration = Duration::from_secs(5);

/// What the server is made of.
pub struct App {
    images: Images,
    services: service::Services,
    policy: Policy,
    limits: Limits,
    ready: Arc<AtomicBool>,
    tls: Option<Tls>,
    connections: net::Limits,
    /// Whether anyone may ask what there is to call.
    reflection: bool,
}

impl App {
    /// `reflection` lets anyone ask for the protos, the page `/docs` and `/openapi.json`.
    ///
    /// # Errors
    /// What was built in is broken.
    pub async fn new(images: Images, policy: Policy, reflection: bool) -> Result<Self> {
        let limits = Limits::default();
        let services = service::services(images.clone(), reflection, limits.message).await?;
        let ready = Arc::new(AtomicBool::new(true));
        let connections = net::Limits::default();
        Ok(Self { images, services, policy, limits, ready, tls: None, connections, reflection })
    }

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Its limits of connections.
    pub fn connection_limits(&self) -> ConnectionLimits {
        self.connections
    }

    /// With other limits of connections than those it ships with.
    #[must_use]
    pub fn with_connections(mut self, limits: net::Limits) -> Self {
        self.connections = limits;
        self
    }
}

/// All wires, with the guard around them.
///
/// # Errors
/// A path template in the proto does not parse.
pub fn service(app: &App) -> Result<impl Answers> {
    let wires = Wires::new(Arc::clone(&app.services.routes), TABLES, app.limits).map_err(Error::internal)?;
    let wires = Arc::new(wires);
    let openapi = app.reflection.then(|| openapi(&app.policy)).transpose()?;
    let probe = Probe { images: app.images.clone(), ready: Arc::clone(&app.ready) };
    let elsewhere = Arc::clone(&wires);
    let router = Router::new()
        .route("/livez", get(|| async { plain(StatusCode::OK, "ok\n") }))
        .route("/readyz", get(readyz).with_state(probe))
        .merge(page::router(openapi))
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(async move |request: Request| elsewhere.call(guard::spoken(&request), request).await);
    // What a request clones counts in memory that all threads share: once.
    let parts = Arc::new((app.images.clone(), wires, router));
    let all = service_fn(move |request: Request| {
        let parts = Arc::clone(&parts);
        async move {
            let (images, wires, router) = &*parts;
            let spoken = guard::spoken(&request);
            match spoken.wire {
                Wire::Bytes => Ok(raw::answer(images, request).boxed().await),
                // Only pages have need of routes.
                Wire::Page => router.clone().oneshot(request).boxed().await,
                _ => Ok(wires.call(spoken, request).await),
            }
        }
    });
    Ok(guard::around(all, app.policy.clone(), TABLES))
}

/// `/openapi.json`.
fn openapi(policy: &Policy) -> Result<String> {
    let about = About {
        title: "Wirephoto",
        version: env!("CARGO_PKG_VERSION"),
        description: "An image server. `/v1` is JSON, `/i` is bytes; `x-rpcs` are the calls of gRPC, gRPC-Web and Connect, \
                      which do the same.\n\nWhere GET is, HEAD is too. JSON is proto3's: requests may also name fields as the \
                      proto does, and write 64-bit integers as numbers.",
        license: env!("CARGO_PKG_LICENSE"),
        read_only: policy.anonymous == Access::Read,
    };
    let mut document = Document::new(about, TABLES).map_err(Error::internal)?;
    raw::openapi::describe(&mut document, TABLES).map_err(Error::internal)?;
    Ok(document.finish().to_string())
}

/// Serves on `threads` until `shutdown` completes. Then it is ready no more, and what is running has `drain` to finish.
///
/// # Errors
/// As [`service()`].
pub async fn serve(
    listener: TcpListener,
    threads: Threads,
    app: App,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) -> Result<()> {
    let service = service(&app)?;
    let stopping = async {
        tokio::select! {
            () = shutdown => {}
            () = follow_store(&app.images, &app.services.health) => {}
        }
        app.ready.store(false, Ordering::Relaxed);
        service::report(&app.services.health, false).await;
    };
    net::serve(listener, threads, service, app.tls.clone(), app.connections, stopping, drain).await;
    Ok(())
}

/// Tells health checks whether the store answers, for ever.
async fn follow_store(images: &Images, health: &service::HealthReporter) {
    let mut well = true;
    loop {
        tokio::time::sleep(STORE_ASKED).await;
        let ready = images.ready().await;
        if ready.is_ok() == well {
            continue;
        }
        well = !well;
        match ready {
            Ok(()) => tracing::info!("the store answers again"),
            Err(error) => error.log(),
        }
        service::report(health, well).await;
    }
}

#[derive(Clone)]
struct Probe {
    images: Images,
    ready: Arc<AtomicBool>,
}

/// 200 while new requests are welcome and the store answers.
async fn readyz(State(probe): State<Probe>) -> Response<Body> {
    if !probe.ready.load(Ordering::Relaxed) {
        return plain(StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match probe.images.ready().await {
        Ok(()) => plain(StatusCode::OK, "ok\n"),
        Err(error) => {
            error.log();
            plain(StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n")
        }
    }
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// axum adds `Allow`.
async fn method_not_allowed(request: Request) -> Response<Body> {
    let error = Error::new(Reason::InvalidRequest, format!("{} is not for this path", request.method()));
    let mut response = wire::json_refusal(&error);
    *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    response
}
