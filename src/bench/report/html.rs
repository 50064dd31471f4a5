//! The report as one page that needs nothing else: plots first, every figure below them.

use std::fmt::Write as _;

use super::table::{figure, interval, size};
use super::{Costs, Report, ScenarioReport, WayReport, svg};
use crate::bench::claims::{ClaimReport, Verdict};

const STYLE: &str = include_str!("page.css");

/// Writes it.
pub(super) fn write(report: &Report) -> String {
    let mut out = String::from("<!doctype html><html lang='en'><meta charset='utf-8'>");
    out.push_str("<meta name='viewport' content='width=device-width,initial-scale=1'>");
    let _ = write!(out, "<title>wirephoto bench</title><style>{STYLE}</style><body>");
    head(&mut out, report);
    if !report.scenarios.is_empty() {
        winners(&mut out, report);
    }
    if !report.claims.is_empty() {
        out.push_str("<section><h2>What is said of gRPC</h2><p class='lead'>The shaded part of each line is where the claim \
                      puts the figure; the dot is the median measured, the bar its 95 % interval.</p><div class='claims'>");
        for one in &report.claims {
            claim(&mut out, one);
        }
        out.push_str("</div></section>");
    }
    for one in &report.scenarios {
        scenario(&mut out, one);
    }
    foot(&mut out, report);
    out.push_str("</body></html>\n");
    out
}

/// Text as HTML has it.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '\'' => out.push_str("&#39;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
    out
}

fn head(out: &mut String, report: &Report) {
    let (env, options) = (&report.environment, &report.options);
    out.push_str("<header><p class='brand'>wirephoto bench</p><h1>Which wire moves images best?</h1>");
    let mut facts = vec![
        format!("images of {} and {}", size(options.size_bytes), size(options.small_bytes)),
        if options.rtt.is_zero() { "no distance".to_owned() } else { format!("{:?} away", options.rtt) },
        if options.tls { "TLS" } else { "no TLS" }.to_owned(),
        format!("{}, {} cores", env.processor, env.cores),
        format!("Linux {}", env.kernel),
        format!("{} congestion control", env.congestion_control),
        format!("slow start after idle {}", env.slow_start_after_idle),
        format!("wirephoto {} ({})", env.wirephoto, if env.optimised { "release" } else { "debug" }),
    ];
    if let Some(bits) = options.bandwidth {
        facts.insert(1, format!("{} Mbit/s", bits / 1_000_000));
    }
    if let Some(server) = &options.server {
        facts.insert(0, format!("server {server}"));
    }
    out.push_str("<ul class='facts'>");
    for fact in facts {
        let _ = write!(out, "<li>{}</li>", escape(&fact));
    }
    out.push_str("</ul>");
    for trap in &report.traps {
        let _ = write!(out, "<p class='trap'>{}</p>", escape(trap));
    }
    for missing in &report.missing {
        let _ = write!(out, "<p class='trap missing'>Missing: {}</p>", escape(missing));
    }
    out.push_str(
        "<p class='legend'><span class='http'>HTTP</span><span class='grpc'>gRPC</span>\
                  <span class='web'>gRPC-Web, Connect</span><span class='json'>JSON</span></p></header>",
    );
}

/// One card a scenario: who won.
fn winners(out: &mut String, report: &Report) {
    out.push_str("<section><h2>Who won</h2><div class='cards'>");
    for scenario in &report.scenarios {
        let Some(best) = scenario.ways.first() else { continue };
        let digits = usize::from(!scenario.metric.more_is_better());
        let (id, title, score) = (scenario.id.id(), escape(scenario.title), best.score.median);
        let _ = write!(out, "<a class='card' href='#{id}'><small>{title}</small><b>{}</b>", best.id.id());
        let _ = write!(out, "<span>{score:.digits$} {}</span>", scenario.metric.unit());
        if let Some(winner) = &scenario.winner {
            let (times, next, certainty) = (winner.times_better.median, winner.next.id(), winner.certainty());
            let _ = write!(out, "<em>{times:.2} times better than {next}, {certainty}</em>");
        }
        out.push_str("</a>");
    }
    out.push_str("</div></section>");
}

fn claim(out: &mut String, claim: &ClaimReport) {
    let word = claim.verdict.word();
    let _ = write!(out, "<article class='claim'><h3><span class='no'>{}</span>{}", claim.number, escape(claim.says));
    let _ = write!(out, "<span class='verdict {word}'>{word}</span></h3>");
    for part in &claim.parts {
        let (what, rule) = (escape(part.what), escape(&part.rule.words(part.unit)));
        let measured = part.measured.map_or("not measured".to_owned(), |measured| figure(measured, part.unit));
        let mark = match part.verdict {
            Verdict::Confirmed => "✓",
            Verdict::Refuted => "✗",
            Verdict::Undecided => "?",
        };
        let _ = write!(out, "<div class='part {}'><p><i>{mark}</i>{what}</p>", part.verdict.word());
        let _ = write!(out, "<p class='measured'><b>{}</b> <small>claimed {rule}</small></p>", escape(&measured));
        out.push_str(&svg::claim(part));
        out.push_str("</div>");
    }
    out.push_str("</article>");
}

fn scenario(out: &mut String, scenario: &ScenarioReport) {
    let _ = write!(out, "<section id='{}'><h2>{}</h2>", scenario.id.id(), escape(scenario.title));
    if let Some(winner) = &scenario.winner {
        let _ = write!(
            out,
            "<p class='lead'><b>{}</b> won: {} times better than {}, {} ({:.0} % of draws).</p>",
            winner.way.id(),
            interval(winner.times_better, 2),
            winner.next.id(),
            winner.certainty(),
            winner.certainty_percent
        );
    }
    out.push_str(&svg::scores(scenario));
    out.push_str(&svg::costs(scenario));
    out.push_str("<details><summary>Every figure</summary><div class='wide'><table><tr>");
    for heading in HEADINGS {
        let _ = write!(out, "<th>{heading}</th>");
    }
    out.push_str("</tr>");
    for way in &scenario.ways {
        row(out, way);
    }
    out.push_str("</table></div></details></section>");
}

const HEADINGS: [&str; 21] = [
    "way",
    "rounds",
    "requests",
    "cut",
    "first byte ms",
    "p50 ms",
    "p90",
    "p99",
    "worst",
    "makespan ms",
    "MB/s",
    "requests/s",
    "client CPU s/GB",
    "server",
    "client peak",
    "anonymous",
    "server peak",
    "anonymous",
    "wire +%",
    "connections (TLS), open",
    "in sockets",
];

fn row(out: &mut String, way: &WayReport) {
    let server = |tell: &dyn Fn(&Costs) -> String| way.server.as_ref().map_or("n/a".to_owned(), tell);
    let cpu = |costs: &Costs| interval(costs.cpu_seconds_per_gb, 3);
    let peak = |costs: &Costs| size(costs.peak_bytes);
    let anonymous = |costs: &Costs| size(costs.anonymous_bytes);
    let cells = [
        way.id.id().to_owned(),
        way.rounds.to_string(),
        way.requests.to_string(),
        way.cut.to_string(),
        interval(way.first_byte_ms, 1),
        interval(way.p50_ms, 1),
        format!("{:.1}", way.p90_ms),
        format!("{:.1}", way.p99_ms),
        format!("{:.1}", way.worst_ms),
        interval(way.makespan_ms, 1),
        interval(way.throughput_mb_s, 0),
        interval(way.requests_s, 0),
        cpu(&way.client),
        server(&cpu),
        peak(&way.client),
        anonymous(&way.client),
        server(&peak),
        server(&anonymous),
        format!("{:.2}", way.overhead_percent),
        format!("{} ({}), {}", way.connections, way.handshakes, way.connections_open),
        size(way.socket_bytes),
    ];
    let _ = write!(out, "<tr title='{}'>", escape(way.title));
    for cell in cells {
        let _ = write!(out, "<td>{}</td>", escape(&cell));
    }
    out.push_str("</tr>");
}

fn foot(out: &mut String, report: &Report) {
    out.push_str("<footer><p>Ways are measured by turns, each round in another order, by clients of their own process \
                  that are warm. Bars are medians, dots are rounds, whiskers the 95 % bootstrap interval of the median. \
                  CPU is what the kernel accounts to each process; bytes are counted at the socket.</p>");
    for note in &report.notes {
        let _ = write!(out, "<p>{}</p>", escape(note));
    }
    let libraries = escape(&report.environment.libraries.join(", "));
    let _ = write!(out, "<p>Took {:.0} s. {libraries}.</p></footer>", report.seconds);
}
