//! A relay of TCP connections that adds distance, a slow line, or a pause: what netem does, in user space.
//!
//! It delays bytes; it loses none, and knows nothing of slow start. The kernel completes a connection before the relay
//! knows of it, so the first bytes of each connection wait one more round trip, as the handshake of TCP would have.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, Semaphore, mpsc};
use tokio::time::{Instant, sleep_until};

/// The line that is emulated.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Line {
    /// There and back.
    pub rtt: Duration,
    /// Bits a second each way, all connections together; without it, no limit.
    pub bandwidth: Option<u64>,
    /// What comes back over the first connection stands still for so long at the beginning of every second.
    pub stall: Duration,
}

/// Bytes that may be on the way in one direction of one connection: a gigabyte a second at 60 ms.
const IN_FLIGHT: usize = 64 << 20;
const PIECE: usize = 64 << 10;

/// Relays connections to `to`, for ever.
pub async fn relay(listener: TcpListener, to: SocketAddr, line: Line) {
    let there = Arc::new(Direction::new(line));
    let back = Arc::new(Direction::new(line));
    loop {
        let Ok((near, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (there, back) = (Arc::clone(&there), Arc::clone(&back));
        tokio::spawn(async move {
            let Ok(far) = TcpStream::connect(to).await else { return };
            // Latency is ours to give.
            let _ = (near.set_nodelay(true), far.set_nodelay(true));
            let (near_read, near_write) = near.into_split();
            let (far_read, far_write) = far.into_split();
            let handshake = Instant::now() + line.rtt;
            tokio::join!(
                pass(near_read, far_write, there, line, handshake, Duration::ZERO),
                pass(far_read, near_write, back, line, handshake, line.stall),
            );
        });
    }
}

/// One direction of the line, which all connections share.
struct Direction {
    /// When the line has sent what was given to it.
    free: Mutex<Instant>,
    bandwidth: Option<u64>,
    stalls: AtomicBool,
    begun: Instant,
}

impl Direction {
    fn new(line: Line) -> Self {
        let begun = Instant::now();
        Self { free: Mutex::new(begun), bandwidth: line.bandwidth, stalls: AtomicBool::new(true), begun }
    }

    /// When the line has sent so many bytes more.
    async fn sent(&self, bytes: usize) -> Instant {
        let now = Instant::now();
        let Some(bandwidth) = self.bandwidth else { return now };
        let mut free = self.free.lock().await;
        *free = (*free).max(now) + Duration::from_secs_f64(bytes as f64 * 8.0 / bandwidth as f64);
        *free
    }
}

/// Passes bytes on until either side is gone.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    direction: Arc<Direction>,
    line: Line,
    handshake: Instant,
    stall: Duration,
) {
    let room = Arc::new(Semaphore::new(IN_FLIGHT));
    let begun = direction.begun;
    let stalls = !stall.is_zero() && direction.stalls.swap(false, Ordering::Relaxed);
    let (send, mut receive) = mpsc::unbounded_channel::<(Instant, Bytes)>();
    let reader = {
        let room = Arc::clone(&room);
        async move {
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(PIECE);
                let Ok(len @ 1..) = from.read_buf(&mut buffer).await else { break };
                let arrives = direction.sent(len).await.max(handshake) + line.rtt / 2;
                let Ok(permit) = room.acquire_many(u32::try_from(len).unwrap_or(u32::MAX)).await else { break };
                permit.forget();
                if send.send((arrives, buffer.split().freeze())).is_err() {
                    break;
                }
            }
        }
    };
    let writer = async move {
        while let Some((arrives, bytes)) = receive.recv().await {
            if stalls {
                let into_second = Duration::from_nanos(u64::from(begun.elapsed().subsec_nanos()));
                tokio::time::sleep(stall.saturating_sub(into_second)).await;
            }
            sleep_until(arrives).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
            room.add_permits(bytes.len());
        }
        // Whoever is gone needs no goodbye.
        let _ = to.shutdown().await;
    };
    tokio::join!(reader, writer);
}
