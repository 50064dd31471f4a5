//! HTTP/2, as much as a byte counter needs: it reads frame headers and skips what they carry.
//!
//! Cheaper than any library, so that what is measured is the server. It keeps the protocol: settings and pings are
//! acknowledged, windows given back by halves and, for uploads, respected.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex};

use anyhow::{Context as _, Result, bail};

use crate::conn::{Conn, Sink, Target};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
/// Frames of an upload: the largest that every server takes.
const UPLOAD_FRAME: usize = 16 << 10;

/// What the client asks of a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Settings {
    pub frame: u32,
    pub stream_window: u32,
    pub connection_window: u32,
}

impl Settings {
    pub const fn frames(frame: u32) -> Self {
        Self { frame, stream_window: 16 << 20, connection_window: 64 << 20 }
    }
}

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    out.extend([kind, flags]);
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

fn preface(settings: Settings) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in [(2_u16, 0), (4, settings.stream_window), (5, settings.frame)] {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    out.extend(frame(SETTINGS, 0, 0, &payload));
    out.extend(window_update(0, settings.connection_window - 65_535));
    out
}

fn window_update(stream: u32, bytes: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &bytes.to_be_bytes())
}

/// A header block without compression (RFC 7541, section 6.2.2): literals that nothing remembers.
fn headers(stream: u32, path: &str, tls: bool) -> Vec<u8> {
    let mut block = Vec::new();
    let scheme = if tls { "https" } else { "http" };
    for (name, value) in [
        (":method", "POST"),
        (":scheme", scheme),
        (":path", path),
        (":authority", "localhost"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ] {
        block.push(0);
        for text in [name, value] {
            block.push(text.len() as u8);
            block.extend(text.as_bytes());
        }
    }
    frame(HEADERS, END_HEADERS, stream, &block)
}

struct Head {
    length: usize,
    kind: u8,
    flags: u8,
    stream: u32,
}

fn parse(bytes: &[u8]) -> Head {
    let word = |at: usize| u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    Head { length: (word(0) >> 8) as usize, kind: bytes[3], flags: bytes[4], stream: word(5) & 0x7fff_ffff }
}

/// A connection for downloads, one at a time.
pub struct Downloads {
    conn: Conn,
    settings: Settings,
    tls: bool,
    next: u32,
    unacknowledged: u32,
}

impl Downloads {
    pub fn open(target: &Target, settings: Settings) -> Result<Self> {
        let mut conn = target.connect("h2")?;
        conn.write_all(&preface(settings))?;
        Ok(Self { conn, settings, tls: target.tls.is_some(), next: 1, unacknowledged: 0 })
    }

    pub fn begin(&mut self, path: &str, message: &[u8]) -> Result<u32> {
        let stream = self.next;
        self.next += 2;
        let mut request = headers(stream, path, self.tls);
        request.extend(frame(DATA, END_STREAM, stream, message));
        self.conn.write_all(&request)?;
        Ok(stream)
    }

    /// Calls the method and counts the bytes of its answer's DATA frames.
    pub fn exchange(&mut self, path: &str, message: &[u8], sink: Sink<'_>) -> Result<u64> {
        let stream = self.begin(path, message)?;
        let (mut total, mut ungiven) = (0, 0);
        loop {
            self.conn.at_least(9)?;
            let head = parse(self.conn.here());
            self.conn.take(9);
            if head.kind == DATA && head.stream == stream {
                if head.flags & PADDED != 0 {
                    bail!("the server pads its frames");
                }
                if head.length as u32 > self.settings.frame {
                    bail!("a frame of {} bytes, more than was allowed", head.length);
                }
                self.conn.pass(head.length as u64, sink)?;
                total += head.length as u64;
                ungiven += head.length as u32;
                self.unacknowledged += head.length as u32;
                if head.flags & END_STREAM != 0 {
                    return Ok(total);
                }
                self.give_back(stream, &mut ungiven)?;
                continue;
            }
            self.conn.at_least(head.length)?;
            let payload = &self.conn.here()[..head.length];
            match head.kind {
                SETTINGS if head.flags & ACK == 0 => self.conn.write_all(&frame(SETTINGS, ACK, 0, &[]))?,
                PING if head.flags & ACK == 0 => {
                    let answer = frame(PING, ACK, 0, payload);
                    self.conn.write_all(&answer)?;
                }
                RST_STREAM => bail!("the server reset the stream: {payload:?}"),
                GOAWAY => bail!("the server goes away: {}", String::from_utf8_lossy(payload)),
                HEADERS if head.stream == stream && head.flags & END_STREAM != 0 => {
                    self.conn.take(head.length);
                    return Ok(total);
                }
                _ => {}
            }
            self.conn.take(head.length);
        }
    }

    fn give_back(&mut self, stream: u32, ungiven: &mut u32) -> Result<()> {
        if *ungiven >= self.settings.stream_window / 2 {
            self.conn.write_all(&window_update(stream, *ungiven))?;
            *ungiven = 0;
        }
        if self.unacknowledged >= self.settings.connection_window / 2 {
            self.conn.write_all(&window_update(0, self.unacknowledged))?;
            self.unacknowledged = 0;
        }
        Ok(())
    }

    pub fn sip(&mut self, bytes: usize) -> Result<usize> {
        self.conn.sip(bytes)
    }
}

#[derive(Default)]
struct Windows {
    connection: i64,
    stream: i64,
    /// What a new stream may send.
    initial: i64,
    stream_id: u32,
    done: bool,
    failure: Option<String>,
    answer: Vec<u8>,
    /// Acknowledgements for the writer to send between two frames: two writing threads would cut each other's frames.
    owed: Vec<u8>,
}

/// A connection for uploads, one at a time; a second thread reads the windows.
pub struct Uploads {
    tcp: TcpStream,
    windows: Arc<(Mutex<Windows>, Condvar)>,
    next: u32,
}

impl Uploads {
    pub fn open(target: &Target) -> Result<Self> {
        let mut tcp = target.tcp()?;
        tcp.write_all(&preface(Settings::frames(16 << 10)))?;
        let first = Windows { connection: 65_535, stream: 65_535, initial: 65_535, ..Windows::default() };
        let windows = Arc::new((Mutex::new(first), Condvar::new()));
        let (reader, shared) = (tcp.try_clone()?, windows.clone());
        std::thread::spawn(move || {
            let failure = listen(reader, &shared).err().map(|error| format!("{error:#}"));
            if let Ok(mut state) = shared.0.lock() {
                state.failure = failure;
            }
            shared.1.notify_all();
        });
        Ok(Self { tcp, windows, next: 1 })
    }

    /// Sends the frames of [`upload_frames`] and gives the answer's body.
    pub fn exchange(&mut self, path: &str, frames: &mut [u8]) -> Result<Vec<u8>> {
        let stream = self.next;
        self.next += 2;
        let mut at = 0;
        while at < frames.len() {
            let head = parse(&frames[at..]);
            frames[at + 5..at + 9].copy_from_slice(&stream.to_be_bytes());
            at += 9 + head.length;
        }
        {
            let mut state = self.state()?;
            (state.stream, state.stream_id, state.done) = (state.initial, stream, false);
            state.answer.clear();
        }
        self.tcp.write_all(&headers(stream, path, false))?;
        let mut at = 0;
        while at < frames.len() {
            let mut state = self.state()?;
            let mut end = at;
            loop {
                if let Some(failure) = &state.failure {
                    bail!("{failure}");
                }
                if state.done {
                    bail!("the server answered before the upload's end: {}", String::from_utf8_lossy(&state.answer));
                }
                while end < frames.len() && end - at < 1 << 20 {
                    let length = parse(&frames[end..]).length;
                    if (length as i64) > state.stream.min(state.connection) {
                        break;
                    }
                    state.stream -= length as i64;
                    state.connection -= length as i64;
                    end += 9 + length;
                }
                if end > at || !state.owed.is_empty() {
                    break;
                }
                state = self.windows.1.wait(state).map_err(|_| anyhow::anyhow!("the reader died"))?;
            }
            let owed = std::mem::take(&mut state.owed);
            drop(state);
            self.tcp.write_all(&owed)?;
            self.tcp.write_all(&frames[at..end])?;
            at = end;
        }
        let mut state = self.state()?;
        while !state.done {
            if let Some(failure) = &state.failure {
                bail!("{failure}");
            }
            state = self.windows.1.wait(state).map_err(|_| anyhow::anyhow!("the reader died"))?;
        }
        Ok(std::mem::take(&mut state.answer))
    }

    fn state(&self) -> Result<std::sync::MutexGuard<'_, Windows>> {
        self.windows.0.lock().map_err(|_| anyhow::anyhow!("the reader died"))
    }
}

impl Drop for Uploads {
    fn drop(&mut self) {
        let _ = self.tcp.shutdown(std::net::Shutdown::Both);
    }
}

fn listen(mut tcp: TcpStream, shared: &(Mutex<Windows>, Condvar)) -> Result<()> {
    let mut payload = Vec::new();
    loop {
        let mut head = [0; 9];
        tcp.read_exact(&mut head).context("the server ended the connection")?;
        let head = parse(&head);
        payload.resize(head.length, 0);
        tcp.read_exact(&mut payload)?;
        let mut state = shared.0.lock().map_err(|_| anyhow::anyhow!("the writer died"))?;
        match head.kind {
            SETTINGS if head.flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    if setting[..2] == [0, 4] {
                        let value = i64::from(u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]]));
                        state.stream += value - state.initial;
                        state.initial = value;
                    }
                }
                state.owed.extend(frame(SETTINGS, ACK, 0, &[]));
            }
            PING if head.flags & ACK == 0 => state.owed.extend(frame(PING, ACK, 0, &payload)),
            WINDOW_UPDATE if payload.len() == 4 => {
                let more = i64::from(u32::from_be_bytes([payload[0], payload[1], payload[2], payload[3]]));
                if head.stream == 0 {
                    state.connection += more;
                } else if head.stream == state.stream_id {
                    state.stream += more;
                }
            }
            DATA if head.stream == state.stream_id => state.answer.extend(&payload),
            RST_STREAM if head.stream == state.stream_id => bail!("the server reset the stream: {payload:?}"),
            GOAWAY => bail!("the server goes away: {}", String::from_utf8_lossy(&payload)),
            _ => {}
        }
        if matches!(head.kind, DATA | HEADERS) && head.flags & END_STREAM != 0 && head.stream == state.stream_id {
            state.done = true;
        }
        shared.1.notify_all();
    }
}

/// The body as DATA frames of a stream still to be named.
pub fn upload_frames(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() + body.len() / 1000);
    let last = body.len().div_ceil(UPLOAD_FRAME).saturating_sub(1);
    for (index, piece) in body.chunks(UPLOAD_FRAME).enumerate() {
        out.extend(frame(DATA, if index == last { END_STREAM } else { 0 }, 0, piece));
    }
    out
}
