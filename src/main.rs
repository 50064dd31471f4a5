//! The program: parse, telemetry, dispatch, exit code.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use wirephoto::cli::Cli;
use wirephoto::cmd::{self, Failure};

fn main() -> ExitCode {
    let outcome = match Cli::try_parse() {
        Ok(cli) => run(cli),
        Err(error) => return tell_usage(&error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(message) = failure.message() {
                // A closed stderr leaves the exit status to tell it.
                let _ = writeln!(io::stderr(), "wirephoto: {}", cmd::safe(message));
            }
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    init_telemetry()?;
    cmd::run(cli.command)
}

/// Logs to stderr what `WIREPHOTO_LOG` asks for.
fn init_telemetry() -> Result<(), Failure> {
    const VARIABLE: &str = "WIREPHOTO_LOG";
    let wanted = std::env::var(VARIABLE).ok().filter(|wanted| !wanted.is_empty());
    let wanted = wanted.as_deref().unwrap_or("info");
    let bad = |why: &str| {
        Failure::Usage(format!("{VARIABLE}: `{wanted}` is no filter: {why}; write such as info or wirephoto=debug"))
    };
    let filter = EnvFilter::try_new(wanted).map_err(|error| bad(&error.to_string()))?;
    // A word alone that is no level would name a part of the program, and silence all others.
    if wanted.chars().all(char::is_alphanumeric) && wanted.parse::<LevelFilter>().is_err() {
        return Err(bad("it is no level (error, warn, info, debug, trace, off)"));
    }
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .init();
    Ok(())
}

/// Tells help on stdout, or what is wrong with the command line on stderr.
fn tell_usage(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let message = error.render().to_string();
    let message = message.strip_prefix("error: ").unwrap_or(&message);
    let _ = write!(io::stderr(), "wirephoto: {message}");
    ExitCode::from(64)
}
