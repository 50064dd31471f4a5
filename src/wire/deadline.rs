//! When a call must be over: how each wire says it, and how an answer that has begun is ended by it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};
use http_body::{Body as _, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};

use super::Wire;
use super::envelope::Heads;
use crate::error::{Error, Reason, Result};

/// The moment by which a request must have been answered, through its last byte. Found in the request's extensions.
#[derive(Debug, Clone, Copy)]
pub struct Deadline(pub Instant);

pub(super) const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
const CONNECT_TIMEOUT_MS: HeaderName = HeaderName::from_static("connect-timeout-ms");
/// For JSON and bytes: seconds, with a fraction if wanted.
const X_REQUEST_TIMEOUT: HeaderName = HeaderName::from_static("x-request-timeout");
/// No timeout is longer, whatever was asked for.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// How long the caller waits at most, if it says so.
///
/// `grpc-timeout` as in PROTOCOL-HTTP2.md ("Timeout"); `Connect-Timeout-Ms`; `X-Request-Timeout` elsewhere.
///
/// # Errors
/// The header does not parse.
pub fn timeout(wire: Wire, headers: &HeaderMap) -> Result<Option<Duration>> {
    let (name, parse, form): (_, fn(&str) -> Option<Duration>, _) = match wire {
        Wire::Grpc | Wire::GrpcWeb => (GRPC_TIMEOUT, grpc_timeout, "1 to 8 digits and H, M, S, m, u or n"),
        Wire::Connect => (CONNECT_TIMEOUT_MS, connect_timeout, "milliseconds, in 1 to 10 digits"),
        Wire::Rest | Wire::Bytes | Wire::Page => (X_REQUEST_TIMEOUT, seconds, "seconds, such as 2.5"),
    };
    let Some(value) = headers.get(&name) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(parse);
    let wrong = || {
        let shown = String::from_utf8_lossy(value.as_bytes());
        Error::invalid(name.as_str(), format!("`{name}: {}` is no timeout: write {form}", shown.escape_default()))
    };
    parsed.map(|timeout| Some(timeout.min(LONGEST))).ok_or_else(wrong)
}

fn grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if !(1..=8).contains(&digits.len()) || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let number: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    })
}

fn connect_timeout(text: &str) -> Option<Duration> {
    let digits = (1..=10).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
    digits.then(|| text.parse().ok().map(Duration::from_millis)).flatten()
}

/// The timeout as `grpc-timeout` has it, which has eight digits: beyond them, in whole seconds.
pub(super) fn as_grpc_timeout(timeout: Duration) -> String {
    match timeout.as_millis() {
        millis @ ..=99_999_999 => format!("{millis}m"),
        millis => format!("{}S", millis.div_ceil(1000).min(99_999_999)),
    }
}

fn seconds(text: &str) -> Option<Duration> {
    let plain = text.len() <= 20 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !plain {
        return None;
    }
    Some(Duration::try_from_secs_f64(text.parse().ok()?).unwrap_or(LONGEST))
}

/// What a caller is told whose deadline passed.
pub fn passed() -> Error {
    Error::new(
        Reason::DeadlineExceeded,
        "the deadline passed before the answer was complete: allow more time, or ask for less",
    )
}

/// What ends a body whose deadline passes while it is sent.
type End = fn() -> Result<Frame<Bytes>, axum::Error>;

/// The answer, whose messages end at the deadline with what `end` makes: between two of them, since in the middle of one it
/// would be taken for a part of it.
pub(super) fn bound(response: Response<Body>, deadline: Deadline, end: End) -> Response<Body> {
    ended(response, deadline, end, Some(Heads::default()))
}

/// The answer, whose body breaks off at the deadline: the only way to say so once plain bytes have begun.
pub fn cut_at(response: Response<Body>, deadline: Deadline) -> Response<Body> {
    ended(response, deadline, || Err(axum::Error::new(passed())), None)
}

fn ended(response: Response<Body>, deadline: Deadline, end: End, heads: Option<Heads>) -> Response<Body> {
    response.map(|body| {
        if body.is_end_stream() {
            return body;
        }
        Body::new(Bounded { body: Some(body), deadline, sleep: None, over: false, end, heads })
    })
}

struct Bounded {
    /// `None` once the deadline has passed: nothing works on for it.
    body: Option<Body>,
    deadline: Deadline,
    /// Wakes whoever waits for the body.
    sleep: Option<Pin<Box<Sleep>>>,
    over: bool,
    end: End,
    /// Where in its messages the body is, if it has any.
    heads: Option<Heads>,
}

impl http_body::Body for Bounded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let Some(body) = this.body.as_mut() else { return Poll::Ready(None) };
        this.over = this.over || this.deadline.0 <= Instant::now();
        let within = this.heads.as_ref().is_some_and(|heads| !heads.between_messages());
        if !this.over || within {
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending if this.over => {}
                Poll::Pending => {
                    let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep_until(this.deadline.0)));
                    this.over = sleep.as_mut().poll(cx).is_ready();
                    if !this.over {
                        return Poll::Pending;
                    }
                }
                Poll::Ready(frame) => {
                    let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
                    if let (Some(heads), Some(data)) = (&mut this.heads, data) {
                        let Ok(()) = heads.follow(data, |_| Ok::<_, Infallible>(()));
                    }
                    return Poll::Ready(frame);
                }
            }
        }
        this.body = None;
        Poll::Ready(Some((this.end)()))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{as_grpc_timeout, connect_timeout, grpc_timeout, seconds};

    #[test]
    fn timeouts_parse_as_their_wires_say() {
        let good =
            [("1S", 1_000), ("99999999m", 99_999_999), ("2M", 120_000), ("1H", 3_600_000), ("5000u", 5), ("0n", 0)];
        for (text, millis) in good {
            assert_eq!(grpc_timeout(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in ["", "S", "1", "1s", "123456789S", "-1S", "1.5S", " 1S", "1SS", "é"] {
            assert_eq!(grpc_timeout(text), None, "{text}");
        }
        for (text, millis) in [("0", 0), ("250", 250), ("99999999", 99_999_999), ("9999999999", 9_999_999_999)] {
            let timeout = connect_timeout(text).unwrap();
            assert_eq!(timeout, Duration::from_millis(millis));
            let translated = grpc_timeout(&as_grpc_timeout(timeout)).unwrap();
            assert!(translated >= timeout && translated - timeout < Duration::from_secs(1), "{text}");
        }
        for text in ["", "-1", "1.5", "1m", " 1", "12345678901"] {
            assert_eq!(connect_timeout(text), None, "{text}");
        }
        assert_eq!(seconds("2.5"), Some(Duration::from_millis(2500)));
        assert_eq!(seconds("0"), Some(Duration::ZERO));
        for text in ["", "-1", "1e9", "inf", "NaN", "1s", "1.2.3", "."] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_timeout_panics(text in "\\PC{0,24}", digits in "[0-9.]{0,24}") {
            let _ = (connect_timeout(&text), connect_timeout(&digits));
            let _ = (grpc_timeout(&text), seconds(&text), grpc_timeout(&digits), seconds(&digits));
        }
    }
}
