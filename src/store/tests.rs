//! URLs of stores, and what a folder promises.

use super::*;
use crate::error::Reason;
#[cfg(target_os = "linux")]
use crate::io::Outlet;

#[tokio::test]
async fn a_url_that_is_no_stores_is_refused_with_the_mend() {
    for url in ["", "wirephoto-data", "ftp://host/x", "file:", "file://host/dir", "https://example.com/x", "s3:"] {
        let error = Store::open(url, true).await.unwrap_err();
        assert_eq!(error.reason, Reason::InvalidRequest, "{url}");
        assert!(error.message.contains("file:DIR"), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_password_in_a_url_is_not_repeated() {
    let error = Store::open("ftp://me:hunter2@host/x?sig=hunter2", true).await.unwrap_err();
    assert!(error.message.contains("host/x") && !error.message.contains("hunter2"), "{error}");
}

#[tokio::test]
async fn a_folder_is_made_and_has_one_server() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("not/there yet");
    for url in [format!("file:{}", deep.display()), format!("file://{}", deep.display())] {
        let store = Store::open(&url, true).await.unwrap();
        assert!(store.is_exclusive());
        assert!(deep.is_dir());
        let error = Store::open(&url, true).await.unwrap_err();
        assert!(error.message.contains("another wirephoto serves this folder"), "{error}");
        store.ready().await.unwrap();
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let error = Store::open(&format!("file:{}", file.display()), true).await.unwrap_err();
    assert!(error.message.contains("cannot be created"), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_gone_is_not_ready() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file:{}", dir.path().display()), true).await.unwrap();
    drop(dir);
    assert_eq!(store.ready().await.unwrap_err().reason, Reason::Unavailable);
}

#[tokio::test]
async fn small_objects_are_written_under_a_condition() {
    let dir = tempfile::tempdir().unwrap();
    for url in ["memory:".to_owned(), format!("file:{}", dir.path().display())] {
        let store = Store::open(&url, true).await.unwrap();
        let key = StorageKey::manifest("a");
        assert_eq!(store.read(&key).await.unwrap(), None);
        assert!(matches!(store.write(&key, b"1".to_vec(), PutMode::Create).await.unwrap(), Written::Done(_)));
        assert_eq!(store.write(&key, b"2".to_vec(), PutMode::Create).await.unwrap(), Written::Conflict);
        assert_eq!(store.read(&key).await.unwrap().unwrap().0, "1");
        assert!(store.remove(&key).await.unwrap());
        assert_eq!(store.read(&key).await.unwrap(), None);
        store.remove(&key).await.unwrap();
    }
}

/// A store with one blob of 100,000 bytes, and the blob's file as the system names it.
#[cfg(target_os = "linux")]
async fn with_blob() -> (tempfile::TempDir, Store, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&format!("file:{}", dir.path().display()), true).await.unwrap();
    let path = dir.path().canonicalize().unwrap().join(StorageKey::blob(BLOB).path().unwrap().as_ref());
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(&path, vec![7; 100_000]).unwrap();
    (dir, store, path)
}

#[cfg(target_os = "linux")]
const BLOB: &str = "blob-to-send";

/// What is sent of the blob, by `sendfile` as far as this process knows.
#[cfg(target_os = "linux")]
async fn sent(store: &Store) -> Vec<bytes::Bytes> {
    let blob = store.open_blob(BLOB, 100_000).await.unwrap().unwrap();
    blob.send(0..100_000, 1 << 20, Some(&Outlet::default())).try_collect().await.unwrap()
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_removed_blob_is_not_kept_for_sending() {
    let (_dir, store, path) = with_blob().await;
    let is_mapped = || std::fs::read_to_string("/proc/self/maps").unwrap().contains(path.to_str().unwrap());
    let times_open = || {
        let names = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|fd| fd.unwrap().path().read_link().ok());
        names.filter(|name| name.to_str().is_some_and(|name| name.starts_with(path.to_str().unwrap()))).count()
    };
    for _ in 0..2 {
        assert_eq!(sent(&store).await.iter().map(bytes::Bytes::len).sum::<usize>(), 100_000);
        assert!(is_mapped(), "the next one takes it");
        assert_eq!(times_open(), 1);
    }
    assert!(store.discard(&StorageKey::blob(BLOB)).await.unwrap());
    assert!(!path.exists() && !is_mapped());
    assert_eq!(times_open(), 0);
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_file_that_is_kept_open_is_the_one_that_has_the_name() {
    let (dir, store, path) = with_blob().await;
    let open = async || store.open_blob(BLOB, 100_000).await;
    assert!(open().await.unwrap().is_some());
    let restored = dir.path().join("restored");
    std::fs::write(&restored, vec![8; 100_000]).unwrap();
    std::fs::rename(restored, &path).unwrap();
    let mut byte = [0];
    std::io::Read::read_exact(&mut open().await.unwrap().unwrap().reader(), &mut byte).unwrap();
    assert_eq!(byte, [8]);
    std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(10).unwrap();
    assert_eq!(open().await.unwrap_err().reason, Reason::DataLoss);
    std::fs::remove_file(&path).unwrap();
    assert!(open().await.unwrap().is_none());
}
