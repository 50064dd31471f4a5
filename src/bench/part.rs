//! The processes of a run: each is this program again, and ends when its stdin does.

use std::io;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::time::timeout;

/// What a part has to start in.
const START: Duration = Duration::from_secs(20);
/// What it has to end in, once it was told to.
const END: Duration = Duration::from_secs(5);

/// A process of the run. It is killed when dropped.
pub(super) struct Part {
    name: &'static str,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
}

impl Part {
    /// Starts `wirephoto bench-part NAME ARGS…`.
    pub(super) fn start(name: &'static str, args: &[String]) -> Result<Self, String> {
        let fail = |error: io::Error| format!("cannot start the {name} of the run: {error}");
        let program = std::env::current_exe().map_err(fail)?;
        let mut child = Command::new(program)
            .args(["bench-part", name])
            .args(args)
            .env("WIREPHOTO_LOG", "error")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            // An interrupt from the terminal is for us: we end them.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(fail)?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().ok_or_else(|| fail(io::ErrorKind::BrokenPipe.into()))?;
        Ok(Self { name, child, stdin, stdout: BufReader::new(stdout) })
    }

    /// Starts one that listens, and says where in its first line, after `listening on ` and a scheme.
    pub(super) async fn listening(name: &'static str, args: &[String]) -> Result<(Self, SocketAddr), String> {
        let mut part = Self::start(name, args)?;
        let mut line = String::new();
        let read = timeout(START, part.stdout.read_line(&mut line)).await;
        let address = line.trim().rsplit('/').next().and_then(|address| address.parse().ok());
        match (read, address) {
            (Ok(Ok(_)), Some(address)) => Ok((part, address)),
            _ => Err(format!("the {name} of the run did not start: {}", part.state())),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Whether it runs, or how it ended.
    pub(super) fn state(&mut self) -> String {
        match self.child.try_wait() {
            Ok(Some(status)) => format!("it ended ({status})"),
            Ok(None) => "it runs and does not answer".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    pub(super) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends one line of JSON and reads one.
    pub(super) async fn ask<T: DeserializeOwned>(
        &mut self,
        question: &impl Serialize,
        patience: Duration,
    ) -> Result<T, String> {
        let mut line = serde_json::to_vec(question).map_err(|error| error.to_string())?;
        line.push(b'\n');
        let mut answer = String::new();
        let exchange = async {
            let stdin = self.stdin.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
            stdin.write_all(&line).await?;
            stdin.flush().await?;
            self.stdout.read_line(&mut answer).await
        };
        match timeout(patience, exchange).await {
            Ok(Ok(1..)) => serde_json::from_str(&answer).map_err(|error| format!("the {} said: {error}", self.name)),
            Ok(Ok(_) | Err(_)) => Err(format!("the {} of the run is gone", self.name)),
            Err(_) => Err(format!("the {} of the run did not answer within {patience:?}", self.name)),
        }
    }

    /// Ends it and waits for its end.
    pub(super) async fn end(mut self) {
        drop(self.stdin.take());
        if timeout(END, self.child.wait()).await.is_err() {
            let _ = self.child.kill().await;
        }
    }
}

/// Completes when stdin ends: whoever started this process is gone or wants it gone.
pub async fn told_to_end() {
    let mut stdin = tokio::io::stdin();
    let mut byte = [0];
    while let Ok(1..) = stdin.read(&mut byte).await {}
}
