//! The client's side of TLS: whom it trusts, what it shows, and what to tell when the two sides do not agree.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, AlertDescription, CertificateError, ClientConfig, RootCertStore};

use super::Error;
use crate::error::Code;

/// Whom a client trusts, and the certificate it shows. TLS 1.2 and 1.3; clones share it.
#[derive(Clone)]
pub struct Tls(Arc<ClientConfig>);

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("client_certificate", &self.0.client_auth_cert_resolver.has_certs()).finish()
    }
}

/// Which PEM files make a [`Tls`]. The default trusts the system's CAs and shows no certificate.
#[derive(Debug, Clone, Default)]
pub struct TlsFiles {
    /// The servers' certificates must be of one of these CAs, instead of the system's.
    pub ca: Option<PathBuf>,
    /// The client's certificate, followed by those between it and its root; with `key`.
    pub cert: Option<PathBuf>,
    /// The certificate's private key, without a passphrase.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`Code::InvalidArgument`] when one cannot be read or used, `cert` or `key` is without the other, or they are not
    /// of one pair.
    pub fn load(files: &TlsFiles) -> Result<Self, Error> {
        let roots = match &files.ca {
            Some(path) => roots_of(path)?,
            None => system_roots()?,
        };
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| bad(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots);
        let mut config = match (&files.cert, &files.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(cert), Some(key)) => {
                let chain = certificates(cert, "the client certificate")?;
                let pem = read(key, "the client certificate's key")?;
                let (cert, key) = (cert.display(), key.display());
                let private = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
                    let mend = "write it as PEM without a passphrase (PRIVATE KEY, RSA PRIVATE KEY or EC PRIVATE KEY)";
                    bad(format!("the key `{key}` holds no private key: {error}; {mend}"))
                })?;
                builder.with_client_auth_cert(chain, private).map_err(|error| match error {
                    rustls::Error::InconsistentKeys(_) => bad(format!(
                        "the key `{key}` is not that of the certificate `{cert}`: name the two that belong together"
                    )),
                    error => bad(format!("the certificate `{cert}` and the key `{key}` cannot be used: {error}")),
                })?
            }
            (Some(cert), None) => {
                let cert = cert.display();
                return Err(bad(format!("the client certificate `{cert}` has no key beside it: give --tls-key too")));
            }
            (None, Some(key)) => {
                let key = key.display();
                return Err(bad(format!("the key `{key}` has no certificate beside it: give --tls-cert too")));
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(Self(Arc::new(config)))
    }

    /// As a client has it that was told nothing of TLS.
    pub(super) fn system() -> Result<Self, Error> {
        static MADE: LazyLock<Result<Tls, String>> =
            LazyLock::new(|| Tls::load(&TlsFiles::default()).map_err(|error| error.to_string()));
        MADE.clone().map_err(bad)
    }

    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0))
    }

    /// Why the two sides do not agree, in words that go after "cannot reach SERVER: ", with the mend.
    pub(super) fn explain(&self, error: &rustls::Error) -> String {
        use rustls::Error as E;
        match error {
            E::InvalidCertificate(why) => match why {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "its certificate has expired: put a valid one on the server".to_owned()
                }
                CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                    "its certificate is not valid yet: compare the clocks, or put a valid one on the server".to_owned()
                }
                CertificateError::UnknownIssuer => {
                    "its certificate is not of a CA that is trusted here: name its CA's file by --tls-ca".to_owned()
                }
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => format!(
                    "its certificate is of another name ({why}): write that in --server, or put one of this name on it"
                ),
                why => format!("its certificate cannot be used: {why}; put a valid one on the server"),
            },
            // Some servers name no better reason for a missing certificate.
            E::AlertReceived(
                AlertDescription::CertificateRequired
                | AlertDescription::HandshakeFailure
                | AlertDescription::BadCertificate,
            ) if !self.0.client_auth_cert_resolver.has_certs() => {
                "it lets in only clients with a certificate: give one by --tls-cert and --tls-key".to_owned()
            }
            E::AlertReceived(alert) if self.0.client_auth_cert_resolver.has_certs() => format!(
                "it refuses the client certificate ({alert:?}): give a valid one of a CA that it trusts by --tls-cert \
                 and --tls-key"
            ),
            E::InvalidMessage(_) => "it does not speak TLS: write http://".to_owned(),
            error => format!("TLS failed: {error}"),
        }
    }
}

fn roots_of(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for ca in certificates(path, "the CA")? {
        roots.add(ca).map_err(|error| {
            bad(format!("the CA `{}` cannot be used: {error}; name a CA's PEM file", path.display()))
        })?;
    }
    Ok(roots)
}

fn system_roots() -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    let found = rustls_native_certs::load_native_certs();
    // A system has some that nobody can read; those that are left count.
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        let why = found.errors.first().map(|error| format!(" ({error})")).unwrap_or_default();
        return Err(bad(format!("this system has no CA certificates{why}: name the server's CA by --tls-ca")));
    }
    Ok(roots)
}

/// At least one.
fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path, what)?;
    let unusable = |why: &dyn fmt::Display| {
        bad(format!("{what} `{}` holds no certificate: {why}; write it as PEM (BEGIN CERTIFICATE)", path.display()))
    };
    match CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>() {
        Ok(none) if none.is_empty() => Err(unusable(&"none was found in it")),
        Ok(certificates) => Ok(certificates),
        Err(error) => Err(unusable(&error)),
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, Error> {
    std::fs::read(path)
        .map_err(|error| bad(format!("{what} `{}` cannot be read: {error}; name a PEM file", path.display())))
}

fn bad(message: impl Into<String>) -> Error {
    Error::local(Code::InvalidArgument, message)
}
