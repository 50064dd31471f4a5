//! Bytes that stay in memory for a while, in memory that is a file too: a socket can send them from where they are.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};

use super::SharedFile;
use super::mapping::Mapping;
use super::outlet::{Claim, Origin, Outlet};

/// Bytes of one board. Its memory is free again once nothing of it is used any more.
const BOARD: usize = 1 << 20;
/// So many boards there are at most, and so many open files. Where few of its bytes stay for long, a board stays for them.
const BOARDS: usize = 32;
/// Of fewer bytes a copy is sent sooner.
const WORTH_SHELVING: usize = 8 << 10;
/// Where bytes begin: a socket refers to pages, and to no more of them than it has to.
const ALIGNED: usize = 4 << 10;

/// Memory for bytes that stay.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    /// The last board, which may have room still.
    last: Mutex<Option<Board>>,
    /// As often as there are boards, and once more.
    boards: Arc<()>,
}

/// Bytes in memory, which may be in a file too.
#[derive(Debug, Clone)]
pub(crate) struct Shelved(Claim);

#[derive(Debug)]
struct Board {
    memory: Arc<Memory>,
    used: usize,
}

#[derive(Debug)]
struct Memory {
    map: Mapping,
    origin: Arc<Origin>,
    _counted: Arc<()>,
}

impl Shelf {
    /// Copies these bytes to a board. Few stay as they are, as do those for which there is no board.
    pub(crate) fn keep(&self, bytes: Bytes) -> Shelved {
        self.copy(&bytes).unwrap_or_else(|| bytes.into())
    }

    /// Copies them to the last board, if there is room: then those that stay are together.
    pub(crate) fn renew(&self, shelved: Shelved) -> Shelved {
        self.copy(shelved.bytes()).unwrap_or(shelved)
    }

    fn copy(&self, bytes: &Bytes) -> Option<Shelved> {
        if !(WORTH_SHELVING..=BOARD).contains(&bytes.len()) {
            return None;
        }
        let (memory, start) = self.reserve(bytes.len())?;
        // Nobody else has this part: nobody reads there before it is written whole, nor writes afterwards.
        memory.origin.file.write_all_at(bytes, start as u64).ok()?;
        let file = Some((Arc::clone(&memory.origin), start as u64));
        let part = Part { memory, range: start..start + bytes.len() };
        Some(Shelved(Claim { bytes: Bytes::from_owner(part), file }))
    }

    /// A part of a board, once and for all.
    fn reserve(&self, len: usize) -> Option<(Arc<Memory>, usize)> {
        // Whatever panicked, what is reserved counts as used.
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.as_ref().is_none_or(|board| board.used + len > BOARD) {
            // One that nobody uses goes before the next one comes.
            *last = None;
            *last = self.board();
        }
        let board = last.as_mut()?;
        let start = board.used;
        board.used = (start + len).next_multiple_of(ALIGNED);
        Some((Arc::clone(&board.memory), start))
    }

    /// A new board, if there are not too many and the system has one.
    fn board(&self) -> Option<Board> {
        let counted = Arc::clone(&self.boards);
        if Arc::strong_count(&counted) > BOARDS + 1 {
            return None;
        }
        Some(Board { memory: Arc::new(Memory::new(counted).ok()?), used: 0 })
    }
}

impl Memory {
    fn new(counted: Arc<()>) -> io::Result<Self> {
        let file = sealed(BOARD)?;
        let map = Mapping::of_file(&file, BOARD)?;
        let origin = Arc::new(Origin::new(Arc::new(SharedFile::new(file, BOARD as u64))));
        Ok(Self { map, origin, _counted: counted })
    }
}

/// A file in memory, without a name, that always has so many bytes.
fn sealed(len: usize) -> io::Result<File> {
    let file = File::from(memfd_create("images", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?);
    file.set_len(len as u64)?;
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
    Ok(file)
}

impl From<Bytes> for Shelved {
    fn from(bytes: Bytes) -> Self {
        Self(bytes.into())
    }
}

impl Shelved {
    /// All of them.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Those of `range`, which is one of theirs; for the socket of `outlet` to send from where they are, if there is one.
    pub(crate) fn lend(&self, range: Range<usize>, outlet: Option<&Outlet>) -> Bytes {
        match (&self.0.file, outlet) {
            (Some((origin, offset)), Some(outlet)) if range.len() >= WORTH_SHELVING => {
                outlet.lend_map(self.0.bytes.slice(range.clone()), Arc::clone(origin), offset + range.start as u64)
            }
            _ => self.0.bytes.slice(range),
        }
    }
}

/// Bytes of a board.
struct Part {
    memory: Arc<Memory>,
    range: Range<usize>,
}

impl AsRef<[u8]> for Part {
    #[allow(unsafe_code)]
    fn as_ref(&self) -> &[u8] {
        let Range { start, end } = self.range;
        // SAFETY: a range of the map, which lives as long as `memory`. It was written before, and is not again; the file, which
        // nobody else has, is sealed and keeps its length.
        unsafe { std::slice::from_raw_parts(self.memory.map.base().add(start), end - start) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize, seed: usize) -> Bytes {
        (0..len).map(|at| ((at + seed) % 251) as u8).collect()
    }

    /// What the file has where the bytes are said to be.
    fn in_file(shelved: &Shelved) -> Option<Vec<u8>> {
        let (origin, offset) = shelved.0.file.as_ref()?;
        let mut read = vec![0; shelved.bytes().len()];
        origin.file.read_exact_at(&mut read, *offset).unwrap();
        Some(read)
    }

    #[test]
    fn bytes_are_in_memory_and_in_a_file() {
        let shelf = Shelf::default();
        let lens = [0, 1, WORTH_SHELVING - 1, WORTH_SHELVING, 20_000, 64 << 10, BOARD - 1, BOARD, BOARD + 1, 12 << 10];
        let all: Vec<_> = lens.into_iter().map(|len| (bytes(len, len), shelf.keep(bytes(len, len)))).collect();
        for (bytes, shelved) in all {
            assert_eq!(shelved.bytes(), &bytes);
            let expected = (WORTH_SHELVING..=BOARD).contains(&bytes.len()).then(|| bytes.to_vec());
            assert!(in_file(&shelved) == expected, "{}", bytes.len());
        }
    }

    #[test]
    fn any_part_is_lent_from_where_it_is() {
        let shelf = Shelf::default();
        let outlet = Outlet::default();
        shelf.keep(bytes(WORTH_SHELVING, 0));
        let shelved = shelf.keep(bytes(20_000, 1));
        let lent = shelved.lend(3..19_000, Some(&outlet));
        let (_, offset) = outlet.file_of(&lent[5..6]).unwrap();
        assert_eq!((&lent[..], offset), (&bytes(20_000, 1)[3..19_000], (WORTH_SHELVING + 8) as u64));
        drop(shelf);
        let few = shelved.lend(0..WORTH_SHELVING - 1, Some(&outlet));
        assert!(few == bytes(WORTH_SHELVING - 1, 1) && outlet.file_of(&few).is_none());
        let plain = Shelved::from(bytes(20_000, 1)).lend(3..19_000, Some(&outlet));
        assert!(plain == lent && outlet.file_of(&plain).is_none());
    }

    #[test]
    fn boards_are_bounded_and_go_with_what_is_on_them() {
        let shelf = Shelf::default();
        let boards = || Arc::strong_count(&shelf.boards) - 1;
        let mut stay: Vec<_> = (0..BOARDS).map(|number| shelf.keep(bytes(BOARD, number))).collect();
        assert_eq!(boards(), BOARDS);
        let plain = shelf.keep(bytes(20_000, 7));
        assert!(in_file(&plain).is_none() && plain.bytes() == &bytes(20_000, 7));
        stay.truncate(1);
        let again = shelf.keep(bytes(20_000, 8));
        assert_eq!(in_file(&again).unwrap(), bytes(20_000, 8));
        assert_eq!((boards(), in_file(&stay[0]).unwrap()), (2, bytes(BOARD, 0).to_vec()));
        drop(again);
        // Nothing uses the last one, which is written on.
        assert_eq!((boards(), in_file(&shelf.keep(bytes(BOARD - 20_480, 9))).is_some()), (2, true));
        shelf.keep(bytes(WORTH_SHELVING, 9));
        assert_eq!(boards(), 2);
    }

    #[test]
    fn what_stays_leaves_the_board_of_what_went() {
        let shelf = Shelf::default();
        let place = |shelved: &Shelved| shelved.0.file.as_ref().map(|(origin, offset)| (Arc::as_ptr(origin), *offset));
        let mut stays = shelf.keep(bytes(20_000, 1));
        for number in 0..200 {
            let before = place(&stays);
            stays = shelf.renew(stays);
            assert!(place(&stays) != before && stays.bytes() == &bytes(20_000, 1));
            shelf.keep(bytes(BOARD / 2, number));
            assert!(Arc::strong_count(&shelf.boards) <= 3);
        }
        let _others: Vec<_> = (0..BOARDS).map(|number| shelf.keep(bytes(BOARD, number))).collect();
        let before = place(&stays);
        assert!(place(&shelf.renew(stays)) == before && before.is_some(), "there is no room");
        let few = bytes(100, 3);
        assert_eq!(shelf.renew(few.clone().into()).bytes().as_ptr(), few.as_ptr());
    }

    #[test]
    fn a_board_cannot_be_cut_off() {
        let file = sealed(BOARD).unwrap();
        assert_eq!(file.set_len(0).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        assert_eq!(file.metadata().unwrap().len(), BOARD as u64);
    }
}
