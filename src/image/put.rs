//! Putting an image: an upload taken in, looked at, and published.

use std::sync::Arc;

use chrono::Utc;
use futures::stream::Stream;

use super::id::ImageId;
use super::ingest::{self, Received, Terms};
use super::manifest::{Description, FORMAT_VERSION, Manifest, RequestMark};
use super::probe::{Probe, probe};
use super::publish::NotExchanged;
use super::requests::{Outcome, Request, reused};
use super::{Core, Piece, Put, Stored, fields};
use crate::error::{Error, Reason, Result};
use crate::store::StagedBlob;

/// Everything a publication needs, so that it can go on without its caller.
struct Publication {
    id: ImageId,
    put: Put,
    received: Received,
    probe: Probe,
    blob: StagedBlob,
    request: Option<Request>,
}

impl Core {
    pub(super) async fn put(
        self: &Arc<Self>,
        put: Put,
        content: impl Stream<Item = Result<Piece>> + Send,
    ) -> Result<Stored> {
        check(&put)?;
        ingest::check_size(put.size.unwrap_or(0), self.limits.max_image_size)?;
        let asked = ("put", &put.id, &put.display_name, &put.labels);
        let request = self.requests.begin(put.request_id.as_deref(), &asked).await?;
        let (id, current) = self.target(&put, request.as_ref()).await?;
        if let Some(request) = &request
            && let Some((fingerprint, outcome)) = request.done(current.as_deref())?
        {
            return self.replay(put, request, &fingerprint, outcome, content).await;
        }
        (put.precondition)(current.as_deref())?;

        let terms = self.terms(&put);
        let mut received = ingest::receive(content, Some(self.store.new_blob()), terms).await?;
        let blob = received.blob.take().ok_or_else(|| Error::internal("an upload was written nowhere"))?;
        let probe = match self.look(&received, &blob).await {
            Ok(probe) => probe,
            Err(error) => {
                blob.discard().await;
                return Err(error);
            }
        };
        let publication = Publication { id, put, received, probe, blob, request };
        let core = self.clone();
        // A caller who goes away must not cut it between the manifest and the record.
        self.store.settle(async move { core.publish(publication).await }).await?
    }

    /// Which image it will be, and what is there of it now.
    async fn target(&self, put: &Put, request: Option<&Request>) -> Result<(ImageId, Option<Arc<Manifest>>)> {
        if let Some(id) = &put.id {
            return Ok((id.clone(), self.readable(id).await?));
        }
        let Some(request) = request else {
            return Ok((ImageId::random(), None));
        };
        let id = request.image_id()?;
        let current = self.readable(&id).await?;
        if current.is_some() && request.done(current.as_deref())?.is_none() {
            // Made by a request of this id so long ago that it is not known any more.
            return Ok((ImageId::random(), None));
        }
        Ok((id, current))
    }

    /// The manifest that is there; none if it is damaged, so that putting the image again mends it.
    async fn readable(&self, id: &ImageId) -> Result<Option<Arc<Manifest>>> {
        match self.current(id).await {
            Err(error) if error.reason == Reason::DataLoss => Ok(None),
            current => Ok(current?.map(|(manifest, _)| manifest)),
        }
    }

    /// Answers a request that was done already, once its bytes have shown that it is the same.
    async fn replay(
        &self,
        put: Put,
        request: &Request,
        fingerprint: &str,
        outcome: Outcome,
        content: impl Stream<Item = Result<Piece>> + Send,
    ) -> Result<Stored> {
        let received = ingest::receive(content, None, self.terms(&put)).await?;
        let content = received.summary.sha256_hex();
        let Outcome::Put { manifest, created } = &outcome else {
            return Err(reused());
        };
        if request.fingerprint(&content) != fingerprint {
            return Err(reused());
        }
        let stored = Stored { manifest: Arc::new(manifest.clone()), created: *created };
        if !request.is_remembered() {
            request.remember(&content, outcome).await?;
        }
        Ok(stored)
    }

    fn terms(&self, put: &Put) -> Terms {
        Terms {
            max_size: self.limits.max_image_size,
            announced_size: put.size,
            claimed_type: put.claimed_type.clone(),
            hash_sha512: put.hash_sha512,
        }
    }

    async fn look(&self, received: &Received, blob: &StagedBlob) -> Result<Probe> {
        let (format, size, blob) = (received.format, received.summary.size, blob.open().await?);
        tokio::task::spawn_blocking(move || probe(format, size, blob.reader())).await.map_err(Error::internal)?
    }

    async fn publish(&self, publication: Publication) -> Result<Stored> {
        let Publication { id, put, received, probe, mut blob, request } = publication;
        let content = received.summary.sha256_hex();
        let mark = request.as_ref().map(|request| request.mark(&content));
        let _turn = self.writing.turn(&id).await;
        blob.publishing();
        let exchanged = self
            .exchange(&id, mark.as_ref(), |current| {
                (put.precondition)(current)?;
                Ok(self.manifest(&id, &put, &received, &probe, blob.id(), mark.clone(), current))
            })
            .await;
        let exchanged = match exchanged {
            Ok(exchanged) => exchanged,
            Err(NotExchanged { error, certain }) => {
                // A manifest that may be there must find its blob; if it is not, the blob is collected as an orphan.
                if certain {
                    blob.discard().await
                } else {
                    blob.keep()
                }
                return Err(error);
            }
        };
        let created = if exchanged.replayed {
            blob.discard().await;
            exchanged.manifest.create_time == exchanged.manifest.content_time
        } else {
            blob.keep();
            exchanged.previous.is_none()
        };
        if let Some(previous) = exchanged.previous {
            self.doom(&previous.blob);
        }
        if let Some(request) = &request {
            let manifest = Manifest::clone(&exchanged.manifest);
            request.remember(&content, Outcome::Put { manifest, created }).await?;
        }
        Ok(Stored { manifest: exchanged.manifest, created })
    }

    #[allow(
        clippy::too_many_arguments,
        reason = "each is a source of the manifest's fields, and no two belong together"
    )]
    fn manifest(
        &self,
        id: &ImageId,
        put: &Put,
        received: &Received,
        probe: &Probe,
        blob: &str,
        mark: Option<RequestMark>,
        current: Option<&Manifest>,
    ) -> Manifest {
        let now = current.map_or_else(Utc::now, |current| Utc::now().max(current.update_time));
        let kept_name = || current.map(|current| current.display_name.clone());
        let kept_labels = || current.map(|current| current.labels.clone());
        Manifest {
            format_version: FORMAT_VERSION,
            id: id.clone(),
            blob: blob.to_owned(),
            size: received.summary.size,
            format: received.format,
            width: probe.width,
            height: probe.height,
            orientation: probe.orientation,
            frame_count: probe.frame_count,
            has_alpha: probe.has_alpha,
            sha256: received.summary.sha256_hex(),
            crc32c: received.summary.crc32c,
            create_time: current.map_or(now, |current| current.create_time),
            update_time: now,
            content_time: now,
            generation: self.next_generation(current),
            revision: 0,
            display_name: put.display_name.clone().or_else(kept_name).unwrap_or_default(),
            labels: put.labels.clone().or_else(kept_labels).unwrap_or_default(),
            request: mark,
            description: Description::default(),
        }
    }
}

fn check(put: &Put) -> Result<()> {
    put.display_name.as_deref().map_or(Ok(()), fields::check_display_name)?;
    put.labels.as_ref().map_or(Ok(()), fields::check_labels)
}
