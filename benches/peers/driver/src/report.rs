//! What was found, for people.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::Result;

use crate::act::Sample;
use crate::rows::{Figure, Goal, NGINX, OURS, Place, Row};
use crate::server::Places;
use crate::{conn, os, stats};

/// Medians of two runs may differ by this much.
const STEADY: f64 = 0.10;
/// Of the machine, used by others: more than this is not quiet.
const FOREIGN: f64 = 0.05;

#[derive(Default)]
pub struct Results {
    samples: BTreeMap<(&'static str, &'static str), BTreeMap<usize, Sample>>,
    troubles: Vec<String>,
}

impl Results {
    pub fn add(&mut self, row: &'static str, label: &'static str, round: usize, sample: Sample) {
        self.samples.entry((row, label)).or_default().insert(round, sample);
    }

    pub fn trouble(&mut self, what: String) {
        crate::progress("");
        eprintln!("{what}");
        self.troubles.push(what);
    }

    fn values(&self, place: Place, of: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        self.samples.get(&place).into_iter().flat_map(BTreeMap::values).filter_map(of).collect()
    }

    fn median(&self, place: Place, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        stats::median(&self.values(place, of))
    }

    /// Share of the machine that others used while something was measured.
    fn foreign(&self) -> f64 {
        let all = self.samples.values().flat_map(BTreeMap::values).map(|sample| sample.foreign);
        let known: Vec<f64> = all.filter(|share| share.is_finite()).collect();
        known.iter().sum::<f64>() / known.len() as f64
    }

    /// One by the other, round by round.
    fn ratios(&self, place: Place, other: &'static str, of: impl Fn(&Sample) -> Option<f64>) -> Vec<f64> {
        let (Some(ours), Some(theirs)) = (self.samples.get(&place), self.samples.get(&(place.0, other))) else {
            return Vec::new();
        };
        let pair = |(round, sample): (&usize, &Sample)| Some(of(sample)? / of(theirs.get(round)?)?);
        ours.iter().filter_map(pair).collect()
    }
}

fn figure(sample: &Sample) -> Option<f64> {
    Some(sample.figure)
}

/// Where this runs, and what of it would hide a difference.
pub fn environment(places: &Places, outside: Option<&str>) -> Result<()> {
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let congestion = conn::congestion_control()?;
    println!("{} cores, Linux {}, load {}", os::cores(), kernel.trim(), os::load());
    let place = outside.map_or("in a network namespace of its own".to_owned(), |why| format!("not apart: {why}"));
    println!("congestion control {congestion}, {place}");
    if congestion != "cubic" {
        println!(
            "TRAP: {congestion} paces loopback and hides differences between fast servers; run as root with iproute2"
        );
    }
    let nginx = Command::new("/usr/sbin/nginx").arg("-v").output().map(|output| output.stderr).unwrap_or_default();
    println!("{}", String::from_utf8_lossy(&nginx).trim().trim_start_matches("nginx version: "));
    if let Ok(versions) = std::fs::read_to_string(places.peers.join("versions")) {
        println!("{}", versions.trim());
    }
    println!();
    Ok(())
}

pub fn row(row: &Row, results: &Results) {
    let unit = row.unit;
    let middle = |label| results.median((row.key, label), figure);
    let peers = row.contenders.iter().filter(|one| one.server != OURS && one.server != NGINX);
    let best = peers.max_by(|a, b| {
        let rank = |label| middle(label).map_or(f64::MIN, |figure| if unit.rises() { figure } else { -figure });
        rank(a.label).total_cmp(&rank(b.label))
    });
    println!("{} [{}]", row.title, row.key);
    let heads = [unit.name(), "spread", "x nginx", "x best peer", "server", "client", "anon MB"];
    println!(
        "  {:22}{:>9}{:>8}{:>9}{:>13}{:>9}{:>9}{:>9}",
        "", heads[0], heads[1], heads[2], heads[3], heads[4], heads[5], heads[6]
    );
    for contender in &row.contenders {
        let place = (row.key, contender.label);
        let show =
            |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
        let spread = stats::spread(&results.values(place, figure));
        let against = |other| stats::median(&results.ratios(place, other, figure));
        println!(
            "  {:22}{:>9}{:>8}{:>9}{:>13}{:>9}{:>9}{:>9}",
            contender.label,
            show(middle(contender.label).map(|value| unit.of(value)), 2),
            spread.map_or("-".to_owned(), |spread| format!("{:.0} %", spread * 100.0)),
            show(against(NGINX), 2),
            show(best.and_then(|best| against(best.label)), 2),
            show(results.median(place, |sample| sample.server_cpu), 3),
            show(results.median(place, |sample| sample.client_cpu), 3),
            show(results.median(place, |sample| Some(sample.anonymous as f64 / 1e6)), 1),
        );
    }
    if let Some(best) = best {
        println!("  best peer: {}; server and client: CPU seconds per GB", best.label);
    } else {
        println!("  server and client: CPU seconds per GB");
    }
    println!();
}

pub fn goals(goals: &[Goal], rows: &[Row], results: &Results) {
    let wanted = |goal: &&Goal| {
        let (Figure::Ratio(place, _) | Figure::Cpu(place, _) | Figure::Level(place)) = goal.figure;
        rows.iter().any(|row| row.key == place.0)
    };
    let doubt = if results.foreign() > FOREIGN { ", but the machine was not quiet" } else { "" };
    let mut last = "";
    for goal in goals.iter().filter(wanted) {
        if last.is_empty() {
            println!("Goals\n  {:52}{:>9}{:>9}{:>8}", "", "goal", "figure", "spread");
        }
        if goal.row != last {
            println!("  {}", goal.row);
            last = goal.row;
        }
        let values = match goal.figure {
            Figure::Ratio(place, other) => results.ratios(place, other, figure),
            Figure::Cpu(place, other) => results.ratios(place, other, |sample| sample.server_cpu),
            Figure::Level(place) => {
                let unit = rows.iter().find(|row| row.key == place.0).map(|row| row.unit);
                results.values(place, |sample| Some(unit?.of(sample.figure)))
            }
        };
        let bound = match (goal.at_least, goal.at_most) {
            (Some(least), _) => format!(">= {least}"),
            (_, most) => format!("<= {}", most.unwrap_or_default()),
        };
        let Some(figure) = stats::median(&values) else {
            println!("    {:50}{bound:>9}{:>9}{:>8}  not measured", goal.what, "-", "-");
            continue;
        };
        let reached =
            goal.at_least.is_none_or(|least| figure >= least) && goal.at_most.is_none_or(|most| figure <= most);
        let spread = stats::spread(&values).map_or("-".to_owned(), |spread| format!("{:.0} %", spread * 100.0));
        let verdict = if reached { "reached" } else { "not reached" };
        println!("    {:50}{bound:>9}{figure:>9.2}{spread:>8}  {verdict}{doubt}", goal.what);
    }
    println!();
}

/// Whether these figures would come again.
pub fn quiet(rows: &[Row], results: &Results, before: &str) {
    let foreign = results.foreign();
    let mut wide = Vec::new();
    for row in rows {
        for contender in &row.contenders {
            let spread = stats::spread(&results.values((row.key, contender.label), figure));
            if let Some(spread) = spread.filter(|spread| *spread > STEADY) {
                wide.push(format!("{} {} {:.0} %", row.key, contender.label, spread * 100.0));
            }
        }
    }
    let used = if foreign.is_finite() { format!("{:.0} %", foreign * 100.0) } else { "an unknown share".to_owned() };
    println!("Others used {used} of the machine; load {before} before, {} after.", os::load());
    if foreign > FOREIGN {
        println!(
            "NOT QUIET: these figures will not repeat within {:.0} %; run again when nothing else does.",
            STEADY * 100.0
        );
    }
    let rounds = results.samples.values().map(BTreeMap::len).max().unwrap_or(0);
    if rounds < 3 {
        println!("Too few rounds to say how far these figures lie apart: 3 at least, better 5.");
    } else if wide.is_empty() {
        println!("Every figure's spread (half of what lies between its quartiles) is within {:.0} %.", STEADY * 100.0);
    } else {
        println!("Spread beyond {:.0} %: {}.", STEADY * 100.0, wide.join("; "));
    }
}

/// Says again what is missing; true when nothing is.
pub fn troubles(results: &Results) -> bool {
    if !results.troubles.is_empty() {
        println!("Missing from this run:");
        for trouble in &results.troubles {
            println!("  {trouble}");
        }
    }
    results.troubles.is_empty()
}
