//! Downloads: a stream of verified bytes.

use std::fmt;
use std::ops::{Bound, Range, RangeBounds};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use tonic::Streaming;

use super::policy::{Attempts, Deadline, Retry, repeatable};
use super::pool::Backend;
use super::{Client, Error, Image, service};
use crate::error::Code;
use crate::proto::wirephoto::v1::{ChecksummedData, DownloadImageRequest, DownloadImageResponse};

/// An image's bytes, or a range of them, on their way.
///
/// The bytes are those of the image once the stream has ended without an error, not before: CRC-32C of each piece is
/// verified as it comes, the length at the end, and SHA-256 and CRC-32C of the whole when the whole was asked for. When
/// they break off, the rest is asked for: it must be of the image with the same SHA-256.
pub struct Download {
    image: Image,
    range: Range<u64>,
    pieces: BoxStream<'static, Result<Bytes, Error>>,
}

impl Download {
    /// What is known of the image.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// Which bytes of the image come.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("image", &self.image).field("range", &self.range).finish_non_exhaustive()
    }
}

impl Stream for Download {
    type Item = Result<Bytes, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.pieces.poll_next_unpin(cx)
    }
}

impl Client {
    /// Downloads the bytes `range` of the image `name` (`images/{id}`); `..` for all.
    ///
    /// # Errors
    /// [`Code::NotFound`]; [`Code::OutOfRange`] when `range` begins beyond the end. The stream itself ends with
    /// [`Code::DataLoss`] when the bytes are not the image's.
    pub async fn download(&self, name: &str, range: impl RangeBounds<u64> + Send) -> Result<Download, Error> {
        let (read_offset, read_limit) = offset_and_limit(&range)?;
        let deadline = self.settings.policy.transfer();
        let request = DownloadImageRequest { name: name.to_owned(), read_offset, read_limit };
        let mut attempts = Attempts::new(Retry::CALL, repeatable("DownloadImage", ""), deadline);
        let opened = loop {
            match self.open(request.clone(), deadline).await {
                Ok(opened) => break opened,
                Err(failure) => self.pause(&mut attempts, failure).await?,
            }
        };
        let (image, range) = (opened.image.clone(), opened.range.clone());
        let whole = range.start == 0 && range.end == opened.complete_length && image.size_bytes as u64 == range.end;
        let check = Check::new(&image, &range, whole);
        let pieces = pieces(self.clone(), deadline, opened, check).boxed();
        Ok(Download { image, range, pieces })
    }

    /// One attempt to begin: up to the first message, which says what comes.
    async fn open(&self, request: DownloadImageRequest, deadline: Deadline) -> Result<Opened, Error> {
        let begin = |channel, deadline| {
            let request = self.request(request, deadline);
            async move {
                let mut stream = service(channel).download_image(request).await?.into_inner();
                Ok((stream.message().await?, stream))
            }
        };
        let ((first, stream), backend) = self.once(deadline, begin).await?;
        let first = first.unwrap_or_default();
        let image = first.image.ok_or_else(|| self.without_image("DownloadImage"))?;
        let part = first.content_range.ok_or_else(|| self.without_image("DownloadImage"))?;
        let offsets = [part.start, part.end, part.complete_length, image.size_bytes].map(u64::try_from);
        match offsets {
            [Ok(start), Ok(end), Ok(complete_length), Ok(_)] if start <= end => {
                Ok(Opened { image, range: start..end, complete_length, chunk: first.chunk, stream, backend })
            }
            _ => Err(Error::local(Code::Internal, format!("{} sent a range that is none", backend.server()))),
        }
    }

    /// The rest of a download that `failure` broke off when `came` bytes of `range` had come.
    async fn resume(
        &self,
        image: &Image,
        range: &Range<u64>,
        came: u64,
        attempts: &mut Attempts,
        mut failure: Error,
    ) -> Result<Opened, Error> {
        let (offset, limit) = offset_and_limit(&(range.start + came..range.end))?;
        let request = DownloadImageRequest { name: image.name.clone(), read_offset: offset, read_limit: limit };
        loop {
            self.pause(attempts, failure).await?;
            match self.open(request.clone(), attempts.deadline).await {
                Ok(opened) => {
                    let same = opened.image.sha256 == image.sha256 && opened.image.size_bytes == image.size_bytes;
                    if same && opened.range == (range.start + came..range.end) {
                        return Ok(opened);
                    }
                    let name = image.name.escape_debug();
                    let message = format!("{name} was replaced while it came: get it again");
                    return Err(Error::local(Code::Aborted, message));
                }
                Err(error) => failure = error,
            }
        }
    }
}

/// A download that has begun.
struct Opened {
    image: Image,
    range: Range<u64>,
    complete_length: u64,
    /// The first bytes.
    chunk: Option<ChecksummedData>,
    stream: Streaming<DownloadImageResponse>,
    backend: Arc<Backend>,
}

/// The bytes, verified; when they break off, the rest of them.
fn pieces(
    client: Client,
    deadline: Deadline,
    opened: Opened,
    mut check: Check,
) -> impl Stream<Item = Result<Bytes, Error>> {
    let Opened { image, range, mut chunk, mut stream, mut backend, .. } = opened;
    let mut attempts = Attempts::new(Retry::RESUME, repeatable("DownloadImage", ""), deadline);
    async_stream::try_stream! {
        loop {
            if let Some(chunk) = chunk.take() && !chunk.data.is_empty() {
                check.piece(&chunk)?;
                attempts.progressed();
                yield chunk.data;
            }
            match deadline.limit(stream.message()).await? {
                Ok(Some(message)) => chunk = message.chunk,
                Ok(None) => break,
                Err(status) => {
                    let failure = backend.failed(status.into());
                    if failure.is_lost() && check.is_complete() {
                        break;
                    }
                    let rest = client.resume(&image, &range, check.received, &mut attempts, failure).await?;
                    (chunk, stream, backend) = (rest.chunk, rest.stream, rest.backend);
                }
            }
        }
        check.end()?;
    }
}

/// The range as the request says it: a first byte, and a number of bytes with 0 for all that follow.
fn offset_and_limit(range: &impl RangeBounds<u64>) -> Result<(i64, i64), Error> {
    let bad = |what: &str| Error::local(Code::InvalidArgument, format!("the range {what}"));
    let start = match range.start_bound() {
        Bound::Unbounded => Some(0),
        Bound::Included(start) => Some(*start),
        Bound::Excluded(before) => before.checked_add(1),
    };
    let end = match range.end_bound() {
        Bound::Unbounded => None,
        Bound::Included(last) => Some(last.saturating_add(1)),
        Bound::Excluded(end) => Some(*end),
    };
    let start = start.ok_or_else(|| bad("begins beyond any image"))?;
    let limit = match end {
        None => 0,
        Some(end) if end > start => end - start,
        Some(_) => return Err(bad("is empty")),
    };
    let fit = |bytes| i64::try_from(bytes).map_err(|_| bad("is beyond any image"));
    Ok((fit(start)?, fit(limit)?))
}

/// What the bytes must be, against what has come.
struct Check {
    name: String,
    expected: u64,
    received: u64,
    /// The whole image's digests and those of what has come, when the whole was asked for.
    whole: Option<Whole>,
}

struct Whole {
    sha256: String,
    crc32c: u32,
    running_sha256: Sha256,
    running_crc32c: u32,
}

impl Check {
    fn new(image: &Image, range: &Range<u64>, whole: bool) -> Self {
        let whole = whole.then(|| Whole {
            sha256: image.sha256.clone(),
            crc32c: image.crc32c,
            running_sha256: Sha256::new(),
            running_crc32c: 0,
        });
        Self { name: image.name.clone(), expected: range.end - range.start, received: 0, whole }
    }

    fn piece(&mut self, piece: &ChecksummedData) -> Result<(), Error> {
        let offset = self.received;
        self.received += piece.data.len() as u64;
        if self.received > self.expected {
            return Err(self.damaged(format!("more than the {} bytes announced came", self.expected)));
        }
        if piece.crc32c.is_some_and(|claimed| claimed != crc32c::crc32c(&piece.data)) {
            return Err(self.damaged(format!("the piece at {offset} has not the CRC-32C it came with")));
        }
        if let Some(whole) = &mut self.whole {
            whole.running_sha256.update(&piece.data);
            whole.running_crc32c = crc32c::crc32c_append(whole.running_crc32c, &piece.data);
        }
        Ok(())
    }

    /// Whether as much has come as was announced.
    fn is_complete(&self) -> bool {
        self.received == self.expected
    }

    fn end(&mut self) -> Result<(), Error> {
        if self.received != self.expected {
            return Err(self.damaged(format!("{} of {} bytes came", self.received, self.expected)));
        }
        let Some(whole) = self.whole.take() else {
            return Ok(());
        };
        if whole.running_crc32c != whole.crc32c {
            return Err(self.damaged("the bytes have not the image's CRC-32C".to_owned()));
        }
        if hex::encode(whole.running_sha256.finalize()) != whole.sha256 {
            return Err(self.damaged("the bytes have not the image's SHA-256".to_owned()));
        }
        Ok(())
    }

    fn damaged(&self, what: String) -> Error {
        Error::local(Code::DataLoss, format!("{} came damaged: {what}; get it again", self.name.escape_debug()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_said_as_offset_and_limit() {
        assert_eq!(offset_and_limit(&(..)).unwrap(), (0, 0));
        assert_eq!(offset_and_limit(&(5..)).unwrap(), (5, 0));
        assert_eq!(offset_and_limit(&(5..9)).unwrap(), (5, 4));
        assert_eq!(offset_and_limit(&(..=0)).unwrap(), (0, 1));
        for (range, why) in [(5..5, "empty"), (u64::MAX - 1..u64::MAX, "beyond")] {
            assert!(offset_and_limit(&range).unwrap_err().to_string().contains(why));
        }
    }

    fn image(content: &[u8]) -> Image {
        Image {
            name: "images/a".into(),
            size_bytes: content.len() as i64,
            sha256: hex::encode(Sha256::digest(content)),
            crc32c: crc32c::crc32c(content),
            ..Image::default()
        }
    }

    fn run(image: &Image, whole: bool, pieces: &[(&'static [u8], Option<u32>)]) -> Result<(), Error> {
        let mut check = Check::new(image, &(0..image.size_bytes as u64), whole);
        for (data, crc32c) in pieces {
            check.piece(&ChecksummedData { data: Bytes::from_static(data), crc32c: *crc32c })?;
        }
        check.end()
    }

    #[test]
    fn bytes_that_are_not_the_images_are_refused() {
        let good = image(b"abcdef");
        run(&good, true, &[(b"abc", Some(crc32c::crc32c(b"abc"))), (b"def", None)]).unwrap();
        run(&good, false, &[(b"uvwxyz", None)]).unwrap();
        let says = |outcome: Result<(), Error>, what: &str| {
            let error = outcome.unwrap_err();
            assert_eq!(error.code(), Code::DataLoss);
            assert!(error.to_string().contains(what), "{error}");
        };
        says(run(&good, true, &[(b"abc", None)]), "3 of 6 bytes");
        says(run(&good, true, &[(b"abcdefg", None)]), "more than the 6");
        says(run(&good, true, &[(b"abcdeF", None)]), "the image's CRC-32C");
        says(run(&good, true, &[(b"abc", None), (b"def", Some(1))]), "the piece at 3");
        let forged = Image { crc32c: crc32c::crc32c(b"abcdeF"), ..good };
        says(run(&forged, true, &[(b"abcdeF", None)]), "the image's SHA-256");
    }
}
