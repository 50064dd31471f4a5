//! The situations in which every way is measured, as data.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::load::Load;
use super::options::Options;

/// A situation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Scenario {
    /// One large image a second.
    #[serde(rename = "steady-1s")]
    Steady1s,
    /// One large image every ten seconds.
    #[serde(rename = "steady-10s")]
    Steady10s,
    /// Five large images begun within one second, after quiet.
    BurstSecond,
    /// Five large images at once.
    BurstOnce,
    /// Large images as fast as they come.
    Saturate,
    /// Fifty small images at once.
    SmallFifty,
    /// Small images as many as go through.
    SmallMany,
    /// Small images beside large ones.
    Mixed,
    /// The experiments that settle the claims.
    Claims,
}

/// What a scenario is judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Metric {
    /// Median latency; less is better.
    Latency,
    /// Time from the first request to the last byte; less is better.
    Makespan,
    /// Bytes of images a second; more is better.
    Throughput,
    /// Requests a second; more is better.
    Requests,
    /// The 99th percentile of latency; less is better.
    Tail,
}

impl Metric {
    /// In words.
    pub fn title(self) -> &'static str {
        match self {
            Self::Latency => "median latency",
            Self::Makespan => "time until the last byte",
            Self::Throughput => "throughput",
            Self::Requests => "requests a second",
            Self::Tail => "99th percentile of latency",
        }
    }

    /// Unit of its figures.
    pub fn unit(self) -> &'static str {
        match self {
            Self::Latency | Self::Makespan | Self::Tail => "ms",
            Self::Throughput => "MB/s",
            Self::Requests => "requests/s",
        }
    }

    /// Whether a larger figure is a better one.
    pub fn more_is_better(self) -> bool {
        matches!(self, Self::Throughput | Self::Requests)
    }
}

impl Scenario {
    /// All of them, in the order they are run.
    pub const ALL: [Self; 9] = [
        Self::Steady1s,
        Self::Steady10s,
        Self::BurstSecond,
        Self::BurstOnce,
        Self::Saturate,
        Self::SmallFifty,
        Self::SmallMany,
        Self::Mixed,
        Self::Claims,
    ];

    /// Its name on the command line and in JSON. What stands before the `-` names those that begin so.
    pub fn id(self) -> &'static str {
        match self {
            Self::Steady1s => "steady-1s",
            Self::Steady10s => "steady-10s",
            Self::BurstSecond => "burst-second",
            Self::BurstOnce => "burst-once",
            Self::Saturate => "saturate",
            Self::SmallFifty => "small-fifty",
            Self::SmallMany => "small-many",
            Self::Mixed => "mixed",
            Self::Claims => "claims",
        }
    }

    /// What happens, for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Steady1s => "One large image a second",
            Self::Steady10s => "One large image every ten seconds",
            Self::BurstSecond => "Five large images within one second, after quiet",
            Self::BurstOnce => "Five large images at once",
            Self::Saturate => "Large images as fast as they come",
            Self::SmallFifty => "Fifty small images at once",
            Self::SmallMany => "Small images, as many as go through",
            Self::Mixed => "A small image now and then, beside large ones",
            Self::Claims => "Experiments for the claims",
        }
    }

    /// What it is judged by.
    pub fn metric(self) -> Metric {
        match self {
            Self::Steady1s | Self::Steady10s | Self::BurstSecond | Self::Claims => Metric::Latency,
            Self::BurstOnce | Self::SmallFifty => Metric::Makespan,
            Self::Saturate => Metric::Throughput,
            Self::SmallMany => Metric::Requests,
            Self::Mixed => Metric::Tail,
        }
    }

    /// What one cell of it is.
    pub(super) fn load(self, options: &Options) -> Load {
        let for_ms = u64::try_from(options.duration.as_millis()).unwrap_or(u64::MAX);
        match self {
            Self::Steady1s | Self::Steady10s | Self::Claims => Load::Volley { count: 1, over_ms: 0, small: false },
            Self::BurstSecond => Load::Volley { count: 5, over_ms: 800, small: false },
            Self::BurstOnce => Load::Volley { count: 5, over_ms: 0, small: false },
            Self::Saturate => Load::Saturate { concurrency: options.concurrency, for_ms, small: false },
            Self::SmallFifty => Load::Volley { count: 50, over_ms: 0, small: true },
            Self::SmallMany => Load::Saturate { concurrency: SMALL_LOOPS, for_ms, small: true },
            Self::Mixed => Load::Beside { large: 2, every_ms: 10, for_ms },
        }
    }

    /// From one cell of a way to its next, at least.
    pub(super) fn pace(self) -> Duration {
        match self {
            Self::Steady1s => Duration::from_secs(1),
            Self::Steady10s => Duration::from_secs(10),
            _ => Duration::ZERO,
        }
    }

    /// Cells of each way, where the time is enough.
    pub(super) fn rounds(self, options: &Options) -> u32 {
        let (usual, quick) = match self {
            Self::Steady1s => (12, 2),
            Self::Steady10s => (4, 1),
            Self::BurstSecond => (5, 1),
            Self::SmallFifty => (15, 3),
            _ => (5, 2),
        };
        options.rounds.unwrap_or(if options.quick { quick } else { usual })
    }

    /// Its share of the time, in parts of the sum of all.
    pub(super) fn weight(self) -> u32 {
        match self {
            Self::Steady1s => 16,
            Self::Steady10s => 42,
            Self::BurstSecond => 62,
            Self::BurstOnce => 30,
            Self::Saturate => 36,
            Self::SmallFifty => 6,
            Self::SmallMany => 26,
            Self::Mixed => 28,
            Self::Claims => 40,
        }
    }

    /// Left out of a quick run, which has no time to wait.
    pub(super) fn is_slow(self) -> bool {
        matches!(self, Self::Steady10s | Self::BurstSecond)
    }
}

/// Loops of requests for small images.
const SMALL_LOOPS: usize = 16;
