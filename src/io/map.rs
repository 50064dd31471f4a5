//! Files mapped for the kernel alone to read, which gives their bytes an address; and kept while nobody uses them.

use std::io;
use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::SharedFile;
use super::mapping::Mapping;

/// Maps of one file that nobody uses and that are kept.
const SPARE_MAPS: usize = 8;
/// Bytes of all such maps: what of them was read from counts as memory of the process, though it is the kernel's cache.
const SPARE_BYTES: usize = 256 << 20;

/// Bytes that spare maps have now.
static SPARE: AtomicUsize = AtomicUsize::new(0);

/// All bytes of a file that is not empty, for the kernel alone to read: to read it here when the file was cut off is SIGBUS.
pub(super) fn lease(file: &Arc<SharedFile>) -> io::Result<Bytes> {
    let map = match file.spare.take() {
        Some(map) => map,
        None => Mapping::of_file(file, usize::try_from(file.len()).map_err(io::Error::other)?)?,
    };
    Ok(Bytes::from_owner(Leased { map: Some(map), file: Arc::clone(file) }))
}

/// Maps of a file that nobody uses: to make one anew, and look its pages up, costs more than keeping it.
#[derive(Debug, Default)]
pub(super) struct Spare(Mutex<Vec<Mapping>>);

impl Spare {
    fn maps(&self) -> MutexGuard<'_, Vec<Mapping>> {
        // Whatever panicked, a list of maps is never left half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<Mapping> {
        let map = self.maps().pop()?;
        SPARE.fetch_sub(map.len(), Ordering::Relaxed);
        Some(map)
    }

    /// Keeps the map, if there is room for it.
    fn give(&self, map: Mapping) {
        let mut maps = self.maps();
        let room = |bytes: usize| bytes.checked_add(map.len()).filter(|bytes| *bytes <= SPARE_BYTES);
        if maps.len() < SPARE_MAPS && SPARE.fetch_update(Ordering::Relaxed, Ordering::Relaxed, room).is_ok() {
            maps.push(map);
        }
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        let maps = mem::take(&mut *self.maps());
        SPARE.fetch_sub(maps.iter().map(Mapping::len).sum(), Ordering::Relaxed);
    }
}

/// A map that one download uses: what is at its addresses is known by them.
struct Leased {
    map: Option<Mapping>,
    file: Arc<SharedFile>,
}

impl AsRef<[u8]> for Leased {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        let Some(map) = &self.map else { return &[] };
        // SAFETY: so many bytes from there on are mapped for reading until `map` is dropped, which is not before `self`. Blobs
        // never change once they are written. What comes of this goes to an `Outlet`, in whose requests nothing but the
        // kernel reads it, which answers an error where the file was cut off: HTTP/1.1 passes it on whole, and HTTP/2 gets
        // it as a `Payload`, which shows copies.
        unsafe { std::slice::from_raw_parts(map.base(), map.len()) }
    }
}

impl Drop for Leased {
    fn drop(&mut self) {
        if let Some(map) = self.map.take() {
            self.file.spare.give(map);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::file::tests::{file_of, shared};
    use super::*;

    #[test]
    fn a_map_is_used_again_and_by_one_at_a_time() {
        let (file, bytes) = file_of(100_000);
        let file = shared(&file);
        let lease = || lease(&file).unwrap();
        let (one, two) = (lease(), lease());
        assert_eq!((&one[..], &two[..]), (&bytes[..], &bytes[..]));
        assert_ne!(one.as_ptr(), two.as_ptr());
        let (at, part) = (one.as_ptr(), one.slice(5..9));
        drop(one);
        assert_ne!(lease().as_ptr(), at, "a part of it is still used");
        assert_eq!(file.spare.maps().len(), 1);
        drop(part);
        for _ in 0..2 {
            assert_eq!(lease().as_ptr(), at);
        }
        drop(two);
        assert_eq!(file.spare.maps().len(), 3);
    }

    #[test]
    fn spare_maps_are_few_and_go_with_their_file() {
        let (file, _) = file_of(5000);
        let file = shared(&file);
        let all: Vec<_> = (0..SPARE_MAPS + 3).map(|_| lease(&file).unwrap()).collect();
        let last = all.last().unwrap().clone();
        drop(all);
        assert_eq!(file.spare.maps().len(), SPARE_MAPS);
        let used = Arc::downgrade(&file);
        drop(file);
        assert_eq!(last.len(), 5000);
        assert_eq!(used.strong_count(), 1, "the map that is used has its file");
        drop(last);
        assert_eq!(used.strong_count(), 0);
    }

    #[test]
    fn spare_maps_have_a_bound_of_bytes_too() {
        let (file, _) = file_of(0);
        for (len, kept) in [(SPARE_BYTES as u64 + 1, 0), (SPARE_BYTES as u64 / 2 + 1, 1)] {
            file.as_file().set_len(len).unwrap();
            let file = shared(&file);
            drop([lease(&file).unwrap(), lease(&file).unwrap()]);
            assert!(file.spare.maps().len() <= kept, "{len}");
        }
    }
}
