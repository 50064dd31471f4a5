//! The commands, one a file, and what they share: a client, names, failures and exit codes.

mod bar;
mod bench;
mod descriptors;
mod get;
mod health;
mod ls;
mod name;
mod put;
mod rm;
pub mod serve;
mod show;
mod text;
mod version;

use std::convert::Infallible;
use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::num::NonZero;
use std::path::PathBuf;
use std::thread;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::{ClientArgs, Command};
use crate::client::{self, Client, ClientOptions, Server, Servers, Tls, TlsFiles};
use crate::config::{Config, ConfigError, Sources, Value, parse};
use crate::error::{Code, Error};
use crate::image::id::ImageId;

pub use text::safe;

/// Why a command did not succeed.
#[derive(Debug)]
pub enum Failure {
    /// Wrong usage or configuration; nothing was done.
    Usage(String),
    /// It was tried and failed.
    Failed(String),
    /// No server could be reached; the same would become of whatever else is tried.
    Unreachable(String),
    /// It failed and has said so already.
    Told,
    /// Whoever read stdout has seen enough.
    ReaderLeft,
}

impl Failure {
    /// The exit status of the process.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) => 64,
            Self::Failed(_) | Self::Unreachable(_) | Self::Told => 1,
            Self::ReaderLeft => 0,
        }
    }

    /// What to tell on stderr, if anything.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Usage(message) | Self::Failed(message) | Self::Unreachable(message) => Some(message),
            Self::Told | Self::ReaderLeft => None,
        }
    }

    /// A failure to write to stdout.
    fn stdout(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self::ReaderLeft,
            _ => Self::Failed(format!("cannot write to stdout: {error}")),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

/// With every cause below it: here is nobody to hide them from.
impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let mut message = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(error) = cause {
            message.push_str(": ");
            message.push_str(&error.to_string());
            cause = error.source();
        }
        Self::Failed(message)
    }
}

impl From<client::Error> for Failure {
    fn from(error: client::Error) -> Self {
        let message = explain(&error);
        if error.is_unreachable() { Self::Unreachable(message) } else { Self::Failed(message) }
    }
}

/// Runs `command` to its end, on a runtime of its own: before any other thread, since it bounds the process's arenas of memory. An
/// interrupt ends it too, except `serve`, which has its own way to stop.
///
/// # Errors
/// What is to be told, and the exit status.
///
/// # Panics
/// Within a runtime.
pub fn run(command: Command) -> Result<(), Failure> {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    // For the main thread, the runtime's, and those of a server's connections.
    crate::io::bound_arenas(1 + 2 * cores);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .enable_all()
        .build()
        .map_err(|error| Failure::Failed(format!("cannot start the runtime: {error}")))?;
    let outcome = runtime.block_on(dispatch(command));
    // A read of stdin that still waits must not keep the process.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Serve(args) => {
            serve::run(Config::load(&args, |name| std::env::var_os(name))?).await?;
            Ok(())
        }
        Command::Put(args) => interruptible(put::run(args)).await,
        Command::Get(args) => interruptible(get::run(args)).await,
        Command::Ls(args) => interruptible(ls::run(args)).await,
        Command::Show(args) => interruptible(show::run(args)).await,
        Command::Rm(args) => interruptible(rm::run(args)).await,
        Command::Health(args) => interruptible(health::run(args)).await,
        Command::Bench(args) => bench::run(&args).await,
        Command::BenchPart(args) => bench::part(args.part).await,
        Command::Descriptors => descriptors::run(),
        Command::Version => version::run(),
    }
}

/// Ends the work when it is [`interrupted`]. Dropping it removes what it left half-written.
async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        outcome = work => outcome,
        () = interrupted() => Err(Failure::Failed("interrupted".to_owned())),
    }
}

/// Completes at Ctrl-C, at SIGTERM, and when the terminal is closed.
async fn interrupted() {
    let mut waiting: FuturesUnordered<_> = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .filter(|&kind| kind != SignalKind::hangup() || !outlives_terminal())
        .filter_map(|kind| signal(kind).ok())
        .map(async |mut signal| signal.recv().await)
        .collect();
    if waiting.next().await.is_none() {
        std::future::pending().await
    }
}

/// Whether `nohup` started it: who waits for a signal no longer ignores it. Where nothing tells, nobody waits.
fn outlives_terminal() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    ignored.is_none_or(|mask| mask & 1 != 0)
}

/// The client that flags and environment describe.
fn connect(args: &ClientArgs) -> Result<Client, Failure> {
    options(args).map(Client::new)
}

fn options(args: &ClientArgs) -> Result<ClientOptions, Failure> {
    let env = |name: &str| std::env::var_os(name);
    let sources = Sources::new(&env);
    let servers = Some(args.servers.join(",")).filter(|_| !args.servers.is_empty());
    let servers: Servers = match sources.find("server", servers.as_deref())? {
        Some(value) => value.parse_quietly(str::parse)?,
        None => Servers::default(),
    };
    let token = sources.find("token", args.token.as_deref())?;
    let timeout = sources.find("timeout", args.timeout.as_deref())?;
    Ok(ClientOptions {
        tls: tls(args, &sources, &servers)?,
        servers,
        token: token.map(|value| value.parse_quietly(str::parse)).transpose()?,
        timeout: timeout.map(|value| value.parse(parse::duration)).transpose()?,
    })
}

/// From the files that are named, for servers that speak TLS. Variables may be meant for other servers.
fn tls(args: &ClientArgs, sources: &Sources<'_>, servers: &Servers) -> Result<Option<Tls>, Failure> {
    let flags = [("tls-ca", &args.tls_ca), ("tls-cert", &args.tls_cert), ("tls-key", &args.tls_key)];
    if !servers.iter().any(Server::is_secure) {
        return match flags.iter().find(|(_, value)| value.is_some()) {
            Some((flag, _)) => {
                let message = format!("--{flag}: no TLS is spoken with {servers}: write https:// in --server");
                Err(Failure::Usage(message))
            }
            None => Ok(None),
        };
    }
    let [ca, cert, key] = flags.map(|(key, flag)| sources.find(key, flag.as_deref()));
    let path = |value: Value| value.parse(|text| Ok::<_, Infallible>(PathBuf::from(text)));
    let files = TlsFiles {
        ca: ca?.map(path).transpose()?,
        cert: cert?.map(path).transpose()?,
        key: key?.map(path).transpose()?,
    };
    Tls::load(&files).map(Some).map_err(|error| Failure::Usage(error.to_string()))
}

/// The image that `photo.jpg` or `images/photo.jpg` names.
fn image_id(name: &str) -> Result<ImageId, Failure> {
    name.strip_prefix("images/").unwrap_or(name).parse().map_err(|rule| {
        Failure::Usage(format!("`{name}` is not the name of an image: {rule}; write photo.jpg or images/photo.jpg"))
    })
}

/// The error, with the flag that mends it.
fn explain(error: &client::Error) -> String {
    let mend = match (error.code(), error.reason()) {
        (Code::AlreadyExists, _) => "; --replace replaces it, --name gives another id",
        (Code::Unauthenticated, _) => "; give a token by WIREPHOTO_TOKEN or --token",
        (Code::DeadlineExceeded, _) => "; --timeout gives it longer",
        _ => "",
    };
    format!("{error}{mend}")
}

/// Says on stderr what went wrong with one thing of several.
fn complain(subject: impl fmt::Display, message: impl fmt::Display) {
    let line = format!("wirephoto: {subject}: {message}");
    // Nobody is left to be told that stderr is closed.
    let _ = writeln!(io::stderr(), "{}", safe(&line));
}

/// Writes to stdout.
fn print(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<(), Failure> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).map_err(|error| Failure::stdout(&error))
}

/// Writes `value` to stdout as JSON for people and programs.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    let json = serde_json::to_string_pretty(value)
        .map_err(|error| Failure::Failed(format!("cannot write the answer as JSON: {error}")))?;
    print(|out| writeln!(out, "{json}"))
}
