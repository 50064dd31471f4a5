//! A link with a delay: Wirephoto's own relay in a process of its own.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

/// A relay that runs until it is dropped.
pub struct Relay {
    child: std::process::Child,
    pub port: u16,
}

impl Relay {
    pub fn start(wirephoto: &Path, to: u16, rtt: Duration) -> Result<Self> {
        let mut child = Command::new(wirephoto)
            .args(["bench-part", "relay", "--to", &format!("127.0.0.1:{to}")])
            .args(["--rtt-us", &rtt.as_micros().to_string(), "--stall-us", "0"])
            // It ends when its stdin does.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("the relay's output")?;
        BufReader::new(output).read_line(&mut line)?;
        let port = line.trim().rsplit(':').next().and_then(|port| port.parse().ok());
        Ok(Self { child, port: port.context("the relay's port")? })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
