//! How images behave, on every kind of store.

mod behaviour;
mod crash;
mod faults;
mod faulty;
mod nothing_left;
mod paging;
mod reading;
mod requests;
mod sweep;

use std::collections::BTreeMap;
use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use chrono::TimeDelta;
use futures::stream::{self, Stream, TryStreamExt as _};
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::id::ImageId;
use super::manifest::Manifest;
use super::{Checksums, Delete, Images, Limits, Piece, Precondition, Put, Stored, Update};
use crate::error::{Error, Reason, Result};
use crate::store::{Place, Store};

const MIB: u64 = 1 << 20;

/// The kinds of store that every behaviour is held to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Folder,
    Memory,
    /// Memory again, used as a cloud is: conditional writes, ranged reads, nothing known by heart.
    Shared,
    /// A cloud, below the URL that [`CLOUD`] names.
    Cloud,
}

/// The environment variable with the URL of a cloud's store, such as `s3://bucket`; without it none is tested.
const CLOUD: &str = "WIREPHOTO_TEST_STORE";

impl Kind {
    fn all() -> Vec<Self> {
        let mut all = vec![Self::Folder, Self::Memory, Self::Shared];
        all.extend(std::env::var_os(CLOUD).map(|_| Self::Cloud));
        all
    }

    /// Those that several servers may serve.
    fn shared() -> impl Iterator<Item = Self> {
        Self::all().into_iter().filter(|kind| matches!(kind, Self::Shared | Self::Cloud))
    }
}

/// Images over a store that can be looked into, and opened again.
struct House {
    kind: Kind,
    dir: tempfile::TempDir,
    objects: Arc<dyn ObjectStore>,
    images: Images,
}

impl House {
    async fn new(kind: Kind) -> Self {
        if kind == Kind::Cloud {
            let url = format!("{}/{}", std::env::var(CLOUD).unwrap(), ImageId::random());
            let store = Store::open(&url, false).await.unwrap();
            return Self::over(kind, store.objects()).await;
        }
        Self::over(kind, Arc::new(InMemory::new())).await
    }

    async fn over(kind: Kind, objects: Arc<dyn ObjectStore>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let images = images_over(kind, &objects, dir.path()).await.unwrap();
        Self { kind, dir, objects, images }
    }

    /// The same store, opened again by another process, as it were.
    async fn reopened(self) -> Self {
        let Self { kind, dir, objects, images } = self;
        drop(images);
        let images = eventually(async || images_over(kind, &objects, dir.path()).await.ok()).await;
        Self { kind, dir, objects, images }
    }

    /// The keys of everything in the store, of unfinished files too.
    async fn keys(&self) -> Vec<String> {
        let mut keys = match self.kind {
            Kind::Folder => {
                let mut files = Vec::new();
                walk(self.dir.path(), &mut files);
                let relative = |file: &std::path::PathBuf| {
                    file.strip_prefix(self.dir.path()).unwrap().to_str().unwrap().to_owned()
                };
                files.iter().map(relative).filter(|file| file != ".lock").collect()
            }
            Kind::Memory | Kind::Shared | Kind::Cloud => {
                let listed: Vec<_> = self.objects.list(None).try_collect().await.unwrap();
                listed.into_iter().map(|meta| meta.location.to_string()).collect::<Vec<_>>()
            }
        };
        keys.sort();
        keys
    }

    async fn keys_in(&self, folder: &str) -> Vec<String> {
        self.keys().await.into_iter().filter(|key| key.starts_with(folder)).collect()
    }

    /// Removes an object behind the server's back.
    async fn lose(&self, key: &str) {
        match self.kind {
            Kind::Folder => std::fs::remove_file(self.dir.path().join(key)).unwrap(),
            Kind::Memory | Kind::Shared | Kind::Cloud => {
                object_store::ObjectStoreExt::delete(&*self.objects, &key.into()).await.unwrap();
            }
        }
    }

    /// Another server of the same store.
    async fn neighbour(&self) -> Images {
        images_over(self.kind, &self.objects, self.dir.path()).await.unwrap()
    }

    async fn put(&self, id: &str, bytes: &Bytes) -> Result<Stored> {
        self.images.put(put(id), whole(bytes)).await
    }

    async fn bytes(&self, id: &str) -> Result<Bytes> {
        let (_, blob) = self.images.read(&id.parse().unwrap()).await?;
        collect(blob.stream(0..blob.size())).await
    }

    async fn get(&self, id: &str) -> Result<Arc<Manifest>> {
        self.images.get(&id.parse().unwrap()).await
    }

    async fn delete(&self, id: &str) -> Result<()> {
        self.images.delete(delete(id)).await
    }
}

async fn images_over(kind: Kind, objects: &Arc<dyn ObjectStore>, dir: &Path) -> Result<Images> {
    let store = match kind {
        Kind::Folder => Store::open(&format!("file:{}", dir.display()), false).await?,
        Kind::Memory => Store::over(objects.clone(), Place::Memory),
        Kind::Shared | Kind::Cloud => Store::over(objects.clone(), Place::Shared),
    };
    Images::open_with(store, Limits { max_image_size: 40 * MIB }, TimeDelta::minutes(10)).await
}

fn walk(dir: &Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

/// Waits for what a task in the background is about to do.
async fn eventually<T>(attempt: impl AsyncFn() -> Option<T>) -> T {
    for _ in 0..2000 {
        if let Some(done) = attempt().await {
            return done;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("it did not happen");
}

async fn collect(stream: impl Stream<Item = Result<Bytes>>) -> Result<Bytes> {
    let pieces: Vec<Bytes> = stream.try_collect().await?;
    Ok(pieces.concat().into())
}

/// A real picture of noise, which compresses to about its size: `width * height * 3` bytes.
fn png(width: u32, height: u32, seed: u32) -> Bytes {
    let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    let picture = ::image::RgbImage::from_fn(width, height, |_, _| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        let [r, g, b, _] = state.to_le_bytes();
        ::image::Rgb([r, g, b])
    });
    let mut file = Cursor::new(Vec::new());
    picture.write_to(&mut file, ::image::ImageFormat::Png).unwrap();
    file.into_inner().into()
}

/// Larger than two parts of an upload to a folder.
fn large_png(seed: u32) -> Bytes {
    let bytes = png(1000, 1000, seed);
    assert!(bytes.len() as u64 > 2 * MIB);
    bytes
}

fn any() -> Precondition {
    Arc::new(|_| Ok(()))
}

fn absent() -> Precondition {
    Arc::new(|current| match current {
        None => Ok(()),
        Some(_) => Err(Error::new(Reason::AlreadyExists, "taken")),
    })
}

fn etag(etag: &str) -> Precondition {
    let etag = etag.to_owned();
    Arc::new(move |current| match current {
        Some(current) if current.etag() == etag => Ok(()),
        _ => Err(Error::new(Reason::VersionMoved, "moved")),
    })
}

fn put(id: &str) -> Put {
    Put {
        id: Some(id.parse::<ImageId>().unwrap()),
        claimed_type: None,
        display_name: None,
        labels: None,
        size: None,
        hash_sha512: false,
        precondition: any(),
        request_id: None,
    }
}

fn update(id: &str) -> Update {
    Update { id: id.parse().unwrap(), display_name: None, labels: None, precondition: any(), request_id: None }
}

fn delete(id: &str) -> Delete {
    Delete { id: id.parse().unwrap(), allow_missing: false, precondition: any(), request_id: None }
}

fn labels<const N: usize>(labels: [(&str, &str); N]) -> BTreeMap<String, String> {
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// The bytes in pieces of a network's sizes, and their end.
fn whole(bytes: &Bytes) -> impl Stream<Item = Result<Piece>> + Send + 'static {
    finished(bytes, Checksums::default())
}

fn finished(bytes: &Bytes, checksums: Checksums) -> impl Stream<Item = Result<Piece>> + Send + 'static {
    let pieces = cut(bytes).chain([Ok(Piece::Finish(checksums))]);
    stream::iter(pieces.collect::<Vec<_>>())
}

/// The bytes without their end.
fn unfinished(bytes: &Bytes) -> impl Stream<Item = Result<Piece>> + Send + 'static {
    stream::iter(cut(bytes).collect::<Vec<_>>())
}

fn cut(bytes: &Bytes) -> impl Iterator<Item = Result<Piece>> {
    let mut rest = bytes.clone();
    let sizes = [1, 100_000, 7, 4096, 300_001].into_iter().cycle();
    sizes.map_while(move |size| (!rest.is_empty()).then(|| Ok(Piece::Data(rest.split_to(size.min(rest.len()))))))
}
