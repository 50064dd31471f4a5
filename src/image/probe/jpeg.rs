//! JPEG: the marker segments up to the frame header, which has the size. Decoders at hand read the whole file first.

use std::io::{BufRead, Seek};

use super::input::Input;
use super::{Probe, exif_orientation};
use crate::error::Result;

/// Walks the segments (ITU-T T.81 annex B) up to the frame header. `Exif` stands in front of it, in an APP1 segment.
pub(super) fn probe(mut input: Input<impl BufRead + Seek>) -> Result<Probe> {
    let _start_of_image: [u8; 2] = input.array("its first marker")?;
    let mut orientation = None;
    loop {
        let marker = next_marker(&mut input)?;
        match marker {
            // Start of frame; C4, C8 and CC are tables and an extension.
            0xc0..=0xcf if !matches!(marker, 0xc4 | 0xc8 | 0xcc) => {
                let [_, _, _, h1, h0, w1, w0] = input.array("its frame header")?;
                let (width, height) = (u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
                if height == 0 && width != 0 {
                    return Err(input.broken("its frame header leaves the height to be told later (DNL): re-save it"));
                }
                return Ok(Probe {
                    width: width.into(),
                    height: height.into(),
                    orientation: orientation.unwrap_or(1),
                    frame_count: 1,
                    has_alpha: false,
                });
            }
            // TEM and RST stand alone.
            0x01 | 0xd0..=0xd7 => {}
            0xd8..=0xda => return Err(input.broken("there is no frame header before the pixels, or the end")),
            _ => {
                let Some(len) = input.u16("a segment's length")?.checked_sub(2) else {
                    return Err(input.broken("a segment is shorter than its own length"));
                };
                let len = usize::from(len);
                let mut segment = Vec::new();
                if marker == 0xe1 && orientation.is_none() {
                    segment.resize(len, 0);
                    input.fill(&mut segment, "its APP1 segment")?;
                } else {
                    input.skip(len as u64, "one of its segments")?;
                }
                orientation = orientation.or_else(|| segment.strip_prefix(b"Exif\0\0").map(exif_orientation));
            }
        }
    }
}

/// Strays that are searched for the next marker, in bytes.
const MAX_STRAYS: usize = 64 << 10;

/// Goes to the next marker, over fill bytes and over strays, as every decoder does.
fn next_marker(input: &mut Input<impl BufRead + Seek>) -> Result<u8> {
    const WHAT: &str = "search of its frame header";
    let mut strays = 0;
    loop {
        while input.array(WHAT)? != [0xff] {
            strays += 1;
            if strays > MAX_STRAYS {
                return Err(input.broken("what should be its next segment is none"));
            }
        }
        let mut code = 0xff;
        while code == 0xff {
            [code] = input.array(WHAT)?;
        }
        if code != 0 {
            return Ok(code);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{Format, Probe, probe};

    fn read(segments: &[&[u8]]) -> crate::error::Result<Probe> {
        let jpeg = [b"\xff\xd8".as_slice(), &segments.concat()].concat();
        probe(Format::Jpeg, jpeg.len() as u64, Cursor::new(jpeg))
    }

    const FRAME: &[u8] = b"\xff\xc2\x00\x11\x08\x00\x20\x00\x10\x03";

    #[test]
    fn strays_and_fill_bytes_before_the_frame_header_do_no_harm() {
        let probe = read(&[b"\xff\xe2\x00\x04ab", b"strays\xff\x00", b"\xff\xff\xff\xfe\x00\x02", FRAME]).unwrap();
        assert_eq!((probe.width, probe.height), (16, 32));
    }

    #[test]
    fn what_is_missing_is_said() {
        let cases: [(&[&[u8]], &str); 6] = [
            (&[], "cut off"),
            (&[b"\xff\xe0\x00\x20ab"], "one of its segments"),
            (&[b"\xff\xe0\x00\x01"], "shorter than its own length"),
            (&[b"\xff\xda\x00\x02"], "no frame header"),
            (&[b"\xff\xc0\x00\x11\x08\x00\x00\x00\x10\x03"], "DNL"),
            (&[b"\xff\xc0\x00\x11\x08\x00\x00\x00\x00\x03"], "0 x 0"),
        ];
        for (segments, words) in cases {
            let error = read(segments).unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
    }
}
