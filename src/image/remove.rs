//! Deleting an image: its manifest at once and durably, its bytes after a while.

use std::sync::Arc;

use super::requests::{Outcome, Request, reused};
use super::{Core, Delete};
use crate::error::{Error, Reason, Result};

impl Core {
    pub(super) async fn delete(self: &Arc<Self>, delete: Delete) -> Result<()> {
        let asked = ("delete", &delete.id, delete.allow_missing);
        let request = self.requests.begin(delete.request_id.as_deref(), &asked).await?;
        let core = self.clone();
        // A caller who goes away must not cut it between the record and the manifest.
        self.store.settle(async move { core.remove(delete, request).await }).await?
    }

    async fn remove(&self, delete: Delete, request: Option<Request>) -> Result<()> {
        let _turn = self.writing.turn(&delete.id).await;
        let current = self.current(&delete.id).await?.map(|(manifest, _)| manifest);
        if let Some(request) = &request
            && request.is_remembered()
            && let Some((_, outcome)) = request.done(None)?
        {
            let Outcome::Deleted { generation } = outcome else {
                return Err(reused());
            };
            return match current {
                // It was cut off after its record: it is finished now.
                Some(current) if Some(current.generation) == generation => self.take_away(&current).await,
                _ => Ok(()),
            };
        }
        let Some(current) = current else {
            if !delete.allow_missing {
                return Err(Error::image_not_found(&delete.id));
            }
            return remember(request.as_ref(), None).await.map(drop);
        };
        (delete.precondition)(Some(&current))?;
        let remembered = remember(request.as_ref(), Some(current.generation)).await?;
        self.take_away(&current).await?;
        // The manifest's own room may do.
        if !remembered && !remember(request.as_ref(), Some(current.generation)).await.unwrap_or(false) {
            tracing::warn!("a delete could not be recorded: its retry will be told that there is no such image");
        }
        Ok(())
    }

    async fn take_away(&self, current: &super::Manifest) -> Result<()> {
        self.manifests.remove(&current.id).await?;
        self.index.remove(&current.id);
        self.doom(&current.blob);
        Ok(())
    }
}

/// Whether it is known again. It need not be in a full store: who deletes to make room must not be told to delete first.
async fn remember(request: Option<&Request>, generation: Option<i64>) -> Result<bool> {
    let Some(request) = request else { return Ok(true) };
    match request.remember("", Outcome::Deleted { generation }).await {
        Ok(()) => Ok(true),
        Err(error) if error.reason == Reason::NoSpace => Ok(false),
        Err(error) => Err(error),
    }
}
