//! Which format bytes are, by their first few: what a caller calls them has no say.

use super::{Format, not_an_image, svg};
use crate::error::Result;

/// Bytes that [`sniff`] looks at, at most; fewer do where the image has no more.
///
/// The binary formats need 64 of them. The rest is for what may stand before the root element of an SVG.
pub const SNIFF_LEN: usize = 8192;

/// Brands (ISO/IEC 14496-12 section 4.3) of AV1 images.
const AVIF_BRANDS: [&[u8]; 2] = [b"avif", b"avis"];

/// Brands of images in the same container that are coded otherwise, mostly by HEVC.
const HEIF_BRANDS: [&[u8]; 10] =
    [b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"];

/// Beginnings of files that people send by mistake, and what to tell them.
const STRANGERS: [(&[u8], &str); 14] = [
    (b"%PDF-", "the bytes are a PDF document, not an image"),
    (b"PK\x03\x04", "the bytes are a ZIP archive, not an image: send the images in it one by one"),
    (b"\x1f\x8b", "the bytes are compressed by gzip: send them uncompressed, an SVGZ as SVG"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", "the bytes are JPEG XL, which is not taken: convert them"),
    (b"\xff\x0a", "the bytes are JPEG XL, which is not taken: convert them"),
    (b"\x00\x00\x00\x0cjP  ", "the bytes are JPEG 2000, which is not taken: convert them"),
    (b"8BPS", "the bytes are a Photoshop document, which is not taken: export it"),
    (b"\x00\x00\x01\x00", "the bytes are a Windows icon, which is not taken: convert it to PNG"),
    (b"<!doctype html", "the bytes are an HTML page, perhaps an error page saved as an image"),
    (b"<html", "the bytes are an HTML page, perhaps an error page saved as an image"),
    (b"\xff\xfe<\x00", "the bytes are XML in UTF-16: send an SVG in UTF-8"),
    (b"\xfe\xff\x00<", "the bytes are XML in UTF-16: send an SVG in UTF-8"),
    (b"{", "the bytes are no image, they look like JSON: send the image's bytes themselves"),
    (b"data:", "the bytes are a data: URL: send the image's bytes themselves, decoded"),
];

/// Tells the format from an image's first [`SNIFF_LEN`] bytes, or all of them if it has fewer.
///
/// # Errors
///
/// [`NotAnImage`](crate::error::Reason::NotAnImage), saying what the bytes seem to be and which formats are taken.
pub fn sniff(head: &[u8]) -> Result<Format> {
    let head = &head[..head.len().min(SNIFF_LEN)];
    if head.is_empty() {
        return Err(not_an_image("the body is empty, there is no image in it"));
    }
    if let Some(format) = by_magic(head) {
        return Ok(format);
    }
    if head.get(4..8) == Some(b"ftyp") {
        return by_brand(head);
    }
    if svg::is_svg(head) {
        return Ok(Format::Svg);
    }
    let text = head.trim_ascii_start();
    let stranger = STRANGERS.iter().find(|(magic, _)| {
        head.starts_with(magic) || text.get(..magic.len()).is_some_and(|start| start.eq_ignore_ascii_case(magic))
    });
    Err(not_an_image(stranger.map_or("the bytes do not begin as any image does", |(_, what)| what)))
}

fn by_magic(head: &[u8]) -> Option<Format> {
    match head {
        [0xff, 0xd8, 0xff, ..] => Some(Format::Jpeg),
        [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Some(Format::Png),
        [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Some(Format::Gif),
        [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Some(Format::Webp),
        [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Some(Format::Tiff),
        // "BM" begins many a text: the size of the second header tells them apart.
        [b'B', b'M', _, _, _, _, _, _, _, _, _, _, _, _, 12 | 40 | 52 | 56 | 108 | 124, 0, 0, 0, ..] => {
            Some(Format::Bmp)
        }
        _ => None,
    }
}

/// The major brand and the compatible ones of a `ftyp` box decide.
fn by_brand(head: &[u8]) -> Result<Format> {
    let len = head.first_chunk().map_or(0, |len| u32::from_be_bytes(*len) as usize).min(head.len());
    let major = head.get(8..12).unwrap_or_default();
    let compatible = head.get(16..len).unwrap_or_default().chunks_exact(4);
    let has = |brands: &[&[u8]]| brands.contains(&major) || compatible.clone().any(|brand| brands.contains(&brand));
    if has(&AVIF_BRANDS) {
        return Ok(Format::Avif);
    }
    if has(&HEIF_BRANDS) {
        return Err(not_an_image("the bytes are HEIC (HEIF), which is not taken: convert the image to JPEG or AVIF"));
    }
    Err(not_an_image(format!("the bytes are an MP4-like file of brand `{}`, not an image", major.escape_ascii())))
}

#[cfg(test)]
mod tests {
    use super::{Format, sniff};
    use crate::error::Reason;

    #[test]
    fn formats_are_told_by_their_first_bytes() {
        let heads: [(&[u8], Format); 14] = [
            (b"\xff\xd8\xff\xe0", Format::Jpeg),
            (b"\x89PNG\r\n\x1a\n", Format::Png),
            (b"GIF87a", Format::Gif),
            (b"GIF89a", Format::Gif),
            (b"RIFF\0\0\0\0WEBPVP8 ", Format::Webp),
            (b"II*\0", Format::Tiff),
            (b"MM\0*", Format::Tiff),
            (b"II+\0", Format::Tiff),
            (b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0", Format::Bmp),
            (b"\0\0\0\x20ftypavif\0\0\0\0", Format::Avif),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", Format::Avif),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Format::Svg),
            (
                b"\xef\xbb\xbf<?xml version='1.0'?>\n<!-- <html> --><!DOCTYPE svg [<!ENTITY a \"<b>\">]><svg:svg ",
                Format::Svg,
            ),
            (b"\n <svg", Format::Svg),
        ];
        for (head, format) in heads {
            assert_eq!(sniff(head).ok(), Some(format), "{}", head.escape_ascii());
        }
    }

    #[test]
    fn strangers_are_refused_by_name_with_the_accepted_types() {
        let heads: [(&[u8], &str); 13] = [
            (b"", "empty"),
            (b"\xff\xd8", "any image"),
            (b"BM is how this text begins", "any image"),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
            (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "brand `isom`"),
            (b"%PDF-1.7", "PDF"),
            (b"\n<!DOCTYPE HTML><svg>", "HTML"),
            (b"<html><svg>", "HTML"),
            (b"<?xml version='1.0'?><feed>", "any image"),
            (b"<svgx>", "any image"),
            (b"{\"a\":1}", "JSON"),
            (b"just text", "any image"),
            (b"\0\0\0\x08ftyp", "brand"),
        ];
        for (head, word) in heads {
            let error = sniff(head).unwrap_err();
            assert_eq!(error.reason, Reason::NotAnImage);
            assert!(error.message.contains(word), "{}: {error}", head.escape_ascii());
            assert!(error.message.contains("JPEG, PNG, GIF, WebP, AVIF, TIFF, BMP or SVG"), "{error}");
        }
    }
}
