//! Reading a header step by step: every read knows where it stands, so that an error can say it.

use std::fmt::Display;
use std::io::{BufRead, ErrorKind, Seek, SeekFrom};

use super::not_an_image;
use crate::error::{Error, Result};

/// An image's bytes and the place reached in them.
///
/// It keeps nothing of what it read: memory is the reader's own buffer.
pub(super) struct Input<R> {
    reader: R,
    format: &'static str,
    size: u64,
    at: u64,
}

impl<R: BufRead + Seek> Input<R> {
    /// `size` bytes, beginning where the reader stands: at its start.
    pub(super) fn new(reader: R, format: &'static str, size: u64) -> Self {
        Self { reader, format, size, at: 0 }
    }

    /// Bytes from the start.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes in all.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The next `N` bytes, which are part of `what`.
    pub(super) fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, what)?;
        Ok(bytes)
    }

    /// The next big-endian number of 16 bits.
    pub(super) fn u16(&mut self, what: &str) -> Result<u16> {
        self.array(what).map(u16::from_be_bytes)
    }

    /// The next big-endian number of 32 bits.
    pub(super) fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_be_bytes)
    }

    /// The next bytes, as many as `buffer` takes.
    pub(super) fn fill(&mut self, buffer: &mut [u8], what: &str) -> Result<()> {
        if buffer.len() as u64 > self.size.saturating_sub(self.at) {
            return Err(self.cut_off(what));
        }
        self.reader.read_exact(buffer).map_err(|error| self.failed(error, what))?;
        self.at += buffer.len() as u64;
        Ok(())
    }

    /// Passes over `len` bytes of `what`; they have to be there.
    pub(super) fn skip(&mut self, len: u64, what: &str) -> Result<()> {
        self.seek(self.at.saturating_add(len), what)
    }

    /// Goes on at byte `to`, which is part of `what` and within the image.
    pub(super) fn seek(&mut self, to: u64, what: &str) -> Result<()> {
        if to > self.size {
            return Err(self.cut_off(what));
        }
        // A relative seek keeps what a buffered reader has read ahead.
        let moved = match i64::try_from(i128::from(to) - i128::from(self.at)) {
            Ok(distance) => self.reader.seek_relative(distance),
            Err(_) => self.reader.seek(SeekFrom::Start(to)).map(drop),
        };
        moved.map_err(|error| self.failed(error, what))?;
        self.at = to;
        Ok(())
    }

    /// The image ends before `what` does.
    pub(super) fn cut_off(&self, what: &str) -> Error {
        let Self { format, size, at, .. } = self;
        not_an_image(format!("the {format} is cut off: it has {size} bytes and ends in {what}, read up to byte {at}"))
    }

    /// The image is damaged here.
    pub(super) fn broken(&self, why: impl Display) -> Error {
        not_an_image(format!("the {} is damaged near byte {}: {why}", self.format, self.at))
    }

    fn failed(&self, error: std::io::Error, what: &str) -> Error {
        match error.kind() {
            ErrorKind::UnexpectedEof => self.cut_off(what),
            _ => Error::internal(error),
        }
    }
}
