//! Work that its caller's leaving must not cut just anywhere.

use std::time::Duration;

use tokio::sync::oneshot;

use super::Store;
use crate::error::{Error, Result};

/// How long a cloud may take to clear away what nobody waits for any more.
const CLEARING: Duration = Duration::from_secs(2);

impl Store {
    /// Runs work that publishes or takes back.
    ///
    /// Here it runs to its end even when the caller leaves: calls of the operating system cannot be cut anyway, and do not
    /// hang. A cloud may hang, so there the work ends with its caller. What is written there is written whole or not at
    /// all, so that a cut leaves at worst a blob without a manifest, which is collected.
    pub(crate) async fn settle<T: Send + 'static>(&self, work: impl Future<Output = T> + Send + 'static) -> Result<T> {
        let exclusive = self.is_exclusive();
        let (_here, left) = oneshot::channel::<()>();
        let settled = tokio::spawn(async move {
            tokio::select! {
                biased;
                done = work => Some(done),
                _ = left, if !exclusive => None,
            }
        });
        settled.await.map_err(Error::internal)?.ok_or_else(|| Error::internal("nobody waited for it"))
    }

    /// Runs clean-up for a caller who has left: to its end here, for a bounded time in a cloud.
    pub(super) async fn clear_away(&self, work: impl Future<Output = ()>) {
        if self.is_exclusive() {
            work.await;
        } else if tokio::time::timeout(CLEARING, work).await.is_err() {
            tracing::warn!("the store did not answer a clean-up in {CLEARING:?}; the rest will be collected");
        }
    }
}
