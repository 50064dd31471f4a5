//! Takes an upload in: sniffed at its first bytes, held to its limits, digested and written as it streams.

use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures::stream::{Stream, StreamExt as _};

use super::digest::{Digester, Summary};
use super::probe::{self, Format};
use super::{Checksums, Piece};
use crate::error::{Error, Reason, Result};
use crate::store::{BlobWriter, StagedBlob};

/// Pieces smaller than this are copied together: each would keep a network buffer many times its size.
const SMALL: usize = 32 * 1024;

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
    let mut intake = Intake {
        digester: Digester::new(terms.hash_sha512),
        part_size: writer.as_ref().map_or(1 << 20, BlobWriter::part_size),
        writer,
        terms,
        head: Head::Gathering(BytesMut::new()),
        part: Part::default(),
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
    part_size: usize,
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

    async fn take(&mut self, mut bytes: Bytes) -> Result<()> {
        self.size += bytes.len() as u64;
        check_size(self.size, self.terms.max_size)?;
        if let Head::Gathering(head) = &mut self.head {
            let wanted = probe::SNIFF_LEN.saturating_sub(head.len()).min(bytes.len());
            head.extend_from_slice(&bytes[..wanted]);
            if head.len() >= probe::SNIFF_LEN {
                self.know()?;
            }
        }
        while self.part.len + bytes.len() >= self.part_size {
            let rest = bytes.split_off(self.part_size - self.part.len);
            self.part.push(bytes);
            bytes = rest;
            self.send_part().await?;
        }
        self.part.push(bytes);
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

    async fn conclude(&mut self, checksums: &Checksums) -> Result<(Format, Summary, Vec<Bytes>)> {
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

/// The part that is filling: large pieces as they came, small ones copied together.
#[derive(Default)]
struct Part {
    whole: Vec<Bytes>,
    small: BytesMut,
    len: usize,
    /// Bytes of small pieces that the part before had in a row: as many may come again.
    expected: usize,
}

impl Part {
    fn push(&mut self, bytes: Bytes) {
        self.len += bytes.len();
        if bytes.len() < SMALL {
            if self.small.is_empty() {
                self.small.reserve(self.expected);
            }
            self.small.extend_from_slice(&bytes);
        } else {
            self.seal();
            self.whole.push(bytes);
        }
    }

    fn seal(&mut self) {
        if !self.small.is_empty() {
            self.expected = self.small.len();
            self.whole.push(std::mem::take(&mut self.small).freeze());
        }
    }

    fn take(&mut self) -> Vec<Bytes> {
        self.seal();
        self.len = 0;
        std::mem::take(&mut self.whole)
    }
}
