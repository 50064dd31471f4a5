//! Length-prefixed messages: a flags byte, four bytes of big-endian length, the payload.
//!
//! gRPC ("Length-Prefixed-Message" in PROTOCOL-HTTP2.md), gRPC-Web and Connect streams share it.

use bytes::{Buf, BufMut, Bytes, BytesMut};

/// Bytes before every payload.
pub const HEAD_LEN: usize = 5;

/// The head of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Bit 0: compressed. Other bits belong to the wires.
    pub flags: u8,
    /// Bytes of payload.
    pub len: u32,
}

impl Head {
    pub(super) fn parse([flags, len @ ..]: [u8; HEAD_LEN]) -> Self {
        Self { flags, len: u32::from_be_bytes(len) }
    }
}

/// The head of a message of `len` bytes: at most `u32::MAX`, which every caller's limit is far below.
pub fn put_head(buffer: &mut BytesMut, flags: u8, len: usize) {
    buffer.put_u8(flags);
    buffer.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
}

/// A payload in its envelope.
pub fn envelope(flags: u8, payload: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(HEAD_LEN + payload.len());
    put_head(&mut message, flags, payload.len());
    message.put_slice(payload);
    message.freeze()
}

/// Follows messages that pass by, without keeping or copying them.
#[derive(Debug, Default)]
pub struct Heads {
    head: [u8; HEAD_LEN],
    filled: usize,
    left: usize,
}

impl Heads {
    /// Calls `on_head` for each head that completes within `data`, until it fails.
    pub fn follow<E>(&mut self, mut data: &[u8], mut on_head: impl FnMut(Head) -> Result<(), E>) -> Result<(), E> {
        while !data.is_empty() {
            if self.left > 0 {
                let skipped = self.left.min(data.len());
                self.left -= skipped;
                data.advance(skipped);
                continue;
            }
            self.head[self.filled] = data.get_u8();
            self.filled += 1;
            if self.filled == HEAD_LEN {
                let head = Head::parse(self.head);
                self.filled = 0;
                self.left = head.len as usize;
                on_head(head)?;
            }
        }
        Ok(())
    }

    /// Whether the last message seen is whole.
    pub fn between_messages(&self) -> bool {
        self.filled == 0 && self.left == 0
    }
}

/// Takes messages out of pieces of a body. What lies whole within one piece is not copied.
#[derive(Debug, Default)]
pub struct Deframer {
    /// The last piece, while what came before it is all taken.
    piece: Bytes,
    /// A message that came in several pieces; then `piece` is empty.
    joined: BytesMut,
}

impl Deframer {
    /// Adds the next piece.
    pub fn push(&mut self, piece: Bytes) {
        if self.joined.is_empty() && self.piece.is_empty() {
            self.piece = piece;
        } else {
            self.joined.extend_from_slice(&std::mem::take(&mut self.piece));
            self.joined.extend_from_slice(&piece);
        }
    }

    /// The next whole message, if there is one.
    pub fn next_message(&mut self) -> Option<(u8, Bytes)> {
        let head = self.next_head()?;
        let whole = HEAD_LEN.saturating_add(head.len as usize);
        if self.joined.is_empty() {
            return (self.piece.len() >= whole).then(|| (head.flags, self.piece.split_to(whole).slice(HEAD_LEN..)));
        }
        if self.joined.len() < whole {
            self.joined.reserve(whole - self.joined.len());
            return None;
        }
        Some((head.flags, self.joined.split_to(whole).freeze().slice(HEAD_LEN..)))
    }

    /// The head of the next message, whether or not the rest of it is there.
    pub fn next_head(&self) -> Option<Head> {
        let held = if self.joined.is_empty() { &self.piece[..] } else { &self.joined[..] };
        held.first_chunk().copied().map(Head::parse)
    }

    /// Whether no message has begun.
    pub fn is_empty(&self) -> bool {
        self.piece.is_empty() && self.joined.is_empty()
    }

    /// What is left: the beginning of a message, or nothing.
    pub fn rest(self) -> Bytes {
        if self.joined.is_empty() { self.piece } else { self.joined.freeze() }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::{Deframer, Heads, envelope};

    proptest! {
        #[test]
        fn messages_survive_any_cut_into_pieces(
            messages in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            piece in 1_usize..20,
        ) {
            let body: Vec<u8> = messages.iter().flat_map(|message| envelope(0, message)).collect();
            let mut deframer = Deframer::default();
            let mut heads = Heads::default();
            let (mut seen, mut lens) = (Vec::new(), Vec::new());
            for piece in body.chunks(piece) {
                heads.follow(piece, |head| { lens.push(head.len as usize); Ok::<_, ()>(()) }).unwrap();
                deframer.push(Bytes::copy_from_slice(piece));
                while let Some((_, message)) = deframer.next_message() {
                    seen.push(message.to_vec());
                }
            }
            prop_assert_eq!(&seen, &messages);
            prop_assert_eq!(lens, messages.iter().map(Vec::len).collect::<Vec<_>>());
            prop_assert!(heads.between_messages() && deframer.rest().is_empty());
        }
    }
}
