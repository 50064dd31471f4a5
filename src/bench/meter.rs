//! What a process costs, read from the kernel's own accounts while it works.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::io::cpu_time;

/// What a process took during a cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Cost {
    /// CPU time in seconds, user and system, of all threads.
    pub(super) cpu_seconds: f64,
    /// Most memory resident at one time, in bytes (`VmHWM`).
    pub(super) peak_bytes: u64,
    /// Most anonymous memory seen, in bytes (`RssAnon`): buffers, not mapped files.
    pub(super) anonymous_bytes: u64,
    /// By how much resident memory rose above what it was, in bytes.
    pub(super) growth_bytes: u64,
    /// Most descriptors seen open.
    pub(super) descriptors: u64,
}

/// What is read between looks.
const PAUSE: Duration = Duration::from_millis(20);

/// A process that is looked at.
#[derive(Debug, Clone)]
pub(super) struct Process {
    pid: u32,
}

impl Process {
    pub(super) fn new(pid: u32) -> Self {
        Self { pid }
    }

    fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{name}", self.pid))
    }

    /// A field of `status`, in bytes.
    fn memory(status: &str, field: &str) -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        let kib = line.and_then(|rest| rest.trim_start_matches(':').split_whitespace().next()?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }

    fn status(&self) -> String {
        std::fs::read_to_string(self.file("status")).unwrap_or_default()
    }

    fn descriptors(&self) -> u64 {
        std::fs::read_dir(self.file("fd")).map_or(0, |entries| entries.count() as u64)
    }
}

/// A look at one or two processes and the sockets between them, from its start to its end.
pub(super) struct Watch {
    processes: Vec<(Process, Before)>,
    stop: tokio::sync::oneshot::Sender<()>,
    looks: tokio::task::JoinHandle<(Vec<Peak>, u64)>,
}

#[derive(Clone, Copy)]
struct Before {
    cpu: Duration,
    resident: u64,
}

#[derive(Clone, Copy, Default)]
struct Peak {
    anonymous: u64,
    descriptors: u64,
}

impl Watch {
    /// Begins. `port` is that of the server's sockets.
    pub(super) fn begin(processes: &[Process], port: u16) -> Self {
        let before = processes.iter().map(|process| {
            // 5 sets the peak back (proc(5), since Linux 4.0).
            let _ = std::fs::write(process.file("clear_refs"), "5");
            let resident = Process::memory(&process.status(), "VmRSS");
            (process.clone(), Before { cpu: cpu_time(process.pid).unwrap_or_default(), resident })
        });
        let processes: Vec<_> = before.collect();
        let (stop, mut stopped) = tokio::sync::oneshot::channel();
        let looked_at: Vec<_> = processes.iter().map(|(process, _)| process.clone()).collect();
        let looks = tokio::spawn(async move {
            let mut peaks = vec![Peak::default(); looked_at.len()];
            let mut queued = 0;
            loop {
                for (process, peak) in looked_at.iter().zip(&mut peaks) {
                    peak.anonymous = peak.anonymous.max(Process::memory(&process.status(), "RssAnon"));
                    peak.descriptors = peak.descriptors.max(process.descriptors());
                }
                queued = queued.max(queued_bytes(port));
                tokio::select! {
                    _ = &mut stopped => break (peaks, queued),
                    () = tokio::time::sleep(PAUSE) => {}
                }
            }
        });
        Self { processes, stop, looks }
    }

    /// Ends: what each process took, and the most bytes seen in the buffers of sockets.
    pub(super) async fn end(self) -> (Vec<Cost>, u64) {
        let cpus: Vec<_> = self.processes.iter().map(|(process, _)| cpu_time(process.pid)).collect();
        let _ = self.stop.send(());
        let (peaks, queued) = self.looks.await.unwrap_or_default();
        let costs = self.processes.iter().zip(cpus).enumerate().map(|(at, ((process, before), cpu))| {
            let status = process.status();
            let peak = peaks.get(at).copied().unwrap_or_default();
            let anonymous = peak.anonymous.max(Process::memory(&status, "RssAnon"));
            let most = Process::memory(&status, "VmHWM");
            Cost {
                cpu_seconds: cpu.unwrap_or(before.cpu).saturating_sub(before.cpu).as_secs_f64(),
                peak_bytes: most,
                anonymous_bytes: anonymous,
                growth_bytes: most.saturating_sub(before.resident),
                descriptors: peak.descriptors,
            }
        });
        (costs.collect(), queued)
    }
}

/// Bytes in the buffers of all sockets from and to `port`, sent or received and not yet taken.
fn queued_bytes(port: u16) -> u64 {
    let port = format!(":{port:04X}");
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|table| std::fs::read_to_string(table).unwrap_or_default());
    let lines = tables.iter().flat_map(|table| table.lines().skip(1));
    let queued = lines.filter_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let (local, remote, state) = (columns.next()?, columns.next()?, columns.next()?);
        // A listener's queue counts connections (0A).
        if state == "0A" || !(local.ends_with(&port) || remote.ends_with(&port)) {
            return None;
        }
        let (sent, received) = columns.next()?.split_once(':')?;
        Some(u64::from_str_radix(sent, 16).ok()? + u64::from_str_radix(received, 16).ok()?)
    });
    queued.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_is_told_from_the_kernels_accounts() {
        let watch = Watch::begin(&[Process::new(std::process::id())], 1);
        let mut memory = vec![1_u8; 64 << 20];
        let begun = std::time::Instant::now();
        while cpu_time(std::process::id()).unwrap_or_default() < Duration::from_millis(1)
            || begun.elapsed() < Duration::from_millis(5)
        {
            memory[begun.elapsed().subsec_nanos() as usize % (64 << 20)] += 1;
        }
        let (costs, _) = watch.end().await;
        assert!(costs[0].cpu_seconds > 0.0, "{costs:?}");
        assert!(costs[0].peak_bytes > 64 << 20, "{costs:?}");
        assert!(costs[0].anonymous_bytes > 64 << 20, "{costs:?}");
        assert!(costs[0].descriptors > 2, "{costs:?}");
        drop(memory);
    }
}
