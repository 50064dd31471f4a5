//! Positioned reads of an open file: a stream of large pieces for sending, a seekable reader for parsing.
//!
//! Positioned, so that any number of readers share one open file, which lives on when its name is gone.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, Stream};
use tokio::task::{self, JoinHandle};

/// Bytes read at a time: large enough that a hop to the blocking pool costs nothing beside the copy.
pub(crate) const PIECE: u64 = 512 * 1024;

/// The bytes of `range`, in pieces of at most [`PIECE`], at most one of them read ahead.
///
/// A file that ends before the range does gives [`io::ErrorKind::UnexpectedEof`]; an error ends the stream.
pub(crate) fn pieces(file: Arc<File>, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let state = Pieces { file, range, ahead: None };
    stream::unfold(state, |mut state| async move {
        let piece = state.next().await?;
        if piece.is_err() {
            state.stop();
        }
        Some((piece, state))
    })
}

struct Pieces {
    file: Arc<File>,
    /// What has not been asked for yet.
    range: Range<u64>,
    ahead: Option<JoinHandle<io::Result<Bytes>>>,
}

impl Pieces {
    async fn next(&mut self) -> Option<io::Result<Bytes>> {
        let reading = match self.ahead.take() {
            Some(ahead) => ahead,
            None => self.read()?,
        };
        let piece = reading.await.unwrap_or_else(|stopped| Err(io::Error::other(stopped)));
        self.ahead = self.read();
        Some(piece)
    }

    /// Starts reading the next piece, if there is one.
    fn read(&mut self) -> Option<JoinHandle<io::Result<Bytes>>> {
        let start = self.range.start;
        let end = self.range.end.min(start.saturating_add(PIECE));
        if start >= end {
            return None;
        }
        self.range.start = end;
        let file = self.file.clone();
        Some(task::spawn_blocking(move || read_exact_at(&file, start..end).map(Bytes::from)))
    }

    fn stop(&mut self) {
        self.range = 0..0;
        self.ahead = None;
    }
}

fn read_exact_at(file: &File, range: Range<u64>) -> io::Result<Vec<u8>> {
    let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
    let mut buffer = vec![0; len];
    let mut filled = 0;
    while filled < len {
        match read_at(file, &mut buffer[filled..], range.start + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(buffer)
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
    file: Arc<File>,
    position: u64,
}

impl FileReader {
    /// A reader at the beginning of `file`.
    pub(crate) fn new(file: Arc<File>) -> Self {
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
mod tests {
    use std::io::Write as _;

    use futures::TryStreamExt as _;

    use super::*;

    fn file_of(len: u64) -> (tempfile::NamedTempFile, Vec<u8>) {
        let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&bytes).unwrap();
        (file, bytes)
    }

    #[tokio::test]
    async fn every_range_is_exact() {
        let (file, bytes) = file_of(2 * PIECE + 17);
        let len = bytes.len() as u64;
        for range in [0..len, 0..0, 5..6, PIECE - 1..PIECE + 1, len - 1..len, 3..2 * PIECE + 3] {
            let file = Arc::new(file.reopen().unwrap());
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
            futures::StreamExt::collect::<Vec<_>>(pieces(Arc::new(file.reopen().unwrap()), 0..bytes.len() as u64))
                .await;
        assert_eq!(got.len(), 2);
        assert_eq!(got[0].as_ref().unwrap().len() as u64, PIECE);
        assert_eq!(got[1].as_ref().unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn readers_share_a_file_without_sharing_a_position() {
        let (file, bytes) = file_of(100);
        let file = Arc::new(file.reopen().unwrap());
        let (mut one, mut two) = (FileReader::new(file.clone()), FileReader::new(file));
        one.seek(SeekFrom::End(-10)).unwrap();
        let (mut tail, mut whole) = (Vec::new(), Vec::new());
        one.read_to_end(&mut tail).unwrap();
        two.read_to_end(&mut whole).unwrap();
        assert_eq!((tail.as_slice(), whole), (&bytes[90..], bytes.clone()));
        assert!(one.seek(SeekFrom::Current(-101)).is_err());
    }
}
