//! Uploads that fail, and that nothing of them stays.

use std::future::Future as _;
use std::task::{Context, Waker};

use futures::stream::StreamExt as _;

use super::*;

/// Each upload that must fail, and how.
fn bad_uploads() -> Vec<(&'static str, Put, Vec<Result<Piece>>, Reason)> {
    let small = png(5, 5, 1);
    let large = large_png(1);
    let huge = Bytes::from([&small[..], &vec![0; 41 * MIB as usize]].concat());
    let damaged = {
        // The size of the header's own chunk, and with it everything that follows.
        let mut bytes = large.to_vec();
        bytes[8..12].fill(0xff);
        Bytes::from(bytes)
    };
    let pieces = |bytes: &Bytes, checksums: Option<Checksums>| {
        cut(bytes).chain(checksums.map(|checksums| Ok(Piece::Finish(checksums)))).collect::<Vec<_>>()
    };
    let right = || Some(Checksums::default());
    let text = Bytes::from("no image at all ".repeat(200_000));
    let broken = |bytes: &Bytes| {
        let mut all = pieces(bytes, None);
        all.push(Err(Error::new(Reason::Aborted, "the connection closed")));
        all
    };
    let crc = Some(Checksums { crc32c: Some(1), ..Checksums::default() });
    let sha = Some(Checksums { sha256: Some([7; 32]), ..Checksums::default() });
    let sha512 = Some(Checksums { sha512: Some([7; 64]), ..Checksums::default() });
    let size = Some(Checksums { size: Some(3), ..Checksums::default() });
    let jpeg = || Put { claimed_type: Some("image/jpeg".to_owned()), ..put("a") };
    vec![
        ("not an image", put("a"), pieces(&text, right()), Reason::NotAnImage),
        ("a damaged header", put("a"), pieces(&damaged, right()), Reason::NotAnImage),
        ("empty", put("a"), pieces(&Bytes::new(), right()), Reason::NotAnImage),
        ("a type that lies, small", jpeg(), pieces(&small, right()), Reason::TypeMismatch),
        ("a type that lies, large", jpeg(), pieces(&large, right()), Reason::TypeMismatch),
        ("cut off, small", put("a"), pieces(&small, None), Reason::Aborted),
        ("cut off, large", put("a"), pieces(&large, None), Reason::Aborted),
        ("cut off, empty", put("a"), pieces(&Bytes::new(), None), Reason::Aborted),
        ("broken off", put("a"), broken(&large), Reason::Aborted),
        ("a wrong crc", put("a"), pieces(&large, crc.clone()), Reason::ChecksumMismatch),
        ("a wrong crc, small", put("a"), pieces(&small, crc), Reason::ChecksumMismatch),
        ("a wrong sha256", put("a"), pieces(&large, sha), Reason::ChecksumMismatch),
        ("a wrong sha512", Put { hash_sha512: true, ..put("a") }, pieces(&large, sha512), Reason::ChecksumMismatch),
        ("a wrong size", put("a"), pieces(&large, size), Reason::ChecksumMismatch),
        (
            "less than announced",
            Put { size: Some(9 * MIB), ..put("a") },
            pieces(&large, right()),
            Reason::ChecksumMismatch,
        ),
        ("too large", put("a"), pieces(&huge, right()), Reason::TooLarge),
        ("announced too large", Put { size: Some(41 * MIB), ..put("a") }, pieces(&small, right()), Reason::TooLarge),
        (
            "a bad label",
            Put { labels: Some(labels([("Team", "")])), ..put("a") },
            pieces(&small, right()),
            Reason::InvalidRequest,
        ),
    ]
}

#[tokio::test]
async fn nothing_stays_of_an_upload_that_fails() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        for (what, put, pieces, reason) in bad_uploads() {
            let error = house.images.put(put, stream::iter(pieces)).await.unwrap_err();
            assert_eq!(error.reason, reason, "{kind:?}, {what}: {error}");
            assert_eq!(house.keys().await, Vec::<String>::new(), "{kind:?}, {what}");
        }
        house.put("a", &large_png(2)).await.unwrap();
        for (what, put, pieces, _) in bad_uploads() {
            house.images.put(put, stream::iter(pieces)).await.unwrap_err();
            assert_eq!(house.keys().await.len(), 2, "{kind:?}, {what} over an image");
        }
        assert_eq!(house.bytes("a").await.unwrap(), large_png(2));
    }
}

#[tokio::test]
async fn a_lie_is_told_before_the_rest_of_the_body_is_read() {
    let house = House::new(Kind::Memory).await;
    let first = Ok(Piece::Data(large_png(1).slice(..100_000)));
    let body = stream::iter([first]).chain(stream::poll_fn(|_| panic!("the rest was read")));
    let lying = Put { claimed_type: Some("image/gif".to_owned()), ..put("a") };
    assert_eq!(house.images.put(lying, body).await.unwrap_err().reason, Reason::TypeMismatch);
}

#[tokio::test]
async fn nothing_stays_of_an_upload_whose_caller_goes_away() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        for pieces in [0, 1, 10, 20, 40] {
            let all: Vec<_> = cut(&large_png(1)).collect();
            assert!(all.len() > 30);
            let begun = stream::iter(all.into_iter().take(pieces)).chain(stream::pending());
            let mut upload = Box::pin(house.images.put(put("a"), begun));
            // Long enough that the parts so far are written.
            tokio::select! {
                _ = &mut upload => panic!("it has no end"),
                () = tokio::time::sleep(Duration::from_millis(50)) => {}
            }
            drop(upload);
            eventually(async || house.keys().await.is_empty().then_some(())).await;
        }
    }
}

/// Dropped at every point where it waits, an upload is there whole or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_dropped_anywhere_is_whole_or_gone() {
    for kind in Kind::all() {
        let bytes = large_png(1);
        let mut finished = false;
        for polls in 0.. {
            let house = House::new(kind).await;
            let mut upload = Box::pin(house.images.put(put("a"), whole(&bytes)));
            let mut waits = 0;
            while waits < polls && !finished {
                match upload.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                    std::task::Poll::Ready(stored) => {
                        stored.unwrap();
                        finished = true;
                    }
                    std::task::Poll::Pending => {
                        waits += 1;
                        tokio::time::sleep(Duration::from_millis(2)).await;
                    }
                }
            }
            drop(upload);
            eventually(async || {
                let keys = house.keys().await;
                let whole = keys.len() == 2 && house.get("a").await.is_ok();
                (keys.is_empty() || whole).then_some(())
            })
            .await;
            if let Ok(got) = house.bytes("a").await {
                assert_eq!(got, bytes);
            }
            if finished {
                assert_eq!(house.bytes("a").await.unwrap(), bytes);
                break;
            }
        }
    }
}
