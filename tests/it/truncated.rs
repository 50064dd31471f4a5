//! A blob that somebody cuts short while it is sent: that transfer ends with an error, and nothing else does.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use prost::Message as _;
use tonic::Code;
use wirephoto::proto::wirephoto::v1 as pb;
use wirephoto::wire::envelope::envelope;

use crate::harness::{Server, patient_client_of};
use crate::photo::{photo, sixty_megabytes};

/// A server with a large image, and the file that its bytes are in.
async fn with_large() -> (Server, String) {
    let server = Server::start().await;
    let put = reqwest::Client::new().put(server.url("/i/large")).body(sixty_megabytes(8));
    put.send().await.unwrap().error_for_status().unwrap();
    let [blob] = server.files("blobs").try_into().unwrap();
    (server, blob)
}

fn cut_short(blob: &str, len: u64) {
    std::fs::OpenOptions::new().write(true).open(blob).unwrap().set_len(len).unwrap();
}

fn client(http2: bool) -> reqwest::Client {
    let http = reqwest::Client::builder();
    let http = if http2 { http.http2_prior_knowledge() } else { http };
    http.build().unwrap()
}

/// The same connection, or at least the same server, goes on.
async fn goes_on(http: &reqwest::Client, server: &Server) {
    http.put(server.url("/i/other")).body(photo("photo.jpg")).send().await.unwrap().error_for_status().unwrap();
    let other = http.get(server.url("/i/other")).send().await.unwrap().bytes().await.unwrap();
    assert_eq!(other, photo("photo.jpg"));
}

#[tokio::test]
async fn plain_bytes_break_off() {
    for (http2, left) in [(false, 0), (false, 30_000_001), (true, 0), (true, 30_000_001)] {
        let (server, blob) = with_large().await;
        let http = client(http2);
        let mut answer = http.get(server.url("/i/large")).send().await.unwrap();
        let mut got = answer.chunk().await.unwrap().unwrap().len();
        cut_short(&blob, left);
        let failed = loop {
            match answer.chunk().await {
                Ok(Some(more)) => got += more.len(),
                ended => break ended.is_err(),
            }
        };
        assert!(failed && got < 60_000_000, "HTTP/2 {http2}, {left} left: {got} bytes");
        goes_on(&http, &server).await;
    }
}

/// Cut at once, and when the client has shown that it takes small frames as they come.
#[tokio::test]
async fn streams_end_in_data_loss_or_with_their_connection() {
    const LEFT: usize = 30_000_001;
    for (web, before) in [(false, 0), (false, 20_000_000), (true, 0), (true, 2_000_000)] {
        let (cut, blob) = with_large().await;
        let sound = sixty_megabytes(8);
        let mut rpc = if web { cut.grpc_web() } else { patient_client_of(&cut.url("")) };
        let request = pb::DownloadImageRequest { name: "images/large".into(), ..Default::default() };
        let mut parts = rpc.download_image(request.clone()).await.unwrap().into_inner();
        let (mut got, mut is_cut) = (Vec::new(), false);
        let status = loop {
            match parts.message().await {
                Ok(part) => {
                    got.extend(part.expect("the stream ended well").chunk.map_or(vec![], |chunk| chunk.data.into()))
                }
                Err(status) => break status,
            }
            if got.len() >= before && !std::mem::replace(&mut is_cut, true) {
                cut_short(&blob, LEFT as u64);
            }
        };
        // Over HTTP/1.1 what is announced must come: where it cannot, the connection ends.
        assert!(status.code() == Code::DataLoss || web, "{status}");
        let there = got.len().min(LEFT);
        assert!(there >= before && got[..there] == sound[..there], "{web}, {before}: {} bytes", got.len());
        let again = rpc.download_image(request).await.map(|_| ()).unwrap_err();
        assert_eq!(again.code(), Code::DataLoss, "{again}");
        goes_on(&reqwest::Client::new(), &cut).await;
    }
}

/// What a stalled reader was given and not sent lies in the file only, and the rest of its connection is not to suffer.
#[tokio::test]
async fn other_streams_of_the_connection_go_on() {
    for left in [0, 30_000_001] {
        let (server, blob) = with_large().await;
        let sound = sixty_megabytes(9);
        let put = reqwest::Client::new().put(server.url("/i/sound")).body(sound.clone());
        put.send().await.unwrap().error_for_status().unwrap();
        let mut rpc = patient_client_of(&server.url(""));
        let mut download = async |name: &str| {
            let request = pb::DownloadImageRequest { name: format!("images/{name}"), ..Default::default() };
            rpc.download_image(request).await.unwrap().into_inner()
        };
        let (mut broken, mut whole) = (download("large").await, download("sound").await);
        let mut got = Vec::with_capacity(sound.len());
        // Both are under way, and wait for their reader.
        broken.message().await.unwrap().unwrap();
        got.extend(whole.message().await.unwrap().unwrap().chunk.map(|chunk| chunk.data).unwrap_or_default());
        tokio::time::sleep(Duration::from_millis(200)).await;
        cut_short(&blob, left);
        let (failed, ()) = tokio::join!(
            async {
                loop {
                    match broken.message().await {
                        Ok(part) => assert!(part.is_some(), "the stream ended well"),
                        Err(status) => break status,
                    }
                }
            },
            async {
                while let Some(part) = whole.message().await.unwrap() {
                    got.extend(part.chunk.map(|chunk| chunk.data).unwrap_or_default());
                }
            }
        );
        assert_eq!(failed.code(), Code::DataLoss, "{left} left: {failed}");
        assert!(got == sound, "{left} left: {} bytes of the other", got.len());
    }
}

/// What is sent in JSON or as text is made of bytes that are read here: to read a map of what is gone would be SIGBUS.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn what_is_encoded_is_never_mapped_and_breaks_off() {
    let json = envelope(0, br#"{"name":"images/large"}"#);
    let proto =
        envelope(0, &pb::DownloadImageRequest { name: "images/large".into(), ..Default::default() }.encode_to_vec());
    let text = BASE64.encode(&proto);
    for (media_type, http2, body, mapped) in [
        ("application/grpc", true, proto.clone(), true),
        ("application/grpc+json", true, json.clone(), false),
        ("application/grpc-web+json", false, json.clone(), false),
        ("application/grpc-web-text", false, text.into(), false),
        ("application/connect+json", false, json, false),
        ("application/connect+proto", false, proto, true),
    ] {
        let (server, blob) = with_large().await;
        let http = client(http2);
        let call = http.post(server.url("/wirephoto.v1.ImageService/DownloadImage")).body(body);
        let call = call.header("content-type", media_type).header("te", "trailers");
        let mut answer = call.send().await.unwrap().error_for_status().unwrap();
        let mut got = 0;
        while got < 1 << 20 {
            got += answer.chunk().await.unwrap().unwrap().len();
        }
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        assert_eq!(maps.contains(&blob), mapped, "{media_type}");
        cut_short(&blob, 0);
        while let Ok(Some(more)) = answer.chunk().await {
            got += more.len();
        }
        assert!(got < 60_000_000, "{media_type}: {got} bytes");
        goes_on(&http, &server).await;
    }
}
