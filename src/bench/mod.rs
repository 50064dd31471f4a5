//! What `wirephoto bench` runs: every way to fetch an image, in every situation, by turns.
//!
//! Three processes are told apart: the server, the client that goes one way, and this one, which only watches.
//!
//! ```text
//! mod (rounds) ── part ──> worker: fetch, load, trial        one client process a way
//!      │          part ──> server, endpoint, relay
//!      └── meter: /proc of both ── report: table, json, html
//! ```

mod claims;
mod connect;
mod endpoint;
mod environment;
mod experiments;
mod fetch;
mod images;
mod load;
mod meter;
mod options;
mod part;
mod relay;
mod report;
mod scenarios;
mod stage;
mod stats;
mod trial;
mod ways;
mod worker;

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use self::connect::TlsVersion;
use self::load::Outcome;
use self::meter::{Cost, Watch};
use self::part::Part;
use self::stage::{Goal, Stage};
use self::worker::{Answer, Order, Setup};

pub use self::environment::Environment;
pub use self::options::Options;
pub use self::part::told_to_end;
pub use self::relay::{Line, relay};
pub use self::report::Report;
pub use self::scenarios::Scenario;
pub use self::ways::Way;
pub use self::worker::work;

/// Is told how far a run has come.
pub trait Progress: Sync {
    /// What is being done now, and which share of the time has passed (0 to 1).
    fn now(&self, what: &str, share: f64);
}

/// One measured cell.
#[derive(Debug, Clone)]
struct Cell {
    round: u32,
    outcome: Outcome,
    client: Cost,
    server: Option<Cost>,
    socket_bytes: u64,
}

/// What has been measured so far.
#[derive(Debug, Default)]
struct Results {
    cells: BTreeMap<(Scenario, Way), Vec<Cell>>,
    /// Figures of the experiments, by name and one a round.
    trials: BTreeMap<String, Vec<f64>>,
    /// What could not be measured, and why.
    missing: Vec<String>,
    /// What was measured less often than it should.
    notes: Vec<String>,
}

/// What the last cell may take beyond the time.
const GRACE: Duration = Duration::from_secs(2);

/// Measures until all is done, the time is up, or `interrupt` completes; then reports what there is.
///
/// # Errors
/// There is nothing to report: the stage could not be set up.
pub async fn run(
    options: &Options,
    progress: &dyn Progress,
    interrupt: impl Future<Output = ()>,
) -> Result<Report, String> {
    let environment = Environment::look(options);
    let results = Arc::new(Mutex::new(Results::default()));
    let mut stage = Stage::default();
    let begun = Instant::now();
    let measuring = async {
        progress.now("making images and putting them on the server", 0.0);
        stage.open(options).await?;
        let end = begun + options.budget();
        let mut bench =
            Bench { options, progress, stage: &mut stage, results: &results, begun, end, clients: BTreeMap::new() };
        let outcome = bench.measure().await;
        bench.end().await;
        Ok::<_, String>(outcome)
    };
    let outcome = tokio::select! {
        outcome = measuring => outcome.map(|measured| measured.err()),
        () = interrupt => Ok(Some("it was interrupted".to_owned())),
        () = tokio::time::sleep(options.budget() + GRACE) => Ok(Some("the time was up".to_owned())),
    };
    let closed = stage.close().await;
    let mut results = std::mem::take(&mut *results.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(why) = outcome? {
        results.missing.insert(0, why);
    }
    if let Err(left) = closed {
        results.missing.push(left);
    }
    Ok(Report::new(options, environment, &results, begun.elapsed()))
}

impl Results {
    /// A figure of two ways, of the rounds in which both were measured.
    fn paired(&self, scenario: Scenario, a: Way, b: Way, figure: impl Fn(&Cell) -> f64) -> (Vec<f64>, Vec<f64>) {
        let cells = |way| self.cells.get(&(scenario, way)).map(Vec::as_slice).unwrap_or_default();
        let pairs = cells(a).iter().filter_map(|a| {
            let b = cells(b).iter().find(|b| b.round == a.round)?;
            Some((figure(a), figure(b)))
        });
        pairs.unzip()
    }
}

struct Bench<'a> {
    options: &'a Options,
    progress: &'a dyn Progress,
    stage: &'a mut Stage,
    results: &'a Mutex<Results>,
    begun: Instant,
    end: Instant,
    clients: BTreeMap<Way, Client>,
}

/// A client process and where its requests go.
struct Client {
    part: Part,
    goal: Goal,
}

impl Bench<'_> {
    async fn measure(&mut self) -> Result<(), String> {
        self.start_clients().await?;
        let mut left: u32 = self.options.scenarios.iter().map(|scenario| scenario.weight()).sum();
        for scenario in self.options.scenarios.clone() {
            let share = self.end.saturating_duration_since(Instant::now()) * scenario.weight() / left.max(1);
            left -= scenario.weight();
            let until = Instant::now() + share;
            match scenario {
                Scenario::Claims => self.experiments(until).await?,
                _ => self.scenario(scenario, until).await?,
            }
        }
        Ok(())
    }

    fn with_results<T>(&self, act: impl FnOnce(&mut Results) -> T) -> T {
        act(&mut self.results.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn missing(&self, missing: String) {
        self.with_results(|results| results.missing.push(missing));
    }

    fn note(&self, note: String) {
        self.with_results(|results| results.notes.push(note));
    }

    fn tell(&self, what: &str) {
        let passed = self.begun.elapsed().as_secs_f64() / self.options.budget().as_secs_f64();
        self.progress.now(what, passed.min(1.0));
    }

    /// A first round that is not whole leaves something out; a later one only makes it less sure.
    fn out_of_time(&self, round: u32, what: String) {
        if round == 0 { self.missing(what) } else { self.note(what) }
    }

    async fn start_clients(&mut self) -> Result<(), String> {
        for way in self.options.ways.clone() {
            self.tell(&format!("warming up {}", way.id()));
            if let Err(why) = self.start_client(way).await {
                self.stage.check().await?;
                self.missing(format!("{}: {why}", way.id()));
            }
        }
        if self.clients.is_empty() { Err("no way could be measured".to_owned()) } else { Ok(()) }
    }

    async fn start_client(&mut self, way: Way) -> Result<(), String> {
        let goal = self.stage.goal(way.is_endpoints())?.clone();
        let part = start_client(self.setup(way, &goal)).await?;
        self.clients.insert(way, Client { part, goal });
        Ok(())
    }

    fn setup(&self, way: Way, goal: &Goal) -> Setup {
        Setup {
            way,
            address: goal.address,
            certificate: self.stage.certificate.clone(),
            tls: TlsVersion::Newest,
            verify: true,
            subjects: self.stage.subjects().clone(),
            limit_ms: u64::try_from(self.options.cell_limit().as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// All ways by turns, so often; less often when the share of the time is used up.
    async fn scenario(&mut self, scenario: Scenario, until: Instant) -> Result<(), String> {
        let rounds = scenario.rounds(self.options);
        let mut order: VecDeque<Way> = self.options.ways.iter().copied().collect();
        for round in 0..rounds {
            if round > 0 && Instant::now() >= until {
                self.note(format!("{}: the time was enough for {round} of {rounds} rounds", scenario.id()));
                break;
            }
            let begun = Instant::now();
            for way in order.clone() {
                if Instant::now() >= self.end {
                    self.out_of_time(
                        round,
                        format!("{}: the time was up before {} in round {}", scenario.id(), way.id(), round + 1),
                    );
                    return Ok(());
                }
                self.tell(&format!("{} {}/{rounds} {}", scenario.id(), round + 1, way.id()));
                self.cell(scenario, way, round).await?;
            }
            order.rotate_left(1);
            if round + 1 < rounds {
                tokio::time::sleep(scenario.pace().saturating_sub(begun.elapsed())).await;
            }
        }
        Ok(())
    }

    async fn cell(&mut self, scenario: Scenario, way: Way, round: u32) -> Result<(), String> {
        if !self.clients.contains_key(&way) {
            return Ok(());
        }
        let order = Order::Run(scenario.load(self.options));
        match self.watched(way, &order).await {
            Ok((Answer::Ran(outcome), costs)) => {
                if let Some(why) = outcome.failures.first() {
                    self.missing(format!("{}, {}: {} requests failed: {why}", scenario.id(), way.id(), outcome.failed));
                    self.stage.check().await?;
                }
                let (client, server, socket_bytes) = costs;
                let cell = Cell { round, outcome, client, server, socket_bytes };
                self.with_results(|results| results.cells.entry((scenario, way)).or_default().push(cell));
                Ok(())
            }
            Ok((Answer::Failed(why), _)) | Err(why) => {
                self.clients.remove(&way);
                self.missing(format!("{}, {}: {why}", scenario.id(), way.id()));
                self.stage.check().await?;
                // It may come back for what follows.
                if let Err(why) = self.start_client(way).await {
                    self.missing(format!("{} is left out from here on: {why}", way.id()));
                }
                Ok(())
            }
            Ok(_) => Err("a client answered what it was not asked".to_owned()),
        }
    }

    /// Asks the client of a way, and tells what client and server took meanwhile.
    async fn watched(&mut self, way: Way, order: &Order) -> Result<(Answer, (Cost, Option<Cost>, u64)), String> {
        let patience = self.options.cell_limit() * 5 + Duration::from_secs(10);
        let client = self.clients.get_mut(&way).ok_or("it has no client")?;
        watched(client, order, patience).await
    }

    /// Ends every client.
    async fn end(self) {
        for client in self.clients.into_values() {
            client.part.end().await;
        }
    }
}

async fn watched(
    client: &mut Client,
    order: &Order,
    patience: Duration,
) -> Result<(Answer, (Cost, Option<Cost>, u64)), String> {
    let mut processes = vec![meter::Process::new(client.part.pid())];
    processes.extend(client.goal.process.clone());
    let watch = Watch::begin(&processes, client.goal.port);
    let answer = client.part.ask(order, patience).await;
    let (costs, socket_bytes) = watch.end().await;
    let cost = (costs.first().copied().unwrap_or_default(), costs.get(1).copied(), socket_bytes);
    Ok((answer?, cost))
}

/// A client process, connected and warm.
async fn start_client(setup: Setup) -> Result<Part, String> {
    let patience = Duration::from_millis(setup.limit_ms) * 10;
    let mut part = Part::start("client", &[])?;
    match part.ask(&Order::Begin(Box::new(setup)), patience).await? {
        Answer::Ready => Ok(part),
        Answer::Failed(why) => Err(why),
        _ => Err("the client answered what it was not asked".to_owned()),
    }
}

/// Serves the benchmark's own endpoint over the images in `folder`, for ever.
///
/// # Errors
/// The certificate cannot be used, or no thread can be started.
pub async fn endpoint(listener: TcpListener, folder: PathBuf, tls: Option<(PathBuf, PathBuf)>) -> io::Result<()> {
    let tls = tls.map(|(cert, key)| crate::net::Tls::load(cert, key, None)).transpose().map_err(io::Error::other)?;
    let router = endpoint::router(folder);
    let limits = crate::net::Limits::default();
    let threads = crate::net::Threads::start()?;
    crate::net::serve(listener, threads, router, tls, limits, std::future::pending(), Duration::ZERO).await;
    Ok(())
}
