//! A connection whose frames are watched as they pass: the window is counted, and a client that misbehaves is told so and
//! left.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

use super::conduct::{Conduct, Offence};
use super::cut::Cutter;
use super::first_line::FirstLine;
use super::frames::{self, Follower, Frame};
use super::gate::Gate;
use crate::io::{Gathering, Outlet, Socket};

/// RFC 9113, section 7.
const ENHANCE_YOUR_CALM: u32 = 11;
/// Closing on unread bytes, window updates for one, would destroy what is on its way to the client: they are read for so
/// long, and so many of them.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 4 << 20;
/// The same of a client that did nothing wrong: it has window updates to send, and little else.
const PEACE_BYTES: usize = 64 << 10;

pub(super) struct Watched<S> {
    stream: Gathering<S>,
    first_line: FirstLine,
    inbound: Follower,
    /// What was read and is not given yet, where settings were put in between.
    ahead: Bytes,
    outbound: Cutter,
    conduct: Conduct,
    gate: Gate,
    /// The last stream the client opened.
    last_stream: u32,
    leaving: Option<Leaving>,
}

/// The end of a connection.
struct Leaving {
    /// Why, if its client misbehaved.
    offence: Option<Offence>,
    /// What is left to send of the farewell.
    farewell: Vec<u8>,
    shut: bool,
    read: usize,
    until: Pin<Box<Sleep>>,
}

impl<S: Socket> Watched<S> {
    /// What the server lends at `outlet` goes out uncopied.
    pub(super) fn new(stream: S, gate: Gate, outlet: Outlet) -> Self {
        Self {
            stream: Gathering::new(stream, outlet),
            first_line: FirstLine::default(),
            inbound: Follower::default(),
            ahead: Bytes::new(),
            outbound: Cutter::default(),
            conduct: Conduct::new(Instant::now()),
            gate,
            last_stream: 0,
            leaving: None,
        }
    }

    /// Notes what the client says, and puts settings behind its own: they are in what is ahead then.
    fn received(&mut self, bytes: &[u8]) -> Result<(), Offence> {
        let mut judgement = Ok(());
        let mut note = |frame: Frame| {
            if frame.kind == frames::HEADERS {
                self.last_stream = self.last_stream.max(frame.stream);
            }
            self.gate.inbound(&frame);
            if judgement.is_ok() {
                judgement = self.conduct.inbound(&frame, Instant::now);
            }
        };
        let mut widened = BytesMut::new();
        let mut rest = bytes;
        while let Some(left) = self.inbound.follow(rest, &mut note) {
            widened.put(&rest[..rest.len() - left.len()]);
            widened.put(&self.outbound.settings(self.inbound.max_frame())[..]);
            rest = left;
        }
        if !widened.is_empty() {
            widened.put(rest);
            self.ahead = widened.freeze();
        }
        if self.inbound.is_http2() {
            self.stream.gather();
        }
        judgement
    }

    /// Of HTTP/2, frames are cut to what the client takes.
    fn poll_send(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        if !self.first_line.answerable() && self.leaving.is_none() {
            self.leave(Offence::NoHttp);
        }
        let len = slices.iter().map(|slice| slice.len()).sum();
        if self.leaving.is_some() {
            return Poll::Ready(Ok(len));
        }
        if !self.inbound.is_http2() {
            return Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        }
        ready!(self.stream.poll_room(cx))?;
        let mut note = |frame: &Frame| {
            self.gate.outbound(frame);
            self.conduct.outbound(frame);
        };
        for slice in slices {
            self.outbound.pass(slice, &mut note, |bytes| self.stream.take(bytes));
        }
        Poll::Ready(Ok(len))
    }

    fn leave(&mut self, offence: Offence) {
        // In the middle of a frame a farewell would be taken for payload.
        let whole = self.inbound.is_http2() && self.outbound.at_boundary();
        let farewell = if whole { frames::goaway(self.last_stream, ENHANCE_YOUR_CALM) } else { Vec::new() };
        let until = Box::pin(tokio::time::sleep(LINGER));
        self.leaving = Some(Leaving { offence: Some(offence), farewell, shut: false, read: 0, until });
    }
}

impl Leaving {
    /// Of a client who did nothing wrong: what was sent is on its way to it still.
    fn in_peace() -> Self {
        let until = Box::pin(tokio::time::sleep(LINGER));
        Self { offence: None, farewell: Vec::new(), shut: false, read: 0, until }
    }

    /// Says farewell and reads on for a moment. What comes out of it is the reason why the connection ends.
    fn poll<S>(&mut self, mut stream: Pin<&mut S>, cx: &mut Context<'_>) -> Poll<io::Error>
    where
        S: AsyncRead + AsyncWrite,
    {
        let ended = Poll::Ready(match self.offence {
            Some(offence) => io::Error::new(io::ErrorKind::ConnectionAborted, offence),
            None => io::ErrorKind::NotConnected.into(),
        });
        // Who misbehaved is not waited for; who reads slowly is, until all is sent.
        let counts = self.offence.is_some() || self.shut;
        if counts && self.until.as_mut().poll(cx).is_ready() {
            return ended;
        }
        while !self.farewell.is_empty() {
            match stream.as_mut().poll_write(cx, &self.farewell) {
                Poll::Ready(Ok(count)) if count > 0 => drop(self.farewell.drain(..count)),
                Poll::Ready(_) => return ended,
                Poll::Pending => break,
            }
        }
        if self.farewell.is_empty() && !self.shut {
            match stream.as_mut().poll_shutdown(cx) {
                Poll::Ready(Ok(())) => {
                    self.shut = true;
                    self.rest(cx);
                }
                Poll::Ready(Err(_)) => return ended,
                Poll::Pending => {}
            }
        }
        if self.offence.is_none() && !self.shut {
            return Poll::Pending;
        }
        let most = if self.offence.is_some() { LINGER_BYTES } else { PEACE_BYTES };
        let mut space = [0; 4096];
        while self.read < most {
            let mut buffer = ReadBuf::new(&mut space);
            match ready!(stream.as_mut().poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => {
                    self.read += buffer.filled().len();
                    self.rest(cx);
                }
                _ => break,
            }
        }
        ended
    }

    /// Who still reads says so: a sign of it gives another while.
    fn rest(&mut self, cx: &mut Context<'_>) {
        if self.offence.is_none() {
            self.until.as_mut().reset((Instant::now() + LINGER).into());
            let _ = self.until.as_mut().poll(cx);
        }
    }
}

impl<S: Socket> AsyncRead for Watched<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.leaving.is_none() && this.ahead.is_empty() {
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
            let bytes = &buffer.filled()[before..];
            let http = if this.first_line.follow(bytes) { Ok(()) } else { Err(Offence::NoHttp) };
            let judgement = http.and_then(|()| this.received(bytes));
            if judgement.is_err() || !this.ahead.is_empty() {
                buffer.set_filled(before);
            }
            if let Err(offence) = judgement {
                this.leave(offence);
            }
        }
        if let Some(leaving) = &mut this.leaving {
            return leaving.poll(Pin::new(&mut this.stream), cx).map(Err);
        }
        let count = this.ahead.len().min(buffer.remaining());
        buffer.put_slice(&this.ahead.split_to(count));
        Poll::Ready(Ok(()))
    }
}

/// What is written after the farewell goes nowhere.
impl<S: Socket> AsyncWrite for Watched<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut().poll_send(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.leaving.is_some() {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let leaving = this.leaving.get_or_insert_with(Leaving::in_peace);
        leaving.poll(Pin::new(&mut this.stream), cx).map(|_| Ok(()))
    }
}
