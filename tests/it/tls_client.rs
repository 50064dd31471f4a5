//! Our client over TLS: whom it trusts, what it shows, and what it says when the two sides do not agree.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion, crypto};

use crate::photo::{photo, sixty_megabytes};
use crate::process::{Process, serve};
use crate::tls::{Ca, Pair};

fn start(pair: &Pair, client_ca: Option<&Ca>, store: &Path) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirephoto"));
    command.args(serve(store)).arg("--tls-cert").arg(&pair.cert).arg("--tls-key").arg(&pair.key);
    if let Some(ca) = client_ca {
        command.arg("--tls-client-ca").arg(ca.pem());
    }
    Process::spawn(command.stderr(Stdio::null()))
}

fn program(arguments: &[&str], server: &str, ca: Option<&Ca>, pair: Option<&Pair>) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirephoto"));
    command.args(arguments).args(["--server", server]);
    if let Some(ca) = ca {
        command.arg("--tls-ca").arg(ca.pem());
    }
    if let Some(pair) = pair {
        command.arg("--tls-cert").arg(&pair.cert).arg("--tls-key").arg(&pair.key);
    }
    command
}

fn ls(server: &str, ca: Option<&Ca>, pair: Option<&Pair>) -> Output {
    program(&["ls"], server, ca, pair).output().unwrap()
}

#[track_caller]
fn says(output: &Output, status: i32, parts: &[&str]) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{said}");
    assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    println!("{}", said.trim());
}

#[test]
fn images_go_both_ways_over_tls_with_a_client_certificate() {
    let (ca, store, desk) = (Ca::new(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let server = start(&ca.issue("server", 2100), Some(&ca), store.path());
    let client = ca.issue("client", 2100);
    let large = sixty_megabytes(11);
    std::fs::write(desk.path().join("large"), &large).unwrap();
    std::fs::write(desk.path().join("small"), photo("photo.jpg")).unwrap();
    let run = |mut command: Command| {
        let output = command.current_dir(desk.path()).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        output.stdout
    };
    run(program(&["put", "large", "small"], &server.url, Some(&ca), Some(&client)));
    let localhost = server.url.replace("127.0.0.1", "localhost");
    let got = run(program(&["get", "large", "-o", "-"], &localhost, Some(&ca), Some(&client)));
    assert!(got == large, "{} bytes", got.len());

    // The same from variables.
    let mut command = program(&["health"], &server.url, None, None);
    command.env("WIREPHOTO_TLS_CA", ca.pem()).env("WIREPHOTO_TLS_CERT", &client.cert);
    command.env("WIREPHOTO_TLS_KEY", &client.key);
    run(command);
}

#[test]
fn a_server_that_is_not_trusted_is_named_with_the_mend() {
    let (ca, other, store) = (Ca::new(), Ca::new(), tempfile::tempdir().unwrap());
    let server = start(&ca.issue("server", 2100), None, store.path());
    assert!(ls(&server.url, Some(&ca), None).status.success());
    let unreachable = format!("cannot reach {}: ", server.url);
    says(&ls(&server.url, Some(&other), None), 1, &[&unreachable, "not of a CA that is trusted here", "--tls-ca"]);
    // Whatever the system trusts, and be it nothing.
    assert!(String::from_utf8_lossy(&ls(&server.url, None, None).stderr).contains("--tls-ca"));

    let plain = server.url.replace("https", "http");
    says(&ls(&plain, None, None), 1, &[&plain, "https://"]);
    let open = tempfile::tempdir().unwrap();
    let open = Process::start(open.path());
    let secure = open.url.replace("http", "https");
    says(&ls(&secure, Some(&ca), None), 1, &[&secure, "TLS", "write http://"]);
}

#[test]
fn a_client_certificate_that_is_missing_or_refused_is_named_with_the_mend() {
    let (ca, other, store) = (Ca::new(), Ca::new(), tempfile::tempdir().unwrap());
    let server = start(&ca.issue("server", 2100), Some(&ca), store.path());
    let unreachable = format!("cannot reach {}: ", server.url);
    for arguments in [&["ls"][..], &["get", "a", "-o", "-"], &["health"], &["rm", "a", "b"]] {
        let output = program(arguments, &server.url, Some(&ca), None).output().unwrap();
        says(&output, 1, &["cannot reach", "only clients with a certificate", "--tls-cert and --tls-key"]);
    }
    for stranger in [other.issue("stranger", 2100), ca.issue("expired", 2001)] {
        let output = ls(&server.url, Some(&ca), Some(&stranger));
        says(&output, 1, &[&unreachable, "refuses the client certificate", "--tls-cert and --tls-key"]);
    }

    let (one, two) = (ca.issue("one", 2100), ca.issue("two", 2100));
    let mixed = Pair { cert: one.cert.clone(), key: two.key };
    says(&ls(&server.url, Some(&ca), Some(&mixed)), 64, &["two.key", "is not that of", "one.pem", "belong together"]);
    let mut alone = program(&["ls"], &server.url, Some(&ca), None);
    says(&alone.arg("--tls-cert").arg(&one.cert).output().unwrap(), 64, &["one.pem", "no key", "--tls-key"]);
    let rubbish = Pair { cert: one.key.clone(), key: one.key };
    says(&ls(&server.url, Some(&ca), Some(&rubbish)), 64, &["one.key", "holds no certificate"]);
}

/// Shakes hands and nothing more.
async fn shaking(
    address: &str,
    pair: &Pair,
    version: &'static SupportedProtocolVersion,
    client_ca: Option<&Ca>,
) -> SocketAddr {
    let provider = Arc::new(crypto::aws_lc_rs::default_provider());
    let builder =
        ServerConfig::builder_with_provider(Arc::clone(&provider)).with_protocol_versions(&[version]).unwrap();
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(ca.pem()).unwrap()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            builder.with_client_cert_verifier(verifier.build().unwrap())
        }
    };
    let chain = vec![CertificateDer::from_pem_file(&pair.cert).unwrap()];
    let config = builder.with_single_cert(chain, PrivateKeyDer::from_pem_file(&pair.key).unwrap()).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((address, 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut shaken = Vec::new();
        while let Ok((socket, _)) = listener.accept().await {
            shaken.push(acceptor.accept(socket).await);
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_server_of_ours_would_show_is_named_too() {
    let ca = Ca::new();
    let (good, expired) = (ca.issue("server", 2100), ca.issue("expired", 2001));
    for version in [&TLS12, &TLS13] {
        for (address, pair, client_ca, parts) in [
            ("127.0.0.1", &expired, None, &["its certificate has expired", "put a valid one on the server"]),
            ("127.0.0.2", &good, None, &["of another name", "127.0.0.2"]),
            ("127.0.0.1", &good, None, &["does not speak HTTP/2", "ALPN"]),
        ] {
            let addr = shaking(address, pair, version, client_ca).await;
            says(&ls(&format!("https://{addr}"), Some(&ca), None), 1, parts);
        }
    }
    let addr = shaking("127.0.0.1", &good, &TLS12, Some(&ca)).await;
    says(&ls(&format!("https://{addr}"), Some(&ca), None), 1, &["only clients with a certificate", "--tls-cert"]);
}
