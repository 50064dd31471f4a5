//! What a call of the client fails with: the server's own words and details, or what went wrong on the way.

use std::fmt;
use std::time::Duration;

use prost::Message as _;

use super::Server;
use super::connect::Disagreement;
use crate::error::Code;
use crate::proto::google::rpc;
use crate::well_known::Any;

/// A failed call.
#[derive(Debug)]
pub struct Error {
    code: Code,
    message: String,
    details: Vec<Detail>,
    reached: Reached,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// How far a call that failed had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reached {
    /// Nothing of it left: there was no connection.
    Nobody,
    /// It left, and the connection broke before its end.
    Perhaps,
    /// It left, and its time was over before an answer came.
    Silence,
    /// The server answered, or it was never to leave.
    Server,
}

/// A detail of `google/rpc/error_details.proto` that came with an error.
#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    /// The reason for programs.
    ErrorInfo(rpc::ErrorInfo),
    /// Fields that are wrong.
    BadRequest(rpc::BadRequest),
    /// What must change before the call can succeed.
    PreconditionFailure(rpc::PreconditionFailure),
    /// A limit that was met.
    QuotaFailure(rpc::QuotaFailure),
    /// When to try again.
    RetryInfo(rpc::RetryInfo),
    /// The resource concerned.
    ResourceInfo(rpc::ResourceInfo),
    /// Of a type this client does not know, or damaged.
    Other(Any),
}

impl Error {
    /// A failure on this side of the connection.
    pub(super) fn local(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), details: Vec::new(), reached: Reached::Server, source: None }
    }

    /// The caller's time ran out on this side.
    pub(super) fn out_of_time() -> Self {
        let error = Self::local(Code::DeadlineExceeded, "the call did not end in the time it was given");
        Self { reached: Reached::Silence, ..error }
    }

    pub(super) fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    pub(super) fn from_status(status: tonic::Status, server: &Server) -> Self {
        let code = Code::from_number(status.code() as i32);
        if find_cause::<tonic::TimeoutExpired>(&status).is_some() {
            return Self::out_of_time();
        }
        if let Some(mut cause) = find_cause::<tonic::ConnectError>(&status) {
            while let Some(deeper) = cause.source() {
                cause = deeper;
            }
            if cause.is::<Disagreement>() {
                return Self::disagreement(server, &cause.to_string()).caused_by(status);
            }
            let message =
                format!("cannot reach {server}: {cause}; is the server running? `wirephoto serve` starts one");
            let error = Self::local(Code::Unavailable, message).caused_by(status);
            return Self { reached: Reached::Nobody, ..error };
        }
        if let Some(cause) = break_of(&status) {
            let message = format!("the connection to {server} broke: {cause}");
            let error = Self::local(Code::Unavailable, message).caused_by(status);
            return Self { reached: Reached::Perhaps, ..error };
        }
        let details = rpc::Status::decode(status.details()).map(|status| status.details).unwrap_or_default();
        let details = details.into_iter().map(Detail::unpack).collect();
        let message = match status.message() {
            "" => format!("{server} answered {code:?} without a message"),
            message => message.to_owned(),
        };
        // A status made on this side has the transport's error below it; one the server sent has nothing.
        let source = std::error::Error::source(&status).is_some().then(|| status.into());
        Self { code, message, details, reached: Reached::Server, source }
    }

    /// The two sides do not agree about TLS, and nothing of the call was taken.
    pub(super) fn disagreement(server: &Server, why: &str) -> Self {
        let error = Self::local(Code::Unavailable, format!("cannot reach {server}: {why}"));
        Self { reached: Reached::Nobody, ..error }
    }

    /// gRPC status code.
    pub fn code(&self) -> Code {
        self.code
    }

    /// What went wrong, in one line; the server's own words where it answered.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Details for programs.
    pub fn details(&self) -> &[Detail] {
        &self.details
    }

    /// `ErrorInfo.reason`, such as `ALREADY_EXISTS`; none for a failure the server did not report.
    pub fn reason(&self) -> Option<&str> {
        self.details.iter().find_map(|detail| match detail {
            Detail::ErrorInfo(info) => Some(info.reason.as_str()),
            _ => None,
        })
    }

    /// Whether the server was not reached at all, so that nothing was done and another call would fail as well.
    pub fn is_unreachable(&self) -> bool {
        self.reached == Reached::Nobody
    }

    /// Whether there was no connection, it broke, or nothing came.
    pub(super) fn is_lost(&self) -> bool {
        self.reached != Reached::Server
    }

    /// Whether the connection broke under the call.
    pub(super) fn is_broken(&self) -> bool {
        self.reached == Reached::Perhaps
    }

    /// When the server says to try again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.details.iter().find_map(|detail| match detail {
            Detail::RetryInfo(info) => {
                let delay = info.retry_delay.as_ref()?;
                Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?))
            }
            _ => None,
        })
    }
}

/// The message, then what the details add to it: other wrong fields, and when to try again.
impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        for detail in &self.details {
            let Detail::BadRequest(request) = detail else { continue };
            for violation in &request.field_violations {
                if !self.message.contains(&violation.description) {
                    write!(f, "; {}: {}", violation.field, violation.description)?;
                }
            }
        }
        if let Some(pause) = self.retry_after() {
            write!(f, "; try again in {pause:?}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as _)
    }
}

impl Detail {
    fn unpack(any: Any) -> Self {
        fn decode<T: prost::Message + Default>(any: Any, detail: fn(T) -> Detail) -> Detail {
            T::decode(any.value.clone()).map(detail).unwrap_or(Detail::Other(any))
        }
        match any.type_name() {
            "google.rpc.ErrorInfo" => decode(any, Self::ErrorInfo),
            "google.rpc.BadRequest" => decode(any, Self::BadRequest),
            "google.rpc.PreconditionFailure" => decode(any, Self::PreconditionFailure),
            "google.rpc.QuotaFailure" => decode(any, Self::QuotaFailure),
            "google.rpc.RetryInfo" => decode(any, Self::RetryInfo),
            "google.rpc.ResourceInfo" => decode(any, Self::ResourceInfo),
            _ => Self::Other(any),
        }
    }
}

/// The cause of this type, if there is one.
fn find_cause<T: std::error::Error + 'static>(status: &tonic::Status) -> Option<&(dyn std::error::Error + 'static)> {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        if error.is::<T>() {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

/// What ended the connection under the call, if that is what happened.
fn break_of(status: &tonic::Status) -> Option<&(dyn std::error::Error + 'static)> {
    let mut cause = std::error::Error::source(status);
    while let Some(error) = cause {
        let broke = if let Some(error) = error.downcast_ref::<h2::Error>() {
            error.is_io() || error.is_go_away()
        } else if let Some(error) = error.downcast_ref::<hyper::Error>() {
            error.is_closed() || error.is_canceled() || error.is_incomplete_message() || error.is_timeout()
        } else {
            error.is::<std::io::Error>()
        };
        if broke {
            return Some(error);
        }
        cause = error.source();
    }
    None
}

#[cfg(test)]
impl Error {
    pub(super) fn answered_for_tests(code: Code, retry_after: Option<i64>) -> Self {
        let delay = |seconds| rpc::RetryInfo { retry_delay: Some(pbjson_types::Duration { seconds, nanos: 0 }) };
        let details = retry_after.map(|seconds| Detail::RetryInfo(delay(seconds))).into_iter().collect();
        Self { details, ..Self::local(code, "") }
    }

    pub(super) fn unsent_for_tests() -> Self {
        Self { reached: Reached::Nobody, ..Self::local(Code::Unavailable, "") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server() -> Server {
        "http://x".parse().unwrap()
    }

    fn status(details: Vec<Any>) -> tonic::Status {
        let details = rpc::Status { code: 3, message: "page_size is -1".into(), details }.encode_to_vec();
        tonic::Status::with_details(tonic::Code::InvalidArgument, "page_size is -1", details.into())
    }

    #[test]
    fn details_are_decoded_and_said() {
        let violation = |field: &str, description: &str| rpc::bad_request::FieldViolation {
            field: field.into(),
            description: description.into(),
            ..Default::default()
        };
        let error = Error::from_status(
            status(vec![
                Any::pack(
                    "google.rpc.ErrorInfo",
                    &rpc::ErrorInfo { reason: "INVALID_REQUEST".into(), ..Default::default() },
                ),
                Any::pack(
                    "google.rpc.BadRequest",
                    &rpc::BadRequest {
                        field_violations: vec![
                            violation("page_size", "page_size is -1"),
                            violation("filter", "unbalanced"),
                        ],
                    },
                ),
                Any::pack(
                    "google.rpc.RetryInfo",
                    &rpc::RetryInfo { retry_delay: Some(pbjson_types::Duration { seconds: 2, nanos: 0 }) },
                ),
                Any { type_url: "type.googleapis.com/library.v1.Overdue".into(), value: vec![8, 1].into() },
            ]),
            &server(),
        );
        assert_eq!(error.code(), Code::InvalidArgument);
        assert_eq!(error.reason(), Some("INVALID_REQUEST"));
        assert_eq!(error.retry_after(), Some(Duration::from_secs(2)));
        assert!(matches!(error.details()[3], Detail::Other(_)));
        assert_eq!(error.to_string(), "page_size is -1; filter: unbalanced; try again in 2s");
    }

    #[test]
    fn damaged_details_do_not_hide_the_message() {
        let mut damaged = Any::pack("google.rpc.ErrorInfo", &rpc::ErrorInfo::default());
        damaged.value = vec![0xff].into();
        let error = Error::from_status(status(vec![damaged]), &server());
        assert!(matches!(error.details()[0], Detail::Other(_)));
        let error = Error::from_status(
            tonic::Status::with_details(tonic::Code::NotFound, "gone", vec![0xff, 0xff].into()),
            &server(),
        );
        assert_eq!((error.to_string().as_str(), error.details().len()), ("gone", 0));
        let error = Error::from_status(tonic::Status::new(tonic::Code::NotFound, ""), &server());
        assert_eq!(error.to_string(), "http://x answered NotFound without a message");
    }
}
