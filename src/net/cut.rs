//! Frames from the server, cut to what the client takes (RFC 9113, section 4.2).
//!
//! An HTTP/2 library works frame by frame, and most clients take no more than 16 KiB in one. So the library is told of larger
//! ones, by settings behind the client's own, and what it then sends is cut here, on its way to the socket.

use super::frames::{self, Frame, HEAD};

/// Bytes of the frames that the library makes, about, where the client does not take larger ones. Answers take turns by the
/// frame: the more is in one, the longer a small answer waits behind large ones.
const LARGE: u32 = 64 << 10;

/// Follows what the library sends.
#[derive(Debug)]
pub(super) struct Cutter {
    /// Bytes of the largest frame that is sent. What the client lowers holds at once; what it raises, from the answer to its
    /// settings on, since some clients go by that (RFC 9113, section 6.5.3).
    most: u32,
    /// The same as the client said it last.
    said: u32,
    /// Settings of the client's that are not answered.
    unanswered: usize,
    /// Whether the library's next answer is one to the settings put behind the client's.
    ours: bool,
    head: [u8; HEAD],
    have: usize,
    /// Bytes that pass before the next head.
    passing: usize,
    /// What is to be sent after those of a frame that is cut, under a head of its own.
    rest: Option<Frame>,
}

impl Default for Cutter {
    fn default() -> Self {
        Self {
            most: frames::DEFAULT_MAX_FRAME,
            said: frames::DEFAULT_MAX_FRAME,
            unanswered: 0,
            ours: false,
            head: [0; HEAD],
            have: 0,
            passing: 0,
            rest: None,
        }
    }
}

impl Cutter {
    /// Notes settings of the client's, by which it takes frames of at most `said` bytes, at least
    /// [`frames::DEFAULT_MAX_FRAME`]. Gives those to put behind them.
    pub(super) fn settings(&mut self, said: u32) -> Vec<u8> {
        self.said = said;
        self.most = self.most.min(said);
        self.unanswered += 1;
        // As many whole frames: no small one ends each.
        frames::max_frame_size(said * (LARGE / said).max(1))
    }

    /// Whether the last frame has passed whole.
    pub(super) fn at_boundary(&self) -> bool {
        self.have == 0 && self.passing == 0 && self.rest.is_none()
    }

    /// Gives every frame whose head `bytes` complete, and sends frames that the client takes in its place.
    ///
    /// What is longer than it takes has neither padding nor priority.
    pub(super) fn pass(&mut self, bytes: &[u8], mut seen: impl FnMut(&Frame), mut send: impl FnMut(&[u8])) {
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
                let (count, frame) = self.read_head(&bytes[at..]);
                at += count;
                if let Some(frame) = &frame {
                    seen(frame);
                }
                self.rest = frame.filter(|frame| !self.keeps(frame));
                // Whole here, and no longer than the client takes: as it is.
                if let Some(frame) = self.rest.take_if(|frame| count == HEAD && frame.length <= self.most) {
                    self.passing = frame.length as usize;
                    continue;
                }
            }
            from = at;
            if !unsent.is_empty() {
                send(unsent);
            }
            if let Some(frame) = self.rest.take() {
                send(&self.begin(frame).head());
            }
        }
        if from < at {
            send(&bytes[from..at]);
        }
    }

    /// Takes what `bytes` have of a head, says how many bytes that is, and gives the frame once its head is whole.
    fn read_head(&mut self, bytes: &[u8]) -> (usize, Option<Frame>) {
        let count = (HEAD - self.have).min(bytes.len());
        self.head[self.have..self.have + count].copy_from_slice(&bytes[..count]);
        self.have = (self.have + count) % HEAD;
        (count, (self.have == 0).then(|| Frame::of(self.head)))
    }

    /// Notes an answer to settings, and keeps each that is not to the client's.
    fn keeps(&mut self, frame: &Frame) -> bool {
        if frame.kind != frames::SETTINGS || frame.flags & frames::ACK == 0 {
            return false;
        }
        let ours = self.ours;
        self.ours = !ours;
        if !ours {
            self.unanswered = self.unanswered.saturating_sub(1);
            if self.unanswered == 0 {
                self.most = self.said;
            }
        }
        ours
    }

    /// The first of the frames in place of one.
    fn begin(&mut self, frame: Frame) -> Frame {
        // What follows, and what the last says of all.
        let (next, end) = match frame.kind {
            frames::DATA => (frames::DATA, frames::END_STREAM),
            _ => (frames::CONTINUATION, frames::END_HEADERS),
        };
        let length = frame.length.min(self.most);
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
        let (mut cutter, mut sent, mut seen) = (Cutter { most, ..Cutter::default() }, Vec::new(), Vec::new());
        for piece in bytes.chunks(piece) {
            cutter.pass(piece, |frame| seen.push(*frame), |bytes| sent.extend_from_slice(bytes));
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
    fn the_client_lowers_at_once_and_raises_by_the_answer() {
        let mut cutter = Cutter::default();
        let data = written(&[frame(frames::DATA, 0, 50_000)]);
        let answer = written(&[frame(frames::SETTINGS, frames::ACK, 0)]);
        let longest = |cutter: &mut Cutter, bytes: &[u8]| {
            let mut sent = Vec::new();
            cutter.pass(bytes, |_| (), |bytes| sent.extend_from_slice(bytes));
            parsed(&sent).iter().map(|(frame, _)| frame.length).max()
        };
        let told = |cutter: &mut Cutter, said| {
            let settings = cutter.settings(said);
            u32::from_be_bytes(settings[11..].try_into().unwrap())
        };
        assert_eq!(told(&mut cutter, 20_000), 60_000);
        assert_eq!(longest(&mut cutter, &data), Some(16_384), "it may go by the answer");
        assert_eq!(longest(&mut cutter, &answer), Some(0));
        assert_eq!(longest(&mut cutter, &data), Some(20_000));
        assert_eq!(longest(&mut cutter, &answer), None);
        assert_eq!(told(&mut cutter, 1 << 20), 1 << 20);
        assert_eq!(told(&mut cutter, 17_000), 51_000);
        assert_eq!(longest(&mut cutter, &data), Some(17_000));
        assert_eq!(told(&mut cutter, 40_000), 40_000);
        for most in [17_000, 17_000, 40_000] {
            assert_eq!(longest(&mut cutter, &answer), Some(0));
            assert_eq!(longest(&mut cutter, &data), Some(most));
            assert_eq!(longest(&mut cutter, &answer), None);
        }
        assert_eq!(longest(&mut cutter, &data), Some(40_000));
    }

    #[test]
    fn what_fits_passes_in_one() {
        let bytes =
            written(&[frame(frames::HEADERS, 4, 30), frame(frames::DATA, 0, 16_384), frame(frames::DATA, 1, 0)]);
        let mut count = 0;
        Cutter::default().pass(
            &bytes,
            |_| (),
            |sent| {
                assert_eq!(sent.as_ptr(), bytes.as_ptr());
                count += 1;
            },
        );
        assert_eq!(count, 1);
    }
}
