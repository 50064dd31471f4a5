//! Bytes of a file for a socket whose bytes the kernel alone reads: lent from a map, by whose addresses the socket finds them in
//! the file, and sends them from there or has the kernel read them.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::task;

use super::outlet::{Origin, Outlet};
use super::{SharedFile, file, map};

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
    file: Arc<SharedFile>,
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
    /// Up to here the file was there, and in the kernel's cache.
    cached: u64,
    outlet: Outlet,
}

impl Lending {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        let Range { start, end: whole } = self.range;
        if start >= whole {
            return Ok(None);
        }
        let reads = self.map.is_none() && whole - start < WORTH_MAPPING;
        let mut end = whole.min(start + self.piece);
        let origin = &self.origin;
        if !reads && end > self.cached {
            if origin.reach()? < end {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let ahead = start..whole.min(start + AHEAD);
            if origin.file.is_cached(&ahead) {
                self.cached = ahead.end;
            } else {
                end = end.min(start + COLD_PIECE);
                if !origin.file.is_cached(&(start..end)) {
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
            return file::read(&origin.file, start..end).await.map(Some);
        }
        let mut rest = match self.map.take() {
            Some(rest) => rest,
            None => {
                // A range of the file, and so of the map.
                let bytes = map::lease(&origin.file)?.slice(start as usize..whole as usize);
                self.outlet.lend_map(bytes, Arc::clone(origin), start)
            }
        };
        // No more than `piece`.
        let piece = rest.split_to((end - start) as usize);
        self.map = Some(rest).filter(|rest| !rest.is_empty());
        Ok(Some(piece))
    }
}

#[cfg(test)]
mod tests {
    use futures::{StreamExt as _, TryStreamExt as _};

    use super::super::file::tests::{file_of, shared};
    use super::*;

    const PIECE: u64 = 1 << 20;

    #[tokio::test]
    async fn every_range_is_exact_and_of_the_file() {
        let (file, bytes) = file_of(2 * PIECE + WORTH_MAPPING + 17);
        let len = bytes.len() as u64;
        for range in [0..len, 0..0, 5..6, PIECE - 1..PIECE + 1, 4097..len - 1, 3..2 * PIECE + 3, 65535..131_072] {
            let outlet = Outlet::default();
            let got: Vec<Bytes> =
                lent(shared(&file), range.clone(), PIECE, outlet.clone()).try_collect().await.unwrap();
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
            let opened = shared(&file);
            file.as_file().set_len(left).unwrap();
            let got: Vec<_> = lent(opened, 0..bytes.len() as u64, PIECE, Outlet::default()).collect().await;
            let (last, before) = got.split_last().unwrap();
            assert_eq!(last.as_ref().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            let given: usize = before.iter().map(|piece| piece.as_ref().unwrap().len()).sum();
            assert!(given as u64 <= left, "{given} of {left}");
        }
    }
}
