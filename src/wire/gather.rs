//! Messages that are gathered whole before they are answered: all of them together have a bound, but for the first bytes of
//! each.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::error::{Detail, Error, Reason};

/// The first bytes of each request, which do not count: its header fields may be many times as much.
const FREE: usize = 1 << 10;

/// Bytes that may be gathered at once, over all requests.
#[derive(Debug, Clone)]
pub(super) struct Budget(Arc<Semaphore>);

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes.min(Semaphore::MAX_PERMITS))))
    }

    /// What one request takes of it.
    pub(super) fn account(&self) -> Account {
        Account(Arc::new(Mutex::new(Taken { left: Arc::clone(&self.0), uncounted: FREE, permit: None })))
    }
}

/// What one request has taken of the budget: all but its first [`FREE`] bytes, given back with the last handle.
#[derive(Debug, Clone)]
pub(super) struct Account(Arc<Mutex<Taken>>);

#[derive(Debug)]
struct Taken {
    left: Arc<Semaphore>,
    /// Of the first bytes.
    uncounted: usize,
    permit: Option<OwnedSemaphorePermit>,
}

impl Account {
    /// The body, whose bytes are taken as they come.
    pub(super) fn count(&self, body: Body) -> Body {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Counted { body, account: self.clone() })
    }

    /// Takes `bytes` more.
    ///
    /// # Errors
    /// [`Reason::Busy`] where there are not as many.
    pub(super) fn take(&self, bytes: usize) -> Result<(), Error> {
        // Nothing panics while it is locked.
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let counted = bytes.saturating_sub(taken.uncounted);
        taken.uncounted -= bytes - counted;
        if counted == 0 {
            return Ok(());
        }
        let wanted = u32::try_from(counted).unwrap_or(u32::MAX);
        let Ok(more) = Arc::clone(&taken.left).try_acquire_many_owned(wanted) else {
            let message = "too many large requests are being received at once: try again";
            return Err(Error::new(Reason::Busy, message).with(Detail::RetryInfo(Duration::from_secs(1))));
        };
        match &mut taken.permit {
            Some(permit) => permit.merge(more),
            None => taken.permit = Some(more),
        }
        Ok(())
    }
}

struct Counted {
    body: Body,
    account: Account,
}

impl http_body::Body for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
            && let Err(busy) = self.account.take(data.len())
        {
            return Poll::Ready(Some(Err(axum::Error::new(busy))));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The error of a body that did not come whole: what a layer below found wrong with it, or `cut_off`.
pub fn broken(error: axum::Error, cut_off: impl FnOnce() -> Error) -> Error {
    let first: &(dyn std::error::Error + 'static) = &error;
    let mut causes = std::iter::successors(Some(first), |cause| cause.source());
    match causes.find_map(|cause| cause.downcast_ref::<Error>()) {
        Some(found) => Error { details: found.details.clone(), ..Error::new(found.reason, found.message.clone()) },
        None => cut_off().caused_by(error),
    }
}

/// A message that is gathered was cut off.
pub(super) fn cut_off() -> Error {
    Error::new(Reason::Aborted, "the body was cut off before its end; nothing of it was kept")
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use http_body_util::{BodyExt as _, StreamBody};

    use super::*;

    fn body(pieces: &[usize]) -> Body {
        let pieces: Vec<_> = pieces.iter().map(|len| Ok::<_, Error>(Frame::data(vec![0; *len].into()))).collect();
        Body::new(StreamBody::new(stream::iter(pieces)))
    }

    #[tokio::test]
    async fn all_but_the_first_bytes_of_each_count_until_it_is_answered() {
        let budget = Budget::new(10_000);
        let first = budget.account();
        let mut large = first.count(body(&[FREE / 2, 6_000 + FREE / 2]));
        for len in [FREE / 2, 6_000 + FREE / 2] {
            assert_eq!(large.frame().await.unwrap().unwrap().into_data().unwrap().len(), len);
        }
        drop(large);
        assert_eq!(budget.0.available_permits(), 4_000);
        assert!(budget.account().count(body(&[FREE + 4_001])).frame().await.unwrap().is_err());
        let second = budget.account();
        assert!(second.count(body(&[FREE, 3_000])).collect().await.is_ok());
        assert!(second.take(1_001).is_err() && second.take(1_000).is_ok());
        let small: Vec<_> = (0..100).map(|_| budget.account().count(body(&[FREE]))).collect();
        for mut small in small {
            assert!(small.frame().await.unwrap().is_ok());
        }
        drop((first, second));
        assert_eq!(budget.0.available_permits(), 10_000);
    }
}
