//! Keeps a part of a connection's HTTP/2 window (RFC 9113, section 5.2) free of large answers.
//!
//! Answers that nobody reads hold what they have sent against the window of the whole connection: a few of 16 MiB take all
//! of it, and a small answer beside them would never leave. So large answers stop before the last eighth, which the first
//! bytes of every answer may use. Who reads may have said so too late, since clients save updates up: therefore large
//! answers go on below the mark too, in sips that leave a sixteenth for long.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Buf as _;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Instant, Sleep};

use super::frames;
use crate::io::Payload;

/// What a connection has before its client says more.
const FIRST_WINDOW: i64 = 65_535;
/// Below this there is too little to keep some of it.
const LEAST_WINDOW: i64 = 1 << 20;
/// Large answers stop before this part of the window, and sips before that.
const KEPT: i64 = 8;
const FLOOR: i64 = 16;
/// What any answer may send first: this part of the window, but at least so many bytes.
const FREE: i64 = 4096;
const LEAST_FREE: i64 = 1 << 10;
/// Below this part of the window, large answers go on in pieces of at most so many bytes. Clients give the window back by
/// halves: one that reads, and has less than another quarter on its way, never gets there.
const NARROW: i64 = 4;
const SLICE: usize = 64 << 10;
/// A sip is a quarter of what is left, by one answer, this often: enough for a client that reads to send an update.
const SIP: Duration = Duration::from_millis(50);
/// Below the floor it is so many bytes, this often: a client may send no update before its window is used up.
const DROP: i64 = 1 << 10;
const DROP_EVERY: Duration = Duration::from_secs(2);

/// The window of one connection, shared by its socket and its answers.
#[derive(Debug, Clone, Default)]
pub(super) struct Gate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Whether HTTP/2 is spoken: nothing else has windows.
    http2: bool,
    /// Bytes that the client still takes.
    window: i64,
    /// The most there ever was.
    widest: i64,
    /// Bytes that answers have given up and that are not yet sent.
    given: i64,
    /// When an answer last had a sip.
    sipped: Option<Instant>,
    waiting: Vec<Waker>,
}

impl Default for State {
    fn default() -> Self {
        Self { http2: false, window: FIRST_WINDOW, widest: FIRST_WINDOW, given: 0, sipped: None, waiting: Vec::new() }
    }
}

impl State {
    fn left(&self) -> i64 {
        self.window - self.given
    }

    /// Bytes that a large answer may send now.
    fn room(&self) -> usize {
        if !self.http2 || self.widest < LEAST_WINDOW {
            return usize::MAX;
        }
        let above = |part: i64| usize::try_from(self.left() - part).unwrap_or(0);
        above(self.widest / NARROW).max(above(self.widest / KEPT).min(SLICE))
    }

    /// Bytes that one large answer may send where there is no room, or when to ask again.
    fn sip(&mut self) -> Result<usize, Option<Instant>> {
        let left = self.left();
        let (count, every) = if left > self.widest / FLOOR { (left / 4, SIP) } else { (left.min(DROP), DROP_EVERY) };
        // Without a window there is an update to come.
        let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(None)?;
        match self.sipped {
            Some(at) if at.elapsed() < every => Err(Some(at + every)),
            _ => {
                self.sipped = Some(Instant::now());
                Ok(count)
            }
        }
    }

    fn wake(&mut self) {
        if self.room() > 0 {
            self.waiting.drain(..).for_each(Waker::wake);
        }
    }
}

impl Gate {
    fn state(&self) -> MutexGuard<'_, State> {
        // Whatever panicked, numbers are never left half-written.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes a frame from the client.
    pub(super) fn inbound(&self, frame: &frames::Frame) {
        match frame.kind {
            frames::WINDOW_UPDATE if frame.stream == 0 => {
                let mut state = self.state();
                state.http2 = true;
                state.window += i64::from(frame.increment);
                state.widest = state.widest.max(state.window);
                state.wake();
            }
            frames::RST_STREAM => self.forget(),
            _ => {}
        }
    }

    /// Notes a frame to the client.
    pub(super) fn outbound(&self, frame: &frames::Frame) {
        match frame.kind {
            frames::DATA => {
                let mut state = self.state();
                state.window -= i64::from(frame.length);
                state.given = (state.given - i64::from(frame.length)).max(0);
            }
            frames::RST_STREAM => self.forget(),
            _ => {}
        }
    }

    /// What was given up may never be sent, once a stream is reset; nobody knows how much of it.
    fn forget(&self) {
        let mut state = self.state();
        state.given = 0;
        state.wake();
    }
}

pin_project_lite::pin_project! {
    /// An answer's body behind the gate.
    pub(super) struct Gated<B> {
        #[pin]
        body: B,
        pass: Pass,
    }
}

/// What is known of one answer.
struct Pass {
    gate: Gate,
    /// Bytes given so far.
    given: i64,
    /// What the body gave and the gate holds back.
    held: Option<Payload>,
    until: Option<Pin<Box<Sleep>>>,
}

impl Pass {
    /// Bytes of `wanted` that may go now, at least one.
    fn poll_room(&mut self, wanted: usize, cx: &mut Context<'_>) -> Poll<usize> {
        let mut state = self.gate.state();
        let free = (state.widest / FREE).max(LEAST_FREE) - self.given;
        let mut room = state.room().max(usize::try_from(free).unwrap_or(0));
        while room == 0 {
            match state.sip() {
                Ok(count) => room = count,
                Err(again) => {
                    if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                        state.waiting.push(cx.waker().clone());
                    }
                    let Some(again) = again else { return Poll::Pending };
                    let until = self.until.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(again)));
                    if until.deadline() != again {
                        until.as_mut().reset(again);
                    }
                    ready!(until.as_mut().poll(cx));
                }
            }
        }
        let count = room.min(wanted);
        state.given += count as i64;
        self.given += count as i64;
        Poll::Ready(count)
    }
}

impl<B> Gated<B> {
    pub(super) fn new(body: B, gate: Gate) -> Self {
        Self { body, pass: Pass { gate, given: 0, held: None, until: None } }
    }
}

impl<B: Body<Data = Payload>> Body for Gated<B> {
    type Data = Payload;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Payload>, B::Error>>> {
        let this = self.project();
        let mut held = match this.pass.held.take() {
            Some(held) => held,
            None => match ready!(this.body.poll_frame(cx)) {
                Some(Ok(frame)) if frame.is_data() => frame.into_data().unwrap_or_default(),
                end => return Poll::Ready(end),
            },
        };
        let room = match held.remaining() {
            0 => Poll::Ready(0),
            len => this.pass.poll_room(len, cx),
        };
        let given = room.map(|count| Some(Ok(Frame::data(held.split_to(count)))));
        this.pass.held = Some(held).filter(Payload::has_remaining);
        given
    }

    fn is_end_stream(&self) -> bool {
        self.pass.held.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint() + SizeHint::with_exact(self.pass.held.as_ref().map_or(0, Payload::remaining) as u64)
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures::FutureExt as _;
    use http_body_util::{BodyExt as _, Full};

    use super::super::join::Joined;
    use super::*;

    const MIB: usize = 1 << 20;

    fn frame(kind: u8, stream: u32, length: usize, increment: usize) -> frames::Frame {
        frames::Frame { kind, flags: 0, stream, length: length as u32, increment: increment as u32 }
    }

    /// A connection whose client takes this many bytes.
    fn gate(window: usize) -> Gate {
        let gate = Gate::default();
        gate.inbound(&frame(frames::WINDOW_UPDATE, 0, 4, window - FIRST_WINDOW as usize));
        gate
    }

    fn body(gate: &Gate, length: usize) -> Gated<Joined<Full<Bytes>>> {
        Gated::new(Joined::new(Full::new(vec![7; length].into()), None), gate.clone())
    }

    /// Takes and sends all that the body gives now.
    fn send(gate: &Gate, body: &mut Gated<Joined<Full<Bytes>>>) -> usize {
        let mut sent = 0;
        while let Some(Some(piece)) = body.frame().now_or_never() {
            let length = piece.unwrap().into_data().unwrap().remaining();
            gate.outbound(&frame(frames::DATA, 1, length, 0));
            sent += length;
        }
        sent
    }

    #[tokio::test]
    async fn large_answers_leave_room_which_small_ones_use() {
        let gate = gate(64 * MIB);
        let mut unread: Vec<_> = (0..50).map(|_| body(&gate, 16 * MIB)).collect();
        let sent: usize = unread.iter_mut().map(|body| send(&gate, body)).sum();
        assert!((40 * MIB..=60 * MIB).contains(&sent), "{sent}");
        for _ in 0..100 {
            assert_eq!(send(&gate, &mut body(&gate, 16_000)), 16_000);
        }
        // Where one is read, others may go on.
        gate.inbound(&frame(frames::WINDOW_UPDATE, 0, 4, 16 * MIB));
        assert!(unread.iter_mut().map(|body| send(&gate, body)).sum::<usize>() > 8 * MIB);
    }

    #[tokio::test]
    async fn who_gives_the_window_back_by_halves_gets_whole_pieces() {
        let gate = gate(64 * MIB);
        let mut unread = 0;
        for piece in 0..500 {
            assert_eq!(
                body(&gate, MIB).frame().await.unwrap().unwrap().into_data().unwrap().remaining(),
                MIB,
                "{piece}"
            );
            gate.outbound(&frame(frames::DATA, 1, MIB, 0));
            unread += 1;
            // 15 are on their way.
            if unread == 32 + 15 {
                gate.inbound(&frame(frames::WINDOW_UPDATE, 0, 4, 32 * MIB));
                unread -= 32;
            }
        }
    }

    /// The least that a client of the h2 crate must see before it says that it has read: a third of what is left.
    #[tokio::test]
    async fn who_reads_beside_unread_answers_goes_on() {
        let gate = gate(64 * MIB);
        gate.outbound(&frame(frames::DATA, 1, 57 * MIB, 0));
        let mut read = body(&gate, 16 * MIB);
        let mut sent = 0;
        let enough = async {
            while sent < 7 * MIB / 3 {
                let length = read.frame().await.unwrap().unwrap().into_data().unwrap().remaining();
                gate.outbound(&frame(frames::DATA, 3, length, 0));
                sent += length;
            }
        };
        tokio::time::timeout(10 * DROP_EVERY, enough).await.expect("it goes on");
        assert!(gate.state().left() > 3 * MIB as i64);
    }

    #[tokio::test]
    async fn narrow_windows_and_http1_have_no_gate() {
        let narrow = Gate::default();
        narrow.inbound(&frame(frames::WINDOW_UPDATE, 0, 4, 1));
        for gate in [narrow, Gate::default()] {
            let mut two = [body(&gate, 9 * MIB), body(&gate, 9 * MIB)];
            assert_eq!(two.each_mut().map(|body| send(&gate, body)), [9 * MIB; 2]);
        }
    }

    /// What a reset stream had been given is not counted for ever.
    #[tokio::test]
    async fn resets_give_back() {
        let gate = gate(8 * MIB);
        assert!(body(&gate, 7 * MIB).frame().now_or_never().is_some());
        let before = gate.state().left();
        assert!(before < 5 * MIB as i64, "{before}");
        gate.inbound(&frame(frames::RST_STREAM, 3, 4, 0));
        assert_eq!(gate.state().left(), 8 * MIB as i64);
    }

    #[tokio::test]
    async fn a_client_that_updates_only_an_empty_window_is_not_left_waiting() {
        let gate = gate(2 * MIB);
        gate.outbound(&frame(frames::DATA, 1, 2 * MIB - 1500, 0));
        gate.state().sipped = Some(Instant::now());
        let mut body = body(&gate, 4 * MIB);
        body.pass.given = MIB as i64;
        for expected in [1024, 476] {
            let piece = tokio::time::timeout(10 * DROP_EVERY, body.frame()).await.expect("it goes on");
            let length = piece.unwrap().unwrap().into_data().unwrap().remaining();
            gate.outbound(&frame(frames::DATA, 1, length, 0));
            assert_eq!(length, expected);
        }
        assert!(body.frame().now_or_never().is_none());
        gate.inbound(&frame(frames::WINDOW_UPDATE, 0, 4, 2 * MIB));
        assert!(body.frame().now_or_never().is_some());
    }

    #[tokio::test]
    async fn what_is_held_back_counts_as_to_come() {
        let gate = gate(2 * MIB);
        let mut body = body(&gate, 3 * MIB);
        let sent = send(&gate, &mut body);
        assert!(sent > MIB && sent < 2 * MIB);
        assert_eq!(body.size_hint().exact(), Some((3 * MIB - sent) as u64));
        assert!(!body.is_end_stream());
    }
}
