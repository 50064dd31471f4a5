//! Bytes of an answer as an HTTP library is given them: for the kernel they are where they are, and whoever looks at them
//! gets a copy of what is in a file.

use std::io::IoSlice;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};

use super::file;
use super::outlet::{Origin, Outlet};

/// Bytes that are copied at a time: HTTP/2 libraries copy what shares a frame's first 256 bytes.
const GLANCE: usize = 256;

/// Bytes that can be looked at although the kernel alone may read where they are.
#[derive(Debug)]
pub(crate) struct Payload {
    bytes: Bytes,
    mapped: Option<Mapped>,
}

#[derive(Debug)]
struct Mapped {
    outlet: Outlet,
    origin: Arc<Origin>,
    offset: u64,
    /// A copy of the first bytes, made when they are looked at.
    seen: OnceLock<Box<[u8]>>,
}

impl Payload {
    /// These bytes, which may be of a map that was lent at `outlet`.
    pub(crate) fn of(bytes: Bytes, outlet: Option<&Outlet>) -> Self {
        let mapped = outlet.and_then(|outlet| {
            let (origin, offset) = outlet.claim(&bytes)?.file?;
            Some(Mapped { outlet: outlet.clone(), origin, offset, seen: OnceLock::new() })
        });
        Self { bytes, mapped }
    }
}

impl Mapped {
    fn copy(&self, len: usize) -> Box<[u8]> {
        let mut copy = vec![0; len.min(GLANCE)].into_boxed_slice();
        // What nobody could tell the client any more ends the connection.
        if file::fill(&self.origin.file, &mut copy, self.offset).is_err() && !self.origin.damage() {
            self.outlet.give_up();
        }
        copy
    }
}

impl Buf for Payload {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        match &self.mapped {
            Some(mapped) if !self.bytes.is_empty() => mapped.seen.get_or_init(|| mapped.copy(self.bytes.len())),
            _ => &self.bytes,
        }
    }

    /// For a socket that claims each slice before it looks at it.
    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        match slices.first_mut() {
            Some(first) if !self.bytes.is_empty() => {
                *first = IoSlice::new(&self.bytes);
                1
            }
            _ => 0,
        }
    }

    fn advance(&mut self, count: usize) {
        self.bytes.advance(count);
        if let Some(mapped) = &mut self.mapped {
            mapped.offset += count as u64;
            mapped.seen.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::super::SharedFile;
    use super::*;

    /// Bytes lent as those of a file in which others are: who looks sees the file's.
    fn payload(outlet: &Outlet, len: usize) -> (Payload, Arc<Origin>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&(0..len).map(|at| (at % 251) as u8).collect::<Vec<_>>()).unwrap();
        let origin = Arc::new(Origin::new(Arc::new(SharedFile::new(file, len as u64))));
        let bytes = outlet.lend_map(vec![255; len].into(), Arc::clone(&origin), 0);
        (Payload::of(bytes, Some(outlet)), origin)
    }

    #[test]
    fn the_kernel_gets_the_map_and_others_a_copy() {
        let outlet = Outlet::default();
        let (mut payload, _) = payload(&outlet, 1000);
        payload.advance(300);
        assert_eq!(payload.chunk(), (300..556).map(|at| (at % 251) as u8).collect::<Vec<_>>());
        payload.advance(500);
        assert_eq!((payload.remaining(), payload.chunk().len(), payload.chunk()[0]), (200, 200, (800 % 251) as u8));
        {
            let mut slices = [IoSlice::new(&[]); 2];
            assert_eq!((payload.chunks_vectored(&mut slices), &slices[0][..]), (1, &[255; 200][..]));
        }
        payload.advance(200);
        assert_eq!((payload.chunk().len(), payload.chunks_vectored(&mut [IoSlice::new(&[])])), (0, 0));
    }

    #[test]
    fn what_is_missing_is_damage_or_the_end_of_the_connection() {
        for given in [false, true] {
            let outlet = Outlet::default();
            let (payload, origin) = payload(&outlet, 1000);
            assert!(!given || origin.end());
            origin.file.set_len(100).unwrap();
            assert_eq!(payload.chunk().len(), 256);
            assert_eq!((origin.is_damaged(), outlet.is_given_up()), (!given, given));
        }
    }

    #[test]
    fn what_is_in_memory_is_shown_as_it_is() {
        let bytes = Bytes::from(vec![7; 5000]);
        let payload = Payload::of(bytes.clone(), Some(&Outlet::default()));
        assert_eq!(payload.chunk().as_ptr(), bytes.as_ptr());
        assert_eq!(Payload::of(bytes, None).remaining(), 5000);
    }
}
