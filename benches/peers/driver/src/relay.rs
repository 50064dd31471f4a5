//! A link with a delay: what comes in goes out half a round trip later, in order, at any bandwidth.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// Pieces on their way in one direction at most: 64 MiB when all are full.
const IN_FLIGHT: usize = 256;
const PIECE: usize = 256 << 10;

/// Serves for ever.
pub fn run(to: u16, rtt: Duration) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    println!("{}", listener.local_addr()?.port());
    for client in listener.incoming() {
        let client = client?;
        std::thread::spawn(move || {
            // The handshake crosses the link as well.
            std::thread::sleep(rtt);
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
            for (from, to) in [(&client, &server), (&server, &client)] {
                let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone()) else { return };
                let _ = to.set_nodelay(true);
                let (sender, receiver) = sync_channel(IN_FLIGHT);
                std::thread::spawn(move || {
                    let mut from = from;
                    loop {
                        let mut piece = vec![0; PIECE];
                        let read = from.read(&mut piece).unwrap_or(0);
                        piece.truncate(read);
                        if sender.send((Instant::now() + rtt / 2, piece)).is_err() || read == 0 {
                            return;
                        }
                    }
                });
                std::thread::spawn(move || forward(to, &receiver));
            }
        });
    }
    Ok(())
}

fn forward(mut to: TcpStream, pieces: &Receiver<(Instant, Vec<u8>)>) {
    for (due, piece) in pieces {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if piece.is_empty() {
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
        if to.write_all(&piece).is_err() {
            return;
        }
    }
}

/// The relay in a process of its own.
pub struct Child {
    child: std::process::Child,
    pub port: u16,
}

impl Child {
    pub fn start(to: u16, rtt: Duration) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["relay", &to.to_string(), &rtt.as_millis().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        let output = child.stdout.take().context("the relay's output")?;
        BufReader::new(output).read_line(&mut line)?;
        Ok(Self { child, port: line.trim().parse().context("the relay's port")? })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
