//! How long a call may take.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Error;

/// What a call without bytes may take unless the caller says otherwise.
const DEFAULT_CALL: Duration = Duration::from_secs(30);

/// What every call of a client goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    timeout: Option<Duration>,
}

impl Policy {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self { timeout }
    }

    /// The deadline of a call that begins now and moves no image.
    pub(super) fn call(self) -> Deadline {
        Deadline::after(Some(self.timeout.unwrap_or(DEFAULT_CALL)))
    }

    /// The deadline of an upload or download that begins now: none by itself, since a large image on a slow line
    /// takes what it takes, and keepalive finds a server that is gone.
    pub(super) fn transfer(self) -> Deadline {
        Deadline::after(self.timeout)
    }
}

/// When a call must have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    end: Option<Instant>,
}

impl Deadline {
    fn after(timeout: Option<Duration>) -> Self {
        Self { end: timeout.and_then(|timeout| Instant::now().checked_add(timeout)) }
    }

    /// The time that is left.
    pub(super) fn left(self) -> Option<Duration> {
        self.end.map(|end| end.saturating_duration_since(Instant::now()))
    }

    /// What `work` gives, or [`DeadlineExceeded`](crate::error::Code::DeadlineExceeded).
    pub(super) async fn limit<T>(self, work: impl Future<Output = T>) -> Result<T, Error> {
        match self.end {
            Some(end) => timeout_at(end, work).await.map_err(|_| Error::out_of_time()),
            None => Ok(work.await),
        }
    }
}
