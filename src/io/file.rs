//! Positioned reads of an open file: a stream of large pieces for sending, a seekable reader for parsing.
//!
//! Positioned, so that any number of readers share one open file, which lives on when its name is gone.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::task;

use super::SharedFile;

/// Bytes read at a time: large enough that a hop to the blocking pool costs little beside the copy.
const PIECE: u64 = 256 * 1024;

/// The bytes of `range`, in pieces of at most [`PIECE`], each read when it is asked for.
///
/// A file that ends before the range does gives [`io::ErrorKind::UnexpectedEof`]; an error ends the stream.
pub(crate) fn pieces(
    file: Arc<SharedFile>,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    stream::try_unfold((file, range), |(file, range)| async move {
        let end = range.end.min(range.start.saturating_add(PIECE));
        if range.start >= end {
            return Ok(None);
        }
        let piece = read(&file, range.start..end).await?;
        Ok(Some((piece, (file, end..range.end))))
    })
}

/// All of `range`, which is small, or a [`PIECE`]: at once as far as the kernel has it in its cache, the rest on the blocking
/// pool.
pub(super) async fn read(file: &Arc<SharedFile>, range: Range<u64>) -> io::Result<Bytes> {
    let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut buffer = Buffer::of(len);
    let cached = read_cached(file, &mut buffer.0[..len], range.start);
    if cached < len {
        let file = Arc::clone(file);
        let filling = move || {
            fill(&file, &mut buffer.0[cached..len], range.start + cached as u64)?;
            Ok::<_, io::Error>(buffer)
        };
        buffer = task::spawn_blocking(filling).await.map_err(io::Error::other)??;
    }
    Ok(Bytes::from_owner(buffer).slice(..len))
}

/// What can be read without waiting for a disk, from the beginning of `space` on; how many bytes that are.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub(super) fn read_cached(file: &File, space: &mut [u8], offset: u64) -> usize {
    use std::os::fd::AsRawFd as _;
    let Ok(offset) = libc::off_t::try_from(offset) else { return 0 };
    let into = libc::iovec { iov_base: space.as_mut_ptr().cast(), iov_len: space.len() };
    // SAFETY: `into` is the only element and names `space`, which is borrowed for writing through the call.
    let count = unsafe { libc::preadv2(file.as_raw_fd(), &raw const into, 1, offset, libc::RWF_NOWAIT) };
    // File systems that cannot tell refuse.
    usize::try_from(count).unwrap_or(0)
}

/// Elsewhere nobody knows.
#[cfg(not(target_os = "linux"))]
fn read_cached(_file: &File, _space: &mut [u8], _offset: u64) -> usize {
    0
}

/// Brings `range` into the kernel's cache.
#[cfg(target_os = "linux")]
pub(super) fn warm(file: &File, range: Range<u64>) -> io::Result<()> {
    let mut buffer = Buffer::of(PIECE as usize);
    let mut start = range.start;
    while start < range.end {
        let count = (range.end - start).min(PIECE);
        fill(file, &mut buffer.0[..count as usize], start)?;
        start += count;
    }
    Ok(())
}

/// Reads all of `space`, or fails.
pub(super) fn fill(file: &File, space: &mut [u8], offset: u64) -> io::Result<()> {
    let mut filled = 0;
    while filled < space.len() {
        match read_at(file, &mut space[filled..], offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Memory to read into. The system clears new memory page by page, which takes longer than the reading: large buffers are
/// used again.
struct Buffer(Vec<u8>);

/// Large buffers that nobody uses.
static SPARE: Mutex<Vec<Vec<u8>>> = Mutex::new(Vec::new());
/// So many are kept.
const SPARES: usize = 8;

impl Buffer {
    /// Of at least `len` bytes, with anything in them.
    fn of(len: usize) -> Self {
        let large = PIECE as usize;
        if !(large / 2..=large).contains(&len) {
            return Self(vec![0; len]);
        }
        let spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Self(spare.unwrap_or_else(|| vec![0; large]))
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if self.0.len() == PIECE as usize {
            let mut spare = SPARE.lock().unwrap_or_else(PoisonError::into_inner);
            if spare.len() < SPARES {
                spare.push(std::mem::take(&mut self.0));
            }
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, offset)
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, offset)
}

/// A blocking reader with a position of its own over a shared open file.
#[derive(Debug)]
pub(crate) struct FileReader {
    file: Arc<SharedFile>,
    position: u64,
}

impl FileReader {
    /// A reader at the beginning of `file`.
    pub(crate) fn new(file: Arc<SharedFile>) -> Self {
        Self { file, position: 0 }
    }
}

impl Read for FileReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = read_at(&self.file, buffer, self.position)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl Seek for FileReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
            SeekFrom::End(by) => self.file.metadata()?.len().checked_add_signed(by),
        };
        self.position = position.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::Write as _;

    use futures::TryStreamExt as _;

    use super::*;

    pub(in crate::io) fn file_of(len: u64) -> (tempfile::NamedTempFile, Vec<u8>) {
        let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    /// The file as it is now.
    pub(in crate::io) fn shared(file: &tempfile::NamedTempFile) -> Arc<SharedFile> {
        let len = file.as_file().metadata().unwrap().len();
        Arc::new(SharedFile::new(file.reopen().unwrap(), len))
    }

    #[tokio::test]
    async fn every_range_is_exact() {
        let (file, bytes) = file_of(2 * PIECE + 17);
        let len = bytes.len() as u64;
        for range in [0..len, 0..0, 5..6, PIECE - 1..PIECE + 1, len - 1..len, 3..2 * PIECE + 3] {
            let file = shared(&file);
            let got: Vec<Bytes> = pieces(file, range.clone()).try_collect().await.unwrap();
            assert!(got.iter().all(|piece| !piece.is_empty() && piece.len() as u64 <= PIECE));
            assert_eq!(got.concat(), bytes[range.start as usize..range.end as usize], "{range:?}");
        }
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error_and_then_the_end() {
        let (file, bytes) = file_of(3 * PIECE);
        file.as_file().set_len(PIECE + 5).unwrap();
        let got: Vec<io::Result<Bytes>> =
            futures::StreamExt::collect::<Vec<_>>(pieces(shared(&file), 0..bytes.len() as u64)).await;
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].as_ref().unwrap().len() as u64, PIECE);
        assert_eq!(got[1].as_ref().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn readers_share_a_file_without_sharing_a_position() {
        let (file, bytes) = file_of(100);
        let file = shared(&file);
        let (mut one, mut two) = (FileReader::new(file.clone()), FileReader::new(file));
        one.seek(SeekFrom::End(-10)).unwrap();
        let (mut tail, mut whole) = (Vec::new(), Vec::new());
        one.read_to_end(&mut tail).unwrap();
        two.read_to_end(&mut whole).unwrap();
        assert_eq!((tail.as_slice(), whole), (&bytes[90..], bytes.clone()));
        assert!(one.seek(SeekFrom::Current(-101)).is_err());
    }
}
