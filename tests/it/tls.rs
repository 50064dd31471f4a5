//! TLS on the one port: protocols, versions, clients' certificates, reload, and files that cannot be used.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, date_time_ymd,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::version::{TLS12, TLS13};
use tokio_rustls::rustls::{self, ClientConfig, ProtocolVersion, RootCertStore};
use wirephoto::net::{Limits, Tls};

use crate::harness::{Server, open_policy};
use crate::photo::{photo, sixty_megabytes};
use crate::process::{Process, serve};

/// A certificate authority in a folder of its own.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
    pub dir: tempfile::TempDir,
}

/// A certificate and its key, as PEM files.
#[derive(Clone)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, uuid::Uuid::new_v4().to_string());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, dir }
    }

    pub fn pem(&self) -> PathBuf {
        self.dir.path().join("ca.pem")
    }

    /// For localhost, valid until the end of that year.
    pub fn issue(&self, name: &str, until_year: i32) -> Pair {
        let mut params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.distinguished_name.push(DnType::CommonName, name);
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(until_year, 12, 31);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let pair = Pair {
            cert: self.dir.path().join(format!("{name}.pem")),
            key: self.dir.path().join(format!("{name}.key")),
        };
        std::fs::write(&pair.cert, cert.pem()).unwrap();
        std::fs::write(&pair.key, key.serialize_pem()).unwrap();
        pair
    }

    fn client(&self, version: &'static rustls::SupportedProtocolVersion, alpn: &[&str], pair: Option<&Pair>) -> Client {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]).unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match pair {
            None => builder.with_no_client_auth(),
            Some(pair) => {
                let cert = CertificateDer::from_pem_file(&pair.cert).unwrap();
                let key = PrivateKeyDer::from_pem_file(&pair.key).unwrap();
                builder.with_client_auth_cert(vec![cert], key).unwrap()
            }
        };
        config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        Client(TlsConnector::from(Arc::new(config)))
    }
}

struct Client(TlsConnector);

impl Client {
    async fn connect(&self, address: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(address).await?;
        self.0.connect("localhost".try_into().unwrap(), stream).await
    }

    /// One GET on a connection of its own, over whatever was agreed upon.
    async fn get(&self, address: &str, path: &str) -> Result<(Version, Bytes), Box<dyn std::error::Error>> {
        let stream = self.connect(address).await?;
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let request = Request::get(format!("https://localhost{path}")).header("host", "localhost");
        let request = request.body(Full::<Bytes>::default())?;
        let answer = if http2 {
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        } else {
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender.send_request(request).await?
        };
        assert_eq!(answer.status(), 200);
        Ok((answer.version(), answer.into_body().collect().await?.to_bytes()))
    }
}

pub fn tls(pair: &Pair, client_ca: Option<&Path>) -> Tls {
    Tls::load(pair.cert.clone(), pair.key.clone(), client_ca.map(Path::to_path_buf)).unwrap()
}

async fn server(pair: &Pair, limits: Limits) -> Server {
    let tls = tls(pair, None);
    Server::adapted(open_policy(), |app| app.with_tls(tls).with_connections(limits)).await
}

#[tokio::test]
async fn every_protocol_and_version() {
    let ca = Ca::new();
    let server = server(&ca.issue("server", 2100), Limits::default()).await;
    let address = server.addr.to_string();
    for (version, name) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
        for (alpn, spoken, http) in [
            (&["h2", "http/1.1"] as &[&str], Some("h2"), Version::HTTP_2),
            (&["http/1.1", "h2"], Some("h2"), Version::HTTP_2),
            (&["http/1.1"], Some("http/1.1"), Version::HTTP_11),
            (&[], None, Version::HTTP_11),
        ] {
            let client = ca.client(version, alpn, None);
            let stream = client.connect(&address).await.unwrap();
            let agreed = stream.get_ref().1;
            assert_eq!(agreed.protocol_version(), Some(name));
            assert_eq!(agreed.alpn_protocol(), spoken.map(str::as_bytes), "{alpn:?}");
            drop(stream);
            assert_eq!(client.get(&address, "/livez").await.unwrap(), (http, Bytes::from("ok\n")), "{alpn:?}");
        }
        assert!(ca.client(version, &["spdy/3"], None).connect(&address).await.is_err());
    }
}

#[tokio::test]
async fn new_files_are_taken_without_a_restart_and_bad_ones_are_not() {
    let ca = Ca::new();
    let pair = ca.issue("server", 2100);
    let limits = Limits { reload: Duration::from_millis(10), ..Limits::default() };
    let server = server(&pair, limits).await;
    let address = server.addr.to_string();
    let client = ca.client(&TLS13, &[], None);
    let shown = async || {
        let stream = client.connect(&address).await.unwrap();
        stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
    };
    let first = CertificateDer::from_pem_file(&pair.cert).unwrap();
    assert_eq!(shown().await, first);

    // A key of another, one that expired, rubbish, nothing: each is seen by the server many times over.
    for bad in ["key", "expired", "rubbish", "gone"] {
        match bad {
            "key" => drop(std::fs::copy(ca.issue("other", 2100).key, &pair.key).unwrap()),
            "expired" => drop(ca.issue("server", 2001)),
            "rubbish" => std::fs::write(&pair.cert, "rubbish").unwrap(),
            _ => std::fs::remove_file(&pair.cert).unwrap(),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(shown().await, first, "{bad}");
    }

    ca.issue("server", 2100);
    let second = CertificateDer::from_pem_file(&pair.cert).unwrap();
    let taken = async {
        while shown().await != second {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), taken).await.expect("the new certificate is shown");
}

#[tokio::test]
async fn only_clients_of_the_right_ca_come_in_and_the_others_are_told_of_once() {
    let (ca, other) = (Ca::new(), Ca::new());
    let pair = ca.issue("server", 2100);
    let log = ca.dir.path().join("log");
    // Certificates are credentials: beyond loopback it needs no --allow-anonymous.
    let server = Process::spawn_telling(
        Command::new(env!("CARGO_BIN_EXE_wirephoto"))
            .args(["serve", "--listen", "0.0.0.0:0", "--store", "memory:", "--tls-cert"])
            .args([&pair.cert, Path::new("--tls-key"), &pair.key, Path::new("--tls-client-ca"), &ca.pem()])
            .stderr(std::fs::File::create(&log).unwrap()),
    );
    let port = server.url.strip_prefix("https://0.0.0.0:").unwrap_or_else(|| panic!("{}", server.url));
    let address = format!("127.0.0.1:{port}");
    let good = ca.issue("client", 2100);
    let strangers = [None, Some(ca.issue("expired", 2001)), Some(other.issue("stranger", 2100))];
    for version in [&TLS12, &TLS13] {
        assert!(ca.client(version, &["h2"], Some(&good)).get(&address, "/livez").await.is_ok());
        for stranger in &strangers {
            assert!(ca.client(version, &["h2"], stranger.as_ref()).get(&address, "/livez").await.is_err());
        }
    }
    assert!(ca.client(&TLS13, &["h2"], Some(&good)).get(&address, "/livez").await.is_ok());
    let log = std::fs::read_to_string(&log).unwrap();
    assert_eq!(log.matches("INFO wirephoto::net::connection: a TLS handshake failed").count(), 6, "{log}");
    assert!(log.contains("certificate expired") && log.contains("UnknownIssuer"), "{log}");
    assert!(!log.contains("ERROR") && !log.contains("panic"), "{log}");
}

#[test]
fn files_that_cannot_be_used_are_named_before_anything_is_bound() {
    let ca = Ca::new();
    let (good, other, expired) = (ca.issue("good", 2100), ca.issue("other", 2100), ca.issue("expired", 2001));
    let nothing = ca.dir.path().join("nothing");
    let cases: [(&Path, &Path, &Path, &[&str]); 7] = [
        (&good.cert, &other.key, &ca.pem(), &["other.key", "is not that of the certificate", "good.pem"]),
        (&expired.cert, &expired.key, &ca.pem(), &["expired.pem", "has expired", "put a valid one"]),
        (&nothing, &good.key, &ca.pem(), &["nothing", "cannot be read"]),
        (&good.cert, &nothing, &ca.pem(), &["nothing", "cannot be read"]),
        (&good.key, &good.key, &ca.pem(), &["good.key", "holds no certificate"]),
        (&good.cert, &good.cert, &ca.pem(), &["good.pem", "holds no private key"]),
        (&good.cert, &good.key, &good.key, &["good.key", "the clients' CA", "holds no certificate"]),
    ];
    for (cert, key, client_ca, parts) in cases {
        let store = ca.dir.path().join("store");
        let output = Command::new(env!("CARGO_BIN_EXE_wirephoto"))
            .args(serve(&store))
            .env("WIREPHOTO_TLS_CERT", cert)
            .env("WIREPHOTO_TLS_KEY", key)
            .env("WIREPHOTO_TLS_CLIENT_CA", client_ca)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{parts:?}: {said}");
        assert!(!store.exists());
    }
}

#[tokio::test]
async fn a_signal_to_stop_lets_a_transfer_over_tls_finish() {
    let ca = Ca::new();
    let (pair, store) = (ca.issue("server", 2100), tempfile::tempdir().unwrap());
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirephoto"));
    command.args(serve(store.path())).arg("--tls-cert").arg(&pair.cert).arg("--tls-key").arg(&pair.key);
    let mut server = Process::spawn_telling(command.stderr(Stdio::null()));
    let address = server.url.strip_prefix("https://").unwrap().to_owned();
    let bytes = sixty_megabytes(5);
    for alpn in ["h2", "http/1.1"] {
        let stream = ca.client(&TLS13, &[alpn], None).connect(&address).await.unwrap();
        let put = Request::put("https://localhost/i/large").header("host", "localhost").body(Full::new(bytes.clone()));
        let status = match alpn {
            "h2" => {
                let (mut sender, connection) =
                    hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(put.unwrap()).await.unwrap().status()
            }
            _ => {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                sender.send_request(put.unwrap()).await.unwrap().status()
            }
        };
        assert!(status.is_success(), "{alpn}: {status}");
    }

    let stream = ca.client(&TLS13, &["h2"], None).connect(&address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    let get = Request::get("https://localhost/i/large").body(Full::<Bytes>::default()).unwrap();
    let mut answer = sender.send_request(get).await.unwrap();
    let mut got = answer.frame().await.unwrap().unwrap().into_data().unwrap().to_vec();
    server.signal("-TERM");
    got.extend_from_slice(&answer.into_body().collect().await.unwrap().to_bytes());
    assert!(got == bytes, "{} bytes of {}", got.len(), bytes.len());
    assert_eq!(server.child.wait().unwrap().code(), Some(0));
}

#[tokio::test]
async fn who_does_not_speak_tls_is_left_and_disturbs_nobody() {
    let ca = Ca::new();
    let limits = Limits { handshake: Duration::from_millis(200), ..Limits::default() };
    let server = server(&ca.issue("server", 2100), limits).await;
    for sent in [&b""[..], b"\x16\x03\x01", b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n"] {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        socket.write_all(sent).await.unwrap();
        let mut got = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(20), socket.read_to_end(&mut got)).await;
        assert!(ended.is_ok(), "{sent:?} is kept waiting");
        assert!(!got.starts_with(b"HTTP"), "{got:?}");
    }
    let client = ca.client(&TLS13, &["h2"], None);
    assert!(client.get(&server.addr.to_string(), "/livez").await.is_ok());
}

/// A client we did not write, over each protocol.
#[test]
#[ignore = "needs tools: make test"]
fn curl_speaks_it() {
    let ca = Ca::new();
    let (pair, client) = (ca.issue("server", 2100), ca.issue("client", 2100));
    let store = tempfile::tempdir().unwrap();
    let plain = Process::start(store.path());
    let curl = |arguments: &[&str], url: String| {
        let output = Command::new("curl")
            .args(["--silent", "--show-error", "--fail", "--write-out", "%{http_version}", "--output", "/dev/null"])
            .args(arguments)
            .arg(url)
            .output()
            .unwrap();
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(curl(&["--http2-prior-knowledge"], format!("{}/livez", plain.url)), "2");
    assert_eq!(curl(&["--http1.1"], format!("{}/livez", plain.url)), "1.1");

    let (store, image) = (tempfile::tempdir().unwrap(), ca.dir.path().join("photo.jpg"));
    std::fs::write(&image, photo("photo.jpg")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wirephoto"));
    command.args(serve(store.path())).arg("--tls-cert").arg(&pair.cert).arg("--tls-key").arg(&pair.key);
    let secure = Process::spawn(command.arg("--tls-client-ca").arg(ca.pem()));
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let (root, cert, key) = (text(&ca.pem()), text(&client.cert), text(&client.key));
    let trust = ["--cacert", &root, "--cert", &cert, "--key", &key];
    for (protocol, version) in [("--http2", "2"), ("--http1.1", "1.1")] {
        for tls in [["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3", "--tls-max", "1.3"]] {
            let how = [&trust[..], &tls, &[protocol]].concat();
            let upload = [&how[..], &["--upload-file", image.to_str().unwrap()]].concat();
            assert_eq!(curl(&upload, format!("{}/i/photo", secure.url)), version);
            assert_eq!(curl(&how, format!("{}/i/photo", secure.url)), version);
        }
    }
}
