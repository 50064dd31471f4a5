//! TIFF: its directories' few tags of use. The `tiff` crate reads every strip's place and wants to decode what it reads.

use std::collections::HashSet;
use std::io::{BufRead, Seek};

use super::input::Input;
use super::{Probe, valid_orientation};
use crate::error::Result;

/// Pages counted at most: a file of more says this many.
const MAX_PAGES: u32 = 10_000;

/// Tags a directory may have; real ones have some dozens.
const MAX_TAGS: u64 = 4096;

/// Byte order and width of offsets: what the file's first bytes say.
#[derive(Clone, Copy)]
struct Layout {
    little: bool,
    /// BigTIFF: offsets and counts of 8 bytes.
    big: bool,
}

impl Layout {
    /// A number of up to 8 bytes.
    fn number(self, bytes: &[u8]) -> u64 {
        let add = |number: u64, byte: &u8| number << 8 | u64::from(*byte);
        if self.little { bytes.iter().rev().fold(0, add) } else { bytes.iter().fold(0, add) }
    }
}

/// Reads the first directory (TIFF 6.0 section 2; BigTIFF), then counts those that follow.
pub(super) fn probe(mut input: Input<impl BufRead + Seek>) -> Result<Probe> {
    let [order, _, v0, v1]: [u8; 4] = input.array("its header")?;
    let layout = Layout { little: order == b'I', big: [v0, v1].contains(&43) };
    if layout.big {
        let offset_size: [u8; 4] = input.array("its header")?;
        if layout.number(&offset_size[..2]) != 8 {
            return Err(input.broken("its offsets are not of 8 bytes"));
        }
    }
    let mut next = offset(&mut input, layout, "its header")?;
    let mut probe = Probe { width: 0, height: 0, orientation: 1, frame_count: 0, has_alpha: false };
    let mut seen = HashSet::new();
    while next != 0 && probe.frame_count < MAX_PAGES {
        if !seen.insert(next) {
            return Err(input.broken("its pages go round in a circle"));
        }
        next = page(&mut input, layout, next, &mut probe)?;
    }
    if probe.frame_count == 0 {
        return Err(input.broken("it has no pages"));
    }
    Ok(probe)
}

/// Reads the directory at `start`, for its tags if it is the first; gives the place of the next one, 0 for none.
fn page(input: &mut Input<impl BufRead + Seek>, layout: Layout, start: u64, probe: &mut Probe) -> Result<u64> {
    let what = format!("page {}", probe.frame_count + 1);
    input.seek(start, &what)?;
    let tags =
        if layout.big { layout.number(&input.array::<8>(&what)?) } else { layout.number(&input.array::<2>(&what)?) };
    if tags > MAX_TAGS {
        return Err(input.broken(format_args!("{what} has {tags} tags, more than {MAX_TAGS}")));
    }
    if probe.frame_count == 0 {
        for _ in 0..tags {
            tag(input, layout, &what, probe)?;
        }
    } else {
        input.skip(tags * if layout.big { 20 } else { 12 }, &what)?;
    }
    probe.frame_count += 1;
    offset(input, layout, &what)
}

/// Reads one tag into `probe`.
fn tag(input: &mut Input<impl BufRead + Seek>, layout: Layout, what: &str, probe: &mut Probe) -> Result<()> {
    let [tag @ .., k0, k1]: [u8; 4] = input.array(what)?;
    let count = offset(input, layout, what)?;
    let mut field = [0; 8];
    let field = &mut field[..if layout.big { 8 } else { 4 }];
    input.fill(field, what)?;
    let item = match layout.number(&[k0, k1]) {
        1 => 1,
        3 => 2,
        4 => 4,
        16 if layout.big => 8,
        _ => return Ok(()),
    };
    let value = u32::try_from(layout.number(&field[..item])).unwrap_or(u32::MAX);
    match layout.number(&tag) {
        256 => probe.width = value,
        257 => probe.height = value,
        274 => probe.orientation = valid_orientation(value),
        // ExtraSamples: 1 and 2 are alpha, premultiplied and not. Where there are many, alpha comes first.
        338 if item == 2 => {
            let inline = usize::try_from(count).unwrap_or(usize::MAX);
            let first =
                if inline > field.len() / item { elsewhere(input, layout, field, what)? } else { [field[0], field[1]] };
            probe.has_alpha = matches!(layout.number(&first), 1 | 2);
        }
        _ => {}
    }
    Ok(())
}

/// The first two bytes of a value too long for its tag, which says where they are.
fn elsewhere(input: &mut Input<impl BufRead + Seek>, layout: Layout, place: &[u8], what: &str) -> Result<[u8; 2]> {
    let back = input.at();
    input.seek(layout.number(place), what)?;
    let bytes = input.array(what)?;
    input.seek(back, what)?;
    Ok(bytes)
}

/// An offset or a count, as wide as the file has them.
fn offset(input: &mut Input<impl BufRead + Seek>, layout: Layout, what: &str) -> Result<u64> {
    if layout.big { Ok(layout.number(&input.array::<8>(what)?)) } else { Ok(layout.number(&input.array::<4>(what)?)) }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{Format, Probe, probe};

    fn read(bytes: &[u8]) -> crate::error::Result<Probe> {
        probe(Format::Tiff, bytes.len() as u64, Cursor::new(bytes))
    }

    #[test]
    fn bigtiff_is_read() {
        let mut tiff = b"II+\0\x08\0\0\0\x10\0\0\0\0\0\0\0\x03\0\0\0\0\0\0\0".to_vec();
        for (tag, value) in [(256_u16, 70_000_u32), (257, 3), (274, 8)] {
            tiff.extend_from_slice(&tag.to_le_bytes());
            tiff.extend_from_slice(b"\x04\0\x01\0\0\0\0\0\0\0");
            tiff.extend_from_slice(&u64::from(value).to_le_bytes());
        }
        tiff.extend_from_slice(&[0; 8]);
        let expected = Probe { width: 3, height: 70_000, orientation: 8, frame_count: 1, has_alpha: false };
        assert_eq!(read(&tiff).unwrap(), expected);
    }

    #[test]
    fn broken_directories_are_refused() {
        let cases: [(&[u8], &str); 5] = [
            (b"II*\0\x08\0\0\0\0\0\x08\0\0\0", "circle"),
            (b"II*\0\0\0\0\0", "no pages"),
            (b"MM\0*\0\0\0\x09", "page 1"),
            (b"MM\0*\0\0\0\x08\xff\xff", "65535 tags"),
            (b"MM\0*\0\0\0\x08\0\0\0\0\0\0", "0 x 0"),
        ];
        for (bytes, words) in cases {
            let error = read(bytes).unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
    }
}
