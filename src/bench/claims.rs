//! What is said of gRPC, as data: each claim with the experiments that settle it and the rule that judges them, all of
//! it fixed before anything is measured.
//!
//! A figure is judged by its 95 % interval, widened by a tenth on either side, which is what one run differs from the
//! next: a part is confirmed when all of the interval is where the claim says, refuted when all of it is elsewhere, and
//! undecided else, or when it was measured less than three times. A claim is confirmed when all its parts are, refuted
//! when one of them is, and undecided else.

use serde::Serialize;

use super::options::Options;
use super::report::score;
use super::scenarios::{Metric, Scenario};
use super::stats::{Estimate, estimate, median, ratio};
use super::ways::Way;
use super::{Cell, Results};

/// What became of a claim or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It is so.
    Confirmed,
    /// It is not so.
    Refuted,
    /// It cannot be told from these figures.
    Undecided,
}

impl Verdict {
    /// In words.
    pub fn word(self) -> &'static str {
        match self {
            Self::Confirmed => "confirmed",
            Self::Refuted => "refuted",
            Self::Undecided => "undecided",
        }
    }
}

/// Where a figure must be for a claim to hold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// There or above.
    AtLeast(f64),
    /// There or below.
    AtMost(f64),
    /// From the one to the other.
    Between(f64, f64),
}

/// What one run differs from the next, as a factor.
const MARGIN: f64 = 1.1;
const FEWEST: usize = 3;

impl Rule {
    fn judge(self, Estimate { low, high, .. }: Estimate) -> Verdict {
        let (least, most) = match self {
            Self::AtLeast(least) => (least, f64::INFINITY),
            Self::AtMost(most) => (f64::NEG_INFINITY, most),
            Self::Between(least, most) => (least, most),
        };
        if !(low.is_finite() && high.is_finite()) {
            Verdict::Undecided
        } else if low >= least && high <= most {
            Verdict::Confirmed
        } else if high < least || low > most {
            Verdict::Refuted
        } else {
            Verdict::Undecided
        }
    }
}

/// One experiment of a claim.
pub(super) struct Part {
    what: &'static str,
    unit: &'static str,
    rule: Rule,
    measure: fn(&Evidence<'_>) -> Option<Figures>,
}

/// A claim.
pub(super) struct Claim {
    number: u32,
    says: &'static str,
    parts: &'static [Part],
}

/// A claim and its verdict.
#[derive(Debug, Serialize)]
pub struct ClaimReport {
    /// Its number.
    pub number: u32,
    /// What it says.
    pub says: &'static str,
    /// What became of it.
    pub verdict: Verdict,
    /// The experiments.
    pub parts: Vec<PartReport>,
}

/// A part of a claim and its verdict.
#[derive(Debug, Serialize)]
pub struct PartReport {
    /// What was compared.
    pub what: &'static str,
    /// Unit of the figure; empty for a ratio.
    pub unit: &'static str,
    /// Where it must be for the claim to hold.
    pub rule: Rule,
    /// What was measured; `null` when it was not.
    pub measured: Option<Estimate>,
    /// How often.
    pub rounds: usize,
    /// What became of it.
    pub verdict: Verdict,
}

/// Rounds of one figure, and how they are compared with the next run: widened as a ratio, or as a difference of two.
pub(super) struct Figures {
    measured: Estimate,
    rounds: usize,
    /// What a verdict goes by.
    widened: Estimate,
}

impl Figures {
    fn of(rounds: usize, measured: Estimate, widen: impl Fn(f64, f64) -> f64) -> Option<Self> {
        let widened =
            Estimate { low: widen(measured.low, 1.0 / MARGIN), high: widen(measured.high, MARGIN), ..measured };
        measured.median.is_finite().then_some(Self { measured, rounds, widened })
    }

    fn plain(values: &[f64]) -> Option<Self> {
        Self::of(values.len(), estimate(values), |end, margin| end * margin)
    }

    /// `a / b`, of the same rounds.
    fn ratio((a, b): (Vec<f64>, Vec<f64>)) -> Option<Self> {
        Self::of(a.len().min(b.len()), ratio(&a, &b), |end, margin| end * margin)
    }

    /// By how many percent `a` is below `b`, of the same rounds.
    fn percent_less((a, b): (Vec<f64>, Vec<f64>)) -> Option<Self> {
        let ratio = ratio(&a, &b);
        let less = |ratio: f64| (1.0 - ratio) * 100.0;
        let measured = Estimate { median: less(ratio.median), low: less(ratio.high), high: less(ratio.low) };
        // The ratio is what is widened.
        Self::of(a.len().min(b.len()), measured, |end, margin| less((1.0 - end / 100.0) / margin))
    }
}

/// What the claims are judged by.
pub(super) struct Evidence<'a> {
    pub(super) options: &'a Options,
    pub(super) results: &'a Results,
}

type Pair = (Vec<f64>, Vec<f64>);

impl Evidence<'_> {
    fn cells(&self, scenario: Scenario, a: Way, b: Way, figure: impl Fn(&Cell) -> f64) -> Pair {
        self.results.paired(scenario, a, b, figure)
    }

    fn scores(&self, scenario: Scenario, metric: Metric, a: Way, b: Way) -> Pair {
        self.cells(scenario, a, b, |cell| score(metric, cell))
    }

    fn trial(&self, name: &str) -> Vec<f64> {
        self.results.trials.get(name).cloned().unwrap_or_default()
    }

    fn trials(&self, a: &str, b: &str) -> Pair {
        (self.trial(a), self.trial(b))
    }

    /// The smallest, the middle and the largest size of messages.
    fn chunks(&self) -> Option<[u64; 3]> {
        let mut sizes = self.options.chunks.clone();
        sizes.sort_unstable();
        Some([*sizes.first()?, *sizes.get(sizes.len() / 2)?, *sizes.last()?])
    }

    fn chunk(&self, of: usize) -> Option<Figures> {
        let sizes = self.chunks()?;
        Figures::ratio(self.trials(&format!("chunk-{}-cpu", sizes[of]), &format!("chunk-{}-cpu", sizes[2])))
    }

    /// By how many times the throughput of `a` over that of `b` is larger with large images than with small ones. The rounds
    /// of the two are no pairs.
    fn widening(&self, a: Way, b: Way) -> Option<Figures> {
        let of = |scenario| {
            let (a, b) = self.scores(scenario, Metric::Throughput, a, b);
            a.iter().zip(&b).map(|(a, b)| a / b).collect::<Vec<_>>()
        };
        let (large, small) = (of(Scenario::Saturate), median(of(Scenario::SmallMany)));
        Figures::plain(&large.iter().map(|large| large / small).collect::<Vec<_>>())
    }
}

fn cpu_per_byte(cell: &Cell) -> f64 {
    let server = cell.server.map_or(f64::NAN, |server| server.cpu_seconds);
    (cell.client.cpu_seconds + server) / cell.outcome.bytes as f64
}

/// Buffers of both sides that a cell took, in KB.
fn buffers(cell: &Cell) -> f64 {
    let server = cell.server.map_or(f64::NAN, |server| server.growth_bytes as f64);
    (cell.client.growth_bytes as f64 + server + cell.socket_bytes as f64) / 1e3
}

const PLAIN: Way = Way::H1New;
const GRPC: Way = Way::GrpcDefault;

/// All of them.
pub(super) const CLAIMS: &[Claim] = &[
    Claim {
        number: 1,
        says: "Steady transfers are 20 to 50 % faster by gRPC",
        parts: &[
            Part {
                what: "median latency, one a second: grpc-default less than h1-new",
                unit: "%",
                rule: Rule::AtLeast(20.0),
                measure: |e| Figures::percent_less(e.scores(Scenario::Steady1s, Metric::Latency, GRPC, PLAIN)),
            },
            Part {
                what: "median latency, one every ten seconds: grpc-default less than h1-new",
                unit: "%",
                rule: Rule::AtLeast(20.0),
                measure: |e| Figures::percent_less(e.scores(Scenario::Steady10s, Metric::Latency, GRPC, PLAIN)),
            },
        ],
    },
    Claim {
        number: 2,
        says: "Bursts are 50 to 70 % faster by gRPC",
        parts: &[Part {
            what: "median latency of five within a second: grpc-default less than h1-new",
            unit: "%",
            rule: Rule::AtLeast(50.0),
            measure: |e| Figures::percent_less(e.scores(Scenario::BurstSecond, Metric::Latency, GRPC, PLAIN)),
        }],
    },
    Claim {
        number: 3,
        says: "Bursts on one machine are 70 to 80 % faster by gRPC",
        parts: &[Part {
            what: "time until the last byte of five at once, without a relay: grpc-default less than h1-new",
            unit: "%",
            rule: Rule::AtLeast(70.0),
            measure: |e| {
                let here = !e.options.is_relayed() && e.options.server.is_none();
                let scores = || e.scores(Scenario::BurstOnce, Metric::Makespan, GRPC, PLAIN);
                here.then(scores).and_then(Figures::percent_less)
            },
        }],
    },
    Claim {
        number: 4,
        says: "gRPC costs less CPU and slightly more client memory, and the overhead of chunks is minimal",
        parts: &[
            Part {
                what: "CPU a byte of both sides, saturated: grpc-default over h1-new",
                unit: "",
                rule: Rule::AtMost(1.0),
                measure: |e| Figures::ratio(e.cells(Scenario::Saturate, GRPC, PLAIN, cpu_per_byte)),
            },
            Part {
                what: "anonymous memory of the client, saturated: grpc-default over h1-new",
                unit: "",
                rule: Rule::Between(1.0, 1.5),
                measure: |e| {
                    let memory = |cell: &Cell| cell.client.anonymous_bytes as f64;
                    Figures::ratio(e.cells(Scenario::Saturate, GRPC, PLAIN, memory))
                },
            },
            Part {
                what: "CPU of both sides: messages of the smallest size (4 KiB) over the largest (1 MiB)",
                unit: "",
                rule: Rule::AtMost(1.1),
                measure: |e| e.chunk(0),
            },
            Part {
                what: "CPU of both sides: messages of the middle size (64 KiB) over the largest (1 MiB)",
                unit: "",
                rule: Rule::AtMost(1.1),
                measure: |e| e.chunk(1),
            },
            Part {
                what: "CPU of both sides: messages of the largest size (1 MiB) over one message of the whole image",
                unit: "",
                rule: Rule::AtMost(1.1),
                measure: |e| Figures::ratio(e.trials(&format!("chunk-{}-cpu", e.chunks()?[2]), "whole-cpu")),
            },
        ],
    },
    Claim {
        number: 5,
        says: "Fifty concurrent calls: set-up 25 ms -> 0.5 ms, buffers 14 MB -> 280 KB, descriptors 50 -> 1",
        parts: &[
            Part {
                what: "time to open fifty connections over one (half of the 50 times claimed will do)",
                unit: "",
                rule: Rule::AtLeast(25.0),
                measure: |e| Figures::ratio(e.trials("open-50-us", "open-1-us")),
            },
            Part {
                what: "buffers that fifty calls by h1-new take on both sides (half of the 14 MB claimed will do)",
                unit: "KB",
                rule: Rule::AtLeast(7_000.0),
                measure: |e| Figures::plain(&e.cells(Scenario::SmallFifty, PLAIN, PLAIN, buffers).0),
            },
            Part {
                what: "buffers that fifty calls by grpc-default take on both sides (twice the 280 KB claimed will do)",
                unit: "KB",
                rule: Rule::AtMost(560.0),
                measure: |e| Figures::plain(&e.cells(Scenario::SmallFifty, GRPC, GRPC, buffers).0),
            },
            Part {
                what: "sockets that h1-new has open at once over those of grpc-default (25 will do)",
                unit: "",
                rule: Rule::AtLeast(25.0),
                measure: |e| {
                    let open = |cell: &Cell| cell.outcome.traffic.open_at_most as f64;
                    Figures::ratio(e.cells(Scenario::SmallFifty, PLAIN, GRPC, open))
                },
            },
        ],
    },
    Claim {
        number: 6,
        says: "TLS adds two round trips to a new connection",
        parts: &[
            Part {
                what: "round trips that TLS 1.3 adds until the first image is there, 40 ms away",
                unit: "round trips",
                rule: Rule::Between(1.5, 2.6),
                measure: |e| Figures::plain(&e.trial("tls-round-trips")),
            },
            Part {
                what: "the same with TLS 1.2",
                unit: "round trips",
                rule: Rule::Between(1.5, 2.6),
                measure: |e| Figures::plain(&e.trial("tls12-round-trips")),
            },
        ],
    },
    Claim {
        number: 7,
        says: "With 64 KiB windows the throughput of a stream stops at a few MB/s",
        parts: &[
            Part {
                what: "throughput of grpc-64k without distance (a few: up to 10)",
                unit: "MB/s",
                rule: Rule::AtMost(10.0),
                measure: |e| Figures::plain(&e.trial("windows-0")),
            },
            Part {
                what: "throughput of grpc-64k, 10 ms away",
                unit: "MB/s",
                rule: Rule::AtMost(10.0),
                measure: |e| Figures::plain(&e.trial("windows-10")),
            },
            Part {
                what: "throughput of grpc-64k, 50 ms away",
                unit: "MB/s",
                rule: Rule::AtMost(10.0),
                measure: |e| Figures::plain(&e.trial("windows-50")),
            },
        ],
    },
    Claim {
        number: 8,
        says: "gRPC has 2 to 7 times lower latency and 2 to 5 times higher throughput than JSON, more so with size",
        parts: &[
            Part {
                what: "median latency, one a second: json over grpc-default",
                unit: "",
                rule: Rule::AtLeast(2.0),
                measure: |e| Figures::ratio(e.scores(Scenario::Steady1s, Metric::Latency, Way::Json, GRPC)),
            },
            Part {
                what: "throughput, saturated: grpc-default over json",
                unit: "",
                rule: Rule::AtLeast(2.0),
                measure: |e| Figures::ratio(e.scores(Scenario::Saturate, Metric::Throughput, GRPC, Way::Json)),
            },
            Part {
                what: "throughput: that advantage with large images over that with small ones",
                unit: "",
                rule: Rule::AtLeast(1.0),
                measure: |e| e.widening(GRPC, Way::Json),
            },
        ],
    },
    Claim {
        number: 9,
        says: "protobuf is 5 to 10 times faster to serialise and 2 to 5 times smaller than JSON",
        parts: &[
            Part {
                what: "time to serialise an image's record: JSON over protobuf",
                unit: "",
                rule: Rule::AtLeast(5.0),
                measure: |e| Figures::plain(&e.trial("record-speed")),
            },
            Part {
                what: "size of an image's record: JSON over protobuf",
                unit: "",
                rule: Rule::AtLeast(2.0),
                measure: |e| Figures::plain(&e.trial("record-size")),
            },
            Part {
                what: "time to serialise a megabyte of an image: JSON over protobuf",
                unit: "",
                rule: Rule::AtLeast(5.0),
                measure: |e| Figures::plain(&e.trial("piece-speed")),
            },
            Part {
                what: "size of a megabyte of an image: JSON over protobuf",
                unit: "",
                rule: Rule::AtLeast(2.0),
                measure: |e| Figures::plain(&e.trial("piece-size")),
            },
        ],
    },
    Claim {
        number: 10,
        says: "One connection carries tens of thousands of calls a second and thousands of concurrent streams",
        parts: &[
            Part {
                what: "GetImage calls a second over one connection",
                unit: "calls/s",
                rule: Rule::AtLeast(10_000.0),
                measure: |e| Figures::plain(&e.trial("calls")),
            },
            Part {
                what: "streams answered while 2,000 are asked for at once (this server grants 250)",
                unit: "streams",
                rule: Rule::AtLeast(1_000.0),
                measure: |e| Figures::plain(&e.trial("streams")),
            },
        ],
    },
    Claim {
        number: 11,
        says: "HTTP/2 has no head-of-line blocking between streams",
        parts: &[
            Part {
                what: "median latency of a small call by grpc-default: beside a large transfer over alone",
                unit: "",
                rule: Rule::AtMost(2.0),
                measure: |e| Figures::ratio(e.trials("beside-p50", "alone-p50")),
            },
            Part {
                what: "a small call beside eight downloads that nobody reads (1,000 ms: it was blocked)",
                unit: "ms",
                rule: Rule::AtMost(100.0),
                measure: |e| Figures::plain(&e.trial("unread-ms")),
            },
            Part {
                what: "worst small call while the connection stands still for 300 ms",
                unit: "ms",
                rule: Rule::AtMost(100.0),
                measure: |e| Figures::plain(&e.trial("stalled-ms")),
            },
        ],
    },
];

/// Judges all of them.
pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<ClaimReport> {
    CLAIMS.iter().map(|claim| claim.judge(evidence)).collect()
}

impl Claim {
    fn judge(&self, evidence: &Evidence<'_>) -> ClaimReport {
        let parts: Vec<_> = self.parts.iter().map(|part| part.judge(evidence)).collect();
        let verdict = if parts.iter().any(|part| part.verdict == Verdict::Refuted) {
            Verdict::Refuted
        } else if parts.iter().all(|part| part.verdict == Verdict::Confirmed) {
            Verdict::Confirmed
        } else {
            Verdict::Undecided
        };
        ClaimReport { number: self.number, says: self.says, verdict, parts }
    }
}

impl Part {
    fn judge(&self, evidence: &Evidence<'_>) -> PartReport {
        let figures = (self.measure)(evidence);
        let verdict = match &figures {
            Some(figures) if figures.rounds >= FEWEST => self.rule.judge(figures.widened),
            _ => Verdict::Undecided,
        };
        PartReport {
            what: self.what,
            unit: self.unit,
            rule: self.rule,
            measured: figures.as_ref().map(|figures| figures.measured),
            rounds: figures.map_or(0, |figures| figures.rounds),
            verdict,
        }
    }
}

impl Rule {
    /// In words.
    pub fn words(self, unit: &str) -> String {
        let unit = if unit.is_empty() || unit == "%" { unit.to_owned() } else { format!(" {unit}") };
        match self {
            Self::AtLeast(least) => format!("at least {least}{unit}"),
            Self::AtMost(most) => format!("at most {most}{unit}"),
            Self::Between(least, most) => format!("{least} to {most}{unit}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_judge_whole_intervals() {
        let at = |low, high| Estimate { median: f64::midpoint(low, high), low, high };
        let rule = Rule::Between(2.0, 4.0);
        assert_eq!(rule.judge(at(2.5, 3.5)), Verdict::Confirmed);
        assert_eq!(rule.judge(at(0.5, 1.5)), Verdict::Refuted);
        assert_eq!(rule.judge(at(5.0, 6.0)), Verdict::Refuted);
        assert_eq!(rule.judge(at(1.5, 3.0)), Verdict::Undecided);
        assert_eq!(Rule::AtLeast(2.0).judge(at(0.0, f64::INFINITY)), Verdict::Undecided);
    }

    #[test]
    fn a_gain_is_widened_as_the_ratio_it_is_made_of() {
        // 40 % less, in every round.
        let figures = Figures::percent_less((vec![6.0; 5], vec![10.0; 5])).unwrap();
        assert!((figures.measured.median - 40.0).abs() < 1e-9);
        assert!(figures.widened.low < 40.0 && figures.widened.high > 40.0);
        assert!((figures.widened.low - 34.0).abs() < 1e-9, "{}", figures.widened.low);
        // Slower by half: -50 %.
        let slower = Figures::percent_less((vec![15.0; 5], vec![10.0; 5])).unwrap();
        assert!((slower.measured.median + 50.0).abs() < 1e-9);
        assert!(slower.widened.low < slower.widened.high);
    }

    #[test]
    fn claims_are_numbered_and_each_has_parts() {
        assert!(CLAIMS.iter().map(|claim| claim.number).eq(1..=11));
        assert!(CLAIMS.iter().all(|claim| !claim.parts.is_empty()));
    }
}
