//! Stores that fail in the middle.

use super::faulty::{Fault, Faulty};
use super::*;

const KINDS: [Kind; 2] = [Kind::Memory, Kind::Shared];

#[tokio::test]
async fn a_full_store_says_so_and_keeps_nothing() {
    for kind in KINDS {
        for folder in ["blobs/", "manifests/"] {
            for bytes in [png(5, 5, 1), large_png(1)] {
                let faulty = Arc::new(Faulty::default());
                let house = House::over(kind, faulty.clone()).await;
                faulty.fail(folder, Fault::Full);
                let error = house.put("a", &bytes).await.unwrap_err();
                assert_eq!(error.reason, Reason::NoSpace, "{error}");
                assert_eq!(house.keys().await, Vec::<String>::new());
                faulty.mend();
                house.put("a", &bytes).await.unwrap();
                assert_eq!(house.bytes("a").await.unwrap(), bytes);
            }
        }
    }
}

#[tokio::test]
async fn a_blob_whose_answer_is_lost_does_not_stay() {
    for kind in KINDS {
        for bytes in [png(5, 5, 1), large_png(1)] {
            let faulty = Arc::new(Faulty::default());
            let house = House::over(kind, faulty.clone()).await;
            faulty.fail("blobs/", Fault::AnswerLost);
            assert_eq!(house.put("a", &bytes).await.unwrap_err().reason, Reason::Unavailable);
            assert_eq!(house.keys().await, Vec::<String>::new());
        }
    }
}

#[tokio::test]
async fn a_manifest_whose_answer_is_lost_keeps_its_blob() {
    for kind in KINDS {
        let faulty = Arc::new(Faulty::default());
        let house = House::over(kind, faulty.clone()).await;
        faulty.fail("manifests/", Fault::AnswerLost);
        let result = house.put("a", &png(5, 5, 1)).await;
        assert_eq!(result.is_ok(), kind == Kind::Shared, "a cloud's write is durable whenever it shows");
        assert_eq!(house.bytes("a").await.unwrap(), png(5, 5, 1));
    }
}

#[tokio::test]
async fn a_request_whose_record_failed_is_known_by_its_manifest() {
    for kind in KINDS {
        let faulty = Arc::new(Faulty::default());
        let house = House::over(kind, faulty.clone()).await;
        faulty.fail("requests/", Fault::Full);
        let request = Put { request_id: Some("r".to_owned()), precondition: absent(), ..put("a") };
        let error = house.images.put(request.clone(), whole(&png(5, 5, 1))).await.unwrap_err();
        assert_eq!(error.reason, Reason::NoSpace);
        faulty.mend();
        let again = house.images.put(request, whole(&png(5, 5, 1))).await.unwrap();
        assert!(again.created);
        assert_eq!(house.keys().await.len(), 3, "a blob, a manifest and a record");
    }
}

#[tokio::test]
async fn a_delete_that_cannot_be_recorded_deletes_nothing_unless_the_store_is_full() {
    for kind in KINDS {
        for fault in [Fault::AnswerLost, Fault::Full] {
            let faulty = Arc::new(Faulty::default());
            let house = House::over(kind, faulty.clone()).await;
            house.put("a", &png(5, 5, 1)).await.unwrap();
            faulty.fail("requests/", fault);
            let request = Delete { request_id: Some("d".to_owned()), ..delete("a") };
            let deleted = house.images.delete(request).await;
            if fault == Fault::Full {
                deleted.unwrap();
                assert_eq!(house.delete("a").await.unwrap_err().reason, Reason::NotFound);
                let again = Delete { request_id: Some("e".to_owned()), allow_missing: true, ..delete("a") };
                house.images.delete(again).await.unwrap();
            } else if deleted.is_err() {
                assert_eq!(house.bytes("a").await.unwrap(), png(5, 5, 1));
            }
        }
    }
}
