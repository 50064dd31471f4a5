//! Where the figures come from, and which of its habits hide differences.

use std::fs;

use serde::Serialize;

use super::options::Options;
use crate::net::LOOPBACK_CONGESTION_CONTROL;

/// The machine and the program.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Environment {
    /// Version of this program.
    pub wirephoto: &'static str,
    /// Whether it was built with optimisations.
    pub optimised: bool,
    /// Version of the kernel.
    pub kernel: String,
    /// Model of the processor.
    pub processor: String,
    /// Cores this program may use.
    pub cores: usize,
    /// Memory in bytes.
    pub memory_bytes: u64,
    /// Load of the last minute when the run began.
    pub load: f64,
    /// `net.ipv4.tcp_congestion_control`, or what servers of our own have in its place.
    pub congestion_control: String,
    /// `net.ipv4.tcp_slow_start_after_idle`.
    pub slow_start_after_idle: String,
    /// Versions of the libraries that move the bytes.
    pub libraries: Vec<String>,
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

impl Environment {
    /// Reads it.
    pub(super) fn look(options: &Options) -> Self {
        let field = |path: &str, name: &str| {
            let text = fs::read_to_string(path).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
            line.map(|rest| rest.trim_start_matches([' ', '\t', ':']).to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let memory: u64 = memory.split(' ').next().and_then(|kib| kib.parse().ok()).unwrap_or(0);
        let load = read("/proc/loadavg");
        Self {
            wirephoto: env!("CARGO_PKG_VERSION"),
            optimised: !cfg!(debug_assertions),
            kernel: read("/proc/sys/kernel/osrelease"),
            processor: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
            memory_bytes: memory * 1024,
            load: load.split(' ').next().and_then(|load| load.parse().ok()).unwrap_or(0.0),
            congestion_control: if options.server.is_none() && cfg!(target_os = "linux") {
                LOOPBACK_CONGESTION_CONTROL.to_owned()
            } else {
                read("/proc/sys/net/ipv4/tcp_congestion_control")
            },
            slow_start_after_idle: read("/proc/sys/net/ipv4/tcp_slow_start_after_idle"),
            libraries: versions(),
        }
    }

    /// What of it hides differences or makes some up, in words.
    pub(super) fn traps(&self, options: &Options) -> Vec<String> {
        let mut traps = Vec::new();
        if !self.optimised {
            traps.push(
                "This is a debug build: CPU decides everything, and the figures say nothing of a release build. \
                 Build with --release."
                    .to_owned(),
            );
        }
        if self.slow_start_after_idle == "1" && options.rtt.is_zero() && options.server.is_some() {
            traps.push(
                "tcp_slow_start_after_idle is 1: a kept connection that has been idle begins slowly again, which \
                 takes much of its advantage over a new one."
                    .to_owned(),
            );
        }
        if options.is_relayed() {
            traps.push(
                "The relay delays bytes but knows no loss and no slow start: over a real distance new connections \
                 are slower still, and one connection for everything suffers more."
                    .to_owned(),
            );
            traps.push(
                "The relay copies every byte once more and takes a core of its own while bytes pass: above about \
                 1 GB/s it is what is measured."
                    .to_owned(),
            );
        } else if options.server.is_none() {
            traps.push(
                "Client and server share this machine: there is no distance, and what one takes the other lacks. \
                 --rtt 10ms shows what distance changes."
                    .to_owned(),
            );
        }
        if self.cores < 4 {
            traps.push(format!(
                "Only {} cores for client, server and the system: ways that use more than one thread are held back.",
                self.cores
            ));
        }
        if self.load > self.cores as f64 * 0.5 {
            traps.push(format!(
                "Something else was running when this began (load {:.1} on {} cores): repeat it on a quiet machine.",
                self.load, self.cores
            ));
        }
        traps
    }
}

/// Of the libraries, as this program was built with them.
fn versions() -> Vec<String> {
    let lock = include_str!("../../Cargo.lock");
    let mut found = Vec::new();
    for package in lock.split("[[package]]") {
        let field = |name: &str| {
            let line = package.lines().find_map(|line| line.strip_prefix(name));
            line.map(|value| value.trim_matches([' ', '=', '"']))
        };
        if let (Some(name), Some(version)) = (field("name"), field("version"))
            && ["h2", "hyper", "tonic", "prost", "tokio", "rustls"].contains(&name)
        {
            found.push(format!("{name} {version}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    #[test]
    fn versions_are_those_of_the_lock() {
        let versions = super::versions();
        assert_eq!(versions.len(), 6, "{versions:?}");
    }
}
