//! Files mapped for bytes that the kernel alone will read: the map gives them an address, by which a socket finds them in the
//! file, and sends them from there or has the kernel read them.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt as _;
use std::ptr::{self, NonNull};
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::task;

use super::file;
use super::outlet::{Origin, Outlet};

/// So far ahead it is looked whether the file is cached.
const AHEAD: u64 = 4 << 20;
/// Bytes given at most where it is not: they are read first.
const COLD_PIECE: u64 = 1 << 20;
/// Fewer bytes are read and not mapped.
const WORTH_MAPPING: u64 = 64 << 10;

/// The bytes of `range` in pieces of at most `piece` bytes, lent at `outlet`, for a socket whose bytes the kernel alone reads.
///
/// A file that ends before the range does gives [`io::ErrorKind::UnexpectedEof`], as one does that was cut off after its bytes
/// were given and before they were sent; an error ends the stream. After the last piece, sending fails instead.
pub(crate) fn lent(
    file: Arc<File>,
    range: Range<u64>,
    piece: u64,
    outlet: Outlet,
) -> impl Stream<Item = io::Result<Bytes>> + Send {
    let state = Lending { origin: Arc::new(Origin::new(file)), range, piece, map: None, cached: 0, outlet };
    stream::try_unfold(state, |mut state| async move { Ok(state.next().await?.map(|piece| (piece, state))) })
}

struct Lending {
    origin: Arc<Origin>,
    /// What was not given yet.
    range: Range<u64>,
    piece: u64,
    /// What is mapped and not given yet.
    map: Option<Bytes>,
    /// Up to here the kernel had the file in its cache.
    cached: u64,
    outlet: Outlet,
}

impl Lending {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Range { start, end: whole } = self.range;
        if start >= whole {
            return Ok(None);
        }
        let reads = self.outlet.is_swift() || self.map.is_none() && whole - start < WORTH_MAPPING;
        let mut end = whole.min(start + if reads { file::PIECE } else { self.piece });
        let origin = &self.origin;
        if !reads {
            if origin.reach()? < end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            if end > self.cached && file::is_cached(&origin.file, &(start..whole.min(start + AHEAD))) {
                self.cached = start + AHEAD;
            }
            if end > self.cached {
                end = end.min(start + COLD_PIECE);
                if !file::is_cached(&origin.file, &(start..end)) {
                    let file = Arc::clone(&origin.file);
                    task::spawn_blocking(move || file::warm(&file, start..end)).await.map_err(io::Error::other)??;
                }
            }
        }
        self.range.start = end;
        let sound = if end == whole { origin.end() } else { !origin.is_damaged() };
        if !sound {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if reads {
            self.map = None;
            return file::read(&origin.file, start..end).await.map(Some);
        }
        let mut rest = match self.map.take() {
            Some(rest) => rest,
            None => {
                // The map has so many bytes.
                let bytes = IDLE.lease(&origin.file, whole)?.slice(start as usize..whole as usize);
                self.outlet.lend_map(bytes, Arc::clone(origin), start)
            }
        };
        // No more than `piece`.
        let piece = rest.split_to((end - start) as usize);
        self.map = Some(rest).filter(|rest| !rest.is_empty());
        Ok(Some(piece))
    }
}

/// Maps that nobody uses: to make one anew, and look its pages up, costs more than keeping it.
static IDLE: LazyLock<Arc<Idle>> = LazyLock::new(Arc::default);
/// So many are kept, of files of so many bytes together: each takes address space and an open file.
const IDLE_MAPS: usize = 16;
const IDLE_BYTES: usize = 1 << 30;

/// Unmaps files that were removed: until then their space is not free, and freeing it takes a while.
pub(crate) async fn forget_removed() {
    // It ends, and nobody needs to know how.
    let _ = task::spawn_blocking(|| IDLE.forget_removed()).await;
}

/// The last used is the last.
#[derive(Default)]
struct Idle(Mutex<Vec<Map>>);

impl Idle {
    fn maps(&self) -> MutexGuard<'_, Vec<Map>> {
        // Whatever panicked, a list of maps is never left half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A map of the file up to `end` at least.
    fn lease(self: &Arc<Self>, file: &Arc<File>, end: u64) -> io::Result<Bytes> {
        let metadata = file.metadata()?;
        if metadata.len() < end {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(metadata.len()).map_err(io::Error::other)?;
        let key = (metadata.dev(), metadata.ino());
        let used = {
            let mut maps = self.maps();
            let at = maps.iter().rposition(|map| map.key == key && map.len == len);
            at.map(|at| maps.remove(at))
        };
        let map = used.map_or_else(|| Map::new(file, key, len), Ok)?;
        Ok(Bytes::from_owner(Leased { map: Some(map), idle: Arc::clone(self) }))
    }

    fn give_back(&self, map: Map) {
        if map.len > IDLE_BYTES {
            return;
        }
        let mut maps = self.maps();
        // Asked here: who removes the file looks for its maps next.
        if map.is_removed() {
            return;
        }
        maps.push(map);
        let mut bytes = 0;
        let kept = maps.iter().rev().take(IDLE_MAPS).take_while(|map| {
            bytes += map.len;
            bytes <= IDLE_BYTES
        });
        let surplus = maps.len() - kept.count();
        let surplus: Vec<Map> = maps.drain(..surplus).collect();
        drop(maps);
        drop(surplus);
    }

    fn forget_removed(&self) {
        let removed: Vec<Map> = self.maps().extract_if(.., |map| map.is_removed()).collect();
        drop(removed);
    }
}

/// All of an open file in memory, to be looked at by the kernel alone: to read it here when the file was cut off is SIGBUS.
struct Map {
    base: NonNull<libc::c_void>,
    len: usize,
    /// What the system knows the file by, for as long as it is open.
    key: (u64, u64),
    file: Arc<File>,
}

// SAFETY: a `Map` is an address that stays good until it is dropped, which any thread may do.
#[allow(unsafe_code)]
unsafe impl Send for Map {}

impl Map {
    /// All of a file of `len` bytes, which are not none.
    #[allow(unsafe_code)]
    fn new(file: &Arc<File>, key: (u64, u64), len: usize) -> io::Result<Self> {
        use std::os::fd::AsRawFd as _;
        // SAFETY: a new map, at an address of the kernel's choosing, overlaps nothing; its result is checked.
        let base = unsafe { libc::mmap(ptr::null_mut(), len, libc::PROT_READ, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?, len, key, file: Arc::clone(file) })
    }

    /// Whether the file has no name any more.
    fn is_removed(&self) -> bool {
        !self.file.metadata().is_ok_and(|metadata| metadata.nlink() > 0)
    }
}

impl Drop for Map {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: this very map was made by `new`, is unmapped once, and no slice of it outlives `self`.
        unsafe {
            libc::munmap(self.base.as_ptr(), self.len);
        }
    }
}

/// A map that one download uses: what is at its addresses is known by them.
struct Leased {
    map: Option<Map>,
    idle: Arc<Idle>,
}

impl AsRef<[u8]> for Leased {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        let Some(map) = &self.map else { return &[] };
        // SAFETY: `len` bytes from `base` on are mapped for reading until `map` is dropped, which is not before `self`. Blobs
        // never change once they are written. What comes of this goes to an `Outlet`, in whose requests nothing but the
        // kernel reads it, which answers an error where the file was cut off: HTTP/1.1 passes it on whole, and HTTP/2 gets
        // it as a `Payload`, which shows copies.
        unsafe { std::slice::from_raw_parts(map.base.as_ptr().cast::<u8>(), map.len) }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(map) = self.map.take() {
            self.idle.give_back(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _};

    use super::super::file::tests::file_of;
    use super::*;

    const PIECE: u64 = 1 << 20;

    #[tokio::test]
    async fn every_range_is_exact_and_of_the_file() {
        let (file, bytes) = file_of(2 * PIECE + WORTH_MAPPING + 17);
        let len = bytes.len() as u64;
        for range in [0..len, 0..0, 5..6, PIECE - 1..PIECE + 1, 4097..len - 1, 3..2 * PIECE + 3, 65535..131_072] {
            let outlet = Outlet::default();
            let file = Arc::new(file.reopen().unwrap());
            let got: Vec<Bytes> = lent(file, range.clone(), PIECE, outlet.clone()).try_collect().await.unwrap();
            assert_eq!(got.concat(), bytes[range.start as usize..range.end as usize], "{range:?}");
            let mut at = range.start;
            for piece in &got {
                let claim = outlet.claim(piece);
                let offset = claim.and_then(|claim| claim.file).map(|(_, offset)| offset);
                let mapped = range.end - range.start >= WORTH_MAPPING && piece.len() >= 4096;
                assert_eq!(offset, mapped.then_some(at), "{range:?}");
                at += piece.len() as u64;
            }
        }
    }

    #[tokio::test]
    async fn a_file_that_shrank_is_an_error_and_then_the_end() {
        for left in [0, PIECE + 5, 3 * PIECE - 1] {
            let (file, bytes) = file_of(3 * PIECE);
            file.as_file().set_len(left).unwrap();
            let file = Arc::new(file.reopen().unwrap());
            let got: Vec<_> = lent(file, 0..bytes.len() as u64, PIECE, Outlet::default()).collect().await;
            let (last, before) = got.split_last().unwrap();
            assert_eq!(last.as_ref().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            let given: usize = before.iter().map(|piece| piece.as_ref().unwrap().len()).sum();
            assert!(given as u64 <= left, "{given} of {left}");
        }
    }

    #[test]
    fn a_map_is_used_again_and_by_one_at_a_time() {
        let (file, bytes) = file_of(100_000);
        let idle = Arc::new(Idle::default());
        let lease = || idle.lease(&Arc::new(file.reopen().unwrap()), 100_000).unwrap();
        let (one, two) = (lease(), lease());
        assert_eq!((&one[..], &two[..]), (&bytes[..], &bytes[..]));
        assert_ne!(one.as_ptr(), two.as_ptr());
        let (at, part) = (one.as_ptr(), one.slice(5..9));
        drop(one);
        assert_ne!(lease().as_ptr(), at, "a part of it is still used");
        assert_eq!(idle.maps().len(), 1);
        drop(part);
        for _ in 0..2 {
            assert_eq!(lease().as_ptr(), at);
        }
        let (other, _) = file_of(100_000);
        assert_ne!(idle.lease(&Arc::new(other.reopen().unwrap()), 100_000).unwrap().as_ptr(), at);
        drop(two);
        assert_eq!(idle.maps().len(), 4);
    }

    #[test]
    fn a_file_of_another_length_is_mapped_anew() {
        let (file, _) = file_of(100_000);
        let idle = Arc::new(Idle::default());
        let lease = |end| idle.lease(&Arc::new(file.reopen().unwrap()), end);
        drop(lease(100_000).unwrap());
        file.as_file().set_len(200_000).unwrap();
        assert_eq!(lease(200_000).unwrap().len(), 200_000);
        file.as_file().set_len(10).unwrap();
        assert_eq!(lease(100_000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn maps_are_few_and_of_files_that_are_there() {
        let idle = Arc::new(Idle::default());
        let lease = |file: &tempfile::NamedTempFile| idle.lease(&Arc::new(file.reopen().unwrap()), 5000).unwrap();
        let mut files: Vec<_> = (0..IDLE_MAPS + 3).map(|_| file_of(5000).0).collect();
        let keys = |idle: &Idle| idle.maps().iter().map(|map| map.key).collect::<Vec<_>>();
        for file in &files {
            drop(lease(file));
        }
        let key = |file: &tempfile::NamedTempFile| {
            let metadata = file.as_file().metadata().unwrap();
            (metadata.dev(), metadata.ino())
        };
        assert_eq!(keys(&idle), files[3..].iter().map(key).collect::<Vec<_>>(), "the last used");
        let used = lease(&files[10]);
        let left: Vec<_> = files[15..].iter().map(key).collect();
        files.drain(..15);
        idle.forget_removed();
        assert_eq!(keys(&idle), left);
        drop(used);
        assert_eq!(keys(&idle), left);
    }
}
