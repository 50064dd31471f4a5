//! The client process: goes one way, as it is told on stdin, and answers on stdout.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use super::connect::{Connector, TlsVersion};
use super::fetch::Fetcher;
use super::load::{self, Load, Outcome, Subjects};
use super::trial::{self, Trial};
use super::ways::Way;

/// What a client is, told once.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Setup {
    pub(super) way: Way,
    pub(super) address: SocketAddr,
    /// PEM of the certificate to trust; TLS is spoken if there is one.
    pub(super) certificate: Option<String>,
    pub(super) tls: TlsVersion,
    pub(super) subjects: Subjects,
    /// Whether it fetches one image of each kind and compares every byte before it is ready.
    pub(super) verify: bool,
    /// Milliseconds a cell may take.
    pub(super) limit_ms: u64,
}

/// What it is told after that.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Order {
    /// Set up, connect and warm up.
    Begin(Box<Setup>),
    /// A measured cell.
    Run(Load),
    /// An experiment.
    Try(Trial),
}

/// What it answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    /// It is connected and warm.
    Ready,
    /// What the cell gave.
    Ran(Outcome),
    /// What the experiment gave.
    Tried(trial::Found),
    /// Why it could not.
    Failed(String),
}

/// Serves orders until stdin ends.
pub async fn work() {
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    let mut stdout = tokio::io::stdout();
    let mut client = None;
    while let Ok(Some(line)) = lines.next_line().await {
        let answer = match serde_json::from_str(&line) {
            Ok(order) => obey(order, &mut client).await.unwrap_or_else(Answer::Failed),
            Err(error) => Answer::Failed(format!("an order that is none: {error}")),
        };
        let Ok(mut answer) = serde_json::to_vec(&answer) else { return };
        answer.push(b'\n');
        if stdout.write_all(&answer).await.is_err() || stdout.flush().await.is_err() {
            return;
        }
    }
}

struct Client {
    setup: Setup,
    fetcher: Fetcher,
}

async fn obey(order: Order, client: &mut Option<Client>) -> Result<Answer, String> {
    const EARLY: &str = "told to work before it was set up";
    match order {
        Order::Begin(setup) => {
            let fetcher = connect(&setup).await?;
            let first = setup.subjects.large.first().into_iter().chain(setup.subjects.small.first());
            for subject in first.filter(|_| setup.verify) {
                within(&setup, fetcher.verify(subject)).await?;
            }
            *client = Some(Client { setup: *setup, fetcher });
            Ok(Answer::Ready)
        }
        Order::Run(load) => {
            let one = client.as_mut().ok_or(EARLY)?;
            let limit = Duration::from_millis(one.setup.limit_ms);
            let outcome = load::run(load, &one.fetcher, &one.setup.subjects, limit).await;
            if outcome.samples.iter().any(|sample| sample.cut) {
                // What was cut off may still be on its way: it must not burden the next cell.
                match connect(&one.setup).await {
                    Ok(fresh) => one.fetcher = fresh,
                    Err(_) => *client = None,
                }
            }
            Ok(Answer::Ran(outcome))
        }
        Order::Try(trial) => {
            let client = client.as_ref().ok_or(EARLY)?;
            Ok(Answer::Tried(trial::run(trial, &client.setup, &client.fetcher).await?))
        }
    }
}

pub(super) async fn connect(setup: &Setup) -> Result<Fetcher, String> {
    let connector = Connector::new(setup.address, setup.certificate.as_deref(), setup.tls)?;
    within(setup, Fetcher::connect(setup.way, setup.address, connector)).await
}

/// Three times what a cell may take: the first transfer of a slow way needs its time too.
async fn within<T>(setup: &Setup, work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let patience = Duration::from_millis(setup.limit_ms) * 3;
    match tokio::time::timeout(patience, work).await {
        Ok(done) => done,
        Err(_) => Err(format!("the first transfer did not end within {patience:?}")),
    }
}
