//! What one connection, and all of them together, may take. One place for every number of `net`.

use std::time::Duration;

/// Limits of the listener and its connections. The defaults are what the server ships with.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once. One more is closed as soon as it is accepted.
    pub connections: usize,
    /// What a client has to finish its TLS handshake in.
    pub handshake: Duration,
    /// What a client has to send its first byte in, and the headers of an HTTP/1.1 request.
    pub headers: Duration,
    /// A body on HTTP/1.1 of which nothing comes for this long, while the server waits for it, is cut.
    pub silence: Duration,
    /// A connection whose client takes nothing of what is sent to it for this long is cut (`TCP_USER_TIMEOUT`, RFC 5482), on
    /// Linux. Elsewhere its age ends it.
    pub unread: Duration,
    /// A connection that has had no request running for about this long is closed.
    pub idle: Duration,
    /// A connection this old, give or take a tenth, takes no more requests; clients open another, perhaps elsewhere.
    pub age: Duration,
    /// What the requests on a connection that closes for its age have to finish in.
    pub grace: Duration,
    /// A ping goes out on HTTP/2 this long after the last byte came in,
    pub ping: Duration,
    /// and the connection is cut when no answer comes within this.
    pub pong: Duration,
    /// After the signal to stop, connections are still accepted for this long, so that nobody who has not yet heard of
    /// it is refused.
    pub pause: Duration,
    /// Certificate files are looked at this often.
    pub reload: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        Self {
            connections: 10_000,
            handshake: Duration::from_secs(10),
            headers: Duration::from_secs(30),
            silence: MINUTE,
            unread: MINUTE,
            idle: 10 * MINUTE,
            age: 60 * MINUTE,
            grace: 30 * MINUTE,
            ping: Duration::from_secs(30),
            pong: Duration::from_secs(10),
            pause: Duration::from_millis(500),
            reload: Duration::from_secs(2),
        }
    }
}

/// Upload bytes that one stream may have in flight: 10 ms of distance do not slow a gigabit.
pub(super) const STREAM_WINDOW: u32 = 2 << 20;
/// The same for all streams of a connection together.
pub(super) const CONNECTION_WINDOW: u32 = 16 << 20;
/// Largest HTTP/2 frame taken: each connection may keep one.
pub(super) const MAX_FRAME: u32 = 16 << 10;
/// Streams that one HTTP/2 connection may have open.
pub(super) const MAX_STREAMS: u32 = 250;
/// All header fields of a request together, as HTTP/2 counts them (RFC 9113, section 6.5.2).
pub(super) const MAX_HEADERS: u32 = 16 << 10;
/// What connections that are cut have to end in.
pub(super) const CUT: Duration = Duration::from_secs(1);
/// A pause after `accept` fails for want of file descriptors or memory, which only time mends.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Frames that ask for work and bring none, such as pings: so many at once, and so many a second for ever. An answer
/// that is being sent allows all of them again, since clients measure the line by pings while they receive.
pub(super) const IDLE_FRAMES: (u32, u32) = (100, 1);
/// Requests that the client itself cuts off, in the same way.
pub(super) const RESETS: (u32, u32) = (1000, 100);
