//! Paging while others put and delete: each image that stays is seen exactly once, in order.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::StreamExt as _;
use wirephoto::proto::wirephoto::v1 as pb;

use crate::harness::{Rpc, Server};

/// A GIF of one pixel, different for every number.
fn tiny(number: u32) -> Bytes {
    let mut gif = b"GIF89a\x01\0\x01\0\x80\0\0".to_vec();
    gif.extend_from_slice(&[number as u8, (number >> 8) as u8, (number >> 16) as u8, 255, 255, 255]);
    gif.extend_from_slice(b",\0\0\0\0\x01\0\x01\0\0\x02\x02D\x01\0;");
    gif.into()
}

async fn create(mut rpc: Rpc, id: String, number: u32) {
    let request = pb::CreateImageRequest { image_id: id, content: tiny(number), ..Default::default() };
    rpc.create_image(request).await.unwrap();
}

async fn delete(mut rpc: Rpc, id: String) {
    let request = pb::DeleteImageRequest { name: format!("images/{id}"), ..Default::default() };
    rpc.delete_image(request).await.unwrap();
}

/// Puts `count` images that stay, then pages through all while others come and go.
async fn each_that_stays_is_seen_once(server: Server, count: u32, page_size: i32) {
    let rpc = server.grpc();
    let stays: Vec<String> = (0..count).map(|number| format!("stay-{number:06}")).collect();
    futures::stream::iter(stays.iter().cloned().zip(0..))
        .for_each_concurrent(64, |(id, number)| create(rpc.clone(), id, number))
        .await;

    let stop = Arc::new(AtomicBool::new(false));
    let churn = tokio::spawn({
        let (rpc, stop) = (rpc.clone(), Arc::clone(&stop));
        async move {
            let mut round = 0;
            while !stop.load(Ordering::Relaxed) {
                // Before, between and behind those that stay.
                for id in
                    [format!("go-{round}"), format!("stay-{:06}-go-{round}", round % count), format!("zz-{round}")]
                {
                    create(rpc.clone(), id.clone(), count + round).await;
                    delete(rpc.clone(), id).await;
                }
                round += 1;
            }
            round
        }
    });

    let (mut seen, mut token) = (Vec::new(), String::new());
    loop {
        let request = pb::ListImagesRequest { page_size, page_token: token, ..Default::default() };
        let page = rpc.clone().list_images(request).await.unwrap().into_inner();
        seen.extend(page.images.into_iter().map(|image| image.name.trim_start_matches("images/").to_owned()));
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    assert!(churn.await.unwrap() > 0, "nothing came and went");
    assert!(seen.is_sorted());
    seen.retain(|id| id.starts_with("stay-") && !id.contains("go"));
    assert_eq!(seen.len(), stays.len());
    assert_eq!(seen, stays);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_thousand_in_memory() {
    each_that_stays_is_seen_once(Server::in_memory().await, 100_000, 1000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn five_thousand_in_files() {
    each_that_stays_is_seen_once(Server::start().await, 5_000, 37).await;
}
