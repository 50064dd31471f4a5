//! HTTP/2 as operators expect it: floods are left, idle and old connections closed, nobody starves beside unread streams.

use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use http::Request;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wirephoto::net::Limits;
use wirephoto::proto::wirephoto::v1::image_service_client::ImageServiceClient;
use wirephoto::proto::wirephoto::v1::{DownloadImageRequest, GetImageRequest};

use crate::harness::{Server, listen_with};
use crate::photo::{photo, sixty_megabytes};
use crate::tls::Ca;

/// What must come does within this, however busy the machine.
const PATIENCE: Duration = Duration::from_secs(30);
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const ENHANCE_YOUR_CALM: u32 = 11;

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// GET / by HPACK's static table, with an `:authority`.
pub fn get_headers() -> Vec<u8> {
    let mut block = vec![0x82, 0x86, 0x84, 0x41, 9];
    block.extend(b"localhost");
    block
}

/// Kind, flags, stream and payload of the next frame.
async fn next_frame(socket: &mut TcpStream) -> (u8, u8, u32, Vec<u8>) {
    let mut head = [0; 9];
    socket.read_exact(&mut head).await.unwrap();
    let [l0, l1, l2, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
    socket.read_exact(&mut payload).await.unwrap();
    (kind, flags, u32::from_be_bytes(stream), payload)
}

/// Reads to the end and gives the code of the last GOAWAY.
async fn goaway(mut reader: impl tokio::io::AsyncRead + Unpin) -> Option<u32> {
    let mut got = Vec::new();
    let _ = reader.read_to_end(&mut got).await;
    let (mut at, mut code) = (0, None);
    while at + 9 <= got.len() {
        let length = u32::from_be_bytes([0, got[at], got[at + 1], got[at + 2]]) as usize;
        if got[at + 3] == 7 && at + 17 <= got.len() {
            code = Some(u32::from_be_bytes(got[at + 13..at + 17].try_into().unwrap()));
        }
        at += 9 + length;
    }
    assert_eq!(at, got.len(), "the last frame is cut");
    code
}

/// What the server says at the end of a connection on which this is sent, over and over until it is closed.
async fn flood(server: &Server, first: &[u8], then: impl Fn(u32) -> Vec<u8> + Send + 'static) -> Option<u32> {
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket.write_all(&[PREFACE, &frame(4, 0, 0, &[]), first].concat()).await.unwrap();
    let (reader, mut writer) = socket.into_split();
    let sender = tokio::spawn(async move {
        for number in 0..200_000 {
            if writer.write_all(&then(number)).await.is_err() {
                return;
            }
        }
        panic!("the server took all of it");
    });
    let code = tokio::time::timeout(PATIENCE, goaway(reader)).await.expect("the connection is closed");
    tokio::time::timeout(PATIENCE, sender).await.expect("nothing more is read").unwrap();
    code
}

/// h2spec's own suite, over cleartext and TLS.
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "needs tools: make test"]
async fn h2spec_finds_nothing() {
    let ca = Ca::new();
    let pair = ca.issue("server", 2100);
    for tls in [false, true] {
        let port = listen_with(reader(), tls.then(|| crate::tls::tls(&pair, None))).await.port().to_string();
        let mut h2spec = crate::clients::command("h2spec");
        h2spec.args(["-h", "127.0.0.1", "-p", &port, "-o", "10", "generic", "http2"]);
        h2spec.args(if tls { &["-t", "-k"][..] } else { &[] });
        let output = h2spec.output().expect("h2spec runs: was tests/tools/setup run?");
        let printed = String::from_utf8_lossy(&output.stdout);
        let end = printed.split_once("Failures:").map_or("", |(_, end)| end);
        let told = printed.lines().last().unwrap_or_default();
        assert!(output.status.success() && told.ends_with(" 0 failed"), "TLS {tls}: {told}{end}");
        println!("TLS {tls}: {told}");
    }
}

/// Reads what it is sent before it answers. The suite has no word for an answer that overtakes the bad frames after it.
fn reader() -> axum::Router {
    axum::Router::new().fallback(|request: Request<axum::body::Body>| async {
        let read = axum::body::to_bytes(request.into_body(), 1 << 20).await;
        read.map(|body| format!("{} bytes", body.len())).map_err(|error| error.to_string())
    })
}

async fn serves(server: &Server) {
    assert_eq!(reqwest::get(server.url("/livez")).await.unwrap().status(), 200);
}

#[tokio::test]
async fn floods_are_told_to_be_calm_and_disturb_nobody() {
    let server = Server::start().await;
    let mut witness = connect(&server).await;
    let priority = frame(2, 0, 3, &[0, 0, 0, 0, 9]);
    let open = frame(1, 4, 1, &get_headers());
    for (name, first, sent) in [
        ("pings", vec![], frame(6, 0, 0, &[7; 8])),
        ("settings", vec![], frame(4, 0, 0, &[])),
        ("priorities", vec![], priority),
        ("empty data", open, frame(0, 0, 1, &[])),
        ("unknown frames", vec![], frame(0xee, 0, 0, &[1])),
    ] {
        let code = flood(&server, &first, move |_| sent.repeat(10)).await;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name}");
        serves(&server).await;
    }
    let reset = |number: u32| {
        let stream = 2 * number + 1;
        [frame(1, 5, stream, &get_headers()), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    };
    assert_eq!(flood(&server, &[], reset).await, Some(ENHANCE_YOUR_CALM), "rapid resets");
    // Headers that never end: h2 bounds them by itself.
    let code = flood(&server, &frame(1, 0, 1, &get_headers()), |_| frame(9, 0, 1, &[])).await;
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM | 1)), "empty CONTINUATION: {code:?}");
    let field = [&[0x40, 1, b'a', 100][..], &[b'b'; 100]].concat().repeat(100);
    let code = flood(&server, &frame(1, 0, 1, &get_headers()), move |_| frame(9, 0, 1, &field)).await;
    assert!(matches!(code, Some(ENHANCE_YOUR_CALM | 1)), "CONTINUATION: {code:?}");
    // One that was there all along.
    assert_eq!(get(&mut witness, "/livez").await, Some(200));
}

/// Pings that measure a line while it is used are no flood.
#[tokio::test]
async fn pings_beside_work_are_answered() {
    let server = Server::start().await;
    let socket = TcpStream::connect(server.addr).await.unwrap();
    let (client, mut connection) = h2::client::handshake(socket).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    for _ in 0..500 {
        pings.ping(h2::Ping::opaque()).await.unwrap();
        assert_eq!(get(&mut client, "/livez").await, Some(200));
    }
}

async fn connect(server: &Server) -> SendRequest<Bytes> {
    let socket = TcpStream::connect(server.addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    client.ready().await.unwrap()
}

/// The status of a GET; `None` when the connection takes it no more.
async fn get(client: &mut SendRequest<Bytes>, path: &str) -> Option<u16> {
    let request = Request::get(format!("http://localhost{path}")).body(()).unwrap();
    let (answer, _) = client.send_request(request, true).ok()?;
    Some(answer.await.ok()?.status().as_u16())
}

/// Waits until the connection takes no more requests.
async fn closed(client: &mut SendRequest<Bytes>) {
    let closing = async {
        while std::future::poll_fn(|cx| client.poll_ready(cx)).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, closing).await.expect("the connection is closed");
}

#[tokio::test]
async fn what_the_server_allows_is_said_in_its_settings() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    let (kind, _, _, settings) = next_frame(&mut socket).await;
    assert_eq!(kind, 4);
    let all: Vec<(u16, u32)> = settings
        .chunks(6)
        .map(|one| (u16::from_be_bytes([one[0], one[1]]), u32::from_be_bytes(one[2..].try_into().unwrap())))
        .collect();
    // Streams, window of a stream, frame, header list (RFC 9113, section 6.5.2).
    for expected in [(3, 250), (4, 2 << 20), (5, 16 << 10), (6, 16 << 10)] {
        assert!(all.contains(&expected), "{expected:?} of {all:?}");
    }
}

/// GET /i/large, as [`get_headers`].
const GET_LARGE: [u8; 23] = *b"\x82\x86\x04\x08/i/large\x41\x09localhost";

#[tokio::test]
async fn frames_are_as_large_as_the_client_takes_and_settings_answered_once() {
    let server = Server::start().await;
    let bytes = sixty_megabytes(4);
    reqwest::Client::new().put(server.url("/i/large")).body(bytes.clone()).send().await.unwrap();
    let max_frame = |size: u32| [&[0, 5][..], &size.to_be_bytes()].concat();
    for (said, most) in [(vec![], 16 << 10), (max_frame(20_000), 20_000), (max_frame(600_000), 600_000)] {
        let settings = [&[0, 4, 0x7f, 0xff, 0xff, 0xff][..], &said].concat();
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        let first = [PREFACE, &frame(4, 0, 0, &settings), &frame(4, 0, 0, &[]), &frame(4, 0, 0, &settings)].concat();
        // However the settings are cut.
        let (one, two) = first.split_at(40);
        socket.write_all(one).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
        let window = frame(8, 0, 0, &0x7fff_0000_u32.to_be_bytes());
        socket.write_all(&[two, &window, &frame(1, 5, 1, &GET_LARGE)].concat()).await.unwrap();
        let (mut got, mut longest, mut answers) = (Vec::new(), 0, 0);
        let whole = async {
            loop {
                let (kind, flags, stream, payload) = next_frame(&mut socket).await;
                longest = longest.max(payload.len());
                answers += usize::from((kind, flags) == (4, 1));
                if (kind, stream) == (0, 1) {
                    got.extend(payload);
                    if flags & 1 != 0 {
                        break;
                    }
                }
            }
        };
        tokio::time::timeout(PATIENCE, whole).await.expect("all of it comes");
        assert!(got == bytes && longest <= most && longest > most / 2, "{} bytes, {longest} of {most}", got.len());
        socket.write_all(&frame(6, 0, 0, &[7; 8])).await.unwrap();
        assert_eq!(next_frame(&mut socket).await, (6, 1, 0, vec![7; 8]));
        assert_eq!(answers, 3, "one for each");
    }
}

/// Some clients hold a server to what they had said before, until it has answered.
#[tokio::test]
async fn a_larger_frame_comes_after_the_answer_to_its_setting() {
    let server = Server::start().await;
    reqwest::Client::new().put(server.url("/i/large")).body(sixty_megabytes(5)).send().await.unwrap();
    let window = frame(8, 0, 0, &0x7fff_0000_u32.to_be_bytes());
    let wide = [0, 4, 0x7f, 0xff, 0xff, 0xff];
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    let begin = [PREFACE, &frame(4, 0, 0, &wide), &window, &frame(1, 5, 1, &GET_LARGE)].concat();
    socket.write_all(&begin).await.unwrap();
    // Much of the answer waits for its reader.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let larger = [&[0, 5][..], &600_000_u32.to_be_bytes()].concat();
    socket.write_all(&frame(4, 0, 0, &larger)).await.unwrap();
    let (mut answers, mut before, mut after) = (0, 0, 0);
    let whole = async {
        loop {
            let (kind, flags, stream, payload) = next_frame(&mut socket).await;
            answers += usize::from((kind, flags) == (4, 1));
            let longest = if answers < 2 { &mut before } else { &mut after };
            *longest = payload.len().max(*longest);
            if (kind, stream) == (0, 1) && flags & 1 != 0 {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE, whole).await.expect("all of it comes");
    assert!(answers == 2 && before == 16 << 10 && after > 16 << 10 && after <= 600_000, "{answers}: {before}, {after}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_at_work_is_not() {
    let limits = Limits { idle: Duration::from_millis(100), ..Limits::default() };
    let server = Server::limited(limits).await;
    let bytes = sixty_megabytes(1);
    reqwest::Client::new().put(server.url("/i/large")).body(bytes.clone()).send().await.unwrap();
    let mut idle = connect(&server).await;
    let mut busy = connect(&server).await;
    let request = Request::get(server.url("/i/large")).body(()).unwrap();
    let answer = busy.send_request(request, true).unwrap().0.await.unwrap();
    let mut body = answer.into_body();
    closed(&mut idle).await;
    assert_eq!(get(&mut busy, "/livez").await, Some(200));
    let mut got = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        got += piece.len();
    }
    assert_eq!(got, bytes.len());
    closed(&mut busy).await;
}

/// A peer that went without a word leaves its stream half open; pings find that out.
#[tokio::test]
async fn who_answers_no_ping_is_left_and_who_does_may_stay() {
    let half = sixty_megabytes(4).slice(..3 << 19);
    let brief = Duration::from_millis(500);
    // Who answers has the time for it, however busy the machine.
    let limits = Limits { ping: brief, pong: 8 * brief, ..Limits::default() };
    let server = Server::limited(limits).await;
    let mut alive = connect(&server).await;
    let begin = |path: &str| Request::put(format!("http://localhost{path}")).body(()).unwrap();
    let (answer, mut upload) = alive.send_request(begin("/i/alive"), false).unwrap();

    let mut gone = TcpStream::connect(server.addr).await.unwrap();
    let mut put = vec![0x42, 3];
    put.extend(b"PUT");
    put.extend([0x86, 0x44, 7]);
    put.extend(b"/i/gone");
    put.extend([0x41, 9]);
    put.extend(b"localhost");
    gone.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await.unwrap();
    // A stream's window is as wide as the server's settings say once they are acknowledged; the connection's grows by a frame of
    // its own, which follows them.
    while next_frame(&mut gone).await.0 != 8 {}
    gone.write_all(&[frame(4, 1, 0, &[]), frame(1, 4, 1, &put)].concat()).await.unwrap();
    for piece in half.chunks(16_000) {
        gone.write_all(&frame(0, 0, 1, piece)).await.unwrap();
    }
    let begun = async {
        while server.files("blobs").is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, begun).await.expect("the upload has begun");
    tokio::time::timeout(PATIENCE, goaway(&mut gone)).await.expect("the connection is closed");
    server.nothing_kept().await;

    // Many pings later the other is still there.
    tokio::time::sleep(3 * brief).await;
    upload.send_data(photo("photo.jpg").into(), true).unwrap();
    assert_eq!(answer.await.unwrap().status(), 201);
}

#[tokio::test]
async fn an_old_connection_finishes_what_runs_and_takes_no_more() {
    let limits = Limits { age: Duration::from_millis(200), ..Limits::default() };
    let server = Server::limited(limits).await;
    let bytes = sixty_megabytes(2);
    reqwest::Client::new().put(server.url("/i/large")).body(bytes.clone()).send().await.unwrap();
    let mut client = connect(&server).await;
    let request = Request::get(server.url("/i/large")).body(()).unwrap();
    let mut body = client.send_request(request, true).unwrap().0.await.unwrap().into_body();
    closed(&mut client).await;
    let mut got = 0;
    while let Some(piece) = body.data().await {
        let piece = piece.unwrap();
        body.flow_control().release_capacity(piece.len()).unwrap();
        got += piece.len();
    }
    assert_eq!(got, bytes.len());
    // HTTP/1.1 too: the client opens another, unseen.
    serves(&server).await;
}

#[tokio::test]
async fn a_body_that_stops_coming_is_cut() {
    let limits = Limits { silence: Duration::from_millis(100), ..Limits::default() };
    let server = Server::limited(limits).await;
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    let head = "PUT /i/half HTTP/1.1\r\nhost: localhost\r\ncontent-length: 60000000\r\n\r\n";
    socket.write_all(&[head.as_bytes(), &photo("photo.jpg")[..2000]].concat()).await.unwrap();
    let mut answer = String::new();
    tokio::time::timeout(PATIENCE, socket.read_to_string(&mut answer)).await.expect("it is cut").unwrap();
    assert!(answer.starts_with("HTTP/1.1 4") && answer.contains("CUT_OFF"), "{answer}");
    // Who answers pings on HTTP/2 is there, and may still hold what others wait for.
    let mut client = connect(&server).await;
    let request = Request::put(server.url("/i/half")).body(()).unwrap();
    let (answer, mut upload) = client.send_request(request, false).unwrap();
    upload.send_data(Bytes::copy_from_slice(&photo("photo.jpg")[..2000]), false).unwrap();
    let answer = tokio::time::timeout(PATIENCE, answer).await.expect("it is cut").unwrap();
    assert_eq!(answer.status(), 400);
    server.nothing_kept().await;
}

/// Some clients take a reset for the failure of the answer that came before it.
#[tokio::test]
async fn who_is_refused_while_sending_gets_the_answer_and_no_reset() {
    let server = Server::start().await;
    let mut client = connect(&server).await;
    let request = Request::put(server.url("/i/none")).body(()).unwrap();
    let (answer, mut upload) = client.send_request(request, false).unwrap();
    let piece = Bytes::from(vec![0; 64 << 10]);
    upload.send_data(piece.clone(), false).unwrap();
    assert_eq!(answer.await.unwrap().status(), 415);
    for _ in 0..10 {
        upload.send_data(piece.clone(), false).unwrap();
    }
    let reset = tokio::time::timeout(Duration::from_millis(300), std::future::poll_fn(|cx| upload.poll_reset(cx)));
    assert!(reset.await.is_err());
    upload.send_data(piece, true).unwrap();
    server.nothing_kept().await;
}

/// Nothing on HTTP/1.1 asks a client whether it is still there; what it leaves in its socket tells.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn an_answer_that_nobody_takes_is_cut_and_one_taken_slowly_is_not() {
    let limits = Limits { unread: Duration::from_secs(1), ..Limits::default() };
    let server = Server::limited(limits).await;
    let bytes = sixty_megabytes(5);
    reqwest::Client::new().put(server.url("/i/large")).body(bytes.clone()).send().await.unwrap();
    let ask = async || {
        let mut socket = TcpStream::connect(server.addr).await.unwrap();
        socket.write_all(b"GET /i/large HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await.unwrap();
        socket
    };
    let (mut unread, mut slow) = (ask().await, ask().await);
    let mut taken = vec![0; bytes.len() / 8];
    for _ in 0..7 {
        tokio::time::sleep(limits.unread / 2).await;
        slow.read_exact(&mut taken).await.expect("who takes some is not cut");
    }
    let mut rest = Vec::new();
    slow.read_to_end(&mut rest).await.unwrap();
    assert!(rest.ends_with(&bytes[7 * taken.len()..]));
    let mut came = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, unread.read_to_end(&mut came)).await.expect("the other is cut");
    assert!(ended.is_err() && came.len() < bytes.len(), "{ended:?}, {}", came.len());
}

#[tokio::test]
async fn header_fields_have_one_limit_on_either_version() {
    let server = Server::start().await;
    let clients = [
        reqwest::Client::builder().http1_only().build().unwrap(),
        reqwest::Client::builder().http2_prior_knowledge().build().unwrap(),
    ];
    for client in clients {
        for (len, status) in [(15 << 10, 200), (17 << 10, 431)] {
            let answer = client.get(server.url("/livez")).header("x-large", "x".repeat(len)).send().await.unwrap();
            assert_eq!(answer.status().as_u16(), status, "{:?} {len}", answer.version());
        }
    }
}

#[tokio::test]
async fn connections_are_bounded() {
    let limits = Limits { connections: 2, ..Limits::default() };
    let server = Server::limited(limits).await;
    let mut first = connect(&server).await;
    let second = connect(&server).await;
    assert_eq!(get(&mut first, "/livez").await, Some(200));
    let mut third = TcpStream::connect(server.addr).await.unwrap();
    let end = tokio::time::timeout(PATIENCE, third.read(&mut [0; 1])).await.expect("the third is closed");
    assert!(matches!(end, Ok(0) | Err(_)));
    drop(second);
    let again = async {
        while reqwest::get(server.url("/livez")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again).await.expect("there is room again");
    assert_eq!(get(&mut first, "/livez").await, Some(200));
}

#[tokio::test]
async fn at_the_end_clients_are_told_before_the_listener_closes() {
    // Long enough to see; the test goes on as soon as it has.
    let limits = Limits { pause: Duration::from_secs(3), ..Limits::default() };
    let mut server = Server::limited(limits).await;
    let mut client = connect(&server).await;
    assert_eq!(get(&mut client, "/readyz").await, Some(200));
    server.stop.take().unwrap().send(()).unwrap();
    closed(&mut client).await;
    assert_eq!(reqwest::get(server.url("/readyz")).await.unwrap().status(), 503);
    tokio::time::timeout(PATIENCE, &mut server.task).await.expect("the server ends").unwrap();
    assert!(TcpStream::connect(server.addr).await.is_err());
}

/// Downloads that nobody reads hold window of the connection; a small answer beside them comes all the same.
#[tokio::test]
async fn unread_downloads_starve_nobody() {
    let server = Server::start().await;
    reqwest::Client::new().put(server.url("/i/large")).body(sixty_megabytes(3)).send().await.unwrap();
    reqwest::Client::new().put(server.url("/i/small")).body(photo("photo.jpg")).send().await.unwrap();
    const MIB: u32 = 1 << 20;
    for (stream, connection) in [(2 * MIB, 5 * MIB), (16 * MIB, 64 * MIB), (MIB, MIB)] {
        for count in [4, 8, 50] {
            let channel = tonic::transport::Endpoint::from_shared(server.url(""))
                .unwrap()
                .initial_stream_window_size(stream)
                .initial_connection_window_size(connection)
                .connect_lazy();
            let mut client = ImageServiceClient::new(channel);
            let mut unread = Vec::new();
            for _ in 0..count {
                let request = DownloadImageRequest { name: "images/large".into(), ..Default::default() };
                unread.push(client.download_image(request).await.unwrap().into_inner());
            }
            for _ in 0..20 {
                let request = GetImageRequest { name: "images/small".into() };
                let answer = tokio::time::timeout(PATIENCE, client.get_image(request)).await;
                answer
                    .unwrap_or_else(|_| panic!("starved beside {count} in windows of {stream} and {connection}"))
                    .unwrap();
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
    }
}
