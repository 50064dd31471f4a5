//! The commit point: one manifest exchanged for another, under the image's lock and the caller's precondition.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::Utc;

use super::Core;
use super::id::ImageId;
use super::manifest::{Manifest, RequestMark};
use crate::error::{Detail, Error, Reason, Result};
use crate::store::{UpdateVersion, Written};

/// Times that another server may come first before this one gives up.
const ATTEMPTS: u32 = 8;

/// What came of an exchange.
#[derive(Debug)]
pub(super) struct Exchanged {
    pub(super) manifest: Arc<Manifest>,
    /// What it replaced.
    pub(super) previous: Option<Arc<Manifest>>,
    /// Whether the same request had written it already, so that nothing was to be done.
    pub(super) replayed: bool,
}

/// A failure to exchange.
#[derive(Debug)]
pub(super) struct NotExchanged {
    pub(super) error: Error,
    /// Whether it is certain that the new manifest is not in the store, nor will be.
    pub(super) certain: bool,
}

impl From<Error> for NotExchanged {
    fn from(error: Error) -> Self {
        Self { error, certain: true }
    }
}

impl Core {
    /// Writes the manifest that `make` makes of the one that is there; `make` also asks the precondition. The caller
    /// holds the image's lock.
    pub(super) async fn exchange(
        &self,
        id: &ImageId,
        mark: Option<&RequestMark>,
        make: impl Fn(Option<&Manifest>) -> Result<Manifest>,
    ) -> Result<Exchanged, NotExchanged> {
        // What lies where the manifest should be and is none: it may be written over.
        let mut damaged = None;
        for attempt in 0..ATTEMPTS {
            let current = match self.current(id).await {
                Err(error) if error.reason == Reason::DataLoss => {
                    damaged = self.manifests.version(id).await?;
                    None
                }
                current => current?,
            };
            if let Some((manifest, _)) = &current
                && mark.is_some()
                && manifest.request.as_ref() == mark
            {
                return Ok(Exchanged { manifest: manifest.clone(), previous: None, replayed: true });
            }
            let (previous, over) = current.unzip();
            let next = Arc::new(make(previous.as_deref())?);
            match self.manifests.write(&next, over.or(damaged.take())).await {
                Ok(Written::Done(version)) => return Ok(self.exchanged(next, previous, version)),
                Err(error) => return self.after_failure(next, previous, error).await,
                Ok(Written::Conflict) => {}
            }
            match self.manifests.read(id).await {
                // Clouds call it a conflict when a retry of theirs meets what their first try had written.
                Ok(Some((found, version))) if found == *next => return Ok(self.exchanged(next, previous, version)),
                // Something put it there that is not this server.
                Ok(Some((found, version))) if self.store.is_exclusive() => {
                    self.index.insert(Arc::new(found), version.e_tag);
                }
                Ok(_) => tokio::time::sleep(Duration::from_millis(5 << attempt)).await,
                Err(error) if error.reason == Reason::DataLoss => damaged = self.manifests.version(id).await?,
                // The conflict may have been with our own first try.
                Err(error) => return Err(NotExchanged { error, certain: self.store.is_exclusive() }),
            }
        }
        let message = format!("images/{id} is being written by many at once: try again");
        Err(Error::new(Reason::Busy, message).with(Detail::RetryInfo(Duration::from_secs(1))).into())
    }

    fn exchanged(&self, next: Arc<Manifest>, previous: Option<Arc<Manifest>>, version: UpdateVersion) -> Exchanged {
        self.index.insert(next.clone(), version.e_tag);
        Exchanged { manifest: next, previous, replayed: false }
    }

    async fn written_before(&self, next: &Manifest) -> Result<Option<UpdateVersion>> {
        let found = self.manifests.read(&next.id).await?;
        Ok(found.filter(|(found, _)| found == next).map(|(_, version)| version))
    }

    /// A write that failed may have been done all the same: its answer lost, or durable only in part.
    async fn after_failure(
        &self,
        next: Arc<Manifest>,
        previous: Option<Arc<Manifest>>,
        error: Error,
    ) -> Result<Exchanged, NotExchanged> {
        match self.written_before(&next).await {
            // A cloud may do it still, unless it refused.
            Ok(None) => {
                let certain = self.store.is_exclusive() || error.reason == Reason::NoSpace;
                Err(NotExchanged { error, certain })
            }
            Ok(Some(version)) if !self.store.is_exclusive() => Ok(self.exchanged(next, previous, version)),
            Ok(Some(version)) => {
                // It shows, but a power cut may take it away: it is not acknowledged, and a retry makes it sure.
                self.index.insert(next, version.e_tag);
                Err(NotExchanged { error, certain: false })
            }
            Err(_) => Err(NotExchanged { error, certain: false }),
        }
    }

    /// The next generation of an image: about the time in microseconds, and never one that was given before.
    pub(super) fn next_generation(&self, previous: Option<&Manifest>) -> i64 {
        let least = Utc::now().timestamp_micros().max(previous.map_or(0, |manifest| manifest.generation + 1));
        let next = |newest: i64| least.max(newest + 1);
        self.generation
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |newest| Some(next(newest)))
            .map_or(least, next)
    }
}
