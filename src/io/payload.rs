//! Bytes of an answer as an HTTP library is given them: for the kernel they are where they are, and whoever looks at them
//! gets a copy of what is in a file.

use std::io::IoSlice;
use std::sync::{Arc, OnceLock};

use bytes::{Buf, Bytes};

use super::file;
use super::outlet::{Claim, Origin, Outlet, WORTH_KEEPING};

/// Bytes that are copied at a time: HTTP/2 libraries copy what shares a frame's first 256 bytes.
const GLANCE: usize = 256;

/// Bytes that can be looked at although the kernel alone may read where they are, and what goes before them.
#[derive(Debug, Default)]
pub(crate) struct Payload {
    front: Bytes,
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
    /// These bytes, lent at `outlet`.
    pub(crate) fn lent(bytes: Bytes, outlet: &Outlet) -> Self {
        let Claim { bytes, file } = outlet.lend(bytes);
        let mapped = file.map(|(origin, offset)| Mapped::new(outlet.clone(), origin, offset));
        Self { front: Bytes::new(), bytes, mapped }
    }

    /// Whether the kernel alone may read where they are.
    pub(crate) fn is_mapped(&self) -> bool {
        self.mapped.is_some()
    }

    /// Few bytes that are no map, which are copied sooner than sent by themselves.
    pub(crate) fn into_few(self) -> Result<Bytes, Self> {
        let few = self.mapped.is_none() && self.front.is_empty() && self.bytes.len() < WORTH_KEEPING;
        if few { Ok(self.bytes) } else { Err(self) }
    }

    /// The same with `front`, which is no map, before it.
    pub(crate) fn behind(self, front: Bytes) -> Self {
        debug_assert!(self.front.is_empty(), "one thing goes before it");
        Self { front, ..self }
    }

    /// Takes the first bytes out.
    pub(crate) fn split_to(&mut self, count: usize) -> Self {
        let front = self.front.split_to(count.min(self.front.len()));
        let count = count - front.len();
        let mapped = self.mapped.as_mut().filter(|_| count > 0).map(|mapped| mapped.split_to(count));
        Self { front, bytes: self.bytes.split_to(count), mapped }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Self {
        Self { front: Bytes::new(), bytes, mapped: None }
    }
}

impl Mapped {
    fn new(outlet: Outlet, origin: Arc<Origin>, offset: u64) -> Self {
        Self { outlet, origin, offset, seen: OnceLock::new() }
    }

    fn split_to(&mut self, count: usize) -> Self {
        let first = Self::new(self.outlet.clone(), Arc::clone(&self.origin), self.offset);
        self.advance(count);
        first
    }

    fn advance(&mut self, count: usize) {
        self.offset += count as u64;
        self.seen.take();
    }

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
        self.front.len() + self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        match &self.mapped {
            _ if !self.front.is_empty() => &self.front,
            Some(mapped) if !self.bytes.is_empty() => mapped.seen.get_or_init(|| mapped.copy(self.bytes.len())),
            _ => &self.bytes,
        }
    }

    /// For a socket that claims each slice before it looks at it.
    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let parts = [&self.front, &self.bytes].into_iter().filter(|part| !part.is_empty());
        slices.iter_mut().zip(parts).map(|(slice, part)| *slice = IoSlice::new(part)).count()
    }

    fn advance(&mut self, count: usize) {
        let before = count.min(self.front.len());
        self.front.advance(before);
        self.bytes.advance(count - before);
        if let Some(mapped) = self.mapped.as_mut().filter(|_| count > before) {
            mapped.advance(count - before);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use bytes::BufMut as _;

    use super::super::SharedFile;
    use super::*;

    /// Bytes lent as those of a file in which others are: who looks sees the file's.
    fn payload(outlet: &Outlet, len: usize) -> (Payload, Arc<Origin>) {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&(0..len).map(|at| (at % 251) as u8).collect::<Vec<_>>()).unwrap();
        let origin = Arc::new(Origin::new(Arc::new(SharedFile::new(file, len as u64))));
        let bytes = outlet.lend_map(vec![255; len].into(), Arc::clone(&origin), 0);
        (Payload::lent(bytes, outlet), origin)
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

    /// All of it, as whoever copies sees it.
    fn seen(mut payload: Payload) -> Vec<u8> {
        let mut all = Vec::new();
        all.put(&mut payload);
        all
    }

    #[test]
    fn what_goes_before_is_the_first_of_it_wherever_it_is_split() {
        let outlet = Outlet::default();
        let whole: Vec<u8> = b"before".iter().copied().chain((0..1000).map(|at| (at % 251) as u8)).collect();
        for at in [0, 1, 5, 6, 7, 500, 1005, 1006] {
            let (payload, _) = payload(&outlet, 1000);
            let mut rest = payload.behind(Bytes::from_static(b"before"));
            let slices = &mut [IoSlice::new(&[]), IoSlice::new(&[])];
            assert_eq!((rest.chunks_vectored(slices), slices[0].len(), slices[1].len()), (2, 6, 1000));
            let first = rest.split_to(at);
            assert_eq!((first.remaining(), rest.remaining()), (at, 1006 - at));
            assert_eq!((seen(first), seen(rest)), (whole[..at].to_vec(), whole[at..].to_vec()), "{at}");
        }
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
        for payload in [Payload::lent(bytes.clone(), &Outlet::default()), bytes.clone().into()] {
            assert_eq!((payload.chunk().as_ptr(), payload.remaining()), (bytes.as_ptr(), 5000));
        }
    }
}
