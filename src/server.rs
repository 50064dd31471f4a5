//! The server as one value: what it is made of, the router of all wires, and how it is served.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::routing::get;
use http::{HeaderValue, Response, StatusCode, header};
use tokio::net::TcpListener;

use crate::error::{Error, Reason, Result};
use crate::guard::{self, Policy};
use crate::image::Images;
use crate::proto::wirephoto::v1::table::IMAGE_SERVICE;
use crate::wire::method::Method;
use crate::wire::{self, Limits, Wires};
use crate::{net, page, raw, service};

pub use crate::net::Tls;

/// The services that every wire serves.
const TABLES: &[&[Method]] = &[IMAGE_SERVICE];

/// What the server is made of.
pub struct App {
    images: Images,
    services: service::Services,
    policy: Policy,
    limits: Limits,
    ready: Arc<AtomicBool>,
    tls: Option<Tls>,
    connections: net::Limits,
}

impl App {
    /// `reflection` lets anyone ask for the protos.
    ///
    /// # Errors
    /// What was built in is broken.
    pub async fn new(images: Images, policy: Policy, reflection: bool) -> Result<Self> {
        let limits = Limits::default();
        let services = service::services(images.clone(), reflection, limits.message).await?;
        let ready = Arc::new(AtomicBool::new(true));
        Ok(Self { images, services, policy, limits, ready, tls: None, connections: net::Limits::default() })
    }

    /// Speaks TLS, and nothing else.
    #[must_use]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
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
pub fn router(app: &App) -> Result<Router> {
    let wires = Wires::new(app.services.routes.clone(), TABLES, app.limits).map_err(Error::internal)?;
    let probe = Probe { images: app.images.clone(), ready: Arc::clone(&app.ready) };
    let router = Router::new()
        .route("/livez", get(|| async { plain(StatusCode::OK, "ok\n") }))
        .route("/readyz", get(readyz).with_state(probe))
        .merge(raw::router(app.images.clone()))
        .merge(page::router())
        .method_not_allowed_fallback(method_not_allowed)
        .fallback(move |request: Request| wires.clone().call(request));
    Ok(guard::around(router, app.policy.clone(), TABLES))
}

/// Serves until `shutdown` completes. Then it is ready no more, and what is running has `drain` to finish.
///
/// # Errors
/// As [`router`].
pub async fn serve(listener: TcpListener, app: App, shutdown: impl Future<Output = ()>, drain: Duration) -> Result<()> {
    let router = router(&app)?;
    let stopping = async {
        shutdown.await;
        app.ready.store(false, Ordering::Relaxed);
        service::set_not_serving(&app.services.health).await;
    };
    net::serve(listener, router, app.tls.clone(), app.connections, stopping, drain).await;
    Ok(())
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
