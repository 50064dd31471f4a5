//! From a store's URL to a store: which kind it is, and how each kind is set up.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, ObjectStoreScheme, RetryConfig};
use url::Url;

use super::Place;
use crate::error::{Error, Reason, Result};

/// What a store's URL may be, for people.
const FORMS: &str = "write file:DIR, memory:, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX";

/// Retries of one call to a cloud end after this long.
const RETRIES_END: Duration = Duration::from_secs(10);

/// A cloud that sends nothing for this long in the middle of an answer is gone.
const SILENCE: Duration = Duration::from_secs(20);

/// The lock of a folder that serves.
pub(super) const LOCK: &str = ".lock";

pub(super) fn open(url: &str, fsync: bool) -> Result<(Arc<dyn ObjectStore>, Place)> {
    if let Some(dir) = url.strip_prefix("file:") {
        open_folder(folder(url, dir)?, fsync)
    } else if matches!(url, "memory:" | "memory:/" | "memory://" | "memory:///") {
        Ok((Arc::new(InMemory::new()), Place::Memory))
    } else {
        open_cloud(url)
    }
}

/// `file:DIR` and the RFC 8089 form `file:///DIR`. The path is taken as it is written, as a shell would.
fn folder(url: &str, dir: &str) -> Result<PathBuf> {
    let path = match dir.strip_prefix("//") {
        Some(rest) if rest.starts_with('/') => rest,
        Some(_) => {
            return Err(invalid(url, "names a host: write file:DIR, or file:///DIR for an absolute path"));
        }
        None => dir,
    };
    if path.is_empty() {
        return Err(invalid(url, "names no folder: write file:DIR"));
    }
    Ok(PathBuf::from(path))
}

fn open_folder(dir: PathBuf, fsync: bool) -> Result<(Arc<dyn ObjectStore>, Place)> {
    let failed = |what: &str, error: std::io::Error| {
        let message = format!(
            "the store's folder {} cannot be {what}: choose another with --store, or mend its permissions",
            dir.display()
        );
        Error::new(Reason::Unavailable, message).caused_by(error)
    };
    std::fs::create_dir_all(&dir).map_err(|error| failed("created", error))?;
    let root = dir.canonicalize().map_err(|error| failed("opened", error))?;
    let lock = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(root.join(LOCK))
        .map_err(|error| failed("written", error))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let message = format!(
                "another wirephoto serves this folder, {}: stop it, or choose another folder with --store",
                dir.display()
            );
            return Err(Error::new(Reason::Unavailable, message));
        }
        Err(TryLockError::Error(error)) => return Err(failed("locked", error)),
    }
    if fsync {
        sync_folder(root.parent().unwrap_or(&root)).map_err(|error| failed("made durable", error))?;
    }
    let objects = LocalFileSystem::new_with_prefix(&root).map_err(Error::internal)?.with_fsync(fsync);
    Ok((Arc::new(objects), Place::Folder { root, fsync, lock: Arc::new(lock) }))
}

/// Makes creations and deletions in a folder durable.
pub(super) fn sync_folder(dir: &Path) -> std::io::Result<()> {
    // Folders cannot be opened as files on Windows; there the file system's own journal has to do.
    if cfg!(unix) { File::open(dir)?.sync_all() } else { Ok(()) }
}

fn open_cloud(url: &str) -> Result<(Arc<dyn ObjectStore>, Place)> {
    let parsed = Url::parse(url).map_err(|error| invalid(url, &format!("is no URL ({error}): {FORMS}")))?;
    let (scheme, prefix) = ObjectStoreScheme::parse(&parsed)
        .map_err(|_| invalid(url, &format!("is no kind of store this server knows: {FORMS}")))?;
    let text = parsed.as_str();
    let objects: Result<Arc<dyn ObjectStore>, _> = match scheme {
        ObjectStoreScheme::AmazonS3 => AmazonS3Builder::from_env()
            .with_url(text)
            .with_client_options(client("AWS"))
            .with_retry(retries())
            .build()
            .map(|store| Arc::new(store) as _),
        ObjectStoreScheme::GoogleCloudStorage => GoogleCloudStorageBuilder::from_env()
            .with_url(text)
            .with_client_options(client("GOOGLE"))
            .with_retry(retries())
            .build()
            .map(|store| Arc::new(store) as _),
        ObjectStoreScheme::MicrosoftAzure => MicrosoftAzureBuilder::from_env()
            .with_url(text)
            .with_client_options(client("AZURE"))
            .with_retry(retries())
            .build()
            .map(|store| Arc::new(store) as _),
        _ => {
            return Err(invalid(url, &format!("is no kind of store this server knows: {FORMS}")));
        }
    };
    let objects = objects.map_err(|error| {
        let message = "cannot be set up: give the cloud's settings in the environment, such as AWS_REGION, \
            AWS_ACCESS_KEY_ID and AWS_ENDPOINT";
        invalid(url, message).caused_by(error)
    })?;
    let objects = if prefix.as_ref().is_empty() { objects } else { Arc::new(PrefixStore::new(objects, prefix)) };
    Ok((objects, Place::Shared))
}

/// No total timeout: it would include the body, and cut slow readers of large images. A caller's deadline drops the
/// call; [`SILENCE`] ends what nobody waits for.
fn client(vendor: &str) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(plain_http_asked(vendor))
        .with_timeout_disabled()
        .with_connect_timeout(Duration::from_secs(5))
        .with_read_timeout(SILENCE)
}

/// Whether the environment names an endpoint without TLS, or allows it outright.
fn plain_http_asked(vendor: &str) -> bool {
    std::env::vars().any(|(name, value)| {
        name.starts_with(vendor)
            && ((name.contains("ENDPOINT") && value.starts_with("http://"))
                || (name.ends_with("_ALLOW_HTTP") && value.eq_ignore_ascii_case("true")))
    })
}

fn retries() -> RetryConfig {
    let backoff = BackoffConfig {
        init_backoff: Duration::from_millis(100),
        max_backoff: Duration::from_secs(2),
        ..BackoffConfig::default()
    };
    RetryConfig { backoff, max_retries: 6, retry_timeout: RETRIES_END }
}

/// A URL may carry a password, which no error repeats.
fn without_secrets(url: &str) -> String {
    match Url::parse(url) {
        Ok(mut parsed) if parsed.password().is_some() || parsed.query().is_some() => {
            // Both setters fail only for URLs that cannot have what is removed.
            let _ = parsed.set_password(None);
            parsed.set_query(None);
            parsed.to_string()
        }
        _ => url.to_owned(),
    }
}

fn invalid(url: &str, what: &str) -> Error {
    Error::invalid("store", format!("the store `{}` {what}", without_secrets(url).escape_default()))
}
