//! The servers of a client: one lazy connection to each, calls in turn, and those that are gone left out.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::connect::{Alert, Connector};
use super::options::{Server, Servers};
use super::policy::{Deadline, Retry, jitter};
use super::tls::Tls;
use super::{Error, Trouble};
use crate::error::Code;

/// Bytes a download may send ahead of its reader: enough for a fast, distant server never to wait for us.
pub(super) const STREAM_WINDOW: u32 = 16 << 20;
/// The same for all streams of a connection together, which is the most HTTP/2 has: a hundred streams that nobody reads
/// leave room in it, so that they cannot hold up a call beside them.
pub(super) const CONNECTION_WINDOW: u32 = i32::MAX as u32;
/// A server that sends large frames spends a third of the CPU on them. One holds a message of 1 MiB and its head.
pub(super) const MAX_FRAME: u32 = (1 << 20) + (1 << 10);

const USER_AGENT: &str = concat!("wirephoto/", env!("CARGO_PKG_VERSION"));
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(30);
/// In an upload the ping queues behind what the kernel has taken already, up to 4 MiB: 20 seconds at 1.7 Mbit/s, where
/// 5 would cut whoever has less than 7.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// How long an address that was gone has to answer that it is back.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
/// How old the addresses of a name may be.
const RESOLVED_FOR: Duration = Duration::from_secs(30);

pub(super) struct Pool {
    servers: Servers,
    /// None for the system's.
    tls: Option<Tls>,
    known: Mutex<Known>,
    next: AtomicUsize,
}

/// The addresses, as of when they were last looked up.
#[derive(Default)]
struct Known {
    backends: Vec<Arc<Backend>>,
    /// When to look again; none for servers whose addresses are their names.
    stale: Option<Instant>,
}

/// One address.
pub(super) struct Backend {
    server: Server,
    /// The address of several that the server's name has.
    address: Option<SocketAddr>,
    channel: Channel,
    alert: Alert,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Probes in a row that failed.
    failures: u32,
    /// When to see whether it is back; none while it answers.
    gone_until: Option<Instant>,
    probing: bool,
}

impl Pool {
    pub(super) fn new(servers: Servers, tls: Option<Tls>) -> Arc<Self> {
        Arc::new(Self { servers, tls, known: Mutex::default(), next: AtomicUsize::new(0) })
    }

    pub(super) fn servers(&self) -> &Servers {
        &self.servers
    }

    /// The backend of the next call: those that answer take turns; when none does, all do.
    pub(super) async fn pick(self: &Arc<Self>) -> Result<Arc<Backend>, Error> {
        let backends = self.backends().await?;
        let alive: Vec<_> = backends.iter().filter(|backend| backend.is_alive()).collect();
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let backend = match alive.len() {
            0 => backends.get(turn % backends.len().max(1)),
            several => alive.get(turn % several).copied(),
        };
        backend.cloned().ok_or_else(|| Error::local(Code::InvalidArgument, "no server is given"))
    }

    /// Whether another address may answer what one could not be asked.
    pub(super) fn has_another(&self) -> bool {
        lock(&self.known).backends.iter().any(|backend| backend.state().gone_until.is_none())
    }

    async fn backends(self: &Arc<Self>) -> Result<Vec<Arc<Backend>>, Error> {
        let known = {
            let mut known = lock(&self.known);
            let now = Instant::now();
            if known.stale.is_some_and(|stale| stale <= now) {
                // Meanwhile what is known serves.
                known.stale = Some(now + RESOLVED_FOR);
                let pool = Arc::clone(self);
                tokio::spawn(async move { pool.resolve().await });
            }
            known.backends.clone()
        };
        if known.is_empty() { self.resolve().await } else { Ok(known) }
    }

    /// Looks the names up. Addresses that stay keep their connections.
    async fn resolve(&self) -> Result<Vec<Arc<Backend>>, Error> {
        let mut found = Vec::new();
        for server in self.servers.iter() {
            found.push((server, addresses(server).await));
        }
        let mut known = lock(&self.known);
        let mut backends = Vec::new();
        for (server, addresses) in found {
            let mut old = known.backends.iter().filter(|old| old.server == *server).peekable();
            let addresses = match addresses {
                // What was known serves until the name can be looked up again.
                Addresses::Unknown if old.peek().is_some() => {
                    backends.extend(old.cloned());
                    continue;
                }
                Addresses::Unknown | Addresses::One => vec![None],
                Addresses::Several(addresses) => addresses.into_iter().map(Some).collect(),
            };
            let old: Vec<_> = old.collect();
            for address in addresses {
                backends.push(match old.iter().find(|old| old.address == address) {
                    Some(kept) => Arc::clone(kept),
                    None => Arc::new(Backend::new(server.clone(), address, self.tls.as_ref())?),
                });
            }
        }
        let named = self.servers.iter().any(|server| !server.is_address());
        known.backends.clone_from(&backends);
        known.stale = named.then(|| Instant::now() + RESOLVED_FOR);
        Ok(backends)
    }
}

/// What a server's name stands for.
enum Addresses {
    /// One server, to which the connection finds its own way: an address, or a name with one of each kind.
    One,
    Several(Vec<SocketAddr>),
    /// It cannot be looked up, which the connection will tell.
    Unknown,
}

async fn addresses(server: &Server) -> Addresses {
    if server.is_address() {
        return Addresses::One;
    }
    let Ok(found) = tokio::net::lookup_host((server.host(), server.port())).await else { return Addresses::Unknown };
    let mut found: Vec<SocketAddr> = found.collect();
    found.sort();
    found.dedup();
    let several = |kind: fn(&IpAddr) -> bool| found.iter().filter(|address| kind(&address.ip())).count() > 1;
    if several(IpAddr::is_ipv4) || several(IpAddr::is_ipv6) { Addresses::Several(found) } else { Addresses::One }
}

impl Backend {
    fn new(server: Server, address: Option<SocketAddr>, tls: Option<&Tls>) -> Result<Self, Error> {
        let alert = Alert::default();
        let tls = match server.is_secure() {
            true => Some(tls.cloned().map_or_else(Tls::system, Ok)?),
            false => None,
        };
        let connector = Connector::new(&server, tls, alert.clone())?;
        let endpoint = match address {
            Some(address) => Endpoint::from(server.at(address)?).origin(server.uri()),
            None => Endpoint::from(server.uri()),
        };
        let channel = endpoint
            .user_agent(HeaderValue::from_static(USER_AGENT))
            .map_err(|error| Error::local(Code::Internal, "the client cannot name itself").caused_by(error))?
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(MAX_FRAME)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .connect_with_connector_lazy(connector);
        Ok(Self { server, address, channel, alert, state: Mutex::default() })
    }

    pub(super) fn server(&self) -> &Server {
        &self.server
    }

    pub(super) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Whether it answers, as far as is known. When it is time to see, somebody is sent to see.
    fn is_alive(self: &Arc<Self>) -> bool {
        let mut state = self.state();
        let Some(until) = state.gone_until else { return true };
        if until <= Instant::now() && !state.probing {
            state.probing = true;
            tokio::spawn(Arc::clone(self).probe());
        }
        false
    }

    /// Asks for its health, at nobody's cost.
    async fn probe(self: Arc<Self>) {
        let mut health = HealthClient::new(self.channel());
        let asked = health.check(HealthCheckRequest::default());
        let well = match Deadline::after(PROBE_TIMEOUT).limit(asked).await {
            Ok(Ok(answer)) => answer.into_inner().status != ServingStatus::NotServing as i32,
            // Whoever refuses to tell is there.
            Ok(Err(status)) => Error::from_status(status, &self.server).code() != Code::Unavailable,
            Err(_) => false,
        };
        let mut state = self.state();
        state.probing = false;
        if well {
            *state = State::default();
        } else {
            state.failures = state.failures.saturating_add(1);
            state.gone_until = Some(Instant::now() + Retry::PROBE.backoff(state.failures + 1, jitter()));
        }
    }

    /// It has answered.
    pub(super) fn answered(&self) {
        self.alert.clear();
        *self.state() = State::default();
    }

    /// The error of a call that did not go well. One that had no answer leaves the address out for a while.
    pub(super) fn failed(&self, trouble: Trouble) -> Error {
        let error = match trouble {
            Trouble::Own(error) => return error,
            Trouble::Silence(error) => error,
            Trouble::Status(status) => Error::from_status(status, &self.server),
        };
        let error = match self.alert.get() {
            Some(alert) if error.is_broken() => Error::disagreement(&self.server, &alert).caused_by(error),
            _ => error,
        };
        if error.is_lost() {
            let mut state = self.state();
            if state.gone_until.is_none() {
                state.gone_until = Some(Instant::now() + Retry::PROBE.backoff(1, jitter()));
            }
        }
        error
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

/// Nothing panics while it holds one of these.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
