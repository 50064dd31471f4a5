//! Sockets that may send from a file by themselves.

use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::task::ready;
use std::task::{Context, Poll};

#[cfg(target_os = "linux")]
use tokio::io::Interest;
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
    fn poll_send_file(
        &mut self,
        cx: &mut Context<'_>,
        file: &File,
        offset: u64,
        count: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.poll_write_ready(cx))?;
            match self.try_io(Interest::WRITABLE, || send_file(self, file, offset, count)) {
                Ok(0) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                sent => return Poll::Ready(sent),
            }
        }
    }

    fn set_cork(&mut self, cork: bool) {
        // A socket that refuses is broken, and the next write will say so.
        let _ = socket2::SockRef::from(&*self).set_tcp_cork(cork);
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
