//! How long a call may take, and when what failed is tried again.

use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::Error;
use crate::error::Code;
use crate::proto::wirephoto::v1::table::IMAGE_SERVICE;

/// What a call without bytes may take unless the caller says otherwise.
const DEFAULT_CALL: Duration = Duration::from_secs(30);
/// What a transfer may take: the longest a server grants. A large image on a slow line takes what it takes, and
/// keepalive finds a server that is gone.
const DEFAULT_TRANSFER: Duration = Duration::from_secs(6 * 3600);
/// A pause that a server names is waited for up to here; a longer one is the caller's to wait for.
const LONGEST_NAMED_PAUSE: Duration = Duration::from_secs(60);

/// What every call of a client goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Policy {
    timeout: Option<Duration>,
}

impl Policy {
    pub(super) fn new(timeout: Option<Duration>) -> Self {
        Self { timeout }
    }

    /// The deadline of a call that begins now and moves no image.
    pub(super) fn call(self) -> Deadline {
        Deadline::after(self.timeout.unwrap_or(DEFAULT_CALL))
    }

    /// The deadline of an upload or download that begins now.
    pub(super) fn transfer(self) -> Deadline {
        Deadline::after(self.timeout.unwrap_or(DEFAULT_TRANSFER))
    }
}

/// When a call must have ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deadline {
    end: Instant,
}

impl Deadline {
    /// In `timeout`, or in a century, which gRPC and the clock can still say.
    pub(super) fn after(timeout: Duration) -> Self {
        Self { end: Instant::now() + timeout.min(Duration::from_secs(100 * 365 * 86_400)) }
    }

    /// The time that is left.
    pub(super) fn left(self) -> Duration {
        self.end.saturating_duration_since(Instant::now())
    }

    /// What `work` gives, or [`DeadlineExceeded`](crate::error::Code::DeadlineExceeded).
    pub(super) async fn limit<T>(self, work: impl Future<Output = T>) -> Result<T, Error> {
        timeout_at(self.end, work).await.map_err(|_| Error::out_of_time())
    }
}

/// Whether a call of `method` may arrive twice: it has no side effects, or its request id lets the server know it
/// again.
pub(super) fn repeatable(method: &str, request_id: &str) -> bool {
    let no_side_effects = IMAGE_SERVICE.iter().any(|known| known.name == method && known.no_side_effects);
    no_side_effects || !request_id.is_empty()
}

/// How often, and after which pauses, what failed is tried again.
#[derive(Debug, Clone, Copy)]
pub(super) struct Retry {
    /// Attempts in all.
    attempts: u32,
    /// The first pause; each is twice the one before.
    first: Duration,
    longest: Duration,
}

impl Retry {
    /// Of a call: soon, since somebody waits.
    pub(super) const CALL: Self =
        Self { attempts: 3, first: Duration::from_millis(100), longest: Duration::from_secs(1) };
    /// Of a download that has begun, counted from its last bytes: as long as a server takes to start again.
    pub(super) const RESUME: Self =
        Self { attempts: 10, first: Duration::from_millis(100), longest: Duration::from_secs(5) };
    /// Of an address that could not be reached: for ever.
    pub(super) const PROBE: Self =
        Self { attempts: u32::MAX, first: Duration::from_millis(200), longest: Duration::from_secs(10) };

    /// The pause after the `made`th attempt, between half of its nominal length and all of it. `jitter` is below 1.
    pub(super) fn backoff(self, made: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(1 << made.saturating_sub(1).min(16));
        doubled.min(self.longest).mul_f64(0.5 + jitter / 2.0)
    }

    /// The pause before the next attempt, after `made` of them; none when `failure` is to be the answer.
    ///
    /// `repeatable` says whether the call may arrive twice; `left` is the caller's time.
    fn pause(self, failure: &Error, made: u32, repeatable: bool, left: Duration, jitter: f64) -> Option<Duration> {
        let passing = match failure.code() {
            Code::Unavailable => repeatable || failure.is_unreachable(),
            // The server's own limit. When it was the caller's, no time is left.
            Code::DeadlineExceeded => repeatable,
            _ => false,
        };
        if !passing || made >= self.attempts {
            return None;
        }
        let pause = match failure.retry_after() {
            Some(named) if named > LONGEST_NAMED_PAUSE => return None,
            Some(named) => named,
            None => self.backoff(made, jitter),
        };
        (pause < left).then_some(pause)
    }
}

/// The attempts of one call.
#[derive(Debug)]
pub(super) struct Attempts {
    retry: Retry,
    repeatable: bool,
    pub(super) deadline: Deadline,
    made: u32,
}

impl Attempts {
    pub(super) fn new(retry: Retry, repeatable: bool, deadline: Deadline) -> Self {
        Self { retry, repeatable, deadline, made: 0 }
    }

    /// After a failed attempt: the pause before the next one, if there shall be one.
    pub(super) fn again(&mut self, failure: &Error) -> Option<Duration> {
        self.made += 1;
        self.retry.pause(failure, self.made, self.repeatable, self.deadline.left(), jitter())
    }

    /// Counts anew: what was asked for has begun to come.
    pub(super) fn progressed(&mut self) {
        self.made = 0;
    }
}

/// A random number from 0 to below 1.
pub(super) fn jitter() -> f64 {
    f64::from(uuid::Uuid::new_v4().as_fields().0) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(3600);

    fn failure(code: Code) -> Error {
        Error::answered_for_tests(code, None)
    }

    fn pause(failure: &Error, made: u32, repeatable: bool, left: Duration) -> Option<Duration> {
        Retry::CALL.pause(failure, made, repeatable, left, 0.0)
    }

    #[test]
    fn only_what_may_arrive_twice_is_sent_twice() {
        for method in ["GetImage", "ListImages", "DownloadImage", "BatchGetImages"] {
            assert!(repeatable(method, ""), "{method}");
        }
        for method in ["UpdateImage", "DeleteImage", "UploadImage", "CreateImage", "NoSuchMethod"] {
            assert!(!repeatable(method, ""), "{method}");
            assert!(repeatable(method, "id"), "{method}");
        }
        for code in [Code::Unavailable, Code::DeadlineExceeded] {
            assert!(pause(&failure(code), 1, true, LONG).is_some(), "{code:?}");
            assert_eq!(pause(&failure(code), 1, false, LONG), None, "{code:?}");
        }
        // What never left may always be sent.
        let unsent = Error::unsent_for_tests();
        assert!(pause(&unsent, 1, false, LONG).is_some());
    }

    #[test]
    fn other_failures_are_answers() {
        for number in 1..=16 {
            let code = Code::from_number(number);
            let again = pause(&failure(code), 1, true, LONG).is_some();
            assert_eq!(again, matches!(code, Code::Unavailable | Code::DeadlineExceeded), "{code:?}");
        }
    }

    #[test]
    fn three_attempts_and_no_more_than_the_callers_time() {
        let unavailable = failure(Code::Unavailable);
        assert!(pause(&unavailable, 2, true, LONG).is_some());
        assert_eq!(pause(&unavailable, 3, true, LONG), None);
        assert_eq!(pause(&unavailable, 1, true, Duration::from_millis(50)), None);
        assert_eq!(pause(&failure(Code::DeadlineExceeded), 1, true, Duration::ZERO), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_differ_by_chance() {
        let nominal = |made| Retry::CALL.backoff(made, 1.0).as_millis();
        assert_eq!([1, 2, 3, 4, 5, 60].map(nominal), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(Retry::CALL.backoff(1, 0.0).as_millis(), 50);
        let chances: Vec<f64> = (0..100).map(|_| jitter()).collect();
        assert!(chances.iter().all(|chance| (0.0..1.0).contains(chance)));
        assert!(chances.iter().any(|chance| *chance < 0.5) && chances.iter().any(|chance| *chance >= 0.5));
    }

    #[test]
    fn the_pause_that_the_server_names_is_taken() {
        let named = |seconds| Error::answered_for_tests(Code::Unavailable, Some(seconds));
        assert_eq!(pause(&named(7), 1, true, LONG), Some(Duration::from_secs(7)));
        assert_eq!(pause(&named(7), 1, true, Duration::from_secs(7)), None);
        assert_eq!(pause(&named(61), 1, true, LONG), None);
        assert_eq!(pause(&named(7), 3, true, LONG), None);
        assert_eq!(pause(&named(7), 1, false, LONG), None);
    }
}
