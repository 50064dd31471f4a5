//! What callers without credentials may do.

use axum::extract::Request;
use http::Method;

use crate::error::{Error, Reason, Result};
use crate::wire::{Spoken, Wire};

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// See and download.
    Read,
    /// Change and delete too.
    Write,
}

/// Refuses what an anonymous caller may not do.
pub(super) fn check(anonymous: Access, spoken: &Spoken, request: &Request) -> Result<()> {
    if anonymous == Access::Write || reads(spoken, request) {
        return Ok(());
    }
    let message =
        "without credentials this server only lets images be read: ask its operator for --allow-anonymous=write";
    Err(Error::new(Reason::Unauthenticated, message))
}

/// An RPC reads if it is declared so; what is in no table (health, reflection) changes nothing. Elsewhere the method tells.
fn reads(spoken: &Spoken, request: &Request) -> bool {
    match spoken.wire {
        Wire::Grpc | Wire::GrpcWeb | Wire::Connect => spoken.method.is_none_or(|rpc| rpc.no_side_effects),
        Wire::Rest | Wire::Bytes | Wire::Page => {
            [Method::GET, Method::HEAD, Method::OPTIONS].contains(request.method())
        }
    }
}
