//! The server that the Connect conformance suite tests: it is told what to be on standard input, and tells its port.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used)]

#[path = "mod.rs"]
mod conformance;

use std::io::{Read as _, Write as _};
use std::path::Path;
use std::time::Duration;

use prost::Message as _;
use tokio::net::TcpListener;
use wirephoto::net::{self, Tls};
use wirephoto::wire::Limits;

use conformance::proto::{ServerCompatRequest, ServerCompatResponse};

/// Serves until it is ended by a signal.
#[tokio::main]
async fn main() {
    let wanted = read_request();
    let mut limits = Limits::default();
    if wanted.message_receive_limit != 0 {
        // The limit is of a message as it is sent, whatever its codec.
        limits.message = wanted.message_receive_limit as usize;
        limits.json_body = limits.message;
    }
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let tls = wanted.use_tls.then(|| tls(&wanted, folder.path()));
    let pem_cert = wanted.server_creds.map(|creds| creds.cert).unwrap_or_default();
    answer(&ServerCompatResponse { host: addr.ip().to_string(), port: addr.port().into(), pem_cert });
    let service = conformance::wires(limits);
    let threads = net::Threads::start().unwrap();
    net::serve(listener, threads, service, tls, net::Limits::default(), std::future::pending(), Duration::ZERO).await;
}

fn tls(wanted: &ServerCompatRequest, folder: &Path) -> Tls {
    let creds = wanted.server_creds.as_ref().unwrap();
    let file = |name: &str, pem: &[u8]| {
        let path = folder.join(name);
        std::fs::write(&path, pem).unwrap();
        path
    };
    let client_ca = Some(&wanted.client_tls_cert).filter(|pem| !pem.is_empty()).map(|pem| file("client-ca.pem", pem));
    Tls::load(file("cert.pem", &creds.cert), file("key.pem", &creds.key), client_ca).unwrap()
}

/// Four bytes of big-endian length, then the message.
fn read_request() -> ServerCompatRequest {
    let mut stdin = std::io::stdin().lock();
    let mut len = [0; 4];
    stdin.read_exact(&mut len).unwrap();
    let mut message = vec![0; u32::from_be_bytes(len) as usize];
    stdin.read_exact(&mut message).unwrap();
    ServerCompatRequest::decode(message.as_slice()).unwrap()
}

fn answer(response: &ServerCompatResponse) {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(&(response.encoded_len() as u32).to_be_bytes()).unwrap();
    stdout.write_all(&response.encode_to_vec()).unwrap();
    stdout.flush().unwrap();
}
