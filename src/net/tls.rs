//! TLS: certificate, key and the CA of clients from PEM files, read again when they change.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::rustls::client::verify_server_cert_signed_by_trust_anchor;
use tokio_rustls::rustls::crypto::{CryptoProvider, aws_lc_rs};
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use tokio_rustls::rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, CertificateError, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// By ALPN (RFC 7301), the first that the client speaks too.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Where certificate and key are, as PEM files.
#[derive(Debug, Clone)]
struct Files {
    /// The server's certificate, followed by those between it and its root.
    cert: PathBuf,
    key: PathBuf,
    /// Clients must show a certificate of one of these, if given.
    client_ca: Option<PathBuf>,
}

/// Which file cannot be used, why, and how to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// A server's side of TLS 1.2 and 1.3. Clones share it, reloads included.
#[derive(Clone)]
pub struct Tls {
    files: Files,
    config: Arc<RwLock<Arc<ServerConfig>>>,
    /// Of what was last read.
    fingerprint: Fingerprint,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Tls {
    /// With the certificate in `cert` and its key in `key`; only clients with a certificate of a CA in `client_ca` are let
    /// in, if it is given. All are PEM files.
    ///
    /// # Errors
    /// A file cannot be read or used, the key is not the certificate's, or the certificate has expired or is not valid yet.
    pub fn load(cert: PathBuf, key: PathBuf, client_ca: Option<PathBuf>) -> Result<Self, TlsError> {
        let files = Files { cert, key, client_ca };
        let contents = files.read()?;
        let config = files.config(&contents)?;
        Ok(Self { files, config: Arc::new(RwLock::new(Arc::new(config))), fingerprint: Ok(contents.fingerprint()) })
    }

    pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(&self, stream: S) -> std::io::Result<TlsStream<S>> {
        let config = Arc::clone(&self.config.read().unwrap_or_else(PoisonError::into_inner));
        TlsAcceptor::from(config).accept(stream).await
    }

    /// Looks at the files so often, for ever. New ones that cannot be used are told of once, and the old ones stay in force.
    pub(super) async fn follow(mut self, every: Duration) {
        loop {
            tokio::time::sleep(every).await;
            let read = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            match read.await {
                Ok(tls) => self = tls,
                // The runtime is shutting down.
                Err(_) => return,
            }
        }
    }

    fn look(&mut self) {
        let contents = self.files.read();
        let fingerprint = contents.as_ref().map(Contents::fingerprint).map_err(ToString::to_string);
        if fingerprint == self.fingerprint {
            return;
        }
        self.fingerprint = fingerprint;
        match contents.and_then(|contents| self.files.config(&contents)) {
            Ok(config) => {
                *self.config.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(config);
                tracing::info!(cert = %self.files.cert.display(), "certificate and key were read again");
            }
            Err(error) => {
                tracing::error!(%error, "the certificate that was in force stays: the new one cannot be used")
            }
        }
    }
}

/// Tells one state of the files from another, without keeping the key.
type Fingerprint = Result<[u8; 32], String>;

struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

impl Contents {
    fn fingerprint(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        for part in [&self.cert, &self.key, self.client_ca.as_ref().unwrap_or(&Vec::new())] {
            hash.update(part.len().to_be_bytes());
            hash.update(part);
        }
        hash.finalize().into()
    }
}

impl Files {
    fn read(&self) -> Result<Contents, TlsError> {
        let read = |path: &Path, what: &str| {
            std::fs::read(path).map_err(|error| {
                TlsError(format!("{what} `{}` cannot be read: {error}; name a PEM file", path.display()))
            })
        };
        Ok(Contents {
            cert: read(&self.cert, "the certificate")?,
            key: read(&self.key, "the key")?,
            client_ca: self.client_ca.as_deref().map(|path| read(path, "the clients' CA")).transpose()?,
        })
    }

    fn config(&self, contents: &Contents) -> Result<ServerConfig, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let (cert, key) = (self.cert.display(), self.key.display());
        let chain = certificates(&contents.cert, &self.cert, "the certificate")?;
        check_time(&chain[0], &provider).map_err(|why| {
            TlsError(format!("the certificate `{cert}` {why}: no client would take it; put a valid one there"))
        })?;
        let private = PrivateKeyDer::from_pem_slice(&contents.key).map_err(|error| {
            let mend = "write it as PEM without a passphrase (PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY)";
            TlsError(format!("the key `{key}` holds no private key: {error}; {mend}"))
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| TlsError(format!("TLS cannot be set up: {error}")))?;
        let builder = match (&contents.client_ca, &self.client_ca) {
            (Some(pem), Some(path)) => {
                let unusable = |error: &dyn fmt::Display| {
                    TlsError(format!("the clients' CA `{}` cannot be used: {error}; name a CA's PEM", path.display()))
                };
                let mut roots = RootCertStore::empty();
                for ca in certificates(pem, path, "the clients' CA")? {
                    roots.add(ca).map_err(|error| unusable(&error))?;
                }
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|error| unusable(&error))?)
            }
            _ => builder.with_no_client_auth(),
        };
        let mut config = builder.with_single_cert(chain, private).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => TlsError(format!(
                "the key `{key}` is not that of the certificate `{cert}`: name the two that belong together"
            )),
            error => TlsError(format!("the certificate `{cert}` and the key `{key}` cannot be used: {error}")),
        })?;
        config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
        Ok(config)
    }
}

/// At least one.
fn certificates(pem: &[u8], path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let unusable = |why: &dyn fmt::Display| {
        TlsError(format!(
            "{what} `{}` holds no certificate: {why}; write it as PEM (BEGIN CERTIFICATE)",
            path.display()
        ))
    };
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match certificates {
        Ok(none) if none.is_empty() => Err(unusable(&"none was found in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(&error)),
    }
}

/// Whether the certificate is in its time.
fn check_time(cert: &CertificateDer<'_>, provider: &CryptoProvider) -> Result<(), &'static str> {
    let parsed = ParsedCertificate::try_from(cert).map_err(|_| "is no X.509 certificate")?;
    // Its time is judged before its issuer, who is unknown here.
    let algorithms = provider.signature_verification_algorithms.all;
    let nobody = RootCertStore::empty();
    match verify_server_cert_signed_by_trust_anchor(&parsed, &nobody, &[], UnixTime::now(), algorithms) {
        Err(rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. })) => {
            Err("has expired")
        }
        Err(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => Err("is not valid yet"),
        _ => Ok(()),
    }
}
