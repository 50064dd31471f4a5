//! One connection: TCP, TLS where the URL asks for it, and what was wrong with that.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;
use tower::Service;

use super::options::Server;
use super::tls::Tls;
use super::{BoxError, BoxFuture, Error};
use crate::error::Code;

/// How long TCP and TLS may take together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes connections.
#[derive(Clone)]
pub(super) struct Connector {
    tcp: HttpConnector,
    secure: Option<Secure>,
    alert: Alert,
}

#[derive(Clone)]
struct Secure {
    tls: Tls,
    connector: TlsConnector,
    /// Whom the certificate must name.
    name: ServerName<'static>,
}

/// What is wrong with a connection that HTTP/2 will only say broke: TLS 1.3 tells of a missing client certificate when
/// the client's side of the handshake is over, and what speaks no HTTP/2 at all says so in its own way.
#[derive(Clone, Default)]
pub(super) struct Alert(Arc<Mutex<Option<String>>>);

impl Alert {
    pub(super) fn get(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn clear(&self) {
        self.set(None);
    }

    fn set(&self, alert: Option<String>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = alert;
    }
}

/// The two sides do not agree about TLS; the message says what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct Disagreement(String);

impl Connector {
    /// To `server`, or one of its addresses; `tls` only for `https`.
    pub(super) fn new(server: &Server, tls: Option<Tls>, alert: Alert) -> Result<Self, Error> {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        let secure = match tls {
            None => None,
            Some(tls) => {
                let name = ServerName::try_from(server.host().to_owned()).map_err(|error| {
                    let message = format!("{server} has a host that no certificate can name: write another");
                    Error::local(Code::InvalidArgument, message).caused_by(error)
                })?;
                Some(Secure { connector: tls.connector(), tls, name })
            }
        };
        Ok(Self { tcp, secure, alert })
    }
}

impl Secure {
    async fn handshake(self, tcp: Tcp, alert: Alert) -> Result<Watched, BoxError> {
        let stream = match self.connector.connect(self.name, tcp).await {
            Ok(stream) => stream,
            Err(error) => {
                return Err(match (tls_error(&error), error.kind()) {
                    (Some(error), _) => Disagreement(self.tls.explain(error)).into(),
                    (None, io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset) => {
                        let message =
                            "it closed the connection in the TLS handshake: if it speaks no TLS, write http://";
                        Disagreement(message.to_owned()).into()
                    }
                    (None, _) => error.into(),
                });
            }
        };
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            let message = "it does not speak HTTP/2 over TLS (ALPN h2): is it a wirephoto server?";
            return Err(Disagreement(message.to_owned()).into());
        }
        Ok(Watched { stream: TokioIo::new(stream), tls: self.tls, alert })
    }
}

impl Service<Uri> for Connector {
    type Response = Box<dyn Io>;
    type Error = BoxError;
    type Future = BoxFuture<Result<Self::Response, BoxError>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Service::poll_ready(&mut self.tcp, cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.tcp.call(uri);
        let (secure, alert) = (self.secure.clone(), self.alert.clone());
        let connect = async move {
            let stream = connecting.await?.into_inner();
            Ok(match secure {
                None => Box::new(TokioIo::new(Tcp { stream, greeted: Some(alert) })) as Box<dyn Io>,
                Some(secure) => Box::new(secure.handshake(Tcp { stream, greeted: None }, alert).await?),
            })
        };
        Box::pin(async move {
            tokio::time::timeout(CONNECT_TIMEOUT, connect)
                .await
                .unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "it did not answer in 10 s").into()))
        })
    }
}

/// A connection as hyper takes it.
pub(super) trait Io: Read + Write + Unpin + Send {}

impl<T: Read + Write + Unpin + Send> Io for T {}

/// A TCP connection to which all can be written: what the other side said before it closed can still be read, and then
/// its end, where a failed write would be all that is known.
struct Tcp {
    stream: TcpStream,
    /// Where to tell of a first byte that is not HTTP/2's, until it came.
    greeted: Option<Alert>,
}

impl AsyncRead for Tcp {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if let Some(alert) = self.greeted.take() {
            match buf.filled().get(before) {
                // The length of the settings that HTTP/2 begins with is below 64 KiB (RFC 9113, section 3.4).
                Some(0) | None => {}
                // A TLS record that holds an alert (RFC 8446, section 5.1).
                Some(21) => alert.set(Some("it speaks TLS: write https://".to_owned())),
                Some(_) => alert.set(Some("it does not speak HTTP/2: is it a wirephoto server?".to_owned())),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, buf));
        Poll::Ready(unless_closed(written, buf.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(cx, bufs));
        Poll::Ready(unless_closed(written, bufs.iter().map(|buf| buf.len()).sum()))
    }
}

fn unless_closed(written: io::Result<usize>, all: usize) -> io::Result<usize> {
    match written {
        Err(error) if matches!(error.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => Ok(all),
        written => written,
    }
}

/// A TLS connection that remembers what ended it.
struct Watched {
    stream: TokioIo<TlsStream<Tcp>>,
    tls: Tls,
    alert: Alert,
}

impl Read for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        let read = ready!(Pin::new(&mut self.stream).poll_read(cx, buf));
        if let Err(error) = &read
            && let Some(error @ rustls::Error::AlertReceived(_)) = tls_error(error)
        {
            self.alert.set(Some(self.tls.explain(error)));
        }
        Poll::Ready(read)
    }
}

impl Write for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }
}

fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref()
}
