//! Files mapped for the kernel alone to read, which gives their bytes an address; and kept while nobody uses them.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::ptr::{self, NonNull};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::task;

/// Maps that nobody uses: to make one anew, and look its pages up, costs more than keeping it.
static IDLE: Idle = Idle::new();
/// So many are kept, of files of so many bytes together: each takes address space and an open file.
const IDLE_MAPS: usize = 16;
const IDLE_BYTES: usize = 1 << 30;

/// All bytes of a file, up to `end` at least, for the kernel alone to read.
///
/// # Errors
/// [`io::ErrorKind::UnexpectedEof`] if the file is shorter.
pub(super) fn lease(file: &Arc<File>, end: u64) -> io::Result<Bytes> {
    IDLE.lease(file, end)
}

/// Unmaps files that were removed: until then their space is not free, and freeing it takes a while.
pub(crate) async fn forget_removed() {
    // It ends, and nobody needs to know how.
    let _ = task::spawn_blocking(|| IDLE.forget_removed()).await;
}

/// The last used is the last.
struct Idle(Mutex<Vec<Map>>);

impl Idle {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn maps(&self) -> MutexGuard<'_, Vec<Map>> {
        // Whatever panicked, a list of maps is never left half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lease(&'static self, file: &Arc<File>, end: u64) -> io::Result<Bytes> {
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
        Ok(Bytes::from_owner(Leased { map: Some(map), idle: self }))
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
    idle: &'static Idle,
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
    use super::super::file::tests::file_of;
    use super::*;

    #[test]
    fn a_map_is_used_again_and_by_one_at_a_time() {
        let (file, bytes) = file_of(100_000);
        static MAPS: Idle = Idle::new();
        let lease = || MAPS.lease(&Arc::new(file.reopen().unwrap()), 100_000).unwrap();
        let (one, two) = (lease(), lease());
        assert_eq!((&one[..], &two[..]), (&bytes[..], &bytes[..]));
        assert_ne!(one.as_ptr(), two.as_ptr());
        let (at, part) = (one.as_ptr(), one.slice(5..9));
        drop(one);
        assert_ne!(lease().as_ptr(), at, "a part of it is still used");
        assert_eq!(MAPS.maps().len(), 1);
        drop(part);
        for _ in 0..2 {
            assert_eq!(lease().as_ptr(), at);
        }
        let (other, _) = file_of(100_000);
        assert_ne!(MAPS.lease(&Arc::new(other.reopen().unwrap()), 100_000).unwrap().as_ptr(), at);
        drop(two);
        assert_eq!(MAPS.maps().len(), 4);
    }

    #[test]
    fn a_file_of_another_length_is_mapped_anew() {
        let (file, _) = file_of(100_000);
        static MAPS: Idle = Idle::new();
        let lease = |end| MAPS.lease(&Arc::new(file.reopen().unwrap()), end);
        drop(lease(100_000).unwrap());
        file.as_file().set_len(200_000).unwrap();
        assert_eq!(lease(200_000).unwrap().len(), 200_000);
        file.as_file().set_len(10).unwrap();
        assert_eq!(lease(100_000).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn maps_are_few_and_of_files_that_are_there() {
        static MAPS: Idle = Idle::new();
        let lease = |file: &tempfile::NamedTempFile| MAPS.lease(&Arc::new(file.reopen().unwrap()), 5000).unwrap();
        let mut files: Vec<_> = (0..IDLE_MAPS + 3).map(|_| file_of(5000).0).collect();
        let keys = || MAPS.maps().iter().map(|map| map.key).collect::<Vec<_>>();
        for file in &files {
            drop(lease(file));
        }
        let key = |file: &tempfile::NamedTempFile| {
            let metadata = file.as_file().metadata().unwrap();
            (metadata.dev(), metadata.ino())
        };
        assert_eq!(keys(), files[3..].iter().map(key).collect::<Vec<_>>(), "the last used");
        let used = lease(&files[10]);
        let left: Vec<_> = files[15..].iter().map(key).collect();
        files.drain(..15);
        MAPS.forget_removed();
        assert_eq!(keys(), left);
        drop(used);
        assert_eq!(keys(), left);
    }
}
