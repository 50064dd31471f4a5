//! What an image is, read from its header alone: which format, how large, which way up, how many frames, see-through.

mod avif;
mod claim;
mod input;
mod jpeg;
mod library;
mod png;
mod sniff;
mod svg;
mod tiff;

use std::io::{BufRead, Seek};

use ::image::metadata::Orientation;
use serde::{Deserialize, Serialize};

pub use self::claim::check_claim;
use self::input::Input;
pub use self::sniff::{SNIFF_LEN, sniff};
use crate::error::{Error, Reason, Result};

/// An image format the server takes, written as its media type where it is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Format {
    /// JPEG (ITU-T T.81).
    #[serde(rename = "image/jpeg")]
    Jpeg,
    /// PNG, APNG included (W3C PNG, third edition).
    #[serde(rename = "image/png")]
    Png,
    /// GIF87a and GIF89a.
    #[serde(rename = "image/gif")]
    Gif,
    /// WebP (RFC 9649).
    #[serde(rename = "image/webp")]
    Webp,
    /// AVIF, stills and sequences (AV1 Image File Format 1.1).
    #[serde(rename = "image/avif")]
    Avif,
    /// TIFF 6.0 and BigTIFF.
    #[serde(rename = "image/tiff")]
    Tiff,
    /// Windows bitmap.
    #[serde(rename = "image/bmp")]
    Bmp,
    /// SVG: kept, never rendered.
    #[serde(rename = "image/svg+xml")]
    Svg,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 8] =
        [Self::Jpeg, Self::Png, Self::Gif, Self::Webp, Self::Avif, Self::Tiff, Self::Bmp, Self::Svg];

    /// The media type, as the registry of media types has it.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Gif => "image/gif",
            Self::Webp => "image/webp",
            Self::Avif => "image/avif",
            Self::Tiff => "image/tiff",
            Self::Bmp => "image/bmp",
            Self::Svg => "image/svg+xml",
        }
    }

    /// The usual file name extension, without a dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Png => "png",
            Self::Gif => "gif",
            Self::Webp => "webp",
            Self::Avif => "avif",
            Self::Tiff => "tiff",
            Self::Bmp => "bmp",
            Self::Svg => "svg",
        }
    }

    /// The format's name in sentences.
    pub fn name(self) -> &'static str {
        match self {
            Self::Jpeg => "JPEG",
            Self::Png => "PNG",
            Self::Gif => "GIF",
            Self::Webp => "WebP",
            Self::Avif => "AVIF",
            Self::Tiff => "TIFF",
            Self::Bmp => "BMP",
            Self::Svg => "SVG",
        }
    }
}

/// What a header says of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Probe {
    /// Pixels, as seen after orientation; never 0.
    pub width: u32,
    /// Pixels, as seen after orientation; never 0.
    pub height: u32,
    /// EXIF orientation of the stored pixels, 1 (upright) to 8.
    pub orientation: u8,
    /// Frames or pages, 1 for a still image.
    pub frame_count: u32,
    /// Whether pixels can be transparent.
    pub has_alpha: bool,
}

/// The formats that are taken, for the end of an error.
const ACCEPTED: &str = "send a JPEG, PNG, GIF, WebP, AVIF, TIFF, BMP or SVG image";

/// [`Reason::NotAnImage`], with what is accepted.
fn not_an_image(what: impl std::fmt::Display) -> Error {
    Error::new(Reason::NotAnImage, format!("{what}; {ACCEPTED}"))
}

/// Exif kept beside the pixels, at most: JPEG cannot hold more than 64 KiB. Larger ones are passed over.
const MAX_EXIF: u32 = 1024 * 1024;

/// Reads an image's header: `size` bytes in all, from the reader's start.
///
/// Pixels are never decoded, and memory is bounded whatever the header claims: a GIF's metadata takes up to 8 MiB, all
/// else about 1 MiB. Time is at worst that of reading all bytes once, which GIF needs to count its frames.
///
/// # Errors
///
/// [`Reason::NotAnImage`] where the header is cut off, damaged, or claims no pixels: the message says what and where.
/// [`Reason::Internal`] where the reader itself fails.
pub fn probe<R: BufRead + Seek>(format: Format, size: u64, reader: R) -> Result<Probe> {
    let input = |reader| Input::new(reader, format.name(), size);
    let mut probe = match format {
        Format::Jpeg => jpeg::probe(input(reader)),
        Format::Png => png::probe(input(reader)),
        Format::Gif => library::gif(reader),
        Format::Webp => library::webp(reader),
        Format::Avif => avif::probe(input(reader)),
        Format::Tiff => tiff::probe(input(reader)),
        Format::Bmp => library::bmp(reader),
        Format::Svg => svg::probe(reader),
    }?;
    if probe.width == 0 || probe.height == 0 {
        let (name, Probe { width, height, .. }) = (format.name(), probe);
        return Err(not_an_image(format!("the {name}'s header says {width} x {height} pixels, so there is no image")));
    }
    if probe.orientation >= 5 {
        (probe.width, probe.height) = (probe.height, probe.width);
    }
    Ok(probe)
}

/// The orientation in an Exif block (a TIFF header and its first directory); 1 where it says none.
fn exif_orientation(exif: &[u8]) -> u8 {
    Orientation::from_exif_chunk(exif).map_or(1, Orientation::to_exif)
}

/// The orientation of this number: 1, upright, for one that there is not.
fn valid_orientation(number: u32) -> u8 {
    u8::try_from(number).ok().filter(|number| (1..=8).contains(number)).unwrap_or(1)
}

#[cfg(test)]
mod tests;
