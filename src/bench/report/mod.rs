//! What was measured, as figures: the one value that table, page and JSON are made of.

mod html;
mod svg;
mod table;

use std::time::Duration;

use serde::Serialize;

use super::claims::{self, ClaimReport, Evidence};
use super::environment::Environment;
use super::load::Sample;
use super::options::Options;
use super::scenarios::{Metric, Scenario};
use super::stats::{Estimate, bootstrap, estimate, median, median_of_all, percent_below, percentile, ratio, sorted};
use super::ways::Way;
use super::{Cell, Results};

/// The version of the JSON.
const FORMAT: u32 = 1;
const MEGA: f64 = 1e6;

/// A whole report.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Version of this form: it grows when a field changes its meaning or goes.
    pub format: u32,
    /// Whether all that was asked for was measured.
    pub complete: bool,
    /// What was not measured or not as often as it should, and why.
    pub missing: Vec<String>,
    /// What was measured less often than it should, and is less sure.
    pub notes: Vec<String>,
    /// What the run took, in seconds.
    pub seconds: f64,
    /// What was asked for.
    pub options: Options,
    /// Where it ran.
    pub environment: Environment,
    /// What hides differences here, in words.
    pub traps: Vec<String>,
    /// Every scenario that was measured.
    pub scenarios: Vec<ScenarioReport>,
    /// The claims, if they were asked for.
    pub claims: Vec<ClaimReport>,
}

/// A scenario.
#[derive(Debug, Serialize)]
pub struct ScenarioReport {
    /// Which one.
    pub id: Scenario,
    /// In words.
    pub title: &'static str,
    /// What it is judged by.
    pub metric: Metric,
    /// The best way, if one can be told.
    pub winner: Option<Winner>,
    /// Every way that was measured, the best first.
    pub ways: Vec<WayReport>,
}

/// Who won, by how much, how surely.
#[derive(Debug, Clone, Serialize)]
pub struct Winner {
    /// The best way.
    pub way: Way,
    /// The next one.
    pub next: Way,
    /// Rounds in which both were measured.
    pub rounds: usize,
    /// How many times better it is than the next.
    pub times_better: Estimate,
    /// In how many of 100 draws from the rounds it is the better of the two.
    pub certainty_percent: f64,
}

/// A way in a scenario.
#[derive(Debug, Serialize)]
pub struct WayReport {
    /// Which one.
    pub id: Way,
    /// In words.
    pub title: &'static str,
    /// Rounds measured.
    pub rounds: usize,
    /// Requests that ended.
    pub requests: usize,
    /// Requests that failed.
    pub failed: u64,
    /// Requests cut off at a cell's limit: they would have taken longer than they are counted for.
    pub cut: usize,
    /// Bytes of images that came.
    pub bytes: u64,
    /// What the scenario is judged by, in milliseconds, MB/s or requests a second.
    pub score: Estimate,
    /// The same of each round.
    pub score_of_rounds: Vec<f64>,
    /// Milliseconds to an image's first byte, median.
    pub first_byte_ms: Estimate,
    /// Milliseconds to its last, median.
    pub p50_ms: Estimate,
    /// 90th percentile.
    pub p90_ms: f64,
    /// 99th percentile.
    pub p99_ms: f64,
    /// The longest.
    pub worst_ms: f64,
    /// Milliseconds from a round's first request to its last byte.
    pub makespan_ms: Estimate,
    /// Million bytes of images a second.
    pub throughput_mb_s: Estimate,
    /// Requests a second.
    pub requests_s: Estimate,
    /// Costs of the client.
    pub client: Costs,
    /// Costs of the server, if it is ours.
    pub server: Option<Costs>,
    /// Bytes that TCP carried, both ways, TLS included.
    pub wire_bytes: u64,
    /// By how many percent they are more than the images' bytes.
    pub overhead_percent: f64,
    /// Connections made in all rounds.
    pub connections: u64,
    /// Most of them open at one time: descriptors of sockets on either side.
    pub connections_open: u64,
    /// TLS handshakes in all rounds.
    pub handshakes: u64,
    /// Most bytes seen in the buffers of all its sockets.
    pub socket_bytes: u64,
}

/// What a process took.
#[derive(Debug, Clone, Serialize)]
pub struct Costs {
    /// CPU time in all rounds, in seconds.
    pub cpu_seconds: f64,
    /// CPU seconds for a billion bytes of images.
    pub cpu_seconds_per_gb: Estimate,
    /// Most memory resident, in bytes.
    pub peak_bytes: u64,
    /// Most anonymous memory, in bytes.
    pub anonymous_bytes: u64,
    /// Most descriptors seen open.
    pub descriptors: u64,
}

impl Report {
    pub(super) fn new(options: &Options, environment: Environment, results: &Results, took: Duration) -> Self {
        let measured = options.scenarios.iter().filter(|scenario| **scenario != Scenario::Claims);
        let scenarios = measured.filter_map(|scenario| ScenarioReport::new(*scenario, options, results));
        let scenarios: Vec<_> = scenarios.collect();
        let mut missing = results.missing.clone();
        for scenario in options.scenarios.iter().filter(|scenario| **scenario != Scenario::Claims) {
            let ways = options.ways.iter().filter(|way| !results.cells.contains_key(&(*scenario, **way)));
            let ways: Vec<_> = ways.map(|way| way.id()).collect();
            if !ways.is_empty() {
                missing.push(format!("{}: nothing of {}", scenario.id(), ways.join(", ")));
            }
        }
        let traps = environment.traps(options);
        let claims = if options.scenarios.contains(&Scenario::Claims) {
            claims::judge(&Evidence { options, results })
        } else {
            Vec::new()
        };
        Self {
            format: FORMAT,
            complete: missing.is_empty(),
            missing,
            notes: results.notes.clone(),
            seconds: took.as_secs_f64(),
            options: options.clone(),
            environment,
            traps,
            scenarios,
            claims,
        }
    }

    /// The report for a terminal.
    pub fn table(&self) -> String {
        table::write(self)
    }

    /// The report as one page, which needs nothing else.
    pub fn html(&self) -> String {
        html::write(self)
    }
}

/// The scenario's score of one round.
pub(super) fn score(metric: Metric, cell: &Cell) -> f64 {
    let outcome = &cell.outcome;
    let seconds = outcome.wall_us / 1e6;
    let latencies = || sorted(outcome.samples.iter().map(|sample| sample.latency_us / 1e3));
    match metric {
        Metric::Latency => median(latencies()),
        Metric::Tail => percentile(&latencies(), 0.99),
        Metric::Makespan => outcome.wall_us / 1e3,
        Metric::Throughput => outcome.bytes as f64 / MEGA / seconds,
        Metric::Requests => outcome.samples.iter().filter(|sample| !sample.cut).count() as f64 / seconds,
    }
}

impl ScenarioReport {
    fn new(scenario: Scenario, options: &Options, results: &Results) -> Option<Self> {
        let metric = scenario.metric();
        let ways = options.ways.iter().filter_map(|way| {
            let cells = results.cells.get(&(scenario, *way))?;
            Some(WayReport::new(*way, metric, cells))
        });
        let mut ways: Vec<_> = ways.filter(|way| way.score.median.is_finite()).collect();
        ways.sort_by(|a, b| a.score.median.total_cmp(&b.score.median));
        if metric.more_is_better() {
            ways.reverse();
        }
        let winner = match &ways[..] {
            [first, second, ..] => Some(Winner::between(scenario, first.id, second.id, results)),
            _ => None,
        };
        (!ways.is_empty()).then_some(Self { id: scenario, title: scenario.title(), metric, winner, ways })
    }
}

impl Winner {
    fn between(scenario: Scenario, first: Way, second: Way, results: &Results) -> Self {
        let metric = scenario.metric();
        let (mut low, mut high) = results.paired(scenario, first, second, |cell| score(metric, cell));
        if metric.more_is_better() {
            std::mem::swap(&mut low, &mut high);
        }
        Self {
            way: first,
            next: second,
            rounds: low.len(),
            times_better: ratio(&high, &low),
            certainty_percent: percent_below(&low, &high),
        }
    }

    /// How surely, in words.
    pub fn certainty(&self) -> &'static str {
        match self.certainty_percent {
            _ if self.rounds < 3 => "too few rounds to say how surely",
            // Few rounds may agree by chance.
            percent if percent >= 97.5 && self.rounds >= 5 => "surely",
            percent if percent >= 80.0 => "probably",
            _ => "hardly to be told apart",
        }
    }
}

impl WayReport {
    fn new(way: Way, metric: Metric, cells: &[Cell]) -> Self {
        let samples: Vec<&Sample> = cells.iter().flat_map(|cell| &cell.outcome.samples).collect();
        let latencies = sorted(samples.iter().map(|sample| sample.latency_us / 1e3));
        let of_samples = |value: fn(&Sample) -> f64| {
            let rounds = cells.iter().map(|cell| cell.outcome.samples.iter().map(value).collect());
            median_of_all(&rounds.collect::<Vec<Vec<f64>>>())
        };
        let of_cells = |value: fn(&Cell) -> f64| estimate(&cells.iter().map(value).collect::<Vec<_>>());
        let sum = |value: fn(&Cell) -> u64| cells.iter().map(value).sum::<u64>();
        let most = |value: fn(&Cell) -> u64| cells.iter().map(value).max().unwrap_or(0);
        let bytes = sum(|cell| cell.outcome.bytes);
        let wire_bytes = sum(|cell| cell.outcome.traffic.received + cell.outcome.traffic.sent);
        let scores: Vec<f64> = cells.iter().map(|cell| score(metric, cell)).collect();
        Self {
            id: way,
            title: way.title(),
            rounds: cells.len(),
            requests: samples.len(),
            failed: sum(|cell| cell.outcome.failed),
            cut: samples.iter().filter(|sample| sample.cut).count(),
            bytes,
            score: estimate(&scores),
            score_of_rounds: scores,
            first_byte_ms: of_samples(|sample| sample.first_byte_us / 1e3),
            p50_ms: of_samples(|sample| sample.latency_us / 1e3),
            p90_ms: percentile(&latencies, 0.9),
            p99_ms: percentile(&latencies, 0.99),
            worst_ms: percentile(&latencies, 1.0),
            makespan_ms: of_cells(|cell| score(Metric::Makespan, cell)),
            throughput_mb_s: of_cells(|cell| score(Metric::Throughput, cell)),
            requests_s: of_cells(|cell| score(Metric::Requests, cell)),
            client: Costs::new(cells, |cell| Some(cell.client)).unwrap_or_else(Costs::none),
            server: Costs::new(cells, |cell| cell.server),
            wire_bytes,
            overhead_percent: (wire_bytes as f64 / bytes.max(1) as f64 - 1.0) * 100.0,
            connections: sum(|cell| cell.outcome.traffic.connections),
            connections_open: most(|cell| cell.outcome.traffic.open_at_most),
            handshakes: sum(|cell| cell.outcome.traffic.handshakes),
            socket_bytes: most(|cell| cell.socket_bytes),
        }
    }
}

impl Costs {
    fn new(cells: &[Cell], of: fn(&Cell) -> Option<super::meter::Cost>) -> Option<Self> {
        let costs: Vec<_> = cells.iter().filter_map(|cell| Some((of(cell)?, cell.outcome.bytes))).collect();
        if costs.is_empty() {
            return None;
        }
        let per_gb = bootstrap(&costs, |drawn| {
            let bytes: u64 = drawn.iter().map(|(_, bytes)| bytes).sum();
            drawn.iter().map(|(cost, _)| cost.cpu_seconds).sum::<f64>() / (bytes as f64 / 1e9)
        });
        Some(Self {
            cpu_seconds: costs.iter().map(|(cost, _)| cost.cpu_seconds).sum(),
            cpu_seconds_per_gb: per_gb,
            peak_bytes: costs.iter().map(|(cost, _)| cost.peak_bytes).max().unwrap_or(0),
            anonymous_bytes: costs.iter().map(|(cost, _)| cost.anonymous_bytes).max().unwrap_or(0),
            descriptors: costs.iter().map(|(cost, _)| cost.descriptors).max().unwrap_or(0),
        })
    }

    fn none() -> Self {
        let nothing = Estimate { median: f64::NAN, low: f64::NAN, high: f64::NAN };
        Self { cpu_seconds: 0.0, cpu_seconds_per_gb: nothing, peak_bytes: 0, anonymous_bytes: 0, descriptors: 0 }
    }
}
