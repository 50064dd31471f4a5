//! Pages, while images come and go.

use std::collections::HashSet;

use super::*;
use crate::image::query::Query;

/// Puts `count` images that stay, then pages through them in every order while others are put and deleted.
async fn page_through(kind: Kind, count: usize, page_size: i32) {
    let house = House::new(kind).await;
    let bytes = png(2, 2, 1);
    let fill = futures::stream::StreamExt::for_each_concurrent(stream::iter(0..count), 16, |n| {
        let (images, bytes) = (house.images.clone(), bytes.clone());
        async move {
            let body = stream::iter([Ok(Piece::Data(bytes)), Ok(Piece::Finish(Checksums::default()))]);
            images.put(put(&format!("stays-{n:06}")), body).await.unwrap();
        }
    });
    fill.await;

    let images = house.images.clone();
    let churn = tokio::spawn(async move {
        for n in 0_u32.. {
            let id = format!("stays-{:06}-passing", (n * 7919) as usize % count);
            images.put(put(&id), whole(&png(2, 2, n))).await.unwrap();
            if n >= 10 {
                let old = format!("stays-{:06}-passing", ((n - 10) * 7919) as usize % count);
                images.delete(Delete { allow_missing: true, ..delete(&old) }).await.unwrap();
            }
            tokio::task::yield_now().await;
        }
    });
    for order in ["name", "name desc", "create_time"] {
        let mut seen: Vec<Arc<Manifest>> = Vec::new();
        let mut token = String::new();
        loop {
            let query = Query::parse(page_size, &token, "", order).unwrap();
            let page = house.images.list(&query).await.unwrap();
            assert!(page.images.len() <= page_size as usize);
            seen.extend(page.images);
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
            tokio::task::yield_now().await;
        }
        let query = Query::parse(page_size, "", "", order).unwrap();
        assert!(seen.is_sorted_by(|a, b| query.sort_key(a) < query.sort_key(b)), "{order}: in order, each once");
        let stayed = seen.iter().filter(|manifest| !manifest.id.as_str().ends_with("passing"));
        let ids: HashSet<&str> = stayed.map(|manifest| manifest.id.as_str()).collect();
        assert_eq!(ids.len(), count, "{kind:?} {order}");
    }
    assert!(!churn.is_finished(), "images came and went all the while");
    churn.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_in_a_folder_are_each_seen_once() {
    page_through(Kind::Folder, 5_000, 97).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_in_memory_are_each_seen_once() {
    page_through(Kind::Memory, 100_000, 1000).await;
}

#[tokio::test]
async fn a_shared_store_lists_what_another_server_wrote() {
    let house = House::new(Kind::Shared).await;
    let other = house.neighbour().await;
    let query = Query::parse(10, "", "", "").unwrap();
    let listed = async |images: &Images| {
        let page = images.list(&query).await.unwrap();
        page.images.iter().map(|manifest| manifest.id.to_string()).collect::<Vec<_>>()
    };
    assert!(listed(&house.images).await.is_empty());
    house.put("b", &png(2, 2, 1)).await.unwrap();
    assert_eq!(listed(&house.images).await, ["b"], "what it wrote itself, at once");
    other.put(put("a"), whole(&png(2, 2, 1))).await.unwrap();
    eventually(async || (listed(&house.images).await == ["a", "b"]).then_some(())).await;
    other.delete(delete("b")).await.unwrap();
    eventually(async || (listed(&house.images).await == ["a"]).then_some(())).await;
}

#[tokio::test]
async fn the_last_page_has_no_token() {
    let house = House::new(Kind::Memory).await;
    for id in ["a", "b", "c", "d"] {
        house.put(id, &png(2, 2, 1)).await.unwrap();
    }
    let first = house.images.list(&Query::parse(2, "", "", "").unwrap()).await.unwrap();
    assert_eq!(first.images.len(), 2);
    let second = house.images.list(&Query::parse(2, &first.next_page_token, "", "").unwrap()).await.unwrap();
    assert_eq!(second.images.iter().map(|manifest| manifest.id.as_str()).collect::<Vec<_>>(), ["c", "d"]);
    assert_eq!(second.next_page_token, "");
}
