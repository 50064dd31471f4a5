//! One connection from its first byte to its last: HTTP/1.1 or HTTP/2 by what the client begins with, and when it is left.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::body::Body;
use axum::extract::ConnectInfo;
use futures::stream::{FuturesUnordered, StreamExt as _};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tower::{Service, ServiceExt as _};

use super::gate::{Gate, Gated};
use super::join::Joined;
use super::limits::{self, Limits};
use super::tls::Tls;
use super::watched::Watched;
use super::{Phase, body};
use crate::io::{Outlet, Socket};

/// What all connections share.
pub(super) struct Server<S> {
    pub(super) service: S,
    pub(super) tls: Option<Tls>,
    pub(super) limits: Limits,
}

impl<S> Server<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
{
    /// Serves one connection until it ends, or the server's phase says so.
    pub(super) async fn serve(&self, stream: TcpStream, peer: SocketAddr, phase: watch::Receiver<Phase>) {
        let mut told = phase.clone();
        let mut cut = apart(told.wait_for(|phase| *phase == Phase::Cut));
        tokio::select! {
            _ = cut.next() => {}
            () = self.converse(stream, peer, phase) => {}
        }
    }

    async fn converse(&self, stream: TcpStream, peer: SocketAddr, phase: watch::Receiver<Phase>) {
        // Small answers must not wait for more to send; a socket that refuses is broken, and the read will say so.
        let _ = stream.set_nodelay(true);
        let Some(tls) = &self.tls else {
            if timeout(self.limits.headers, stream.readable()).await.is_ok() {
                self.http(stream, peer, phase).await;
            }
            return;
        };
        match timeout(self.limits.handshake, tls.accept(stream)).await {
            Ok(Ok(stream)) => self.http(stream, peer, phase).await,
            Ok(Err(error)) => tracing::info!(%peer, %error, "a TLS handshake failed"),
            Err(_) => tracing::info!(%peer, "a TLS handshake took longer than {:?}", self.limits.handshake),
        }
    }

    async fn http(&self, stream: impl Socket + Send + 'static, peer: SocketAddr, mut phase: watch::Receiver<Phase>) {
        let plain = self.tls.is_none();
        let gate = Gate::default();
        let outlet = Outlet::default();
        let activity = Activity::default();
        let service = hyper::service::service_fn({
            let (service, gate, outlet) = (self.service.clone(), gate.clone(), outlet.clone());
            let (activity, silence) = (activity.clone(), self.limits.silence);
            move |request: Request<Incoming>| {
                let running = activity.begin();
                let http2 = request.version() == Version::HTTP_2;
                let too_large = headers_size(request.headers()) > limits::MAX_HEADERS as usize;
                let mut request = body::whole(request, silence);
                if plain {
                    request.extensions_mut().insert(outlet.clone());
                }
                // HTTP/1.1 writes what it is given as it is.
                let outlet = http2.then(|| outlet.clone());
                request.extensions_mut().insert(ConnectInfo(peer));
                let (answer, gate) = (service.clone().oneshot(request), gate.clone());
                async move {
                    let answer = if too_large { Ok(headers_too_large()) } else { answer.await };
                    let counted = |body| Counted { body, _running: running };
                    answer.map(|answer| answer.map(|body| Gated::new(Joined::new(counted(body), outlet), gate)))
                }
            }
        });
        let builder = self.builder();
        let mut connection = pin!(builder.serve_connection(TokioIo::new(Watched::new(stream, gate, outlet)), service));
        // Until its first request is known, a connection told to close would drop what is on its way.
        let told = async {
            let _ = phase.changed().await;
            activity.begun(self.limits.pause).await;
        };
        let mut leave = apart(async {
            tokio::select! {
                () = told => Duration::MAX,
                () = sleep(jittered(self.limits.age)) => self.limits.grace,
                () = activity.idle(self.limits.idle) => self.limits.headers,
            }
        });
        let grace = tokio::select! {
            ended = connection.as_mut() => return report(peer, ended),
            Some(grace) = leave.next() => grace,
        };
        connection.as_mut().graceful_shutdown();
        match timeout(grace, connection.as_mut()).await {
            Ok(ended) => report(peer, ended),
            Err(_) => tracing::info!(%peer, "cut a connection that did not end within {grace:?}"),
        }
    }

    fn builder(&self) -> auto::Builder<TokioExecutor> {
        let mut builder = auto::Builder::new(TokioExecutor::new());
        builder.http1().timer(TokioTimer::new()).header_read_timeout(self.limits.headers);
        builder
            .http2()
            .timer(TokioTimer::new())
            .initial_stream_window_size(limits::STREAM_WINDOW)
            .initial_connection_window_size(limits::CONNECTION_WINDOW)
            .max_frame_size(limits::MAX_FRAME)
            .max_concurrent_streams(limits::MAX_STREAMS)
            .max_header_list_size(limits::MAX_HEADERS)
            .keep_alive_interval(self.limits.ping)
            .keep_alive_timeout(self.limits.pong);
        builder
    }
}

/// A future that is polled when it was woken itself, and not whenever its task is: each request wakes a connection.
fn apart<F: Future>(future: F) -> FuturesUnordered<F> {
    FuturesUnordered::from_iter([future])
}

/// As HTTP/2 counts them (RFC 9113 section 6.5.2), which holds its own to the same limit.
fn headers_size(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum()
}

fn headers_too_large() -> Response<Body> {
    let limit = limits::MAX_HEADERS;
    let text = format!("the header fields are over the limit of {limit} bytes: send fewer, or shorter ones\n");
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

fn report(peer: SocketAddr, ended: Result<(), Box<dyn std::error::Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection broke");
    }
}

/// Give or take a tenth, so that connections made together do not end together.
fn jittered(time: Duration) -> Duration {
    let random = u32::try_from(uuid::Uuid::new_v4().as_u128() & 0xffff).unwrap_or(0);
    time.mul_f64(0.9 + 0.2 * f64::from(random) / 65_536.0)
}

/// The requests that run on a connection.
#[derive(Clone)]
struct Activity(watch::Sender<Requests>);

struct Requests {
    running: usize,
    /// Since when none runs.
    since: Instant,
    /// Whether there ever was one.
    any: bool,
}

/// One request, until it is dropped.
struct Running(Activity);

impl Default for Activity {
    fn default() -> Self {
        Self(watch::Sender::new(Requests { running: 0, since: Instant::now(), any: false }))
    }
}

impl Activity {
    fn begin(&self) -> Running {
        self.0.send_if_modified(|requests| {
            requests.running += 1;
            // Only the first one is waited for.
            !std::mem::replace(&mut requests.any, true)
        });
        Running(self.clone())
    }

    /// Ends with the first request, or when `limit` has passed.
    async fn begun(&self, limit: Duration) {
        let _ = timeout(limit, self.0.subscribe().wait_for(|requests| requests.any)).await;
    }

    /// Ends when nothing has run for `limit`, which is looked at as often.
    async fn idle(&self, limit: Duration) {
        loop {
            let left = {
                let requests = self.0.borrow();
                if requests.running > 0 { limit } else { limit.saturating_sub(requests.since.elapsed()) }
            };
            if left.is_zero() {
                return;
            }
            sleep(left).await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.0.send_if_modified(|requests| {
            requests.running -= 1;
            if requests.running == 0 {
                requests.since = Instant::now();
            }
            false
        });
    }
}

/// An answer's body, running until it is dropped.
struct Counted {
    body: Body,
    _running: Running,
}

impl http_body::Body for Counted {
    type Data = bytes::Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<http_body::Frame<bytes::Bytes>, axum::Error>>> {
        Pin::new(&mut self.get_mut().body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_a_connection_without_requests_is_idle() {
        let limit = Duration::from_millis(20);
        let activity = Activity::default();
        let running = [activity.begin(), activity.begin()];
        assert!(timeout(5 * limit, activity.idle(limit)).await.is_err());
        drop(running);
        activity.idle(limit).await;
    }

    #[test]
    fn jitter_is_a_tenth() {
        let all: Vec<Duration> = (0..100).map(|_| jittered(Duration::from_secs(100))).collect();
        assert!(all.iter().all(|time| (90..=110).contains(&time.as_secs())), "{all:?}");
        assert!(all.iter().any(|time| *time != all[0]));
    }
}
