//! The report for a terminal: who won each scenario, and the figures of every way.

use std::fmt::Write as _;

use super::{Costs, Metric, Report, ScenarioReport, WayReport};
use crate::bench::stats::Estimate;

/// Writes it.
pub(super) fn write(report: &Report) -> String {
    let mut out = String::new();
    head(&mut out, report);
    for scenario in &report.scenarios {
        table(&mut out, scenario);
    }
    claims(&mut out, report);
    if !report.notes.is_empty() {
        line(&mut out, "\nLess sure");
        for note in &report.notes {
            line(&mut out, &format!("  - {note}"));
        }
    }
    if !report.missing.is_empty() {
        line(&mut out, "\nMissing");
        for missing in &report.missing {
            line(&mut out, &format!("  - {missing}"));
        }
    }
    line(&mut out, &format!("\nTook {:.0} s.", report.seconds));
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn head(out: &mut String, report: &Report) {
    let (env, options) = (&report.environment, &report.options);
    let build = if env.optimised { "release" } else { "debug" };
    line(out, &format!("wirephoto {} ({build}), {}", env.wirephoto, env.libraries.join(", ")));
    line(out, &format!("{}, {} cores, Linux {}", env.processor, env.cores, env.kernel));
    let (congestion, idle) = (&env.congestion_control, &env.slow_start_after_idle);
    line(out, &format!("congestion control {congestion}, tcp_slow_start_after_idle {idle}, load {:.1}", env.load));
    let mut what = format!("images of {}, small ones of {}", size(options.size_bytes), size(options.small_bytes));
    if !options.rtt.is_zero() {
        let _ = write!(what, ", {:?} away", options.rtt);
    }
    if let Some(bits) = options.bandwidth {
        let _ = write!(what, ", {} Mbit/s", bits / 1_000_000);
    }
    what.push_str(if options.tls { ", TLS" } else { ", no TLS" });
    line(out, &what);
    for trap in &report.traps {
        line(out, &format!("  ! {trap}"));
    }
}

fn table(out: &mut String, scenario: &ScenarioReport) {
    line(out, &format!("\n{} — {}, by {}", scenario.id.id(), scenario.title, scenario.metric.title()));
    if let Some(winner) = &scenario.winner {
        let (way, next, times) = (winner.way.id(), winner.next.id(), interval(winner.times_better, 2));
        let (certainty, percent) = (winner.certainty(), winner.certainty_percent);
        line(out, &format!("  {way} won: {times} times better than {next}, {certainty} ({percent:.0} % of draws)"));
    }
    let mut rows = vec![HEADINGS.map(str::to_owned).to_vec()];
    rows.extend(scenario.ways.iter().map(|way| row(scenario.metric, way)));
    let widths: Vec<usize> = (0..HEADINGS.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let mut text = format!("  {:<width$}", row[0], width = widths[0]);
        for (cell, width) in row.iter().zip(&widths).skip(1) {
            let _ = write!(text, "  {cell:>width$}");
        }
        line(out, &text);
    }
}

fn claims(out: &mut String, report: &Report) {
    if !report.claims.is_empty() {
        line(out, "\nThe claims (docs/benchmarks.md says by which rule each is judged)");
    }
    for claim in &report.claims {
        line(out, &format!("\n  {:>2}. {}: {}", claim.number, claim.says, claim.verdict.word().to_uppercase()));
        for part in &claim.parts {
            let rule = part.rule.words(part.unit);
            let figure = part.measured.map_or("not measured".to_owned(), |measured| figure(measured, part.unit));
            line(out, &format!("      {}: {figure}; claimed: {rule}: {}", part.what, part.verdict.word()));
        }
    }
}

/// An estimate with its unit, as exact as is of use.
pub(super) fn figure(estimate: Estimate, unit: &str) -> String {
    let digits = match estimate.median.abs() {
        value if value >= 100.0 => 0,
        value if value >= 10.0 => 1,
        _ => 2,
    };
    let unit = if unit.is_empty() { "times" } else { unit };
    format!("{} {unit}", interval(estimate, digits))
}

const HEADINGS: [&str; 16] = [
    "way",
    "score (95 %)",
    "first byte",
    "p50 ms",
    "p90",
    "p99",
    "worst",
    "MB/s",
    "CPU s/GB client",
    "server",
    "peak (anon) client",
    "server",
    "wire +%",
    "conns (TLS)",
    "open",
    "sockets hold",
];

fn row(metric: Metric, way: &WayReport) -> Vec<String> {
    let digits = if metric.more_is_better() { 0 } else { 1 };
    let cpu = |costs: &Costs| number(costs.cpu_seconds_per_gb.median, 3);
    let memory = |costs: &Costs| format!("{} ({})", size(costs.peak_bytes), size(costs.anonymous_bytes));
    let server = |tell: &dyn Fn(&Costs) -> String| way.server.as_ref().map_or("n/a".to_owned(), tell);
    let cut = if way.cut > 0 { ">" } else { "" };
    vec![
        way.id.id().to_owned(),
        interval(way.score, digits),
        number(way.first_byte_ms.median, 1),
        number(way.p50_ms.median, 1),
        number(way.p90_ms, 1),
        number(way.p99_ms, 1),
        format!("{cut}{}", number(way.worst_ms, 1)),
        number(way.throughput_mb_s.median, 0),
        cpu(&way.client),
        server(&cpu),
        memory(&way.client),
        server(&memory),
        number(way.overhead_percent, 2),
        format!("{} ({})", way.connections, way.handshakes),
        way.connections_open.to_string(),
        size(way.socket_bytes),
    ]
}

fn number(value: f64, digits: usize) -> String {
    if value.is_finite() { format!("{value:.digits$}") } else { "n/a".to_owned() }
}

/// `12.3 (11.8-13.0)`, without the interval where there is none.
pub(super) fn interval(estimate: Estimate, digits: usize) -> String {
    let Estimate { median, low, high } = estimate;
    if low.is_finite() && high.is_finite() {
        format!("{} ({}-{})", number(median, digits), number(low, digits), number(high, digits))
    } else {
        number(median, digits)
    }
}

/// Bytes for people.
pub(super) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        bytes if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        bytes if bytes >= 1e7 => format!("{:.0} MB", bytes / 1e6),
        bytes if bytes >= 1e6 => format!("{:.1} MB", bytes / 1e6),
        bytes if bytes >= 1e3 => format!("{:.0} KB", bytes / 1e3),
        bytes => format!("{bytes:.0} B"),
    }
}
