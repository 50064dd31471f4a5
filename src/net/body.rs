//! Request bodies that end only when the client has said so, and that are drained when nobody reads them.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderValue, Request, Version, header};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use crate::silence::Silence;

/// An unread body is read on up to here, so that a client who is still sending gets to see the answer.
const DRAIN_LIMIT: usize = 64 << 20;
const DRAIN_TIME: Duration = Duration::from_secs(10);
/// Who sends nothing for so long is not in the middle of sending.
const DRAIN_SILENCE: Duration = Duration::from_secs(1);

/// The request with a body that tells a cut from an end.
///
/// One that is awaited for `silence` is cut: HTTP/1.1 has no ping that tells who is gone, and on HTTP/2 who answers pings may
/// still hold what others wait for. Only streams of messages may rest on HTTP/2, between two of them; `wire` looks at those.
pub(super) fn whole(request: Request<Incoming>, silence: Duration) -> Request<Body> {
    if request.body().is_end_stream() {
        return request.map(|_| Body::empty());
    }
    let http2 = request.version() == Version::HTTP_2;
    // Whoever awaits "100 Continue" sends nothing until the body is first read.
    let awaited = request.headers().contains_key(header::EXPECT);
    let streams = http2 && has_messages(&request);
    let silence = (!streams).then(|| Silence::new(silence));
    request
        .map(|incoming| Body::new(Whole { incoming: Some(incoming), http2, streams, awaited, silence, ended: false }))
}

/// Whether the body is one of messages in envelopes.
fn has_messages<T>(request: &Request<T>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    [&b"application/grpc"[..], b"application/connect+"]
        .iter()
        .any(|prefix| content_type.get(..prefix.len()).is_some_and(|beginning| beginning.eq_ignore_ascii_case(prefix)))
}

struct Whole {
    /// `None` once it was handed to the task that drains it.
    incoming: Option<Incoming>,
    http2: bool,
    /// Whether it is a stream of messages on HTTP/2.
    streams: bool,
    /// Whether the client holds the body back still.
    awaited: bool,
    silence: Option<Silence>,
    ended: bool,
}

/// The body stopped before its end.
#[derive(Debug, thiserror::Error)]
enum Cut {
    #[error("the stream was reset before its end")]
    Reset,
    #[error("nothing more of it came for {0:?}")]
    Silent(Duration),
    #[error(transparent)]
    Broken(#[from] hyper::Error),
}

impl http_body::Body for Whole {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        this.awaited = false;
        let Some(incoming) = this.incoming.as_mut().filter(|_| !this.ended) else { return Poll::Ready(None) };
        let Poll::Ready(frame) = Pin::new(&mut *incoming).poll_frame(cx) else {
            let Some(silence) = &mut this.silence else { return Poll::Pending };
            if !silence.is_over(cx) {
                return Poll::Pending;
            }
            this.ended = true;
            return Poll::Ready(Some(Err(Cut::Silent(silence.limit()).into())));
        };
        if let Some(silence) = &mut this.silence {
            silence.end();
        }
        // hyper takes RST_STREAM(NO_ERROR) for an end; only END_STREAM is one (RFC 9113 section 8.1).
        let reset = this.http2 && frame.is_none() && !incoming.is_end_stream();
        this.ended = !matches!(frame, Some(Ok(_)));
        Poll::Ready(match frame {
            None if reset => Some(Err(Cut::Reset.into())),
            frame => frame.map(|frame| frame.map_err(|error| Cut::Broken(error).into())),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.as_ref().is_none_or(Incoming::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.as_ref().map(Incoming::size_hint).unwrap_or_default()
    }
}

impl Drop for Whole {
    /// HTTP/1.1 can refuse a body only by closing, and closing on unread bytes destroys the answer on its way. HTTP/2 resets the
    /// stream, which some clients take for the answer's failure (curl before 8.0); those of RPC do not.
    fn drop(&mut self) {
        let Some(incoming) = self.incoming.take() else { return };
        if self.streams || self.awaited || self.ended || incoming.is_end_stream() {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(DRAIN_TIME, drain(incoming)));
        }
    }
}

async fn drain(mut incoming: Incoming) {
    let mut drained = 0;
    while drained < DRAIN_LIMIT {
        match tokio::time::timeout(DRAIN_SILENCE, incoming.frame()).await {
            Ok(Some(Ok(frame))) => drained += frame.data_ref().map_or(0, Bytes::len),
            _ => return,
        }
    }
}
