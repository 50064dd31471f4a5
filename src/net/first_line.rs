//! Tells what is no HTTP at all by its first line: it gets no answer, as RFC 9113 section 3.4 asks of a bad preface.

/// The end of a line that is looked at.
const TAIL: usize = 10;
/// A line this long may be answered before it ends: it is too long.
const LONG: usize = 8 << 10;

/// The first line of what a client sends, until it has ended.
#[derive(Debug, Default)]
pub(super) struct FirstLine {
    /// The last bytes seen, the newest last.
    tail: [u8; TAIL],
    /// Bytes seen; empty lines before the first do not count (RFC 9112, section 2.2).
    seen: usize,
    ended: bool,
}

impl FirstLine {
    /// Whether enough was seen for an answer.
    pub(super) fn answerable(&self) -> bool {
        self.ended || self.seen > LONG
    }

    /// Takes the next bytes; says whether it may be HTTP still.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> bool {
        for byte in bytes {
            if self.ended {
                return true;
            }
            match byte {
                b'\r' | b'\n' if self.seen == 0 => {}
                b'\n' => {
                    self.ended = true;
                    let line = self.tail.strip_suffix(b"\r").unwrap_or(&self.tail[1..]);
                    // The preface of HTTP/2 ends likewise.
                    if ![b" HTTP/1.1", b" HTTP/1.0", b" HTTP/2.0"].iter().any(|version| line == *version) {
                        return false;
                    }
                }
                byte => {
                    self.tail.rotate_left(1);
                    self.tail[TAIL - 1] = *byte;
                    self.seen += 1;
                }
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::FirstLine;

    #[test]
    fn a_line_of_http_ends_with_its_version() {
        for (text, http) in [
            ("GET / HTTP/1.1\r\nhost: a\r\n\r\n", true),
            ("GET / HTTP/1.0\n\n", true),
            ("\r\n\r\nGET / HTTP/1.1\r\n", true),
            ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true),
            ("GET / HTTP/1.1", true),
            ("INVALID CONNECTION PREFACE\r\n\r\n", false),
            ("GET /\r\n", false),
            ("\r\nHTTP/1.1\r\n", false),
            ("SSH-2.0-x\n", false),
        ] {
            for cut in 1..=text.len() {
                let mut line = FirstLine::default();
                let all = text.as_bytes().chunks(cut).all(|piece| line.follow(piece));
                assert!(!line.answerable() || text.contains('\n'));
                assert_eq!(all, http, "{text:?} in pieces of {cut}");
            }
        }
    }
}
