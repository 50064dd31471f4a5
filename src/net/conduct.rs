//! How much a client may ask for without bringing work, as a policy that knows no socket and no clock.
//!
//! h2 bounds memory by itself (header lists, CONTINUATION frames, answers to pings); it does not mind being kept busy.

use std::time::Instant;

use super::frames::{self, Frame};
use super::limits::{IDLE_FRAMES, RESETS};

/// Why a client is left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Offence {
    #[error("too many pings or other frames that bring no work")]
    IdleFrames,
    #[error("too many requests that it cut off itself")]
    Resets,
    #[error("what it says is no HTTP")]
    NoHttp,
}

/// So many at once, and then so many a second.
#[derive(Debug)]
struct Allowance {
    burst: f64,
    per_second: f64,
    left: f64,
    at: Instant,
}

impl Allowance {
    fn new((burst, per_second): (u32, u32), now: Instant) -> Self {
        Self { burst: burst.into(), per_second: per_second.into(), left: burst.into(), at: now }
    }

    /// Takes one, unless none is left.
    fn take(&mut self, now: Instant) -> bool {
        let earned = now.saturating_duration_since(self.at).as_secs_f64() * self.per_second;
        self.left = (self.left + earned).min(self.burst);
        self.at = now;
        let any = self.left >= 1.0;
        if any {
            self.left -= 1.0;
        }
        any
    }

    fn refill(&mut self) {
        self.left = self.burst;
    }
}

/// What is left to one connection.
#[derive(Debug)]
pub(super) struct Conduct {
    idle_frames: Allowance,
    resets: Allowance,
}

impl Conduct {
    pub(super) fn new(now: Instant) -> Self {
        Self { idle_frames: Allowance::new(IDLE_FRAMES, now), resets: Allowance::new(RESETS, now) }
    }

    /// Judges a frame from the client.
    pub(super) fn inbound(&mut self, frame: &Frame, now: impl Fn() -> Instant) -> Result<(), Offence> {
        let bit = |flag| frame.flags & flag != 0;
        match frame.kind {
            frames::RST_STREAM if !self.resets.take(now()) => Err(Offence::Resets),
            frames::RST_STREAM | frames::HEADERS | frames::WINDOW_UPDATE | frames::CONTINUATION => Ok(()),
            frames::DATA if frame.length > 0 || bit(frames::END_STREAM) => Ok(()),
            frames::SETTINGS | frames::PING if bit(frames::ACK) => Ok(()),
            // Pings, settings, priorities, empty data and what nobody knows.
            _ if !self.idle_frames.take(now()) => Err(Offence::IdleFrames),
            _ => Ok(()),
        }
    }

    /// Notes a frame to the client.
    pub(super) fn outbound(&mut self, frame: &Frame) {
        if matches!(frame.kind, frames::DATA | frames::HEADERS) {
            self.idle_frames.refill();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn frame(kind: u8, flags: u8, length: u32) -> Frame {
        Frame { kind, flags, stream: 0, length, increment: 0 }
    }

    const PING: (u8, u8, u32) = (frames::PING, 0, 8);

    /// How many frames pass, one every `every`, out of `count`.
    fn passed((kind, flags, length): (u8, u8, u32), every: Duration, count: u32) -> u32 {
        let start = Instant::now();
        let mut conduct = Conduct::new(start);
        let sent = frame(kind, flags, length);
        (0..count).take_while(|number| conduct.inbound(&sent, || start + every * *number).is_ok()).count() as u32
    }

    #[test]
    fn keepalive_of_well_known_clients_is_never_minded() {
        // grpc-go and grpc++ at their fastest; a page that pings every second; for a day.
        for seconds in [10, 1] {
            let day = 86_400 / seconds;
            assert_eq!(passed(PING, Duration::from_secs(seconds.into()), day), day);
        }
    }

    #[test]
    fn pings_without_work_are_minded() {
        let flooded = passed(PING, Duration::from_millis(1), 10_000);
        assert!((100..=101).contains(&flooded), "{flooded}");
        let often = passed(PING, Duration::from_millis(100), 10_000);
        assert!((100..=120).contains(&often), "{often}");
        for flood in [(frames::SETTINGS, 0, 0), (frames::DATA, 0, 0), (2, 0, 5), (0xfa, 0, 3)] {
            assert!(passed(flood, Duration::from_millis(1), 10_000) < 200, "{flood:?}");
        }
    }

    #[test]
    fn what_brings_work_or_answers_us_is_free() {
        for (kind, flags, length) in [
            (frames::DATA, 0, 1),
            (frames::DATA, frames::END_STREAM, 0),
            (frames::HEADERS, 0, 9),
            (frames::WINDOW_UPDATE, 0, 4),
            (frames::PING, frames::ACK, 8),
            (frames::SETTINGS, frames::ACK, 0),
        ] {
            assert_eq!(passed((kind, flags, length), Duration::ZERO, 5_000), 5_000, "{kind} {flags}");
        }
    }

    #[test]
    fn pings_that_measure_a_download_are_free() {
        let now = Instant::now();
        let mut conduct = Conduct::new(now);
        for _ in 0..100_000 {
            conduct.outbound(&frame(frames::DATA, 0, 16_384));
            assert_eq!(conduct.inbound(&frame(PING.0, PING.1, PING.2), || now), Ok(()));
        }
    }

    #[test]
    fn rapid_resets_are_minded_and_a_page_that_scrolls_is_not() {
        let reset = (frames::RST_STREAM, 0, 4);
        assert_eq!(passed(reset, Duration::from_millis(20), 100_000), 100_000);
        let flooded = passed(reset, Duration::from_micros(10), 100_000);
        assert!((1000..1100).contains(&flooded), "{flooded}");
    }
}
