//! The bytes on their way to one socket, known by their address: who is given a slice of them can keep it uncopied, or send
//! the part of a file that it is.
//!
//! HTTP libraries hand slices to a socket and free what is behind them as soon as it has taken them. Bytes that were lent
//! here before can be claimed back from such a slice.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes};

use super::SharedFile;

/// Fewer bytes are copied sooner than kept.
pub(crate) const WORTH_KEEPING: usize = 2 << 10;

/// What is lent to one connection. Clones share it.
///
/// In a request's extensions it says that the kernel alone reads the answer's bytes: nothing encrypts them on their way.
/// Whoever encodes or compresses them takes it out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlet(Arc<Lent>);

#[derive(Debug, Default)]
struct Lent {
    loans: Mutex<Loans>,
    /// Something else was put in place of bytes, and nobody can tell the client any more.
    broken: AtomicBool,
}

#[derive(Debug, Default)]
struct Loans {
    next: u64,
    all: Vec<(u64, Claim)>,
    /// How many of them are maps.
    maps: usize,
    /// Where the last claim was found: a large piece is claimed frame by frame.
    last: usize,
}

/// Bytes and, if they are mapped, where in which file they are.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(super) bytes: Bytes,
    pub(super) file: Option<(Arc<Origin>, u64)>,
}

/// A file of which a range is lent piece by piece, and what became of it.
#[derive(Debug)]
pub(crate) struct Origin {
    pub(super) file: Arc<SharedFile>,
    state: AtomicU8,
}

/// More of the range will be asked for.
const OPEN: u8 = 0;
/// All of it has been given.
#[cfg(target_os = "linux")]
const GIVEN: u8 = 1;
/// Bytes that had been given were no longer there when they were to be sent.
const DAMAGED: u8 = 2;

impl Origin {
    #[cfg(target_os = "linux")]
    pub(super) fn new(file: Arc<SharedFile>) -> Self {
        Self { file, state: AtomicU8::new(OPEN) }
    }

    fn change(&self, to: u8) -> bool {
        let from = self.state.compare_exchange(OPEN, to, Ordering::AcqRel, Ordering::Acquire);
        from.is_ok() || from == Err(to)
    }

    /// The last piece is given; false if an earlier one was damaged.
    #[cfg(target_os = "linux")]
    pub(super) fn end(&self) -> bool {
        self.change(GIVEN)
    }

    /// A piece cannot be sent as it was given. False if it is too late for an error in place of the next one.
    pub(super) fn damage(&self) -> bool {
        self.change(DAMAGED)
    }

    #[cfg(target_os = "linux")]
    pub(super) fn is_damaged(&self) -> bool {
        self.state.load(Ordering::Acquire) == DAMAGED
    }

    /// Bytes that the file has now.
    pub(super) fn reach(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }
}

impl From<Bytes> for Claim {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, file: None }
    }
}

impl Claim {
    fn holds(&self, slice: &[u8]) -> bool {
        let (has, wanted) = (self.bytes.as_ptr_range(), slice.as_ptr_range());
        has.start <= wanted.start && wanted.end <= has.end
    }

    /// Leaves the first bytes out.
    pub(super) fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some((_, offset)) = &mut self.file {
            *offset += count as u64;
        }
    }

    /// The claim of a slice that it holds.
    fn of(&self, slice: &[u8]) -> Self {
        Self { bytes: self.bytes.slice_ref(slice), file: self.file_of(slice) }
    }

    /// Where in which file a slice is that it holds.
    fn file_of(&self, slice: &[u8]) -> Option<(Arc<Origin>, u64)> {
        let (origin, offset) = self.file.as_ref()?;
        let start = slice.as_ptr().addr() - self.bytes.as_ptr().addr();
        Some((Arc::clone(origin), offset + start as u64))
    }
}

impl Outlet {
    fn loans(&self) -> MutexGuard<'_, Loans> {
        // Whatever panicked, a list of bytes is never left half-written.
        self.0.loans.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the connection, before anything more is sent.
    pub(super) fn give_up(&self) {
        self.0.broken.store(true, Ordering::Release);
    }

    pub(super) fn is_given_up(&self) -> bool {
        self.0.broken.load(Ordering::Acquire)
    }

    /// The same bytes, which can be claimed for as long as they, or any part of them, live; and where in which file they are, if
    /// they are mapped.
    pub(super) fn lend(&self, bytes: Bytes) -> Claim {
        let file = self.file_of(&bytes);
        // A map is lent already, and only there; memory may be another's loan, which may end before this one.
        let stay = file.is_some() || bytes.len() < WORTH_KEEPING;
        Claim { bytes: if stay { bytes } else { self.enter(bytes.into()) }, file }
    }

    /// The same bytes, which are the map of a file from this offset on.
    #[cfg(target_os = "linux")]
    pub(super) fn lend_map(&self, bytes: Bytes, origin: Arc<Origin>, offset: u64) -> Bytes {
        self.enter(Claim { bytes, file: Some((origin, offset)) })
    }

    /// Where in which file a slice of what is lent is, if it is mapped.
    pub(super) fn file_of(&self, slice: &[u8]) -> Option<(Arc<Origin>, u64)> {
        self.loans().file_of(slice)
    }

    fn enter(&self, claim: Claim) -> Bytes {
        let bytes = claim.bytes.clone();
        let number = {
            let mut loans = self.loans();
            let number = loans.next;
            loans.next += 1;
            loans.maps += usize::from(claim.file.is_some());
            loans.all.push((number, claim));
            number
        };
        Bytes::from_owner(Loan { outlet: self.clone(), number, bytes })
    }

    /// The owner of a slice of what is lent. Of what is not mapped, a little is copied sooner.
    pub(crate) fn claim(&self, slice: &[u8]) -> Option<Claim> {
        let little = slice.len() < WORTH_KEEPING;
        let mut loans = self.loans();
        if little && loans.maps == 0 {
            return None;
        }
        let claim = loans.find(slice)?;
        (!little || claim.file.is_some()).then(|| claim.of(slice))
    }

    fn end(&self, number: u64) {
        let mut loans = self.loans();
        if let Some(at) = loans.all.iter().position(|(other, _)| *other == number) {
            let ended = loans.all.swap_remove(at);
            loans.maps -= usize::from(ended.1.file.is_some());
            drop(loans);
            drop(ended);
        }
    }
}

impl Loans {
    /// Where in which file a slice is, if it is mapped.
    fn file_of(&mut self, slice: &[u8]) -> Option<(Arc<Origin>, u64)> {
        if self.maps == 0 { None } else { self.find(slice)?.file_of(slice) }
    }

    fn find(&mut self, slice: &[u8]) -> Option<&Claim> {
        if !self.all.get(self.last).is_some_and(|(_, claim)| claim.holds(slice)) {
            self.last = self.all.iter().position(|(_, claim)| claim.holds(slice))?;
        }
        Some(&self.all[self.last].1)
    }
}

/// Ends with the last slice of the bytes.
struct Loan {
    outlet: Outlet,
    number: u64,
    bytes: Bytes,
}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        self.outlet.end(self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn large(byte: u8) -> Bytes {
        vec![byte; 2 * WORTH_KEEPING].into()
    }

    fn origin() -> Arc<Origin> {
        Arc::new(Origin::new(Arc::new(SharedFile::new(tempfile::tempfile().unwrap(), 0))))
    }

    fn claim(outlet: &Outlet, slice: &[u8]) -> Option<Bytes> {
        outlet.claim(slice).map(|claim| claim.bytes)
    }

    #[test]
    fn only_what_is_lent_is_claimed() {
        let outlet = Outlet::default();
        let mut lent = outlet.lend(large(1)).bytes;
        assert_eq!(claim(&outlet, &lent).unwrap().as_ptr(), lent.as_ptr());
        let end = lent.split_off(WORTH_KEEPING);
        drop(lent);
        assert_eq!(claim(&outlet, &end).unwrap(), end);
        assert!(claim(&outlet, &large(1)).is_none());
        assert!(claim(&Outlet::default(), &end).is_none());
        assert!(claim(&outlet, &end[1..]).is_none(), "a little is copied");
    }

    #[test]
    fn a_loan_ends_with_its_last_slice_and_a_claim_outlives_it() {
        let outlet = Outlet::default();
        let (one, two) = (outlet.lend(large(1)).bytes, outlet.lend(large(2)).bytes);
        let kept = claim(&outlet, &one).unwrap();
        let part = one.slice(WORTH_KEEPING..);
        drop(one);
        assert_eq!(outlet.loans().all.len(), 2);
        drop(part);
        assert_eq!(outlet.loans().all.len(), 1);
        assert_eq!((claim(&outlet, &two), kept), (Some(large(2)), large(1)));
        drop(two);
        assert!(outlet.loans().all.is_empty());
    }

    #[test]
    fn what_is_lent_twice_is_claimed_until_both_have_ended() {
        let outlet = Outlet::default();
        let bytes = large(7);
        let (one, two) = (outlet.lend(bytes.clone()).bytes, outlet.lend(bytes.clone()).bytes);
        drop(one);
        assert_eq!(claim(&outlet, &two).unwrap(), bytes);
        drop(two);
        assert!(claim(&outlet, &bytes).is_none());
    }

    #[test]
    fn a_map_is_lent_once() {
        let outlet = Outlet::default();
        let origin = origin();
        let lent = outlet.lend_map(large(3), origin, 1000);
        let Claim { bytes: again, file } = outlet.lend(lent.slice(WORTH_KEEPING..));
        assert_eq!((outlet.loans().all.len(), file.unwrap().1), (1, 1000 + WORTH_KEEPING as u64));
        drop(lent);
        assert_eq!(outlet.claim(&again).unwrap().file.unwrap().1, 1000 + WORTH_KEEPING as u64);
    }

    #[test]
    fn a_part_of_a_map_is_that_part_of_the_file() {
        let outlet = Outlet::default();
        let origin = origin();
        let mut lent = outlet.lend_map(large(3), origin, 1000);
        let rest = lent.split_off(50);
        let claim = outlet.claim(&rest).unwrap();
        assert_eq!((claim.bytes.len(), claim.file.unwrap().1), (2 * WORTH_KEEPING - 50, 1050));
        assert_eq!(outlet.claim(&rest[..1]).unwrap().file.unwrap().1, 1050, "of a map, never copied");
    }
}
