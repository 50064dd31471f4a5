//! A request's body as it arrives: counted, never taken as whole when it was cut.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::Body;
use bytes::Bytes;
use futures::Stream;
use http_body::Body as _;

use super::digest::Verifier;
use crate::error::{Error, Reason, Result};
use crate::wire::gather::broken;

/// The body, shared by those who read it one after the other.
#[derive(Clone)]
pub(super) struct Incoming(Arc<Mutex<State>>);

struct State {
    body: Body,
    /// `Content-Length`.
    announced: Option<u64>,
    received: u64,
    ended: bool,
    verifier: Option<Verifier>,
}

impl Incoming {
    /// The body of the request that `announced` so many bytes.
    pub(super) fn new(body: Body, announced: Option<u64>) -> Self {
        let ended = body.is_end_stream();
        let state = State { body, announced, received: 0, ended, verifier: None };
        Self(Arc::new(Mutex::new(state)))
    }

    /// Has every byte read from now on pass through `verifier`.
    pub(super) fn verify_by(&self, verifier: Verifier) {
        self.state().verifier = Some(verifier);
    }

    /// The verifier given, with all it has seen.
    pub(super) fn take_verifier(&self) -> Option<Verifier> {
        self.state().verifier.take()
    }

    /// Bytes received so far.
    pub(super) fn received(&self) -> u64 {
        self.state().received
    }

    /// No panic happens while it is held, so it is never poisoned with a half-made state.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Stream for Incoming {
    type Item = Result<Bytes>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.state().poll_piece(cx)
    }
}

impl State {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes>>> {
        loop {
            if self.ended {
                return Poll::Ready(None);
            }
            let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
            match frame {
                Some(Ok(frame)) => {
                    // Trailers carry nothing an upload needs.
                    let Ok(data) = frame.into_data() else { continue };
                    if data.is_empty() {
                        continue;
                    }
                    self.received += data.len() as u64;
                    if let Some(verifier) = &mut self.verifier {
                        verifier.update(&data);
                    }
                    return Poll::Ready(Some(Ok(data)));
                }
                Some(Err(error)) => {
                    self.ended = true;
                    return Poll::Ready(Some(Err(self.failed(error))));
                }
                None => {
                    self.ended = true;
                    let whole = self.announced.is_none_or(|announced| announced == self.received);
                    return Poll::Ready((!whole).then(|| Err(self.cut_off())));
                }
            }
        }
    }

    /// A layer below may have said why, in an error of our own; else the connection failed.
    fn failed(&self, error: axum::Error) -> Error {
        broken(error, || self.cut_off())
    }

    fn cut_off(&self) -> Error {
        let received = self.received;
        let of = self.announced.map(|announced| format!(" of {announced}")).unwrap_or_default();
        let message =
            format!("the body was cut off after {received}{of} bytes and nothing of it is kept: send it again");
        Error::new(Reason::Aborted, message)
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use bytes::Bytes;
    use futures::{StreamExt as _, TryStreamExt as _, stream};

    use super::Incoming;
    use crate::error::{Error, Reason, Result};

    async fn read(pieces: Vec<Result<&'static str>>, announced: Option<u64>) -> Result<Vec<u8>, Reason> {
        let pieces = pieces.into_iter().map(|piece| piece.map(Bytes::from));
        let incoming = Incoming::new(Body::from_stream(stream::iter(pieces)), announced);
        let read: Result<Vec<Bytes>> = incoming.try_collect().await;
        read.map(|pieces| pieces.concat()).map_err(|error| error.reason)
    }

    #[tokio::test]
    async fn only_what_was_announced_is_whole() {
        assert_eq!(read(vec![Ok("ab"), Ok(""), Ok("c")], Some(3)).await, Ok(b"abc".to_vec()));
        assert_eq!(read(vec![Ok("ab"), Ok("c")], None).await, Ok(b"abc".to_vec()));
        assert_eq!(read(vec![], Some(0)).await, Ok(vec![]));
        assert_eq!(read(vec![Ok("ab")], Some(3)).await, Err(Reason::Aborted));
        assert_eq!(read(vec![Ok("abcd")], Some(3)).await, Err(Reason::Aborted));
    }

    #[tokio::test]
    async fn an_error_of_our_own_from_below_is_kept() {
        let deadline = Error::new(Reason::DeadlineExceeded, "too slow");
        assert_eq!(read(vec![Ok("ab"), Err(deadline)], None).await, Err(Reason::DeadlineExceeded));
    }

    #[tokio::test]
    async fn any_other_error_is_a_cut_and_the_end() {
        let reset = std::io::Error::from(std::io::ErrorKind::ConnectionReset);
        let pieces = stream::iter([Ok(Bytes::from_static(b"ab")), Err(reset), Ok(Bytes::from_static(b"c"))]);
        let mut incoming = Incoming::new(Body::from_stream(pieces), None);
        assert!(matches!(incoming.next().await, Some(Ok(_))));
        assert!(matches!(incoming.next().await, Some(Err(error)) if error.reason == Reason::Aborted));
        assert!(incoming.next().await.is_none());
    }
}
