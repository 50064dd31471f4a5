//! What the client process does in one measured cell: requests in a pattern, each timed.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::future::join_all;
use futures::stream::{FuturesUnordered, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::time::{sleep, sleep_until, timeout_at};

use super::connect::Traffic;
use super::fetch::{Fetcher, Subject};

/// A pattern of requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "pattern", rename_all = "kebab-case")]
pub(super) enum Load {
    /// So many requests, begun evenly over a time (all at once when it is 0).
    Volley {
        /// Requests.
        count: usize,
        /// Milliseconds from the first to the last.
        over_ms: u64,
        /// Small images rather than large ones.
        small: bool,
    },
    /// So many loops of one request after the other, for a time.
    Saturate {
        /// Loops.
        concurrency: usize,
        /// Milliseconds in which requests begin.
        for_ms: u64,
        /// Small images rather than large ones.
        small: bool,
    },
    /// A small request every so often, beside loops of large ones. Only the small ones are timed.
    Beside {
        /// Loops of large ones.
        large: usize,
        /// Milliseconds from one small request to the next.
        every_ms: u64,
        /// Milliseconds in which requests begin.
        for_ms: u64,
    },
}

/// One request, as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(super) struct Sample {
    /// Microseconds from asking to the first byte of the image.
    pub(super) first_byte_us: f64,
    /// Microseconds from asking to the last byte.
    pub(super) latency_us: f64,
    /// It was cut off at the cell's limit: it would have taken longer.
    pub(super) cut: bool,
}

/// What one cell gave.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    pub(super) samples: Vec<Sample>,
    /// Microseconds from the first request to the end of the last.
    pub(super) wall_us: f64,
    /// Bytes of images that came, those of requests that were cut included.
    pub(super) bytes: u64,
    pub(super) traffic: Traffic,
    /// Why requests failed, at most a few.
    pub(super) failures: Vec<String>,
    pub(super) failed: u64,
}

/// Images to ask for.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Subjects {
    pub(super) large: Vec<Subject>,
    pub(super) small: Vec<Subject>,
}

struct Run<'a> {
    fetcher: &'a Fetcher,
    subjects: &'a Subjects,
    /// Which of them is next; they are asked for in turn.
    next: AtomicUsize,
    /// Bytes of images that came.
    bytes: AtomicU64,
    limit: Instant,
}

type Told = Result<Sample, String>;

/// Runs it, for `limit` at most.
pub(super) async fn run(load: Load, fetcher: &Fetcher, subjects: &Subjects, limit: Duration) -> Outcome {
    fetcher.connector().forget();
    let begun = Instant::now();
    let run = Run { fetcher, subjects, next: AtomicUsize::new(0), bytes: AtomicU64::new(0), limit: begun + limit };
    let told: Vec<Told> = match load {
        Load::Volley { count, over_ms, small } => {
            let step = Duration::from_millis(over_ms) / u32::try_from(count.saturating_sub(1)).unwrap_or(1).max(1);
            let shots = (0..count).map(|shot| {
                let run = &run;
                async move {
                    sleep_until((begun + step * u32::try_from(shot).unwrap_or(0)).into()).await;
                    run.request(small).await
                }
            });
            join_all(shots).await
        }
        Load::Saturate { concurrency, for_ms, small } => {
            let end = begun + Duration::from_millis(for_ms);
            let loops = (0..concurrency).map(|_| run.repeat(small, end));
            join_all(loops).await.into_iter().flatten().collect()
        }
        Load::Beside { large, every_ms, for_ms } => {
            let end = begun + Duration::from_millis(for_ms);
            let background = join_all((0..large).map(|_| run.repeat(false, end)));
            let (told, large) = tokio::join!(run.regularly(Duration::from_millis(every_ms), end), background);
            let failed = large.into_iter().flatten().filter(Result::is_err);
            told.into_iter().chain(failed).collect()
        }
    };
    let wall = begun.elapsed();
    let mut outcome = Outcome {
        wall_us: micros(wall),
        bytes: run.bytes.into_inner(),
        traffic: fetcher.traffic(),
        ..Outcome::default()
    };
    for told in told {
        match told {
            Ok(sample) => outcome.samples.push(sample),
            Err(why) => {
                outcome.failed += 1;
                if outcome.failures.len() < 3 && !outcome.failures.contains(&why) {
                    outcome.failures.push(why);
                }
            }
        }
    }
    outcome
}

impl Run<'_> {
    async fn request(&self, small: bool) -> Told {
        let subjects = if small { &self.subjects.small } else { &self.subjects.large };
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let subject = &subjects[turn % subjects.len()];
        let asked = Instant::now();
        let count = |bytes| {
            self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        };
        match timeout_at(self.limit.into(), self.fetcher.fetch(subject, count)).await {
            Ok(arrival) => {
                let latency_us = micros(asked.elapsed());
                let first = arrival?.first.map_or(latency_us, |first| micros(first - asked));
                Ok(Sample { first_byte_us: first, latency_us, cut: false })
            }
            Err(_) => {
                let elapsed = micros(asked.elapsed());
                Ok(Sample { first_byte_us: elapsed, latency_us: elapsed, cut: true })
            }
        }
    }

    async fn repeat(&self, small: bool, end: Instant) -> Vec<Told> {
        let mut told = Vec::new();
        while Instant::now() < end {
            let one = self.request(small).await;
            let failed = one.is_err();
            told.push(one);
            if failed {
                break;
            }
        }
        told
    }

    /// Requests begin in time even when those before them are late.
    async fn regularly(&self, every: Duration, end: Instant) -> Vec<Told> {
        let mut running = FuturesUnordered::new();
        let mut told = Vec::new();
        let mut due = Instant::now();
        while Instant::now() < end {
            running.push(self.request(true));
            due += every;
            let pause = sleep(due.saturating_duration_since(Instant::now()));
            tokio::pin!(pause);
            loop {
                tokio::select! {
                    () = &mut pause => break,
                    Some(one) = running.next() => told.push(one),
                }
            }
        }
        while let Some(one) = running.next().await {
            told.push(one);
        }
        told
    }
}

pub(super) fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
