//! proto3 JSON to and from serialised messages, by the tables of `build.rs`.
//!
//! The tables know what generated serde code does not: where in the request a value lies, so that an error names its
//! field; unknown numbers of enums, which are kept; fields given twice; what an `Any` holds.
//! <https://protobuf.dev/programming-guides/json/>

mod parse;
mod read;
mod record;
mod write;

pub use parse::parse;
pub use read::{read, read_field};
pub use write::{write, write_field};

use std::fmt;

use crate::error::{Error, Reason};
use crate::proto::google;
use crate::proto::wirephoto;

use super::method::Message;

/// Messages within messages that are read: what prost, behind every wire, takes as well.
const MAX_DEPTH: usize = 99;

/// JSON that is no message of its type, or a message that has no JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} {reason}", place(.path))]
pub struct JsonError {
    /// Where in the JSON, such as `image.labels`; empty for the whole.
    pub path: String,
    /// What is wrong there, such as `must be a string, not a number`.
    pub reason: String,
}

fn place(path: &str) -> String {
    if path.is_empty() { "the JSON".to_owned() } else { format!("`{}`", path.escape_default()) }
}

impl From<JsonError> for Error {
    /// As an error of the request.
    fn from(error: JsonError) -> Self {
        let message = error.to_string();
        Self::invalid(error.path, message)
    }
}

/// A message that the service made and that has no JSON: a defect of the service.
pub(super) fn unwritable(error: JsonError) -> Error {
    Error::new(Reason::Internal, "the answer has no JSON form: ask for it by gRPC").caused_by(error)
}

/// Where a value lies.
#[derive(Clone, Copy)]
enum Path<'a> {
    /// The whole, which lies here in the request.
    Root(&'a str),
    /// A field of a message, or an entry of a map.
    Field(&'a Path<'a>, &'a str),
    /// An item of an array.
    Item(&'a Path<'a>, usize),
}

impl Path<'_> {
    fn error(&self, reason: impl Into<String>) -> JsonError {
        JsonError { path: self.to_string(), reason: reason.into() }
    }
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root(path) => f.write_str(path),
            Self::Field(Self::Root(""), name) => f.write_str(name),
            Self::Field(parent, name) => write!(f, "{parent}.{name}"),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

/// The message of this full name, for an `Any` inside a message of `package`.
pub(super) fn known(name: &str, package: &[&'static Message]) -> Option<&'static Message> {
    let ours = [google::rpc::table::MESSAGES, google::protobuf::table::MESSAGES, wirephoto::v1::table::MESSAGES];
    let known = package.iter().chain(ours.into_iter().flatten());
    known.copied().find(|message| message.name == name)
}

/// The full name in a type URL, `type.googleapis.com/google.rpc.Help`.
fn type_name(url: &str) -> &str {
    url.rsplit('/').next().unwrap_or_default()
}
