//! Uploads: a reader becomes a stream of checksummed chunks, each read while the one before is on its way.

use std::path::Path;
use std::sync::Arc;

use bytes::BytesMut;
use sha2::{Digest as _, Sha256};
use tokio::fs::File;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;

use super::policy::{Attempts, Deadline, Retry, repeatable};
use super::{Client, Error, UploadSpec, Uploaded, request_id, service};
use crate::error::Code;
use crate::proto::wirephoto::v1::{ChecksummedData, ImageChecksums, UploadImageRequest};

/// Bytes of a chunk.
const CHUNK: usize = 1 << 20;
/// Chunks read ahead of the connection.
const AHEAD: usize = 2;

/// Who is told how far a transfer has come.
pub trait Progress: Send + Sync + 'static {
    /// The whole of it will be this many bytes.
    fn total(&self, bytes: u64);
    /// This many bytes more have gone.
    fn advance(&self, bytes: u64);
    /// It begins again, at the first byte.
    fn restart(&self);
}

/// Nobody.
impl Progress for () {
    fn total(&self, _: u64) {}
    fn advance(&self, _: u64) {}
    fn restart(&self) {}
}

impl<P: Progress + ?Sized> Progress for Arc<P> {
    fn total(&self, bytes: u64) {
        (**self).total(bytes);
    }

    fn advance(&self, bytes: u64) {
        (**self).advance(bytes);
    }

    fn restart(&self) {
        (**self).restart();
    }
}

impl Client {
    /// Uploads the file at `path` as `spec` says. Its size is announced, so that one over a limit is refused at once.
    ///
    /// When the server goes away meanwhile, it is sent again; what is not a file proper (a pipe, say) is sent once.
    ///
    /// # Errors
    /// As [`Client::upload`].
    pub async fn upload_file(
        &self,
        mut spec: UploadSpec,
        path: impl AsRef<Path>,
        progress: impl Progress,
    ) -> Result<Uploaded, Error> {
        let mut file = File::open(&path).await.map_err(|error| unreadable(&error))?;
        let metadata = file.metadata().await.map_err(|error| unreadable(&error))?;
        if metadata.is_dir() {
            return Err(Error::local(Code::InvalidArgument, "cannot read it: it is a folder"));
        }
        file.set_max_buf_size(CHUNK);
        if !metadata.is_file() {
            return self.upload(spec, file, progress).await;
        }
        spec.size_bytes = i64::try_from(metadata.len()).ok();
        if spec.request_id.is_empty() {
            spec.request_id = request_id();
        }
        let progress = Arc::new(progress);
        let deadline = self.settings.policy.transfer();
        let mut attempts = Attempts::new(Retry::CALL, repeatable("UploadImage", &spec.request_id), deadline);
        loop {
            match self.send(spec.clone(), file, Arc::clone(&progress), deadline).await {
                Ok(uploaded) => return Ok(uploaded),
                Err(failure) => self.pause(&mut attempts, failure).await?,
            }
            progress.restart();
            file = File::open(&path).await.map_err(|error| unreadable(&error))?;
            file.set_max_buf_size(CHUNK);
        }
    }

    /// Uploads what `content` gives, to its end, as `spec` says. A request id is made unless `spec` has one.
    ///
    /// The server compares SHA-256 and CRC-32C of the whole, and CRC-32C of each chunk, before it keeps anything.
    /// A failure of `content` cuts the upload off and nothing is kept.
    ///
    /// # Errors
    /// [`Code::AlreadyExists`] when the name is taken and `spec.allow_replace` is not set; [`Code::InvalidArgument`]
    /// when the bytes are no image; [`Code::DataLoss`] when `content` fails or is not as long as `spec` announces.
    pub async fn upload(
        &self,
        mut spec: UploadSpec,
        content: impl AsyncRead + Send + 'static,
        progress: impl Progress,
    ) -> Result<Uploaded, Error> {
        if spec.request_id.is_empty() {
            spec.request_id = request_id();
        }
        self.send(spec, content, progress, self.settings.policy.transfer()).await
    }

    /// One attempt.
    async fn send(
        &self,
        spec: UploadSpec,
        content: impl AsyncRead + Send + 'static,
        progress: impl Progress,
        deadline: Deadline,
    ) -> Result<Uploaded, Error> {
        let upload = |channel, deadline| async move {
            let (chunks, stream) = mpsc::channel(AHEAD);
            let mut feeding = AbortOnDropHandle::new(tokio::spawn(feed(spec, content, chunks, progress)));
            let request = self.request(ReceiverStream::new(stream), deadline);
            let mut service = service(channel);
            let call = service.upload_image(request);
            tokio::pin!(call);
            let answer = tokio::select! {
                answer = &mut call => answer,
                fed = &mut feeding => match fed {
                    Ok(Ok(())) => call.await,
                    // Returning drops the call: the server sees it cancelled, not ended.
                    Ok(Err(error)) => return Err(error.into()),
                    Err(panic) => {
                        return Err(Error::local(Code::Internal, "reading the content failed").caused_by(panic).into());
                    }
                },
            };
            Ok(answer?.into_inner())
        };
        Ok(self.once(deadline, upload).await?.0)
    }
}

/// Sends `content` in chunks. Ends early, and well, when nobody takes them any more: the answer says why.
async fn feed(
    spec: UploadSpec,
    content: impl AsyncRead,
    chunks: mpsc::Sender<UploadImageRequest>,
    progress: impl Progress,
) -> Result<(), Error> {
    tokio::pin!(content);
    let announced = spec.size_bytes.and_then(|size| u64::try_from(size).ok());
    if let Some(size) = announced {
        progress.total(size);
    }
    let mut message = UploadImageRequest { spec: Some(spec), ..UploadImageRequest::default() };
    let mut sha256 = Sha256::new();
    let mut whole_crc32c = 0;
    let mut sent: u64 = 0;
    loop {
        let mut data = BytesMut::with_capacity(CHUNK);
        while data.len() < CHUNK {
            // Never past the capacity: a chunk is one allocation.
            let room = CHUNK - data.len();
            if (&mut content).take(room as u64).read_buf(&mut data).await.map_err(|error| unreadable(&error))? == 0 {
                break;
            }
        }
        if data.is_empty() {
            break;
        }
        let data = data.freeze();
        let length = data.len() as u64;
        let crc32c = crc32c::crc32c(&data);
        sha256.update(&data);
        whole_crc32c = crc32c::crc32c_combine(whole_crc32c, crc32c, data.len());
        message.write_offset = offset(sent)?;
        message.chunk = Some(ChecksummedData { data, crc32c: Some(crc32c) });
        if chunks.send(std::mem::take(&mut message)).await.is_err() {
            return Ok(());
        }
        sent += length;
        progress.advance(length);
    }
    if let Some(size) = announced
        && size != sent
    {
        let message =
            format!("it was {size} bytes long when the upload began, and {sent} were read: it changed meanwhile");
        return Err(Error::local(Code::DataLoss, message));
    }
    message.write_offset = offset(sent)?;
    message.finish_write = true;
    message.checksums = Some(ImageChecksums { sha256: hex::encode(sha256.finalize()), crc32c: Some(whole_crc32c) });
    // A closed channel means that the call has its answer.
    let _ = chunks.send(message).await;
    Ok(())
}

fn offset(bytes: u64) -> Result<i64, Error> {
    i64::try_from(bytes).map_err(|_| Error::local(Code::OutOfRange, "the content is longer than any image can be"))
}

fn unreadable(error: &std::io::Error) -> Error {
    Error::local(Code::DataLoss, format!("cannot read it: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn fed(spec: UploadSpec, content: &'static [u8]) -> (Result<(), Error>, Vec<UploadImageRequest>) {
        let (chunks, mut stream) = mpsc::channel(100);
        let outcome = feed(spec, content, chunks, ()).await;
        let mut messages = Vec::new();
        while let Some(message) = stream.recv().await {
            messages.push(message);
        }
        (outcome, messages)
    }

    #[tokio::test]
    async fn chunks_are_contiguous_and_the_last_message_has_the_checksums() {
        let content: &'static [u8] = Box::leak((0..CHUNK * 2 + 7).map(|i| (i % 251) as u8).collect());
        let (outcome, messages) = fed(UploadSpec { image_id: "a".into(), ..Default::default() }, content).await;
        outcome.unwrap();
        assert_eq!(messages.len(), 4);
        let mut bytes = Vec::new();
        for (i, message) in messages.iter().enumerate() {
            assert_eq!(message.spec.is_some(), i == 0);
            assert_eq!(message.finish_write, i == 3);
            assert_eq!(message.write_offset, bytes.len() as i64);
            if let Some(chunk) = &message.chunk {
                assert_eq!(chunk.crc32c, Some(crc32c::crc32c(&chunk.data)));
                bytes.extend_from_slice(&chunk.data);
            }
        }
        assert_eq!(bytes, content);
        let checksums = messages[3].checksums.as_ref().unwrap();
        assert_eq!(checksums.crc32c, Some(crc32c::crc32c(content)));
        assert_eq!(checksums.sha256, hex::encode(Sha256::digest(content)));
    }

    #[tokio::test]
    async fn nothing_finishes_when_the_content_is_not_as_long_as_announced() {
        let (outcome, messages) = fed(UploadSpec { size_bytes: Some(9), ..Default::default() }, b"four").await;
        let error = outcome.unwrap_err();
        assert!(error.to_string().contains("9 bytes") && error.to_string().contains("4 were read"), "{error}");
        assert!(messages.iter().all(|message| !message.finish_write));
    }

    #[tokio::test]
    async fn an_empty_content_is_one_message_that_finishes() {
        let (outcome, messages) = fed(UploadSpec::default(), b"").await;
        outcome.unwrap();
        assert!(matches!(&messages[..], [only] if only.spec.is_some() && only.finish_write && only.chunk.is_none()));
    }
}
