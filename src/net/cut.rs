//! Frames from the server, cut to what the client takes (RFC 9113, section 4.2).
//!
//! An HTTP/2 library works frame by frame, and most clients take no more than 16 KiB in one. So the library is told of larger
//! ones, by settings behind the client's own, and what it then sends is cut here, on its way to the socket.

use super::frames::{self, Frame, HEAD};

/// Bytes of the frames that the library makes, where the client does not take larger ones.
pub(super) const LARGE: u32 = 256 << 10;

/// Follows what the library sends.
#[derive(Debug, Default)]
pub(super) struct Cutter {
    head: [u8; HEAD],
    have: usize,
    /// Bytes that pass before the next head.
    passing: usize,
    /// What is left of a frame then.
    rest: Option<Frame>,
    /// Whether the client's settings were answered, and those behind them were not.
    answered: bool,
}

impl Cutter {
    /// Whether the last frame has passed whole.
    pub(super) fn at_boundary(&self) -> bool {
        self.have == 0 && self.passing == 0 && self.rest.is_none()
    }

    /// Gives every frame whose head `bytes` complete, and sends frames of at most `most` bytes in its place.
    ///
    /// `most` is at least [`frames::DEFAULT_MAX_FRAME`]. What is longer has neither padding nor priority.
    pub(super) fn pass(&mut self, bytes: &[u8], most: u32, mut seen: impl FnMut(&Frame), mut send: impl FnMut(&[u8])) {
        // Of what has passed, the bytes from here on are still to be sent.
        let mut from = 0;
        let mut at = 0;
        while at < bytes.len() {
            if self.passing > 0 {
                let count = self.passing.min(bytes.len() - at);
                self.passing -= count;
                at += count;
                continue;
            }
            let unsent = &bytes[from..at];
            if self.rest.is_none() {
                let count = (HEAD - self.have).min(bytes.len() - at);
                self.head[self.have..self.have + count].copy_from_slice(&bytes[at..at + count]);
                self.have += count;
                at += count;
                if self.have == HEAD {
                    self.have = 0;
                    let frame = Frame::of(self.head);
                    seen(&frame);
                    self.rest = Some(frame).filter(|frame| !self.is_of_ours(frame));
                    if count == HEAD && self.rest.is_some() && frame.length <= most {
                        // As it is.
                        self.passing = frame.length as usize;
                        self.rest = None;
                        continue;
                    }
                }
            }
            from = at;
            if !unsent.is_empty() {
                send(unsent);
            }
            if let Some(frame) = self.rest.take() {
                send(&self.begin(frame, most).head());
            }
        }
        if from < at {
            send(&bytes[from..at]);
        }
    }

    /// Whether it answers the settings that were put behind the client's: those are the library's alone to know of.
    fn is_of_ours(&mut self, frame: &Frame) -> bool {
        let answer = frame.kind == frames::SETTINGS && frame.flags & frames::ACK != 0;
        self.answered ^= answer;
        answer && !self.answered
    }

    /// The first of the frames in place of one.
    fn begin(&mut self, frame: Frame, most: u32) -> Frame {
        // Said of all, by the last.
        let end = match frame.kind {
            frames::DATA => frames::END_STREAM,
            _ => frames::END_HEADERS,
        };
        let next = match frame.kind {
            frames::HEADERS => frames::CONTINUATION,
            kind => kind,
        };
        let length = frame.length.min(most);
        self.passing = length as usize;
        let left = frame.length - length;
        if left == 0 {
            return frame;
        }
        self.rest = Some(Frame { kind: next, flags: frame.flags & end, length: left, ..frame });
        Frame { flags: frame.flags & !end, length, ..frame }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Frames with their payloads.
    fn parsed(mut bytes: &[u8]) -> Vec<(Frame, Vec<u8>)> {
        let mut all = Vec::new();
        while let Some((head, rest)) = bytes.split_first_chunk::<HEAD>() {
            let frame = Frame::of(*head);
            let (payload, rest) = rest.split_at(frame.length as usize);
            all.push((frame, payload.to_vec()));
            bytes = rest;
        }
        assert!(bytes.is_empty());
        all
    }

    /// What is sent for these bytes, given in pieces, and the frames seen.
    fn cut(bytes: &[u8], piece: usize, most: u32) -> (Vec<u8>, Vec<Frame>) {
        let (mut cutter, mut sent, mut seen) = (Cutter::default(), Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            cutter.pass(piece, most, |frame| seen.push(*frame), |bytes| sent.extend_from_slice(bytes));
        }
        assert!(cutter.at_boundary());
        (sent, seen)
    }

    fn frame(kind: u8, flags: u8, length: usize) -> (Frame, Vec<u8>) {
        let payload = (0..length).map(|at| (at % 251) as u8).collect();
        (Frame { kind, flags, stream: 5, length: length as u32, increment: 0 }, payload)
    }

    fn written(frames: &[(Frame, Vec<u8>)]) -> Vec<u8> {
        frames.iter().flat_map(|(frame, payload)| [&frame.head()[..], payload].concat()).collect()
    }

    fn any_frame() -> impl Strategy<Value = (Frame, Vec<u8>)> {
        let kind = prop_oneof![
            Just((frames::DATA, 0)),
            Just((frames::DATA, frames::END_STREAM)),
            Just((frames::HEADERS, frames::END_HEADERS | frames::END_STREAM)),
            Just((frames::HEADERS, 0)),
            Just((frames::CONTINUATION, frames::END_HEADERS)),
        ];
        (kind, prop_oneof![0..40usize, 16_000..70_000usize]).prop_map(|((kind, flags), len)| frame(kind, flags, len))
    }

    proptest! {
        #[test]
        fn what_is_cut_means_the_same(
            given in prop::collection::vec(any_frame(), 0..8),
            piece in prop_oneof![1..30usize, 10_000..100_000usize],
            most in 16_384..40_000u32,
        ) {
            let (sent, seen) = cut(&written(&given), piece, most);
            prop_assert_eq!(seen, given.iter().map(|(frame, _)| *frame).collect::<Vec<_>>());
            let mut parts = parsed(&sent).into_iter();
            for (frame, payload) in given {
                let mut joined = Vec::new();
                loop {
                    let (part, bytes) = parts.next().unwrap();
                    let first = joined.is_empty();
                    prop_assert!(part.length <= most);
                    joined.extend(bytes);
                    let last = joined.len() == payload.len();
                    prop_assert!(last || part.length == most, "no more frames than it takes");
                    let end = if frame.kind == frames::DATA { frames::END_STREAM } else { frames::END_HEADERS };
                    let flags = (if first { frame.flags } else { 0 }) & !end | if last { frame.flags & end } else { 0 };
                    let kind = if first || frame.kind == frames::DATA { frame.kind } else { frames::CONTINUATION };
                    prop_assert_eq!((part.kind, part.flags, part.stream), (kind, flags, frame.stream));
                    if last {
                        break;
                    }
                }
                prop_assert_eq!(joined, payload);
            }
            prop_assert!(parts.next().is_none());
        }
    }

    #[test]
    fn every_second_answer_to_settings_stays_here() {
        let answer = frame(frames::SETTINGS, frames::ACK, 0);
        let settings = frame(frames::SETTINGS, 0, 12);
        let ping = frame(frames::PING, frames::ACK, 8);
        let given = [&settings, &answer, &answer, &ping, &answer, &ping, &answer].map(Clone::clone);
        let expected = [&settings, &answer, &ping, &answer, &ping].map(Clone::clone);
        for piece in 1..40 {
            let (sent, seen) = cut(&written(&given), piece, frames::DEFAULT_MAX_FRAME);
            assert_eq!(parsed(&sent), expected, "pieces of {piece}");
            assert_eq!(seen.len(), given.len());
        }
    }

    #[test]
    fn what_fits_passes_in_one() {
        let bytes =
            written(&[frame(frames::HEADERS, 4, 30), frame(frames::DATA, 0, 16_384), frame(frames::DATA, 1, 0)]);
        let mut count = 0;
        Cutter::default().pass(
            &bytes,
            frames::DEFAULT_MAX_FRAME,
            |_| (),
            |sent| {
                assert_eq!(sent.as_ptr(), bytes.as_ptr());
                count += 1;
            },
        );
        assert_eq!(count, 1);
    }
}
