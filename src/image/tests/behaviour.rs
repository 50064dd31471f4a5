//! Put, get, replace, relabel, delete, and the conditions on each.

use sha2::{Digest as _, Sha256, Sha512};

use super::*;
use crate::image::LabelChange;
use crate::image::probe::Format;

#[tokio::test]
async fn what_is_put_is_what_is_read() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        for (id, bytes) in [("small", png(20, 10, 1)), ("large", large_png(2))] {
            let stored = house.put(id, &bytes).await.unwrap();
            assert!(stored.created);
            let manifest = house.get(id).await.unwrap();
            assert_eq!(manifest, stored.manifest);
            assert_eq!(manifest.size, bytes.len() as u64);
            assert_eq!(manifest.format, Format::Png);
            assert_eq!(manifest.sha256, hex::encode(Sha256::digest(&bytes)));
            assert_eq!(manifest.crc32c, crc32c::crc32c(&bytes));
            assert_eq!(house.bytes(id).await.unwrap(), bytes, "{kind:?} {id}");
        }
        let small = house.get("small").await.unwrap();
        assert_eq!((small.width, small.height, small.frame_count), (20, 10, 1));
        assert_eq!(house.keys_in("blobs/").await.len(), 2);
    }
}

#[tokio::test]
async fn every_range_is_exact_and_none_goes_beyond_the_end() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let bytes = large_png(3);
        house.put("a", &bytes).await.unwrap();
        let (_, blob) = house.images.read(&"a".parse().unwrap()).await.unwrap();
        let len = blob.size();
        for range in [0..len, 0..1, len - 1..len, 1_000_000..1_100_000, 7..7, len..len] {
            let got = collect(blob.stream(range.clone())).await.unwrap();
            assert_eq!(got, bytes[range.start as usize..range.end as usize], "{kind:?} {range:?}");
        }
        let error = collect(blob.stream(0..len + 1)).await.unwrap_err();
        assert_eq!(error.reason, Reason::OutOfRange);
    }
}

#[tokio::test]
async fn a_replace_keeps_what_people_said_of_the_image() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let named = Put { display_name: Some("Sea".to_owned()), labels: Some(labels([("team", "a")])), ..put("a") };
        let first = house.images.put(named, whole(&png(5, 5, 1))).await.unwrap().manifest;
        let second = house.put("a", &png(6, 6, 2)).await.unwrap();
        assert!(!second.created);
        let second = second.manifest;
        assert_eq!((&second.display_name, &second.labels), (&first.display_name, &first.labels));
        assert_eq!(second.create_time, first.create_time);
        assert!(second.generation > first.generation);
        assert!(second.update_time >= first.update_time);
        assert_ne!(second.etag(), first.etag());

        let cleared = Put { labels: Some(BTreeMap::new()), ..put("a") };
        let third = house.images.put(cleared, whole(&png(6, 6, 2))).await.unwrap().manifest;
        assert!(third.labels.is_empty());
        assert_eq!(third.display_name, "Sea");
        assert_eq!(house.get("a").await.unwrap(), third);
    }
}

#[tokio::test]
async fn metadata_changes_leave_the_bytes_alone() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let bytes = png(5, 5, 1);
        let first = house.put("a", &bytes).await.unwrap().manifest;
        let replace = LabelChange::Replace(labels([("a", "1"), ("b", "2")]));
        let change = Update { labels: Some(replace), display_name: Some("Name".to_owned()), ..update("a") };
        let second = house.images.update(change).await.unwrap();
        assert_eq!(second.labels, labels([("a", "1"), ("b", "2")]));
        let merge = [("a".to_owned(), None), ("c".to_owned(), Some("3".to_owned()))].into();
        let change = Update { labels: Some(LabelChange::Merge(merge)), ..update("a") };
        let third = house.images.update(change).await.unwrap();
        assert_eq!(third.labels, labels([("b", "2"), ("c", "3")]));
        assert_eq!(third.display_name, "Name");
        assert_eq!((third.generation, third.content_time), (first.generation, first.content_time));
        let etags = [first.etag(), second.etag(), third.etag()];
        assert!(etags[0] != etags[1] && etags[1] != etags[2]);
        assert_eq!(house.bytes("a").await.unwrap(), bytes);

        let bad = Update { labels: Some(LabelChange::Replace(labels([("Team", "")]))), ..update("a") };
        let error = house.images.update(bad).await.unwrap_err();
        assert_eq!(error.reason, Reason::InvalidRequest);
        assert_eq!(house.get("a").await.unwrap(), third);
        assert_eq!(house.images.update(update("none")).await.unwrap_err().reason, Reason::NotFound);
    }
}

#[tokio::test]
async fn a_write_asks_its_precondition() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let bytes = png(5, 5, 1);
        let first = house.images.put(Put { precondition: absent(), ..put("a") }, whole(&bytes)).await.unwrap();
        let again = house.images.put(Put { precondition: absent(), ..put("a") }, whole(&bytes)).await;
        assert_eq!(again.unwrap_err().reason, Reason::AlreadyExists);

        let old = first.manifest.etag();
        let matching = Put { precondition: etag(&old), ..put("a") };
        let second = house.images.put(matching.clone(), whole(&bytes)).await.unwrap();
        assert_eq!(house.images.put(matching, whole(&bytes)).await.unwrap_err().reason, Reason::VersionMoved);
        let stale = Update { precondition: etag(&old), ..update("a") };
        assert_eq!(house.images.update(stale).await.unwrap_err().reason, Reason::VersionMoved);
        let stale = Delete { precondition: etag(&old), ..delete("a") };
        assert_eq!(house.images.delete(stale).await.unwrap_err().reason, Reason::VersionMoved);
        let current = Delete { precondition: etag(&second.manifest.etag()), ..delete("a") };
        house.images.delete(current).await.unwrap();
        assert_eq!(house.get("a").await.unwrap_err().reason, Reason::NotFound);
    }
}

#[tokio::test]
async fn a_precondition_that_fails_at_once_leaves_the_body_unread() {
    let house = House::new(Kind::Memory).await;
    house.put("a", &png(5, 5, 1)).await.unwrap();
    let body = stream::poll_fn(|_| panic!("the body was read"));
    let refused = house.images.put(Put { precondition: absent(), ..put("a") }, body).await;
    assert_eq!(refused.unwrap_err().reason, Reason::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_who_create_one_name_one_wins() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let puts = (0..16).map(|seed| {
            let (images, bytes) = (house.images.clone(), png(5, 5, seed));
            tokio::spawn(async move {
                images.put(Put { precondition: absent(), ..put("a") }, whole(&bytes)).await.map(|_| bytes)
            })
        });
        let results = futures::future::try_join_all(puts).await.unwrap();
        let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
        assert_eq!((won.len(), lost.len()), (1, 15), "{kind:?}");
        assert!(lost.into_iter().all(|lost| lost.unwrap_err().reason == Reason::AlreadyExists));
        assert_eq!(house.bytes("a").await.unwrap(), won.into_iter().next().unwrap().unwrap());
        assert_eq!(house.keys().await.len(), 2, "a blob and a manifest");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_of_a_shared_store_agree() {
    for kind in Kind::shared() {
        let house = House::new(kind).await;
        let other = house.neighbour().await;
        house.put("a", &png(5, 5, 1)).await.unwrap();
        let relabel = |images: Images, key: &'static str| async move {
            for n in 0..20 {
                let merge = [(format!("{key}{n}"), Some(String::new()))].into();
                let change = Update { labels: Some(LabelChange::Merge(merge)), ..update("a") };
                while let Err(error) = images.update(change.clone()).await {
                    assert_eq!(error.reason, Reason::Busy);
                }
            }
        };
        tokio::join!(relabel(house.images.clone(), "x"), relabel(other.clone(), "y"));
        assert_eq!(house.get("a").await.unwrap().labels.len(), 40, "no change of one was lost to the other");

        other.put(put("b"), whole(&png(6, 6, 1))).await.unwrap();
        assert_eq!(house.get("b").await.unwrap().width, 6);
        house.delete("b").await.unwrap();
        assert_eq!(other.get(&"b".parse().unwrap()).await.unwrap_err().reason, Reason::NotFound);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_servers_that_create_one_name_one_wins() {
    for kind in Kind::shared() {
        let house = House::new(kind).await;
        let other = house.neighbour().await;
        for round in 0..10 {
            let id = format!("a{round}");
            let create = |images: &Images, bytes: &Bytes| {
                let (images, body) = (images.clone(), whole(bytes));
                let create = Put { precondition: absent(), ..put(&id) };
                tokio::spawn(async move { images.put(create, body).await })
            };
            let (one, two) = (png(5, 5, 1), png(6, 6, 2));
            let results = tokio::join!(create(&house.images, &one), create(&other, &two));
            let kept = match (results.0.unwrap(), results.1.unwrap()) {
                (Ok(_), Err(error)) => (one, error),
                (Err(error), Ok(_)) => (two, error),
                both => panic!("{both:?}"),
            };
            assert_eq!(house.bytes(&id).await.unwrap(), kept.0);
            assert_eq!(kept.1.reason, Reason::AlreadyExists);
        }
        assert_eq!(house.keys().await.len(), 20);
    }
}

#[tokio::test]
async fn an_image_of_many_parts_is_whole_everywhere() {
    let bytes = png(2500, 2500, 1);
    assert!(bytes.len() as u64 > 16 * MIB);
    for kind in Kind::all() {
        let house = House::new(kind).await;
        house.put("a", &bytes).await.unwrap();
        assert!(house.bytes("a").await.unwrap() == bytes, "{kind:?}");
    }
}

#[tokio::test]
async fn deleting_what_is_not_there() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        assert_eq!(house.delete("a").await.unwrap_err().reason, Reason::NotFound);
        house.images.delete(Delete { allow_missing: true, precondition: etag("x"), ..delete("a") }).await.unwrap();
        house.put("a", &png(5, 5, 1)).await.unwrap();
        house.delete("a").await.unwrap();
        assert_eq!(house.delete("a").await.unwrap_err().reason, Reason::NotFound);
        assert!(house.keys_in("manifests/").await.is_empty());
    }
}

#[tokio::test]
async fn a_name_used_again_never_repeats_a_generation() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let mut last = 0;
        for seed in 0..20 {
            let generation = house.put("a", &png(5, 5, seed)).await.unwrap().manifest.generation;
            assert!(generation > last);
            last = generation;
            if seed % 3 == 0 {
                house.delete("a").await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn right_checksums_are_taken() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let bytes = large_png(1);
        let checksums = Checksums {
            size: Some(bytes.len() as u64),
            sha256: Some(Sha256::digest(&bytes).into()),
            sha512: Some(Sha512::digest(&bytes).into()),
            crc32c: Some(crc32c::crc32c(&bytes)),
        };
        let asked = Put { size: Some(bytes.len() as u64), hash_sha512: true, ..put("a") };
        house.images.put(asked, finished(&bytes, checksums)).await.unwrap();
        assert_eq!(house.bytes("a").await.unwrap(), bytes);
    }
}

#[tokio::test]
async fn an_image_without_a_name_gets_one() {
    let house = House::new(Kind::Memory).await;
    let nameless = Put { id: None, ..put("x") };
    let one = house.images.put(nameless.clone(), whole(&png(5, 5, 1))).await.unwrap().manifest;
    let two = house.images.put(nameless, whole(&png(5, 5, 1))).await.unwrap().manifest;
    assert_ne!(one.id, two.id);
    assert_eq!(house.bytes(one.id.as_str()).await.unwrap(), png(5, 5, 1));
}

#[tokio::test]
async fn a_folder_is_served_by_one_process() {
    let house = House::new(Kind::Folder).await;
    let url = format!("file:{}", house.dir.path().display());
    let error = Store::open(&url, true).await.unwrap_err();
    assert!(error.message.contains("another wirephoto serves this folder"), "{error}");
    let house = house.reopened().await;
    house.images.ready().await.unwrap();
}
