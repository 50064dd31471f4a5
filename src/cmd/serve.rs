//! `wirephoto serve`.

use std::io::Write as _;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::Failure;
use crate::config::Config;
use crate::error::{Error, Reason, Result};
use crate::guard::{Access, Origins, Policy};
use crate::image::{Images, Limits};
use crate::io;
use crate::server::{self, App, Threads, Tls};
use crate::store::Store;

/// What running requests have to finish in after the signal to stop.
const DRAIN: Duration = Duration::from_secs(30);
/// Open files beside those of connections: of images that were read lately, pipes, uploads.
const OWN_FILES: usize = 2_000;
/// How often free memory is given back.
const GIVE_BACK: Duration = Duration::from_secs(30);

/// Serves until SIGTERM or SIGINT. Once it accepts, it says so in one line on stdout.
pub async fn run(config: Config) -> Result<(), Failure> {
    io::give_back();
    // Before the store's, which are many: so no two of these share an arena of memory.
    let threads = Threads::start().map_err(Error::internal)?;
    let tls = config.tls.map(|files| Tls::load(files.cert, files.key, files.client_ca)).transpose();
    let tls = tls.map_err(|error| Failure::Usage(error.to_string()))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let store = Store::open(&config.store, config.fsync).await.map_err(unusable)?;
    let images = Images::open(store, Limits { max_image_size: config.max_image_size }).await?;
    let origins = Origins::new(config.cors_origins, config.listen.ip().to_canonical().is_loopback());
    let anonymous = config.allow_anonymous.unwrap_or(Access::Write);
    let mut app = App::new(images, Policy { origins, anonymous }, config.reflection).await?;
    if let Some(tls) = tls {
        app = app.with_tls(tls);
    }
    let limits = allow_open_files(app.connection_limits());
    app = app.with_connections(limits);
    tokio::spawn(async {
        loop {
            tokio::time::sleep(GIVE_BACK).await;
            io::give_back_now();
        }
    });

    let listener = server::listen(config.listen).await.map_err(|error| {
        let message = format!("cannot listen on {}: {error}; choose another --listen ADDR:PORT", config.listen);
        Error::new(Reason::Unavailable, message)
    })?;
    let shutdown = stop_signal()?;
    let address = listener.local_addr().map_err(Error::internal)?;
    // Who started us may have closed stdout; serving does not depend on it.
    let _ = writeln!(std::io::stdout(), "wirephoto listening on {scheme}://{address}");
    let _ = std::io::stdout().flush();
    Ok(server::serve(listener, threads, app, shutdown, DRAIN).await?)
}

/// Lets all connections come; where the system does not, fewer, so that files are left for the store, and its operator is
/// told.
fn allow_open_files(mut limits: server::ConnectionLimits) -> server::ConnectionLimits {
    let wanted = limits.connections + OWN_FILES;
    let allowed = usize::try_from(io::allow_open_files(wanted as u64)).unwrap_or(usize::MAX);
    if allowed < wanted {
        let all = limits.connections;
        limits.connections = allowed - OWN_FILES.min(allowed / 2);
        tracing::warn!(
            "the system allows {allowed} open files: of {all} connections at once {} are taken; raise its hard limit to {wanted}",
            limits.connections
        );
    }
    limits
}

/// A store that is named wrongly is bad configuration; one that does not answer is not.
fn unusable(error: Error) -> Failure {
    match error.reason {
        Reason::InvalidRequest => Failure::Usage(error.to_string()),
        _ => error.into(),
    }
}

/// Completes at the first SIGTERM or SIGINT. A second one ends the process at once.
fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate()).map_err(Error::internal)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(Error::internal)?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("stopping: finishing what is running");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(130);
        });
    })
}
