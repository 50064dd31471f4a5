//! An image sent as the file of a form: `multipart/form-data` (RFC 7578), streamed.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use multer::{Field, Multipart};

use super::digest::Digests;
use super::headers;
use super::incoming::Incoming;
use crate::error::{Error, Result};

/// Bytes of a form beside its file, at most: boundaries, headers of parts, other fields.
pub(super) const OVERHEAD: u64 = 1 << 20;

/// A form whose file is being read.
pub(super) struct Form {
    parts: Multipart<'static>,
    file: Option<Field<'static>>,
    incoming: Incoming,
    unread: Arc<AtomicU64>,
}

/// What a form's part says of the file in it.
pub(super) struct File {
    /// `Content-Type` of the part.
    pub(super) claimed_type: Option<String>,
    /// The file's name, without folders.
    pub(super) name: Option<String>,
    /// Digests of the file alone.
    pub(super) digests: Digests,
}

impl Form {
    /// Reads up to the form's file. `max_size` is the largest form, in bytes.
    ///
    /// # Errors
    /// [`crate::error::Reason::InvalidRequest`] where the form is malformed or has no file.
    pub(super) async fn open(incoming: Incoming, content_type: &str, max_size: u64) -> Result<(Self, File)> {
        let boundary = multer::parse_boundary(content_type).map_err(|_| {
            Error::invalid("content-type", "multipart/form-data without its boundary: let the client write this field")
        })?;
        let unread = Arc::new(AtomicU64::new(0));
        let paced = Paced { incoming: incoming.clone(), max_size, unread: Arc::clone(&unread), rest: false };
        let mut form = Self { parts: Multipart::new(paced, boundary), file: None, incoming, unread };
        let Some(field) = form.next_file().await? else {
            return Err(Error::invalid("body", "the form has no file in it: send one, as `curl -F file=@photo.jpg`"));
        };
        let fields = field.headers();
        let file = File {
            claimed_type: claimed_type(fields)?,
            name: headers::given_file_name(fields),
            digests: Digests::parse(fields)?,
        };
        form.file = Some(field);
        Ok((form, file))
    }

    /// The next piece of the file; `None` at its end, once the form too has ended, with no second file in it.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>> {
        if let Some(file) = &mut self.file {
            if let Some(piece) = self.unread.forget(file.chunk().await)? {
                return Ok(Some(piece));
            }
            self.file = None;
        }
        if self.next_file().await?.is_some() {
            return Err(Error::invalid("body", "the form has a second file in it: send one file in each request"));
        }
        // What may follow the last boundary means nothing, but the body has to end well.
        while let Some(piece) = self.incoming.next().await {
            piece?;
        }
        if let Some(verifier) = self.incoming.take_verifier() {
            verifier.finish()?;
        }
        Ok(None)
    }

    /// Reads past fields that are no files.
    async fn next_file(&mut self) -> Result<Option<Field<'static>>> {
        while let Some(mut field) = self.unread.forget(self.parts.next_field().await)? {
            if headers::has_file_name(field.headers()) {
                return Ok(Some(field));
            }
            while self.unread.forget(field.chunk().await)?.is_some() {}
        }
        Ok(None)
    }
}

fn claimed_type(fields: &HeaderMap) -> Result<Option<String>> {
    let Some(value) = fields.get(CONTENT_TYPE) else { return Ok(None) };
    let text = value.to_str().map_err(|_| Error::invalid("content-type", "the file's Content-Type is not ASCII"))?;
    Ok(Some(text.to_owned()))
}

/// The parser's account: what it took in without handing anything on.
trait Account {
    /// It handed something on, or failed.
    fn forget<T>(&self, result: multer::Result<T>) -> Result<T>;
}

impl Account for AtomicU64 {
    fn forget<T>(&self, result: multer::Result<T>) -> Result<T> {
        self.store(0, Ordering::Relaxed);
        result.map_err(malformed)
    }
}

fn malformed(error: multer::Error) -> Error {
    match error {
        multer::Error::StreamReadFailed(source) => match source.downcast::<Error>() {
            Ok(ours) => *ours,
            Err(other) => Error::internal(other),
        },
        error => Error::invalid("body", format!("the form is malformed: {error}; send it as RFC 7578 says")),
    }
}

/// Feeds the parser one piece at a time. It takes in all that is ready before it hands anything on, so that a fast
/// client would fill the memory: an idle turn after each piece stops it, and `unread` bounds what it keeps to itself.
struct Paced {
    incoming: Incoming,
    max_size: u64,
    unread: Arc<AtomicU64>,
    rest: bool,
}

impl Stream for Paced {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.rest) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Some(piece) = ready!(self.incoming.poll_next_unpin(cx)) else { return Poll::Ready(None) };
        self.rest = true;
        let piece = piece?;
        let length = piece.len() as u64;
        if self.incoming.received() > self.max_size {
            let message = format!("the form is larger than {} bytes: send a smaller image", self.max_size);
            return Poll::Ready(Some(Err(Error::too_large("max-image-size", message))));
        }
        // One piece may be as large as it likes: it is in memory already.
        if self.unread.fetch_add(length, Ordering::Relaxed) > OVERHEAD {
            let message = format!("the form has more than {OVERHEAD} bytes without a boundary or the end of headers");
            return Poll::Ready(Some(Err(Error::invalid("body", message))));
        }
        Poll::Ready(Some(Ok(piece)))
    }
}
