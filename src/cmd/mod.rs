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

use std::fmt;
use std::io::{self, Write};

use crate::cli::{ClientArgs, Command};
use crate::client::{self, Client, ClientOptions};
use crate::config::{Config, ConfigError, Sources, parse};
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
            Self::Failed(_) | Self::Told => 1,
            Self::ReaderLeft => 0,
        }
    }

    /// What to tell on stderr, if anything.
    pub fn message(&self) -> Option<&str> {
        match self {
            Self::Usage(message) | Self::Failed(message) => Some(message),
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
        Self::Failed(explain(&error))
    }
}

/// Runs `command` to its end. An interrupt ends it too, except `serve`, which has its own way to stop.
///
/// # Errors
/// What is to be told, and the exit status.
pub async fn run(command: Command) -> Result<(), Failure> {
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

/// Ends the work at Ctrl-C. Dropping it removes what it left half-written.
async fn interruptible(work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    tokio::select! {
        outcome = work => outcome,
        Ok(()) = tokio::signal::ctrl_c() => Err(Failure::Failed("interrupted".to_owned())),
    }
}

/// The client that flags and environment describe.
fn connect(args: &ClientArgs) -> Result<Client, Failure> {
    let env = |name: &str| std::env::var_os(name);
    let sources = Sources::new(&env);
    let server = sources.find("server", args.server.as_deref())?;
    let token = sources.find("token", args.token.as_deref())?;
    let timeout = sources.find("timeout", args.timeout.as_deref())?;
    Ok(Client::new(ClientOptions {
        server: server.map(|value| value.parse_quietly(str::parse)).transpose()?.unwrap_or_default(),
        token: token.map(|value| value.parse_quietly(str::parse)).transpose()?,
        timeout: timeout.map(|value| value.parse(parse::duration)).transpose()?,
    }))
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
