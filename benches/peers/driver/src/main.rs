//! Measures Wirephoto beside nginx and the gRPC servers others build: one server alive at a time, rounds interleaved,
//! means of the middle half of paired ratios. See docs/benchmarks.md.

mod act;
mod conn;
mod h1;
mod h2;
mod images;
mod os;
mod relay;
mod report;
mod rows;
mod server;
mod stats;
mod wire;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use act::{Bench, Image};
use report::Results;
use server::{Places, Running};

const USAGE: &str = "Usage: bench-peers --wirephoto FILE --peers DIR [--only ROW]... [--without PEER]... [--rounds N]
    [--seconds S] [--size MB] [--samples FILE] [--tls] [--here] [--list]

  --only ROW      only the row of this key, or those whose key or title holds it
  --without PEER  leave this server out
  --rounds N      rounds of a row at most, 24 unless said
  --seconds S     how long each measurement takes, 0.5 unless said
  --size MB       size of the large images, 60 unless said
  --samples FILE  write every measurement there, as comma-separated values
  --tls           Wirephoto with TLS against nginx with TLS
  --here          no network namespace of its own
  --list          the rows and their servers, and nothing else";
/// Rounds of a row before the next row has its turn. All rows go round and round, so that each is measured all over the
/// run and a machine that drifts shows.
const TURN: usize = 4;
const INSIDE: &str = "BENCH_PEERS_INSIDE";

struct Options {
    wirephoto: PathBuf,
    peers: PathBuf,
    only: Vec<String>,
    without: Vec<String>,
    rounds: usize,
    seconds: f64,
    size: usize,
    samples: Option<PathBuf>,
    tls: bool,
    here: bool,
    list: bool,
}

impl Options {
    /// The rows asked for, without the servers that shall be left out.
    fn rows(&self) -> Vec<rows::Row> {
        let mut rows = rows::rows(self.tls);
        let keys: Vec<_> = rows.iter().map(|row| row.key).collect();
        rows.retain(|row| {
            let holds = |word: &String| match keys.contains(&word.as_str()) {
                true => row.key == word,
                false => row.key.contains(word.as_str()) || row.title.to_lowercase().contains(word.as_str()),
            };
            self.only.is_empty() || self.only.iter().any(holds)
        });
        for row in &mut rows {
            row.contenders.retain(|contender| !self.without.iter().any(|peer| peer == contender.server));
        }
        rows
    }
}

fn options() -> Result<Options> {
    let mut options = Options {
        wirephoto: PathBuf::from("target/release/wirephoto"),
        peers: PathBuf::from("target/peers"),
        only: Vec::new(),
        without: Vec::new(),
        rounds: 24,
        seconds: 0.5,
        size: 60,
        samples: None,
        tls: false,
        here: false,
        list: false,
    };
    let mut args = std::env::args().skip(1);
    while let Some(arg) = args.next() {
        let mut value = || args.next().with_context(|| format!("{arg} wants a value"));
        match arg.as_str() {
            "--wirephoto" => options.wirephoto = value()?.into(),
            "--peers" => options.peers = value()?.into(),
            "--only" => options.only.push(value()?.to_lowercase()),
            "--without" => options.without.push(value()?),
            "--rounds" => {
                options.rounds =
                    value()?.parse().ok().filter(|n| *n > 0).context("--rounds wants a number, 1 at least")?
            }
            "--seconds" => {
                options.seconds =
                    value()?.parse().ok().filter(|s| *s > 0.0).context("--seconds wants a number above 0")?
            }
            "--size" => {
                options.size = value()?
                    .parse()
                    .ok()
                    .filter(|n| (1..=1000).contains(n))
                    .context("--size wants megabytes, 1 to 1000")?
            }
            "--samples" => options.samples = Some(value()?.into()),
            "--tls" => options.tls = true,
            "--here" => options.here = true,
            "--list" => options.list = true,
            "--help" => {
                println!("{USAGE}");
                std::process::exit(0);
            }
            _ => bail!("there is no option {arg}\n{USAGE}"),
        }
    }
    if options.rows().is_empty() {
        let keys: Vec<_> = rows::rows(options.tls).iter().map(|row| row.key).collect();
        bail!("--only leaves no row; there are {}", keys.join(", "));
    }
    Ok(options)
}

fn main() -> ExitCode {
    let options = match options() {
        Ok(options) => options,
        Err(error) => {
            eprintln!("bench-peers: {error:#}");
            return ExitCode::from(64);
        }
    };
    match run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench-peers: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Goes on inside a network namespace whose loopback uses cubic, when that can be had; else says why not.
fn namespace() -> Option<String> {
    if std::env::var_os(INSIDE).is_none() {
        let possible =
            Command::new("unshare").args(["-n", "true"]).output().is_ok_and(|output| output.status.success());
        if !possible {
            return Some("no network namespace: it takes root and util-linux".to_owned());
        }
        let error = Command::new("unshare").arg("-n").args(std::env::args_os()).env(INSIDE, "1").exec();
        return Some(format!("no network namespace: {error}"));
    }
    let ip = |args: &str| {
        let output = Command::new("ip").args(args.split(' ')).output().map_err(|error| format!("ip: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        if output.status.success() { Ok(()) } else { Err(format!("ip {args}: {said}")) }
    };
    let local = "dev lo proto kernel scope host src 127.0.0.1 congctl cubic";
    ip("link set lo up")
        .and_then(|()| ip(&format!("route change table local local 127.0.0.0/8 {local}")))
        .and_then(|()| ip(&format!("route change table local local 127.0.0.1 {local}")))
        .err()
}

/// True when all that was asked for was measured.
fn run(options: &Options) -> Result<bool> {
    let mut rows = options.rows();
    if options.list {
        for row in &rows {
            let labels: Vec<_> = row.contenders.iter().map(|contender| contender.label).collect();
            println!("{:14} {}: {}", row.key, row.title, labels.join(", "));
        }
        return Ok(true);
    }
    let outside = if options.here { Some("--here".to_owned()) } else { namespace() };

    let work = std::env::temp_dir().join(format!("wirephoto-bench-peers-{}", std::process::id()));
    let places = Places {
        work: work.clone(),
        peers: std::path::absolute(&options.peers)?,
        wirephoto: std::path::absolute(&options.wirephoto)?,
        tls: options.tls,
    };
    std::fs::create_dir_all(places.images())?;
    let _cleanup = Cleanup(work);
    report::environment(&places, outside.as_deref())?;
    let quiet_before = os::load();

    let megabytes = options.size * 1_000_000;
    let large: Vec<Image> =
        (0..3).map(|n| Image::new(format!("large-{n}.bmp"), images::bmp(megabytes, n as u64 + 1))).collect();
    let small = Image::new("small.bmp".to_owned(), images::bmp(20_000, 99));
    for image in large.iter().chain([&small]) {
        std::fs::write(places.images().join(&image.id), &image.bytes)?;
    }
    let roots = if options.tls { Some(certificate(&places)?) } else { None };
    let uploads = act::frames_of_uploads(&large);
    let bench =
        Bench { places, large, small, uploads, seconds: options.seconds, rtt: Duration::from_millis(10), roots };
    let mut results = Results::default();

    if rows.iter().any(|row| row.contenders.iter().any(|contender| contender.server == rows::OURS)) {
        fill_store(&bench)?;
    }
    leave_out_missing(&bench, &mut rows, &mut results);
    check(&bench, &mut rows, &mut results);
    let goals = rows::goals(options.tls);
    let begin = Instant::now();
    for first in (0..options.rounds).step_by(TURN) {
        for row in &rows {
            if first >= 2 * TURN && report::settled(row, &goals, &results) {
                continue;
            }
            for round in first..options.rounds.min(first + TURN) {
                measure_round(&bench, row, round, begin, &mut results);
            }
        }
    }
    progress("");
    if let Some(file) = &options.samples {
        results.write(file).with_context(|| format!("writing {}", file.display()))?;
    }
    for row in &rows {
        report::row(row, &results);
    }
    report::goals(&goals, &rows, &results);
    report::quiet(&rows, &goals, &results, &quiet_before);
    Ok(report::troubles(&results))
}

/// Each server of a row once, beginning with another one each time.
fn measure_round(bench: &Bench, row: &rows::Row, round: usize, begin: Instant, results: &mut Results) {
    for turn in 0..row.contenders.len() {
        let contender = &row.contenders[(turn + round) % row.contenders.len()];
        progress(&format!(
            "{:4.0} s  {}, round {}: {}",
            begin.elapsed().as_secs_f64(),
            row.key,
            round + 1,
            contender.label
        ));
        let outcome = Running::start(&bench.places, contender.server).and_then(|mut running| {
            let outcome = bench.measure(contender.act, &running);
            running.still_there()?;
            outcome
        });
        match outcome {
            Ok(sample) => results.add(row.key, contender.label, round, sample),
            Err(error) => results.trouble(format!("{}, {}, round {}: {error:#}", row.key, contender.label, round + 1)),
        }
    }
}

/// Puts the images where our server keeps them, through its own front door.
fn fill_store(bench: &Bench) -> Result<()> {
    if let Some(why) = bench.places.missing(rows::OURS) {
        bail!("{why}: `make build` makes it, --wirephoto says where it is");
    }
    let running = Running::start(&bench.places, rows::OURS)?;
    let target = conn::Target { port: running.port, tls: bench.roots.clone(), receive_buffer: None };
    let mut conn = target.connect("http/1.1")?;
    for image in bench.large.iter().chain([&bench.small]) {
        let head = h1::head("PUT", &format!("/i/{}", image.id), "image/bmp", image.bytes.len());
        h1::exchange(&mut conn, &[&head, &image.bytes], &mut |_| {}).with_context(|| running.said())?;
    }
    drop(running);
    share(bench)
}

/// Gives nginx the files that our server made: two copies of an image may lie in memory in a different way, and then one
/// is sent faster for the whole of a run. There they stay: some systems drop within a minute what is not used.
fn share(bench: &Bench) -> Result<()> {
    for folder in std::fs::read_dir(bench.places.store().join("blobs"))? {
        for blob in std::fs::read_dir(folder?.path())? {
            let (blob, images) = (blob?.path(), bench.places.images());
            let digest = Sha256::digest(std::fs::read(&blob)?);
            let same = |image: &&Image| image.sha256 == digest.as_slice();
            let image = bench.large.iter().chain([&bench.small]).find(same).context("the store holds another blob")?;
            std::fs::remove_file(images.join(&image.id))?;
            std::fs::hard_link(&blob, images.join(&image.id))?;
            if let Err(error) = os::hold(&std::fs::File::open(&blob)?) {
                println!(
                    "TRAP: images cannot be kept in memory ({error}): where the system drops them, the disk is measured"
                );
            }
        }
    }
    Ok(())
}

fn leave_out_missing(bench: &Bench, rows: &mut [rows::Row], results: &mut Results) {
    let servers: BTreeSet<_> = rows.iter().flat_map(|row| row.contenders.iter().map(|one| one.server)).collect();
    for server in servers {
        if let Some(why) = bench.places.missing(server) {
            results.trouble(format!("{server} is left out: {why}"));
            for row in rows.iter_mut() {
                row.contenders.retain(|contender| contender.server != server);
            }
        }
    }
}

/// Every byte over every wire of every server, once; who sends others is not measured.
fn check(bench: &Bench, rows: &mut [rows::Row], results: &mut Results) {
    let mut outcomes: Vec<(&str, act::Act, bool)> = Vec::new();
    for row in rows {
        row.contenders.retain(|contender| {
            if let Some((.., good)) = outcomes.iter().find(|one| (one.0, one.1) == (contender.server, contender.act)) {
                return *good;
            }
            progress(&format!("checking {}: {}", contender.label, row.title));
            let outcome = Running::start(&bench.places, contender.server).and_then(|running| {
                bench.check(contender.act, &running).with_context(|| format!("check ({})", running.said()))
            });
            let good = outcome.is_ok();
            outcomes.push((contender.server, contender.act, good));
            if let Err(error) = outcome {
                results.trouble(format!("{}, {} is left out: {error:#}", row.key, contender.label));
            }
            good
        });
    }
    progress("");
    println!("checked: {} ways, the digest of every image over each\n", outcomes.iter().filter(|one| one.2).count());
}

fn certificate(places: &Places) -> Result<Arc<rustls::RootCertStore>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()])?;
    std::fs::write(places.work.join("tls.pem"), made.cert.pem())?;
    std::fs::write(places.work.join("tls.key"), made.signing_key.serialize_pem())?;
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone())?;
    Ok(Arc::new(roots))
}

/// One line on a terminal, which the next takes the place of.
fn progress(line: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{line}");
    }
}

struct Cleanup(PathBuf);

impl Drop for Cleanup {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
