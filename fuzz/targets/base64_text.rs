//! The base64 of gRPC-Web text: whatever the pieces, the bytes are the same, or the text is refused.
//!
//! Input: the size of a piece, then the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wirephoto::wire::envelope::{Deframer, Heads};
use wirephoto::wire::text::Decoder;

fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Option<Vec<u8>> {
    let mut decoder = Decoder::default();
    let mut decoded = Vec::new();
    for piece in pieces {
        decoded.extend_from_slice(&decoder.decode(piece).ok()?);
    }
    decoder.is_between_groups().then_some(decoded)
}

fuzz_target!(|input: &[u8]| {
    let Some((&size, text)) = input.split_first() else { return };
    let size = usize::from(size).max(1);
    let whole = decode(std::iter::once(text));
    assert_eq!(decode(text.chunks(size)), whole);
    // What it holds are messages, which come out the same way whole and in pieces.
    let Some(body) = whole else { return };
    let (mut deframer, mut heads, mut seen) = (Deframer::default(), Heads::default(), Vec::new());
    for piece in body.chunks(size) {
        let followed = heads.follow(piece, |head| {
            // What the wires refuse by its length, before it comes.
            seen.push(head.len);
            if head.len > 1 << 20 { Err(()) } else { Ok(()) }
        });
        if followed.is_err() {
            return;
        }
        deframer.push(axum::body::Bytes::copy_from_slice(piece));
    }
    let messages = std::iter::from_fn(|| deframer.next_message()).map(|(_, message)| message.len() as u32);
    let messages: Vec<u32> = messages.collect();
    assert_eq!(messages, seen[..messages.len()]);
    assert_eq!(heads.between_messages(), messages.len() == seen.len() && body.len() == length_of(&messages));
});

fn length_of(messages: &[u32]) -> usize {
    messages.iter().map(|message| 5 + *message as usize).sum()
}
