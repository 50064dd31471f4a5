//! Changing an image's metadata.

use std::collections::BTreeMap;
use std::sync::Arc;

use chrono::Utc;

use super::manifest::{Manifest, RequestMark};
use super::requests::{Outcome, Request, reused};
use super::{Core, LabelChange, Update, fields};
use crate::error::{Error, Result};

impl Core {
    pub(super) async fn update(self: &Arc<Self>, update: Update) -> Result<Arc<Manifest>> {
        update.display_name.as_deref().map_or(Ok(()), fields::check_display_name)?;
        let asked = ("update", &update.id, &update.display_name, &update.labels);
        let request = self.requests.begin(update.request_id.as_deref(), &asked).await?;
        let core = self.clone();
        // A caller who goes away must not cut it between the manifest and the record.
        self.store.settle(async move { core.apply(update, request).await }).await?
    }

    async fn apply(&self, update: Update, request: Option<Request>) -> Result<Arc<Manifest>> {
        let _turn = self.writing.turn(&update.id).await;
        if let Some(request) = &request {
            let current = self.current(&update.id).await?;
            let current = current.as_ref().map(|(manifest, _)| manifest.as_ref());
            if let Some((_, outcome)) = request.done(current)? {
                return replay(request, outcome).await;
            }
        }
        let mark = request.as_ref().map(|request| request.mark(""));
        let exchanged = self
            .exchange(&update.id, mark.as_ref(), |current| {
                let Some(current) = current else {
                    return Err(Error::image_not_found(&update.id));
                };
                (update.precondition)(Some(current))?;
                changed(current, &update, mark.clone())
            })
            .await
            .map_err(|failure| failure.error)?;
        if let Some(request) = &request {
            let manifest = Manifest::clone(&exchanged.manifest);
            request.remember("", Outcome::Updated { manifest }).await?;
        }
        Ok(exchanged.manifest)
    }
}

async fn replay(request: &Request, outcome: Outcome) -> Result<Arc<Manifest>> {
    let Outcome::Updated { manifest } = &outcome else {
        return Err(reused());
    };
    let manifest = Arc::new(manifest.clone());
    if !request.is_remembered() {
        request.remember("", outcome).await?;
    }
    Ok(manifest)
}

fn changed(current: &Manifest, update: &Update, mark: Option<RequestMark>) -> Result<Manifest> {
    let mut next = current.clone();
    if let Some(name) = &update.display_name {
        next.display_name.clone_from(name);
    }
    if let Some(change) = &update.labels {
        relabel(&mut next.labels, change);
        fields::check_labels(&next.labels)?;
    }
    next.revision += 1;
    next.update_time = Utc::now().max(current.update_time);
    next.request = mark;
    Ok(next)
}

fn relabel(labels: &mut BTreeMap<String, String>, change: &LabelChange) {
    match change {
        LabelChange::Replace(all) => labels.clone_from(all),
        LabelChange::Merge(some) => {
            for (key, value) in some {
                match value {
                    Some(value) => labels.insert(key.clone(), value.clone()),
                    None => labels.remove(key),
                };
            }
        }
    }
}
