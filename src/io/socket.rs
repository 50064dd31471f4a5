//! Sockets that may send from a file by themselves.

use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// What connections are made of.
pub(crate) trait Socket: AsyncRead + AsyncWrite + Unpin {
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

    /// Writes what will be followed by more at once: they may share a packet.
    fn poll_write_more(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(self).poll_write_vectored(cx, slices)
    }
}

#[cfg(not(target_os = "linux"))]
impl Socket for TcpStream {}

/// What is encrypted passes through here.
impl<S: Socket> Socket for TlsStream<S> {}

#[cfg(target_os = "linux")]
impl Socket for TcpStream {
    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        match ready!(poll_when_writable(self, cx, || send_file(self, file, offset, count))) {
            Ok(0) => Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            sent => Poll::Ready(sent),
        }
    }

    fn poll_write_more(&mut self, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let socket = socket2::SockRef::from(&*self);
        poll_when_writable(self, cx, || socket.send_vectored_with_flags(slices, libc::MSG_MORE | libc::MSG_NOSIGNAL))
    }
}

#[cfg(target_os = "linux")]
fn poll_when_writable(
    socket: &TcpStream,
    cx: &mut Context<'_>,
    write: impl Fn() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(socket.poll_write_ready(cx))?;
        match socket.try_io(tokio::io::Interest::WRITABLE, &write) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            done => return Poll::Ready(done),
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
