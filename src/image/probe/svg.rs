//! SVG: the root element's size, and nothing beyond it. Entities are never expanded.

use std::io::Read;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::{Probe, not_an_image};
use crate::error::{Error, Result};

/// Bytes read in search of the end of the root element's tag.
const PREFIX: u64 = 64 * 1024;

/// Size where nothing says one: what CSS 2.1 section 10.3.2 gives a replaced element.
const DEFAULT: (f64, f64) = (300.0, 150.0);

/// Whether the first element of these bytes, which may end anywhere, is `svg`.
pub(super) fn is_svg(head: &[u8]) -> bool {
    let head = head.strip_prefix(b"\xef\xbb\xbf").unwrap_or(head);
    let mut reader = Reader::from_reader(head);
    loop {
        let at = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
        match reader.read_event() {
            Ok(event) if is_prolog(&event) => {}
            // A tag cut off by the end of `head` is an error too, but its name may be there.
            Ok(Event::Start(_) | Event::Empty(_)) | Err(_) => return head.get(at..).is_some_and(begins_svg_tag),
            Ok(_) => return false,
        }
    }
}

/// What may stand before the root element.
fn is_prolog(event: &Event<'_>) -> bool {
    match event {
        Event::Decl(_) | Event::PI(_) | Event::Comment(_) => true,
        Event::DocType(name) => {
            !name.trim_ascii_start().get(..4).is_some_and(|name| name.eq_ignore_ascii_case(b"html"))
        }
        Event::Text(text) => text.iter().all(u8::is_ascii_whitespace),
        _ => false,
    }
}

fn begins_svg_tag(bytes: &[u8]) -> bool {
    let Some(tag) = bytes.strip_prefix(b"<") else { return false };
    let name = tag.split(|byte| byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/')).next().unwrap_or_default();
    name == b"svg" || name.ends_with(b":svg")
}

/// Reads the root element: `width` and `height`, else `viewBox`, else 300 x 150.
pub(super) fn probe(reader: impl Read) -> Result<Probe> {
    let mut prefix = Vec::new();
    reader.take(PREFIX).read_to_end(&mut prefix).map_err(Error::internal)?;
    let prefix = prefix.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&prefix);
    let mut xml = Reader::from_reader(prefix);
    loop {
        match xml.read_event() {
            Ok(event) if is_prolog(&event) => {}
            Ok(Event::Start(root) | Event::Empty(root)) if root.local_name().as_ref() == b"svg" => {
                let (width, height) = size(&root);
                return Ok(Probe { width, height, orientation: 1, frame_count: 1, has_alpha: true });
            }
            Err(error) => {
                let at = xml.error_position();
                return Err(not_an_image(format!("the SVG's root element is broken or cut off at byte {at}: {error}")));
            }
            Ok(_) => return Err(not_an_image("the SVG has no root element `svg`")),
        }
    }
}

/// Width and height in CSS pixels, whole, at least 1.
fn size(root: &BytesStart<'_>) -> (u32, u32) {
    let (mut width, mut height, mut view) = (None, None, None);
    for attribute in root.attributes().with_checks(false).flatten() {
        let Ok(value) = std::str::from_utf8(&attribute.value) else { continue };
        match attribute.key.as_ref() {
            b"width" => width = pixels(value),
            b"height" => height = pixels(value),
            b"viewBox" => view = view_box(value),
            _ => {}
        }
    }
    let (width, height) = match (width, height, view) {
        (Some(width), Some(height), _) => (width, height),
        (Some(width), None, Some((across, down))) => (width, width * down / across),
        (None, Some(height), Some((across, down))) => (height * across / down, height),
        (None, None, Some(view)) => view,
        (width, height, None) => (width.unwrap_or(DEFAULT.0), height.unwrap_or(DEFAULT.1)),
    };
    (whole(width), whole(height))
}

/// A length in CSS pixels; `None` where it is relative, not positive or no length.
fn pixels(length: &str) -> Option<f64> {
    let length = length.trim();
    let unit = length.trim_start_matches(|c: char| c.is_ascii_digit() || matches!(c, '.' | '+' | '-' | 'e' | 'E'));
    // The `e` of `em` and `ex` looks like an exponent, and they are relative anyway.
    let number = length.strip_suffix(unit)?;
    let factor = match unit {
        "" | "px" => 1.0,
        "pt" => 96.0 / 72.0,
        "pc" => 16.0,
        "in" => 96.0,
        "cm" => 96.0 / 2.54,
        "mm" => 96.0 / 25.4,
        "Q" => 96.0 / 101.6,
        _ => return None,
    };
    positive(number).map(|number| number * factor)
}

/// Width and height of a `viewBox`, both positive.
fn view_box(value: &str) -> Option<(f64, f64)> {
    let mut numbers =
        value.split(|c: char| c == ',' || c.is_ascii_whitespace()).filter(|number| !number.is_empty()).skip(2);
    Some((positive(numbers.next()?)?, positive(numbers.next()?)?))
}

fn positive(number: &str) -> Option<f64> {
    number.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number > 0.0)
}

/// Rounded, within 1 and `u32::MAX` (which `as` saturates at).
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped by `max` and by `as` itself")]
fn whole(length: f64) -> u32 {
    length.round().max(1.0) as u32
}

#[cfg(test)]
mod tests {
    use super::probe;

    fn size(text: &str) -> (u32, u32) {
        let probe = probe(text.as_bytes()).unwrap();
        (probe.width, probe.height)
    }

    #[test]
    fn sizes_come_from_the_root_element() {
        assert_eq!(size("<svg width='10' height='20px'/>"), (10, 20));
        assert_eq!(size("<?xml version='1.0'?><!--x--><svg:svg width='1in' height='72pt'><svg width='9'/>"), (96, 96));
        assert_eq!(size("<svg viewBox='0 0 40.4 30'>"), (40, 30));
        assert_eq!(size("<svg width='100%' height='2em' viewBox='0,0,40,30'>"), (40, 30));
        assert_eq!(size("<svg width='80' viewBox='0 0 40 30'>"), (80, 60));
        assert_eq!(size("<svg height='15' viewBox='0 0 40 30'>"), (20, 15));
        assert_eq!(size("<svg>"), (300, 150));
        assert_eq!(size("<svg width='0' height='-1'>"), (300, 150));
        assert_eq!(size("<svg width='1e99' height='NaN'>"), (u32::MAX, 150));
    }

    #[test]
    fn entities_stay_as_they_are() {
        let bomb = "<!DOCTYPE svg [<!ENTITY a 'x'><!ENTITY b '&a;&a;'>]><svg width='&b;' height='7'>&b;</svg>";
        assert_eq!(size(bomb), (300, 7));
    }

    #[test]
    fn a_root_element_cut_off_says_where() {
        for text in ["<svg width='1", "<?xml", "<!DOCTYPE svg [", "", "<html>"] {
            assert!(probe(text.as_bytes()).is_err(), "{text}");
        }
        let endless = format!("<svg a='{}'>", "x".repeat(100_000));
        assert!(probe(endless.as_bytes()).unwrap_err().message.contains("byte"));
    }
}
