//! Connections of the measured client: counted, and TLS where it is asked for.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion};

/// What has passed over all connections of a client.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Traffic {
    /// Bytes that TCP gave us.
    pub(super) received: u64,
    /// Bytes given to TCP.
    pub(super) sent: u64,
    /// Connections made.
    pub(super) connections: u64,
    /// TLS handshakes done.
    pub(super) handshakes: u64,
    /// Most connections open at one time.
    pub(super) open_at_most: u64,
}

#[derive(Debug, Default)]
struct Counts {
    received: AtomicU64,
    sent: AtomicU64,
    connections: AtomicU64,
    handshakes: AtomicU64,
    open: AtomicU64,
    open_at_most: AtomicU64,
}

/// Versions of TLS that may be spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum TlsVersion {
    /// 1.3 where both sides know it.
    Newest,
    /// 1.2 only.
    V12,
}

/// Makes connections to one address.
#[derive(Clone)]
pub(super) struct Connector {
    address: SocketAddr,
    tls: Option<TlsConnector>,
    counts: Arc<Counts>,
}

impl Connector {
    /// TLS is spoken when there is a `certificate` (PEM) to trust.
    ///
    /// # Errors
    /// The certificate is none.
    pub(super) fn new(address: SocketAddr, certificate: Option<&str>, version: TlsVersion) -> Result<Self, String> {
        let tls = certificate.map(|pem| tls(pem, version)).transpose()?;
        Ok(Self { address, tls, counts: Arc::default() })
    }

    /// The same for HTTP/2, which TLS has to agree on (RFC 9113, section 3.2).
    pub(super) fn for_http2(&self) -> Self {
        let mut same = self.clone();
        same.tls = self.tls.as_ref().map(|tls| {
            let mut config = ClientConfig::clone(tls.config());
            config.alpn_protocols = vec![b"h2".to_vec()];
            TlsConnector::from(Arc::new(config))
        });
        same
    }

    /// What has passed since [`Connector::forget`] was last called.
    pub(super) fn traffic(&self) -> Traffic {
        let Counts { received, sent, connections, handshakes, open_at_most, .. } = &*self.counts;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Traffic {
            received: read(received),
            sent: read(sent),
            connections: read(connections),
            handshakes: read(handshakes),
            open_at_most: read(open_at_most),
        }
    }

    /// Counts from zero; what is open stays counted as open.
    pub(super) fn forget(&self) {
        let Counts { received, sent, connections, handshakes, open, open_at_most } = &*self.counts;
        for count in [received, sent, connections, handshakes] {
            count.store(0, Ordering::Relaxed);
        }
        open_at_most.store(open.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    pub(super) async fn open(&self) -> io::Result<Stream> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let counts = Arc::clone(&self.counts);
        counts.connections.fetch_add(1, Ordering::Relaxed);
        let open = counts.open.fetch_add(1, Ordering::Relaxed) + 1;
        counts.open_at_most.fetch_max(open, Ordering::Relaxed);
        let counted = Counted { tcp, counts: Arc::clone(&counts) };
        let Some(tls) = &self.tls else { return Ok(Stream::Plain(counted)) };
        let name = ServerName::IpAddress(self.address.ip().into());
        let stream = tls.connect(name, counted).await?;
        counts.handshakes.fetch_add(1, Ordering::Relaxed);
        Ok(Stream::Tls(Box::new(stream)))
    }
}

fn tls(pem: &str, version: TlsVersion) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        let certificate = certificate.map_err(|error| error.to_string())?;
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let versions: &[&SupportedProtocolVersion] = match version {
        TlsVersion::Newest => &[&TLS13, &TLS12],
        TlsVersion::V12 => &[&TLS12],
    };
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(versions)
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    // Every new connection is to be a new one.
    config.resumption = tokio_rustls::rustls::client::Resumption::disabled();
    Ok(TlsConnector::from(Arc::new(config)))
}

impl tower::Service<Uri> for Connector {
    type Response = TokioIo<Stream>;
    type Error = io::Error;
    type Future = BoxFuture<'static, io::Result<TokioIo<Stream>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let connector = self.clone();
        async move { Ok(TokioIo::new(connector.open().await?)) }.boxed()
    }
}

/// A connection whose bytes are counted below TLS.
pub(super) enum Stream {
    Plain(Counted),
    Tls(Box<TlsStream<Counted>>),
}

pub(super) struct Counted {
    tcp: TcpStream,
    counts: Arc<Counts>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AsyncRead for Counted {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.tcp).poll_read(cx, buf);
        self.counts.received.fetch_add((buf.filled().len() - before) as u64, Ordering::Relaxed);
        polled
    }
}

impl AsyncWrite for Counted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write(cx, buf);
        self.count(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.tcp).poll_write_vectored(cx, bufs);
        self.count(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(cx)
    }
}

impl Counted {
    fn count(&self, polled: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if let Poll::Ready(Ok(written)) = &polled {
            self.counts.sent.fetch_add(*written as u64, Ordering::Relaxed);
        }
        polled
    }
}

macro_rules! either {
    ($stream:expr, $io:ident => $call:expr) => {
        match $stream {
            Stream::Plain($io) => $call,
            Stream::Tls($io) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), io => Pin::new(io).poll_read(cx, buf))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), io => Pin::new(io).poll_write(cx, buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        either!(self.get_mut(), io => Pin::new(io).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        either!(self, io => io.is_write_vectored())
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self.get_mut(), io => Pin::new(io).poll_shutdown(cx))
    }
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}
