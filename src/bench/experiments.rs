//! The experiments behind the claims that no scenario settles, each once a round, by turns.

use std::time::{Duration, Instant};

use super::connect::TlsVersion;
use super::load::Load;
use super::meter::Cost;
use super::options::{Options, SMALL};
use super::part::Part;
use super::relay::Line;
use super::report::score;
use super::scenarios::Metric;
use super::stage::{Goal, Stage};
use super::stats::{median, sorted};
use super::trial::{Found, Trial};
use super::ways::Way;
use super::worker::{Answer, Order, Setup};
use super::{Bench, Cell, Client, start_client, watched};

/// Rounds, where the time is enough.
const ROUNDS: u32 = 6;
/// How far away TLS is tried.
const TLS_RTT: Duration = Duration::from_millis(40);
/// How long a connection stands still, once a second.
const STALL: Duration = Duration::from_millis(300);
/// What a stream with small windows is watched for.
const WINDOW_LIMIT: Duration = Duration::from_millis(600);

/// Whether it takes a second or more, and a quick run makes it once.
fn is_slow(experiment: &str) -> bool {
    experiment == "calls" || experiment == "stalled" || experiment.starts_with("windows")
}

/// Clients, servers and relays that only the experiments need. They end with it.
#[derive(Default)]
struct Lab {
    relays: Vec<Part>,
    stages: Vec<Stage>,
    clients: Vec<(&'static str, Client)>,
    /// What could not be set up has been told.
    failed: Vec<String>,
}

impl Bench<'_> {
    /// All of them, as often as the time allows.
    pub(super) async fn experiments(&mut self, until: Instant) -> Result<(), String> {
        self.tell("setting up the experiments");
        let mut lab = Lab::default();
        self.set_up(&mut lab).await;
        for failed in std::mem::take(&mut lab.failed) {
            self.missing(failed);
        }
        let rounds = self.options.rounds.unwrap_or(ROUNDS);
        for round in 0..rounds {
            if round > 0 && Instant::now() >= until {
                self.note(format!("claims: the time was enough for {round} of {rounds} rounds"));
                break;
            }
            for at in 0..lab.clients.len() {
                let (name, client) = &mut lab.clients[at];
                if round > 0 && self.options.quick && is_slow(name) {
                    continue;
                }
                if Instant::now() >= self.end {
                    self.out_of_time(round, format!("claims: the time was up before {name} in round {}", round + 1));
                    return lab.close().await;
                }
                self.tell(&format!("claims {}/{rounds} {name}", round + 1));
                if let Err(why) = experiment(name, client, self).await {
                    self.stage.check().await?;
                    self.missing(format!("claims, {name}: {why}"));
                }
            }
            // By the same hand each round: what is compared is measured close together.
            self.round_trips();
        }
        lab.close().await
    }

    async fn set_up(&mut self, lab: &mut Lab) {
        let quick = Options { rtt: TLS_RTT, bandwidth: None, size_bytes: SMALL, server: None, ..self.options.clone() };
        for (names, tls) in [(&["plain"][..], false), (&["tls", "tls12"], true)] {
            let mut stage = Stage::default();
            let opened = stage.open(&Options { tls, ..quick.clone() }).await;
            for name in names {
                let version = if *name == "tls12" { TlsVersion::V12 } else { TlsVersion::Newest };
                let client = match (&opened, stage.goal(false)) {
                    (Ok(()), Ok(goal)) => {
                        let setup = Setup {
                            certificate: stage.certificate.clone(),
                            subjects: stage.subjects().clone(),
                            tls: version,
                            ..self.setup(Way::H1New, goal)
                        };
                        lab_client(setup, goal.clone()).await
                    }
                    (Err(why), _) => Err(why.clone()),
                    (_, Err(why)) => Err(why.to_owned()),
                };
                lab.add(name, client);
            }
            lab.stages.push(stage);
        }
        for (name, way, endpoints) in
            [("serialise", Way::H1New, false), ("calls", Way::GrpcDefault, false), ("chunks", Way::GrpcUnary, true)]
        {
            // A server that runs already has no such endpoint.
            if endpoints && self.options.server.is_some() {
                continue;
            }
            let client = match self.stage.goal(endpoints) {
                Ok(goal) => lab_client(self.setup(way, goal), goal.clone()).await,
                Err(why) => Err(why.to_owned()),
            };
            lab.add(name, client);
        }
        let lines =
            [("windows-0", 0, Duration::ZERO), ("windows-10", 10, Duration::ZERO), ("windows-50", 50, Duration::ZERO)];
        for (name, rtt, stall) in lines.into_iter().chain([("stalled", 0, STALL)]) {
            let line = Line { rtt: Duration::from_millis(rtt), bandwidth: None, stall };
            let client = self.relayed(lab, name, line).await;
            lab.add(name, client);
        }
    }

    /// A client of the server over a line of its own.
    async fn relayed(&self, lab: &mut Lab, name: &str, line: Line) -> Result<Client, String> {
        let direct = self.stage.direct().ok_or("there is no server")?;
        let address = if line == Line::default() {
            direct
        } else {
            let (relay, address) = Stage::relay(direct, line).await?;
            lab.relays.push(relay);
            address
        };
        let goal = Goal { address, process: None, port: direct.port() };
        let setup = if name == "stalled" {
            self.setup(Way::GrpcDefault, &goal)
        } else {
            let limit_ms = u64::try_from(WINDOW_LIMIT.as_millis()).unwrap_or(u64::MAX);
            Setup { verify: false, limit_ms, ..self.setup(Way::Grpc64k, &goal) }
        };
        lab_client(setup, goal).await
    }

    fn keep(&self, name: &str, figure: f64) {
        self.with_results(|results| results.trials.entry(name.to_owned()).or_default().push(figure));
    }

    /// Makes round trips of the last times with TLS and without.
    fn round_trips(&self) {
        let last = |name: &str| self.with_results(|results| results.trials.get(name)?.last().copied());
        for (with, name) in [("tls-us", "tls-round-trips"), ("tls12-us", "tls12-round-trips")] {
            if let (Some(with), Some(without)) = (last(with), last("plain-us")) {
                self.keep(name, (with - without) / TLS_RTT.as_secs_f64() / 1e6);
            }
        }
    }
}

impl Lab {
    fn add(&mut self, name: &'static str, client: Result<Client, String>) {
        match client {
            Ok(client) => self.clients.push((name, client)),
            Err(why) => self.failed.push(format!("claims, {name}: {why}")),
        }
    }

    async fn close(self) -> Result<(), String> {
        for (_, client) in self.clients {
            client.part.end().await;
        }
        for relay in self.relays {
            relay.end().await;
        }
        for stage in self.stages {
            stage.close().await?;
        }
        Ok(())
    }
}

async fn lab_client(setup: Setup, goal: Goal) -> Result<Client, String> {
    Ok(Client { part: start_client(setup).await?, goal })
}

/// What belongs to one client, once.
async fn experiment(name: &str, client: &mut Client, bench: &Bench<'_>) -> Result<(), String> {
    let options = bench.options;
    match name {
        "plain" | "tls" | "tls12" => {
            bench.keep(&format!("{name}-us"), attempt(client, Trial::First).await?.0["us"]);
        }
        "serialise" => {
            for (figure, value) in attempt(client, Trial::Serialise).await?.0 {
                bench.keep(&figure, value);
            }
            for (count, name) in [(1, "open-1-us"), (50, "open-50-us")] {
                bench.keep(name, median(three(client, Trial::Open(count), "us").await?));
            }
        }
        "calls" => {
            let for_ms = u64::try_from(options.duration.as_millis()).unwrap_or(u64::MAX);
            bench.keep("calls", attempt(client, Trial::Calls(64, for_ms)).await?.0["per_second"]);
            bench.keep("streams", attempt(client, Trial::Streams(2_000)).await?.0["open"]);
            bench.keep("unread-ms", attempt(client, Trial::Unread(8)).await?.0["us"] / 1e3);
            for (large, name) in [(0, "alone-p50"), (1, "beside-p50")] {
                let cell = cell(client, Load::Beside { large, every_ms: 5, for_ms }).await?;
                bench.keep(name, score(Metric::Latency, &cell));
            }
        }
        "chunks" => {
            for size in &options.chunks {
                let (_, costs) = attempt(client, Trial::Pieces(*size)).await?;
                bench.keep(&format!("chunk-{size}-cpu"), costs);
            }
            let (_, costs) = attempt(client, Trial::Whole).await?;
            bench.keep("whole-cpu", costs);
        }
        "stalled" => {
            // Longer than a second, so that a pause lies in it.
            let cell = cell(client, Load::Beside { large: 1, every_ms: 5, for_ms: 1_300 }).await?;
            let latencies = sorted(cell.outcome.samples.iter().map(|sample| sample.latency_us / 1e3));
            bench.keep("stalled-ms", latencies.last().copied().unwrap_or(f64::NAN));
        }
        windows => {
            let cell = cell(client, Load::Saturate { concurrency: 1, for_ms: 300, small: false }).await?;
            // What came, not the messages that are whole: a large one takes many windows.
            bench.keep(windows, cell.outcome.traffic.received as f64 / cell.outcome.wall_us);
        }
    }
    Ok(())
}

/// A trial's figures and the CPU time that both sides took, in seconds.
async fn attempt(client: &mut Client, trial: Trial) -> Result<(Found, f64), String> {
    let (answer, (client, server, _)) = watched(client, &Order::Try(trial), PATIENCE).await?;
    match answer {
        Answer::Tried(found) => Ok((found, client.cpu_seconds + server.map_or(0.0, |server: Cost| server.cpu_seconds))),
        Answer::Failed(why) => Err(why),
        _ => Err("the client answered what it was not asked".to_owned()),
    }
}

const PATIENCE: Duration = Duration::from_secs(30);

/// A figure of three trials in a row.
async fn three(client: &mut Client, trial: Trial, figure: &str) -> Result<Vec<f64>, String> {
    let mut figures = Vec::new();
    for _ in 0..3 {
        let (found, _) = attempt(client, trial).await?;
        figures.extend(found.get(figure));
    }
    Ok(figures)
}

async fn cell(client: &mut Client, load: Load) -> Result<Cell, String> {
    let (answer, (client, server, socket_bytes)) = watched(client, &Order::Run(load), PATIENCE).await?;
    match answer {
        Answer::Ran(outcome) => match outcome.failures.first() {
            Some(why) => Err(why.clone()),
            None => Ok(Cell { round: 0, outcome, client, server, socket_bytes }),
        },
        Answer::Failed(why) => Err(why),
        _ => Err("the client answered what it was not asked".to_owned()),
    }
}
