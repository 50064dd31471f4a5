//! What is collected, and what is not.

use chrono::Utc;

use super::*;
use crate::image::sweep::Sweeper;

#[tokio::test]
async fn the_bytes_of_a_deleted_image_go_after_a_while() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        house.put("a", &png(5, 5, 1)).await.unwrap();
        house.put("a", &png(5, 5, 2)).await.unwrap();
        house.put("b", &png(5, 5, 3)).await.unwrap();
        house.delete("b").await.unwrap();
        let now = Utc::now();
        let mut sweeper = Sweeper::default();
        sweeper.sweep(&house.images.core, now).await.unwrap();
        assert_eq!(house.keys_in("blobs/").await.len(), 3);
        sweeper.sweep(&house.images.core, now + TimeDelta::minutes(11)).await.unwrap();
        assert_eq!(house.keys_in("blobs/").await.len(), 1);
        assert_eq!(house.bytes("a").await.unwrap(), png(5, 5, 2));
    }
}

#[tokio::test]
async fn a_blob_without_an_image_is_found_twice_before_it_goes() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        house.put("a", &png(5, 5, 1)).await.unwrap();
        house.put("b", &png(5, 5, 2)).await.unwrap();
        house.lose("manifests/b").await;
        let house = house.reopened().await;
        let (start, mut sweeper) = (Utc::now(), Sweeper::default());
        for (minutes, blobs) in [(60, 2), (65, 2), (71, 1), (200, 1)] {
            sweeper.sweep(&house.images.core, start + TimeDelta::minutes(minutes)).await.unwrap();
            assert_eq!(house.keys_in("blobs/").await.len(), blobs, "{kind:?} after {minutes} minutes");
        }
        assert_eq!(house.bytes("a").await.unwrap(), png(5, 5, 1));
    }
}

#[tokio::test]
async fn no_blob_goes_while_a_manifest_cannot_be_read() {
    let house = House::new(Kind::Folder).await;
    house.put("a", &png(5, 5, 1)).await.unwrap();
    std::fs::write(house.dir.path().join("manifests/a"), "rot").unwrap();
    let house = house.reopened().await;
    let mut sweeper = Sweeper::default();
    for hours in 1..5 {
        sweeper.sweep(&house.images.core, Utc::now() + TimeDelta::hours(hours)).await.unwrap();
        assert_eq!(house.keys_in("blobs/").await.len(), 1);
    }
}

#[tokio::test]
async fn leftovers_of_a_crash_go_and_running_uploads_stay() {
    let house = House::new(Kind::Folder).await;
    let folder = house.dir.path().join("blobs/ab");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("abcdef#1"), "half").unwrap();
    let (send, receive) = tokio::sync::mpsc::unbounded_channel();
    let images = house.images.clone();
    let body = tokio_stream::wrappers::UnboundedReceiverStream::new(receive);
    let upload = tokio::spawn(async move { images.put(put("a"), body).await });
    let bytes = large_png(1);
    send.send(Ok(Piece::Data(bytes.clone()))).unwrap();
    eventually(async || (house.keys().await.len() == 2).then_some(())).await;
    Sweeper::default().sweep(&house.images.core, Utc::now() + TimeDelta::hours(1)).await.unwrap();
    let left = house.keys().await;
    assert_eq!(left.len(), 1);
    assert!(!left[0].ends_with("abcdef#1"));
    send.send(Ok(Piece::Finish(Checksums::default()))).unwrap();
    upload.await.unwrap().unwrap();
    assert_eq!(house.bytes("a").await.unwrap(), bytes);
}

#[tokio::test]
async fn requests_are_forgotten_after_a_day() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let request = Put { request_id: Some("r".to_owned()), ..put("a") };
        house.images.put(request, whole(&png(5, 5, 1))).await.unwrap();
        for (hours, records) in [(23, 1), (25, 0)] {
            let now = Utc::now() + TimeDelta::hours(hours);
            Sweeper::default().sweep(&house.images.core, now).await.unwrap();
            assert_eq!(house.keys_in("requests/").await.len(), records);
        }
    }
}
