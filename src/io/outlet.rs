//! The bytes on their way to one socket, known by their address: who is given a slice of them can keep it uncopied.
//!
//! HTTP libraries hand slices to a socket and free what is behind them as soon as it has taken them. Bytes that were lent
//! here before can be claimed back from such a slice.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// Fewer bytes are copied sooner than kept.
pub(crate) const WORTH_KEEPING: usize = 2 << 10;

/// What is lent to one connection. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outlet(Arc<Mutex<Loans>>);

#[derive(Debug, Default)]
struct Loans {
    next: u64,
    all: Vec<(u64, Bytes)>,
    /// Where the last claim was found: a large piece is claimed frame by frame.
    last: usize,
}

impl Outlet {
    fn loans(&self) -> MutexGuard<'_, Loans> {
        // Whatever panicked, a list of bytes is never left half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same bytes, which can be claimed for as long as they, or any part of them, live.
    pub(crate) fn lend(&self, bytes: Bytes) -> Bytes {
        if bytes.len() < WORTH_KEEPING {
            return bytes;
        }
        let number = {
            let mut loans = self.loans();
            let number = loans.next;
            loans.next += 1;
            loans.all.push((number, bytes.clone()));
            number
        };
        Bytes::from_owner(Loan { outlet: self.clone(), number, bytes })
    }

    /// The owner of a slice of what is lent.
    pub(crate) fn claim(&self, slice: &[u8]) -> Option<Bytes> {
        if slice.len() < WORTH_KEEPING {
            return None;
        }
        let wanted = slice.as_ptr_range();
        let mut loans = self.loans();
        let holds = |(_, bytes): &(u64, Bytes)| {
            let has = bytes.as_ptr_range();
            has.start <= wanted.start && wanted.end <= has.end
        };
        let last = loans.last;
        if !loans.all.get(last).is_some_and(holds) {
            loans.last = loans.all.iter().position(holds)?;
        }
        let (_, bytes) = &loans.all[loans.last];
        Some(bytes.slice_ref(slice))
    }

    fn end(&self, number: u64) {
        let mut loans = self.loans();
        if let Some(at) = loans.all.iter().position(|(other, _)| *other == number) {
            let ended = loans.all.swap_remove(at);
            drop(loans);
            drop(ended);
        }
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

    #[test]
    fn only_what_is_lent_is_claimed() {
        let outlet = Outlet::default();
        let mut lent = outlet.lend(large(1));
        assert_eq!(outlet.claim(&lent).unwrap().as_ptr(), lent.as_ptr());
        let end = lent.split_off(WORTH_KEEPING);
        drop(lent);
        assert_eq!(outlet.claim(&end).unwrap(), end);
        assert!(outlet.claim(&large(1)).is_none());
        assert!(Outlet::default().claim(&end).is_none());
        assert!(outlet.claim(&end[1..]).is_none(), "a little is copied");
    }

    #[test]
    fn a_loan_ends_with_its_last_slice_and_a_claim_outlives_it() {
        let outlet = Outlet::default();
        let (one, two) = (outlet.lend(large(1)), outlet.lend(large(2)));
        let kept = outlet.claim(&one).unwrap();
        let part = one.slice(WORTH_KEEPING..);
        drop(one);
        assert_eq!(outlet.loans().all.len(), 2);
        drop(part);
        assert_eq!(outlet.loans().all.len(), 1);
        assert_eq!((outlet.claim(&two), kept), (Some(large(2)), large(1)));
        drop(two);
        assert!(outlet.loans().all.is_empty());
    }

    #[test]
    fn the_same_bytes_can_be_lent_twice() {
        let outlet = Outlet::default();
        let bytes = large(7);
        let (one, two) = (outlet.lend(bytes.clone()), outlet.lend(bytes.slice(..WORTH_KEEPING)));
        drop(two);
        assert_eq!(outlet.claim(&one).unwrap(), bytes);
    }
}
