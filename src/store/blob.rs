//! The bytes of one image, opened: streamed by ranges, or read and sought in for parsing.

use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt as _, TryStreamExt as _};
use object_store::path::Path;
use object_store::{Error as StoreError, GetOptions, GetResultPayload, ObjectStore, ObjectStoreExt as _};
use tokio::runtime::Handle;

use super::failure::{Doing, data_loss, told, told_io};
use super::key::StorageKey;
use super::{Inner, Place};
use crate::error::{Error, Reason, Result};
use crate::io::{FileReader, Outlet, SharedFile, Shelved, lent, pieces};

/// Bytes a parser has at hand at a time.
const WINDOW: usize = 64 * 1024;

/// Bytes given at a time, unless the caller says otherwise; of so few in memory all are at hand.
const PIECE: usize = 1 << 20;

/// Longest blob that is kept in memory once it was read, in bytes; what it weighs besides them, and what one of two generations
/// may weigh.
const SMALL: u64 = 64 << 10;
const SMALL_WEIGHT: u64 = 256;
pub(super) const SMALL_ROOM: u64 = 8 << 20;

/// What a file that is kept open weighs besides its bytes, and what one of two generations may weigh: of 64 files at most.
const FILE_WEIGHT: u64 = 8 << 20;
pub(super) const FILE_ROOM: u64 = 512 << 20;

/// Bytes asked of a cloud by one request, at first and then at most.
const FIRST_CLOUD_WINDOW: u64 = 512 << 10;
const CLOUD_WINDOW: u64 = 4 << 20;
/// Requests for one blob at once.
const CLOUD_WIDTH: usize = 3;

/// An open blob. It survives being overwritten or deleted.
#[derive(Debug, Clone)]
pub struct Blob {
    size: u64,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    File(Arc<SharedFile>),
    Memory(Shelved),
    Cloud(Arc<dyn ObjectStore>, Path),
}

impl Blob {
    pub(super) async fn open(store: &Inner, key: &StorageKey, size: u64) -> Result<Option<Self>> {
        let small = size <= SMALL && !matches!(store.place, Place::Memory);
        let recent = if small { remembered(store, key) } else { opened(store, key, size) };
        match recent {
            Some(source) => Ok(Some(Self { size, source })),
            // In a box, which those that are at hand have no need of.
            None => Box::pin(Self::fetch(store, key, size, small)).await,
        }
    }

    /// Opens what is not at hand.
    async fn fetch(store: &Inner, key: &StorageKey, size: u64, small: bool) -> Result<Option<Self>> {
        let path = key.path().map_err(Error::internal)?;
        let head = matches!(store.place, Place::Shared) && !small;
        let found = match store.objects.get_opts(&path, GetOptions { head, ..GetOptions::default() }).await {
            Ok(found) => found,
            Err(StoreError::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(told(error, Doing::Reading)),
        };
        if found.meta.size != size {
            return Err(data_loss().caused_by(format!("{path} has {} bytes, not {size}", found.meta.size)));
        }
        let source = match found.payload {
            _ if head => Source::Cloud(store.objects.clone(), path),
            GetResultPayload::File(file, _) if !small => {
                let file = Arc::new(SharedFile::new(file, size));
                store.files.keep(key.as_str(), file.clone(), FILE_WEIGHT + size);
                // Who removes the blob forgets it then, which may have been before this.
                if !file.is_whole() {
                    store.files.forget(key.as_str());
                }
                Source::File(file)
            }
            // Memory gives its own bytes, uncopied.
            _ => {
                let bytes = found.bytes().await.map_err(|error| told(error, Doing::Reading))?;
                if bytes.len() as u64 != size {
                    return Err(data_loss().caused_by(format!("{path} has {} bytes, not {size}", bytes.len())));
                }
                if small { remember(store, key, store.shelf.keep(bytes)) } else { Source::Memory(bytes.into()) }
            }
        };
        Ok(Some(Self { size, source }))
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The bytes of `range`, if they are in memory and few; to be sent from there by the socket of `outlet`, if there is one.
    pub(crate) fn at_hand(&self, range: &Range<u64>, outlet: Option<&Outlet>) -> Option<Bytes> {
        let Source::Memory(kept) = &self.source else { return None };
        let range = usize::try_from(range.start).ok()?..usize::try_from(range.end).ok()?;
        let few = range.start <= range.end && range.len() <= PIECE && range.end <= kept.bytes().len();
        few.then(|| kept.lend(range, outlet))
    }

    /// Exactly the bytes of `range`, in pieces.
    ///
    /// # Errors
    /// In the stream, and then it ends: [`Reason::OutOfRange`] before any byte if the range goes beyond
    /// [`size`](Self::size), [`Reason::DataLoss`] where bytes are missing, [`Reason::Unavailable`].
    pub fn stream(&self, range: Range<u64>) -> BoxStream<'static, Result<Bytes>> {
        self.send(range, PIECE, None)
    }

    /// As [`stream`](Self::stream), in pieces of at most `piece` bytes, to be sent from its file by the socket of `outlet`, if
    /// there is one, and to be read by nobody else.
    pub(crate) fn send(
        &self,
        range: Range<u64>,
        piece: usize,
        outlet: Option<&Outlet>,
    ) -> BoxStream<'static, Result<Bytes>> {
        if range.start > range.end || range.end > self.size {
            let message = format!("the image has {} bytes: bytes {range:?} are not all in it", self.size);
            return stream::iter([Err(Error::new(Reason::OutOfRange, message))]).boxed();
        }
        if range.is_empty() {
            return stream::empty().boxed();
        }
        let len = range.end - range.start;
        let bytes = match &self.source {
            Source::File(file) => match outlet {
                Some(outlet) => lent(file.clone(), range, piece as u64, outlet.clone()).left_stream(),
                None => pieces(file.clone(), range).right_stream(),
            }
            .map_err(|error| told_io(error, Doing::Reading))
            .boxed(),
            // Ranges were checked against `size`, which is the length of these bytes.
            Source::Memory(kept) => {
                let bytes = kept.bytes().slice(range.start as usize..range.end as usize);
                return stream::iter(in_pieces(bytes, piece).map(Ok)).boxed();
            }
            Source::Cloud(objects, path) => ranged(objects.clone(), path.clone(), range, piece),
        };
        exactly(bytes, len)
    }

    /// A blocking reader of the blob, for use within [`tokio::task::spawn_blocking`].
    ///
    /// # Panics
    /// For a blob in a cloud, outside of a runtime.
    pub fn reader(&self) -> BlobReader {
        let source: Box<dyn ReadSeek> = match &self.source {
            Source::File(file) => Box::new(FileReader::new(file.clone())),
            Source::Memory(kept) => Box::new(Cursor::new(kept.bytes().clone())),
            Source::Cloud(objects, path) => Box::new(CloudReader {
                objects: objects.clone(),
                path: path.clone(),
                size: self.size,
                position: 0,
                runtime: Handle::current(),
            }),
        };
        BufReader::with_capacity(WINDOW, source)
    }
}

/// The bytes that were read lately.
fn remembered(store: &Inner, key: &StorageKey) -> Option<Source> {
    let (kept, stays) = store.small.get(key.as_str())?;
    // Those that stay are together then, and the memory around them can be free.
    Some(if stays { remember(store, key, store.shelf.renew(kept)) } else { Source::Memory(kept) })
}

/// Keeps the bytes for who comes next.
fn remember(store: &Inner, key: &StorageKey, bytes: Shelved) -> Source {
    store.small.keep(key.as_str(), bytes.clone(), SMALL_WEIGHT + bytes.bytes().len() as u64);
    Source::Memory(bytes)
}

/// The file that was opened lately, if it still has a name and all of its bytes.
fn opened(store: &Inner, key: &StorageKey, size: u64) -> Option<Source> {
    let (file, _) = store.files.get(key.as_str())?;
    if file.len() == size && file.is_whole() {
        return Some(Source::File(file));
    }
    let gone = (store.files.forget(key.as_str()), file);
    // To close a file that was removed takes a while.
    tokio::task::spawn_blocking(|| drop(gone));
    None
}

/// The bytes of `range` by requests of their own: the first for little, so that it answers soon, and the next two always on
/// their way.
fn ranged(
    objects: Arc<dyn ObjectStore>,
    path: Path,
    range: Range<u64>,
    piece: usize,
) -> BoxStream<'static, Result<Bytes>> {
    stream::iter(windows(range))
        .map(move |window| {
            let (objects, path) = (objects.clone(), path.clone());
            async move {
                let bytes = match objects.get_range(&path, window.clone()).await {
                    Ok(bytes) => bytes,
                    Err(error @ StoreError::NotFound { .. }) => return Err(data_loss().caused_by(error)),
                    Err(error) => return Err(told(error, Doing::Reading)),
                };
                if bytes.len() as u64 != window.end - window.start {
                    return Err(data_loss().caused_by(format!("bytes {window:?} of {path} are {}", bytes.len())));
                }
                Ok(bytes)
            }
        })
        .buffered(CLOUD_WIDTH)
        .map_ok(move |bytes| stream::iter(in_pieces(bytes, piece).map(Ok)))
        .try_flatten()
        .boxed()
}

/// Windows of a range, each four times the one before, up to [`CLOUD_WINDOW`].
fn windows(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let (mut start, mut len) = (range.start, FIRST_CLOUD_WINDOW);
    std::iter::from_fn(move || {
        let window = start..range.end.min(start.saturating_add(len));
        (start, len) = (window.end, CLOUD_WINDOW.min(4 * len));
        (!window.is_empty()).then_some(window)
    })
}

/// The bytes in pieces of at most so many.
fn in_pieces(mut left: Bytes, piece: usize) -> impl Iterator<Item = Bytes> {
    std::iter::from_fn(move || (!left.is_empty()).then(|| left.split_to(left.len().min(piece))))
}

/// Holds a stream to its length: fewer bytes are an error, further ones are not passed on, an error is the end.
fn exactly(bytes: BoxStream<'static, Result<Bytes>>, len: u64) -> BoxStream<'static, Result<Bytes>> {
    stream::try_unfold((bytes, len), |(mut bytes, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(piece) = bytes.next().await else {
            return Err(data_loss());
        };
        let mut piece = piece?;
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - piece.len() as u64;
        Ok(Some((piece, (bytes, left))))
    })
    .boxed()
}

/// What a parser of images reads: buffered, seekable, blocking.
pub type BlobReader = BufReader<Box<dyn ReadSeek>>;

/// A source one can seek in.
pub trait ReadSeek: Read + Seek + Send {}

impl<T: Read + Seek + Send> ReadSeek for T {}

struct CloudReader {
    objects: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    position: u64,
    runtime: Handle,
}

impl Read for CloudReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let end = self.size.min(self.position.saturating_add(buffer.len() as u64));
        if self.position >= end {
            return Ok(0);
        }
        let bytes = self.runtime.block_on(self.objects.get_range(&self.path, self.position..end))?;
        let count = bytes.len().min(buffer.len());
        buffer[..count].copy_from_slice(&bytes[..count]);
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for CloudReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.size.checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_the_range_once() {
        for range in [0..0, 5..6, 3..FIRST_CLOUD_WINDOW + 3, 7..FIRST_CLOUD_WINDOW + 8, 1..100 << 20] {
            let all: Vec<_> = windows(range.clone()).collect();
            assert!(all.iter().all(|window| !window.is_empty() && window.end - window.start <= CLOUD_WINDOW));
            assert!(all.windows(2).all(|pair| pair[0].end == pair[1].start));
            let ends = all.first().zip(all.last()).map(|(first, last)| first.start..last.end);
            assert_eq!(ends.unwrap_or(0..0), range);
        }
    }
}
