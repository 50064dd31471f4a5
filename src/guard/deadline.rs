//! Every request ends by its deadline: the caller's, within the server's maximum, or the server's own.
//!
//! Before the answer begins, the call is dropped with all that it waits for and refused in the wire's own words. After, its
//! body ends: the RPC wires say the status in it, plain bytes break off.

use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use http::Response;
use tokio::time::{Instant, timeout_at};
use tower::ServiceExt as _;

use super::Answers;
use crate::error::Result;
use crate::wire::Wire;
use crate::wire::deadline::{self, Deadline};

/// What a caller gets who asks for more.
const MAXIMUM: Duration = Duration::from_secs(6 * 3600);
/// What a caller gets who does not ask: a gigabyte at 300 kB a second.
const DEFAULT: Duration = Duration::from_secs(3600);

/// The deadline of a request that arrives now. `unbounded` is for calls that are meant to stay open, such as a watch on
/// health: only a deadline of the caller's ends those.
pub(super) fn of(request: &Request, wire: Wire, unbounded: bool) -> Result<Option<Deadline>> {
    let asked = deadline::timeout(wire, request.headers())?;
    if asked.is_none() && unbounded {
        return Ok(None);
    }
    Ok(Some(Deadline(Instant::now() + asked.unwrap_or(DEFAULT).min(MAXIMUM))))
}

/// Runs the request until its deadline; none when that passed before the answer began.
pub(super) async fn run(
    wire: Wire,
    deadline: Deadline,
    mut request: Request,
    inner: impl Answers,
) -> Option<Response<Body>> {
    if deadline.0 <= Instant::now() {
        return None;
    }
    request.extensions_mut().insert(deadline);
    let Ok(response) = timeout_at(deadline.0, inner.oneshot(request)).await.ok()?;
    Some(match wire {
        Wire::Bytes | Wire::Page => deadline::cut_at(response, deadline),
        Wire::Grpc | Wire::GrpcWeb | Wire::Connect | Wire::Rest => response,
    })
}
