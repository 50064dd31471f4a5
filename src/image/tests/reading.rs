//! Downloads under way while the image changes, or its bytes are damaged.

use futures::stream::StreamExt as _;

use super::*;

#[tokio::test]
async fn a_download_goes_on_when_its_image_is_replaced_or_deleted() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let (one, two) = (large_png(1), large_png(2));
        for replace in [true, false] {
            house.put("a", &one).await.unwrap();
            let (manifest, blob) = house.images.read(&"a".parse().unwrap()).await.unwrap();
            let mut download = blob.stream(0..blob.size());
            let mut got = download.next().await.unwrap().unwrap().to_vec();
            if replace {
                house.put("a", &two).await.unwrap();
                assert_eq!(house.bytes("a").await.unwrap(), two);
            } else {
                house.delete("a").await.unwrap();
            }
            if kind == Kind::Folder {
                // Even once the blob's name is gone.
                house.lose(&format!("blobs/{}/{}", &manifest.blob[..2], manifest.blob)).await;
            }
            got.extend(collect(download).await.unwrap());
            assert_eq!(got, one, "{kind:?}");
            let rest = collect(blob.stream(100..blob.size())).await.unwrap();
            assert_eq!(rest, one[100..], "{kind:?}: and a range of it asked for only now");
        }
    }
}

#[tokio::test]
async fn damaged_bytes_are_an_error_and_never_served() {
    for kind in Kind::all() {
        let house = House::new(kind).await;
        let blob = house.put("a", &large_png(1)).await.unwrap().manifest.blob.clone();
        let key = format!("blobs/{}/{blob}", &blob[..2]);
        let short = large_png(1).slice(..1_000_000);
        match kind {
            Kind::Folder => std::fs::write(house.dir.path().join(&key), &short).unwrap(),
            Kind::Memory | Kind::Shared | Kind::Cloud => {
                object_store::ObjectStoreExt::put(&*house.objects, &key.as_str().into(), short.into()).await.unwrap();
            }
        }
        assert_eq!(house.bytes("a").await.unwrap_err().reason, Reason::DataLoss);
        house.lose(&key).await;
        assert_eq!(house.bytes("a").await.unwrap_err().reason, Reason::DataLoss);
        assert_eq!(house.get("a").await.unwrap().blob, blob, "what is known of it is still there");
    }
}

#[tokio::test]
async fn a_file_cut_short_in_mid_download_is_an_error_and_then_the_end() {
    let house = House::new(Kind::Folder).await;
    let bytes = large_png(1);
    let manifest = house.put("a", &bytes).await.unwrap().manifest;
    let (_, blob) = house.images.read(&manifest.id).await.unwrap();
    let path = house.dir.path().join(format!("blobs/{}/{}", &manifest.blob[..2], manifest.blob));
    std::fs::File::options().write(true).open(path).unwrap().set_len(1_200_000).unwrap();
    let got: Vec<Result<Bytes>> = blob.stream(0..blob.size()).collect().await;
    let (last, before) = got.split_last().unwrap();
    assert_eq!(last.as_ref().unwrap_err().reason, Reason::DataLoss);
    let before: Vec<u8> = before.iter().flat_map(|piece| piece.as_ref().unwrap().to_vec()).collect();
    assert_eq!(before, bytes[..before.len()]);
    assert!(!before.is_empty());
}
