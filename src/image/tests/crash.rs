//! A process that ended between two writes, and what the next one makes of it.

use super::*;
use crate::image::manifest::FORMAT_VERSION;

#[tokio::test]
async fn a_store_opened_again_has_the_same_images() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        for (seed, id) in ["a", "b", "c.png"].into_iter().enumerate() {
            house.put(id, &png(5, 5, seed as u32)).await.unwrap();
        }
        house.delete("b").await.unwrap();
        let before = (house.get("a").await.unwrap(), house.get("c.png").await.unwrap());
        let house = house.reopened().await;
        assert_eq!((house.get("a").await.unwrap(), house.get("c.png").await.unwrap()), before);
        assert_eq!(house.get("b").await.unwrap_err().reason, Reason::NotFound);
        assert_eq!(house.bytes("c.png").await.unwrap(), png(5, 5, 2));
    }
}

/// Between the blob and the manifest.
#[tokio::test]
async fn a_blob_without_a_manifest_is_no_image() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let request = Put { request_id: Some("r".to_owned()), precondition: absent(), ..put("a") };
        house.images.put(request.clone(), whole(&png(5, 5, 1))).await.unwrap();
        house.lose("manifests/a").await;
        let record = house.keys_in("requests/").await.remove(0);
        house.lose(&record).await;
        let house = house.reopened().await;
        assert_eq!(house.get("a").await.unwrap_err().reason, Reason::NotFound);
        assert!(house.images.put(request, whole(&png(5, 5, 1))).await.unwrap().created);
        assert_eq!(house.bytes("a").await.unwrap(), png(5, 5, 1));
    }
}

/// Between the manifest and the record.
#[tokio::test]
async fn a_retry_knows_its_own_manifest_without_a_record() {
    for kind in Kind::all() {
        for id in [Some("a"), None] {
            let house = House::new(kind).await;
            let request = Put {
                id: id.map(|id| id.parse().unwrap()),
                request_id: Some("r".to_owned()),
                precondition: absent(),
                ..put("x")
            };
            let first = house.images.put(request.clone(), whole(&png(5, 5, 1))).await.unwrap();
            let record = house.keys_in("requests/").await.remove(0);
            house.lose(&record).await;
            let house = house.reopened().await;
            let other = house.images.put(request.clone(), whole(&png(5, 5, 2))).await;
            assert_eq!(other.unwrap_err().reason, Reason::RequestIdReused);
            let again = house.images.put(request, whole(&png(5, 5, 1))).await.unwrap();
            assert_eq!((again.manifest, again.created), (first.manifest, true));
            assert_eq!(house.keys_in("requests/").await, [record], "and now it is on record");
            assert_eq!(house.keys_in("blobs/").await.len(), 1);
        }
    }
}

/// Between the record and the removal.
#[tokio::test]
async fn a_retry_finishes_a_delete() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        house.put("a", &png(5, 5, 1)).await.unwrap();
        let manifest = house.get("a").await.unwrap();
        let request = Delete { request_id: Some("d".to_owned()), ..delete("a") };
        house.images.delete(request.clone()).await.unwrap();
        let bytes = serde_json::to_vec(&*manifest).unwrap();
        match kind {
            Kind::Folder => std::fs::write(house.dir.path().join("manifests/a"), bytes).unwrap(),
            Kind::Memory | Kind::Shared | Kind::Cloud => {
                let key = "manifests/a".into();
                object_store::ObjectStoreExt::put(&*house.objects, &key, bytes.into()).await.unwrap();
            }
        }
        let house = house.reopened().await;
        assert_eq!(house.get("a").await.unwrap(), manifest);
        house.images.delete(request).await.unwrap();
        assert_eq!(house.get("a").await.unwrap_err().reason, Reason::NotFound);
        assert!(house.keys_in("manifests/").await.is_empty());
    }
}

#[tokio::test]
async fn a_damaged_manifest_is_mended_by_putting_the_image_again() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        for id in ["a", "b"] {
            house.put(id, &png(5, 5, 1)).await.unwrap();
        }
        overwrite(&house, "manifests/a", b"{\"format_version\":1}").await;
        let house = house.reopened().await;
        house.bytes("b").await.unwrap();
        house.get("a").await.unwrap_err();
        house.put("a", &png(5, 5, 2)).await.unwrap();
        assert_eq!(house.bytes("a").await.unwrap(), png(5, 5, 2));
        let house = house.reopened().await;
        assert_eq!(house.bytes("a").await.unwrap(), png(5, 5, 2));
    }
}

#[tokio::test]
async fn a_store_of_a_later_version_is_not_opened() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        house.put("a", &png(5, 5, 1)).await.unwrap();
        let later = format!("{{\"format_version\":{},\"unheard_of\":true}}", FORMAT_VERSION + 1);
        overwrite(&house, "manifests/a", later.as_bytes()).await;
        let House { kind, dir, objects, images } = house;
        drop(images);
        let error = eventually(async || match images_over(kind, &objects, dir.path()).await {
            Err(error) if error.message.contains("another wirephoto") => None,
            opened => opened.err(),
        })
        .await;
        assert!(error.message.contains("later wirephoto"), "{error}");
    }
}

async fn overwrite(house: &House, key: &str, bytes: &[u8]) {
    match house.kind {
        Kind::Folder => std::fs::write(house.dir.path().join(key), bytes).unwrap(),
        Kind::Memory | Kind::Shared | Kind::Cloud => {
            object_store::ObjectStoreExt::put(&*house.objects, &key.into(), bytes.to_vec().into()).await.unwrap();
        }
    }
}
