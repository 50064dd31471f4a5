//! Sockets that may send from a file by themselves.

use std::fs::File;
use std::io::{self, IoSlice};
#[cfg(target_os = "linux")]
use std::os::fd::AsFd as _;
use std::pin::Pin;
#[cfg(target_os = "linux")]
use std::task::ready;
use std::task::{Context, Poll};

#[cfg(target_os = "linux")]
use tokio::io::Interest;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::pipe::Pipe;

/// What connections are made of.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
    /// Whether it had better be sent what is in a pipe.
    fn takes_pipes(&self) -> bool {
        false
    }

    /// Sends bytes of a file, as many as it takes now. A file that has none there is [`io::ErrorKind::UnexpectedEof`].
    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        let _ = (cx, file, offset, count);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// As [`AsyncWrite::poll_write_vectored`], of what shares its packets with more that follows at once.
    fn poll_begin(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write_vectored(cx, slices)
    }

    /// Sends what a pipe holds, as much as it takes now.
    fn poll_send_pipe(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let _ = (cx, pipe);
        Poll::Ready(Err(io::ErrorKind::Unsupported.into()))
    }

    /// Whether packets wait until they are full: more will follow at once. Where it does not, the kernel sends what it has
    /// after 200 ms.
    fn set_cork(&mut self, _cork: bool) {}
}

#[cfg(not(target_os = "linux"))]
impl Socket for TcpStream {}

/// What is encrypted passes through here.
impl<S: Socket> Socket for TlsStream<S> {}

#[cfg(target_os = "linux")]
impl Socket for TcpStream {
    /// A pipe gives a socket 16 pages at a time. BBR, which sends by a timer, would set it for each of them, at more cost than
    /// that of copies.
    fn takes_pipes(&self) -> bool {
        socket2::SockRef::from(self).tcp_congestion().is_ok_and(|name| !name.starts_with(b"bbr"))
    }

    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        poll_send(self, cx, || send_file(self, file, offset, count))
    }

    fn poll_begin(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let socket = socket2::SockRef::from(&*self);
        poll_send(self, cx, || socket.send_vectored_with_flags(slices, libc::MSG_MORE | libc::MSG_NOSIGNAL))
    }

    fn poll_send_pipe(&mut self, cx: &mut Context<'_>, pipe: &mut Pipe) -> Poll<io::Result<usize>> {
        let fd = self.as_fd();
        poll_send(self, cx, || pipe.send(fd))
    }

    fn set_cork(&mut self, cork: bool) {
        // A socket that refuses is broken, and the next write will say so.
        let _ = socket2::SockRef::from(&*self).set_tcp_cork(cork);
    }
}

/// Does what sends, once the socket takes something.
#[cfg(target_os = "linux")]
fn poll_send(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    mut send: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_io(Interest::WRITABLE, &mut send) {
            Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            sent => return Poll::Ready(sent),
        }
    }
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn send_file(socket: &TcpStream, file: &File, offset: u64, count: usize) -> io::Result<usize> {
    use std::os::fd::AsRawFd as _;
    let mut offset = libc::off_t::try_from(offset).map_err(io::Error::other)?;
    // SAFETY: both descriptors are open for as long as they are borrowed here, and `offset` lives through the call.
    let sent = unsafe { libc::sendfile(socket.as_raw_fd(), file.as_raw_fd(), &raw mut offset, count) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
