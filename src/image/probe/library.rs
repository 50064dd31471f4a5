//! GIF, WebP and BMP: headers that the decoders' own readers give without decoding or keeping pixels.

use std::fmt::Display;
use std::io::{BufRead, ErrorKind, Seek};

use ::image::codecs::bmp::BmpDecoder;
use ::image::{ImageDecoder, ImageError};
use gif::{DecodeOptions, DecodingError as GifError, DisposalMethod, MemoryLimit};
use image_webp::{DecodingError as WebpError, WebPDecoder};

use super::{MAX_EXIF, Probe, exif_orientation, not_an_image};
use crate::error::{Error, Result};

/// Metadata (colour profile, XMP) that the GIF reader keeps at most, in bytes; it refuses a file with more.
const GIF_METADATA: u64 = 4 * 1024 * 1024;

/// Counts a GIF's frames by stepping over their data; a file cut off after its first frame has those that began.
pub(super) fn gif(reader: impl BufRead) -> Result<Probe> {
    let mut options = DecodeOptions::new();
    options.skip_frame_decoding(true);
    options.set_memory_limit(MemoryLimit::Bytes(GIF_METADATA.try_into().unwrap_or(std::num::NonZeroU64::MIN)));
    let mut decoder = options.read_info(reader).map_err(gif_error)?;
    let screen = (decoder.width(), decoder.height());
    let (width, height) = (screen.0.into(), screen.1.into());
    let mut probe = Probe { width, height, orientation: 1, frame_count: 0, has_alpha: false };
    loop {
        match decoder.next_frame_info() {
            Ok(Some(frame)) => {
                // Later frames are transparent where they leave the canvas as it is; what counts is the canvas.
                let covers = frame.left == 0 && frame.top == 0 && (frame.width, frame.height) == screen;
                let first = probe.frame_count == 0;
                probe.has_alpha |= first && (!covers || frame.transparent.is_some());
                probe.has_alpha |= frame.dispose == DisposalMethod::Background;
                probe.frame_count = probe.frame_count.saturating_add(1);
            }
            Ok(None) if probe.frame_count == 0 => return Err(broken("GIF", "it has no frame")),
            Ok(None) => return Ok(probe),
            // Whole frames came before, and every viewer shows them.
            Err(GifError::UnexpectedEof | GifError::Format(_)) if probe.frame_count > 0 => return Ok(probe),
            Err(error) => return Err(gif_error(error)),
        }
    }
}

fn gif_error(error: GifError) -> Error {
    match error {
        GifError::Io(error) => failed("GIF", error),
        GifError::UnexpectedEof => cut_off("GIF"),
        error => broken("GIF", error),
    }
}

/// Reads a WebP's chunk headers; of an animation those of every frame.
pub(super) fn webp(reader: impl BufRead + Seek) -> Result<Probe> {
    let mut decoder = WebPDecoder::new(reader).map_err(webp_error)?;
    decoder.set_memory_limit(MAX_EXIF as usize);
    let exif = match decoder.exif_metadata() {
        Ok(exif) => exif.unwrap_or_default(),
        Err(WebpError::MemoryLimitExceeded) => Vec::new(),
        Err(error) => return Err(webp_error(error)),
    };
    // Some writers keep the prefix that JPEG has.
    let exif = exif.strip_prefix(b"Exif\0\0").unwrap_or(&exif);
    let (width, height) = decoder.dimensions();
    Ok(Probe {
        width,
        height,
        orientation: exif_orientation(exif),
        frame_count: if decoder.is_animated() { decoder.num_frames().max(1) } else { 1 },
        has_alpha: decoder.has_alpha(),
    })
}

fn webp_error(error: WebpError) -> Error {
    match error {
        WebpError::IoError(error) => failed("WebP", error),
        error => broken("WebP", error),
    }
}

/// Reads a bitmap's two headers and its palette.
pub(super) fn bmp(reader: impl BufRead + Seek) -> Result<Probe> {
    let decoder = BmpDecoder::new(reader).map_err(|error| match error {
        ImageError::IoError(error) => failed("BMP", error),
        error => broken("BMP", error),
    })?;
    let (width, height) = decoder.dimensions();
    let has_alpha = decoder.color_type().has_alpha();
    Ok(Probe { width, height, orientation: 1, frame_count: 1, has_alpha })
}

fn failed(format: &str, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::UnexpectedEof => cut_off(format),
        // What a seek to before the start is, and how the decoders say that a number does not fit.
        ErrorKind::InvalidInput | ErrorKind::InvalidData => broken(format, error),
        _ => Error::internal(error),
    }
}

fn cut_off(format: &str) -> Error {
    not_an_image(format!("the {format} is cut off in its header"))
}

fn broken(format: &str, why: impl Display) -> Error {
    not_an_image(format!("the {format}'s header is damaged: {why}"))
}
