//! PNG: the chunks before the pixels. The `png` crate keeps them whole; here only their few bytes of use are read.

use std::io::{BufRead, Seek};

use super::input::Input;
use super::{MAX_EXIF, Probe, exif_orientation};
use crate::error::Result;

/// Walks the chunks (PNG, third edition, section 5) up to the first `IDAT`.
pub(super) fn probe(mut input: Input<impl BufRead + Seek>) -> Result<Probe> {
    let _signature: [u8; 8] = input.array("its signature")?;
    let [_, _, _, len, kind @ .., w3, w2, w1, w0, h3, h2, h1, h0, depth, colour, _, _, _]: [u8; 21] =
        input.array("its header (IHDR)")?;
    if len != 13 || kind != *b"IHDR" {
        return Err(input.broken("its first chunk is no header (IHDR)"));
    }
    if !matches!((colour, depth), (0, 1 | 2 | 4 | 8 | 16) | (3, 1 | 2 | 4 | 8) | (2 | 4 | 6, 8 | 16)) {
        return Err(input.broken(format_args!("there is no colour type {colour} with {depth} bits")));
    }
    input.skip(4, "its header (IHDR)")?;
    let mut probe = Probe {
        width: u32::from_be_bytes([w3, w2, w1, w0]),
        height: u32::from_be_bytes([h3, h2, h1, h0]),
        orientation: 1,
        frame_count: 1,
        has_alpha: matches!(colour, 4 | 6),
    };
    loop {
        let len = input.u32("its chunks before the pixels")?;
        let kind: [u8; 4] = input.array("its chunks before the pixels")?;
        if len > 0x7fff_ffff || !kind.iter().all(u8::is_ascii_alphabetic) {
            return Err(input.broken("this is no chunk"));
        }
        let end = input.at() + u64::from(len);
        match &kind {
            b"IDAT" => return Ok(probe),
            b"IEND" => return Err(input.broken("it ends without pixels (IDAT)")),
            b"tRNS" => probe.has_alpha = true,
            b"acTL" => probe.frame_count = input.u32("its animation control (acTL)")?.max(1),
            b"eXIf" if len <= MAX_EXIF => {
                let mut exif = vec![0; len as usize];
                input.fill(&mut exif, "its Exif (eXIf)")?;
                probe.orientation = exif_orientation(&exif);
            }
            _ => {}
        }
        // The chunk's checksum is 4 bytes.
        input.seek(end + 4, "its chunks before the pixels")?;
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{Format, Probe, probe};

    /// A chunk's type and data.
    type Chunk<'a> = (&'a [u8; 4], &'a [u8]);

    fn read(chunks: &[Chunk<'_>]) -> crate::error::Result<Probe> {
        let mut png = b"\x89PNG\r\n\x1a\n".to_vec();
        for (kind, data) in chunks {
            png.extend_from_slice(&(data.len() as u32).to_be_bytes());
            png.extend_from_slice(&[*kind, *data, &[0; 4]].concat());
        }
        probe(Format::Png, png.len() as u64, Cursor::new(png))
    }

    const HEADER: Chunk<'_> = (b"IHDR", b"\0\0\0\x10\0\0\0\x20\x08\x02\0\0\0");
    const EXIF: &[u8] = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";

    #[test]
    fn chunks_before_the_pixels_tell_all() {
        let probe =
            read(&[HEADER, (b"eXIf", EXIF), (b"tRNS", b"\0"), (b"acTL", b"\0\0\0\x05"), (b"IDAT", b"")]).unwrap();
        assert_eq!(probe, Probe { width: 32, height: 16, orientation: 6, frame_count: 5, has_alpha: true });
    }

    #[test]
    fn what_is_missing_is_said() {
        let cases: [(&[Chunk<'_>], &str); 6] = [
            (&[], "IHDR"),
            (&[(b"IDAT", &[0; 13])], "IHDR"),
            (&[HEADER], "cut off"),
            (&[HEADER, (b"IEND", b"")], "without pixels"),
            (&[HEADER, (b"\0\0\0\0", b"")], "no chunk"),
            (&[(b"IHDR", b"\0\0\0\0\0\0\0\x20\x08\x02\0\0\0"), (b"IDAT", b"")], "0 x 32"),
        ];
        for (chunks, words) in cases {
            let error = read(chunks).unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
    }
}
