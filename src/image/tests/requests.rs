//! Request ids: a retry gets the first answer, other content is refused.

use super::*;
use crate::image::LabelChange;

fn named(id: &str, request: &str) -> Put {
    Put { request_id: Some(request.to_owned()), precondition: absent(), ..put(id) }
}

#[tokio::test]
async fn a_retry_gets_the_first_answer_also_after_a_restart() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let bytes = large_png(1);
        let first = house.images.put(named("a", "r1"), whole(&bytes)).await.unwrap();
        assert!(first.created);
        let mut house = house;
        for _ in 0..2 {
            let again = house.images.put(named("a", "r1"), whole(&bytes)).await.unwrap();
            assert_eq!((again.manifest, again.created), (first.manifest.clone(), true));
            assert_eq!(house.keys_in("blobs/").await.len(), 1);
            house = house.reopened().await;
        }
        // Even when the image has changed, or gone, since.
        house.images.update(Update { display_name: Some("new".to_owned()), ..update("a") }).await.unwrap();
        let again = house.images.put(named("a", "r1"), whole(&bytes)).await.unwrap();
        assert_eq!(again.manifest, first.manifest);
        house.delete("a").await.unwrap();
        let again = house.images.put(named("a", "r1"), whole(&bytes)).await.unwrap();
        assert_eq!(again.manifest, first.manifest);
        assert_eq!(house.get("a").await.unwrap_err().reason, Reason::NotFound);
    }
}

#[tokio::test]
async fn other_content_under_the_same_request_id_is_refused() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        house.images.put(named("a", "r1"), whole(&png(5, 5, 1))).await.unwrap();
        let kept = house.keys().await;
        let reused = [
            house.images.put(named("a", "r1"), whole(&png(5, 5, 2))).await.unwrap_err(),
            house.images.put(named("b", "r1"), whole(&png(5, 5, 1))).await.unwrap_err(),
            house
                .images
                .put(Put { display_name: Some("x".to_owned()), ..named("a", "r1") }, whole(&png(5, 5, 1)))
                .await
                .unwrap_err(),
            house.images.update(Update { request_id: Some("r1".to_owned()), ..update("a") }).await.unwrap_err(),
            house.images.delete(Delete { request_id: Some("r1".to_owned()), ..delete("a") }).await.unwrap_err(),
        ];
        for error in reused {
            assert_eq!(error.reason, Reason::RequestIdReused);
            assert!(error.message.contains("id of its own"), "{error}");
        }
        assert_eq!(house.keys().await, kept);
    }
}

#[tokio::test]
async fn a_request_that_failed_is_not_remembered() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let cut_off = house.images.put(named("a", "r1"), unfinished(&png(5, 5, 1))).await;
        assert_eq!(cut_off.unwrap_err().reason, Reason::Aborted);
        assert!(house.keys().await.is_empty());
        assert!(house.images.put(named("a", "r1"), whole(&png(5, 5, 2))).await.unwrap().created);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_of_the_same_at_once_make_one_image() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let puts = (0..12).map(|_| {
            let (images, bytes) = (house.images.clone(), large_png(1));
            let nameless = Put { id: None, ..named("x", "r1") };
            tokio::spawn(async move { images.put(nameless, whole(&bytes)).await.unwrap() })
        });
        let all = futures::future::try_join_all(puts).await.unwrap();
        assert!(all.iter().all(|stored| stored.created && stored.manifest == all[0].manifest));
        assert_eq!(house.keys().await.len(), 3, "a blob, a manifest and a record");
    }
}

/// Two servers do not share the lock, so the manifest's mark has to tell.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_to_two_servers_makes_one_image() {
    for kind in Kind::shared() {
        for seed in 0..10 {
            let house = House::new(kind).await;
            let other = house.neighbour().await;
            let bytes = png(5, 5, seed);
            let send = |images: Images| {
                let nameless = Put { id: None, ..named("x", "r1") };
                let body = whole(&bytes);
                tokio::spawn(async move { images.put(nameless, body).await.unwrap() })
            };
            let (one, two) = tokio::join!(send(house.images.clone()), send(other));
            let (one, two) = (one.unwrap(), two.unwrap());
            assert_eq!(one.manifest, two.manifest);
            assert!(one.created && two.created);
            assert_eq!(house.keys().await.len(), 3, "a blob, a manifest and a record");
        }
    }
}

#[tokio::test]
async fn updates_and_deletes_are_known_again_too() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        house.put("a", &png(5, 5, 1)).await.unwrap();
        let change = Update {
            labels: Some(LabelChange::Replace(labels([("k", "v")]))),
            request_id: Some("u".to_owned()),
            ..update("a")
        };
        let first = house.images.update(change.clone()).await.unwrap();
        assert_eq!(house.images.update(change).await.unwrap(), first);
        assert_eq!(house.get("a").await.unwrap().revision, 1);

        let gone = Delete { request_id: Some("d".to_owned()), ..delete("a") };
        house.images.delete(gone.clone()).await.unwrap();
        house.images.delete(gone.clone()).await.unwrap();
        house.put("a", &png(5, 5, 2)).await.unwrap();
        house.images.delete(gone).await.unwrap();
        assert_eq!(house.bytes("a").await.unwrap(), png(5, 5, 2), "a retry of an old delete spares the new image");
    }
}

#[tokio::test]
async fn a_bad_request_id_is_named() {
    let house = House::new(Kind::Memory).await;
    let error = house.images.put(named("a", "tab\t"), whole(&png(5, 5, 1))).await.unwrap_err();
    assert_eq!(error.reason, Reason::InvalidRequest);
    assert!(house.keys().await.is_empty());
}
