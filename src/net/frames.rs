//! HTTP/2 frames as they pass by (RFC 9113, section 4.1): their heads are read and their payloads skipped.

/// What a client says first (RFC 9113, section 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

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

/// Follows one direction of a connection.
#[derive(Debug)]
pub(super) struct Follower {
    /// Bytes of the preface seen; `None` once there is none to come.
    preface: Option<usize>,
    /// Another protocol is spoken.
    foreign: bool,
    /// A head, and the payload of a WINDOW_UPDATE.
    head: [u8; HEAD + 4],
    have: usize,
    /// Bytes of payload to skip.
    skip: usize,
}

impl Follower {
    /// Of what the client sends. Nothing is followed unless it begins with the preface.
    pub(super) fn inbound() -> Self {
        Self { preface: Some(0), foreign: false, head: [0; HEAD + 4], have: 0, skip: 0 }
    }

    /// Of what the server sends, once it is known to speak HTTP/2.
    pub(super) fn outbound() -> Self {
        Self { preface: None, ..Self::inbound() }
    }

    /// Whether HTTP/2 is spoken for certain.
    pub(super) fn is_http2(&self) -> bool {
        !self.foreign && self.preface.is_none()
    }

    /// Whether the last frame has passed whole.
    pub(super) fn at_boundary(&self) -> bool {
        self.have == 0 && self.skip == 0
    }

    /// Takes the next bytes and gives every frame whose head they complete.
    pub(super) fn follow(&mut self, mut bytes: &[u8], mut seen: impl FnMut(Frame)) {
        while let Some(seen_of_preface) = self.preface.filter(|_| !self.foreign && !bytes.is_empty()) {
            let count = bytes.len().min(PREFACE.len() - seen_of_preface);
            let (now, rest) = bytes.split_at(count);
            self.foreign = now != &PREFACE[seen_of_preface..seen_of_preface + count];
            self.preface = Some(seen_of_preface + count).filter(|seen| *seen < PREFACE.len());
            bytes = rest;
        }
        while !self.foreign && !bytes.is_empty() {
            if self.skip > 0 {
                let count = self.skip.min(bytes.len());
                self.skip -= count;
                bytes = &bytes[count..];
                continue;
            }
            let count = (self.wanted() - self.have).min(bytes.len());
            let (now, rest) = bytes.split_at(count);
            self.head[self.have..self.have + count].copy_from_slice(now);
            self.have += count;
            bytes = rest;
            if self.have == self.wanted() {
                let frame = self.frame();
                self.skip = frame.length as usize + HEAD - self.have;
                self.have = 0;
                seen(frame);
            }
        }
    }

    /// Bytes of the frame that are looked at.
    fn wanted(&self) -> usize {
        let update = self.have >= HEAD && self.head[3] == WINDOW_UPDATE && self.head[..3] == [0, 0, 4];
        if update { HEAD + 4 } else { HEAD }
    }

    fn frame(&self) -> Frame {
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3, i0, i1, i2, i3] = self.head;
        let increment = if self.have > HEAD { u32::from_be_bytes([i0 & 0x7f, i1, i2, i3]) } else { 0 };
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        Frame { kind, flags, stream, length: u32::from_be_bytes([0, l0, l1, l2]), increment }
    }
}

/// A GOAWAY (RFC 9113, section 6.8): streams above `last` were not begun.
pub(super) fn goaway(last: u32, error: u32) -> [u8; 17] {
    let mut frame = [0; 17];
    frame[2] = 8;
    frame[3] = GOAWAY;
    frame[9..13].copy_from_slice(&last.to_be_bytes());
    frame[13..].copy_from_slice(&error.to_be_bytes());
    frame
}

#[cfg(test)]
mod tests {
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
            let mut follower = Follower::inbound();
            let mut seen = Vec::new();
            for piece in sent.chunks(cut) {
                follower.follow(piece, |f| seen.push((f.kind, f.flags, f.stream, f.length, f.increment)));
            }
            assert_eq!(seen, expected, "pieces of {cut}");
            assert!(follower.is_http2() && follower.at_boundary());
            follower.follow(&sent[24..30], |_| panic!("a frame of six bytes"));
            assert!(!follower.at_boundary());
        }
    }

    #[test]
    fn another_protocol_is_left_alone() {
        for text in ["GET / HTTP/1.1\r\nhost: a\r\n\r\n", "PRI * HTTP/1.1\r\n\r\n                  "] {
            let mut follower = Follower::inbound();
            follower.follow(&text.as_bytes()[..5], |_| panic!("{text}"));
            follower.follow(&text.as_bytes()[5..], |_| panic!("{text}"));
            assert!(!follower.is_http2());
        }
    }

    #[test]
    fn a_goaway_is_a_frame() {
        let mut follower = Follower::outbound();
        let mut seen = Vec::new();
        follower.follow(&goaway(9, 11), |frame| seen.push(frame));
        assert_eq!(seen, [Frame { kind: GOAWAY, flags: 0, stream: 0, length: 8, increment: 0 }]);
        assert!(follower.at_boundary());
    }
}
