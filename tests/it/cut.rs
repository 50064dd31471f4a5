//! Uploads that break off: the connection closed, the stream reset. Nothing of them is kept.

use bytes::Bytes;
use http::Request;
use prost::Message as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use wirephoto::wire::envelope::envelope;

use crate::deadline::settles;
use crate::harness::{Apart, Server};
use crate::parity::upload_messages;
use crate::photo::{photo, sixty_megabytes};

/// What the last frame of an upload by hand is.
#[derive(Debug, Clone, Copy)]
enum End {
    Reset(h2::Reason),
    EndStream,
}

/// Sends the pieces on one HTTP/2 stream, ends it as told, and gives the `grpc-status` or HTTP status of an answer.
async fn upload(server: &Server, path: &str, content_type: &str, pieces: Vec<Bytes>, end: End) -> Option<String> {
    let socket = TcpStream::connect(server.addr).await.unwrap();
    let (client, connection) = h2::client::handshake(socket).await.unwrap();
    tokio::spawn(connection);
    let mut client = client.ready().await.unwrap();
    let method = if content_type.starts_with("application/grpc") { "POST" } else { "PUT" };
    let request = Request::builder()
        .method(method)
        .uri(server.url(path))
        .header("content-type", content_type)
        .header("te", "trailers")
        .body(())
        .unwrap();
    let (answer, mut stream) = client.send_request(request, false).unwrap();
    for piece in pieces {
        stream.send_data(piece, false).unwrap();
    }
    match end {
        End::EndStream => stream.send_data(Bytes::new(), true).unwrap(),
        End::Reset(reason) => {
            // The server has begun to read before the stream goes.
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            stream.send_reset(reason);
        }
    }
    let answer = answer.await.ok()?;
    if let Some(status) = answer.headers().get("grpc-status") {
        return Some(status.to_str().unwrap().to_owned());
    }
    if !content_type.starts_with("application/grpc") {
        return Some(answer.status().as_str().to_owned());
    }
    let mut body = answer.into_body();
    while body.data().await.is_some() {}
    let trailers = body.trailers().await.ok()??;
    Some(trailers["grpc-status"].to_str().unwrap().to_owned())
}

const UPLOAD: &str = "/wirephoto.v1.ImageService/UploadImage";

fn framed(messages: usize) -> Vec<Bytes> {
    let messages = upload_messages("cut", &photo("photo.jpg").into()).into_iter().take(messages);
    messages.map(|message| envelope(0, &message.encode_to_vec())).collect()
}

#[tokio::test]
async fn a_reset_is_no_end() {
    let apart = Apart::start().await;
    let (server, idle) = (&apart.server, apart.tasks());
    // Control: the same by hand, ended as it should be, is kept.
    assert_eq!(upload(server, UPLOAD, "application/grpc", framed(9), End::EndStream).await.as_deref(), Some("0"));
    assert_eq!(server.files("manifests").len(), 1);
    reqwest::Client::new().delete(server.url("/i/cut")).send().await.unwrap();
    for file in server.files("blobs") {
        std::fs::remove_file(file).unwrap();
    }

    for reason in [h2::Reason::CANCEL, h2::Reason::NO_ERROR] {
        // Before, and after, the finishing message.
        for messages in [1, 2, 9] {
            let status = upload(server, UPLOAD, "application/grpc", framed(messages), End::Reset(reason)).await;
            assert_ne!(status.as_deref(), Some("0"), "{reason:?} after {messages}");
        }
        let bytes = vec![Bytes::from(photo("photo.jpg"))];
        let status = upload(server, "/i/cut", "image/jpeg", bytes, End::Reset(reason)).await;
        assert!(status.as_deref().is_none_or(|status| !status.starts_with('2')), "{reason:?}: {status:?}");
        settles("tasks", || apart.tasks(), idle).await;
        server.nothing_kept().await;
    }
}

#[tokio::test]
async fn a_stream_without_its_finish_mark_is_refused() {
    let server = Server::start().await;
    for messages in [0, 1, 2] {
        let status = upload(&server, UPLOAD, "application/grpc", framed(messages), End::EndStream).await;
        assert_eq!(status.as_deref(), Some("10"), "after {messages}");
    }
    let mut half = framed(2);
    half[1].truncate(1000);
    assert_eq!(upload(&server, UPLOAD, "application/grpc", half, End::EndStream).await.as_deref(), Some("3"));
    server.nothing_kept().await;
}

#[tokio::test]
async fn chunks_out_of_order_or_damaged_are_refused() {
    let server = Server::start().await;
    let bytes = sixty_megabytes(2).slice(..3 << 20);
    for damage in ["offset", "crc", "spec", "after"] {
        let mut messages = upload_messages("cut", &bytes);
        match damage {
            "offset" => messages[2].write_offset += 1,
            "crc" => messages[2].chunk.as_mut().unwrap().crc32c = Some(7),
            "spec" => messages[2].spec = messages[0].spec.clone(),
            _ => messages.push(messages[2].clone()),
        }
        let status = server.grpc().upload_image(tokio_stream::iter(messages)).await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument, "{damage}: {status:?}");
        assert!(!status.message().is_empty());
    }
    server.nothing_kept().await;
}

/// Sends raw bytes on a connection and closes it.
async fn closed_after(server: &Server, sent: &[u8]) {
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    socket.write_all(sent).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
}

#[tokio::test]
async fn a_closed_connection_is_no_end() {
    let apart = Apart::start().await;
    let (server, idle) = (&apart.server, apart.tasks());
    let photo = photo("photo.jpg");
    let head = |length: &str| format!("PUT /i/cut HTTP/1.1\r\nhost: localhost\r\n{length}\r\n\r\n").into_bytes();

    let mut sized = head(&format!("content-length: {}", photo.len()));
    sized.extend_from_slice(&photo[..photo.len() - 1]);
    closed_after(server, &sized).await;

    let mut chunked = head("transfer-encoding: chunked");
    chunked.extend_from_slice(format!("{:x}\r\n", photo.len()).as_bytes());
    chunked.extend_from_slice(&photo);
    chunked.extend_from_slice(b"\r\n");
    closed_after(server, &chunked).await;

    settles("tasks", || apart.tasks(), idle).await;
    server.nothing_kept().await;
}

/// A refusal that comes before the body was read reaches a client that is still sending.
#[tokio::test]
async fn an_early_refusal_is_seen() {
    let server = Server::start().await;
    let mut socket = TcpStream::connect(server.addr).await.unwrap();
    let body = vec![b'x'; 4 << 20];
    let head = format!(
        "PUT /i/cut HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    socket.write_all(head.as_bytes()).await.unwrap();
    socket.write_all(&body).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 415"), "{answer}");
}
