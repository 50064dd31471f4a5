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
}

#[derive(Clone)]
struct Secure {
    tls: Tls,
    connector: TlsConnector,
    /// Whom the certificate must name.
    name: ServerName<'static>,
    alert: Alert,
}

/// What the server found wrong with the client when the client's side of the handshake was over: TLS 1.3 tells of a
/// missing certificate there, and HTTP/2 only that the connection broke.
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
                Some(Secure { connector: tls.connector(), tls, name, alert })
            }
        };
        Ok(Self { tcp, secure })
    }
}

impl Secure {
    async fn handshake(self, tcp: TcpStream) -> Result<Watched, BoxError> {
        let stream = match self.connector.connect(self.name, tcp).await {
            Ok(stream) => stream,
            Err(error) => {
                return Err(match tls_error(&error) {
                    Some(error) => Disagreement(self.tls.explain(error)).into(),
                    None => error.into(),
                });
            }
        };
        if stream.get_ref().1.alpn_protocol() != Some(b"h2") {
            let message = "it does not speak HTTP/2 over TLS (ALPN h2): is it a wirephoto server?";
            return Err(Disagreement(message.to_owned()).into());
        }
        Ok(Watched { stream: TokioIo::new(stream), tls: self.tls, alert: self.alert })
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
        let secure = self.secure.clone();
        let connect = async move {
            let tcp = connecting.await?;
            Ok(match secure {
                None => Box::new(tcp) as Box<dyn Io>,
                Some(secure) => Box::new(secure.handshake(tcp.into_inner()).await?),
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

/// A TLS connection that remembers what ended it.
struct Watched {
    stream: TokioIo<TlsStream<TcpStream>>,
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
