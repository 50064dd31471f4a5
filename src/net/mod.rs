//! Connections: accept, TLS, HTTP/1.1 and HTTP/2 on one port, drain.
//!
//! `frames` follows what a client sends on an HTTP/2 connection, `conduct` judges it, `gate` counts its window, `join` and `cut`
//! make its frames neither smaller than they need be nor larger than it takes; `watched` puts them around the socket. `threads`
//! is where connections live.

mod body;
mod conduct;
mod connection;
mod cut;
mod first_line;
mod frames;
mod gate;
mod join;
mod limits;
mod threads;
mod tls;
mod watched;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::{Request, Response};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;
use tower::Service;

use connection::Server;

pub use limits::Limits;
pub use threads::Threads;
pub use tls::{Tls, TlsError};

/// What connections are to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Serve,
    /// Finish what runs and take no more.
    Leave,
    /// The same, for those that came after the first were told.
    Drain,
    /// End at once.
    Cut,
}

/// Congestion control of what comes over loopback, where there is no path to measure: BBR, which some hosts have as their
/// default, would set a timer for every few packets, at ten times the CPU. Every Linux has Reno.
pub const LOOPBACK_CONGESTION_CONTROL: &str = "reno";

/// Listens at `address`; if that is loopback, without the host's own congestion control.
///
/// # Errors
/// The system's, such as that the address is in use.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(address).await?;
    #[cfg(target_os = "linux")]
    if address.ip().is_loopback() {
        // One that refuses goes on as it would.
        let _ = socket2::SockRef::from(&listener).set_tcp_congestion(LOOPBACK_CONGESTION_CONTROL.as_bytes());
    }
    Ok(listener)
}

/// Serves connections by `service`, on `threads`, until `shutdown` completes, then lets running requests finish for at most
/// `drain`.
///
/// HTTP/1.1 and HTTP/2 by prior knowledge (RFC 9113, section 3.3) or, over TLS, by ALPN share the port. At the end clients
/// are told to go (GOAWAY) while new connections are still taken for a moment; then the listener closes.
pub async fn serve<S>(
    listener: TcpListener,
    threads: Threads,
    service: S,
    tls: Option<Tls>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
    drain: Duration,
) where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible, Future: Send>,
    S: Clone + Send + Sync + 'static,
{
    let _follower = tls.clone().map(|tls| AbortOnDropHandle::new(tokio::spawn(tls.follow(limits.reload))));
    #[cfg(target_os = "linux")]
    {
        // Connections have it from their listener. One that refuses leaves them to end by their age.
        let _ = socket2::SockRef::from(&listener).set_tcp_user_timeout(Some(limits.unread));
    }
    let server = Arc::new(Server { service, tls, limits });
    let (phase, _) = watch::channel(Phase::Serve);
    let accept = async {
        let mut full = false;
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let was_full = std::mem::replace(&mut full, threads.connections() >= limits.connections);
            if full {
                if !was_full {
                    tracing::warn!(%peer, "closed a new connection: there are {} already", limits.connections);
                }
                continue;
            }
            let (server, phase) = (Arc::clone(&server), phase.subscribe());
            let serve = |stream| async move { server.serve(stream, peer, phase).await };
            if let Err(error) = threads.serve(stream, serve) {
                tracing::warn!(%error, "a connection could not be handed on");
            }
        }
    };
    let stop = async {
        shutdown.await;
        phase.send_replace(Phase::Leave);
        tokio::time::sleep(limits.pause).await;
    };
    tokio::select! {
        () = stop => {}
        () = accept => {}
    }
    drop(listener);
    phase.send_replace(Phase::Drain);
    let running = threads.connections();
    if tokio::time::timeout(drain, threads.close()).await.is_err() {
        tracing::warn!(running, "cut what was still running {drain:?} after the signal to stop");
        phase.send_replace(Phase::Cut);
        // Each request that is cut has its line in the log.
        let _ = tokio::time::timeout(limits::CUT, threads.end()).await;
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::net::Ipv4Addr;

    use socket2::SockRef;
    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn what_comes_over_loopback_is_not_paced() {
        let listener = listen((Ipv4Addr::LOCALHOST, 0).into()).await.unwrap();
        let (client, accepted) = tokio::join!(TcpStream::connect(listener.local_addr().unwrap()), listener.accept());
        client.unwrap();
        let used = SockRef::from(&accepted.unwrap().0).tcp_congestion().unwrap();
        assert!(used.starts_with(b"reno"), "{}", String::from_utf8_lossy(&used));
    }
}
