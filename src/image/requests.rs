//! Requests that are known again: the same id with the same content gets the first answer, other content is refused.
//!
//! A record outlives a restart. It is written after what the request did is durable and before that is acknowledged;
//! in between, [`RequestMark`] in the manifest tells. A delete leaves no manifest, so its record is written first.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::fields::check_request_id;
use super::id::ImageId;
use super::locks::{Locks, Turn};
use super::manifest::{Manifest, RequestMark};
use crate::error::{Error, Reason, Result};
use crate::store::{PutMode, StorageKey, Store};

/// How long a request is known again.
pub(super) const KEPT: TimeDelta = TimeDelta::hours(24);

/// What a request did.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It put an image, new or over another.
    Put { manifest: Manifest, created: bool },
    /// It changed metadata.
    Updated { manifest: Manifest },
    /// It deleted this generation, or found nothing to delete.
    Deleted { generation: Option<i64> },
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    fingerprint: String,
    time: DateTime<Utc>,
    outcome: Outcome,
}

/// The requests a store remembers.
#[derive(Debug)]
pub(super) struct Requests {
    store: Store,
    running: Locks<String>,
}

/// A request with an id, alone with it until this is dropped.
#[derive(Debug)]
pub(super) struct Request {
    id: String,
    /// Digest of what it asks for, without the bytes of an image.
    asked: String,
    digest: String,
    record: Option<Record>,
    store: Store,
    _turn: Turn<String>,
}

impl Requests {
    pub(super) fn new(store: Store) -> Self {
        Self { store, running: Locks::default() }
    }

    /// Waits for a running request of the same id, then looks up what is known of it. `asked` is everything it asks
    /// for but the bytes.
    ///
    /// # Errors
    /// [`Reason::RequestIdReused`] if it is known for having asked for something else.
    pub(super) async fn begin(&self, id: Option<&str>, asked: &impl Serialize) -> Result<Option<Request>> {
        let Some(id) = id else { return Ok(None) };
        check_request_id(id)?;
        let digest = digest(id.as_bytes());
        let turn = self.running.turn(&digest).await;
        let record = self.read(&digest).await?;
        let asked = digest_of(asked)?;
        let request = Request { id: id.to_owned(), asked, digest, record, store: self.store.clone(), _turn: turn };
        match &request.record {
            Some(record) if !request.asks(&record.fingerprint) => Err(reused()),
            _ => Ok(Some(request)),
        }
    }

    async fn read(&self, digest: &str) -> Result<Option<Record>> {
        let Some((bytes, _)) = self.store.read(&StorageKey::request(digest)).await? else {
            return Ok(None);
        };
        match serde_json::from_slice::<Record>(&bytes) {
            Ok(record) => Ok(Some(record).filter(|record| is_kept(record.time))),
            Err(error) => {
                // Half a record cannot be: this is one of another version, which must not be taken for none.
                let message = "what is known of this request id cannot be read: send the request with a new one";
                Err(Error::new(Reason::DataLoss, message).caused_by(error))
            }
        }
    }
}

impl Request {
    /// The id that an image made by this request has if the request names none.
    pub(super) fn image_id(&self) -> Result<ImageId> {
        let derived = digest(format!("image of request {}", self.id).as_bytes());
        derived[..32].parse().map_err(Error::internal)
    }

    /// Digest of all the request asks for; `content` is the digest of its bytes, if it has any.
    pub(super) fn fingerprint(&self, content: &str) -> String {
        format!("{}.{content}", self.asked)
    }

    fn asks(&self, fingerprint: &str) -> bool {
        fingerprint.split_once('.').is_some_and(|(asked, _)| asked == self.asked)
    }

    /// What the manifest that this request writes is marked with.
    pub(super) fn mark(&self, content: &str) -> RequestMark {
        RequestMark { id: self.id.clone(), fingerprint: self.fingerprint(content) }
    }

    /// What it did, and the fingerprint it did it with, if it ran before: by its record, or by its mark in the
    /// manifest of the image it is about.
    ///
    /// # Errors
    /// [`Reason::RequestIdReused`] if it asked for something else then.
    pub(super) fn done(&self, current: Option<&Manifest>) -> Result<Option<(String, Outcome)>> {
        if let Some(record) = &self.record {
            return Ok(Some((record.fingerprint.clone(), record.outcome.clone())));
        }
        let Some((manifest, mark)) = current.and_then(|manifest| Some((manifest, manifest.request.as_ref()?))) else {
            return Ok(None);
        };
        if mark.id != self.id || !is_kept(manifest.update_time) {
            return Ok(None);
        }
        if !self.asks(&mark.fingerprint) {
            return Err(reused());
        }
        let outcome = if manifest.revision > 0 {
            Outcome::Updated { manifest: manifest.clone() }
        } else {
            let created = manifest.create_time == manifest.content_time;
            Outcome::Put { manifest: manifest.clone(), created }
        };
        Ok(Some((mark.fingerprint.clone(), outcome)))
    }

    /// Remembers durably what it did, or is about to finish doing.
    pub(super) async fn remember(&self, content: &str, outcome: Outcome) -> Result<()> {
        let record = Record { fingerprint: self.fingerprint(content), time: Utc::now(), outcome };
        let bytes = serde_json::to_vec(&record).map_err(Error::internal)?;
        self.store.write(&StorageKey::request(&self.digest), bytes, PutMode::Overwrite).await?;
        Ok(())
    }

    /// Whether there is a record of it already.
    pub(super) fn is_remembered(&self) -> bool {
        self.record.is_some()
    }
}

pub(super) fn reused() -> Error {
    let message = "this request id was used before, for other content: give every new request an id of its own, \
        such as a new UUID";
    Error::new(Reason::RequestIdReused, message)
        .with(crate::error::Detail::BadRequest(vec![("request_id".to_owned(), message.to_owned())]))
}

fn is_kept(time: DateTime<Utc>) -> bool {
    Utc::now() - time < KEPT
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

fn digest_of(asked: &impl Serialize) -> Result<String> {
    Ok(digest(&serde_json::to_vec(asked).map_err(Error::internal)?))
}
