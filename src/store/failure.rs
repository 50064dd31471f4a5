//! What a failure of the store is to a caller: what was wrong and the mend, with the internals kept for the log.

use std::error::Error as StdError;
use std::io;
use std::time::Duration;

use object_store::Error as StoreError;

use crate::error::{Detail, Error, Reason};

/// When a caller may try a store again that failed for a reason that passes.
const PAUSE: Duration = Duration::from_secs(1);

/// What was being done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Doing {
    Reading,
    Writing,
}

/// The error for a caller of a store's error.
pub(crate) fn told(error: StoreError, doing: Doing) -> Error {
    if let Some(cause) = io_cause(&error) {
        return told_kind(cause, doing).caused_by(error);
    }
    match error {
        StoreError::PermissionDenied { .. } | StoreError::Unauthenticated { .. } => {
            unavailable("the store refuses this server's credentials: the operator must mend them")
        }
        StoreError::Generic { ref source, .. } if asked_the_machine(source.as_ref()) => unavailable(
            "the store was given no credentials, and this machine has none of its own: the operator must set them, for S3 \
             as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ),
        StoreError::Generic { .. } => unavailable("the store does not answer as it should: try again"),
        // Not found where there must be something, and everything that only a defect of ours can cause.
        _ => return Error::internal(error),
    }
    .caused_by(error)
}

/// Whether it comes of asking the cloud's machine itself for credentials, as is done when none were given.
fn asked_the_machine(error: &(dyn StdError + 'static)) -> bool {
    let text = error.to_string();
    ["http://169.254.169.254/", "http://metadata.google.internal/"].iter().any(|address| text.contains(address))
}

/// The error for a caller of a failure to read or write a file.
pub(crate) fn told_io(error: io::Error, doing: Doing) -> Error {
    told_kind(&error, doing).caused_by(error)
}

fn told_kind(error: &io::Error, doing: Doing) -> Error {
    use io::ErrorKind as Kind;
    match (error.kind(), doing) {
        (Kind::StorageFull | Kind::QuotaExceeded, _) => {
            let message = "the store is full: delete images or give it more space, then try again";
            Error::new(Reason::NoSpace, message).with(Detail::QuotaFailure("store".to_owned(), message.to_owned()))
        }
        (Kind::FileTooLarge, _) => {
            Error::new(Reason::NoSpace, "the image is larger than the store's file system takes in one file")
        }
        (Kind::ReadOnlyFilesystem | Kind::PermissionDenied, Doing::Writing) => unavailable(
            "the store takes no writes: it is read-only for this server, and the operator must make it writable",
        ),
        (Kind::PermissionDenied, Doing::Reading) => {
            unavailable("the store may not be read by this server: the operator must allow it")
        }
        (Kind::UnexpectedEof, Doing::Reading) => data_loss(),
        (_, Doing::Reading) => unavailable("the store cannot be read now: try again"),
        (_, Doing::Writing) => unavailable("the store cannot be written now: try again"),
    }
}

/// Stored bytes are fewer than were stored.
pub(crate) fn data_loss() -> Error {
    Error::new(
        Reason::DataLoss,
        "the stored bytes of this image are damaged: put the image again, or restore the store from a backup",
    )
}

/// [`Reason::Unavailable`], with the pause after which to try again.
pub(crate) fn unavailable(message: &'static str) -> Error {
    Error::new(Reason::Unavailable, message).with(Detail::RetryInfo(PAUSE))
}

fn io_cause(error: &StoreError) -> Option<&io::Error> {
    // A cloud's HTTP failures carry io errors too, of sockets: those say nothing of the store itself.
    let local = matches!(error, StoreError::Generic { store: "LocalFileSystem", .. } | StoreError::NotFound { .. });
    let mut cause: Option<&(dyn StdError + 'static)> = local.then(|| StdError::source(error)).flatten();
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(error: io::Error) -> StoreError {
        StoreError::Generic { store: "LocalFileSystem", source: Box::new(error) }
    }

    #[test]
    fn a_full_or_read_only_store_says_so_and_names_the_mend() {
        // ENOSPC, EDQUOT
        for number in [28, 122] {
            let error = told(local(io::Error::from_raw_os_error(number)), Doing::Writing);
            assert_eq!(error.reason, Reason::NoSpace);
            assert!(error.message.contains("delete images"), "{error}");
        }
        // EROFS, EACCES
        for number in [30, 13] {
            let error = told(local(io::Error::from_raw_os_error(number)), Doing::Writing);
            assert_eq!(error.reason, Reason::Unavailable);
            assert!(error.message.contains("takes no writes"), "{error}");
        }
    }

    #[test]
    fn who_gave_no_credentials_is_told_which_to_give() {
        let text = "Error performing PUT http://169.254.169.254/latest/api/token in 1.6s";
        let error = told(StoreError::Generic { store: "S3", source: text.into() }, Doing::Reading);
        assert!(error.message.contains("AWS_ACCESS_KEY_ID"), "{error}");
    }

    #[test]
    fn internals_are_for_the_log_alone() {
        let error = told(
            StoreError::Generic { store: "S3", source: "10.0.0.7:9000 secret-bucket refused".into() },
            Doing::Reading,
        );
        assert_eq!(error.reason, Reason::Unavailable);
        assert!(error.retry_after().is_some());
        assert!(!error.to_string().contains("secret"));
        assert!(StdError::source(&error).is_some_and(|source| source.to_string().contains("secret-bucket")));
    }
}
