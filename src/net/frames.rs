//! HTTP/2 frames (RFC 9113, section 4.1): their heads as they are written, and a follower of what a client sends, which reads
//! heads and settings and skips other payloads.

/// What a client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const HEAD: usize = 9;
/// Of one setting: what is set, and to what.
const SETTING: usize = 6;
/// What is set to the largest frame (RFC 9113, section 6.5.2).
const MAX_FRAME_SIZE: u16 = 5;
/// The largest frame, as long as nothing is said.
pub(super) const DEFAULT_MAX_FRAME: u32 = 16 << 10;

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;
/// Of SETTINGS and PING.
pub(super) const ACK: u8 = 1;
/// Of DATA and HEADERS.
pub(super) const END_STREAM: u8 = 1;
/// Of HEADERS and CONTINUATION.
pub(super) const END_HEADERS: u8 = 4;

/// The head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    /// Bytes of payload.
    pub(super) length: u32,
    /// What a WINDOW_UPDATE adds, in bytes; 0 in any other.
    pub(super) increment: u32,
}

impl Frame {
    /// What these bytes say.
    pub(super) fn of([l0, l1, l2, kind, flags, s0, s1, s2, s3]: [u8; HEAD]) -> Self {
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        Self { kind, flags, stream, length: u32::from_be_bytes([0, l0, l1, l2]), increment: 0 }
    }

    /// As it is sent.
    pub(super) fn head(&self) -> [u8; HEAD] {
        let ([_, l0, l1, l2], [s0, s1, s2, s3]) = (self.length.to_be_bytes(), self.stream.to_be_bytes());
        [l0, l1, l2, self.kind, self.flags, s0, s1, s2, s3]
    }
}

/// Follows what a client sends. Nothing is followed unless it begins with the preface.
#[derive(Debug)]
pub(super) struct Follower {
    /// Bytes of the preface seen; `None` once there is none to come.
    preface: Option<usize>,
    /// Another protocol is spoken.
    foreign: bool,
    head: [u8; HEAD],
    /// The payload of a WINDOW_UPDATE.
    update: [u8; 4],
    /// Bytes of both.
    have: usize,
    /// Bytes of payload to skip.
    skip: usize,
    /// Bytes of settings that were read, while they pass.
    settings_read: Option<usize>,
    setting: [u8; SETTING],
    /// The largest frame that the client takes.
    max_frame: u32,
}

impl Default for Follower {
    fn default() -> Self {
        Self {
            preface: Some(0),
            foreign: false,
            head: [0; HEAD],
            update: [0; 4],
            have: 0,
            skip: 0,
            settings_read: None,
            setting: [0; SETTING],
            max_frame: DEFAULT_MAX_FRAME,
        }
    }
}

impl Follower {
    /// Whether HTTP/2 is spoken for certain.
    pub(super) fn is_http2(&self) -> bool {
        !self.foreign && self.preface.is_none()
    }

    /// Bytes of the largest frame that the client takes.
    pub(super) fn max_frame(&self) -> u32 {
        self.max_frame
    }

    /// Takes the next bytes and gives every frame whose head they complete. Where settings of the client's end, nothing more is
    /// taken, and what is left is given back.
    pub(super) fn follow<'a>(&mut self, mut bytes: &'a [u8], mut seen: impl FnMut(Frame)) -> Option<&'a [u8]> {
        while let Some(seen_of_preface) = self.preface.filter(|_| !self.foreign && !bytes.is_empty()) {
            let count = bytes.len().min(PREFACE.len() - seen_of_preface);
            let (now, rest) = bytes.split_at(count);
            self.foreign = now != &PREFACE[seen_of_preface..seen_of_preface + count];
            self.preface = Some(seen_of_preface + count).filter(|seen| *seen < PREFACE.len());
            bytes = rest;
        }
        while !self.foreign && !bytes.is_empty() {
            let count = if self.skip > 0 { self.skip } else { self.wanted() - self.have };
            let (now, rest) = bytes.split_at(count.min(bytes.len()));
            bytes = rest;
            if self.skip > 0 {
                self.skip -= now.len();
                self.read_settings(now);
            } else {
                let (room, at) = if self.have < HEAD {
                    (&mut self.head[..], self.have)
                } else {
                    (&mut self.update[..], self.have - HEAD)
                };
                room[at..at + now.len()].copy_from_slice(now);
                self.have += now.len();
                if self.have < self.wanted() {
                    continue;
                }
                let mut frame = Frame::of(self.head);
                if self.have > HEAD {
                    frame.increment = u32::from_be_bytes(self.update) & (u32::MAX >> 1);
                }
                self.skip = frame.length as usize + HEAD - self.have;
                self.have = 0;
                self.settings_read = (frame.kind == SETTINGS && frame.flags & ACK == 0).then_some(0);
                seen(frame);
            }
            if self.skip == 0 && self.settings_read.take().is_some() {
                return Some(bytes);
            }
        }
        None
    }

    /// Takes a part of a payload, if it is of settings.
    fn read_settings(&mut self, bytes: &[u8]) {
        let Some(read) = &mut self.settings_read else { return };
        for byte in bytes {
            self.setting[*read % SETTING] = *byte;
            *read += 1;
            let [i0, i1, v0, v1, v2, v3] = self.setting;
            let value = u32::from_be_bytes([v0, v1, v2, v3]);
            // The library ends a connection that sets any other.
            let valid = (DEFAULT_MAX_FRAME..1 << 24).contains(&value);
            if *read % SETTING == 0 && u16::from_be_bytes([i0, i1]) == MAX_FRAME_SIZE && valid {
                self.max_frame = value;
            }
        }
    }

    /// Bytes that are looked at of a frame, as far as it is known.
    fn wanted(&self) -> usize {
        let update = self.have >= HEAD && self.head[3] == WINDOW_UPDATE && self.head[..3] == [0, 0, 4];
        if update { HEAD + 4 } else { HEAD }
    }
}

/// A SETTINGS (RFC 9113, section 6.5) of the largest frame.
pub(super) fn max_frame_size(bytes: u32) -> Vec<u8> {
    let setting = [&MAX_FRAME_SIZE.to_be_bytes()[..], &bytes.to_be_bytes()].concat();
    of_connection(SETTINGS, &setting)
}

/// A GOAWAY (RFC 9113, section 6.8): streams above `last` were not begun.
pub(super) fn goaway(last: u32, error: u32) -> Vec<u8> {
    of_connection(GOAWAY, &[last.to_be_bytes(), error.to_be_bytes()].concat())
}

fn of_connection(kind: u8, payload: &[u8]) -> Vec<u8> {
    let frame = Frame { kind, flags: 0, stream: 0, length: payload.len() as u32, increment: 0 };
    [&frame.head()[..], payload].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        bytes.extend([kind, flags]);
        bytes.extend(stream.to_be_bytes());
        bytes.extend(payload);
        bytes
    }

    #[test]
    fn frames_are_told_however_they_are_cut() {
        let mut sent = PREFACE.to_vec();
        sent.extend(frame(SETTINGS, 0, 0, &[]));
        sent.extend(frame(WINDOW_UPDATE, 0, 0, &[0x80, 1, 0, 2]));
        sent.extend(frame(HEADERS, END_STREAM, 7, &[1; 300]));
        sent.extend(frame(WINDOW_UPDATE, 0, 0, &[1, 2]));
        sent.extend(frame(PING, 0, 0, &[6; 8]));
        let expected = [
            (SETTINGS, 0, 0, 0, 0),
            (WINDOW_UPDATE, 0, 0, 4, 0x10002),
            (HEADERS, END_STREAM, 7, 300, 0),
            (WINDOW_UPDATE, 0, 0, 2, 0),
            (PING, 0, 0, 8, 0),
        ];
        for cut in 1..=sent.len() {
            let mut follower = Follower::default();
            let mut seen = Vec::new();
            let mut note = |f: Frame| seen.push((f.kind, f.flags, f.stream, f.length, f.increment));
            for mut piece in sent.chunks(cut) {
                while let Some(rest) = follower.follow(piece, &mut note) {
                    piece = rest;
                }
            }
            assert_eq!(seen, expected, "pieces of {cut}");
            assert!(follower.is_http2());
            assert_eq!(follower.follow(&sent[24..30], |_| panic!("a frame of six bytes")), None);
        }
    }

    /// Frames, where settings end, and the largest frame then.
    fn followed(bytes: &[u8], cut: usize) -> (Vec<Frame>, Vec<(usize, u32)>) {
        let (mut follower, mut seen, mut ends) = (Follower::default(), Vec::new(), Vec::new());
        for (number, piece) in bytes.chunks(cut).enumerate() {
            let mut rest = piece;
            while let Some(left) = follower.follow(rest, |frame| seen.push(frame)) {
                ends.push((number * cut + piece.len() - left.len(), follower.max_frame()));
                rest = left;
            }
        }
        (seen, ends)
    }

    proptest! {
        #[test]
        fn whatever_comes_is_the_same_however_it_is_cut(
            frames in prop::collection::vec((0..10u8, any::<u8>(), prop::collection::vec(any::<u8>(), 0..50)), 0..10),
            sizes in prop::collection::vec(prop_oneof![16_380..16_390u32, 0xff_fff0..0x100_0010u32, any::<u32>()], 0..5),
            noise in prop::collection::vec(any::<u8>(), 0..50),
            cut in 1..60usize,
        ) {
            let mut bytes = PREFACE.to_vec();
            frames.iter().for_each(|(kind, flags, payload)| bytes.extend(frame(*kind, *flags, 3, payload)));
            sizes.iter().for_each(|size| bytes.extend(max_frame_size(*size)));
            bytes.extend(noise);
            let whole = followed(&bytes, bytes.len());
            prop_assert!(whole.0.len() >= frames.len() + sizes.len());
            prop_assert!(whole.1.len() >= sizes.len());
            prop_assert!(whole.1.iter().all(|(_, most)| (DEFAULT_MAX_FRAME..1 << 24).contains(most)));
            prop_assert_eq!(followed(&bytes, cut), whole);
        }
    }

    #[test]
    fn settings_end_where_they_end_and_say_the_largest_frame() {
        let set = |id: u16, value: u32| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
        let ping = frame(PING, 0, 0, &[0; 8]);
        let mut sent = PREFACE.to_vec();
        sent.extend(frame(SETTINGS, 0, 0, &[set(1, 70_000), set(MAX_FRAME_SIZE, 60_000), set(4, 5)].concat()));
        let first = sent.len();
        sent.extend(&ping);
        sent.extend(frame(SETTINGS, ACK, 0, &[]));
        sent.extend(max_frame_size(90_000));
        let second = sent.len();
        // The library refuses these two.
        sent.extend(frame(SETTINGS, 0, 0, &[set(MAX_FRAME_SIZE, 16_383), set(MAX_FRAME_SIZE, 1 << 24)].concat()));
        let third = sent.len();
        sent.extend(&ping);
        for cut in 1..=sent.len() {
            let (_, ends) = followed(&sent, cut);
            assert_eq!(ends, [(first, 60_000), (second, 90_000), (third, 90_000)], "pieces of {cut}");
        }
    }

    #[test]
    fn another_protocol_is_left_alone() {
        for text in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/1.1\r\n\r\n                  "] {
            let mut follower = Follower::default();
            follower.follow(&text.as_bytes()[..5], |_| panic!("{text}"));
            follower.follow(&text.as_bytes()[5..], |_| panic!("{text}"));
            assert!(!follower.is_http2());
        }
    }

    #[test]
    fn a_goaway_is_a_frame() {
        let frame = goaway(9, 11);
        let (head, payload) = frame.split_first_chunk().map(|(head, rest)| (*head, rest)).unwrap();
        assert_eq!(Frame::of(head), Frame { kind: GOAWAY, flags: 0, stream: 0, length: 8, increment: 0 });
        assert_eq!(Frame::of(head).head(), head);
        assert_eq!(payload, [0, 0, 0, 9, 0, 0, 0, 11]);
    }
}
