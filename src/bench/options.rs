//! What is to be measured: the command line's words, checked.

use std::path::PathBuf;
use std::time::Duration;

use serde::Serialize;

use super::images;
use super::scenarios::Scenario;
use super::ways::Way;
use crate::cli::BenchArgs;
use crate::config::parse;

/// Bytes of a small image.
pub(super) const SMALL: u64 = 20_000;
/// Farther than this no request ends within a cell.
const FARTHEST: Duration = Duration::from_secs(2);

/// What is to be measured, and how.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Options {
    /// A server that runs already, as `HOST:PORT`.
    pub server: Option<String>,
    /// Ways, in the order they are shown.
    pub ways: Vec<Way>,
    /// Scenarios, in the order they are run.
    pub scenarios: Vec<Scenario>,
    /// Bytes of a large image.
    pub size_bytes: u64,
    /// Bytes of a small image.
    pub small_bytes: u64,
    /// Cells of each way in each scenario; by default each scenario has its own number.
    pub rounds: Option<u32>,
    /// How long a cell lasts in which as much as possible goes through.
    #[serde(serialize_with = "seconds")]
    pub duration: Duration,
    /// Requests at once in `saturate`.
    pub concurrency: usize,
    /// Sizes of messages in which the claim on chunks is tried, in bytes.
    pub chunks: Vec<u64>,
    /// Distance that is added.
    #[serde(serialize_with = "seconds")]
    pub rtt: Duration,
    /// Bits a second of the line that is emulated.
    pub bandwidth: Option<u64>,
    /// Whether TLS is spoken.
    pub tls: bool,
    /// Whether half a minute must do.
    pub quick: bool,
    /// Where the page is written.
    pub html: Option<PathBuf>,
    /// Whether the report is printed as JSON.
    pub json: bool,
}

fn seconds<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(time.as_secs_f64())
}

impl Options {
    /// Reads the command line.
    ///
    /// # Errors
    /// The sentence to tell: which flag, what is wrong with its value, and what may stand there.
    pub fn parse(args: &BenchArgs) -> Result<Self, String> {
        let quick = args.quick;
        let size = value("size", args.size.as_deref().unwrap_or(if quick { "20MB" } else { "60MB" }), parse::size)?;
        if !(images::SMALLEST..=images::LARGEST).contains(&size) {
            let (least, most) = (images::SMALLEST, images::LARGEST);
            return Err(format!("--size: an image of {size} bytes cannot be made: write {least} to {most} bytes"));
        }
        let rtt = args.rtt.as_deref().map(|text| value("rtt", text, distance)).transpose()?.unwrap_or_default();
        let duration = args.duration.as_deref().unwrap_or(if quick { "100ms" } else { "500ms" });
        let duration = value("duration", duration, parse::duration)?;
        if duration > Duration::from_secs(60) {
            return Err("--duration: a cell lasts a minute at most: write such as 500ms or 5s".to_owned());
        }
        let scenarios = match &args.scenarios {
            Some(words) => choose("scenarios", "scenario", words, &Scenario::ALL, Scenario::id)?,
            None => Scenario::ALL.into_iter().filter(|scenario| !(quick && scenario.is_slow())).collect(),
        };
        let mut ways = match &args.ways {
            Some(words) => choose("ways", "way", words, &Way::ALL, Way::id)?,
            None => Way::ALL.to_vec(),
        };
        let server = args.server.as_deref().map(server).transpose()?;
        if server.is_some() {
            if args.ways.is_some() && ways == [Way::GrpcUnary] {
                return Err("--ways: grpc-unary is a call of the benchmark's own endpoint, which --server has not: \
                            leave one of them out"
                    .to_owned());
            }
            ways.retain(|way| !way.is_endpoints());
        }
        let chunks = args.chunk.as_deref().unwrap_or("4KiB,64KiB,1MiB");
        let chunks = chunks.split(',').map(|text| value("chunk", text.trim(), parse::size));
        if server.is_some() && args.tls {
            return Err("--tls: a server that runs already has its own mind about TLS, and only http:// is \
                        measured: leave --server or --tls out"
                .to_owned());
        }
        Ok(Self {
            server,
            ways,
            scenarios,
            size_bytes: size,
            small_bytes: SMALL.min(size),
            rounds: args.rounds.map(|rounds| count("rounds", rounds, 1_000)).transpose()?,
            duration,
            concurrency: count("concurrency", args.concurrency.unwrap_or(if quick { 4 } else { 8 }), 200)? as usize,
            chunks: chunks.collect::<Result<_, _>>()?,
            rtt,
            bandwidth: args.bandwidth.as_deref().map(|text| value("bandwidth", text, bandwidth)).transpose()?,
            tls: args.tls,
            quick,
            html: args.html.clone(),
            json: args.json,
        })
    }

    /// The most a run may take.
    pub(super) fn budget(&self) -> Duration {
        Duration::from_secs(if self.quick { 25 } else { 280 })
    }

    /// The most a cell may take; what has not come by then counts as cut.
    pub(super) fn cell_limit(&self) -> Duration {
        Duration::from_secs(if self.quick { 2 } else { 10 }).max(self.duration * 3)
    }

    /// Whether bytes go through the relay.
    pub(super) fn is_relayed(&self) -> bool {
        !self.rtt.is_zero() || self.bandwidth.is_some()
    }
}

fn value<T>(flag: &str, text: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, String> {
    parse(text).map_err(|why| format!("--{flag}: `{}` {why}", text.escape_debug()))
}

fn count(flag: &str, number: u32, most: u32) -> Result<u32, String> {
    if (1..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("--{flag}: {number} is too few or too many: write 1 to {most}"))
    }
}

fn distance(text: &str) -> Result<Duration, String> {
    match text {
        "0" | "0ms" | "0s" => Ok(Duration::ZERO),
        _ => match parse::duration(text)? {
            rtt if rtt <= FARTHEST => Ok(rtt),
            _ => Err(format!("is farther than the relay goes: write up to {}s", FARTHEST.as_secs())),
        },
    }
}

/// Bits a second: `1gbit`, `100mbit`.
fn bandwidth(text: &str) -> Result<u64, String> {
    const MEND: &str = "write bits a second such as 100mbit or 1gbit";
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "kbit" => 1_000,
        "mbit" => 1_000_000,
        "gbit" => 1_000_000_000,
        _ => return Err(format!("is no bandwidth: {MEND}")),
    };
    match number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)) {
        Some(0) => Err(format!("lets nothing through: {MEND}")),
        Some(bits) => Ok(bits),
        None => Err(format!("is no bandwidth: {MEND}")),
    }
}

/// `http://HOST:PORT` without more.
fn server(text: &str) -> Result<String, String> {
    let bad = |why: &str| format!("--server: `{}` {why}: write http://HOST:PORT", text.escape_debug());
    let rest = text.strip_prefix("http://").ok_or_else(|| bad("is no server that can be measured"))?;
    let authority = rest.strip_suffix('/').unwrap_or(rest);
    if authority.is_empty() || authority.contains(['/', '?', '#', '@']) {
        return Err(bad("holds more or less than a host and a port"));
    }
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Ok(if has_port { authority.to_owned() } else { format!("{authority}:80") })
}

/// Those whose names are given, or begin with a name and `-`.
fn choose<T: Copy + PartialEq>(
    flag: &str,
    what: &str,
    words: &str,
    all: &[T],
    id: fn(T) -> &'static str,
) -> Result<Vec<T>, String> {
    let mut chosen = Vec::new();
    for word in words.split(',').map(str::trim) {
        let mut found = all.iter().copied().filter(|one| {
            let rest = id(*one).strip_prefix(word);
            !word.is_empty() && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        });
        let first = found.next().ok_or_else(|| {
            let known: Vec<_> = all.iter().map(|one| id(*one)).collect();
            format!("--{flag}: there is no {what} `{}`: write some of {}", word.escape_debug(), known.join(", "))
        })?;
        chosen.push(first);
        chosen.extend(found);
    }
    Ok(all.iter().copied().filter(|one| chosen.contains(one)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_for_all_that_begin_with_them() {
        let chosen = choose("scenarios", "scenario", "small,burst-once", &Scenario::ALL, Scenario::id).unwrap();
        assert_eq!(chosen, [Scenario::BurstOnce, Scenario::SmallFifty, Scenario::SmallMany]);
        let unknown = choose("ways", "way", "h1-new,carrier-pigeon", &Way::ALL, Way::id).unwrap_err();
        assert!(unknown.contains("`carrier-pigeon`") && unknown.contains("grpc-tuned"), "{unknown}");
        assert!(choose("ways", "way", "", &Way::ALL, Way::id).is_err());
    }

    #[test]
    fn bandwidths_and_servers() {
        assert_eq!(bandwidth("1gbit"), Ok(1_000_000_000));
        assert!(bandwidth("0mbit").unwrap_err().contains("nothing through"));
        assert!(bandwidth("fast").is_err());
        assert_eq!(server("http://a:81").unwrap(), "a:81");
        assert_eq!(server("http://a/").unwrap(), "a:80");
        for bad in ["https://a", "a:80", "http://", "http://a/b", "http://u@a"] {
            assert!(server(bad).is_err(), "{bad}");
        }
    }
}
