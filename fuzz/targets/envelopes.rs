//! The envelopes of gRPC, gRPC-Web and Connect: whole or in pieces, the same messages come out, and nothing is read beyond a
//! length that is refused.
//!
//! Input: the size of a piece, then the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use wirephoto::wire::envelope::{Deframer, Heads};

fuzz_target!(|input: &[u8]| {
    let Some((&size, body)) = input.split_first() else { return };
    let size = usize::from(size).max(1);
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
