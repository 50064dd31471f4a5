//! `wirephoto bench`: progress, report and exit status around what `crate::bench` measures.

use std::fs::OpenOptions;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use tokio::net::TcpListener;

use super::{Failure, complain, interrupted, print, print_json, serve};
use crate::bench::{self, Line, Options, Progress};
use crate::cli::{BenchArgs, BenchPart};
use crate::config::Config;
use crate::{io, server};

/// Measures, and reports what there is even when it was interrupted.
pub(super) async fn run(args: &BenchArgs) -> Result<(), Failure> {
    let options = Options::parse(args).map_err(Failure::Usage)?;
    // Five minutes are too much to lose for a folder that is not there.
    let page = options.html.as_deref().map(Page::claim).transpose()?;
    let bar = Bar::new();
    let measured = bench::run(&options, &bar, interrupted()).await;
    bar.0.finish_and_clear();
    let report = measured.map_err(Failure::Failed)?;
    if let Some(page) = page {
        page.write(&report.html())?;
    }
    if options.json {
        print_json(&report)?;
    } else {
        print(|out| out.write_all(report.table().as_bytes()))?;
    }
    if report.complete {
        return Ok(());
    }
    for missing in &report.missing {
        complain("bench", missing);
    }
    Err(Failure::Failed("the benchmark is incomplete".to_owned()))
}

/// The file a page goes to, found writable. It is removed again if no page comes.
struct Page {
    path: PathBuf,
    is_new: bool,
    written: bool,
}

impl Page {
    fn claim(path: &Path) -> Result<Self, Failure> {
        let is_new = !path.exists();
        OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
            Failure::Usage(format!("--html: cannot write {}: {error}; name a file that can be written", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), is_new, written: false })
    }

    fn write(mut self, page: &str) -> Result<(), Failure> {
        self.written = true;
        std::fs::write(&self.path, page)
            .map_err(|error| Failure::Failed(format!("cannot write {}: {error}", self.path.display())))
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if self.is_new && !self.written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// A line on stderr when that is a terminal.
struct Bar(ProgressBar);

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(1_000);
        if let Ok(style) = ProgressStyle::with_template("{spinner} [{bar:30}] {elapsed} {msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }
}

impl Progress for Bar {
    fn now(&self, what: &str, share: f64) {
        self.0.set_position((share * 1_000.0) as u64);
        self.0.set_message(what.to_owned());
    }
}

/// Is one process of a benchmark, until stdin ends.
pub(super) async fn part(part: BenchPart) -> Result<(), Failure> {
    let reads_stdin = matches!(part, BenchPart::Client);
    let work = async {
        match part {
            BenchPart::Server(args) => serve::run(Config::load(&args, |_| None)?).await,
            BenchPart::Endpoint { folder, tls_cert, tls_key } => {
                io::give_back();
                let listener = listen().await?;
                let served = bench::endpoint(listener, folder, tls_cert.zip(tls_key)).await;
                served.map_err(|error| Failure::Failed(error.to_string()))
            }
            BenchPart::Client => {
                bench::work().await;
                Ok(())
            }
            BenchPart::Relay { to, rtt_us, stall_us, bits } => {
                let line = Line {
                    rtt: Duration::from_micros(rtt_us),
                    bandwidth: bits,
                    stall: Duration::from_micros(stall_us),
                };
                bench::relay(listen().await?, to, line).await;
                Ok(())
            }
        }
    };
    if reads_stdin {
        return work.await;
    }
    tokio::select! {
        outcome = work => outcome,
        () = bench::told_to_end() => Ok(()),
    }
}

/// Listens on a free port, and says so as `serve` does.
async fn listen() -> Result<TcpListener, Failure> {
    let failed = |error: std::io::Error| Failure::Failed(format!("cannot listen: {error}"));
    let listener = server::listen((Ipv4Addr::LOCALHOST, 0).into()).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    print(|out| writeln!(out, "wirephoto listening on http://{address}"))?;
    Ok(listener)
}
