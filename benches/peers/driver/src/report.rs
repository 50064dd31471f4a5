//! What was found, for people.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::act::Sample;
use crate::rows::{Contender, Figure, Goal, NGINX, OURS, Place, Row, Unit};
use crate::server::Places;
use crate::{conn, os, stats};

/// A ratio of two runs may differ by this much.
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

    fn middle(&self, place: Place, of: impl Fn(&Sample) -> Option<f64>) -> Option<f64> {
        stats::middle(&self.values(place, of))
    }

    /// Every measurement, one a line.
    pub fn write(&self, file: &Path) -> std::io::Result<()> {
        let mut text = "row,server,round,figure,server_cpu,client_cpu,anonymous,foreign\n".to_owned();
        for ((row, label), samples) in &self.samples {
            for (round, sample) in samples {
                let Sample { figure, server_cpu, client_cpu, anonymous, foreign } = sample;
                let [server_cpu, client_cpu] = [server_cpu, client_cpu].map(|cpu| cpu.unwrap_or(f64::NAN));
                text += &format!("{row},{label},{round},{figure},{server_cpu},{client_cpu},{anonymous},{foreign}\n");
            }
        }
        std::fs::write(file, text)
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
    let middle = |label| results.middle((row.key, label), figure);
    let peers = row.contenders.iter().filter(|one| one.server != OURS && one.server != NGINX);
    let best = peers.max_by(|a, b| {
        let rank = |label| middle(label).map_or(f64::MIN, |figure| if unit.rises() { figure } else { -figure });
        rank(a.label).total_cmp(&rank(b.label))
    });
    println!("{} [{}]", row.title, row.key);
    let heads = [unit.name(), "+-", "x nginx", "x best peer", "server", "client", "anon MB"];
    println!(
        "  {:22}{:>9}{:>8}{:>9}{:>13}{:>9}{:>9}{:>9}",
        "", heads[0], heads[1], heads[2], heads[3], heads[4], heads[5], heads[6]
    );
    for contender in &row.contenders {
        let place = (row.key, contender.label);
        let show =
            |value: Option<f64>, digits: usize| value.map_or("-".to_owned(), |value| format!("{value:.digits$}"));
        let doubt = stats::doubt(&results.values(place, figure));
        let against = |other| stats::middle(&results.ratios(place, other, figure));
        println!(
            "  {:22}{:>9}{:>8}{:>9}{:>13}{:>9}{:>9}{:>9}",
            contender.label,
            show(middle(contender.label).map(|value| unit.of(value)), 2),
            percent(doubt),
            show(against(NGINX), 2),
            show(best.and_then(|best| against(best.label)), 2),
            show(results.middle(place, |sample| sample.server_cpu), 3),
            show(results.middle(place, |sample| sample.client_cpu), 3),
            show(results.middle(place, |sample| Some(sample.anonymous as f64 / 1e6)), 1),
        );
    }
    if let Some(best) = best {
        println!("  best peer: {}; server and client: CPU seconds per GB", best.label);
    } else {
        println!("  server and client: CPU seconds per GB");
    }
    println!();
}

/// What a goal is held against, round by round.
fn values_of(goal: &Goal, rows: &[Row], results: &Results) -> Vec<f64> {
    match goal.figure {
        Figure::Ratio(place, other) => results.ratios(place, other, figure),
        Figure::Cpu(place, other) => results.ratios(place, other, |sample| sample.server_cpu),
        Figure::Level(place) => {
            let unit = rows.iter().find(|row| row.key == place.0).map(|row| row.unit);
            results.values(place, |sample| Some(unit?.of(sample.figure)))
        }
    }
}

/// Whether another run would find the same within [`STEADY`]: the difference of two runs is as much wider than the doubt
/// of one as the root of two.
fn repeats(doubt: Option<f64>) -> bool {
    doubt.is_some_and(|doubt| doubt * std::f64::consts::SQRT_2 <= STEADY)
}

/// What of a row another run should find again, and the doubt of it: the ratios that its goals name, and each server's to
/// nginx.
fn doubts_of<'a>(row: &'a Row, goals: &'a [Goal], results: &'a Results) -> impl Iterator<Item = (String, Option<f64>)> {
    let named = goals.iter().filter(|goal| goal.place().0 == row.key).map(|goal| {
        let name = format!("{}: {}", goal.row, goal.what);
        (name, values_of(goal, std::slice::from_ref(row), results))
    });
    let comparable = |one: &&Contender| one.server != NGINX && row.unit != Unit::Kibibytes;
    let others = row.contenders.iter().filter(comparable).map(|contender| {
        let name = format!("{}: {} x nginx", row.key, contender.label);
        (name, results.ratios((row.key, contender.label), NGINX, figure))
    });
    let measured = named.chain(others).filter(|(_, values)| !values.is_empty());
    measured.map(|(name, values)| (name, stats::doubt(&values)))
}

/// Whether more rounds of this row would tell nothing new.
pub fn settled(row: &Row, goals: &[Goal], results: &Results) -> bool {
    doubts_of(row, goals, results).all(|(_, doubt)| repeats(doubt))
}

pub fn goals(goals: &[Goal], rows: &[Row], results: &Results) {
    let doubtful = if results.foreign() > FOREIGN { ", but the machine was not quiet" } else { "" };
    let mut last = "";
    for goal in goals.iter().filter(|goal| rows.iter().any(|row| row.key == goal.place().0)) {
        if last.is_empty() {
            println!("Goals\n  {:52}{:>9}{:>9}{:>8}", "", "goal", "figure", "+-");
        }
        if goal.row != last {
            println!("  {}", goal.row);
            last = goal.row;
        }
        let values = values_of(goal, rows, results);
        let bound = match (goal.at_least, goal.at_most) {
            (Some(least), _) => format!(">= {least}"),
            (_, most) => format!("<= {}", most.unwrap_or_default()),
        };
        let Some(figure) = stats::middle(&values) else {
            println!("    {:50}{bound:>9}{:>9}{:>8}  not measured", goal.what, "-", "-");
            continue;
        };
        let reached =
            goal.at_least.is_none_or(|least| figure >= least) && goal.at_most.is_none_or(|most| figure <= most);
        let verdict = if reached { "reached" } else { "not reached" };
        let doubt = percent(stats::doubt(&values));
        println!("    {:50}{bound:>9}{figure:>9.2}{doubt:>8}  {verdict}{doubtful}", goal.what);
    }
    println!();
}

/// Whether these figures would come again.
pub fn quiet(rows: &[Row], goals: &[Goal], results: &Results, before: &str) {
    let foreign = results.foreign();
    let used = if foreign.is_finite() { format!("{:.0} %", foreign * 100.0) } else { "an unknown share".to_owned() };
    println!("Others used {used} of the machine; load {before} before, {} after.", os::load());
    let within = format!("within {:.0} %", STEADY * 100.0);
    if foreign > FOREIGN {
        println!("NOT QUIET: these figures will not repeat {within}; run again when nothing else does.");
    }
    let rounds = results.samples.values().map(BTreeMap::len).max().unwrap_or(0);
    if rounds < 3 {
        println!("Too few rounds to say how far these figures lie apart: 3 at least, better 8.");
        return;
    }
    let all: Vec<_> = rows.iter().flat_map(|row| doubts_of(row, goals, results)).collect();
    let wide: Vec<_> = all.iter().filter(|(_, doubt)| !repeats(*doubt)).collect();
    println!("{} of {} ratios will repeat {within}.", all.len() - wide.len(), all.len());
    if !wide.is_empty() {
        println!("NOT STEADY: after {rounds} rounds these will not, be it the machine, its host or the server:");
        for (name, doubt) in wide {
            println!("  {name}, +- {}", percent(*doubt));
        }
    }
}

fn percent(share: Option<f64>) -> String {
    share.map_or("-".to_owned(), |share| format!("{:.0} %", share * 100.0))
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
