//! A socket whose small writes leave many to a system call, and whose large ones are kept uncopied until they do; much of a
//! file in one piece is sent from there.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::outlet::{Claim, Outlet, WORTH_KEEPING};
use super::pipe::Pipe;
use super::socket::Socket;

/// Bytes that wait at most before they are sent; one write may go beyond.
const LIMIT: usize = 1 << 20;
/// Who takes so many bytes without a [`STALL`] takes them as they come.
const SWIFT: usize = 8 << 20;
/// A socket that takes nothing for so long has a peer that is slow to read.
const STALL: Duration = Duration::from_millis(20);
/// Pieces of one system call.
const SLICES: usize = 256;
/// Part of a file for which a system call of its own is worth while; of so much, packets had better be full.
const WORTH_SENDING: usize = 256 << 10;
/// Mapped bytes for which a pipe is worth while.
const WORTH_PIPING: usize = 32 << 10;
/// Room for copied bytes that is kept while nothing waits.
const KEPT_ROOM: usize = 8 << 10;

/// A socket that gathers, once it is told to.
///
/// HTTP/2 libraries write a frame and flush it, one after the other, and flush once more when there is no frame left. So a
/// flush that follows a write is put off, and the next one is not; the last packet of much waits for one more, since by then
/// the next part of the answer may have come to share it. Whoever was told "flushed" may never ask again: therefore each
/// flush that is put off wakes its task, and reading sends what waits too.
///
/// Before it is told to, it only keeps few bytes before and after a part of a file, so that they share packets with it: until
/// a flush that is not put off, the socket is corked. A small part that ends its write takes no more than a word that it follows.
#[derive(Debug)]
pub(crate) struct Gathering<S> {
    socket: S,
    outlet: Outlet,
    gathers: bool,
    waiting: VecDeque<Claim>,
    /// What was copied, behind what waits.
    copied: BytesMut,
    /// Bytes of both.
    len: usize,
    /// Flushes put off since something was kept or sent from a file; 1 where nothing ever was.
    put_off: u8,
    /// Bytes sent since the last stall, as far as [`SWIFT`].
    run: usize,
    /// The first bytes of what waits, once they are in a pipe, which is not empty.
    pipe: Option<Pipe>,
    /// Whether pipes can be used, once that was asked.
    pipes: Option<bool>,
    /// Whether packets wait until they are full.
    corked: bool,
    /// Since when the socket has taken nothing.
    blocked: Option<Instant>,
}

impl<S: Socket> Gathering<S> {
    /// Slices of what is lent at `outlet` are kept, others copied.
    pub(crate) fn new(socket: S, outlet: Outlet) -> Self {
        Self {
            socket,
            outlet,
            gathers: false,
            waiting: VecDeque::new(),
            copied: BytesMut::new(),
            len: 0,
            put_off: 1,
            run: 0,
            pipe: None,
            pipes: None,
            corked: false,
            blocked: None,
        }
    }

    /// Begins to gather; until then every write goes to the socket as it comes.
    pub(crate) fn gather(&mut self) {
        self.gathers = true;
    }

    /// Makes room for the next write, for whoever [`take`](Self::take)s what is written apart.
    pub(crate) fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.len >= LIMIT
            && let Poll::Ready(Err(error)) = self.poll_send(cx)
        {
            return Poll::Ready(Err(error));
        }
        // Where the socket takes no more, `poll_send` has left a waker with it.
        if self.len < LIMIT { Poll::Ready(Ok(())) } else { Poll::Pending }
    }

    /// Adds to what waits, once there is room.
    pub(crate) fn take(&mut self, slice: &[u8]) {
        self.len += slice.len();
        self.put_off = 0;
        match self.outlet.claim(slice) {
            Some(kept) => {
                self.seal();
                self.waiting.push_back(kept);
            }
            None => {
                if self.copied.capacity() - self.copied.len() < slice.len() {
                    self.copied.reserve(slice.len().max(KEPT_ROOM));
                }
                self.copied.extend_from_slice(slice);
            }
        }
    }

    /// Writes without waiting for more: a part of a file is sent from there, and what is around it along with it.
    fn poll_pass(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let of_file = |(at, slice): (usize, &IoSlice<'_>)| Some((at, self.outlet.file_of(slice)?));
        let file = slices.iter().enumerate().find_map(of_file);
        if let Some((0, (origin, offset))) = file {
            self.put_off = 0;
            self.cork(true);
            ready!(self.poll_send(cx))?;
            return self.socket.poll_send_file(cx, &origin.file, offset, slices[0].len());
        }
        let (first, rest) = slices.split_at(file.as_ref().map_or(slices.len(), |(before, _)| *before));
        let len: usize = first.iter().map(|slice| slice.len()).sum();
        if let (Some((_, (origin, offset))), [part]) = (&file, rest)
            && !is_worth_sending(part)
            && self.len == 0
            && !self.corked
        {
            // Little, and the last of its write: another system call costs less than a cork.
            let begun = ready!(self.socket.poll_begin(cx, first))?;
            if begun < len {
                return Poll::Ready(Ok(begun));
            }
            let sent = match self.socket.poll_send_file(cx, &origin.file, *offset, part.len()) {
                Poll::Ready(sent) => sent?,
                Poll::Pending => 0,
            };
            return Poll::Ready(Ok(begun + sent));
        }
        if (file.is_some() || self.corked) && len < WORTH_KEEPING {
            first.iter().for_each(|slice| self.take(slice));
            return Poll::Ready(Ok(len));
        }
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.socket).poll_write_vectored(cx, first)
    }

    /// Packets are full until the next flush that is not put off.
    fn cork(&mut self, cork: bool) {
        if std::mem::replace(&mut self.corked, cork) != cork {
            self.socket.set_cork(cork);
        }
    }

    fn seal(&mut self) {
        if !self.copied.is_empty() {
            self.waiting.push_back(self.copied.split().freeze().into());
        }
    }

    /// Sends all that waits.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.seal();
        if self.len >= WORTH_SENDING {
            self.cork(true);
        }
        while self.len > 0 {
            let Poll::Ready(sent) = self.poll_some(cx) else {
                if self.blocked.get_or_insert_with(Instant::now).elapsed() >= STALL {
                    // Others can use it: what is in it waits here too.
                    self.pipe = None;
                }
                return Poll::Pending;
            };
            match sent? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                sent => {
                    self.pace(sent);
                    self.forget(sent);
                }
            }
        }
        if self.copied.capacity() > KEPT_ROOM {
            self.copied = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    /// Learns from what was sent how the peer reads.
    fn pace(&mut self, sent: usize) {
        if self.blocked.take().is_some_and(|since| since.elapsed() >= STALL) {
            self.run = 0;
        }
        self.run = (self.run + sent).min(SWIFT);
    }

    /// Sends the first of what waits.
    fn poll_some(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        loop {
            if self.outlet.is_given_up() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            // While it waited in a pipe, a file may have been cut off.
            if self.pipe.is_some() && self.blocked.is_some() && self.check(self.waiting.len())? {
                self.pipe = None;
            }
            if let Some(pipe) = &mut self.pipe {
                let sent = ready!(self.socket.poll_send_pipe(cx, pipe));
                self.pipe.take_if(|pipe| pipe.held() == 0 || sent.is_err());
                if sent.is_ok() {
                    return Poll::Ready(sent);
                }
                // A socket that takes nothing any more says so once again.
                self.pipes = Some(false);
            }
            let apart = |claim: &Claim| claim.file.is_some() && is_worth_sending(&claim.bytes);
            let sent = match self.waiting.front() {
                Some(claim @ Claim { bytes, file: Some((origin, offset)) }) if apart(claim) => {
                    ready!(self.socket.poll_send_file(cx, &origin.file, *offset, bytes.len()))
                }
                _ => {
                    let together = self.waiting.iter().take(SLICES).take_while(|claim| !apart(claim)).count();
                    // The rest of a page that was cut off reads as zeros.
                    self.check(together)?;
                    match self.fill_pipe(together) {
                        Ok(true) => continue,
                        Ok(false) => ready!(self.poll_write_first(cx, together)),
                        Err(error) => Err(error),
                    }
                }
            };
            // Where a file was cut off since it was looked at, looking again tells.
            match sent {
                Err(error) if is_missing(&error) && self.check(self.waiting.len())? => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    /// Writes the first `count` that wait.
    fn poll_write_first(&mut self, cx: &mut Context<'_>, count: usize) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        slices.iter_mut().zip(&self.waiting).for_each(|(slice, claim)| *slice = IoSlice::new(&claim.bytes));
        Pin::new(&mut self.socket).poll_write_vectored(cx, &slices[..count])
    }

    /// Puts the first of what waits into a pipe, among the first `count`, and says whether it did. Peers that are slow to read
    /// would have all pipes to themselves.
    fn fill_pipe(&mut self, count: usize) -> io::Result<bool> {
        if self.run < SWIFT || !*self.pipes.get_or_insert_with(|| self.socket.takes_pipes()) {
            return Ok(false);
        }
        let fits = |claim: &&Claim| claim.file.is_some() || claim.bytes.len() < WORTH_KEEPING;
        let claims = self.waiting.iter().take(count).take_while(fits);
        let mapped = claims.clone().filter(|claim| claim.file.is_some()).map(|claim| claim.bytes.len());
        if mapped.sum::<usize>() < WORTH_PIPING {
            return Ok(false);
        }
        let Some(mut pipe) = Pipe::take() else {
            // It is not asked for again at once.
            self.run = 0;
            return Ok(false);
        };
        match pipe.fill(claims) {
            Err(error) if is_missing(&error) => return Err(error),
            filled => self.pipes = Some(filled.is_ok()),
        }
        self.pipe = Some(pipe).filter(|pipe| pipe.held() > 0);
        Ok(self.pipe.is_some())
    }

    /// Puts zeros in place of what is no longer in its file, among the first `count` that wait, and says whether it did. Whoever
    /// lent it gives an error in place of what follows; where nothing follows, this is one.
    ///
    /// A frame that was begun has to be ended, for the sake of the other streams of the connection.
    fn check(&mut self, count: usize) -> io::Result<bool> {
        let mut looked_at = None;
        let mut mended = false;
        for claim in self.waiting.iter_mut().take(count) {
            let Some((origin, offset)) = &claim.file else { continue };
            let end = offset + claim.bytes.len() as u64;
            // Pieces of one file are looked at once.
            let reach = match looked_at {
                Some((last, reach)) if last == Arc::as_ptr(origin) => reach,
                _ => origin.reach()?,
            };
            looked_at = Some((Arc::as_ptr(origin), reach));
            if end > reach {
                if !origin.damage() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *claim = Bytes::from(vec![0; claim.bytes.len()]).into();
                mended = true;
            }
        }
        Ok(mended)
    }

    /// Takes off what was sent.
    fn forget(&mut self, mut sent: usize) {
        self.len -= sent;
        while let Some(first) = self.waiting.front_mut() {
            if first.bytes.len() > sent {
                first.advance(sent);
                return;
            }
            sent -= first.bytes.len();
            self.waiting.pop_front();
        }
    }
}

fn is_worth_sending(bytes: &[u8]) -> bool {
    bytes.len() >= WORTH_SENDING
}

/// Whether bytes were not where they had been: of a map, and of a file.
fn is_missing(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EFAULT) || error.kind() == io::ErrorKind::UnexpectedEof
}

impl<S: Socket> AsyncRead for Gathering<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.len > 0 {
            // A failure shows at the next flush; what the peer has sent can be read all the same.
            let _ = this.poll_send(cx);
        }
        Pin::new(&mut this.socket).poll_read(cx, buffer)
    }
}

impl<S: Socket> AsyncWrite for Gathering<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if !this.gathers {
            return this.poll_pass(cx, slices);
        }
        ready!(this.poll_room(cx))?;
        slices.iter().for_each(|slice| this.take(slice));
        Poll::Ready(Ok(slices.iter().map(|slice| slice.len()).sum()))
    }

    fn is_write_vectored(&self) -> bool {
        self.gathers || self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.put_off > 0 || this.len >= LIMIT {
            ready!(this.poll_send(cx))?;
        }
        if this.put_off == 0 || this.put_off == 1 && this.corked {
            this.put_off += 1;
            cx.waker().wake_by_ref();
            return Poll::Ready(Ok(()));
        }
        this.cork(false);
        Pin::new(&mut this.socket).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_send(cx))?;
        Pin::new(&mut this.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests;
