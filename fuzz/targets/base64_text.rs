//! The base64 of gRPC-Web text: whatever the pieces, the bytes are the same, or the text is refused.
//!
//! Input: the size of a piece, then the text.

#![no_main]

use libfuzzer_sys::fuzz_target;
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
    assert_eq!(decode(text.chunks(size)), decode(std::iter::once(text)));
});
