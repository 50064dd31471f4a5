//! The one error of the project, and the one table of what each kind of failure is on every wire.
//!
//! Plain numbers and strings only: the wires turn them into gRPC statuses, JSON and problem documents.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// The domain of every [`ErrorInfo`](https://google.aip.dev/193) this server gives.
pub const DOMAIN: &str = "wirephoto";

/// What `Result` means throughout the crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A failure, as it will be told to a caller.
#[derive(Debug)]
pub struct Error {
    /// What kind of failure.
    pub reason: Reason,
    /// What was wrong, where, and what to do.
    pub message: Cow<'static, str>,
    /// Details for programs.
    pub details: Vec<Detail>,
    /// What it came from: for the log, never for the caller.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// A kind of failure: a row of [`Reason::row`]'s table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Malformed request, unknown field, bad id, bad token.
    InvalidRequest,
    /// A checksum or a size the caller gave does not match the bytes.
    ChecksumMismatch,
    /// The bytes are no image this server takes.
    NotAnImage,
    /// The bytes are another kind of image than was claimed.
    TypeMismatch,
    /// No or bad credentials.
    Unauthenticated,
    /// Not allowed.
    PermissionDenied,
    /// Not there.
    NotFound,
    /// The name is taken.
    AlreadyExists,
    /// The version the caller named is not the one kept.
    VersionMoved,
    /// A request id was used before, for other content.
    RequestIdReused,
    /// Larger than a limit.
    TooLarge,
    /// Busy, or over a rate.
    Busy,
    /// The store cannot be used now, or takes no writes.
    Unavailable,
    /// A range beyond the end.
    OutOfRange,
    /// The deadline passed.
    DeadlineExceeded,
    /// No space in the store.
    NoSpace,
    /// Stored bytes are damaged.
    DataLoss,
    /// The caller went away, or an upload was cut off.
    Aborted,
    /// Nothing here does that.
    Unimplemented,
    /// A defect of the server.
    Internal,
}

/// What a [`Reason`] is on the wires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// `google.rpc.ErrorInfo.reason`.
    pub name: &'static str,
    /// gRPC status code.
    pub code: Code,
    /// HTTP status on `/i`.
    pub bytes_status: u16,
    /// Whether the same request may simply be sent again.
    pub retry: Retry,
}

/// Whether sending the same request again is safe and of use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// It would fail in the same way.
    No,
    /// Yes, after a pause; what writes needs a request id.
    Yes,
    /// After reading the current state.
    AfterReading,
}

/// gRPC status codes, by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
#[allow(missing_docs)]
pub enum Code {
    Ok = 0,
    Cancelled = 1,
    Unknown = 2,
    InvalidArgument = 3,
    DeadlineExceeded = 4,
    NotFound = 5,
    AlreadyExists = 6,
    PermissionDenied = 7,
    ResourceExhausted = 8,
    FailedPrecondition = 9,
    Aborted = 10,
    OutOfRange = 11,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
    DataLoss = 15,
    Unauthenticated = 16,
}

impl Code {
    /// Every code, by number.
    pub const ALL: [Self; 17] = [
        Self::Ok,
        Self::Cancelled,
        Self::Unknown,
        Self::InvalidArgument,
        Self::DeadlineExceeded,
        Self::NotFound,
        Self::AlreadyExists,
        Self::PermissionDenied,
        Self::ResourceExhausted,
        Self::FailedPrecondition,
        Self::Aborted,
        Self::OutOfRange,
        Self::Unimplemented,
        Self::Internal,
        Self::Unavailable,
        Self::DataLoss,
        Self::Unauthenticated,
    ];

    /// The code of this number; `Unknown` for a number that is none.
    pub fn from_number(number: i32) -> Self {
        usize::try_from(number).ok().and_then(|number| Self::ALL.get(number).copied()).unwrap_or(Self::Unknown)
    }

    /// Its name in `google/rpc/code.proto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "OK",
            Self::Cancelled => "CANCELLED",
            Self::Unknown => "UNKNOWN",
            Self::InvalidArgument => "INVALID_ARGUMENT",
            Self::DeadlineExceeded => "DEADLINE_EXCEEDED",
            Self::NotFound => "NOT_FOUND",
            Self::AlreadyExists => "ALREADY_EXISTS",
            Self::PermissionDenied => "PERMISSION_DENIED",
            Self::ResourceExhausted => "RESOURCE_EXHAUSTED",
            Self::FailedPrecondition => "FAILED_PRECONDITION",
            Self::Aborted => "ABORTED",
            Self::OutOfRange => "OUT_OF_RANGE",
            Self::Unimplemented => "UNIMPLEMENTED",
            Self::Internal => "INTERNAL",
            Self::Unavailable => "UNAVAILABLE",
            Self::DataLoss => "DATA_LOSS",
            Self::Unauthenticated => "UNAUTHENTICATED",
        }
    }

    /// HTTP status of a JSON answer with this code (`google/rpc/code.proto`).
    pub fn http_status(self) -> u16 {
        match self {
            Self::Ok => 200,
            Self::InvalidArgument | Self::FailedPrecondition | Self::OutOfRange => 400,
            Self::Unauthenticated => 401,
            Self::PermissionDenied => 403,
            Self::NotFound => 404,
            Self::AlreadyExists | Self::Aborted => 409,
            Self::ResourceExhausted => 429,
            Self::Cancelled => 499,
            Self::Unknown | Self::Internal | Self::DataLoss => 500,
            Self::Unimplemented => 501,
            Self::Unavailable => 503,
            Self::DeadlineExceeded => 504,
        }
    }
}

impl Reason {
    /// Every reason, in the table's order.
    pub const ALL: [Self; 20] = [
        Self::InvalidRequest,
        Self::ChecksumMismatch,
        Self::NotAnImage,
        Self::TypeMismatch,
        Self::Unauthenticated,
        Self::PermissionDenied,
        Self::NotFound,
        Self::AlreadyExists,
        Self::VersionMoved,
        Self::RequestIdReused,
        Self::TooLarge,
        Self::Busy,
        Self::Unavailable,
        Self::OutOfRange,
        Self::DeadlineExceeded,
        Self::NoSpace,
        Self::DataLoss,
        Self::Aborted,
        Self::Unimplemented,
        Self::Internal,
    ];

    /// The table.
    pub fn row(self) -> Row {
        let row = |name, code, bytes_status, retry| Row { name, code, bytes_status, retry };
        match self {
            Self::InvalidRequest => row("INVALID_REQUEST", Code::InvalidArgument, 400, Retry::No),
            Self::ChecksumMismatch => row("CHECKSUM_MISMATCH", Code::InvalidArgument, 400, Retry::Yes),
            Self::NotAnImage => row("NOT_AN_IMAGE", Code::InvalidArgument, 415, Retry::No),
            Self::TypeMismatch => row("TYPE_MISMATCH", Code::InvalidArgument, 422, Retry::No),
            Self::Unauthenticated => row("UNAUTHENTICATED", Code::Unauthenticated, 401, Retry::No),
            Self::PermissionDenied => row("PERMISSION_DENIED", Code::PermissionDenied, 403, Retry::No),
            Self::NotFound => row("NOT_FOUND", Code::NotFound, 404, Retry::No),
            Self::AlreadyExists => row("ALREADY_EXISTS", Code::AlreadyExists, 412, Retry::No),
            Self::VersionMoved => row("VERSION_MOVED", Code::Aborted, 412, Retry::AfterReading),
            Self::RequestIdReused => row("REQUEST_ID_REUSED", Code::InvalidArgument, 400, Retry::No),
            Self::TooLarge => row("TOO_LARGE", Code::ResourceExhausted, 413, Retry::No),
            Self::Busy => row("BUSY", Code::ResourceExhausted, 429, Retry::Yes),
            Self::Unavailable => row("UNAVAILABLE", Code::Unavailable, 503, Retry::Yes),
            Self::OutOfRange => row("OUT_OF_RANGE", Code::OutOfRange, 416, Retry::No),
            Self::DeadlineExceeded => row("DEADLINE_EXCEEDED", Code::DeadlineExceeded, 504, Retry::Yes),
            Self::NoSpace => row("NO_SPACE", Code::ResourceExhausted, 507, Retry::Yes),
            Self::DataLoss => row("DATA_LOSS", Code::DataLoss, 500, Retry::No),
            Self::Aborted => row("CUT_OFF", Code::Aborted, 400, Retry::Yes),
            Self::Unimplemented => row("UNIMPLEMENTED", Code::Unimplemented, 501, Retry::No),
            Self::Internal => row("INTERNAL", Code::Internal, 500, Retry::No),
        }
    }

    /// The reason of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.row().name == name)
    }

    /// When it is given, in a few words.
    pub fn when(self) -> &'static str {
        match self {
            Self::InvalidRequest => "malformed, an unknown field, a bad id or token",
            Self::ChecksumMismatch => "a checksum or size does not match the bytes",
            Self::NotAnImage => "the bytes are no image that is taken",
            Self::TypeMismatch => "the bytes are another kind of image than claimed",
            Self::Unauthenticated => "no or bad credentials",
            Self::PermissionDenied => "not allowed, such as a page of another origin",
            Self::NotFound => "not there",
            Self::AlreadyExists => "the name is taken",
            Self::VersionMoved => "another version is kept than the one named",
            Self::RequestIdReused => "the request id was used for other content",
            Self::TooLarge => "over a limit",
            Self::Busy => "too much at once",
            Self::Unavailable => "the store does not answer, or takes no writes",
            Self::OutOfRange => "a range beyond the end",
            Self::DeadlineExceeded => "the caller's deadline passed",
            Self::NoSpace => "the store is full",
            Self::DataLoss => "stored bytes are damaged",
            Self::Aborted => "an upload ended before it was whole",
            Self::Unimplemented => "nothing here does that",
            Self::Internal => "a defect of the server; its log says which",
        }
    }
}

/// A detail of `google/rpc/error_details.proto`, each kind at most once in an error (AIP-193).
///
/// `ErrorInfo` is not here: every error has one, from its [`Reason`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Detail {
    /// Fields that are wrong: (path, what is wrong with it).
    BadRequest(Vec<(String, String)>),
    /// What a retry would find unchanged: (type, subject, description).
    PreconditionFailure(&'static str, String, String),
    /// A limit: (subject, description).
    QuotaFailure(String, String),
    /// When to try again.
    RetryInfo(Duration),
    /// The resource concerned: (type, name).
    ResourceInfo(&'static str, String),
    /// More of `ErrorInfo.metadata`.
    Metadata(BTreeMap<String, String>),
}

impl Error {
    /// A failure of this kind.
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, message: message.into(), details: Vec::new(), source: None }
    }

    /// [`Reason::InvalidRequest`] about one field.
    pub fn invalid(field: impl Into<String>, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        let violation = (field.into(), message.clone().into_owned());
        Self::new(Reason::InvalidRequest, message).with(Detail::BadRequest(vec![violation]))
    }

    /// [`Reason::NotFound`] for an image.
    pub fn image_not_found(id: impl fmt::Display) -> Self {
        Self::new(Reason::NotFound, format!("there is no image images/{id}"))
            .with(Detail::ResourceInfo("wirephoto.v1.Image", format!("images/{id}")))
    }

    /// [`Reason::TooLarge`], naming the limit and how to raise or get around it.
    pub fn too_large(subject: &str, message: impl Into<Cow<'static, str>>) -> Self {
        let message = message.into();
        let quota = Detail::QuotaFailure(subject.to_owned(), message.clone().into_owned());
        Self::new(Reason::TooLarge, message).with(quota)
    }

    /// [`Reason::Internal`]: the caller is told nothing of `source`, the log all of it.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::new(Reason::Internal, "the server failed; its log says why under this request's id").caused_by(source)
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, detail: Detail) -> Self {
        self.details.push(detail);
        self
    }

    /// Says what it came from.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Writes the hidden cause to the log, under the current request's span. Called once, by the wire that renders it.
    pub fn log(&self) {
        let Some(source) = &self.source else { return };
        let reason = self.reason.row().name;
        let first: &(dyn std::error::Error + 'static) = source.as_ref();
        let causes = std::iter::successors(Some(first), |cause| cause.source());
        let cause = causes.map(ToString::to_string).collect::<Vec<_>>().join(": ");
        match self.code() {
            Code::Internal | Code::DataLoss => tracing::error!(reason, cause, "{self}"),
            _ => tracing::warn!(reason, cause, "{self}"),
        }
    }

    /// gRPC status code.
    pub fn code(&self) -> Code {
        self.reason.row().code
    }

    /// When to try again, where that is known.
    pub fn retry_after(&self) -> Option<Duration> {
        self.details.iter().find_map(|detail| match detail {
            Detail::RetryInfo(pause) => Some(*pause),
            _ => None,
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}
