//! Plots, written as SVG by hand: bars with their intervals, and a claim's line with what was measured on it.

use std::fmt::Write as _;

use super::table::size;
use super::{Costs, ScenarioReport, WayReport};
use crate::bench::claims::{PartReport, Rule};
use crate::bench::ways::Way;

const WIDTH: f64 = 860.0;
/// Where bars begin.
const LEFT: f64 = 130.0;
/// Where figures stand.
const RIGHT: f64 = 690.0;
const ROW: f64 = 30.0;

/// The family a way belongs to, which is its colour.
fn family(way: Way) -> &'static str {
    match way {
        Way::H1New | Way::H1Pool | Way::H2 => "http",
        Way::GrpcWeb | Way::Connect => "web",
        Way::Json => "json",
        _ => "grpc",
    }
}

fn open(out: &mut String, height: f64, label: &str) {
    let label = super::html::escape(label);
    let _ = write!(out, "<svg viewBox='0 0 {WIDTH} {height:.0}' role='img' aria-label='{label}'>");
}

fn text(out: &mut String, x: f64, y: f64, class: &str, words: &str) {
    let words = super::html::escape(words);
    let _ = write!(out, "<text x='{x:.1}' y='{y:.1}' class='{class}'>{words}</text>");
}

/// The scenario's score of every way: a bar to the median, a whisker over its interval, a dot a round.
pub(super) fn scores(scenario: &ScenarioReport) -> String {
    let more = scenario.metric.more_is_better();
    let digits = usize::from(!more);
    let unit = scenario.metric.unit();
    let all = scenario.ways.iter().flat_map(|way| way.score_of_rounds.iter().copied());
    let most = all.fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    // One way that is far slower must not make all others a line: beyond a factor of 40, the scale is logarithmic.
    let least = scenario.ways.iter().map(|way| way.score.median).fold(f64::INFINITY, f64::min);
    let is_log = most / least > 40.0;
    let x = |value: f64| {
        let share = if is_log {
            let floor = least / 2.0;
            (value.max(floor) / floor).ln() / (most / floor).ln()
        } else {
            value / most
        };
        LEFT + share.clamp(0.0, 1.0) * (RIGHT - LEFT)
    };
    let height = ROW * scenario.ways.len() as f64 + 30.0;
    let mut out = String::new();
    open(&mut out, height, &format!("{}: {}", scenario.title, scenario.metric.title()));
    for (at, way) in scenario.ways.iter().enumerate() {
        let top = ROW * at as f64;
        let middle = top + ROW / 2.0;
        let family = family(way.id);
        let end = x(way.score.median);
        let _ = write!(out, "<g class='{family}'><title>{}</title>", super::html::escape(&told(way)));
        text(&mut out, LEFT - 8.0, middle + 4.0, "name", way.id.id());
        let (y, width, tall) = (top + 6.0, (end - LEFT).max(1.0), ROW - 12.0);
        let _ = write!(out, "<rect class='bar' x='{LEFT}' y='{y:.1}' width='{width:.1}' height='{tall}' rx='3'/>");
        for round in &way.score_of_rounds {
            let _ = write!(out, "<circle class='round' cx='{:.1}' cy='{middle:.1}' r='2.2'/>", x(*round));
        }
        if way.score.high.is_finite() {
            let (low, high) = (x(way.score.low), x(way.score.high));
            let (up, down) = (middle - 6.0, middle + 6.0);
            let _ = write!(
                out,
                "<path class='whisker' d='M{low:.1} {up:.1}V{down:.1}M{low:.1} {middle:.1}H{high:.1}M{high:.1} {up:.1}V{down:.1}'/>"
            );
        }
        let times = match scenario.ways.first() {
            Some(best) if at > 0 => {
                let (a, b) = (way.score.median, best.score.median);
                format!("  ({:.2}x)", if more { b / a } else { a / b })
            }
            _ => String::new(),
        };
        let cut = if way.cut > 0 { ">" } else { "" };
        text(
            &mut out,
            RIGHT + 10.0,
            middle + 4.0,
            "figure",
            &format!("{cut}{:.digits$} {unit}{times}", way.score.median),
        );
        out.push_str("</g>");
    }
    let scale = if is_log { ", logarithmic" } else { "" };
    let better = if more { "longer is better" } else { "shorter is better" };
    text(&mut out, LEFT, height - 8.0, "note", &format!("{} ({unit}){scale}: {better}", scenario.metric.title()));
    out.push_str("</svg>");
    out
}

fn told(way: &WayReport) -> String {
    format!(
        "{}: first byte {:.1} ms, p50 {:.1}, p90 {:.1}, p99 {:.1}, worst {:.1}; {} requests in {} rounds",
        way.title,
        way.first_byte_ms.median,
        way.p50_ms.median,
        way.p90_ms,
        way.p99_ms,
        way.worst_ms,
        way.requests,
        way.rounds
    )
}

/// CPU seconds for a gigabyte, server and client on top of each other; and the memory of both beside it.
pub(super) fn costs(scenario: &ScenarioReport) -> String {
    let cpu = |costs: &Costs| costs.cpu_seconds_per_gb.median;
    let total = |way: &WayReport| cpu(&way.client) + way.server.as_ref().map_or(0.0, cpu);
    let most = scenario.ways.iter().map(total).filter(|total| total.is_finite()).fold(f64::MIN_POSITIVE, f64::max);
    let right = RIGHT - 120.0;
    let width = |seconds: f64| (seconds / most * (right - LEFT)).max(0.0);
    let height = ROW * scenario.ways.len() as f64 + 30.0;
    let mut out = String::new();
    open(&mut out, height, &format!("{}: CPU and memory", scenario.title));
    for (at, way) in scenario.ways.iter().enumerate() {
        let (top, middle) = (ROW * at as f64 + 6.0, ROW * at as f64 + ROW / 2.0);
        let (server, client) = (way.server.as_ref().map_or(0.0, cpu), cpu(&way.client));
        let (server_wide, client_wide, tall) = (width(server), width(client), ROW - 12.0);
        let _ = write!(out, "<g class='{}'>", family(way.id));
        text(&mut out, LEFT - 8.0, middle + 4.0, "name", way.id.id());
        let _ = write!(out, "<rect class='bar' x='{LEFT}' y='{top:.1}' width='{server_wide:.1}' height='{tall}'/>");
        let begin = LEFT + server_wide;
        let _ =
            write!(out, "<rect class='pale' x='{begin:.1}' y='{top:.1}' width='{client_wide:.1}' height='{tall}'/>");
        let told = match &way.server {
            Some(_) => format!("{server:.3} + {client:.3} s/GB"),
            None => format!("{client:.3} s/GB"),
        };
        text(&mut out, begin + client_wide + 8.0, middle + 4.0, "figure", &told);
        let memory = |costs: &Costs| size(costs.anonymous_bytes);
        let server = way.server.as_ref().map_or("n/a".to_owned(), memory);
        text(&mut out, WIDTH - 4.0, middle + 4.0, "end", &format!("{server} + {}", memory(&way.client)));
        out.push_str("</g>");
    }
    text(&mut out, LEFT, height - 8.0, "note", "CPU of server (full) and client (pale) for a GB of images");
    text(&mut out, WIDTH - 4.0, height - 8.0, "end note", "anonymous memory");
    out.push_str("</svg>");
    out
}

/// Where a claim says its figure is, and where it was measured.
pub(super) fn claim(part: &PartReport) -> String {
    let Some(measured) = part.measured else { return String::new() };
    let (low, high) = match part.rule {
        Rule::AtLeast(least) => (least, f64::INFINITY),
        Rule::AtMost(most) => (f64::NEG_INFINITY, most),
        Rule::Between(least, most) => (least, most),
    };
    let is_finite = measured.low.is_finite() && measured.high.is_finite();
    let ends = if is_finite { [measured.low, measured.high] } else { [measured.median; 2] };
    let known = [low, high, measured.median, 0.0].into_iter().chain(ends).filter(|value| value.is_finite());
    let (least, most) = known.fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), value| (a.min(value), b.max(value)));
    let span = (most - least).max(f64::MIN_POSITIVE) * 1.1;
    let begin = if least < 0.0 { least - span * 0.05 } else { 0.0 };
    let x = |value: f64| ((value - begin) / span).clamp(0.0, 1.0) * 400.0;
    let (from, to) = (x(low.max(begin)), x(high.min(begin + span)));
    let mut out = String::from("<svg class='line' viewBox='0 0 400 18' aria-hidden='true'>");
    let _ = write!(out, "<path class='axis' d='M0 9H400'/>");
    let _ =
        write!(out, "<rect class='band' x='{from:.1}' y='3' width='{:.1}' height='12' rx='2'/>", (to - from).max(2.0));
    if is_finite {
        let (a, b) = (x(measured.low), x(measured.high));
        let _ = write!(out, "<path class='whisker' d='M{a:.1} 9H{b:.1}M{a:.1} 5V13M{b:.1} 5V13'/>");
    }
    let _ = write!(out, "<circle class='dot' cx='{:.1}' cy='9' r='5'/></svg>", x(measured.median));
    out
}
