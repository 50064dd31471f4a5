//! AVIF: the boxes that say how large the image is, how it is turned, and how many frames it has.

use std::io::{BufRead, Seek};

use super::Probe;
use super::input::Input;
use crate::error::Result;

/// Boxes looked at before the file is refused; real ones have less than a hundred.
const MAX_BOXES: u32 = 10_000;

/// Properties of items that are remembered; those beyond are passed over.
const MAX_PROPERTIES: usize = 1024;

/// Boxes of associations that are remembered; the standard has two.
const MAX_ASSOCIATIONS: usize = 16;

/// `auxC` types (ISO/IEC 23000-22 section 7.3.5.2, and the older HEVC one) of an alpha plane.
const ALPHA: [&[u8]; 2] = [b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha\0", b"urn:mpeg:hevc:2015:auxid:1\0"];

/// An item property (ISO/IEC 23008-12 section 6.5) that matters here.
#[derive(Clone, Copy)]
enum Property {
    Extent(u32, u32),
    /// Quarter turns, anti-clockwise.
    Turn(u8),
    /// 0: top and bottom exchanged; 1: left and right.
    Mirror(u8),
    Other,
}

/// What has been found so far.
#[derive(Default)]
struct Found {
    boxes: u32,
    primary: Option<u32>,
    properties: Vec<Property>,
    /// Where the bodies of `ipma` boxes lie, from and to. They are read last: they need the primary item.
    associations: Vec<(u64, u64)>,
    alpha: bool,
    /// Whether the track at hand shows pictures, not their alpha.
    pictures: bool,
    track: (u32, u32),
    /// Frames and size of the first track of pictures.
    sequence: Option<(u32, (u32, u32))>,
}

/// Reads `meta` (the still image) and `moov` (the sequence), by ISO/IEC 14496-12.
pub(super) fn probe(mut input: Input<impl BufRead + Seek>) -> Result<Probe> {
    let mut found = Found::default();
    let end = input.size();
    walk(&mut input, &mut found, b"", end)?;
    let of_primary = match found.primary {
        Some(item) => properties_of(&mut input, &found, item)?,
        None => Vec::new(),
    };
    let (mut extent, mut turn, mut mirror) = (None, 0, None);
    for index in of_primary {
        match index.checked_sub(1).and_then(|index| found.properties.get(index)) {
            Some(Property::Extent(width, height)) => extent = Some((*width, *height)),
            Some(Property::Turn(turns)) => turn = *turns,
            Some(Property::Mirror(axis)) => mirror = Some(*axis),
            _ => {}
        }
    }
    let Some((width, height)) = extent.or(found.sequence.map(|(_, size)| size)) else {
        return Err(input.broken("it says nowhere how large the image is (ispe)"));
    };
    let frame_count = found.sequence.map_or(1, |(frames, _)| frames.max(1));
    Ok(Probe { width, height, orientation: orientation(turn, mirror), frame_count, has_alpha: found.alpha })
}

/// The EXIF orientation that turns and then mirrors in the same way (MIAF, ISO/IEC 23000-22 section 7.3.6.7).
fn orientation(turn: u8, mirror: Option<u8>) -> u8 {
    match (turn, mirror) {
        (0, None) => 1,
        (0, Some(1)) | (2, Some(0)) => 2,
        (2, None) => 3,
        (0, Some(_)) | (2, Some(_)) => 4,
        (1, Some(0)) | (3, Some(1)) => 5,
        (3, None) => 6,
        (1, Some(_)) | (3, Some(_)) => 7,
        _ => 8,
    }
}

/// Reads the boxes up to `end` that lie in a box `parent`; nothing stands for the file itself.
///
/// A box is entered only where it belongs, so the depth is that of the longest path in [`open`].
fn walk(input: &mut Input<impl BufRead + Seek>, found: &mut Found, parent: &[u8], end: u64) -> Result<()> {
    while end.saturating_sub(input.at()) >= 8 {
        let (kind, end_of_box) = header(input, found, end)?;
        open(input, found, parent, kind, end_of_box)?;
        input.seek(end_of_box, "one of its boxes")?;
    }
    Ok(())
}

/// A box's type and where it ends.
fn header(input: &mut Input<impl BufRead + Seek>, found: &mut Found, end: u64) -> Result<([u8; 4], u64)> {
    const WHAT: &str = "a box's header";
    found.boxes += 1;
    if found.boxes > MAX_BOXES {
        return Err(input.broken(format_args!("it has more than {MAX_BOXES} boxes")));
    }
    let start = input.at();
    let len = input.u32(WHAT)?;
    let kind: [u8; 4] = input.array(WHAT)?;
    let end_of_box = match len {
        0 => end,
        1 => start.saturating_add(input.array(WHAT).map(u64::from_be_bytes)?),
        len => start + u64::from(len),
    };
    if end_of_box > input.size() {
        return Err(input.cut_off(&format!("its box `{}`", kind.escape_ascii())));
    }
    if end_of_box > end || end_of_box < input.at() {
        return Err(input.broken(format_args!("the length of its box `{}` is wrong", kind.escape_ascii())));
    }
    Ok((kind, end_of_box))
}

/// Reads what is of use in one box, be it other boxes.
fn open(
    input: &mut Input<impl BufRead + Seek>,
    found: &mut Found,
    parent: &[u8],
    kind: [u8; 4],
    end: u64,
) -> Result<()> {
    match (parent, &kind) {
        (b"", b"meta") => {
            input.skip(4, "its metadata (meta)")?;
            walk(input, found, &kind, end)
        }
        (b"", b"moov") | (b"meta", b"iprp") | (b"iprp", b"ipco") => walk(input, found, &kind, end),
        (b"trak", b"mdia") | (b"mdia", b"minf") | (b"minf", b"stbl") => walk(input, found, &kind, end),
        (b"moov", b"trak") => {
            (found.pictures, found.track) = (false, (0, 0));
            walk(input, found, &kind, end)
        }
        (b"meta", b"pitm") => {
            let version = input.u32("its primary item (pitm)")? >> 24;
            found.primary = Some(item_id(input, version)?);
            Ok(())
        }
        (b"iprp", b"ipma") => {
            if found.associations.len() < MAX_ASSOCIATIONS {
                found.associations.push((input.at(), end));
            }
            Ok(())
        }
        (b"ipco", _) => property(input, found, kind, end),
        (b"trak", b"tkhd") => {
            let version = input.u32("a track's header (tkhd)")? >> 24;
            // Times, id and duration, which version 1 has wider; then layer, volume, matrix and the like.
            input.skip(if version == 1 { 32 } else { 20 } + 52, "a track's header (tkhd)")?;
            // 16.16 fixed point.
            let mut length = || input.u32("a track's header (tkhd)").map(|length| length >> 16);
            found.track = (length()?, length()?);
            Ok(())
        }
        (b"mdia", b"hdlr") => {
            input.skip(8, "a track's handler (hdlr)")?;
            found.pictures = input.array("a track's handler (hdlr)")? == *b"pict";
            Ok(())
        }
        (b"stbl", b"stsz" | b"stz2") if found.pictures && found.sequence.is_none() => {
            input.skip(8, "its frame sizes (stsz)")?;
            found.sequence = Some((input.u32("its frame sizes (stsz)")?, found.track));
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Remembers one property; its place in the row is its index.
fn property(input: &mut Input<impl BufRead + Seek>, found: &mut Found, kind: [u8; 4], end: u64) -> Result<()> {
    const WHAT: &str = "its properties (ipco)";
    let property = match &kind {
        b"ispe" => {
            input.skip(4, WHAT)?;
            Property::Extent(input.u32(WHAT)?, input.u32(WHAT)?)
        }
        b"irot" => Property::Turn(input.array::<1>(WHAT)?[0] & 3),
        b"imir" => Property::Mirror(input.array::<1>(WHAT)?[0] & 1),
        b"auxC" => {
            input.skip(4, WHAT)?;
            let mut urn = [0; 64];
            let len = usize::try_from(end.saturating_sub(input.at())).unwrap_or(urn.len()).min(urn.len());
            input.fill(&mut urn[..len], WHAT)?;
            found.alpha |= ALPHA.iter().any(|alpha| urn.starts_with(alpha));
            Property::Other
        }
        _ => Property::Other,
    };
    if found.properties.len() < MAX_PROPERTIES {
        found.properties.push(property);
    }
    Ok(())
}

/// Finds which properties are an item's (`ipma`, ISO/IEC 23008-12 section 9.3.2): indexes from 1, at most 255.
fn properties_of(input: &mut Input<impl BufRead + Seek>, found: &Found, item: u32) -> Result<Vec<usize>> {
    const WHAT: &str = "which properties are whose (ipma)";
    for (start, end) in &found.associations {
        input.seek(*start, WHAT)?;
        let version_and_flags = input.u32(WHAT)?;
        let wide = version_and_flags & 1 == 1;
        let _entries = input.u32(WHAT)?;
        while input.at() < *end {
            let id = item_id(input, version_and_flags >> 24)?;
            let [count] = input.array(WHAT)?;
            if id != item {
                input.skip(u64::from(count) * if wide { 2 } else { 1 }, WHAT)?;
                continue;
            }
            // The highest bit says that the property is essential.
            return (0..count)
                .map(|_| match wide {
                    true => Ok(usize::from(input.u16(WHAT)? & 0x7fff)),
                    false => Ok(usize::from(input.array::<1>(WHAT)?[0] & 0x7f)),
                })
                .collect();
        }
    }
    Ok(Vec::new())
}

/// An item's id, wide from version 1 on.
fn item_id(input: &mut Input<impl BufRead + Seek>, version: u32) -> Result<u32> {
    if version == 0 { input.u16("an item's id").map(u32::from) } else { input.u32("an item's id") }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::super::{Format, Probe, probe};

    fn bx(kind: &str, body: &[u8]) -> Vec<u8> {
        [&(body.len() as u32 + 8).to_be_bytes(), kind.as_bytes(), body].concat()
    }

    fn read(boxes: &[Vec<u8>]) -> crate::error::Result<Probe> {
        let avif = [bx("ftyp", b"avif\0\0\0\0"), boxes.concat()].concat();
        probe(Format::Avif, avif.len() as u64, Cursor::new(avif))
    }

    /// A still of 16 x 32 whose primary item 7 has these transformations.
    fn still(transformations: &[(&str, u8)]) -> Vec<u8> {
        let mut properties = bx("ispe", b"\0\0\0\0\0\0\0\x10\0\0\0\x20");
        let mut indexes = vec![1];
        for (kind, value) in transformations {
            properties.extend(bx(kind, &[*value]));
            indexes.push(0x81 + indexes.len() as u8);
        }
        let mut owners = b"\0\0\0\0\0\0\0\x02\0\x01\x01\x05\0\x07".to_vec();
        owners.push(indexes.len() as u8);
        owners.extend(indexes);
        // The primary item is named last: boxes may come in any order.
        let inner =
            [bx("iprp", &[bx("ipco", &properties), bx("ipma", &owners)].concat()), bx("pitm", b"\0\0\0\0\0\x07")];
        bx("meta", &[vec![0; 4], inner.concat()].concat())
    }

    #[test]
    fn turns_and_mirrors_are_orientations() {
        let cases: [(&[(&str, u8)], u8); 8] = [
            (&[], 1),
            (&[("imir", 1)], 2),
            (&[("irot", 2)], 3),
            (&[("imir", 0)], 4),
            (&[("irot", 1), ("imir", 0)], 5),
            (&[("irot", 3)], 6),
            (&[("irot", 3), ("imir", 0)], 7),
            (&[("irot", 1)], 8),
        ];
        for (transformations, orientation) in cases {
            let probe = read(&[still(transformations)]).unwrap();
            let (width, height) = if orientation > 4 { (32, 16) } else { (16, 32) };
            assert_eq!(probe, Probe { width, height, orientation, frame_count: 1, has_alpha: false });
        }
    }

    #[test]
    fn broken_boxes_are_refused() {
        let cases: [(Vec<u8>, &str); 6] = [
            (Vec::new(), "ispe"),
            (b"\0\0\0\x07meta".to_vec(), "length of its box `meta`"),
            (b"\0\0\0\x10meta".to_vec(), "its box `meta`"),
            (b"\0\0\0\x01mdat\xff\xff\xff\xff\xff\xff\xff\xff".to_vec(), "its box `mdat`"),
            (bx("free", b"").repeat(20_000), "10000 boxes"),
            (bx("meta", b"\0\0\0\0\0\0\xff\xffiprp"), "its box `iprp`"),
        ];
        for (boxes, words) in cases {
            let error = read(&[boxes]).unwrap_err();
            assert!(error.message.contains(words), "{error}");
        }
    }
}
