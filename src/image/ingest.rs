//! Takes an upload in: sniffed at its first bytes, held to its limits, digested and written as it streams.

use std::collections::VecDeque;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::stream::{Stream, StreamExt as _};

use super::digest::{Digester, Summary};
use super::probe::{self, Format};
use super::{Checksums, Piece};
use crate::error::{Error, Reason, Result};
use crate::store::{BlobWriter, PART, StagedBlob};

/// What an upload is held to.
#[derive(Debug)]
pub(super) struct Terms {
    /// Bytes.
    pub(super) max_size: u64,
    pub(super) announced_size: Option<u64>,
    pub(super) claimed_type: Option<String>,
    pub(super) hash_sha512: bool,
}

/// An upload that arrived whole and as announced.
#[derive(Debug)]
pub(super) struct Received {
    pub(super) format: Format,
    pub(super) summary: Summary,
    /// Whole and durable; none if there was nowhere to write to.
    pub(super) blob: Option<StagedBlob>,
}

/// Takes an upload in, to `writer` or, without one, only to know what it is. On any failure nothing stays.
pub(super) async fn receive(
    content: impl Stream<Item = Result<Piece>> + Send,
    writer: Option<BlobWriter>,
    terms: Terms,
) -> Result<Received> {
    check_size(terms.announced_size.unwrap_or(0), terms.max_size)?;
    let part_size = writer.as_ref().map_or(PART, BlobWriter::part_size);
    let mut intake = Intake {
        digester: Digester::new(terms.hash_sha512),
        part: Part::new(part_size, terms.announced_size),
        writer,
        terms,
        head: Head::Gathering(BytesMut::new()),
        size: 0,
    };
    match intake.take_all(content).await {
        Ok(checksums) => intake.finish(checksums).await,
        Err(error) => {
            intake.abort().await;
            Err(error)
        }
    }
}

pub(super) fn check_size(size: u64, max: u64) -> Result<()> {
    if size <= max {
        return Ok(());
    }
    let message = format!(
        "the image is larger than the {max} bytes this server takes: send a smaller one, or have the operator raise \
         --max-image-size"
    );
    Err(Error::too_large("image size", message))
}

struct Intake {
    terms: Terms,
    head: Head,
    part: Part,
    digester: Digester,
    writer: Option<BlobWriter>,
    size: u64,
}

/// What is known of the upload by its first bytes.
enum Head {
    Gathering(BytesMut),
    Known(Format),
}

impl Intake {
    async fn take_all(&mut self, content: impl Stream<Item = Result<Piece>>) -> Result<Checksums> {
        let mut content = pin!(content);
        while let Some(piece) = content.next().await {
            match piece? {
                Piece::Data(bytes) => self.take(bytes).await?,
                Piece::Finish(checksums) => return Ok(checksums),
            }
        }
        Err(Error::new(
            Reason::Aborted,
            format!("the upload was cut off after {} bytes; nothing was kept: send the image again", self.size),
        ))
    }

    async fn take(&mut self, bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        check_size(self.size, self.terms.max_size)?;
        if let Head::Gathering(head) = &mut self.head {
            let wanted = probe::SNIFF_LEN.saturating_sub(head.len()).min(bytes.len());
            head.extend_from_slice(&bytes[..wanted]);
            if head.len() >= probe::SNIFF_LEN {
                self.know()?;
            }
        }
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            rest = &rest[self.part.fill(rest)..];
            if self.part.is_full() {
                self.send_part().await?;
            }
        }
        Ok(())
    }

    /// Knows the format by the bytes there are.
    fn know(&mut self) -> Result<Format> {
        let format = match &self.head {
            Head::Known(format) => *format,
            Head::Gathering(head) => {
                let format = probe::sniff(head)?;
                probe::check_claim(self.terms.claimed_type.as_deref(), format)?;
                format
            }
        };
        self.head = Head::Known(format);
        Ok(format)
    }

    async fn send_part(&mut self) -> Result<()> {
        let part = self.part.take();
        self.digester.add(&part).await?;
        match &mut self.writer {
            Some(writer) => writer.part(part).await,
            None => Ok(()),
        }
    }

    async fn finish(mut self, checksums: Checksums) -> Result<Received> {
        match self.conclude(&checksums).await {
            Ok((format, summary, last)) => {
                let blob = match self.writer {
                    Some(writer) => Some(writer.finish(last).await?),
                    None => None,
                };
                Ok(Received { format, summary, blob })
            }
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn conclude(&mut self, checksums: &Checksums) -> Result<(Format, Summary, Bytes)> {
        let format = self.know()?;
        let last = self.part.take();
        self.digester.add(&last).await?;
        let digester = std::mem::replace(&mut self.digester, Digester::new(false));
        let summary = digester.summary().await?;
        summary.verify(checksums, self.terms.announced_size)?;
        Ok((format, summary, last))
    }

    async fn abort(self) {
        if let Some(writer) = self.writer {
            writer.abort().await;
        }
    }
}

/// The part that is filling.
///
/// A part is one piece of memory and becomes one write at a multiple of its size: the kernel then keeps the file in large
/// folios, which it sends a quarter faster than those of pieces as they came. Small pieces would also keep network
/// buffers many times their size.
struct Part {
    size: usize,
    filling: BytesMut,
    /// Bytes to make room for.
    expected: usize,
    /// Parts on their way, whose memory is used again once they are there.
    sent: VecDeque<Bytes>,
}

impl Part {
    fn new(size: usize, announced: Option<u64>) -> Self {
        let expected = usize::try_from(announced.unwrap_or(0)).map_or(size, |announced| announced.min(size));
        Self { size, filling: BytesMut::new(), expected, sent: VecDeque::new() }
    }

    /// Takes of `bytes` what there is room for, and says how much that is.
    fn fill(&mut self, bytes: &[u8]) -> usize {
        if self.filling.is_empty() {
            self.filling = self.room();
        }
        let taken = bytes.len().min(self.size - self.filling.len());
        self.filling.extend_from_slice(&bytes[..taken]);
        taken
    }

    fn is_full(&self) -> bool {
        self.filling.len() == self.size
    }

    fn take(&mut self) -> Bytes {
        let part = std::mem::take(&mut self.filling).freeze();
        self.expected = self.size;
        self.sent.push_back(part.clone());
        part
    }

    fn room(&mut self) -> BytesMut {
        match self.sent.pop_front().map(Bytes::try_into_mut) {
            Some(Ok(mut room)) => {
                room.clear();
                return room;
            }
            Some(Err(busy)) => self.sent.push_front(busy),
            None => {}
        }
        BytesMut::with_capacity(self.expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_whole_and_their_memory_is_used_again() {
        let content: Vec<u8> = (0..95).collect();
        let mut part = Part::new(10, Some(95));
        let (mut parts, mut places) = (Vec::new(), std::collections::HashSet::new());
        let mut flying = None;
        for piece in content.chunks(7) {
            let mut rest = piece;
            while !rest.is_empty() {
                rest = &rest[part.fill(rest)..];
                if part.is_full() {
                    let full = part.take();
                    parts.push(full.to_vec());
                    places.insert(full.as_ptr());
                    // One is on its way while the next one fills.
                    flying = Some(full);
                }
            }
        }
        drop(flying);
        assert!(parts.iter().all(|part| part.len() == 10));
        assert_eq!([parts.concat(), part.take().to_vec()].concat(), content);
        assert_eq!(places.len(), 2);
    }
}
